import * as z from 'zod'
import type { Backup } from '../core/backup/backup-record.ts'
import type { Queryable } from '../core/database/database.ts'
import { BackupError } from '../core/errors.ts'
import { reportRestore } from '../core/jobs/report-restore.ts'
import type { RestoreRun } from '../core/jobs/restore-run.ts'
import type { RunTask } from '../core/jobs/restore-task.ts'
import { RestoreOptions } from '../core/restore/restore-options.ts'
import { type Caller, onlyTenantOf, requireTenant, requireTenantOfBackup } from './authorize.ts'
import { BackupNote, trimmed } from './daily-answers.ts'
import type { Answer } from './handle.ts'

const common = {
  organization_id: trimmed(200).optional(),
  /** Only rehearsed, unless it says false. */
  dry_run: z.boolean().default(true),
  /** Of the dry run that was looked at. */
  plan_hash: trimmed(200).optional(),
  note: BackupNote.optional(),
  /** The same key again gives the answer of the first call, and restores nothing. */
  idempotency_key: trimmed(200).optional(),
  /** Differing rows to show per table, with what differs; a dry run only. */
  samples: z.int().min(0).max(100).default(0),
}

export const RestoreInput = z.strictObject({
  ...common,
  ...RestoreOptions.shape,
  backup_id: z.uuid().optional(),
  /** A UTC day: its newest complete backup. */
  backup_date: z.iso.date().optional(),
})
export type RestoreInput = z.infer<typeof RestoreInput>

export const UndoInput = z.strictObject({
  ...common,
  /** `restore_id` of the answer to the restore. */
  restore_id: z.uuid(),
  /** Back to the safety backup as a whole, instead of only the rows that the restore wrote. */
  everything: z.boolean().default(false),
  /** Rows that the restore wrote and somebody changed since. */
  on_conflict: z.enum(['fail', 'keep', 'undo']).default('fail'),
})
export type UndoInput = z.infer<typeof UndoInput>

/**
 * The tenant that is to be restored: the one that is named, or that of the backup, or a user's only one.
 * Throws `tenant_not_found`, `backup_not_found`, `not_allowed`, `invalid_request` where nothing says which.
 */
export async function requireTenantToRestore(
  database: Queryable,
  caller: Caller,
  {
    organization_id: givenId,
    backup_id: backupId,
  }: Pick<RestoreInput, 'organization_id' | 'backup_id'>,
): Promise<{ id: string; name: string | null }> {
  if (givenId !== undefined) return requireTenant(database, caller, givenId)
  if (backupId !== undefined) {
    const tenantId = await requireTenantOfBackup(database, caller, backupId)
    return requireTenant(database, caller, tenantId)
  }
  if (caller.kind === 'user') return requireTenant(database, caller, onlyTenantOf(caller))
  throw new BackupError('invalid_request', 'Say which organization: organization_id.')
}

/** What a restore is to do, of what was sent. */
export function toRestoreTask(input: RestoreInput, backup: Backup): RunTask {
  const { organization_id, backup_id, backup_date, idempotency_key, ...rest } = input
  const { dry_run, plan_hash, note, samples, ...options } = rest
  return {
    kind: 'restore',
    backup_id: backup.id,
    file: null,
    options,
    dry_run,
    plan_hash: plan_hash ?? null,
    note: note ?? null,
    samples: dry_run ? samples : 0,
  }
}

/** What an undo is to do, of what was sent. */
export function toUndoTask(input: UndoInput): RunTask {
  const { restore_id, everything, on_conflict, dry_run, plan_hash, note, samples } = input
  return {
    kind: 'undo',
    restore_id,
    everything,
    on_conflict,
    dry_run,
    plan_hash: plan_hash ?? null,
    note: note ?? null,
    samples: dry_run ? samples : 0,
  }
}

/** The answer to a restore or an undo: 200 with what was or would be done, 202 while it is under way. */
export function answerRestore(run: RestoreRun, backup: Backup | null): Answer {
  return { status: run.result === null ? 202 : 200, body: reportRestore(run, backup) }
}
