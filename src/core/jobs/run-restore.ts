import { BackupError } from '../errors.ts'
import type { BackupSource } from '../restore/backup-source.ts'
import type { RestoreProgress } from '../restore/restore-result.ts'
import type { Actor, Services } from '../services.ts'
import { expectRestoreSeconds } from './expect-restore.ts'
import { signalAt } from './keep-alive.ts'
import { describeRestoreFailure, type PerformOptions, performRestore } from './perform-restore.ts'
import { type JobQueue, withQueue } from './queue.ts'
import { restoreCommand } from './restore-command.ts'
import {
  errorOf,
  failRestoreRun,
  findRunByKey,
  type RestoreRun,
  readRestoreRun,
  requireFreshPlan,
  startRestoreRun,
} from './restore-run.ts'
import type { RunTask } from './restore-task.ts'
import { type CallTime, planCall } from './run-daily-backup.ts'
import { takeSlot } from './run-manual-backup.ts'
import { followRestoreRun } from './settle-restore.ts'
import { withSlots } from './slots.ts'

export interface RestoreCall {
  actor: Actor
  tenantId: string
  tenantName: string | null
  task: RunTask
  idempotencyKey?: string | undefined
  /** People restore only what a dry run has shown them. */
  needsPlan: boolean
  /** Null for whoever has all the time in the world: then nothing goes to the background. */
  time: CallTime | null
  source?: BackupSource | undefined
  /** Told as soon as the run is on record, before anything else is done: whoever loses the line finds it again. */
  onRun?: ((runId: string) => void) | undefined
  onProgress?: ((progress: RestoreProgress) => void) | undefined
  /** Ends the work; the run fails then. */
  signal?: AbortSignal | undefined
}

/** Of the fifteen minutes of a background function, what a restore may be expected to take, in seconds. */
const LONGEST_SECONDS = 12 * 60

/**
 * Restores, undoes, or rehearses one of the two, and keeps it as a run: at once where it is expected to fit
 * the caller's time, otherwise by the queue; then the run that is given back is still `running`. The same
 * idempotency key never does anything twice: it gives the run of the first call. Throws `plan_required`,
 * `plan_stale`, `restore_too_long`, `restore_not_found`, `tenant_busy`, and whatever ends the restore.
 */
export async function runRestore(services: Services, call: RestoreCall): Promise<RestoreRun> {
  const { catalog } = services.tenants
  const { task, tenantId, idempotencyKey, time } = call
  const known = await findKnownRun(services, call)
  if (known !== undefined) return known

  if (!task.dry_run && task.plan_hash !== null) {
    await requireFreshPlan(catalog, tenantId, task, task.plan_hash)
  } else if (!task.dry_run && call.needsPlan) {
    throw new BackupError(
      'plan_required',
      'Make a dry run first (dry_run: true), look at what it says, and send its plan_hash with the real one.',
    )
  }
  const expectedSeconds = time === null ? 0 : await requireFits(services, tenantId, task)

  const run = await startRestoreRun(catalog, { ...call, idempotencyKey })
  if (run !== null) call.onRun?.(run.runId)
  if (run === null) {
    // Somebody sent the same key a moment ago.
    const other = await findKnownRun(services, call)
    if (other !== undefined) return other
    throw new BackupError('internal', 'The run could not be recorded. Try again.')
  }
  if (time === null) await performHere(services, run, call)
  else {
    await withQueue(catalog, (queue) =>
      doOrQueue({ services, queue, run, time, options: call }, expectedSeconds),
    )
  }
  const report = await readRestoreRun(catalog, run.runId)
  if (report.status === 'running') await time?.wake()
  return report
}

/** The run that this key started before; one that failed throws its error again. */
async function findKnownRun(
  services: Services,
  { actor, idempotencyKey, time, onRun, ...asked }: RestoreCall,
): Promise<RestoreRun | undefined> {
  if (idempotencyKey === undefined) return undefined
  const { catalog } = services.tenants
  let run = await findRunByKey(catalog, actor, idempotencyKey, asked)
  if (run !== undefined) onRun?.(run.runId)
  if (run?.status === 'running') {
    run = await followRestoreRun(catalog, run.runId)
    if (run?.status === 'running') await time?.wake()
  }
  if (run?.status === 'failed') throw errorOf(run)
  return run
}

async function requireFits(services: Services, tenantId: string, task: RunTask): Promise<number> {
  const { asAsked, real } = await expectRestoreSeconds(services, tenantId, task)
  if (real <= LONGEST_SECONDS) return asAsked
  throw new BackupError(
    'restore_too_long',
    `This may take ${Math.ceil(real / 60)} minutes, and a function has ${LONGEST_SECONDS / 60}. On a machine that stays on, run: ${restoreCommand(tenantId, task)}`,
    { details: { expected_seconds: real } },
  )
}

interface Errand {
  services: Services
  queue: JobQueue
  run: RestoreRun
  time: CallTime
  options: PerformOptions
}

async function doOrQueue(errand: Errand, expectedSeconds: number): Promise<void> {
  const { services, run, time, options } = errand
  const { until, cancelAt } = await planCall(services, time)
  if (Date.now() + expectedSeconds * 1_000 <= until.getTime()) {
    const isDone = await withSlots(services.tenants.catalog, async (slots) => {
      const slot = await takeSlot(services, slots)
      if (slot === null) return false
      try {
        return await doUntil(services, run, options, cancelAt)
      } finally {
        await slot.release()
      }
    })
    if (isDone) return
  }
  await send(errand, expectedSeconds)
}

/** False where the time ran out: everything was rolled back, and the queue may try it with more of it. */
async function doUntil(
  services: Services,
  run: RestoreRun,
  options: PerformOptions,
  cancelAt: Date,
): Promise<boolean> {
  const outOfTime = signalAt(cancelAt)
  try {
    await performHere(services, run, { ...options, signal: outOfTime }, () => outOfTime.aborted)
    return true
  } catch (error) {
    if (outOfTime.aborted) return false
    throw error
  }
}

/** Does it in this process. What ends it is recorded in the run, unless it is to be tried again. */
async function performHere(
  services: Services,
  run: RestoreRun,
  options: PerformOptions,
  isToBeTriedAgain: () => boolean = () => false,
): Promise<void> {
  try {
    await performRestore(services, run, options)
  } catch (error) {
    if (isToBeTriedAgain()) throw error
    await failRestoreRun(services.tenants.catalog, run.runId, describeRestoreFailure(error))
    if (!(error instanceof BackupError)) throw error
    throw new BackupError(error.code, error.message, {
      cause: error,
      details: { ...error.details, run_id: run.runId },
    })
  }
}

async function send({ services, queue, run }: Errand, expectedSeconds: number): Promise<void> {
  const { runId, tenantId } = run
  const jobId = await queue.send({ job: { runId, tenantId, task: 'restore' }, expectedSeconds })
  if (jobId !== null) return
  const error = new BackupError(
    'tenant_busy',
    'Another restore of this organization waits or is under way in the background. Wait until it is done.',
    { details: { run_id: runId } },
  )
  await failRestoreRun(services.tenants.catalog, runId, error)
  throw error
}
