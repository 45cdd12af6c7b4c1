import * as z from 'zod/mini'
import { type Backup, Damage, PinnedByKind } from '../backups/read-backups.ts'
import { callFunction, check, count, type PageServices, time } from '../calls/call-function.ts'

/** A backup as the functions describe it, made into one like those that the lists read. */
const DescribedBackup = z.pipe(
  z.object({
    backup_id: z.string(),
    organization_id: z.string(),
    organization_name: z.nullable(z.string()),
    backup_type: z.enum(['daily_tenant', 'manual', 'pre_restore']),
    status: z.enum(['running', 'complete', 'failed', 'cancelled', 'pruned']),
    created_at: time,
    taken_at: z.nullable(time),
    completed_at: z.nullable(time),
    verified_at: z.nullable(time),
    damaged_at: z.nullable(time),
    damage: z.nullable(Damage),
    proven_at: z.nullable(time),
    run_id: z.nullable(z.string()),
    total_tables: z.nullable(count),
    total_records: z.nullable(count),
    total_bytes: z.nullable(count),
    raw_bytes: z.nullable(count),
    gaps: z.array(z.string()),
    changes: z.nullable(
      z.object({
        tables: z.array(
          z.object({
            name: z.string(),
            rowsBefore: z.nullable(count),
            rowsAfter: z.nullable(count),
          }),
        ),
      }),
    ),
    name: z.nullable(z.string()),
    note: z.nullable(z.string()),
    tags: z.array(z.string()),
    pinned_at: z.nullable(time),
    pinned_by: z.nullable(z.string()),
    pinned_by_kind: z.nullable(PinnedByKind),
    pin_reason: z.nullable(z.string()),
    pruned_at: z.nullable(time),
    prune_reason: z.nullable(z.string()),
    actor: z.object({ label: z.string() }),
    error: z.optional(z.object({ code: z.string(), message: z.nullable(z.string()) })),
  }),
  z.transform(
    (backup): Backup => ({
      id: backup.backup_id,
      tenantId: backup.organization_id,
      tenantName: backup.organization_name,
      type: backup.backup_type,
      status: backup.status,
      createdAt: backup.created_at,
      takenAt: backup.taken_at,
      completedAt: backup.completed_at,
      verifiedAt: backup.verified_at,
      damagedAt: backup.damaged_at,
      damage: backup.damage,
      provenAt: backup.proven_at,
      runId: backup.run_id,
      totalTables: backup.total_tables,
      totalRecords: backup.total_records,
      rawSize: backup.raw_bytes,
      totalSize: backup.total_bytes,
      gaps: backup.gaps,
      changes: backup.changes,
      name: backup.name,
      note: backup.note,
      tags: backup.tags,
      pinnedAt: backup.pinned_at,
      pinnedBy: backup.pinned_by,
      pinnedByKind: backup.pinned_by_kind,
      pinReason: backup.pin_reason,
      prunedAt: backup.pruned_at,
      pruneReason: backup.prune_reason,
      actorLabel: backup.actor.label,
      errorCode: backup.error?.code ?? null,
      errorMessage: backup.error?.message ?? null,
    }),
  ),
)

export const StateCode = z.enum([
  'running',
  'restoring',
  'paused',
  'none',
  'damaged',
  'overdue',
  'last_failed',
  'gaps',
  'unverified',
  'verified',
])
export type StateCode = z.infer<typeof StateCode>

const State = z.pipe(
  z.object({
    organization: z.object({ id: z.string(), name: z.nullable(z.string()) }),
    viewer: z.object({ is_operator: z.boolean(), label: z.string(), may_choose: z.boolean() }),
    state: z.object({
      code: StateCode,
      reason: z.nullable(z.string()),
      since: z.nullable(time),
    }),
    newest_backup: z.nullable(DescribedBackup),
    newest_attempt: z.nullable(DescribedBackup),
    next_expected_at: z.nullable(time),
    last_proven_restore_at: z.nullable(time),
    measured_restore_ms: z.nullable(count),
    failed_drill: z.nullable(z.object({ at: time, taken_at: z.nullable(time), findings: count })),
    newest_good_taken_at: z.nullable(time),
    newest_copied_taken_at: z.nullable(time),
    safety_backup_days: count,
    running: z.nullable(
      z.object({
        run_id: z.nullable(z.string()),
        kind: z.enum(['backup', 'restore', 'undo']),
        started_at: time,
        actor_label: z.string(),
      }),
    ),
    last_restore: z.nullable(
      z.object({
        restore_id: z.string(),
        kind: z.enum(['restore', 'undo']),
        completed_at: z.nullable(time),
        actor_label: z.string(),
        backup_id: z.nullable(z.string()),
        taken_at: time,
        run_id: z.nullable(z.string()),
        can_undo: z.boolean(),
        why_not: z.nullable(z.string()),
        undo_until: z.nullable(time),
      }),
    ),
    tables: z.array(z.object({ name: z.string(), class: z.string(), is_history: z.boolean() })),
    days: z.array(
      z.object({ day: z.string(), complete: count, failed: count, missed_at: z.nullable(time) }),
    ),
  }),
  z.transform((answer) => ({
    organization: answer.organization,
    viewer: {
      isOperator: answer.viewer.is_operator,
      label: answer.viewer.label,
      /** There are other tenants that they may look at. */
      mayChoose: answer.viewer.may_choose,
    },
    /** The worst that is true; what runs goes first. `reason` and `since` are about the code. */
    state: answer.state,
    /** The newest complete one; safety backups never count. */
    newestBackup: answer.newest_backup,
    /** The newest of whatever status; safety backups never count. */
    newestAttempt: answer.newest_attempt,
    /** In the past where it is late; null where no daily run ever was, and while backups are paused. */
    nextExpectedAt: answer.next_expected_at,
    /** When a backup was last loaded on trial, and everything was in order. */
    lastProvenRestoreAt: answer.last_proven_restore_at,
    /** What that took. */
    measuredRestoreMs: answer.measured_restore_ms,
    /** The last trial, where it found something. */
    failedDrill:
      answer.failed_drill === null
        ? null
        : {
            at: answer.failed_drill.at,
            /** Of the backup that was tried. */
            takenAt: answer.failed_drill.taken_at,
            findings: answer.failed_drill.findings,
          },
    /** Of the newest backup that is whole, as far as anybody knows. */
    newestGoodTakenAt: answer.newest_good_taken_at,
    /** Of the newest backup that is in a second place, too. */
    newestCopiedTakenAt: answer.newest_copied_taken_at,
    /** For so many days a restore can be undone. */
    safetyBackupDays: answer.safety_backup_days,
    running:
      answer.running === null
        ? null
        : {
            /** Null for work of the command line, whose progress nobody can follow here. */
            runId: answer.running.run_id,
            kind: answer.running.kind,
            startedAt: answer.running.started_at,
            actorLabel: answer.running.actor_label,
          },
    lastRestore:
      answer.last_restore === null
        ? null
        : {
            restoreId: answer.last_restore.restore_id,
            kind: answer.last_restore.kind,
            completedAt: answer.last_restore.completed_at,
            actorLabel: answer.last_restore.actor_label,
            /** Null where it came from a file. */
            backupId: answer.last_restore.backup_id,
            /** The time that was gone back to. */
            takenAt: answer.last_restore.taken_at,
            runId: answer.last_restore.run_id,
            canUndo: answer.last_restore.can_undo,
            whyNot: answer.last_restore.why_not,
            undoUntil: answer.last_restore.undo_until,
          },
    /** What a backup holds, owners first. */
    tables: answer.tables.map((table) => ({
      name: table.name,
      class: table.class,
      isHistory: table.is_history,
    })),
    /** The last 30 days in UTC (`2026-11-21`), oldest first. */
    days: answer.days.map((day) => ({
      day: day.day,
      complete: day.complete,
      failed: day.failed,
      /** When a daily backup was expected that did not come; null where none is missing. */
      missedAt: day.missed_at,
    })),
  })),
)
export type State = z.infer<typeof State>

/** How a tenant stands, in the server's own words: the page decides nothing of it. */
export async function readState(
  services: PageServices,
  tenantId: string,
  signal: AbortSignal,
): Promise<State> {
  const answer = await callFunction(services, 'get-state', { organization_id: tenantId }, signal)
  return check(State, answer)
}
