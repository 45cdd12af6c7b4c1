import { expect, test } from 'vitest'
import { trimSamples } from '../../../src/core/jobs/trim-samples.ts'
import type {
  RestoreResult,
  RowSample,
  TableResult,
} from '../../../src/core/restore/restore-result.ts'

const sample = (value: string): RowSample => ({
  ...{ kind: 'update', key: ['1'], label: null },
  columns: [{ name: 'body', before: value, after: null, isMasked: false }],
})
const table = (name: string, samples: RowSample[]): TableResult => ({
  ...{ name, rowsInBackup: 1, rowsLive: 1, inserted: 0, updated: 1, deleted: 0 },
  ...{ unchanged: 0, kept: 0, skipped: 0, warnings: [], samples },
})
const result = (tables: TableResult[]): RestoreResult => ({
  ...{ isDryRun: true, restoreId: null, backupId: null, safetyBackupId: null, planHash: 'h' },
  ...{ tables, blockers: [], warnings: [], accessChanges: [], schemaChanges: [], looks: 1 },
})
const valuesOf = (trimmed: RestoreResult) =>
  trimmed.tables.flatMap(({ samples }) => samples.flatMap(({ columns }) => columns[0]?.before))

test('short values stay as they are', () => {
  const given = result([table('notes', [sample('short')])])
  expect(trimSamples(given)).toEqual(given)
})

test('long values are cut, never within a character', () => {
  const [cut] = valuesOf(trimSamples(result([table('notes', [sample(`x${'😀'.repeat(400)}`)])])))
  expect(cut).toBe(`x${'😀'.repeat(149)}…`)
})

test('no more samples than an answer can hold, and every count stays', () => {
  const many = Array.from({ length: 100 }, () => sample('y'.repeat(300)))
  const given = result(Array.from({ length: 100 }, (_, i) => table(`t${i}`, many)))

  const trimmed = trimSamples(given)

  expect(JSON.stringify(trimmed).length).toBeLessThan(2_500_000)
  expect(trimmed.tables[0]?.samples).toHaveLength(100)
  expect(trimmed.tables.at(-1)).toMatchObject({ samples: [], updated: 1 })
})
