import { recordCrashes } from '../backup/backup-record.ts'
import { explainFailure } from '../backup/explain-failure.ts'
import { removeFailedObjects } from '../backup/remove-failed-objects.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { BackupError } from '../errors.ts'
import { interruptible, interruptibleConnection, throwIfInterrupted } from '../interruptible.ts'
import type { UpkeepInput, UpkeepReport } from '../jobs/upkeep.ts'
import { recordRestoreCrashes } from '../restore/restore-record.ts'
import type { Actor, Services } from '../services.ts'
import { lockCopies, lockTenant } from '../tenants/lock-tenant.ts'
import { blankTenant } from './blank-tenant.ts'
import {
  type DoomedObject,
  doomObjects,
  type RemainingObjects,
  removeDoomed,
} from './doomed-objects.ts'
import { findDoomed } from './find-doomed.ts'
import {
  expiredOf,
  hashPlans,
  type PrunePremises,
  planPages,
  planPrune,
  readPremises,
  readUses,
  type TenantPlan,
} from './plan-prune.ts'

export interface PruneInput extends Omit<UpkeepInput, 'runId'> {
  /** Null where nobody keeps a run of it. */
  runId: string | null
  /** Only if exactly this would go; of `hashPlans`. */
  planHash?: string | undefined
}

/** What became of one tenant of which something was to go. */
interface PrunedTenant {
  organization_id: string
  expired: number
  objects: number
  bytes: number
  locked: RemainingObjects['locked']
  elsewhere: RemainingObjects['elsewhere']
}

interface Trouble {
  organization_id: string
  code: string
  message: string
}

export interface PruneReport extends UpkeepReport {
  details: {
    backups: number
    objects: number
    bytes: number
    pruned: PrunedTenant[]
    /** Ids of tenants that somebody works on: left for the next time. */
    busy: string[]
    failed: Trouble[]
    /** Tenants of which nothing goes, because what is set makes no sense. */
    problems: Trouble[]
  }
}

interface Round {
  services: Services
  premises: PrunePremises
  input: PruneInput
  /** Tenants turned to. */
  done: number
  /** Tenants known to be due that there was no time for. */
  left: number
  pruned: PrunedTenant[]
  busy: string[]
  failed: Trouble[]
  problems: Trouble[]
}

/**
 * Removes what the policies let go, tenant by tenant, each under its lock: journal row, catalog rows and the
 * list of objects in one transaction, then the objects, then the journal row again. A tenant that somebody
 * works on is left for the next time, and so is everything that there is no time for: it is planned page by
 * page, and where time is over what is left is as much as is known by then, at least one. What was approved
 * as a whole is planned as a whole before. Throws `not_configured`, `plan_stale`; what goes wrong with one
 * tenant is in the report and keeps no other from being pruned.
 */
export async function pruneBackups(services: Services, input: PruneInput): Promise<PruneReport> {
  const premises = await readPremises(services)
  await noticeDepartures(services.tenants.catalog, premises)
  const round: Round = {
    ...{ services, premises, input, done: 0, left: 0 },
    ...{ pruned: [], busy: [], failed: [], problems: [] },
  }
  if (input.planHash === undefined) {
    for await (const due of findDue(round)) await prunePage(round, due)
  } else {
    await prunePage(round, await planApproved(round))
  }
  const { done, left, pruned, busy, failed, problems } = round
  return {
    done: done - busy.length - failed.length,
    failed: failed.length,
    left: left + busy.length,
    details: {
      backups: pruned.reduce((sum, tenant) => sum + tenant.expired, 0),
      objects: pruned.reduce((sum, tenant) => sum + tenant.objects, 0),
      bytes: pruned.reduce((sum, tenant) => sum + tenant.bytes, 0),
      pruned,
      busy,
      failed,
      problems,
    },
  }
}

const isOver = ({ input }: Round) => new Date() >= input.until

/** Those of a page of which something goes; after the first page only as long as there is time. */
async function* findDue(round: Round): AsyncGenerator<TenantPlan[]> {
  const { services, premises, input, problems } = round
  let isFirst = true
  for await (const page of planPages(services, premises, input)) {
    throwIfInterrupted(input.signal)
    for (const plan of page) {
      if (plan.policy.problem !== null)
        problems.push(toTrouble(plan, 'policy_unusable', plan.policy.problem))
    }
    const due = page.filter(isDue)
    if (!isFirst && isOver(round)) {
      round.left += Math.max(1, due.length)
      return
    }
    isFirst = false
    yield due
  }
}

/** All of what was approved. Throws `plan_stale` where something else would go. */
async function planApproved(round: Round): Promise<TenantPlan[]> {
  const plans: TenantPlan[] = []
  for await (const due of findDue(round)) {
    for (const plan of due) plans.push({ ...plan, backups: [] })
  }
  // There was no time to make all of it: nothing of it is done.
  if (round.left > 0) {
    round.left += plans.length
    return []
  }
  if (round.input.planHash !== hashPlans(plans)) throw planStale()
  return plans
}

async function prunePage(round: Round, due: readonly TenantPlan[]): Promise<void> {
  const { services, premises, input } = round
  for (const [index, plan] of due.entries()) {
    if (isOver(round)) {
      round.left += due.length - index
      return
    }
    throwIfInterrupted(input.signal)
    input.tell?.({ organization_id: plan.tenantId, tenants_done: round.done })
    round.done += 1
    try {
      const outcome = await pruneTenant(services, premises, plan, input)
      if (outcome !== null) round.pruned.push(outcome)
    } catch (error) {
      const failure = explainFailure(error)
      throwIfInterrupted(input.signal)
      if (failure.code === 'tenant_busy') round.busy.push(plan.tenantId)
      else round.failed.push(toTrouble(plan, failure.code, failure.message))
    }
  }
}

function isDue({ decisions, leftObjects, isUnfinished }: TenantPlan): boolean {
  return isUnfinished || leftObjects > 0 || decisions.some(({ isKept }) => !isKept)
}

function toTrouble({ tenantId }: TenantPlan, code: string, message: string): Trouble {
  return { organization_id: tenantId, code, message }
}

function planStale(): BackupError {
  return new BackupError(
    'plan_stale',
    'What would be removed is not what the plan of this hash said. Look at the new plan (dry_run: true). Nothing was removed.',
  )
}

/** A tenant that is gone since somebody looked last, or back again. None at all being listed proves nothing. */
async function noticeDepartures(catalog: Queryable, { hostTenants }: PrunePremises): Promise<void> {
  if (hostTenants.size === 0) return
  await catalog.query(
    `with host as materialized (
       select tenant_id as id from tenantkeep.list_tenants()
     ), back as (
       delete from tenantkeep.departed_tenants d using host h where h.id = d.tenant_id
     )
     insert into tenantkeep.departed_tenants (tenant_id)
     select distinct b.organization_id from public.tenant_backups b
     where b.status = 'complete' and not exists (select from host h where h.id = b.organization_id)
     on conflict do nothing`,
  )
}

/** Null where meanwhile nothing was left to do. */
async function pruneTenant(
  services: Services,
  premises: PrunePremises,
  approved: TenantPlan,
  input: PruneInput,
): Promise<PrunedTenant | null> {
  const { tenantId } = approved
  const { signal } = input
  const database = await services.tenants.databaseOf(tenantId)
  return database.withConnection(async (connection) => {
    const session = interruptibleConnection(connection, signal)
    await lockTenant(session, tenantId, { signal })
    await lockCopies(session, tenantId)
    const { catalog } = services.tenants
    await interruptible(recordCrashes(catalog, tenantId), signal)
    await interruptible(recordRestoreCrashes(catalog, tenantId), signal)
    const plan = await planAgain(services, premises, tenantId)
    if (plan === undefined) return null
    const marked = await markExpired(services, session, { plan, approved, input })
    const remaining = await removeDoomed(services, tenantId, signal)
    if (plan.departedSince !== null && plan.backups.length === (marked?.expired ?? 0)) {
      // No backup will ever come to tidy up after the failed ones.
      await interruptible(removeFailedObjects(services, tenantId), signal)
    }
    return {
      organization_id: tenantId,
      expired: marked?.expired ?? 0,
      objects: marked?.objects.length ?? plan.leftObjects,
      bytes: marked?.objects.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0,
      ...remaining,
    }
  })
}

async function planAgain(
  services: Services,
  premises: PrunePremises,
  tenantId: string,
): Promise<TenantPlan | undefined> {
  for await (const plan of planPrune(services, premises, { tenantId })) return plan
  return undefined
}

interface Marked {
  expired: number
  objects: DoomedObject[]
}

/** Null where nothing expires. What keeps a tenant from being pruned at all stands in the journal. */
async function markExpired(
  services: Services,
  session: Connection,
  given: { plan: TenantPlan; approved: TenantPlan; input: PruneInput },
): Promise<Marked | null> {
  const { plan, approved, input } = given
  if (input.planHash !== undefined && hashPlans([plan]) !== hashPlans([approved])) throw planStale()
  const going = plan.decisions.filter(({ isKept }) => !isKept)
  if (going.length === 0) return null
  try {
    const objects = await findDoomed(services, plan, input.signal)
    await inTransaction(session, () => recordPruned(session, plan, { ...input, objects }))
    return { expired: going.length, objects }
  } catch (error) {
    if (error instanceof BackupError && error.code === 'prune_unsafe') {
      await recordRefused(services.tenants.catalog, plan, input, error)
    }
    throw error
  }
}

type Doer = { actor: Actor; runId: string | null }

/**
 * From its commit on nothing of these backups is offered, and whoever comes next removes their objects. A pin,
 * a comparison or a restore that came since the plan was made wins: both lock the rows. Throws `tenant_busy`.
 */
async function recordPruned(
  session: Connection,
  plan: TenantPlan,
  { actor, runId, objects }: Doer & { objects: readonly DoomedObject[] },
): Promise<void> {
  const ids = expiredOf(plan.decisions)
  const { rows: current } = await session.query<{ id: string; isPinned: boolean }>(
    `select id, pinned_at is not null as "isPinned" from public.tenant_backups
     where id = any ($1::uuid[]) and status = 'complete' order by id for update`,
    [ids],
  )
  const pinned = new Set(plan.backups.filter(({ pin }) => pin !== null).map(({ id }) => id))
  const isAsPlanned =
    current.length === ids.length &&
    current.every(({ id, isPinned }) => !isPinned || pinned.has(id)) &&
    (await readUses(session, ids)).size === 0
  if (!isAsPlanned) {
    throw new BackupError(
      'tenant_busy',
      'A backup that was to go was pinned or put to use at this moment. The next run looks again.',
    )
  }
  const isForgotten = plan.decisions.some(({ reasons: [reason] }) => reason?.code === 'forgotten')
  // An older copy of the catalog brought back more than the backups.
  if (isForgotten && plan.forgottenAt !== null) {
    await blankTenant(session, plan.tenantId, plan.forgottenAt)
  }
  const { rows } = await session.query<{ id: string }>(
    `with marked as (
       update public.tenant_backups b
       set status = 'pruned', pruned_at = clock_timestamp(), prune_reason = d.reason
       from unnest($3::uuid[], $4::text[]) as d (id, reason)
       where b.id = d.id
       returning b.id
     ), restored as (
       delete from tenantkeep.released_rows r using public.backup_logs l, marked m
       where l.safety_backup_id = m.id and r.restore_id = l.id
     )
     insert into public.backup_logs
       (backup_type, organization_id, organization_name, run_id, actor_kind, actor_id, actor_label, details)
     select 'prune', $1, $2, $5, $6, $7, $8,
       jsonb_build_object('backup_ids', jsonb_agg(m.id), 'backups', count(*), 'objects', 0, 'bytes', 0)
     from marked m
     returning id`,
    [
      plan.tenantId,
      isForgotten ? null : plan.tenantName,
      plan.decisions.flatMap(({ isKept, backupId }) => (isKept ? [] : [backupId])),
      plan.decisions.flatMap(({ isKept, reasons }) =>
        isKept ? [] : [reasons.map(({ message }) => message).join(' ')],
      ),
      runId,
      actor.kind,
      actor.id,
      actor.label,
    ],
  )
  const journalId = rows[0]?.id
  if (journalId === undefined) throw new BackupError('internal', 'The journal took no row.')
  await doomObjects(session, { journalId, tenantId: plan.tenantId, objects })
}

async function recordRefused(
  catalog: Queryable,
  { tenantId, tenantName }: TenantPlan,
  { actor, runId }: Doer,
  error: BackupError,
): Promise<void> {
  await catalog.query(
    `insert into public.backup_logs
       (backup_type, status, completed_at, organization_id, organization_name, run_id,
        actor_kind, actor_id, actor_label, error_code, error_message)
     values ('prune', 'failed', now(), $1, $2, $3, $4, $5, $6, $7, $8)`,
    [tenantId, tenantName, runId, actor.kind, actor.id, actor.label, error.code, error.message],
  )
}
