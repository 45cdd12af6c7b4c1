import { expect, test } from 'vitest'
import { toCsv } from '../../src/page/history/history-csv.ts'
import type { JournalEntry } from '../../src/page/history/read-journal.ts'

const ENTRY: JournalEntry = {
  id: 'e1',
  type: 'restore',
  status: 'complete',
  createdAt: new Date('2026-11-20T02:00:04.500Z'),
  backupId: 'b1',
  runId: null,
  actorLabel: 'ada@example.com',
  totalTables: 2,
  totalRecords: 1234,
  totalSize: null,
  durationMs: 9_500,
  note: null,
  errorCode: null,
  errorMessage: null,
}

const lineOf = (entry: Partial<JournalEntry>) => toCsv([{ ...ENTRY, ...entry }]).split('\r\n')[1]

test('begins with a byte order mark and the names of the columns, and ends with a line break', () => {
  const text = toCsv([ENTRY])

  expect(text).toMatch(/^\uFEFFTime \(UTC\),Time \(local\),What,Who,Result,Rows,/)
  expect(text).toMatch(/\r\n$/)
  expect(text.split('\r\n')).toHaveLength(3)
})

test('writes times in UTC and with the offset of the reader, numbers plain, and nothing where nothing is', () => {
  const cells = (lineOf({}) ?? '').split(',')

  expect(cells[0]).toBe('2026-11-20T02:00:04.500Z')
  expect(cells[1]).toMatch(/^2026-11-\d\dT\d\d:\d\d:04[+-]\d\d:\d\d$/)
  expect(new Date(cells[1] ?? '').getTime()).toBe(Date.parse('2026-11-20T02:00:04Z'))
  expect(cells.slice(2, 11)).toEqual([
    ...['Restore', 'ada@example.com', 'Done', '1234', '2', '', '9.5', '', ''],
  ])
})

test('quotes what holds commas, quotes and line breaks', () => {
  expect(lineOf({ note: 'said "go", then\nleft' })).toContain(',"said ""go"", then\nleft",')
})

test.each(['=1+1', '+1', '-1', '@SUM(A1)', '\tx', '\rx'])(
  'keeps %j from being a formula',
  (note) => {
    expect(lineOf({ note })).toContain(`'${note}`)
  },
)
