import type { Backup } from '../backup/backup-record.ts'
import type {
  RestoreProgress,
  RestoreResult,
  RowSample,
  TableResult,
} from '../restore/restore-result.ts'
import type { RunEvent } from './record-events.ts'
import { planExpiry, type RestoreRun } from './restore-run.ts'
import type { RunTask } from './restore-task.ts'

/**
 * What a run did, would do, or is about to do, as answers have it: of a run without a result only who and
 * what. `backup` is the one that was asked for, where there is one.
 */
export function reportRestore(run: RestoreRun, backup: Backup | null) {
  const { result } = run
  if (result === null) {
    return {
      success: run.error === null,
      message: `${nameOf(run.task)} started; it goes on in the background. get-run tells how it stands.`,
      run_id: run.runId,
      summary: describeSubject(run, backup),
    }
  }
  return {
    success: result.blockers.length === 0,
    message: describeOutcome(run.task, result),
    run_id: run.runId,
    summary: { ...describeSubject(run, backup), ...countAll(result) },
    ...describeResult(run, result),
  }
}

/** A run of a restore as `get-run` tells it. */
export function describeRestoreRun(run: RestoreRun, events: readonly RunEvent[]) {
  const { result, error, progress } = run
  return {
    run_id: run.runId,
    kind: run.task.kind,
    status: run.status,
    created_at: run.createdAt,
    finished_at: run.finishedAt,
    actor: { kind: run.actor.kind, label: run.actor.label },
    organization_id: run.tenantId,
    organization_name: run.tenantName,
    ...describeTarget(run.task),
    dry_run: run.task.dry_run,
    note: run.task.note,
    progress: progress === null ? null : describeProgress(progress),
    events: events.map(({ seq, at, event }) => ({ seq, at, ...describeProgress(event) })),
    ...(error === null ? {} : { error }),
    result: result === null ? null : reportRestore(run, null),
  }
}

/** One step, as streams and runs tell it. */
export function describeProgress({ phase, table, rowsDone, rowsTotal }: RestoreProgress) {
  return { phase, table, rows_done: rowsDone, rows_total: rowsTotal }
}

function describeSubject({ tenantId, tenantName, task }: RestoreRun, backup: Backup | null) {
  return {
    organization_id: tenantId,
    organization_name: tenantName,
    dry_run: task.dry_run,
    ...describeTarget(task),
    ...(backup === null ? {} : { backup_date: backup.backupDate, taken_at: backup.takenAt }),
  }
}

/** What is restored, or which restore is undone. */
function describeTarget(task: RunTask) {
  return task.kind === 'undo'
    ? { restore_id: task.restore_id }
    : { backup_id: task.backup_id, file: task.file }
}

function describeResult(run: RestoreRun, result: RestoreResult) {
  const { restoreId } = result
  return {
    restore_id: restoreId,
    safety_backup_id: result.safetyBackupId,
    tables: describeTables(result),
    plan: {
      hash: result.planHash,
      expires_at: planExpiry(run),
      blockers: result.blockers,
      access_changes: result.accessChanges,
      schema_changes: result.schemaChanges.map(({ name, table, isLossy, message }) => ({
        ...{ name, table, is_lossy: isLossy, message },
      })),
    },
    warnings: result.warnings,
    undo:
      restoreId === null
        ? null
        : {
            restore_id: restoreId,
            message: `undo-restore with restore_id ${restoreId} takes back what this wrote; what people wrote since stays.`,
          },
  }
}

/** By the table's name. A name may be `__proto__`, which must be a key like any other. */
function describeTables({ tables, blockers }: RestoreResult): object {
  return Object.fromEntries(
    tables.map((table) => [
      table.name,
      {
        success: !blockers.some((blocker) => blocker.table === table.name),
        record_count: table.rowsInBackup,
        restored: restoredIn(table),
        rows_in_backup: table.rowsInBackup,
        rows_live: table.rowsLive,
        inserted: table.inserted,
        updated: table.updated,
        deleted: table.deleted,
        unchanged: table.unchanged,
        kept: table.kept,
        skipped: table.skipped,
        warnings: table.warnings,
        ...(table.samples.length === 0 ? {} : { samples: table.samples.map(describeSample) }),
      },
    ]),
  )
}

/** Rows that are as in the backup afterwards. */
function restoredIn({ inserted, updated, unchanged }: TableResult): number {
  return inserted + updated + unchanged
}

function describeSample({ kind, key, label, columns }: RowSample) {
  return {
    kind,
    key,
    label,
    columns: columns.map(({ name, before, after, isMasked }) => ({
      ...{ name, before, after, is_masked: isMasked },
    })),
  }
}

/** The sums over all tables. */
export function countAll({ tables, blockers }: RestoreResult) {
  const count = (of: (table: TableResult) => number) =>
    tables.reduce((total, table) => total + of(table), 0)
  return {
    total_tables: tables.length,
    total_records_restored: count(restoredIn),
    rows_inserted: count(({ inserted }) => inserted),
    rows_updated: count(({ updated }) => updated),
    rows_deleted: count(({ deleted }) => deleted),
    rows_unchanged: count(({ unchanged }) => unchanged),
    rows_kept: count(({ kept }) => kept),
    rows_skipped: count(({ skipped }) => skipped),
    errors: blockers.length,
  }
}

function nameOf({ kind, dry_run: isDryRun }: RunTask): string {
  if (isDryRun) return kind === 'undo' ? 'Dry run of the undo' : 'Dry run'
  return kind === 'undo' ? 'Undo' : 'Restore'
}

/** What was done, or would be, in one or two sentences. */
export function describeOutcome(task: RunTask, result: RestoreResult): string {
  const { total_records_restored, rows_inserted, rows_updated, rows_deleted, errors } =
    countAll(result)
  const changes = `${rows_inserted} inserted, ${rows_updated} updated, ${rows_deleted} deleted`
  const isUndo = task.kind === 'undo'
  if (errors > 0) {
    const things = errors === 1 ? 'One thing stands' : `${errors} things stand`
    return `${nameOf(task)} completed. ${things} in the way: plan.blockers names what, and how to settle it.`
  }
  if (task.dry_run) {
    return isUndo
      ? `${nameOf(task)} completed. Would take back what the restore wrote: ${changes}.`
      : `${nameOf(task)} completed. Would restore ${total_records_restored} records: ${changes}.`
  }
  return isUndo
    ? `Undo completed: ${changes}.`
    : `Restore completed. Restored ${total_records_restored} records: ${changes}.`
}
