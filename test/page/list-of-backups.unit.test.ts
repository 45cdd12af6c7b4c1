import { expect, test } from 'vitest'
import { matchText, type RecentBackup } from '../../src/page/backups/read-backups.ts'
import { toFilters } from '../../src/page/backups/use-list-choices.ts'
import { formatNearTime } from '../../src/page/frame/format.ts'
import { describeDay, describeMonth, listDays } from '../../src/page/timeline/describe-days.ts'

test.each([
  ['quarter', 'name.ilike.*quarter*,note.ilike.*quarter*,tags.cs.{quarter}'],
  ['#end-of-year', 'name.ilike.*#end-of-year*,note.ilike.*#end-of-year*,tags.cs.{end-of-year}'],
  ['two words', 'name.ilike.*two words*,note.ilike.*two words*'],
  ['a,b)', 'name.ilike."*a,b)*",note.ilike."*a,b)*"'],
  ['say "x"', 'name.ilike."*say \\"x\\"*",note.ilike."*say \\"x\\"*"'],
])('asks for the text %s without letting it end the condition', (search, condition) => {
  expect(matchText(search)).toBe(condition)
})

const CHOICES = {
  search: ' x ',
  kind: null,
  state: null,
  days: { first: '2026-11-19', last: '2026-11-20' },
  order: 'taken',
  isAscending: false,
} as const

test('takes days for days of the reader, both included', () => {
  // The tests run at +05:45.
  const { from, before, search } = toFilters(CHOICES, false)
  expect(search).toBe('x')
  expect(from?.toISOString()).toBe('2026-11-18T18:15:00.000Z')
  expect(before?.toISOString()).toBe('2026-11-20T18:15:00.000Z')
})

test('takes days for days of UTC where times are shown so', () => {
  const { from, before } = toFilters(CHOICES, true)
  expect(from?.toISOString()).toBe('2026-11-19T00:00:00.000Z')
  expect(before?.toISOString()).toBe('2026-11-21T00:00:00.000Z')
})

const NOW = new Date('2026-11-20T12:00:00Z')

test('shows thirty days, the best of each, in the zone of the reader', () => {
  const days = listDays(
    [
      recent('2026-11-16T03:00:00Z', { damagedAt: NOW }),
      recent('2026-11-18T03:00:00Z', { status: 'failed' }),
      recent('2026-11-19T03:00:00Z', { status: 'failed' }),
      recent('2026-11-19T04:00:00Z', { pinnedAt: NOW, totalRecords: 12_314 }),
      // In Kathmandu it is the next day.
      recent('2026-11-19T20:00:00Z', {}),
    ],
    [new Date('2026-11-17T02:00:00Z'), new Date('2026-11-19T02:00:00Z')],
    NOW,
    false,
  )
  expect(days).toHaveLength(30)
  expect(days.slice(-5).map(({ day, mark }) => `${day} ${mark}`)).toEqual([
    '2026-11-16 damaged',
    '2026-11-17 missed',
    '2026-11-18 failed',
    '2026-11-19 complete',
    '2026-11-20 complete',
  ])
  expect(days.slice(-5).map((day) => describeDay(day, 'en-GB'))).toEqual([
    'Mon 16 Nov: 1 damaged',
    'Tue 17 Nov: a backup was expected and did not come',
    'Wed 18 Nov: 1 failed',
    'Thu 19 Nov: 1 complete backup, 12,314 rows; 1 failed; pinned',
    'Fri 20 Nov: 1 complete backup, 5 rows',
  ])
  expect(describeMonth(days)).toBe(
    '2 days have a complete backup · 1 damaged · 1 failed · 1 missed',
  )
})

test('shows every day once where the clocks are put back', () => {
  const days = listDays([], [], new Date('2026-10-26T12:00:00Z'), true).map(({ day }) => day)
  expect(new Set(days).size).toBe(30)
  expect(days.at(-1)).toBe('2026-10-26')
})

test.each([
  ['2026-11-20T14:02:00Z', 'today, 14:02 UTC'],
  ['2026-11-21T03:00:00Z', 'tomorrow, 03:00 UTC'],
  ['2026-11-19T23:59:00Z', 'yesterday, 23:59 UTC'],
  ['2026-11-22T03:00:00Z', '22 Nov 2026, 03:00 UTC'],
])('names %s as people do', (time, name) => {
  expect(formatNearTime(new Date(time), NOW, { utc: true, locale: 'en-GB' })).toBe(name)
})

function recent(createdAt: string, changes: Partial<RecentBackup>): RecentBackup {
  const time = new Date(createdAt)
  return {
    id: createdAt,
    type: 'daily_tenant',
    status: 'complete',
    createdAt: time,
    takenAt: time,
    totalRecords: 5,
    totalSize: 10,
    damagedAt: null,
    pinnedAt: null,
    ...changes,
  }
}
