import { expect, test } from 'vitest'
import { PROBLEMS } from '../../src/core/watch/find-problems.ts'
import { readMonitorSettings } from '../../src/core/watch/monitor-settings.ts'
import { readSection, readSources, readTableRows, readText } from './read-docs.ts'

const operations = readText('docs/operations.md')

test('operations.md has every problem of the monitor with its severity and what to do, and no other', () => {
  const rows = readTableRows(readSection(operations, 'Problems'))

  expect(rows.map(([code, severity]) => [code, severity]).sort()).toEqual(
    Object.entries(PROBLEMS).sort(),
  )
  expect(rows.filter((row) => row.length !== 4 || row.some((cell) => cell === ''))).toEqual([])
})

test('operations.md has every measure of the monitor with its default, and no other', async () => {
  const rows = readTableRows(readSection(operations, 'What it measures by'))
  const defaults = await readMonitorSettings({ query: async () => ({ rows: [], rowCount: 0 }) })

  expect(Object.fromEntries(rows.map(([key, value]) => [key, value]))).toEqual(
    Object.fromEntries(Object.entries(defaults).map(([key, value]) => [key, String(value)])),
  )
})

test('operations.md names every phase that is logged', () => {
  const section = readSection(operations, 'The log')
  const phases = readSources('src').flatMap(({ text }) => [
    ...[...text.matchAll(/logPhase\(\s*\w+\.log,\s*(?:undo === undefined \? )?'(\w+)'/g)].map(
      ([, phase = '']) => phase,
    ),
    ...[...text.matchAll(/phase: '(\w+)',? (?:tenants|backupId)/g)].map(([, phase = '']) => phase),
  ])

  expect(phases.length).toBeGreaterThan(6)
  expect(phases.filter((phase) => !section.includes(`\`${phase}\``))).toEqual([])
})
