import { describe, expect, test } from 'vitest'
import { findProblems, type Measures } from '../../../src/core/watch/find-problems.ts'
import { readMonitorSettings } from '../../../src/core/watch/monitor-settings.ts'
import type { WatchedTenant, WatchFacts } from '../../../src/core/watch/read-watch-facts.ts'

const NOW = new Date('2026-11-21T03:00:00Z')
const ago = (hours: number) => new Date(NOW.getTime() - hours * 3_600_000).toISOString()

const MEASURES: Measures = {
  ...(await readMonitorSettings({ query: async () => ({ rows: [], rowCount: 0 }) })),
  drills_per_day: 1,
}

type Newest = NonNullable<WatchedTenant['newest']>

function newest(changes: Partial<Newest> = {}): Newest {
  return {
    id: 'b1',
    takenAt: ago(1),
    completedAt: ago(1),
    verifiedAt: ago(1),
    checkedAt: null,
    provenAt: null,
    durationMs: 100,
    rows: 500,
    rawBytes: 1_000,
    storedBytes: 100,
    gaps: [],
    warnings: [],
    falls: [],
    ...changes,
  }
}

function tenant(changes: Partial<WatchedTenant> = {}): WatchedTenant {
  return {
    id: 't1',
    name: 'Alpha',
    skipCode: null,
    skipReason: null,
    newest: newest(),
    attempt: { status: 'complete', createdAt: ago(1), errorCode: null, errorMessage: null },
    damaged: null,
    lastOutcome: 'complete',
    drill: null,
    ...changes,
  }
}

function facts(changes: Partial<WatchFacts> = {}): WatchFacts {
  return {
    now: NOW,
    tenants: [tenant()],
    lastDailyRun: { createdAt: ago(1), status: 'complete' },
    queue: { waiting: 0, deferred: 0, active: 0, oldestDueAt: null, lastMoveAt: null },
    openRuns: [],
    lastDrill: { finishedAt: ago(24), durationMs: 100 },
    firstDailyRunAt: ago(1_000),
    copies: null,
    seedConflicts: [],
    watch: { monitoredAt: null, untoldSince: null },
    ...changes,
  }
}

const one = (changes: Partial<WatchedTenant>) => facts({ tenants: [tenant(changes)] })
const FAILED = {
  status: 'failed',
  createdAt: ago(1),
  errorCode: 'rows_hidden',
  errorMessage: 'A policy hides rows.',
}
const keysOf = (given: WatchFacts, measures: Partial<Measures> = {}) =>
  findProblems(given, { ...MEASURES, ...measures }).map(({ key }) => key)

test('nothing is wrong where everything is as it should be', () => {
  expect(keysOf(facts())).toEqual([])
  expect(keysOf(facts({ tenants: [] }))).toEqual([])
})

describe.each([
  ['the newest is 25 hours old', one({ newest: newest({ takenAt: ago(25) }) }), []],
  [
    'it is older by a second',
    one({ newest: newest({ takenAt: ago(25 + 1 / 3_600) }) }),
    ['backup_late:t1'],
  ],
  ['the last attempt failed', one({ attempt: FAILED }), ['backup_failed:t1']],
  [
    'it failed and the one before is old',
    one({ attempt: FAILED, newest: newest({ takenAt: ago(30) }) }),
    ['backup_late:t1'],
  ],
  ['there never was one', one({ newest: null, attempt: null }), ['backup_missing:t1']],
  [
    'a tenant came after the last daily run',
    one({ newest: null, attempt: null, lastOutcome: null }),
    [],
  ],
  [
    'its first backup waits in the queue',
    one({ newest: null, attempt: null, lastOutcome: 'pending' }),
    [],
  ],
  [
    'its first backup failed',
    one({ newest: null, attempt: FAILED, lastOutcome: 'pending' }),
    ['backup_missing:t1'],
  ],
  [
    'a paused tenant has none',
    one({ newest: null, attempt: null, skipCode: 'tenant_paused', skipReason: 'x' }),
    [],
  ],
  [
    'nobody called since the day before yesterday',
    facts({ lastDailyRun: { createdAt: ago(26), status: 'complete' } }),
    ['daily_run_missing'],
  ],
  ['nobody ever called', facts({ lastDailyRun: null }), ['daily_run_missing']],
  [
    'an older one is damaged',
    one({ damaged: { count: 1, since: ago(2), newestId: 'b0', isNewest: false } }),
    ['backup_damaged:t1'],
  ],
  [
    'all of them are damaged',
    one({ newest: null, damaged: { count: 2, since: ago(2), newestId: 'b1', isNewest: true } }),
    ['backup_missing:t1', 'backup_damaged:t1'],
  ],
  [
    'the newest could not be read back',
    one({ newest: newest({ checkedAt: ago(0.5) }) }),
    ['backup_unverified:t1'],
  ],
  ['it was read back since', one({ newest: newest({ checkedAt: ago(1) }) }), []],
  [
    'a table is in no backup, of two tenants',
    facts({
      tenants: ['t1', 't2'].map((id) => tenant({ id, newest: newest({ gaps: ['public.new'] }) })),
    }),
    ['table_unclassified:public.new'],
  ],
  [
    'the schema changed',
    one({ newest: newest({ warnings: [{ code: 'schema_changed_since_last', message: 'x' }] }) }),
    ['backup_warning:schema_changed_since_last'],
  ],
  [
    'no drill succeeded for eight days',
    facts({ lastDrill: { finishedAt: ago(8 * 24), durationMs: 1 } }),
    ['drill_late'],
  ],
  ['there was no drill, and there could have been one', facts({ lastDrill: null }), ['drill_late']],
  [
    'there was no drill since yesterday, when all began',
    facts({ lastDrill: null, firstDailyRunAt: ago(24) }),
    [],
  ],
  [
    'the last drill of a tenant failed',
    one({
      drill: { status: 'failed', finishedAt: ago(3), durationMs: 1, findings: ['backup_damaged'] },
    }),
    ['drill_failed:t1'],
  ],
  [
    'due jobs wait, and nobody works',
    facts({
      queue: { waiting: 2, deferred: 0, active: 0, oldestDueAt: ago(2), lastMoveAt: ago(2) },
    }),
    ['queue_stuck'],
  ],
  [
    'due jobs wait, and somebody works',
    facts({
      queue: { waiting: 2, deferred: 0, active: 1, oldestDueAt: ago(2), lastMoveAt: ago(0.1) },
    }),
    [],
  ],
  ['a copy is a day late', facts({ copies: { behind: 3, oldestAt: ago(49) } }), ['copies_late']],
  [
    'a tenant waits for a decision about its defaults',
    facts({
      seedConflicts: [
        { tenantId: 't1', tenantName: 'One', since: ago(1), runId: null, conflicts: 2 },
      ],
    }),
    ['seed_conflict:t1'],
  ],
  ['copies are on their way', facts({ copies: { behind: 3, oldestAt: ago(2) } }), []],
  [
    'a run is open for a day',
    facts({ openRuns: [{ kind: 'daily_tenant', count: 1, oldestAt: ago(24) }] }),
    ['run_stuck:daily_tenant'],
  ],
  [
    'a run is open for an hour',
    facts({ openRuns: [{ kind: 'restore', count: 1, oldestAt: ago(1) }] }),
    [],
  ],
])('where %s', (_, given, expected) => {
  test(`the problems are ${expected.join(', ') || 'none'}`, () => {
    expect(keysOf(given)).toEqual(expected)
  })
})

test('drills that are switched off are not missed', () => {
  expect(keysOf(facts({ lastDrill: null }), { drills_per_day: 0 })).toEqual([])
})

describe('a tenant that has fewer rows', () => {
  const fallen = (table: string | null, rows: number | null, usual: number) =>
    one({ newest: newest({ falls: [{ table, rows, usual }] }) })

  test.each([
    ['half of a table', fallen('public.rentals', 50, 100), []],
    ['more than half', fallen('public.rentals', 49, 100), ['table_rows_fell:t1:public.rentals']],
    ['all of a small table', fallen('public.rentals', 0, 19), []],
    ['a table that vanished', fallen('rentals', null, 20), ['table_rows_fell:t1:rentals']],
    ['three of ten rows of everything', fallen(null, 70, 100), []],
    ['more of everything', fallen(null, 69, 100), ['rows_fell:t1']],
    ['of a small tenant', fallen(null, 0, 99), []],
  ])('%s', (__, given, expected) => {
    expect(keysOf(given)).toEqual(expected)
  })

  test('says which table, how many rows, and since when', () => {
    const [found] = findProblems(fallen('public.rentals', 3, 400), MEASURES)
    expect(found).toMatchObject({ table: 'public.rentals', since: ago(1), tenantName: 'Alpha' })
    expect(found?.message).toContain('public.rentals of Alpha fell to 3 rows; usual are 400')
  })
})

test('errors come before warnings', () => {
  const found = findProblems(
    facts({
      tenants: [
        tenant({ id: 'a', attempt: FAILED }),
        tenant({ id: 'b', newest: newest({ takenAt: ago(99) }) }),
      ],
    }),
    MEASURES,
  )
  expect(found.map(({ severity }) => severity)).toEqual(['error', 'warning'])
})
