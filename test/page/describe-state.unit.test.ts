import { expect, test } from 'vitest'
import { describeState } from '../../src/page/describe-state.ts'
import type { Backup } from '../../src/page/read-backups.ts'

const NOW = new Date('2026-11-20T12:00:00Z')
const hoursAgo = (hours: number) => new Date(NOW.getTime() - hours * 3_600_000)

test.each<[string, Backup | null, Backup | null, string, string]>([
  ['no backup at all', null, null, 'nothing', 'No backup yet'],
  ['a verified one of this night', complete(3), complete(3), 'good', 'Backed up 3 hours ago'],
  ['one a minute old', complete(0.001), complete(0.001), 'good', 'Backed up just now'],
  ['one of 26 hours', complete(26), complete(26), 'good', 'Backed up 26 hours ago'],
  ['one older than that', complete(31), complete(31), 'bad', 'No complete backup for 31 hours'],
  [
    'a failure after a good one',
    complete(19),
    failed(2),
    'look',
    'The last backup failed; the one before is fine',
  ],
  ['a failure and an old one', complete(50), failed(2), 'bad', 'No complete backup for 2 days'],
  ['nothing but failures', null, failed(2), 'bad', 'The last backup failed, and there is no other'],
  [
    'a table that nobody classified',
    { ...complete(3), gaps: ['public.leads'] },
    { ...complete(3), gaps: ['public.leads'] },
    'look',
    'Backed up 3 hours ago, but 1 table is missing from it',
  ],
  ['one that runs', complete(31), running(0.1), 'busy', 'A backup is running'],
  ['one that lost its process', complete(31), running(3), 'bad', 'No complete backup for 31 hours'],
])('says of %s how safe the data is', (_case, newestComplete, newestAttempt, tone, heading) => {
  expect(describeState({ newestComplete, newestAttempt }, NOW)).toMatchObject({ tone, heading })
})

test('gives the reason of a failure and what to do', () => {
  const sentence = describeState({ newestComplete: complete(19), newestAttempt: failed(2) }, NOW)
  expect(sentence.evidence).toContain('The storage could not be reached.')
  expect(sentence.advice).toBe('Create a backup now to be up to date.')
})

function backup(hours: number): Backup {
  return {
    id: 'b',
    tenantId: 't',
    tenantName: 'Northwind Gases',
    type: 'daily_tenant',
    status: 'running',
    createdAt: hoursAgo(hours),
    takenAt: null,
    completedAt: null,
    verifiedAt: null,
    runId: null,
    totalTables: null,
    totalRecords: null,
    rawSize: null,
    totalSize: null,
    gaps: [],
    changes: null,
    name: null,
    note: null,
    tags: [],
    pinnedAt: null,
    pinReason: null,
    actorLabel: 'cron',
    errorCode: null,
    errorMessage: null,
  }
}

function running(hours: number): Backup {
  return backup(hours)
}

function complete(hours: number): Backup {
  const at = hoursAgo(hours)
  return {
    ...backup(hours),
    status: 'complete',
    takenAt: at,
    completedAt: at,
    verifiedAt: at,
    totalTables: 24,
    totalRecords: 12_345,
    rawSize: 9_000_000,
    totalSize: 1_200_000,
  }
}

function failed(hours: number): Backup {
  return {
    ...backup(hours),
    status: 'failed',
    errorCode: 'store_unavailable',
    errorMessage: 'The storage could not be reached.',
  }
}
