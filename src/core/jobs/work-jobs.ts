import { setTimeout as sleep } from 'node:timers/promises'
import { takeBackup } from '../backup/take-backup.ts'
import type { Database } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { chainUpkeep } from './chain-upkeep.ts'
import { type JobSettings, readJobSettings } from './job-settings.ts'
import { keepAlive } from './keep-alive.ts'
import { describeFailure, mayTryAgain } from './may-try-again.ts'
import { describeRestoreFailure, performRestore } from './perform-restore.ts'
import { performUpkeep } from './perform-upkeep.ts'
import {
  type BackupJob,
  type ClaimedJob,
  isSeed,
  isUpkeep,
  type JobQueue,
  type RestoreJob,
  type SeedJob,
  type UpkeepJob,
  withQueue,
} from './queue.ts'
import { recordProgress } from './record-progress.ts'
import { failRestoreRun, findRestoreRun } from './restore-run.ts'
import { postponeTenant, reconcileRuns, settleTenant, startTenant } from './settle-run.ts'
import { type Slot, type Slots, withSlots } from './slots.ts'
import { queueOpenUpkeep } from './upkeep-run.ts'
import { attemptSeed } from './work-seed.ts'

export interface WorkOptions {
  /** No job is claimed after it. Without it the work goes on until `signal`. */
  until?: Date
  /** Jobs that are expected to end later than this are left to others. */
  finishBy?: Date
  /** Backups still under way are cancelled and queued again: the end of this process is near. */
  cancelAt?: Date
  /**
   * Backups at the same time in this process; the setting `max_concurrent_backups` bounds all together. One
   * task of upkeep goes on beside them.
   */
  concurrency?: number
  /** Claims no more jobs; those under way are finished. */
  signal?: AbortSignal
  /** Ends as soon as this run has nothing left that can be done now; upkeep is left to others. */
  runId?: string
}

export interface WorkReport {
  /** Jobs settled by this call. */
  settled: number
  /** Jobs that wait, or that others work on. */
  left: number
}

export const DEFAULT_CONCURRENCY = 4
const POLL_MS = 1_000
const SUPERVISE_EVERY_MS = 30_000
const RECONNECT_MS = 5_000
/** So long a task of upkeep goes on before another has its turn. */
const UPKEEP_TURN_MS = 600_000
/** With less time than that a task is not begun. */
const SHORTEST_TURN_MS = 5_000

/**
 * Works on queued backups, restores and upkeep, side by side with any number of other processes, and may be started twice.
 * First it puts right what dead processes left behind. Throws `database_unavailable` where the queue
 * can't be reached (a worker without an end waits instead); what happens to a single backup is recorded
 * and thrown to nobody.
 */
export async function workJobs(services: Services, options: WorkOptions): Promise<WorkReport> {
  for (;;) {
    try {
      return await workOnce(services, options)
    } catch (error) {
      const isEndless = options.until === undefined && options.signal?.aborted !== true
      if (!isEndless || !(error instanceof BackupError) || !error.canRetry) throw error
      services.log.warn({ code: error.code, err: error }, 'waiting for the database')
      await pause(new Set(), options, RECONNECT_MS)
    }
  }
}

async function workOnce(services: Services, options: WorkOptions): Promise<WorkReport> {
  const database = services.tenants.catalog
  return withQueue(database, async (queue) => {
    await putRight(services, queue)
    return withSlots(database, (slots) => work({ services, database, queue, slots, options }))
  })
}

/** What dead processes left behind, and what follows a daily run that has ended. */
async function putRight(services: Services, queue: JobQueue): Promise<void> {
  await reconcileRuns(services.tenants.catalog, queue)
  if ((await chainUpkeep(services)) > 0) await queueOpenUpkeep(services.tenants.catalog, queue)
}

interface Workplace {
  services: Services
  database: Database
  queue: JobQueue
  slots: Slots
  options: WorkOptions
}

async function work(place: Workplace): Promise<WorkReport> {
  const { database, queue, options } = place
  const concurrency = options.concurrency ?? DEFAULT_CONCURRENCY
  const backups = new Set<Promise<void>>()
  const upkeep = new Set<Promise<void>>()
  const everything = () => new Set([...backups, ...upkeep])
  let settings = await readJobSettings(database)
  let supervisedAt = Date.now()
  let settled = 0

  const start = (claimed: ClaimedJob, among: Set<Promise<void>>, slot?: Slot) => {
    const done = workJob(place, claimed)
      .then((isSettled) => {
        if (isSettled) settled += 1
      })
      .catch((error: unknown) => {
        // Recording the outcome failed: the heartbeat stops, and the job is given to another.
        place.services.log.error(
          { ...idsOf(claimed), code: codeOf(error), err: error },
          'job not recorded',
        )
      })
      .then(() => slot?.release())
      .catch(() => {})
      .finally(() => among.delete(done))
    among.add(done)
  }

  try {
    while (mayClaim(options)) {
      if (Date.now() - supervisedAt > SUPERVISE_EVERY_MS) {
        supervisedAt = Date.now()
        await putRight(place.services, queue)
        settings = await readJobSettings(database)
      }
      const claimed = backups.size < concurrency ? await claim(place, settings) : null
      if (claimed !== null) {
        start(claimed.job, backups, claimed.slot)
        continue
      }
      const task = upkeep.size === 0 && hasTurn(options) ? await queue.claimUpkeep() : null
      if (task !== null) {
        start(task, upkeep)
        continue
      }
      if (backups.size + upkeep.size === 0 && (await isOver(place))) break
      await pause(everything(), options)
    }
  } finally {
    await Promise.all(everything())
  }
  const { ready, tooLong, deferred, active, upkeepWaiting, upkeepActive } = await queue.state()
  return { settled, left: ready + tooLong + deferred + active + upkeepWaiting + upkeepActive }
}

function mayClaim({ until, signal }: WorkOptions): boolean {
  if (signal?.aborted === true) return false
  return until === undefined || Date.now() < until.getTime()
}

/** Whether there is time for a turn of upkeep, and it is this process' business. */
function hasTurn({ runId, until }: WorkOptions): boolean {
  if (runId !== undefined) return false
  return until === undefined || until.getTime() - Date.now() >= SHORTEST_TURN_MS
}

async function claim({ queue, slots, options }: Workplace, settings: JobSettings) {
  const slot = await slots.take(settings.max_concurrent_backups)
  if (slot === null) return null
  try {
    const job = await queue.claim(secondsLeft(options))
    if (job !== null) return { job, slot }
  } catch (error) {
    await slot.release()
    throw error
  }
  await slot.release()
  return null
}

function secondsLeft({ finishBy }: WorkOptions): number | undefined {
  if (finishBy === undefined) return undefined
  return Math.max(0, (finishBy.getTime() - Date.now()) / 1_000)
}

/** Whether a process that has nothing under way should stop waiting for more. */
async function isOver({ services, database, queue, options }: Workplace): Promise<boolean> {
  if (options.runId !== undefined && !(await isRunOpen(database, options.runId))) return true
  // A worker without an end waits for whatever comes.
  if (options.until === undefined && options.runId === undefined) return false
  const state = await queue.state(secondsLeft(options))
  const { ready, deferred, active } = state
  // Who answers a request waits for others, but not for the next attempt of what failed.
  if (options.runId !== undefined) return ready + active === 0
  if (ready + deferred > 0 || (hasTurn(options) && state.upkeepWaiting > 0)) return false
  // The last backup of the night was perhaps done here a moment ago.
  if ((await chainUpkeep(services)) === 0) return true
  await queueOpenUpkeep(database, queue)
  return false
}

async function isRunOpen(database: Database, runId: string): Promise<boolean> {
  const { rows } = await database.query<{ isOpen: boolean }>(
    `select exists (select from tenantkeep.runs where id = $1 and status = 'running') as "isOpen"`,
    [runId],
  )
  return rows[0]?.isOpen ?? false
}

async function pause(
  underWay: ReadonlySet<Promise<void>>,
  { signal, until }: WorkOptions,
  pauseMs = POLL_MS,
) {
  const wait = new AbortController()
  const left = until === undefined ? pauseMs : until.getTime() - Date.now()
  const stop = signal === undefined ? wait.signal : AbortSignal.any([wait.signal, signal])
  const slept = sleep(Math.max(0, Math.min(pauseMs, left)), undefined, { signal: stop }).catch(
    () => {},
  )
  await Promise.race([slept, ...underWay])
  wait.abort()
}

/** Does one job. True when it is settled, false when another attempt will follow. */
async function workJob(place: Workplace, claimed: ClaimedJob): Promise<boolean> {
  const { job } = claimed
  if (isUpkeep(job)) return workUpkeep(place, { ...claimed, job })
  if (isSeed(job)) return workSeed(place, { ...claimed, job })
  return 'task' in job
    ? workRestore(place, { ...claimed, job })
    : workBackup(place, { ...claimed, job })
}

async function workUpkeep(
  { services, queue, options }: Workplace,
  claimed: ClaimedJob<UpkeepJob>,
): Promise<boolean> {
  const until = Math.min(options.until?.getTime() ?? Infinity, Date.now() + UPKEEP_TURN_MS)
  return performUpkeep(services, queue, claimed, {
    until: new Date(until),
    cancelAt: options.cancelAt,
    // What is due is worked out anew each time, so that it can stop at once.
    signal: options.signal,
  })
}

async function workBackup(place: Workplace, claimed: ClaimedJob<BackupJob>): Promise<boolean> {
  const { services, database, queue, options } = place
  const { runId, tenantId, backupType: kind } = claimed.job
  const tenant = { runId, tenantId, kind }

  if (!(await startTenant(database, tenant))) {
    await queue.finish(claimed)
    return false
  }

  using life = keepAlive(queue, claimed, { cancelAt: options.cancelAt })
  const progress = recordProgress(database, claimed.job)
  try {
    const { backup } = await takeBackup(services, {
      ...toBackupInput(claimed.job),
      actor: await readActor(database, runId),
      onProgress: progress.report,
      signal: life.signal,
    })
    await progress.finish()
    await settleTenant(database, tenant, { status: 'complete', backupId: backup.id })
  } catch (error) {
    await progress.finish()
    // Somebody else has the job now; what becomes of it is theirs to say.
    if (life.wasTaken()) return false
    const failure = describeFailure(error)
    services.log.error(
      { ...idsOf(claimed), code: failure.code, attempt: claimed.retryCount + 1, err: error },
      'backup failed',
    )
    if (failure.canRetry && mayTryAgain(queue, claimed, failure.code)) {
      await postponeTenant(database, tenant, failure)
      await queue.giveBack(claimed, failure.code)
      return false
    }
    // A tenant that was removed since the run began has nothing to be backed up.
    const isGone = kind === 'daily_tenant' && failure.code === 'tenant_not_found'
    await settleTenant(database, tenant, { status: isGone ? 'skipped' : 'failed', ...failure })
  }
  await queue.finish(claimed)
  return true
}

/** A tenant of a run of seedings. */
async function workSeed(place: Workplace, claimed: ClaimedJob<SeedJob>): Promise<boolean> {
  const { services, queue, options } = place
  using life = keepAlive(queue, claimed, options)
  const outcome = await attemptSeed(services, claimed.job, {
    signal: life.signal,
    mayTryAgain: (code) => mayTryAgain(queue, claimed, code),
  })
  if (life.wasTaken()) return false
  if (outcome.isToBeTriedAgain) await queue.giveBack(claimed, outcome.code)
  else await queue.finish(claimed)
  return !outcome.isToBeTriedAgain
}

/** A restore that waited in the queue, or that a process before this one did not end. */
async function workRestore(place: Workplace, claimed: ClaimedJob<RestoreJob>): Promise<boolean> {
  const { services, database, queue, options } = place
  const run = await findRestoreRun(database, claimed.job.runId)
  if (run?.status !== 'running') {
    await queue.finish(claimed)
    return false
  }
  using life = keepAlive(queue, claimed, { cancelAt: options.cancelAt })
  try {
    await performRestore(services, run, { signal: life.signal })
  } catch (error) {
    if (life.wasTaken()) return false
    const failure = describeRestoreFailure(error)
    services.log.error(
      { ...idsOf(claimed), code: failure.code, attempt: claimed.retryCount + 1, err: error },
      'restore failed',
    )
    if (failure.canRetry && mayTryAgain(queue, claimed, failure.code)) {
      await queue.giveBack(claimed, failure.code)
      return false
    }
    await failRestoreRun(database, run.runId, failure)
  }
  await queue.finish(claimed)
  return true
}

/** What a job asks of `takeBackup`. */
export function toBackupInput({ runId, tenantId, backupType, name, note, tags }: BackupJob) {
  return { runId, tenantId, backupType, name: name ?? null, note: note ?? null, tags: tags ?? [] }
}

async function readActor(database: Database, runId: string): Promise<Actor> {
  const { rows } = await database.query<Actor>(
    `select actor_kind as kind, actor_id as id, actor_label as label from tenantkeep.runs where id = $1`,
    [runId],
  )
  return rows[0] ?? { kind: 'system', id: null, label: 'system' }
}

function codeOf(error: unknown): string {
  return error instanceof BackupError ? error.code : 'internal'
}

function idsOf({ job }: ClaimedJob) {
  return { run_id: job.runId, ...(job.tenantId === undefined ? {} : { tenant_id: job.tenantId }) }
}
