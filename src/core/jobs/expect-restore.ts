import { type Backup, findBackup, findLast } from '../backup/backup-record.ts'
import { loadSummary } from '../backup/load-summary.ts'
import { sum } from '../backup/summary.ts'
import { BackupError } from '../errors.ts'
import { estimateRestore, type RestoreSize } from '../restore/estimate-restore.ts'
import { findRestore } from '../restore/restore-record.ts'
import type { Services } from '../services.ts'
import type { RunTask } from './restore-task.ts'

/**
 * How long a task may take, in seconds, as asked and as a real run: judged by the backup that it reads
 * and by the tenant's last one, which is what there is to compare with and to save. Throws
 * `restore_not_found`, and what loading a summary throws.
 */
export async function expectRestoreSeconds(
  services: Services,
  tenantId: string,
  task: RunTask,
): Promise<{ asAsked: number; real: number }> {
  const { catalog } = services.tenants
  const backup =
    task.kind === 'undo'
      ? await findSafetyBackup(services, tenantId, task.restore_id)
      : task.backup_id === null
        ? undefined
        : await findBackup(catalog, task.backup_id)
  const whole = sizeOf(backup)
  const last = sizeOf(await findLast(catalog, tenantId, services.store.url))
  const size = {
    backup: await sizeOfScope(services, task, backup, whole),
    live: last.rawBytes > whole.rawBytes ? last : whole,
  }
  return {
    asAsked: estimateRestore(size, { isDryRun: task.dry_run }),
    real: estimateRestore(size, { isDryRun: false }),
  }
}

async function findSafetyBackup(
  { tenants }: Services,
  tenantId: string,
  restoreId: string,
): Promise<Backup | undefined> {
  const restore = await findRestore(tenants.catalog, restoreId)
  if (restore === undefined || restore.organizationId !== tenantId) {
    throw new BackupError('restore_not_found', 'There is no such restore of this organization.')
  }
  const { safetyBackupId } = restore
  return safetyBackupId === null ? undefined : findBackup(tenants.catalog, safetyBackupId)
}

/** Of some tables only, what the signed summary says of them. */
async function sizeOfScope(
  services: Services,
  task: RunTask,
  backup: Backup | undefined,
  whole: RestoreSize,
): Promise<RestoreSize> {
  if (task.kind === 'undo' || task.options.tables === null || backup === undefined) return whole
  const { tables } = await loadSummary(services, backup)
  const chosen = tables.filter(({ name }) => task.options.tables?.includes(name))
  return {
    rows: sum(chosen, 'rows'),
    rawBytes: sum(chosen, 'raw_bytes'),
    storedBytes: sum(chosen, 'stored_bytes'),
  }
}

function sizeOf(backup: Backup | undefined): RestoreSize {
  return {
    rows: backup?.totalRecords ?? 0,
    rawBytes: backup?.rawSize ?? 0,
    storedBytes: backup?.totalSize ?? 0,
  }
}
