import { hash } from 'node:crypto'
import type { Connection } from '../database/database.ts'
import { PartBuffers } from './cut-parts.ts'
import { cutTable, type TableProgress } from './cut-table.ts'
import type { Snapshot } from './read-snapshot.ts'

export interface TableDigest {
  rows: number
  /** Of the raw bytes of each part, in order, as the summary of a backup would name them. */
  rawSha256: string[]
}

/**
 * Reads every table of an open snapshot and cuts it exactly as a backup does, storing nothing: a table
 * whose digests are those of a backup holds the very same rows. By label. Memory stays flat. Throws
 * `rows_hidden`, `confinement_broken`, `row_too_large`.
 */
export async function digestTables(
  connection: Connection,
  snapshot: Snapshot,
  given: {
    /** Rows that a backup takes as well; larger ones are `row_too_large` here too. */
    maxRowBytes: number
    onProgress?: (progress: TableProgress) => void
    signal?: AbortSignal | undefined
  },
): Promise<Map<string, TableDigest>> {
  const buffers = new PartBuffers()
  const digests = new Map<string, TableDigest>()
  for (const table of snapshot.tables) {
    const digest: TableDigest = { rows: 0, rawSha256: [] }
    const parts = cutTable(connection, snapshot, table, {
      buffers,
      maxRowBytes: given.maxRowBytes,
      onProgress: given.onProgress ?? (() => {}),
      signal: given.signal,
    })
    for await (const part of parts) {
      digest.rows += part.rows
      digest.rawSha256.push(hash('sha256', part.bytes, 'hex'))
      part.release()
    }
    digests.set(table.label, digest)
  }
  return digests
}
