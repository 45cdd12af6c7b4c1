import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  describeArchive,
  listEntries,
  nameArchive,
  requireArchiveSize,
} from '../../../src/core/backup/archive.ts'
import type { SummaryContent, SummaryTable } from '../../../src/core/backup/summary.ts'

const GOLDEN = join(import.meta.dirname, 'golden/summary-format-1.json.golden')

async function summaryWith(changes: Partial<SummaryContent>): Promise<SummaryContent> {
  const { signature: _, ...summary } = JSON.parse(await readFile(GOLDEN, 'utf8'))
  return { ...summary, ...changes }
}

test('names entries by table and place, whatever the objects are called', async () => {
  const { tables } = await summaryWith({})
  const [first] = tables
  const part = first?.parts[0]
  if (first === undefined || part === undefined) throw new Error('The summary has no part.')
  const table = (schema: string, name: string, parts: number): SummaryTable => ({
    ...first,
    name,
    schema,
    table: name,
    parts: Array.from({ length: parts }, () => part),
  })

  const entries = listEntries({
    tables: [table('public', 'customers', 3), table('Shop', '../../etc', 1)],
  })

  expect(entries.map(({ name }) => name)).toEqual([
    'tables/customers.json',
    'tables/customers.part-0002.json',
    'tables/customers.part-0003.json',
    'tables/=53hop.=2e=2e=2f=2e=2e=2fetc.json',
  ])
})

test.each([
  ['Prairie Welding & Gas', 'prairie-welding-gas-2026-11-21-020304.zip'],
  ['Äpfel/../../Birnen\n', 'apfel-birnen-2026-11-21-020304.zip'],
  ['北京', 'backup-2026-11-21-020304.zip'],
])('names the file of %j for a folder of downloads', async (name, fileName) => {
  const summary = await summaryWith({
    organization_name: name,
    taken_at: '2026-11-21T02:03:04.567891Z',
  })
  expect(nameArchive(summary)).toBe(fileName)
})

test('says whose it is on one line, whatever the name holds', async () => {
  const text = describeArchive(await summaryWith({ organization_name: 'Alpha\nGases\u2028Ltd' }))
  expect(text.split('\n')[0]).toBe('A backup of Alpha Gases Ltd')
})

test('refuses what does not fit, and says what to do instead', () => {
  expect(() => requireArchiveSize(10, 10, 'x')).not.toThrow()
  expect(() => requireArchiveSize(2_000_001, 1_000_000, 'Use the command line.')).toThrow(
    'This backup has 3 MB, more than the 1 MB that fit here. Use the command line.',
  )
})
