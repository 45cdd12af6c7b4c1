import type { Database } from '../database/database.ts'
import type { Services } from '../services.ts'
import { describeRestoreFailure } from './perform-restore.ts'
import { performSeed } from './perform-seed.ts'
import type { JobQueue, SeedJob } from './queue.ts'
import {
  closeSeedRun,
  findOpenSeedRun,
  postponeSeedTenant,
  settleSeedTenant,
  startSeedTenant,
} from './seed-run.ts'

/** What a seeding is expected to take, in seconds: rows are copied inside the database. */
const EXPECTED_SECONDS = 5

type AttemptOutcome = { isToBeTriedAgain: false } | { isToBeTriedAgain: true; code: string }

/** One attempt at one tenant of a run. What it fails with is recorded, and thrown to nobody. */
export async function attemptSeed(
  services: Services,
  { runId, tenantId }: SeedJob,
  { signal, mayTryAgain }: { signal: AbortSignal; mayTryAgain: (code: string) => boolean },
): Promise<AttemptOutcome> {
  const { catalog } = services.tenants
  const run = await findOpenSeedRun(catalog, runId)
  if (run === undefined || !(await startSeedTenant(catalog, runId, tenantId))) {
    return { isToBeTriedAgain: false }
  }
  try {
    await performSeed(services, run, tenantId, { signal })
  } catch (error) {
    const failure = describeRestoreFailure(error)
    services.log.error(
      { run_id: runId, tenant_id: tenantId, code: failure.code, err: error },
      'seeding failed',
    )
    if (failure.canRetry && mayTryAgain(failure.code)) {
      await postponeSeedTenant(catalog, runId, tenantId, failure)
      return { isToBeTriedAgain: true, code: failure.code }
    }
    await settleSeedTenant(catalog, runId, tenantId, { status: 'failed', ...failure })
  }
  return { isToBeTriedAgain: false }
}

/** A job that used up its attempts without anybody settling it. */
export async function settleDeadSeed(
  database: Database,
  { runId, tenantId }: SeedJob,
): Promise<void> {
  await settleSeedTenant(database, runId, tenantId, {
    status: 'failed',
    code: 'backup_timed_out',
    message:
      'Every attempt ended with its process, most likely for lack of time or memory. Run `npm run worker` on a machine without such limits.',
  })
}

/**
 * Queues every open tenant of the open runs (or of one) that has no job, and closes runs without any. Who
 * seeds a single tenant does so itself: only when that must be over is it the queue's.
 */
export async function queueOpenSeeds(
  database: Database,
  queue: JobQueue,
  runId?: string,
): Promise<void> {
  const { rows } = await database.query<{ runId: string; tenantId: string }>(
    `select distinct on (t.tenant_id) t.run_id as "runId", t.tenant_id as "tenantId"
     from tenantkeep.runs r
     join tenantkeep.run_tenants t on t.run_id = r.id
     where r.kind = 'seed' and r.status = 'running' and t.status in ('pending', 'running')
       and (r.id = $1 or $1::uuid is null
         and (cardinality(r.tenant_ids) > 1 or r.created_at < now() - interval '2 minutes'))
       and not exists (
         select from tenantkeep_jobs.job j
         where j.name = 'tenant-backup' and j.state <= 'active' and j.singleton_key = 'seed:' || t.tenant_id
       )
     order by t.tenant_id, r.created_at`,
    [runId ?? null],
  )
  await queue.sendAll(
    rows.map((row) => ({ job: { ...row, task: 'seed' }, expectedSeconds: EXPECTED_SECONDS })),
  )
  const { rows: settled } = await database.query<{ id: string }>(
    `select id from tenantkeep.runs r
     where status = 'running' and kind = 'seed' and not exists (
       select from tenantkeep.run_tenants t where t.run_id = r.id and t.status in ('pending', 'running'))`,
  )
  for (const { id } of settled) await closeSeedRun(database, id)
}
