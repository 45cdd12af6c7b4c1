import { expect, test } from 'vitest'
import type { Backup } from '../../src/page/backups/read-backups.ts'
import {
  type DescribedState,
  describeState,
  type Words,
} from '../../src/page/state/describe-state.ts'
import type { StateCode } from '../../src/page/state/read-state.ts'

const NOW = new Date('2026-11-20T12:00:00Z')
const hoursAgo = (hours: number) => new Date(NOW.getTime() - hours * 3_600_000)

test.each<[StateCode, Partial<DescribedState>, string, string, string]>([
  ['verified', { newestBackup: complete(3) }, 'good', 'Backed up 3 hours ago', 'create'],
  ['verified', { newestBackup: complete(0.001) }, 'good', 'Backed up just now', 'create'],
  ['unverified', { newestBackup: complete(3) }, 'busy', 'Backed up 3 hours ago', 'create'],
  [
    'overdue',
    { newestBackup: complete(31) },
    'bad',
    'No complete backup for 31 hours',
    'create_now',
  ],
  ['overdue', { newestBackup: null }, 'bad', 'No complete backup', 'create_now'],
  [
    'last_failed',
    { newestBackup: complete(19) },
    'look',
    'The last backup failed; the one before is fine',
    'create',
  ],
  [
    'gaps',
    { newestBackup: { ...complete(3), gaps: ['leads'] } },
    'look',
    'Backed up 3 hours ago, but 1 table is missing from it',
    'copy_tables',
  ],
  [
    'gaps',
    { newestBackup: { ...complete(3), gaps: ['leads', 'carts'] } },
    'look',
    'Backed up 3 hours ago, but 2 tables are missing from it',
    'copy_tables',
  ],
  [
    'damaged',
    { newestBackup: complete(3) },
    'bad',
    'The newest backup cannot be used',
    'create_now',
  ],
  ['none', {}, 'nothing', 'No backup yet', 'create'],
  [
    'none',
    { state: { code: 'none', reason: 'the storage is full', since: hoursAgo(2) } },
    'bad',
    'The last backup failed, and there is no other',
    'create_now',
  ],
  ['paused', {}, 'look', 'Backups are paused', 'none'],
  ['running', { running: running('backup') }, 'busy', 'A backup is running', 'progress'],
  ['restoring', { running: running('restore') }, 'busy', 'A restore is running', 'progress'],
  ['restoring', { running: running('undo') }, 'busy', 'A restore is being undone', 'progress'],
])('puts %s into words (%#)', (code, facts, tone, heading, action) => {
  expect(describe(code, facts)).toMatchObject({ tone, heading, action })
})

test('says of a good backup when it was, how much it holds, and when the next one comes', () => {
  const { lines } = describe('verified', {
    newestBackup: complete(3),
    nextExpectedAt: hoursAgo(-20),
  })
  expect(lines.filter((line) => line.length > 0).map(plain)).toEqual([
    '[2026-11-20T09:00] · 12,345 rows · verified',
    'Next one expected [near 2026-11-21T08:00]',
  ])
})

test('gives the reason of a failure, and how old the newest backup is', () => {
  const { lines } = describe('last_failed', {
    state: {
      code: 'last_failed',
      reason: 'the storage could not be reached',
      since: hoursAgo(2),
    },
    newestBackup: complete(19),
  })
  expect(lines.map(plain)).toEqual([
    'Failed [near 2026-11-20T10:00]: the storage could not be reached.',
    'Newest complete backup: 19 hours old ([2026-11-19T17:00]).',
  ])
})

test('says of an overdue backup what was expected and what is not protected', () => {
  const { lines } = describe('overdue', {
    newestBackup: complete(31),
    nextExpectedAt: hoursAgo(7),
  })
  expect(lines.map(plain)).toEqual([
    'One was expected [near 2026-11-20T05:00], and did not arrive. ',
    'Changes since [2026-11-19T05:00] are not protected.',
  ])
})

test('says when a backup was last proven restorable, and how long that took', () => {
  const { tone, lines } = describe('verified', {
    newestBackup: complete(3),
    lastProvenRestoreAt: hoursAgo(9),
    measuredRestoreMs: 42_400,
  })
  expect(tone).toBe('good')
  expect(plain(lines[2] ?? [])).toBe(
    'Last proven restorable [2026-11-20T03:00] · restoring took 42 seconds',
  )
})

test.each([
  [3, '[2026-11-20T09:00] · 12,345 rows · verified · also in a second place'],
  [27, '[2026-11-20T09:00] · 12,345 rows · verified · in a second place up to [2026-11-19T09:00]'],
])('says how far the second place is, copied %i hours ago', (hours, text) => {
  const { lines } = describe('verified', {
    newestBackup: complete(3),
    newestCopiedTakenAt: hoursAgo(hours),
  })
  expect(plain(lines[0] ?? [])).toBe(text)
})

test('a drill that found something takes the green away, whatever was proven before', () => {
  const sentence = describe('verified', {
    newestBackup: complete(3),
    lastProvenRestoreAt: hoursAgo(48),
    failedDrill: { at: hoursAgo(2), takenAt: hoursAgo(26), findings: 2 },
  })
  expect(sentence).toMatchObject({
    tone: 'look',
    heading: 'Backed up 3 hours ago, but trying to restore found a problem',
  })
  expect(sentence.lines.map(plain).at(-1)).toBe(
    'The backup of [2026-11-19T10:00] was loaded on trial [near 2026-11-20T10:00], with 2 findings. Whoever runs this service sees what, and was told.',
  )
})

test('names the damaged backup, and the one that can be used instead', () => {
  const facts = {
    state: { code: 'damaged', reason: 'a file is missing', since: hoursAgo(1) },
    newestBackup: complete(3),
  } as const
  const withOther = describe('damaged', { ...facts, newestGoodTakenAt: hoursAgo(27) })
  const alone = describe('damaged', facts)
  expect(withOther.lines.map(plain)).toEqual([
    'The backup of [2026-11-20T09:00] did not pass verification [near 2026-11-20T11:00]: a file is missing.',
    'Your data is as it was. Take a new backup. The newest good one is of [2026-11-19T09:00].',
  ])
  expect(plain(alone.lines[1] ?? [])).toContain('There is no other good one.')
})

test('says who paused the backups, since when and why', () => {
  const { lines } = describe('paused', {
    state: { code: 'paused', reason: 'Paused by ann@example.com: moved', since: hoursAgo(24) },
  })
  expect(plain(lines[0] ?? [])).toBe('Since [2026-11-19T12:00]. Paused by ann@example.com: moved.')
})

function describe(code: StateCode, facts: Partial<DescribedState>) {
  return describeState(
    {
      state: { code, reason: null, since: null },
      newestBackup: null,
      newestAttempt: null,
      nextExpectedAt: null,
      lastProvenRestoreAt: null,
      measuredRestoreMs: null,
      failedDrill: null,
      newestGoodTakenAt: null,
      newestCopiedTakenAt: null,
      running: null,
      ...facts,
    },
    NOW,
  )
}

/** A line as text, in which instants are told from words. */
function plain(line: Words): string {
  const minute = (time: Date) => time.toISOString().slice(0, 16)
  return line
    .map((word) => {
      if (typeof word === 'string') return word
      return word instanceof Date ? `[${minute(word)}]` : `[near ${minute(word.near)}]`
    })
    .join('')
}

function running(kind: 'backup' | 'restore' | 'undo') {
  return { runId: 'r', kind, startedAt: hoursAgo(0.1), actorLabel: 'ada@northwind.example' }
}

function complete(hours: number): Backup {
  return {
    id: 'b',
    tenantId: 't',
    tenantName: 'Northwind Gases',
    type: 'daily_tenant',
    status: 'complete',
    createdAt: hoursAgo(hours),
    takenAt: hoursAgo(hours),
    completedAt: hoursAgo(hours),
    verifiedAt: hoursAgo(hours),
    damagedAt: null,
    damage: null,
    provenAt: null,
    runId: null,
    totalTables: 24,
    totalRecords: 12_345,
    rawSize: 9_000_000,
    totalSize: 1_200_000,
    gaps: [],
    changes: null,
    name: null,
    note: null,
    tags: [],
    pinnedAt: null,
    pinnedBy: null,
    pinnedByKind: null,
    pinReason: null,
    prunedAt: null,
    pruneReason: null,
    actorLabel: 'cron',
    errorCode: null,
    errorMessage: null,
  }
}
