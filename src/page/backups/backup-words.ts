import { formatCount, formatPlural } from '../frame/format.ts'
import type { IconName } from '../frame/icons.tsx'
import type { JournalEntry } from '../history/read-journal.ts'
import type { Backup, Changes } from './read-backups.ts'

/** What the page calls things. */
export const KINDS: Record<Backup['type'], string> = {
  daily_tenant: 'Daily',
  manual: 'Manual',
  pre_restore: 'Safety',
}

const OPERATIONS: Record<string, string> = {
  daily_tenant: 'Daily backup',
  manual: 'Manual backup',
  pre_restore: 'Safety backup',
  restore: 'Restore',
  undo: 'Undo of a restore',
  prune: 'Pruning',
  forget: 'Erasure of all backups',
  verify: 'Verification',
  drill: 'Restore drill',
  copy: 'Copy to the second place',
  rebuild: 'Catalog rebuilt',
  pause: 'Daily backups paused',
  resume: 'Daily backups resumed',
  policy: 'Retention rules',
  seed_defaults: 'Seeding with defaults',
  defaults: 'Change to the defaults',
  create_tenant: 'New tenant',
  offboard: 'Tenant removed',
  update: 'Change to a backup',
}

export function nameOperation(type: string): string {
  return OPERATIONS[type] ?? type.replaceAll('_', ' ')
}

export interface StatusWords {
  word: string
  colour: string
  icon: IconName
}

/** The status of a backup. Complete ones are called by what proves them, or speaks against them. */
export function nameStatus(
  backup: Pick<Backup, 'status' | 'verifiedAt' | 'damagedAt'>,
): StatusWords {
  switch (backup.status) {
    case 'complete':
      if (backup.damagedAt !== null) return { word: 'Damaged', colour: 'red', icon: 'cross' }
      return backup.verifiedAt === null
        ? { word: 'Not verified', colour: 'yellow', icon: 'attention' }
        : { word: 'Verified', colour: 'green', icon: 'check' }
    case 'running':
      return { word: 'Running', colour: 'blue', icon: 'running' }
    case 'failed':
      return { word: 'Failed', colour: 'red', icon: 'cross' }
    case 'cancelled':
      return { word: 'Stopped', colour: 'red', icon: 'cross' }
    case 'pruned':
      return { word: 'Pruned', colour: 'gray', icon: 'nothing' }
  }
}

/** What is to be known of a backup beside its status. */
export function listMarks(
  backup: Pick<Backup, 'status' | 'provenAt' | 'damagedAt' | 'pinnedAt' | 'pinnedByKind' | 'gaps'>,
): StatusWords[] {
  const { status, provenAt, damagedAt, pinnedAt, gaps } = backup
  const marks: StatusWords[] = []
  if (status === 'complete' && provenAt !== null && damagedAt === null) {
    marks.push({ word: 'Proven', colour: 'green', icon: 'proven' })
  }
  if (pinnedAt !== null) {
    marks.push(
      isHeld(backup)
        ? { word: 'Held', colour: 'blue', icon: 'held' }
        : { word: 'Pinned', colour: 'blue', icon: 'pin' },
    )
  }
  if (gaps.length > 0) {
    const word = `${formatPlural(gaps.length, 'table')} missing`
    marks.push({ word, colour: 'yellow', icon: 'attention' })
  }
  return marks
}

/** Pinned by an operator: the tenant's own people can't lift that. */
export function isHeld({ pinnedAt, pinnedByKind }: Pick<Backup, 'pinnedAt' | 'pinnedByKind'>) {
  return pinnedAt !== null && pinnedByKind !== 'user'
}

/** Why a backup stands as it does, in sentences; empty where its marks say it all. */
export function listReasons(
  backup: Pick<
    Backup,
    | 'status'
    | 'errorMessage'
    | 'damagedAt'
    | 'damage'
    | 'pinnedAt'
    | 'pinnedBy'
    | 'pinnedByKind'
    | 'pinReason'
    | 'pruneReason'
  >,
): string[] {
  const { status, errorMessage, damagedAt, damage, pinnedBy, pinReason, pruneReason } = backup
  const reasons: string[] = []
  if (errorMessage !== null) reasons.push(errorMessage)
  if (status === 'complete' && damagedAt !== null) {
    const found = [...new Set((damage ?? []).map(({ message }) => message))]
    const [first = 'Its files are not as they were written.'] = found
    const more = found.length > 1 ? ` And ${formatPlural(found.length - 1, 'other finding')}.` : ''
    reasons.push(`${first}${more} It is neither compared nor restored.`)
  }
  if (pinReason !== null) {
    reasons.push(isHeld(backup) ? `Held by ${pinnedBy ?? 'an operator'}: ${pinReason}` : pinReason)
  }
  if (status === 'pruned' && pruneReason !== null) reasons.push(pruneReason)
  return reasons
}

/** How an operation ended. */
export function nameResult(entry: Pick<JournalEntry, 'status'>): StatusWords {
  switch (entry.status) {
    case 'complete':
      return { word: 'Done', colour: 'green', icon: 'check' }
    case 'running':
      return { word: 'Running', colour: 'blue', icon: 'running' }
    case 'failed':
      return { word: 'Failed', colour: 'red', icon: 'cross' }
    case 'cancelled':
      return { word: 'Stopped', colour: 'red', icon: 'cross' }
    case 'skipped':
      return { word: 'Skipped', colour: 'gray', icon: 'nothing' }
  }
}

/** `3 tables, 31 rows more`, or `nothing`; null where there is nothing to compare with. */
export function describeChanges(changes: Changes | null): string | null {
  if (changes === null) return null
  if (changes.tables.length === 0) return 'Nothing'
  const rows = changes.tables.reduce(
    (sum, table) => sum + (table.rowsAfter ?? 0) - (table.rowsBefore ?? 0),
    0,
  )
  const tables = formatPlural(changes.tables.length, 'table')
  if (rows === 0) return tables
  return `${tables}, ${formatPlural(Math.abs(rows), 'row')} ${rows > 0 ? 'more' : 'fewer'}`
}

/** One line per changed table, for those who want to know: `customers: 120 → 125 rows`. */
export function listChanges(changes: Changes): string[] {
  return changes.tables.map(({ name, rowsBefore, rowsAfter }) => {
    if (rowsBefore === null) return `${name}: new, ${formatPlural(rowsAfter ?? 0, 'row')}`
    if (rowsAfter === null) return `${name}: no longer there`
    if (rowsBefore === rowsAfter) return `${name}: values, ${formatPlural(rowsAfter, 'row')}`
    return `${name}: ${formatCount(rowsBefore)} → ${formatPlural(rowsAfter, 'row')}`
  })
}
