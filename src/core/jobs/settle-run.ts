import type { Database } from '../database/database.ts'
import { isSeed, isUpkeep, type JobQueue } from './queue.ts'
import { forgetSamples, settleDeadRestore, settleDeadRestores } from './settle-restore.ts'
import { queueOpenTenants } from './start-run.ts'
import { failUpkeepRun, queueOpenUpkeep } from './upkeep-run.ts'
import { queueOpenSeeds, settleDeadSeed } from './work-seed.ts'

/** How a tenant came out of a run. */
export type Outcome =
  | { status: 'complete'; backupId: string }
  | { status: 'failed' | 'skipped'; code: string; message: string }

export interface RunTenant {
  runId: string
  tenantId: string
  kind: 'daily_tenant' | 'manual'
}

/**
 * Says that a backup of this tenant begins. False where nobody waits for it any more: the job came
 * twice, or its run is over. A daily backup serves every open daily run that has the tenant.
 */
export async function startTenant(database: Database, tenant: RunTenant): Promise<boolean> {
  const { rowCount } = await database.query(
    `update tenantkeep.run_tenants t
     set status = 'running', started_at = coalesce(t.started_at, now()), attempts = t.attempts + 1
     from tenantkeep.runs r
     where ${OPEN_ROWS}`,
    openRowsOf(tenant),
  )
  return rowCount > 0
}

/** The attempt failed and another will follow: the tenant is pending again, with what happened. */
export async function postponeTenant(
  database: Database,
  tenant: RunTenant,
  error: { code: string; message: string },
): Promise<void> {
  await database.query(
    `update tenantkeep.run_tenants t
     set status = 'pending', error_code = $4, error_message = $5
     from tenantkeep.runs r
     where ${OPEN_ROWS}`,
    [...openRowsOf(tenant), error.code, error.message],
  )
}

/** Records the outcome in every open run that waits for it, and closes those that it completes. */
export async function settleTenant(
  database: Database,
  tenant: RunTenant,
  outcome: Outcome,
): Promise<void> {
  const isComplete = outcome.status === 'complete'
  const { rows } = await database.query<{ runId: string }>(
    `update tenantkeep.run_tenants t
     set status = $4, settled_at = now(), backup_id = $5, error_code = $6, error_message = $7,
         was_complete = exists (
           select from public.tenant_backups b where b.id = $5 and b.completed_at < r.created_at
         )
     from tenantkeep.runs r
     where ${OPEN_ROWS}
     returning t.run_id as "runId"`,
    [
      ...openRowsOf(tenant),
      outcome.status,
      isComplete ? outcome.backupId : null,
      isComplete ? null : outcome.code,
      isComplete ? null : outcome.message,
    ],
  )
  for (const { runId } of rows) await closeRun(database, runId)
}

const OPEN_ROWS = `r.id = t.run_id and r.status = 'running' and r.kind = $1 and t.tenant_id = $2
       and (r.kind = 'daily_tenant' or r.id = $3) and t.status in ('pending', 'running')`

const openRowsOf = ({ kind, tenantId, runId }: RunTenant) => [kind, tenantId, runId]

/** Closes a run whose tenants are all settled, with its journal row; does nothing to any other. */
async function closeRun(database: Database, runId: string): Promise<void> {
  await database.query(
    `with outcome as (
       select count(*) filter (where t.status = 'failed') as failed,
              count(*) filter (where t.status <> 'skipped') as active,
              count(b.id) as complete, sum(b.total_tables) as tables,
              sum(b.total_records) as records, sum(b.total_size) as size
       from tenantkeep.run_tenants t
       left join public.tenant_backups b on b.id = t.backup_id
       where t.run_id = $1
     ),
     closed as (
       update tenantkeep.runs r
       set status = case when o.failed > 0 then 'failed' else 'complete' end,
           finished_at = now(),
           error_code = case when o.failed > 0 then 'tenants_failed' end,
           error_message = case when o.failed > 0
             then format('%s of %s tenants failed.', o.failed, o.active) end,
           result = jsonb_build_object('failed_tenants', o.failed, 'active_tenants', o.active)
       from outcome o
       where r.id = $1 and r.status = 'running'
         and not exists (
           select from tenantkeep.run_tenants t
           where t.run_id = $1 and t.status in ('pending', 'running')
         )
       returning r.*
     )
     update public.backup_logs l
     set status = c.status, completed_at = now(), error_code = c.error_code, error_message = c.error_message,
         total_tables = o.tables, total_records = o.records, total_size = o.size,
         duration_ms = extract(epoch from now() - l.created_at) * 1000,
         details = jsonb_build_object(
           'complete_tenants', o.complete, 'failed_tenants', o.failed, 'active_tenants', o.active)
     from closed c, outcome o
     where l.run_id = c.id and l.backup_type = 'run' and l.status = 'running'`,
    [runId],
  )
}

/** Ends a run before its work began: what is open fails with this reason. */
export async function failRun(
  database: Database,
  runId: string,
  error: { code: string; message: string },
): Promise<void> {
  await database.query(
    `update tenantkeep.run_tenants
     set status = 'failed', settled_at = now(), error_code = $2, error_message = $3
     where run_id = $1 and status in ('pending', 'running')`,
    [runId, error.code, error.message],
  )
  await closeRun(database, runId)
}

const EVERY_WORKER_DIED = {
  code: 'backup_timed_out',
  message:
    'Every attempt ended with its process, most likely for lack of time or memory. Run `npm run worker` on a machine without such limits.',
}

/**
 * Puts right what dead processes left behind: jobs of dead workers are freed, tenants whose every
 * worker died are failed, those whose backup exists are settled, open ones without a job are queued
 * again, and runs without an open tenant are closed; restores whose process died are settled from the
 * journal, and upkeep that is open goes back to the queue. Every process that works on jobs begins with it.
 */
export async function reconcileRuns(database: Database, queue: JobQueue): Promise<void> {
  await queue.supervise()
  for (const job of await queue.takeDead()) {
    if (isUpkeep(job)) await failUpkeepRun(database, job.runId, EVERY_WORKER_DIED)
    else if (isSeed(job)) await settleDeadSeed(database, job)
    else if ('task' in job) await settleDeadRestore(database, job)
    else {
      await settleTenant(
        database,
        { runId: job.runId, tenantId: job.tenantId, kind: job.backupType },
        { status: 'failed', ...EVERY_WORKER_DIED },
      )
    }
  }
  const { rows } = await database.query<{
    runId: string
    tenantId: string
    kind: RunTenant['kind']
    backupId: string
  }>(
    `select r.id as "runId", t.tenant_id as "tenantId", r.kind, b.id as "backupId"
     from tenantkeep.runs r
     join tenantkeep.run_tenants t on t.run_id = r.id
     join public.tenant_backups b on b.organization_id = t.tenant_id and b.status = 'complete'
      and b.backup_type = r.kind
      and case r.kind
        when 'manual' then b.run_id = r.id
        else b.backup_date >= (r.created_at at time zone 'utc')::date
      end
     where r.status = 'running' and t.status in ('pending', 'running')`,
  )
  for (const { backupId, ...tenant } of rows) {
    await settleTenant(database, tenant, { status: 'complete', backupId })
  }
  await queueOpenTenants(database, queue)
  const { rows: finished } = await database.query<{ id: string }>(
    `select id from tenantkeep.runs r
     where status = 'running' and kind in ('daily_tenant', 'manual') and not exists (
       select from tenantkeep.run_tenants t where t.run_id = r.id and t.status in ('pending', 'running')
     )`,
  )
  for (const { id } of finished) await closeRun(database, id)
  await settleDeadRestores(database)
  await queueOpenSeeds(database, queue)
  await queueOpenUpkeep(database, queue)
  await forgetSamples(database)
}
