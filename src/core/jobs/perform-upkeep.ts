import { verifyInRotation } from '../backup/verify-in-rotation.ts'
import { BackupError } from '../errors.ts'
import { logPhase } from '../log.ts'
import { runDrills } from '../restore/run-drills.ts'
import { pruneBackups } from '../retention/prune-backups.ts'
import type { Services } from '../services.ts'
import { copyBackups } from '../store/copy-backups.ts'
import { keepAlive } from './keep-alive.ts'
import { describeFailure, mayTryAgain } from './may-try-again.ts'
import type { ClaimedJob, JobQueue, UpkeepJob } from './queue.ts'
import { keepProgress } from './record-progress.ts'
import type { UpkeepInput, UpkeepReport, UpkeepTask } from './upkeep.ts'
import {
  failUpkeepRun,
  findUpkeepRun,
  queueUpkeep,
  recordTurn,
  settleUpkeepRun,
  type UpkeepRun,
} from './upkeep-run.ts'

type Perform = (services: Services, input: UpkeepInput) => Promise<UpkeepReport>

const TASKS: Record<UpkeepTask, Perform> = {
  prune: pruneBackups,
  verify: verifyInRotation,
  copy: copyBackups,
  drill: runDrills,
}

export interface Turn {
  /** The task begins nothing new after it. */
  until: Date
  /** What is still under way then is broken off. */
  cancelAt?: Date | undefined
  /** Breaks off what is under way. */
  signal?: AbortSignal | undefined
  tell?: ((progress: object) => void) | undefined
}

/** A turn that got through nothing in so long a time meets something that is too large for it. */
const LONG_TURN_MS = 60_000
/** As many ids as a result names, whatever happens. */
const MOST_LISTED = 1_000

/**
 * Does one turn of a task that was claimed. True where the run is settled by it; where more is due, the job
 * is queued again, so that whoever has time goes on. What ends a turn is recorded and thrown to nobody.
 * `perform` is how the task is done, where it is not in the usual way.
 */
export async function performUpkeep(
  services: Services,
  queue: JobQueue,
  claimed: ClaimedJob<UpkeepJob>,
  turn: Turn,
  perform: Perform = TASKS[claimed.job.task],
): Promise<boolean> {
  const database = services.tenants.catalog
  const run = await findUpkeepRun(database, claimed.job.runId)
  if (run?.status !== 'running') {
    await queue.finish(claimed)
    return false
  }
  using life = keepAlive(queue, claimed, turn)
  const startedAt = Date.now()
  try {
    const report = await callTask(services, run, { ...turn, signal: life.signal }, perform)
    if (life.wasTaken()) return false
    const total = addTurn(run.report, report)
    const isOutOfTime = Date.now() >= turn.until.getTime()
    const gotFurther = report.done > 0 || report.hasSettledFailures === true
    if (report.left === 0 || (!gotFurther && !isOutOfTime)) {
      await settleUpkeepRun(database, run.runId, total)
      await queue.finish(claimed)
      return true
    }
    await recordTurn(database, run.runId, total)
    if (!gotFurther && Date.now() - startedAt >= LONG_TURN_MS) {
      throw new BackupError(
        'backup_timed_out',
        'A whole turn was too short for the first item that is due. Run `tenantkeep worker` on a machine without limits of time.',
      )
    }
    await queue.finish(claimed)
    await queueUpkeep(queue, run)
    return false
  } catch (error) {
    if (life.wasTaken()) return false
    const failure = describeTurnFailure(error, life.signal)
    services.log.error(
      { run_id: run.runId, code: failure.code, attempt: claimed.retryCount + 1, err: error },
      'upkeep failed',
    )
    if (failure.canRetry && mayTryAgain(queue, claimed, failure.code)) {
      await queue.giveBack(claimed, failure.code)
      return false
    }
    await failUpkeepRun(database, run.runId, failure)
    await queue.finish(claimed)
    return true
  }
}

async function callTask(
  services: Services,
  { runId, task, actor, tenantId }: UpkeepRun,
  { until, signal, tell }: Turn,
  perform: Perform,
): Promise<UpkeepReport> {
  const progress = keepProgress(services.tenants.catalog, runId)
  try {
    const input = {
      actor,
      runId,
      until,
      ...(signal === undefined ? {} : { signal }),
      ...(tenantId === null ? {} : { tenantId }),
      tell: (told: object) => {
        progress.report(() => told)
        tell?.(told)
      },
    }
    return await logPhase(
      services.log,
      task,
      { runId, tenantId },
      () => perform(services, input),
      ({ done, failed, left }) => ({ done, failed, left }),
    )
  } finally {
    await progress.finish()
  }
}

/** What was broken off because this process ends says nothing against the task. */
function describeTurnFailure(error: unknown, signal: AbortSignal) {
  if (!signal.aborted || (error instanceof BackupError && error.canRetry)) {
    return describeFailure(error)
  }
  return {
    code: 'backup_cancelled',
    message: 'It was broken off, because its process had to end.',
    canRetry: true,
  }
}

/** The report over all turns so far. */
function addTurn(before: UpkeepReport | null, turn: UpkeepReport): UpkeepReport {
  if (before === null) return turn
  const details = { ...before.details }
  for (const [name, value] of Object.entries(turn.details)) {
    details[name] = addDetail(details[name], value)
  }
  return {
    done: before.done + turn.done,
    failed: before.failed + turn.failed,
    left: turn.left,
    details,
  }
}

function addDetail(before: unknown, value: unknown): unknown {
  if (typeof before === 'number' && typeof value === 'number') return before + value
  if (Array.isArray(before) && Array.isArray(value)) {
    return [...before, ...value].slice(0, MOST_LISTED)
  }
  return value
}
