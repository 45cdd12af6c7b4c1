import { describe, expect, test } from 'vitest'
import {
  cursorOf,
  describeKind,
  describeRemoved,
  describeStep,
  describeTable,
  describeTotals,
  findDirection,
  findMatches,
  findShownColumns,
  keyOf,
  readInstant,
  sortByLoss,
  sumUp,
  whyNotTickable,
} from '../../src/page/compare/describe-comparison.ts'
import type { ComparedTable, RowDifference } from '../../src/page/compare/read-comparison.ts'

function table(name: string, given: Partial<ComparedTable> = {}): ComparedTable {
  return {
    name,
    presence: 'both',
    isCompared: true,
    rowsInBackup: 10,
    rowsInOther: 10,
    counts: { only_in_backup: 0, changed: 0, only_in_other: 0 },
    equal: 10,
    keptRows: 0,
    isByKey: true,
    keyColumns: ['id'],
    isByText: false,
    columnsOnlyInBackup: [],
    columnsOnlyInOther: [],
    columnsNotCompared: [],
    ...given,
  }
}

function row(given: Partial<RowDifference> = {}): RowDifference {
  return {
    table: 'customers',
    kind: 'changed',
    key: ['1'],
    label: null,
    times: 1,
    columns: [],
    ...given,
  }
}

const counts = (only_in_backup: number, changed: number, only_in_other: number) => ({
  only_in_backup,
  changed,
  only_in_other,
})

describe('the words of a difference', () => {
  test('are missing and newer where the other side is the later one, else where it is', () => {
    const words = (direction: 'live' | 'later' | 'earlier') =>
      (['only_in_backup', 'changed', 'only_in_other'] as const).map(
        (kind) => describeKind(kind, direction).word,
      )

    expect(words('live')).toEqual(['Missing', 'Changed', 'Newer'])
    expect(words('later')).toEqual(['Missing', 'Changed', 'Newer'])
    expect(words('earlier')).toEqual(['Only here', 'Changed', 'Only there'])
  })

  test('follow the times of the two backups', () => {
    const of = (otherBackupId: string | null, otherTakenAt: string) =>
      findDirection({
        backupId: 'a',
        takenAt: new Date('2026-11-17T02:00:00Z'),
        otherBackupId,
        otherTakenAt: new Date(otherTakenAt),
        isEqual: false,
        tables: [],
        warnings: [],
      })

    expect(of(null, '2026-11-20T02:00:00Z')).toBe('live')
    expect(of('b', '2026-11-20T02:00:00Z')).toBe('later')
    expect(of('b', '2026-11-10T02:00:00Z')).toBe('earlier')
  })
})

describe('the totals', () => {
  const tables = [
    table('audit', { counts: counts(0, 0, 9), keptRows: 9 }),
    table('equal'),
    table('customers', { counts: counts(0, 6, 1), keptRows: 7 }),
    table('dropped', { isCompared: false, presence: 'dropped' }),
    table('items', { counts: counts(1_300, 0, 0), keptRows: 1_000 }),
  ]

  test('count rows and tables that differ, those that can not be compared too', () => {
    expect(sumUp(tables)).toEqual({
      byKind: counts(1_300, 6, 10),
      rows: 1_316,
      keptRows: 1_016,
      differentTables: 4,
      tables: 5,
    })
  })

  test('are said in one sentence', () => {
    expect(describeTotals(sumUp(tables), 'live')).toBe(
      'Rows that differ: 1,300 missing, 6 changed, 10 newer; in 4 tables.',
    )
    expect(describeTotals(sumUp([tables[1] ?? table('x')]), 'live')).toBe('No differences.')
    expect(describeTotals(sumUp([tables[3] ?? table('x')]), 'later')).toBe(
      "1 table can't be compared.",
    )
  })

  test('put what lost most first, behind what nobody can compare', () => {
    expect(sortByLoss(tables).map(({ name }) => name)).toEqual([
      'dropped',
      'items',
      'customers',
      'audit',
      'equal',
    ])
  })
})

describe('the pages of a table', () => {
  test('begin behind the kept rows of all tables before it', () => {
    const tables = [table('a', { keptRows: 40 }), table('b'), table('c', { keptRows: 100 })]

    expect(cursorOf(tables, 'a', 1, 25)).toBe(0)
    expect(cursorOf(tables, 'a', 2, 25)).toBe(25)
    expect(cursorOf(tables, 'c', 1, 25)).toBe(40)
    expect(cursorOf(tables, 'c', 4, 25)).toBe(115)
  })
})

describe('a row', () => {
  test('is known by the columns of its key, in their order', () => {
    const of = table('gas_types', { keyColumns: ['organization_id', 'code'] })

    expect(keyOf(row({ key: ['o', 'O2'] }), of)).toEqual({ organization_id: 'o', code: 'O2' })
  })

  test('can not be ticked where its key is masked, or where there is none', () => {
    const keyless = table('values', { isByKey: false, keyColumns: [], keptRows: 2 })

    expect(keyOf(row({ key: [null] }), table('customers'))).toBeNull()
    expect(keyOf(row({ key: [] }), keyless)).toBeNull()
    expect(keyOf(row(), undefined)).toBeNull()
    expect(whyNotTickable(keyless)).toContain('no key')
    expect(whyNotTickable(table('customers', { keptRows: 2 }))).toBeNull()
  })

  test('that only one side has shows neither its key nor the tenant again', () => {
    const column = (name: string, before: string) => ({
      ...{ name, before, after: null, isMasked: false, isCut: false },
    })
    const columns = [
      column('id', '1'),
      column('organization_id', 'o'),
      column('name', 'Nord Gas'),
      column('city', 'Kiel'),
    ]
    const shown = (kind: RowDifference['kind'], search = '') =>
      findShownColumns(row({ kind, columns }), table('customers'), { tenantId: 'o', search }).map(
        ({ name }) => name,
      )

    expect(shown('only_in_backup')).toEqual(['name', 'city'])
    expect(shown('only_in_backup', 'kiel')).toEqual(['city', 'name'])
    expect(shown('changed')).toEqual(['id', 'organization_id', 'name', 'city'])
  })
})

describe('what one must know of a table', () => {
  test('is nothing where all rows are listed', () => {
    expect(describeTable(table('a', { counts: counts(3, 0, 0), keptRows: 3 }), 'live')).toEqual([])
  })

  test('names how many of a large table are listed', () => {
    const large = table('scans', { counts: counts(0, 100_000, 0), keptRows: 10_000 })

    expect(describeTable(large, 'live')).toEqual([
      'The first 10,000 of 100,000 rows that differ are listed and searched; all of them are counted. To get back more than these, restore the whole table.',
    ])
  })

  test('names columns and tables that one side lacks', () => {
    const notes = (given: Partial<ComparedTable>) => describeTable(table('a', given), 'live').join()

    expect(notes({ columnsOnlyInOther: ['discount'] })).toBe(
      'Only the live data has the column discount.',
    )
    expect(notes({ columnsOnlyInBackup: ['fax', 'telex'] })).toBe(
      'Only this backup has the columns fax, telex.',
    )
    expect(notes({ presence: 'backup', rowsInBackup: 1 })).toContain('gone from the live data')
    expect(notes({ presence: 'other' })).toContain('not in this backup')
    expect(notes({ presence: 'dropped', isCompared: false })).toContain('no longer be read')
    expect(notes({ isCompared: false })).toContain('no column in common')
    expect(notes({ isByText: true })).toContain('another type')
  })
})

test('how far it is names the table and its rows, once they are known', () => {
  const step = (table: string | null, rowsDone: number, rowsTotal: number) =>
    describeStep({ phase: 'staging', table, rowsDone, rowsTotal })

  expect(describeStep(null)).toBe('Getting ready')
  expect(step(null, 0, 0)).toBe('Comparing row by row')
  expect(step('rental_invoices', 500, 1_200)).toBe(
    'Comparing row by row: Rental invoices, 500 of 1,200 rows',
  )
})

test('ticked rows that the backup does not have are said to go', () => {
  const row = (kind: RowDifference['kind']) => ({ key: { id: kind }, kind })

  expect(describeRemoved({ customers: [row('changed'), row('only_in_backup')] })).toBeNull()
  expect(describeRemoved({ a: [row('only_in_other')] })).toBe(
    '1 of them is not in this backup: restoring removes it.',
  )
  expect(describeRemoved({ a: [row('only_in_other')], b: [row('only_in_other')] })).toBe(
    '2 of them are not in this backup: restoring removes them.',
  )
})

test('matches are marked whatever their case, and the text stays whole', () => {
  const pieces = findMatches('Nord Gas, nord gas', 'NORD')

  expect(pieces.map(({ text }) => text).join('')).toBe('Nord Gas, nord gas')
  expect(pieces.filter(({ isMatch }) => isMatch).map(({ text }) => text)).toEqual(['Nord', 'nord'])
  expect(findMatches('Nord', '')).toEqual([{ text: 'Nord', isMatch: false }])
  // Its lower case is two letters long.
  expect(findMatches('İstanbul', 'i')).toEqual([{ text: 'İstanbul', isMatch: false }])
})

test('only what Postgres writes of an instant is one', () => {
  expect(readInstant('2026-11-21 16:39:56.307599+00')?.toISOString()).toBe(
    '2026-11-21T16:39:56.307Z',
  )
  expect(readInstant('2026-11-21 16:39:56+05:30')?.toISOString()).toBe('2026-11-21T11:09:56.000Z')
  for (const other of ['2026-11-21', 'infinity', '12.5', 'on 2026-11-21 16:39:56+00', '']) {
    expect(readInstant(other)).toBeNull()
  }
})
