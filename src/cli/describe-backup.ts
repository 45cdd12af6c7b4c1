import type { Backup } from '../core/backup/backup-record.ts'
import { BackupError } from '../core/errors.ts'
import { isWithinReach } from '../core/store/read-with-copy.ts'
import type { Store } from '../core/store/store.ts'
import { formatBytes, formatCount } from './format-text.ts'

/** A backup as `--json` prints it: the names of the catalog's columns. */
export function backupDocument(backup: Backup): Record<string, unknown> {
  const document: Record<string, unknown> = {
    backup_id: backup.id,
    organization_id: backup.organizationId,
    organization_name: backup.organizationName,
    backup_type: backup.backupType,
    status: backup.status,
    created_at: backup.createdAt,
    taken_at: backup.takenAt,
    backup_date: backup.backupDate,
    completed_at: backup.completedAt,
    verified_at: backup.verifiedAt,
    checked_at: backup.checkedAt,
    damaged_at: backup.damagedAt,
    damage: backup.damage,
    proven_at: backup.provenAt,
    run_id: backup.runId,
    store_url: backup.storeUrl,
    copied_to: backup.copiedTo,
    summary_path: backup.summaryPath,
    total_tables: backup.totalTables,
    total_records: backup.totalRecords,
    raw_size: backup.rawSize,
    total_size: backup.totalSize,
    uploaded_size: backup.uploadedSize,
    gaps: backup.gaps,
    warnings: backup.warnings,
    name: backup.name,
    note: backup.note,
    tags: backup.tags,
    pinned_at: backup.pinnedAt,
    pin_reason: backup.pinReason,
    actor: backup.actorLabel,
  }
  if (backup.errorCode !== null) {
    document.error = { code: backup.errorCode, message: backup.errorMessage }
  }
  return document
}

/** Throws `invalid_request` where the backup lives in none of the places that were opened. */
export function requireStore(backup: Backup, store: Store): void {
  if (isWithinReach(store, backup)) return
  throw new BackupError(
    'invalid_request',
    `Backup ${backup.id} is in ${backup.storeUrl}, not in ${store.url}. Say --store ${backup.storeUrl}.`,
  )
}

/** «1,234 rows in 24 tables, 1.2 MB stored, 0.1 MB of it new» */
export function describeSize(backup: Backup): string {
  const rows = `${formatCount(backup.totalRecords ?? 0)} rows in ${backup.totalTables ?? 0} tables`
  const stored = `${formatBytes(backup.totalSize ?? 0)} stored`
  return `${rows}, ${stored}, ${formatBytes(backup.uploadedSize ?? 0)} of it new`
}

/** What a person must hear about a backup that stands: damage, tables left out, warnings. */
export function describeConcerns(backup: Backup): string[] {
  const gaps =
    backup.gaps.length === 0
      ? []
      : [`NOT in the backup, because nobody has classified them: ${backup.gaps.join(', ')}`]
  const damage = (backup.damage ?? []).map(({ message }) => `DAMAGED: ${message}`)
  return [...damage, ...gaps, ...backup.warnings.map((warning) => `Warning: ${warning.message}`)]
}
