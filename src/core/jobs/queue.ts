import type { PgBoss } from 'pg-boss'
import * as z from 'zod'
import type { Database } from '../database/database.ts'
import { UPKEEP_TASKS, type UpkeepTask } from './upkeep.ts'

/** The schema that the migrations make for the queue. */
const SCHEMA = 'tenantkeep_jobs'
const QUEUE = 'tenant-backup'
const DEAD_LETTER = 'tenant-backup-dead'

/** A worker that says nothing for so long is dead; its job is given to another. */
const HEARTBEAT_SECONDS = 30
/** What people asked for, restores among it, goes before the night's work. */
const MANUAL_PRIORITY = 1_000_000

export const BackupJob = z.object({
  runId: z.uuid(),
  tenantId: z.string().min(1),
  backupType: z.enum(['daily_tenant', 'manual']),
  name: z.string().optional(),
  note: z.string().optional(),
  tags: z.array(z.string()).optional(),
})
export type BackupJob = z.infer<typeof BackupJob>

/** A restore or an undo, real or rehearsed; what it is to do stands in its run. */
export const RestoreJob = z.object({
  runId: z.uuid(),
  tenantId: z.string().min(1),
  task: z.literal('restore'),
})
export type RestoreJob = z.infer<typeof RestoreJob>

/** The defaults of one tenant; what it is to do stands in its run. */
export const SeedJob = z.object({
  runId: z.uuid(),
  tenantId: z.string().min(1),
  task: z.literal('seed'),
})
export type SeedJob = z.infer<typeof SeedJob>

/** A turn of one of the tasks of upkeep. */
export const UpkeepJob = z.object({
  runId: z.uuid(),
  task: z.enum(UPKEEP_TASKS),
  /** One tenant only. */
  tenantId: z.string().min(1).optional(),
})
export type UpkeepJob = z.infer<typeof UpkeepJob>

const Job = z.union([RestoreJob, SeedJob, UpkeepJob, BackupJob])
type Job = z.infer<typeof Job>
/** What takes one of the places for backups. */
type PlacedJob = BackupJob | RestoreJob | SeedJob

export interface ClaimedJob<Work extends Job = Job> {
  id: string
  /** How often it failed before; together with the id this names one attempt. */
  retryCount: number
  job: Work
}

interface JobRequest {
  job: Job
  /** How long it may take; decides who may claim it (see `claim`). Upkeep takes turns as long as there is time. */
  expectedSeconds: number
  /** Not to be claimed before so many seconds have passed. */
  afterSeconds?: number
}

/** Jobs that are not finished, seen from somebody who has only so much time. */
interface QueueState {
  /** Tasks of upkeep that wait, due or not; the other numbers are of backups and restores. */
  upkeepWaiting: number
  upkeepActive: number
  /** Waiting, due, and expected to fit. */
  ready: number
  /** Waiting and due, but expected to take longer than there is. */
  tooLong: number
  /** Waiting for their next attempt. */
  deferred: number
  /** Being worked on, by whomever. */
  active: number
}

export interface JobQueue {
  /**
   * Queues a job and gives its id; null where the same kind of backup of this tenant, another restore
   * of it, or the same task of upkeep is queued or under way already.
   */
  send(request: JobRequest): Promise<string | null>
  /** Queues many at once, passing over those that are queued or under way already. */
  sendAll(requests: readonly JobRequest[]): Promise<void>
  /**
   * The most urgent, then the longest backup or restore that is due and fits the seconds given; null where
   * none is.
   */
  claim(fitsSeconds?: number): Promise<ClaimedJob<PlacedJob> | null>
  /** The first task of upkeep that is due, or a job of this one; null where none is. */
  claimUpkeep(task?: UpkeepTask): Promise<ClaimedJob<UpkeepJob> | null>
  /** Says that the attempt is alive. False: it was taken for dead, and the job belongs to another now. */
  touch(claimed: ClaimedJob): Promise<boolean>
  /** The job is settled, well or badly. */
  finish(claimed: ClaimedJob): Promise<void>
  /** Settles a job that nobody claimed yet. */
  withdraw(jobId: string): Promise<void>
  /** This attempt failed: the job is due again later, or goes to the dead letters after its last attempt. */
  giveBack(claimed: ClaimedJob, errorCode: string): Promise<void>
  /** Whether `giveBack` would queue it again. */
  hasAttemptsLeft(claimed: ClaimedJob): boolean
  /** Frees the jobs of dead workers. Without this call nothing of theirs moves. */
  supervise(): Promise<void>
  /** Jobs that used up their attempts without anybody settling them: their workers died every time. */
  takeDead(): Promise<Job[]>
  state(fitsSeconds?: number): Promise<QueueState>
}

/** What the library answers to a change, and its types don't say. */
const Settled = z.object({ affected: z.number() })

const INSERT_BATCH = 500

/** `tenant_busy` costs attempts too, and a long restore may keep a tenant busy for an hour. */
const RETRY_LIMIT = 10

/**
 * Lends the job queue: pg-boss on the sessions of our own database, one job per tenant and kind at a
 * time (policy `exclusive`). Whether a tenant has today's backup is asked of the catalog, not of it.
 */
export async function withQueue<T>(
  database: Database,
  use: (queue: JobQueue) => Promise<T>,
): Promise<T> {
  // With what it brings along it takes a third of a function's start, and most functions queue nothing.
  const { PgBoss } = await import('pg-boss')
  const boss = new PgBoss({
    schema: SCHEMA,
    db: { executeSql: (sql, values) => database.query(sql, values) },
    migrate: false,
    createSchema: false,
    supervise: false,
    schedule: false,
    monitorIntervalSeconds: 1,
    monitorVacuum: false,
    // The worker doesn't own the indexes.
    reindex: false,
  })
  // Without a listener an error of its timers would end the process; every call of ours throws by itself.
  boss.on('error', () => {})
  await boss.start()
  try {
    await boss.createQueue(DEAD_LETTER, { policy: 'standard', retentionSeconds: 30 * 86_400 })
    await boss.createQueue(QUEUE, {
      policy: 'exclusive',
      retryLimit: RETRY_LIMIT,
      retryDelay: 15,
      retryBackoff: true,
      retryDelayMax: 600,
      expireInSeconds: 6 * 3_600,
      heartbeatSeconds: HEARTBEAT_SECONDS,
      deadLetter: DEAD_LETTER,
      deleteAfterSeconds: 7 * 86_400,
    })
    return await use(createJobQueue(boss, database))
  } finally {
    await boss.stop({ graceful: false, close: false })
  }
}

/** How often whoever works on a job says that it is alive, in milliseconds. */
export const TOUCH_EVERY_MS = (HEARTBEAT_SECONDS * 1_000) / 4

function createJobQueue(boss: PgBoss, database: Database): JobQueue {
  const fetch = async (range: { minPriority?: number; maxPriority?: number }) =>
    (await boss.fetch<unknown>(QUEUE, { includeMetadata: true, ...range }))[0]

  return {
    send: (request) => boss.send(QUEUE, request.job, toOptions(request)),

    async sendAll(requests) {
      for (let i = 0; i < requests.length; i += INSERT_BATCH) {
        const batch = requests.slice(i, i + INSERT_BATCH)
        await boss.insert(
          QUEUE,
          batch.map((request) => ({ data: request.job, ...toOptions(request) })),
        )
      }
    },

    async claim(fitsSeconds) {
      if (fitsSeconds === undefined) return parseClaimed(Placed, await fetch({ minPriority: 0 }))
      const fits = Math.floor(fitsSeconds)
      const found =
        (await fetch({ minPriority: MANUAL_PRIORITY, maxPriority: MANUAL_PRIORITY + fits })) ??
        (await fetch({ minPriority: 0, maxPriority: Math.min(fits, MANUAL_PRIORITY - 1) }))
      return parseClaimed(Placed, found)
    },

    async claimUpkeep(task) {
      const range =
        task === undefined
          ? { maxPriority: -1 }
          : { minPriority: upkeepPriority(task), maxPriority: upkeepPriority(task) }
      return parseClaimed(UpkeepJob, await fetch(range))
    },

    async touch({ id, retryCount }) {
      return Settled.parse(await boss.touch(QUEUE, { id, retryCount })).affected > 0
    },

    async finish({ id, retryCount }) {
      await boss.complete(QUEUE, { id, retryCount })
    },

    async withdraw(jobId) {
      await boss.complete(QUEUE, jobId, null, { includeQueued: true })
    },

    async giveBack({ id, retryCount }, errorCode) {
      await boss.fail(QUEUE, { id, retryCount }, { code: errorCode })
    },

    hasAttemptsLeft: ({ retryCount }) => retryCount < RETRY_LIMIT,

    supervise: () => boss.supervise(QUEUE),

    async takeDead() {
      const dead = await boss.fetch<unknown>(DEAD_LETTER, { batchSize: 1_000 })
      if (dead.length === 0) return []
      await boss.complete(
        DEAD_LETTER,
        dead.map(({ id }) => id),
      )
      return dead.flatMap(({ data }) => {
        const job = Job.safeParse(data)
        return job.success ? [job.data] : []
      })
    },

    async state(fitsSeconds) {
      const { rows } = await database.query<QueueState>(
        `select
           count(*) filter (where not is_upkeep and is_waiting and is_due and fits)::int as ready,
           count(*) filter (where not is_upkeep and is_waiting and is_due and not fits)::int as "tooLong",
           count(*) filter (where not is_upkeep and is_waiting and not is_due)::int as deferred,
           count(*) filter (where not is_upkeep and not is_waiting)::int as active,
           count(*) filter (where is_upkeep and is_waiting)::int as "upkeepWaiting",
           count(*) filter (where is_upkeep and not is_waiting)::int as "upkeepActive"
         from (
           select state < 'active' as is_waiting, start_after <= now() as is_due, priority < 0 as is_upkeep,
                  $2::int is null or priority % $3::int <= $2::int as fits
           from tenantkeep_jobs.job where name = $1 and state <= 'active'
         ) j`,
        [QUEUE, fitsSeconds === undefined ? null : Math.floor(fitsSeconds), MANUAL_PRIORITY],
      )
      return (
        rows[0] ?? {
          ready: 0,
          tooLong: 0,
          deferred: 0,
          active: 0,
          upkeepWaiting: 0,
          upkeepActive: 0,
        }
      )
    },
  }
}

const Placed = z.union([RestoreJob, SeedJob, BackupJob])

function parseClaimed<Work extends Job>(
  shape: z.ZodType<Work>,
  found: { id: string; retryCount: number; data: unknown } | undefined,
): ClaimedJob<Work> | null {
  if (found === undefined) return null
  return { id: found.id, retryCount: found.retryCount, job: shape.parse(found.data) }
}

/** Below every backup; the first task first. */
function upkeepPriority(task: UpkeepTask): number {
  return -1 - UPKEEP_TASKS.indexOf(task)
}

function toOptions(request: JobRequest) {
  const { afterSeconds } = request
  return {
    ...toPlaceInQueue(request),
    ...(afterSeconds === undefined ? {} : { startAfter: afterSeconds }),
  }
}

function toPlaceInQueue({ job, expectedSeconds }: JobRequest) {
  if (isUpkeep(job)) {
    const { task, tenantId } = job
    return {
      singletonKey: tenantId === undefined ? `upkeep:${task}` : `upkeep:${task}:${tenantId}`,
      priority: upkeepPriority(task),
    }
  }
  const kind = 'task' in job ? job.task : job.backupType
  const urgency = kind === 'daily_tenant' ? 0 : MANUAL_PRIORITY
  return {
    singletonKey: `${kind}:${job.tenantId}`,
    priority: urgency + Math.min(MANUAL_PRIORITY - 1, Math.ceil(expectedSeconds)),
  }
}

/** Whether a job seeds a tenant; the others are backups and restores. */
export function isSeed(job: Job): job is SeedJob {
  return 'task' in job && job.task === 'seed'
}

/** Whether a job is a task of upkeep; the others are backups, restores and seedings. */
export function isUpkeep(job: Job): job is UpkeepJob {
  return 'task' in job && job.task !== 'restore' && job.task !== 'seed'
}
