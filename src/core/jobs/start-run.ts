import type { Database } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor } from '../services.ts'
import type { BackupJob, JobQueue } from './queue.ts'

export interface StartedRun {
  runId: string
  /** False where the idempotency key names a run that was started before. */
  isNew: boolean
}

/** How long a tenant may take of which nothing is known yet. */
const UNKNOWN_SECONDS = 5
/** Whoever has a whole background function may try a tenant that takes longer than that. */
const LONGEST_SECONDS = 600

/**
 * Starts a daily run over every tenant: those that have a complete daily backup of this day (by the
 * database's clock, in UTC) are settled at once, skipped ones are journalled with their reason, the
 * others are open. Throws `not_configured` where no tenant table is known.
 */
export async function startDailyRun(
  database: Database,
  { actor, idempotencyKey }: { actor: Actor; idempotencyKey?: string | undefined },
): Promise<StartedRun> {
  const { rows } = await database.query<{ runId: string | null; isConfigured: boolean }>(
    `with tenants as materialized (
       select * from tenantkeep.list_tenants()
     ),
     run as (
       insert into tenantkeep.runs (kind, actor_kind, actor_id, actor_label, idempotency_key, tenant_ids)
       select 'daily_tenant', $1, $2, $3, $4, coalesce(array_agg(t.tenant_id order by t.tenant_id), '{}')
       from tenants t
       having exists (select from tenantkeep.settings where key = 'tenant_table')
       on conflict do nothing
       returning id
     ),
     outcomes as (
       insert into tenantkeep.run_tenants
         (run_id, tenant_id, tenant_name, status, backup_id, was_complete, settled_at, error_code, error_message)
       select run.id, t.tenant_id, t.tenant_name,
              case when b.id is not null then 'complete' when t.skip_code is not null then 'skipped' else 'pending' end,
              b.id, b.id is not null,
              case when b.id is not null or t.skip_code is not null then now() end,
              case when b.id is null then t.skip_code end,
              case when b.id is null then t.skip_reason end
       from run cross join tenants t
       left join public.tenant_backups b
         on b.organization_id = t.tenant_id and b.backup_type = 'daily_tenant' and b.status = 'complete'
        and b.backup_date = (now() at time zone 'utc')::date
       returning *
     ),
     skips as (
       insert into public.backup_logs
         (backup_type, status, completed_at, organization_id, organization_name, run_id,
          actor_kind, actor_id, actor_label, error_code, error_message)
       select 'daily_tenant', 'skipped', now(), o.tenant_id, o.tenant_name, o.run_id, $1, $2, $3,
              o.error_code, o.error_message
       from outcomes o
       where o.status = 'skipped'
         and not exists (
           select from public.backup_logs l
           where l.organization_id = o.tenant_id and l.backup_type = 'daily_tenant' and l.status = 'skipped'
             and l.created_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc'
         )
     ),
     journal as (
       insert into public.backup_logs (backup_type, run_id, actor_kind, actor_id, actor_label)
       select 'run', run.id, $1, $2, $3 from run
     )
     select (select id from run) as "runId",
            exists (select from tenantkeep.settings where key = 'tenant_table') as "isConfigured"`,
    [actor.kind, actor.id, actor.label, idempotencyKey ?? null],
  )
  const started = rows[0]
  if (started?.isConfigured !== true) {
    throw new BackupError(
      'not_configured',
      'No tenant table is known in this database. Run `tenantkeep init` first.',
    )
  }
  if (started.runId !== null) return { runId: started.runId, isNew: true }
  return { runId: await findByKey(database, actor, idempotencyKey), isNew: false }
}

/** Starts the run of one manual backup; the tenant is known to exist. */
export async function startManualRun(
  database: Database,
  {
    actor,
    tenantId,
    tenantName,
    idempotencyKey,
    request,
  }: {
    actor: Actor
    tenantId: string
    tenantName: string | null
    idempotencyKey?: string | undefined
    request: object
  },
): Promise<StartedRun> {
  const { rows } = await database.query<{ runId: string | null }>(
    `with run as (
       insert into tenantkeep.runs
         (kind, actor_kind, actor_id, actor_label, idempotency_key, tenant_ids, request)
       values ('manual', $1, $2, $3, $4, array[$5], $7)
       on conflict do nothing
       returning id
     ),
     outcome as (
       insert into tenantkeep.run_tenants (run_id, tenant_id, tenant_name) select id, $5, $6 from run
     )
     select (select id from run) as "runId"`,
    [
      actor.kind,
      actor.id,
      actor.label,
      idempotencyKey ?? null,
      tenantId,
      tenantName,
      JSON.stringify(request),
    ],
  )
  const runId = rows[0]?.runId
  if (typeof runId === 'string') return { runId, isNew: true }
  return { runId: await findByKey(database, actor, idempotencyKey), isNew: false }
}

async function findByKey(
  database: Database,
  actor: Actor,
  idempotencyKey: string | undefined,
): Promise<string> {
  const { rows } = await database.query<{ id: string }>(
    `select id from tenantkeep.runs
     where actor_kind = $1 and coalesce(actor_id, '') = coalesce($2, '') and idempotency_key = $3`,
    [actor.kind, actor.id, idempotencyKey ?? null],
  )
  const id = rows[0]?.id
  if (id === undefined) {
    throw new BackupError('internal', 'The run could not be recorded. Try again.')
  }
  return id
}

/**
 * Queues every open tenant of the open runs (or of one) that has no job: at the start of a run, and
 * again whenever a process may have died between two steps.
 */
export async function queueOpenTenants(
  database: Database,
  queue: JobQueue,
  runId?: string,
): Promise<void> {
  const { rows } = await database.query<{
    runId: string
    tenantId: string
    kind: 'daily_tenant' | 'manual'
    request: Pick<BackupJob, 'name' | 'note' | 'tags'>
    seconds: number | null
  }>(
    `select distinct on (r.kind, t.tenant_id)
       t.run_id as "runId", t.tenant_id as "tenantId", r.kind, r.request, ${lastSeconds('t.tenant_id')} as seconds
     from tenantkeep.runs r
     join tenantkeep.run_tenants t on t.run_id = r.id
     where r.status = 'running' and t.status in ('pending', 'running')
       and r.kind in ('daily_tenant', 'manual')
       and ($1::uuid is null or r.id = $1)
       -- Whoever starts a manual backup queues it itself.
       and (r.kind = 'daily_tenant' or r.created_at < now() - interval '1 minute')
       and not exists (
         select from tenantkeep_jobs.job j
         where j.name = 'tenant-backup' and j.state <= 'active'
           and j.singleton_key = r.kind || ':' || t.tenant_id
       )
     order by r.kind, t.tenant_id, r.created_at`,
    [runId ?? null],
  )
  await queue.sendAll(
    rows.map((row) => ({
      job: { runId: row.runId, tenantId: row.tenantId, backupType: row.kind, ...row.request },
      expectedSeconds: toExpectedSeconds(row.seconds),
    })),
  )
}

/** How long a backup of this tenant is expected to take, in seconds, judged by its last one. */
export async function expectSeconds(database: Database, tenantId: string): Promise<number> {
  const { rows } = await database.query<{ seconds: number | null }>(
    `select ${lastSeconds('$1::text')} as seconds`,
    [tenantId],
  )
  return toExpectedSeconds(rows[0]?.seconds ?? null)
}

function lastSeconds(tenantId: string): string {
  return `(
    select ceil(extract(epoch from b.completed_at - b.created_at))::int
    from public.tenant_backups b
    where b.organization_id = ${tenantId} and b.completed_at is not null
      and b.status in ('complete', 'pruned')
    order by b.created_at desc limit 1
  )`
}

function toExpectedSeconds(last: number | null): number {
  return last === null ? UNKNOWN_SECONDS : Math.min(LONGEST_SECONDS, Math.max(1, last))
}
