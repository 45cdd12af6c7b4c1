import { setTimeout as sleep } from 'node:timers/promises'
import { takeBackup } from '../backup/take-backup.ts'
import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { readJobSettings } from './job-settings.ts'
import { signalAt } from './keep-alive.ts'
import { describeFailure } from './may-try-again.ts'
import { type BackupJob, type JobQueue, withQueue } from './queue.ts'
import { recordProgress } from './record-progress.ts'
import { type RunReport, reportRun } from './report-run.ts'
import { type CallTime, planCall, requireStore } from './run-daily-backup.ts'
import { failRun, postponeTenant, settleTenant, startTenant } from './settle-run.ts'
import { type Slots, withSlots } from './slots.ts'
import { expectSeconds, startManualRun } from './start-run.ts'
import { toBackupInput } from './work-jobs.ts'

export interface ManualBackupRequest extends CallTime {
  actor: Actor
  /** Known to exist. */
  tenantId: string
  tenantName: string | null
  name?: string | undefined
  note?: string | undefined
  tags?: string[] | undefined
  idempotencyKey?: string | undefined
}

/** If the process that answers dies, the queue does its work after so many seconds. */
const TAKE_OVER_AFTER_SECONDS = 90
/** A person rather waits a moment for a free place than for the background. */
const WAIT_FOR_PLACE_MS = 2_000

/**
 * Takes a backup of one tenant that somebody asked for: at once where its last one was short enough,
 * otherwise by the queue. Throws `tenant_busy` while another backup or a restore of the tenant is under
 * way, and whatever else ends the backup; the run says the same.
 */
export async function runManualBackup(
  services: Services,
  { actor, tenantId, tenantName, idempotencyKey, name, note, tags, ...time }: ManualBackupRequest,
): Promise<RunReport> {
  const database = services.tenants.catalog
  const request = {
    ...(name === undefined ? {} : { name }),
    ...(note === undefined ? {} : { note }),
    ...(tags === undefined ? {} : { tags }),
  }
  const { runId, isNew } = await startManualRun(database, {
    actor,
    tenantId,
    tenantName,
    idempotencyKey,
    request,
  })
  if (isNew) {
    await requireStore(services, runId)
    const job: BackupJob = { runId, tenantId, backupType: 'manual', ...request }
    await withQueue(database, (queue) => doOrQueue({ services, queue, job, actor, time }))
  }
  const report = await reportRun(database, runId)
  if (report.status === 'running') await time.wake()
  return report
}

interface Errand {
  services: Services
  queue: JobQueue
  job: BackupJob
  actor: Actor
  time: CallTime
}

async function doOrQueue(errand: Errand): Promise<void> {
  const database = errand.services.tenants.catalog
  const { until, cancelAt } = await planCall(errand.services, errand.time)
  const expectedSeconds = await expectSeconds(database, errand.job.tenantId)
  const isShort = Date.now() + expectedSeconds * 1_000 <= until.getTime()
  const isDone =
    isShort &&
    (await withSlots(database, async (slots) => {
      const slot = await takeSlot(errand.services, slots)
      if (slot === null) return false
      try {
        await doNow(errand, expectedSeconds, cancelAt)
        return true
      } finally {
        await slot.release()
      }
    }))
  if (!isDone) await send(errand, expectedSeconds)
}

/** A place among all that work at the same time; null where none is free for a moment. */
export async function takeSlot(services: Services, slots: Slots) {
  const { max_concurrent_backups: limit } = await readJobSettings(services.tenants.catalog)
  const giveUpAt = Date.now() + WAIT_FOR_PLACE_MS
  for (;;) {
    const slot = await slots.take(limit)
    if (slot !== null || Date.now() >= giveUpAt) return slot
    await sleep(200)
  }
}

async function doNow(errand: Errand, expectedSeconds: number, cancelAt: Date): Promise<void> {
  const { services, queue, job, actor } = errand
  const database = services.tenants.catalog
  const tenant = { runId: job.runId, tenantId: job.tenantId, kind: job.backupType }
  const jobId = await send(errand, expectedSeconds, TAKE_OVER_AFTER_SECONDS)
  await startTenant(database, tenant)

  const cancelled = signalAt(cancelAt)
  const progress = recordProgress(database, job)
  try {
    const { backup } = await takeBackup(services, {
      ...toBackupInput(job),
      actor,
      onProgress: progress.report,
      signal: cancelled,
    })
    await progress.finish()
    await settleTenant(database, tenant, { status: 'complete', backupId: backup.id })
    await queue.withdraw(jobId)
  } catch (error) {
    await progress.finish()
    const failure = describeFailure(error)
    // It took longer than ever before: the queue has it.
    if (cancelled.aborted) return postponeTenant(database, tenant, failure)
    await settleTenant(database, tenant, { status: 'failed', ...failure })
    await queue.withdraw(jobId)
    throw error
  }
}

async function send(
  { services, queue, job }: Errand,
  expectedSeconds: number,
  afterSeconds?: number,
): Promise<string> {
  const jobId = await queue.send({
    job,
    expectedSeconds,
    ...(afterSeconds === undefined ? {} : { afterSeconds }),
  })
  if (jobId !== null) return jobId
  const error = new BackupError(
    'tenant_busy',
    'A manual backup of this tenant is already under way. Wait until it is done.',
  )
  await failRun(services.tenants.catalog, job.runId, error)
  throw error
}
