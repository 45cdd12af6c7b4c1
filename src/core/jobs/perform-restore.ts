import { findBackup } from '../backup/backup-record.ts'
import { BackupError } from '../errors.ts'
import type { BackupSource } from '../restore/backup-source.ts'
import { openBackup } from '../restore/open-backup.ts'
import type { RestoreProgress, RestoreResult } from '../restore/restore-result.ts'
import { restoreTenant } from '../restore/restore-tenant.ts'
import { undoRestore } from '../restore/undo-restore.ts'
import type { Services } from '../services.ts'
import { announceSoon } from '../watch/announce.ts'
import { recordEvents } from './record-events.ts'
import { completeRestoreRun, type RestoreRun } from './restore-run.ts'
import { settleFromJournal } from './settle-restore.ts'
import { trimSamples } from './trim-samples.ts'

export interface PerformOptions {
  /** A backup that is in no catalog; without it the run's own is opened. */
  source?: BackupSource | undefined
  onProgress?: ((progress: RestoreProgress) => void) | undefined
  signal?: AbortSignal | undefined
}

/**
 * Does what a run asks for and records its events and its result. An attempt before this one may have
 * restored and died before it could say so: then the journal settles the run, and nothing is done twice.
 * Throws whatever ends the restore; what becomes of the run then is for the caller to say.
 */
export async function performRestore(
  services: Services,
  run: RestoreRun,
  options: PerformOptions,
): Promise<void> {
  const { catalog } = services.tenants
  if (!run.task.dry_run && (await settleFromJournal(catalog, run))) return
  const events = recordEvents(catalog, run.runId)
  try {
    const result = await callEngine(services, run, {
      ...options,
      onProgress: (progress) => {
        events.report(progress)
        options.onProgress?.(progress)
      },
    })
    await events.finish()
    await completeRestoreRun(catalog, run.runId, trimSamples(result))
  } catch (error) {
    await events.finish()
    // Only the answer to the commit was lost, or the recording of the result failed.
    if (!run.task.dry_run && (await settleFromJournal(catalog, run))) return
    throw error
  } finally {
    if (!run.task.dry_run) await announceSoon(services)
  }
}

async function callEngine(
  services: Services,
  { runId, tenantId, actor, task }: RestoreRun,
  { source, onProgress, signal }: PerformOptions,
): Promise<RestoreResult> {
  const common = {
    tenantId,
    actor,
    runId,
    isDryRun: task.dry_run,
    planHash: task.plan_hash,
    note: task.note,
    sampleRows: task.samples,
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(signal === undefined ? {} : { signal }),
  }
  if (task.kind === 'undo') {
    const { restore_id: restoreId, everything, on_conflict: onConflict } = task
    return undoRestore(services, { ...common, restoreId, everything, onConflict })
  }
  return restoreTenant(services, {
    ...common,
    source: source ?? (await openChosen(services, task.backup_id, signal)),
    options: task.options,
  })
}

async function openChosen(
  services: Services,
  backupId: string | null,
  signal: AbortSignal | undefined,
): Promise<BackupSource> {
  const backup =
    backupId === null ? undefined : await findBackup(services.tenants.catalog, backupId)
  if (backup === undefined) {
    throw new BackupError('backup_not_found', 'The backup of this run is not in the catalog.')
  }
  return openBackup(services, backup, signal)
}

/** What a run keeps of what ended it: values of rows stay in the log's cause. */
export function describeRestoreFailure(error: unknown) {
  if (error instanceof BackupError) {
    const { code, message, details, canRetry } = error
    return { code, message, details, canRetry }
  }
  return {
    code: 'internal',
    message:
      'An unexpected error ended it, and nothing was changed; the log of the functions has more.',
    details: undefined,
    canRetry: false,
  }
}
