import * as z from 'zod'
import type { Backup } from '../core/backup/backup-record.ts'
import type { TenantPage } from '../core/tenants/list-tenant-states.ts'
import type { LastRestore, TenantReport } from '../core/tenants/read-tenant-state.ts'
import type { TenantUpkeep } from '../core/tenants/read-tenant-upkeep.ts'
import type { Caller } from './authorize.ts'
import { describeBackup } from './backup-answers.ts'
import { trimmed } from './daily-answers.ts'

export const StateInput = z.strictObject({ organization_id: trimmed(200).optional() })

export const TenantsInput = z.strictObject({
  /** Part of the name, or the beginning of the id. */
  search: trimmed(200).optional(),
  /** `next_cursor` of the page before. */
  cursor: z.coerce.number().int().min(0).optional(),
  limit: z.coerce.number().int().min(1).max(500).optional(),
})

/** How a tenant stands, as answers have it. */
export function describeTenant(
  caller: Caller,
  organization: { id: string; name: string | null },
  report: TenantReport,
) {
  const { running } = report
  return {
    success: true,
    organization,
    viewer: describeViewer(caller),
    state: report.state,
    newest_backup: describeNewest(report.newestBackup),
    newest_attempt: describeNewest(report.newestAttempt),
    next_expected_at: report.nextExpectedAt,
    last_proven_restore_at: report.upkeep.proof?.at ?? null,
    ...describeUpkeep(report.upkeep),
    running:
      running === null
        ? null
        : {
            run_id: running.runId,
            kind: running.kind,
            started_at: running.startedAt,
            actor_label: running.actorLabel,
          },
    last_restore: report.lastRestore === null ? null : describeLastRestore(report.lastRestore),
    tables: report.tables.map((table) => ({
      name: table.name,
      class: table.class,
      is_history: table.isHistory,
    })),
    days: report.days.map((day) => ({
      day: day.day,
      complete: day.complete,
      failed: day.failed,
      missed_at: day.missedAt,
    })),
  }
}

function describeUpkeep(upkeep: TenantUpkeep) {
  const { proof, failedDrill, newestGoodTakenAt, newestCopiedTakenAt, safetyDays } = upkeep
  return {
    // About what a restore of everything takes.
    measured_restore_ms: proof?.tookMs ?? null,
    failed_drill:
      failedDrill === null
        ? null
        : {
            at: failedDrill.at,
            backup_id: failedDrill.backupId,
            taken_at: failedDrill.takenAt,
            findings: failedDrill.findings,
          },
    newest_good_taken_at: newestGoodTakenAt,
    newest_copied_taken_at: newestCopiedTakenAt,
    safety_backup_days: safetyDays,
  }
}

function describeNewest(backup: Backup | null) {
  return backup === null ? null : describeBackup(backup)
}

function describeLastRestore({ restore, whyNotUndo, undoUntil }: LastRestore) {
  return {
    restore_id: restore.id,
    kind: restore.type,
    completed_at: restore.completedAt,
    actor_label: restore.actorLabel,
    backup_id: restore.backupId,
    taken_at: restore.details.source.takenAt,
    run_id: restore.runId,
    can_undo: whyNotUndo === null,
    why_not: whyNotUndo,
    undo_until: undoUntil,
  }
}

/** A page of tenants with how each stands, as answers have it. */
export function describeTenants(
  caller: Caller,
  { tenants, total, counts, nextCursor }: TenantPage,
) {
  return {
    success: true,
    viewer: describeViewer(caller),
    tenants: tenants.map(({ id, name, isTemplate, state, newestBackup, recentFailures }) => ({
      organization_id: id,
      organization_name: name,
      is_template: isTemplate,
      state,
      newest_backup: describeNewest(newestBackup),
      failures_30_days: recentFailures,
    })),
    total,
    counts,
    next_cursor: nextCursor,
  }
}

function describeViewer(caller: Caller) {
  return {
    is_operator: caller.kind === 'operator',
    label: caller.actor.label,
    // There are other tenants that they may look at.
    may_choose: caller.kind !== 'user' || caller.tenantIds.length > 1,
  }
}
