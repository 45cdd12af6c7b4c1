import * as z from 'zod'
import type { Backup } from '../core/backup/backup-record.ts'
import { formatMegabytes } from '../core/jobs/report-run.ts'
import type { RetentionDecision } from '../core/retention/decide-retention.ts'
import { BackupName, BackupNote, BackupTags, trimmed } from './daily-answers.ts'

/** A list in a query is separated by commas, in a body it is an array. */
const listOf = <Value extends string>(values: readonly [Value, ...Value[]]) =>
  z
    .union([z.string().transform((text) => text.split(',')), z.array(z.string())])
    .pipe(z.array(z.enum(values)).min(1))
    .optional()

export const ListInput = z.strictObject({
  organization_id: trimmed(200).optional(),
  status: listOf(['running', 'complete', 'failed', 'cancelled', 'pruned']),
  backup_type: listOf(['daily_tenant', 'manual', 'pre_restore']),
  /** Days in UTC, both included. */
  from_date: z.iso.date().optional(),
  to_date: z.iso.date().optional(),
  /** Only these. */
  backup_ids: z
    .union([z.string().transform((text) => text.split(',')), z.array(z.string())])
    .pipe(z.array(z.uuid()).min(1).max(500))
    .optional(),
  /** `next_cursor` of the page before. */
  cursor: z.uuid().optional(),
  limit: z.coerce.number().int().min(1).max(500).default(50),
})

const Pin = z.strictObject({ reason: trimmed(500) })

export const UpdateInput = z
  .strictObject({
    backup_id: z.uuid(),
    name: BackupName.nullable().optional(),
    note: BackupNote.nullable().optional(),
    tags: BackupTags.optional(),
    /** With a reason keeps the backup from being pruned; null lets it go. */
    pin: Pin.nullable().optional(),
  })
  .refine(({ backup_id: _, ...changes }) => Object.keys(changes).length > 0, {
    error: 'Give at least one of name, note, tags, pin',
  })
export type UpdateInput = z.infer<typeof UpdateInput>

export const ExportInput = z.strictObject({ backup_id: z.uuid() })

/** What the retention policy makes of a backup: why it is kept, and until when; or why it goes. */
export function describeKeeping(decision: RetentionDecision | undefined) {
  if (decision === undefined) return null
  return {
    is_kept: decision.isKept,
    reasons: decision.reasons.map(({ code, message, until }) => ({
      code,
      message,
      until: until?.toISOString() ?? null,
    })),
  }
}

/** A backup as answers have it: the columns of the catalog, without where its objects lie. */
export function describeBackup(backup: Backup) {
  return {
    backup_id: backup.id,
    organization_id: backup.organizationId,
    organization_name: backup.organizationName,
    backup_type: backup.backupType,
    status: backup.status,
    backup_date: backup.backupDate,
    created_at: backup.createdAt,
    taken_at: backup.takenAt,
    completed_at: backup.completedAt,
    verified_at: backup.verifiedAt,
    damaged_at: backup.damagedAt,
    damage: backup.damage,
    proven_at: backup.provenAt,
    run_id: backup.runId,
    total_tables: backup.totalTables,
    total_records: backup.totalRecords,
    total_size: backup.totalSize === null ? null : formatMegabytes(backup.totalSize),
    total_bytes: backup.totalSize,
    raw_bytes: backup.rawSize,
    gaps: backup.gaps,
    warnings: backup.warnings,
    changes: backup.changes,
    name: backup.name,
    note: backup.note,
    tags: backup.tags,
    pinned_at: backup.pinnedAt,
    pinned_by: backup.pinnedBy,
    pinned_by_kind: backup.pinnedByKind,
    pin_reason: backup.pinReason,
    pruned_at: backup.prunedAt,
    prune_reason: backup.pruneReason,
    actor: { kind: backup.actorKind, label: backup.actorLabel },
    ...(backup.errorCode === null
      ? {}
      : { error: { code: backup.errorCode, message: backup.errorMessage } }),
  }
}
