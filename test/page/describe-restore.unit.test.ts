import { describe, expect, test } from 'vitest'
import { ERRORS } from '../../src/core/errors.ts'
import { RequestFailed } from '../../src/page/calls/call-function.ts'
import { nameTable, nameTables, technicalName } from '../../src/page/frame/name-table.ts'
import {
  describeChanges,
  describeNote,
  describeRestoreFailure,
  describeSchemaNote,
  describeStep,
  placeOf,
  RESTORE_PHASES,
  readChange,
} from '../../src/page/restore/describe-restore.ts'

const totals = (inserted: number, updated: number, deleted: number, untouched = 0) => ({
  ...{ inserted, updated, deleted, untouched, written: inserted + updated + deleted },
})

describe('what a plan does, in a sentence', () => {
  test.each([
    [
      totals(31, 8, 4, 4591),
      '31 rows come back, 8 get earlier values, 4 are removed. 4,591 stay as they are.',
    ],
    [totals(1, 0, 0, 1), '1 row comes back. 1 stays as it is.'],
    [totals(0, 0, 1, 0), '1 row is removed.'],
    [totals(0, 0, 0, 12), 'Nothing changes.'],
  ])('%j', (counts, sentence) => {
    expect(describeChanges(counts, { tense: 'would', isUndo: false })).toBe(sentence)
  })

  test('and what was done', () => {
    expect(describeChanges(totals(2, 1, 1, 9), { tense: 'did', isUndo: false })).toBe(
      '2 rows came back, 1 got earlier values, 1 was removed.',
    )
    expect(describeChanges(totals(1, 2, 3), { tense: 'would', isUndo: true })).toBe(
      '1 row comes back, 2 get back the values from before, 3 are removed again.',
    )
  })
})

test('phases follow each other, and the last one stays the last', () => {
  expect(placeOf(RESTORE_PHASES, undefined)).toBe(-1)
  expect(placeOf(RESTORE_PHASES, 'locking')).toBe(0)
  expect(placeOf(RESTORE_PHASES, 'writing')).toBe(3)
  expect(placeOf(RESTORE_PHASES, 'finishing')).toBe(RESTORE_PHASES.length - 1)
  expect(
    describeStep({ phase: 'writing', table: 'sales_orders', rowsDone: 5, rowsTotal: 1200 }),
  ).toBe('Sales orders: 5 of 1,200 rows')
})

test('a table has a name for people', () => {
  expect(nameTable('sales_order_items')).toBe('Sales order items')
  expect(nameTable('crm.contacts')).toBe('Contacts')
  expect(nameTable('Price List 2025')).toBe('Price List 2025')
  expect(technicalName('customers')).toBeNull()
  expect(technicalName('sales_orders')).toBe('sales_orders')
  expect(nameTables(['a', 'b'])).toBe('A and B')
  expect(nameTables(['a', 'b', 'c', 'd'])).toBe('A, B and 2 more')
})

test('a change of the schema is taken apart, whatever its table is called', () => {
  expect(readChange('dropped_column:crm.contacts.fax')).toEqual({
    ...{ what: 'dropped_column', table: 'crm.contacts', column: 'fax' },
  })
  expect(readChange('dropped_table:Price: List')).toMatchObject({ table: 'Price: List' })
  expect(readChange(null)).toEqual({ what: '', table: '', column: '' })
})

describe('what loses nothing is a note', () => {
  const change = (name: string, message: string) => ({
    ...{ name, table: 'customers', isLossy: false, message },
  })
  test.each([
    [
      change('added_column:customers.discount', '… rows that come back get null.'),
      'The column discount of Customers is new since then: rows that are there keep today’s value, rows that come back have it empty.',
    ],
    [
      change('added_table:drafts', 'drafts is not in the backup, and is left as it is.'),
      'Drafts is newer than this backup and is left as it is.',
    ],
  ])('%j', (given, note) => {
    expect(describeSchemaNote(given)).toBe(note)
  })

  test('and what loses something is none', () => {
    expect(describeSchemaNote({ ...change('dropped_table:a', ''), isLossy: true })).toBeNull()
  })
})

test('what the service notes about a table comes without its technical names', () => {
  expect(
    describeNote(
      '2 rows lose what they pointed at by x_fkey: it is gone, so the columns become null.',
    ),
  ).toBe('2 rows with an empty link: what they referred to is gone.')
  expect(describeNote('1 rows were passed over: x_key is held by another row now.')).toBe(
    '1 row left out: another row uses the same value now.',
  )
  expect(describeNote('Something new.')).toBe('Something new.')
})

describe('every way in which the service says no says what it means for the data', () => {
  test.each(Object.keys(ERRORS))('%s', (code) => {
    const error = new RequestFailed(code, 'The service said so.', { requestId: 'r1' })

    const words = describeRestoreFailure(error, 'The restore stopped. Nothing was changed')

    expect(words.requestId).toBe('r1')
    expect(words.title).toMatch(/\S/)
    expect(words.text).toMatch(/\S/)
    expect(`${words.title} ${words.text}`).not.toMatch(/sorry|please|oops|invalid/i)
  })

  test('an undo that is not possible any more says why', () => {
    const gone = new RequestFailed(
      'undo_impossible',
      'This restore can’t be undone: its safety backup is pruned.',
    )

    expect(describeRestoreFailure(gone, '').text).toBe(
      'Its safety backup was pruned. Nothing was changed.',
    )
  })
})
