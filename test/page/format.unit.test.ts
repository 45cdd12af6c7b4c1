import { expect, test } from 'vitest'
import { describeChanges, listChanges } from '../../src/page/backups/backup-words.ts'
import {
  formatAge,
  formatBytes,
  formatDuration,
  formatExactUtc,
  formatPlural,
  formatTime,
} from '../../src/page/frame/format.ts'

test.each([
  [0, '0 byte'],
  [999, '999 byte'],
  [1_000, '1 kB'],
  [1_234_567, '1.2 MB'],
  [123_456_789, '123 MB'],
  [9_876_543_210, '9.9 GB'],
])('writes %d bytes in powers of a thousand', (bytes, text) => {
  expect(formatBytes(bytes, 'en-GB')).toContain(text)
})

test.each([
  [400, 'under a second'],
  [1_000, '1 second'],
  [9_400, '9 seconds'],
  [59_700, '1 min'],
  [125_000, '2 min 5 s'],
  [4_200_000, '1 h 10 min'],
])('writes a duration of %d ms', (ms, text) => {
  expect(formatDuration(ms)).toBe(text)
})

test.each([
  [30_000, 'less than a minute'],
  [60_000, '1 minute'],
  [31.9 * 3_600_000, '31 hours'],
  [49 * 3_600_000, '2 days'],
])('writes an age of %d ms, never older than it is', (ms, text) => {
  expect(formatAge(ms)).toBe(text)
})

test('writes times in UTC so that nobody takes them for their own', () => {
  const time = new Date('2026-11-20T02:00:04.567Z')
  expect(formatTime(time, { utc: true, locale: 'en-GB' })).toBe('20 Nov 2026, 02:00 UTC')
  expect(formatExactUtc(time)).toBe('2026-11-20 02:00:04 UTC')
})

test('knows one from many, and other digits', () => {
  expect(formatPlural(1, 'row', { locale: 'en-GB' })).toBe('1 row')
  expect(formatPlural(0, 'row', { locale: 'en-GB' })).toBe('0 rows')
  expect(formatPlural(12_345, 'row', { locale: 'de-DE' })).toBe('12.345 rows')
})

test('says what changed since the backup before', () => {
  const tables = [
    { name: 'customers', rowsBefore: 120, rowsAfter: 125 },
    { name: 'rentals', rowsBefore: 10, rowsAfter: 10 },
    { name: 'leads', rowsBefore: null, rowsAfter: 3 },
    { name: 'fax_numbers', rowsBefore: 20, rowsAfter: null },
  ]
  expect(describeChanges(null)).toBeNull()
  expect(describeChanges({ tables: [] })).toBe('Nothing')
  expect(describeChanges({ tables })).toBe('4 tables, 12 rows fewer')
  expect(listChanges({ tables })).toEqual([
    'customers: 120 → 125 rows',
    'rentals: values, 10 rows',
    'leads: new, 3 rows',
    'fax_numbers: no longer there',
  ])
})
