import type { Backup } from '../backup/backup-record.ts'

/** How a tenant stands, the worst that is true of it; what runs at this moment goes first. */
export type StateCode =
  | 'running'
  | 'restoring'
  | 'paused'
  | 'none'
  | 'damaged'
  | 'overdue'
  | 'last_failed'
  | 'gaps'
  | 'unverified'
  | 'verified'

export interface TenantState {
  code: StateCode
  /** What a person should know beyond the code; null where the code says it all. */
  reason: string | null
  /** Since when it is so. */
  since: string | null
}

/** What works on a tenant at this moment. */
export interface RunningWork {
  /** Null for one of the command line. */
  runId: string | null
  kind: 'backup' | 'restore' | 'undo'
  startedAt: string
  actorLabel: string
}

/** What decides; safety backups never count. */
export interface StateFacts {
  now: Date
  running: Pick<RunningWork, 'kind' | 'startedAt'> | null
  /** Why backups pass the tenant over. */
  skip: { reason: string; since: string | null } | null
  /** The newest complete backup. */
  newestBackup: Pick<Backup, 'takenAt' | 'createdAt' | 'verifiedAt' | 'gaps'> | null
  /** The newest that was tried, whatever came of it. */
  newestAttempt: Pick<Backup, 'status' | 'createdAt' | 'errorMessage'> | null
  /** When somebody who read the newest complete backup last found that it is not whole. */
  damage: { foundAt: string; reason: string } | null
}

/** A day, and two hours for a daily run that is late or long. */
const OVERDUE_MS = 26 * 3_600_000

/** The one rule that says how a tenant stands. */
export function decideState(facts: StateFacts): TenantState {
  const { now, running, skip, newestBackup, newestAttempt, damage } = facts
  const hasFailed = newestAttempt?.status === 'failed' || newestAttempt?.status === 'cancelled'
  const failure = hasFailed ? newestAttempt.errorMessage : null
  if (running !== null) {
    const code = running.kind === 'backup' ? 'running' : 'restoring'
    return { code, reason: null, since: running.startedAt }
  }
  if (skip !== null) return { code: 'paused', reason: skip.reason, since: skip.since }
  if (newestBackup === null) {
    return { code: 'none', reason: failure, since: hasFailed ? newestAttempt.createdAt : null }
  }
  if (damage !== null) return { code: 'damaged', reason: damage.reason, since: damage.foundAt }
  const takenAt = newestBackup.takenAt ?? newestBackup.createdAt
  if (now.getTime() - Date.parse(takenAt) > OVERDUE_MS) {
    return { code: 'overdue', reason: failure, since: takenAt }
  }
  if (hasFailed) return { code: 'last_failed', reason: failure, since: newestAttempt.createdAt }
  if (newestBackup.gaps.length > 0) {
    return { code: 'gaps', reason: newestBackup.gaps.join(', '), since: takenAt }
  }
  return newestBackup.verifiedAt === null
    ? { code: 'unverified', reason: null, since: takenAt }
    : { code: 'verified', reason: null, since: newestBackup.verifiedAt }
}
