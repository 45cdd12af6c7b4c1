import type { RestoreResult, RowSample } from '../restore/restore-result.ts'

/** A value is shown to be recognized, not to be read. */
const LONGEST_VALUE = 300
/** All samples of an answer together, in characters: an answer may have 6 MB, and a row of ours less. */
const MOST_CHARACTERS = 1_000_000

/** The same result with long values of samples cut (an ellipsis says so), and no more samples than an answer can hold. */
export function trimSamples(result: RestoreResult): RestoreResult {
  let left = MOST_CHARACTERS
  const tables = result.tables.map((table) => {
    const samples: RowSample[] = []
    for (const sample of table.samples.map(cutValues)) {
      left -= sizeOf(sample)
      if (left < 0) break
      samples.push(sample)
    }
    return { ...table, samples }
  })
  return { ...result, tables }
}

function cutValues(sample: RowSample): RowSample {
  return {
    ...sample,
    columns: sample.columns.map((column) => ({
      ...column,
      before: cut(column.before),
      after: cut(column.after),
    })),
  }
}

function cut(value: string | null): string | null {
  if (value === null || value.length <= LONGEST_VALUE) return value
  // Never half a character: the database would refuse it.
  return `${value.slice(0, LONGEST_VALUE).replace(/[\uD800-\uDBFF]$/, '')}…`
}

function sizeOf(sample: RowSample): number {
  return sample.columns.reduce(
    (sum, { name, before, after }) =>
      sum + name.length + (before?.length ?? 0) + (after?.length ?? 0),
    0,
  )
}
