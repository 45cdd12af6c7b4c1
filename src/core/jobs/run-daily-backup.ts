import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { chainUpkeep } from './chain-upkeep.ts'
import { readJobSettings } from './job-settings.ts'
import { withQueue } from './queue.ts'
import { type RunReport, reportRun } from './report-run.ts'
import { failRun } from './settle-run.ts'
import { startDailyRun } from './start-run.ts'
import { hasOpenUpkeep, queueOpenUpkeep } from './upkeep-run.ts'
import { workJobs } from './work-jobs.ts'

/** What a call that answers somebody is told about its time. */
export interface CallTime {
  /** When the request came in. */
  startedAt: Date
  /** How long it may work by itself, in milliseconds; the setting `time_budget_seconds` by default. */
  budgetMs?: number
  /** What is still under way so long after the request is broken off. */
  cancelAfterMs?: number
  /**
   * Has another process go on with what is left. Fails silently: the next call picks up what nobody
   * was told of.
   */
  wake: () => Promise<void>
}

export interface DailyBackupRequest extends CallTime {
  actor: Actor
  idempotencyKey?: string | undefined
}

/** A synchronous function is killed after 60 s; what still runs then is cancelled in time and queued again. */
const CANCEL_AFTER_MS = 50_000

/**
 * Backs up every active tenant that has no complete daily backup of this day yet: by itself while the
 * budget lasts, the rest by the queue. Fired twice, it does nothing twice, and both calls report how
 * the tenants came out. The upkeep that follows is queued, once a day. Throws `not_configured`, `bucket_missing`, `bucket_public`, `store_unavailable`,
 * `database_unavailable` before any work; a tenant that fails is in the report.
 */
export async function runDailyBackup(
  services: Services,
  { actor, idempotencyKey, ...time }: DailyBackupRequest,
): Promise<RunReport> {
  const database = services.tenants.catalog
  const { runId, isNew } = await startDailyRun(database, { actor, idempotencyKey })

  let report = await reportRun(database, runId)
  if (isNew && report.status === 'running') {
    if (report.summary.pending_tenants > 0) await requireStore(services, runId)
    const { until, cancelAt } = await planCall(services, time)
    await workJobs(services, { runId, until, finishBy: until, cancelAt })
    report = await reportRun(database, runId)
  }
  if (report.status !== 'running') {
    if ((await chainUpkeep(services)) > 0) {
      await withQueue(database, (queue) => queueOpenUpkeep(database, queue))
    }
    report = await reportRun(database, runId)
  }
  // Upkeep of an earlier call, too: nobody may have heard when that one woke the background.
  if (report.summary.pending_tenants > 0 || (await hasOpenUpkeep(database))) await time.wake()
  return report
}

/** Until when a call may begin something, and when it has to break off. */
export async function planCall(
  services: Services,
  {
    startedAt,
    budgetMs,
    cancelAfterMs = CANCEL_AFTER_MS,
  }: Pick<CallTime, 'startedAt' | 'budgetMs' | 'cancelAfterMs'>,
) {
  const settings = await readJobSettings(services.tenants.catalog)
  const budget = budgetMs ?? settings.time_budget_seconds * 1_000
  return {
    until: new Date(startedAt.getTime() + budget),
    cancelAt: new Date(startedAt.getTime() + Math.max(budget, cancelAfterMs)),
  }
}

/** Ends the run with the store's own reason where backups can't be kept. */
export async function requireStore(services: Services, runId: string): Promise<void> {
  try {
    await services.store.check()
  } catch (error) {
    if (error instanceof BackupError) {
      await failRun(services.tenants.catalog, runId, error)
      throw new BackupError(error.code, error.message, {
        cause: error,
        details: { ...error.details, run_id: runId },
      })
    }
    throw error
  }
}
