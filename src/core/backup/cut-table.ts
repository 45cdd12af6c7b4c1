import type { Connection } from '../database/database.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import { type PartBuffers, PartCutter, type RawPart } from './cut-parts.ts'
import { readLines, requireCensus, type Snapshot } from './read-snapshot.ts'

const PROGRESS_EVERY_MS = 250

export interface TableProgress {
  table: string
  rowsDone: number
  rowsTotal: number
}

/**
 * Reads one table of an open snapshot and cuts it into parts, the same ones whenever the rows are the same.
 * Whoever takes a part releases it. Throws `rows_hidden`, `confinement_broken`, `row_too_large`.
 */
export async function* cutTable(
  connection: Connection,
  snapshot: Snapshot,
  table: ProtectedTable,
  given: {
    buffers: PartBuffers
    maxRowBytes: number
    onProgress: (progress: TableProgress) => void
    signal: AbortSignal | undefined
  },
): AsyncGenerator<RawPart> {
  const rowsTotal = snapshot.census.get(table.label) ?? 0
  const cutter = new PartCutter(table.label, { maxRowBytes: given.maxRowBytes }, given.buffers)
  let toldAt = Number.NEGATIVE_INFINITY
  const tell = (isLast: boolean) => {
    const now = performance.now()
    if (!isLast && now - toldAt < PROGRESS_EVERY_MS) return
    toldAt = now
    given.onProgress({ table: table.label, rowsDone: cutter.rows, rowsTotal })
  }
  tell(false)
  for await (const chunk of readLines(connection, table, given.signal)) {
    yield* cutter.push(chunk)
    tell(false)
  }
  yield* cutter.finish()
  requireCensus(snapshot, table, cutter.rows)
  tell(true)
}
