import { describe, expect, test } from 'vitest'
import {
  findChanges,
  findDifferences,
  findFaults,
  firstSide,
  fromInstantField,
  kindOf,
  nameKey,
  readTyped,
  settle,
  toInstantField,
} from '../../src/page/defaults/describe-column.ts'
import {
  answerOf,
  describeCase,
  describeCases,
  describeTotals,
  findQuestions,
  isOpen,
  toDecisions,
} from '../../src/page/defaults/describe-seeding.ts'
import type { DefaultColumn } from '../../src/page/defaults/read-defaults.ts'
import type { Conflict, SeedOutcome } from '../../src/page/defaults/read-seeding.ts'

function column(type: string, more: Partial<DefaultColumn> = {}): DefaultColumn {
  return {
    ...{ name: 'c', type, isNullable: false, isKey: false, hasDefault: false, isReadOnly: false },
    ...{ isMasked: false, allowed: null, refersTo: null },
    ...more,
  }
}

describe('a form made from column types', () => {
  test.each([
    ['text', 'abc', 'text'],
    ['character varying(80)', 'abc', 'text'],
    ['text[]', '{a,b}', 'other'],
    ['numeric(12,4)', '1.5000', 'number'],
    ['boolean', 'true', 'choice'],
    ['jsonb', '{}', 'json'],
    ['date', '2026-11-20', 'date'],
    ['date', 'infinity', 'other'],
    ['date', '0044-03-15 BC', 'other'],
    ['timestamp with time zone', '2026-11-20 02:00:04+00', 'instant'],
    ['timestamp with time zone', '2026-11-20 02:00:04.123456+00', 'other'],
    ['timestamp(0) without time zone', '2026-11-20 02:00:04', 'instant'],
    ['time without time zone', '08:30:00', 'time'],
    ['interval', '10 years', 'other'],
  ])('%s of %s is edited as %s, so that no digit is lost', (type, value, kind) => {
    expect(kindOf(column(type), value)).toBe(kind)
  })

  test('an instant comes out of its field as it went in', () => {
    const type = 'timestamp with time zone'
    const value = '2026-11-20 02:00:04+00'

    expect(toInstantField(type, value)).toBe('2026-11-20T02:00:04')
    expect(fromInstantField(type, toInstantField(type, value))).toBe(value)
  })

  test('an emptied field is null, left to the database, or a fault, as the column has it', () => {
    const nullable = column('integer', { isNullable: true })
    const made = column('integer', { hasDefault: true })

    expect(readTyped(nullable, '', { isNew: false })).toBeNull()
    expect(readTyped(made, '', { isNew: true })).toBeUndefined()
    expect(readTyped(column('text'), '', { isNew: true })).toBe('')
    expect(findFaults([column('integer')], { c: '' }, { isNew: false })).toEqual({
      c: 'This needs a value',
    })
    expect(findFaults([column('text')], {}, { isNew: true })).toEqual({ c: 'This needs a value' })
    expect(findFaults([made, nullable], {}, { isNew: true })).toEqual({})
    expect(findFaults([column('text')], {}, { isNew: false })).toEqual({})
  })

  test('only what was changed is sent', () => {
    expect(findChanges({ a: '1', b: null }, { a: '1', b: '2' })).toEqual({ b: null })
  })
})

describe('two editors', () => {
  const before = { a: '1', b: '1', c: '1', d: null }
  const theirs = { a: '2', b: '1', c: '2', d: null }
  const mine = { b: '3', c: '3', d: null }

  test('each column says who changed it, and only what both changed has to be decided', () => {
    const differences = findDifferences(before, theirs, mine)

    expect(differences.map((each) => [each.column, firstSide(each)])).toEqual([
      ['a', 'theirs'],
      ['b', 'mine'],
      ['c', null],
    ])
    expect(settle(mine, differences, { c: 'theirs' })).toEqual({ b: '3', d: null })
    expect(settle(mine, differences, { c: 'mine', b: 'theirs' })).toEqual({ c: '3', d: null })
  })

  test('the same change made by both is no difference', () => {
    expect(findDifferences({ a: '1' }, { a: '2' }, { a: '2' })).toEqual([])
  })
})

describe('what a rehearsal asks', () => {
  const conflict = (code: string, kind: Conflict['case'] = 'natural_key_taken'): Conflict => ({
    ...{ table: 'gas_types', case: kind, label: null, constraint: 'gas_types_pkey', columns: [] },
    key: { organization_id: 'T', code },
  })
  const outcome = (
    name: string,
    conflicts: Conflict[],
    cases: Record<string, number> = {},
  ): SeedOutcome => ({
    ...{ id: name, name, status: 'complete', error: null },
    result: {
      tables: [{ name: 'gas_types', inserted: 1, updated: 0, adopted: 0, cases, warnings: [] }],
      ...{ conflicts, conflictCount: conflicts.length, blockers: [], warnings: [], undoId: null },
    },
  })
  const find = (tenants: SeedOutcome[], known = findQuestions([], NOTHING)) =>
    findQuestions(tenants, { mode: 'missing', templateId: 'T', known })
  const NOTHING = { mode: 'missing', templateId: 'T', known: [] } as const

  test('one question for each case and table, a row for each row of the template, with all tenants', () => {
    const [first, second, ...others] = find([
      outcome('A', [conflict('AR'), conflict('O2')], { deleted: 3 }),
      outcome('B', [conflict('AR')]),
    ])

    expect(others).toEqual([])
    expect(first).toMatchObject({ case: 'natural_key_taken', count: 3, tenants: 2 })
    expect(first?.rows.map(({ name, found }) => [name, found.map(({ tenant }) => tenant)])).toEqual(
      [
        ['AR', ['A', 'B']],
        ['O2', ['A']],
      ],
    )
    expect(second).toMatchObject({ case: 'deleted', count: 3, isConflict: false })
  })

  test('an answer holds for all rows of a table, a nearer one for its row; the service gets both', () => {
    const [question] = find([outcome('A', [conflict('AR'), conflict('O2')])])
    if (question === undefined) throw new Error('Nothing was asked.')
    const [argon, oxygen] = question.rows
    const own = { [argon?.id ?? '']: 'overwrite' } as const

    expect(isOpen(question, own, 'missing')).toBe(true)
    expect(isOpen(question, { ...own, [oxygen?.id ?? '']: 'adopt' }, 'missing')).toBe(false)
    const picks = { ...own, [question.id]: 'keep' } as const
    expect(isOpen(question, picks, 'missing')).toBe(false)
    expect(answerOf(picks, question, argon ?? null, 'missing')).toBe('overwrite')
    expect(answerOf(picks, question, oxygen ?? null, 'missing')).toBe('keep')
    expect(toDecisions(picks)).toEqual([
      {
        ...{ case: 'natural_key_taken', table: 'gas_types' },
        ...{ key: { organization_id: 'T', code: 'AR' }, decision: 'overwrite' },
      },
      { case: 'natural_key_taken', table: 'gas_types', key: null, decision: 'keep' },
    ])
  })

  test('what an answer settled stays in sight, to be answered otherwise', () => {
    const known = find([outcome('A', [conflict('AR'), conflict('O2')])])

    const all = find([outcome('A', [])], known)
    const some = find([outcome('A', [conflict('O2')])], known)

    expect(all).toEqual(known)
    expect(some[0]?.rows.map(({ name }) => name)).toEqual(['O2', 'AR'])
  })

  test('in words', () => {
    expect(describeCase('both_changed', 'gas_types', 1, 1)).toBe(
      'Gas types: 1 row changed on both sides, in the template and by the tenant',
    )
    expect(describeCases({ new: 2, unchanged: 1_200, deleted: 0 })).toBe('2 new, 1,200 the same')
    expect(describeTotals({ inserted: 1, updated: 2, adopted: 0 }, { isDone: true })).toBe(
      '1 row was added, 2 rows were overwritten.',
    )
    expect(describeTotals({ inserted: 0, updated: 0, adopted: 0 }, { isDone: false })).toBe(
      'Nothing would be written.',
    )
    expect(nameKey({ organization_id: 'T', code: 'AR' }, 'T')).toBe('AR')
  })
})
