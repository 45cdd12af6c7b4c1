import { randomUUID } from 'node:crypto'
import type { Queryable } from '../database/database.ts'
import type { Services } from '../services.ts'
import { type AlertEvent, composeAlert } from './alert-message.ts'
import { callUrl } from './call-url.ts'

/**
 * `sent`: the webhook took it. `nothing_new`. `failed`: it did not, and the next call tries again. `busy`:
 * somebody else is telling it at this moment. `not_configured`: there is no webhook.
 */
export type Announcement = 'sent' | 'nothing_new' | 'failed' | 'busy' | 'not_configured'

/** Longer than any call may take; whoever died while telling is not waited for longer than this. */
const LEASE_SECONDS = 60
const TIMEOUT_MS = 10_000
/** Who waits for a restore does not wait long for this. */
const SHORT_TIMEOUT_MS = 3_000
/** A webhook that was set today is not told of last year. */
const NEWS_DAYS = 7

interface DueEvent extends AlertEvent {
  /** The row that it is about, in `tenantkeep.alerts` or in the journal. */
  row_id: string
}

/**
 * Tells the webhook what it has not heard: problems that began or ended, those that last (once a day), and
 * every restore, undo and erasure. What it did not take stays due. One call at a time tells, under a lease in
 * the database, so nothing is told twice; except where the answer was lost: then it is told again, and each
 * event has the same id as before.
 */
export async function announce(
  { tenants: { catalog }, alertWebhook, log }: Services,
  options: { reminderHours: number; timeoutMs?: number },
): Promise<Announcement> {
  if (alertWebhook === undefined) return 'not_configured'
  const lease = randomUUID()
  const claim = await claimLease(catalog, lease)
  if (claim === undefined) return 'busy'
  const events = await readDue(catalog, options.reminderHours)
  if (events.length === 0) {
    await endLease(catalog, lease, null)
    return 'nothing_new'
  }
  const message = composeAlert(
    events.map(({ row_id: _, ...event }) => event),
    claim.wasUnsure,
  )
  const outcome = await callUrl(alertWebhook, {
    body: message,
    timeoutMs: options.timeoutMs ?? TIMEOUT_MS,
  })
  if (outcome.isTaken) {
    await recordTold(catalog, events)
    await endLease(catalog, lease, null)
    log.info({ count: events.length }, 'alerts sent')
    return 'sent'
  }
  await endLease(catalog, lease, { isUnsure: outcome.isUnsure })
  log.error({ count: events.length, status: outcome.status }, 'the webhook took no alerts')
  return 'failed'
}

/** For the end of a restore: what goes wrong here is left to the next call of the monitor. */
export async function announceSoon(services: Services): Promise<void> {
  if (services.alertWebhook === undefined) return
  try {
    await announce(services, {
      reminderHours: Number.POSITIVE_INFINITY,
      timeoutMs: SHORT_TIMEOUT_MS,
    })
  } catch (error) {
    services.log.warn({ err: error }, 'alerts are left to the next monitor')
  }
}

async function claimLease(
  catalog: Queryable,
  lease: string,
): Promise<{ wasUnsure: boolean } | undefined> {
  const { rows } = await catalog.query<{ wasUnsure: boolean }>(
    `update tenantkeep.watch w
     set claimed_by = $1, claimed_until = clock_timestamp() + interval '${LEASE_SECONDS} seconds',
         -- Until it is known how it ended.
         is_unsure = true
     from (select is_unsure from tenantkeep.watch for update) before
     where w.claimed_until is null or w.claimed_until < clock_timestamp()
     returning before.is_unsure as "wasUnsure"`,
    [lease],
  )
  return rows[0]
}

async function endLease(
  catalog: Queryable,
  lease: string,
  failure: { isUnsure: boolean } | null,
): Promise<void> {
  await catalog.query(
    `update tenantkeep.watch set claimed_by = null, claimed_until = null, is_unsure = $2,
       untold_since = case when $3 then coalesce(untold_since, clock_timestamp()) end,
       told_at = case when $3 then told_at else clock_timestamp() end
     where claimed_by = $1`,
    [lease, failure?.isUnsure ?? false, failure !== null],
  )
}

async function readDue(catalog: Queryable, reminderHours: number): Promise<DueEvent[]> {
  const { rows } = await catalog.query<{ event: DueEvent }>(
    `select event from (
       select 1 as rank, a.severity, a.code, a.opened_at as at, jsonb_build_object(
           'row_id', a.id,
           'id', a.id || ':' || case when a.ended_at is not null then 'ended'
             when a.announced_at is null then 'opened'
             else 'since-' || to_char(coalesce(a.reminded_at, a.announced_at) at time zone 'utc', 'YYYYMMDDHH24MISS') end,
           'kind', case when a.ended_at is not null then 'ended'
             when a.announced_at is null then 'opened' else 'reminder' end,
           'code', a.code, 'severity', a.severity, 'tenant_id', a.tenant_id,
           'tenant_name', a.tenant_name, 'table', a.table_name, 'since', a.since,
           'opened_at', a.opened_at, 'ended_at', a.ended_at, 'message', a.message,
           'remedy', a.remedy) as event
       from tenantkeep.alerts a
       where case
         when a.ended_at is not null
           then a.end_announced_at is null and a.ended_at > now() - interval '${NEWS_DAYS} days'
         else a.announced_at is null
           or coalesce(a.reminded_at, a.announced_at) < now() - $1::float8 * interval '1 hour'
       end
       union all
       select 0, null, l.backup_type, l.completed_at, jsonb_build_object(
           'row_id', l.id, 'id', l.id, 'kind', l.backup_type, 'code', l.status, 'severity', null,
           'tenant_id', l.organization_id, 'tenant_name', l.organization_name, 'table', null,
           'since', l.completed_at, 'opened_at', null, 'ended_at', null, 'remedy', null,
           'message', concat(
             case l.backup_type when 'restore' then 'A restore' when 'undo' then 'An undo'
               else 'The erasure of all backups' end,
             ' of ', coalesce(l.organization_name, l.organization_id),
             case when l.status = 'complete' then ' was done'
               when l.backup_type = 'forget' then ' failed'
               else ' failed, nothing was written' end,
             case when l.status = 'complete' and l.total_records is not null
               then concat(': ', l.total_records, ' rows') end,
             case when l.status <> 'complete' then concat(' (', l.error_code, ')') end,
             ', by ', case l.actor_kind when 'user' then 'a user' when 'operator' then 'an operator'
               when 'cron' then 'the cron service' else 'the system' end,
             '. The journal has it under ', l.id, '.'))
       from public.backup_logs l
       where l.backup_type in ('restore', 'undo', 'forget') and l.announced_at is null
         and l.status in ('complete', 'failed', 'cancelled')
         and l.completed_at > now() - interval '${NEWS_DAYS} days'
     ) due
     order by rank, severity, code, at`,
    [Number.isFinite(reminderHours) ? reminderHours : 1e6],
  )
  return rows.map(({ event }) => event)
}

/** In one statement: all of them were in one message. */
async function recordTold(catalog: Queryable, events: readonly DueEvent[]): Promise<void> {
  const idsOf = (...kinds: AlertEvent['kind'][]) =>
    events.filter(({ kind }) => kinds.includes(kind)).map(({ row_id: id }) => id)
  await catalog.query(
    `with journal as (
       update public.backup_logs set announced_at = clock_timestamp() where id = any ($1::uuid[])
     )
     update tenantkeep.alerts set
       announced_at = case when id = any ($2::uuid[]) then clock_timestamp() else announced_at end,
       reminded_at = case when id = any ($3::uuid[]) then clock_timestamp() else reminded_at end,
       end_announced_at = case when id = any ($4::uuid[]) then clock_timestamp() else end_announced_at end
     where id = any ($2::uuid[] || $3::uuid[] || $4::uuid[])`,
    [idsOf('restore', 'undo', 'forget'), idsOf('opened'), idsOf('reminder'), idsOf('ended')],
  )
}
