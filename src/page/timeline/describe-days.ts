import type { RecentBackup } from '../backups/read-backups.ts'
import { countDays, formatCount, formatPlural, toDay } from '../frame/format.ts'
import type { IconName } from '../frame/icons.tsx'

/** The best that a day has decides its mark: whether one can go back to it. */
export type DayMark = 'complete' | 'damaged' | 'failed' | 'missed' | 'running' | 'none'

export interface Day {
  /** `2026-11-19`, in the reader's zone or in UTC. */
  day: string
  mark: DayMark
  complete: number
  failed: number
  /** Complete ones that are not whole any more. */
  damaged: number
  pruned: number
  isPinned: boolean
  /** Of the newest complete backup of the day. */
  rows: number | null
}

export const MARKS: Record<DayMark, { word: string; colour: string; icon: IconName }> = {
  complete: { word: 'Complete backup', colour: 'green', icon: 'check' },
  damaged: { word: 'Damaged', colour: 'red', icon: 'attention' },
  failed: { word: 'Failed', colour: 'red', icon: 'cross' },
  missed: { word: 'Missed', colour: 'yellow', icon: 'missed' },
  running: { word: 'Running', colour: 'blue', icon: 'running' },
  none: { word: 'No backup', colour: 'gray', icon: 'nothing' },
}

const DAYS = 30

/** The last 30 days, oldest first, from the backups of that time and the instants at which one was missed. */
export function listDays(
  backups: readonly RecentBackup[],
  missedAt: readonly Date[],
  now: Date,
  utc: boolean,
): Day[] {
  const today = countDays(toDay(now, utc))
  const missed = new Set(missedAt.map((time) => toDay(time, utc)))
  const byDay = Map.groupBy(backups, (backup) => toDay(backup.createdAt, utc))
  return Array.from({ length: DAYS }, (_, index) => {
    const day = nameDay(today - DAYS + 1 + index)
    const ofDay = byDay.get(day) ?? []
    const complete = ofDay.filter(isGood)
    const failed = ofDay.filter(({ status }) => status === 'failed' || status === 'cancelled')
    return {
      day,
      mark: markOf(ofDay, missed.has(day)),
      complete: complete.length,
      failed: failed.length,
      damaged: ofDay.filter(isDamaged).length,
      pruned: ofDay.filter(({ status }) => status === 'pruned').length,
      isPinned: ofDay.some(({ pinnedAt }) => pinnedAt !== null),
      rows: complete.at(-1)?.totalRecords ?? null,
    }
  })
}

const isDamaged = ({ status, damagedAt }: RecentBackup) =>
  status === 'complete' && damagedAt !== null
const isGood = ({ status, damagedAt }: RecentBackup) => status === 'complete' && damagedAt === null

function markOf(backups: readonly RecentBackup[], isMissed: boolean): DayMark {
  const has = (...statuses: RecentBackup['status'][]) =>
    backups.some(({ status }) => statuses.includes(status))
  if (backups.some(isGood)) return 'complete'
  if (has('running')) return 'running'
  if (backups.some(isDamaged)) return 'damaged'
  if (has('failed', 'cancelled')) return 'failed'
  return isMissed ? 'missed' : 'none'
}

/** `Thu 19 Nov: 1 complete backup, 12,314 rows; 1 failed; pinned`: a day in full. */
export function describeDay(day: Day, locale?: string): string {
  const parts = [
    ...(day.complete === 0
      ? []
      : [
          formatPlural(day.complete, 'complete backup') +
            (day.rows === null ? '' : `, ${formatPlural(day.rows, 'row')}`),
        ]),
    ...(day.failed === 0 ? [] : [`${day.failed} failed`]),
    ...(day.damaged === 0 ? [] : [`${day.damaged} damaged`]),
    ...(day.pruned === 0 ? [] : [`${day.pruned} pruned`]),
    ...(day.mark === 'running' ? ['one is running'] : []),
    ...(day.mark === 'missed' ? ['a backup was expected and did not come'] : []),
    ...(day.isPinned ? ['pinned'] : []),
  ]
  const name = new Intl.DateTimeFormat(locale, {
    weekday: 'short',
    day: 'numeric',
    month: 'short',
    timeZone: 'UTC',
  }).format(new Date(`${day.day}T00:00:00Z`))
  return `${name}: ${parts.length === 0 ? 'no backup' : parts.join('; ')}`
}

/** `28 days have a complete backup · 1 failed · 1 missed`. */
export function describeMonth(days: readonly Day[]): string {
  const count = (mark: DayMark) => days.filter((day) => day.mark === mark).length
  const complete = count('complete')
  return [
    `${formatPlural(complete, 'day')} ${complete === 1 ? 'has' : 'have'} a complete backup`,
    ...(count('damaged') === 0 ? [] : [`${count('damaged')} damaged`]),
    ...(count('failed') === 0 ? [] : [`${count('failed')} failed`]),
    ...(count('missed') === 0 ? [] : [`${count('missed')} missed`]),
  ].join(' · ')
}

/** `2026-11-20` from days since 1970. */
function nameDay(days: number): string {
  return new Date(days * 86_400_000).toISOString().slice(0, 10)
}

/** What the chart shows, for those who do not see it. */
export function describeRows(complete: readonly RecentBackup[]): string {
  const rows = complete.map(({ totalRecords }) => totalRecords ?? 0)
  if (rows.length === 0) return 'Chart: there is no complete backup in the last 30 days.'
  return `Chart of ${formatPlural(rows.length, 'complete backup')} of the last 30 days: between ${formatCount(Math.min(...rows))} and ${formatPlural(Math.max(...rows), 'row')}. The list below has the numbers.`
}
