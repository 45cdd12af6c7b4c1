import { expect, test } from 'vitest'
import { describeFalls } from '../../../src/core/backup/describe-falls.ts'

const WEEK = [100, 100, 100, 100, 100, 100, 100].map((rows) => ({ rentals: rows, customers: 10 }))

test('a loss shows in the very first backup after it, the largest first', () => {
  expect(describeFalls(WEEK, { rentals: 20, customers: 10 })).toEqual([
    { table: null, rows: 30, usual: 110 },
    { table: 'rentals', rows: 20, usual: 100 },
  ])
})

test('one backup before is history enough', () => {
  expect(describeFalls([{ rentals: 100 }], { rentals: 99 })).toEqual([
    { table: null, rows: 99, usual: 100 },
    { table: 'rentals', rows: 99, usual: 100 },
  ])
})

test('a table that is not there any more has no number of rows', () => {
  expect(describeFalls(WEEK, { rentals: 200 })).toEqual([
    { table: 'customers', rows: null, usual: 10 },
  ])
})

test('one bad day does not count as usual, and four days do', () => {
  const days = (fallen: number) => [
    ...Array.from({ length: fallen }, () => ({ rentals: 5 })),
    ...Array.from({ length: 7 - fallen }, () => ({ rentals: 100 })),
  ]
  const usual = (fallen: number) => describeFalls(days(fallen), { rentals: 5 }).at(-1)?.usual
  expect([1, 2, 3, 4].map(usual)).toEqual([100, 100, 100, undefined])
})

test('growth, a new table and a first backup are nothing', () => {
  expect(describeFalls(WEEK, { rentals: 100, customers: 11, notes: 0 })).toEqual([])
  expect(describeFalls([], { rentals: 1 })).toEqual([])
})

test('a table called like something of the language is a table', () => {
  expect(describeFalls([{ constructor: 5 }], { constructor: 1 }).map(({ table }) => table)).toEqual(
    [null, 'constructor'],
  )
  expect(describeFalls([{ a: 1, toString: 5 }], { a: 1 })).toEqual([
    { table: null, rows: 1, usual: 6 },
    { table: 'toString', rows: null, usual: 5 },
  ])
})
