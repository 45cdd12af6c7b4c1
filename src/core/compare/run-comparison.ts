import { explainFailure } from '../backup/explain-failure.ts'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import { recordEvents } from '../jobs/record-events.ts'
import { logPhase } from '../log.ts'
import { type BackupChoice, chooseBackup } from '../restore/choose-backup.ts'
import { openBackup } from '../restore/open-backup.ts'
import type { RestoreProgress } from '../restore/restore-result.ts'
import type { Actor, Services } from '../services.ts'
import { isWithinReach } from '../store/read-with-copy.ts'
import { compareBackups } from './compare-backups.ts'
import type { Comparison } from './comparison.ts'
import { completeCompareRun, failCompareRun, startCompareRun } from './comparison-record.ts'

export interface RunComparisonInput {
  tenantId: string
  tenantName: string | null
  backup: BackupChoice
  /** The id of another backup of the tenant. */
  against: string
  tables?: readonly string[] | null
  maxRows?: number
  actor: Actor
  /** With the run, by which another reader finds the comparison while it goes on. */
  onProgress?: (progress: RestoreProgress, runId: string) => void
  signal?: AbortSignal | undefined
}

/**
 * Compares a backup of the catalog with the live rows (`against: 'live'`) or with another backup, under a
 * run of its own, where the rows that differ are kept for a day. Throws `backup_not_found`,
 * `backup_incomplete`, and what `compareBackups` throws; the run says the same.
 */
export async function runComparison(
  services: Services,
  { actor, tenantId, tenantName, against, tables = null, signal, ...input }: RunComparisonInput,
): Promise<{ runId: string; comparison: Comparison }> {
  const { catalog } = services.tenants
  const backup = await chooseBackup(catalog, tenantId, input.backup)
  const other =
    against === 'live' ? null : await chooseBackup(catalog, tenantId, { backupId: against })
  for (const chosen of [backup, other]) {
    if (chosen !== null && !isWithinReach(services.store, chosen)) throw inAnotherStore(chosen.id)
  }
  const request = {
    backup_id: backup.id,
    with_backup_id: other?.id ?? null,
    tables: tables === null ? null : [...tables],
  }
  const runId = await startCompareRun(catalog, { actor, tenantId, tenantName, request })
  const events = recordEvents(catalog, runId)
  try {
    const compare = async () =>
      compareBackups(services, {
        tenantId,
        tables,
        runId,
        signal,
        source: await openBackup(services, backup, signal),
        against: other === null ? 'live' : await openBackup(services, other, signal),
        ...(input.maxRows === undefined ? {} : { maxRows: input.maxRows }),
        onProgress: (progress) => {
          events.report(progress)
          input.onProgress?.(progress, runId)
        },
      })
    const ids = { tenantId, runId, backupId: backup.id }
    const comparison = await logPhase(
      services.log,
      'compare',
      ids,
      compare,
      ({ tables: compared }) => ({
        tables: compared.length,
      }),
    )
    await events.finish()
    await interruptible(completeCompareRun(catalog, runId, comparison), signal)
    return { runId, comparison }
  } catch (error) {
    const failure = explainFailure(error)
    await events.finish()
    await failCompareRun(catalog, runId, failure).catch((cause: unknown) =>
      services.log.error({ err: cause, runId }, 'A failed comparison could not be recorded'),
    )
    throw failure
  }
}

function inAnotherStore(backupId: string): BackupError {
  return new BackupError(
    'invalid_request',
    `Backup ${backupId} is in another store than the one that is set here (BACKUP_STORE, --store).`,
  )
}
