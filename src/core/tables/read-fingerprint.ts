import { createHash } from 'node:crypto'
import type { Queryable } from '../database/database.ts'

/** Digests of one host table: columns with their types, keys, and what grants or denies access. */
export interface TableFingerprint {
  schema: string
  name: string
  columns: string
  keys: string
  access: string
}

/**
 * The shape of every table of the host schemas, registered or not. Read in the snapshot of a backup:
 * a new table, a dropped policy, row level security switched off or a new key shows the same night.
 */
export async function readTableFingerprints(database: Queryable): Promise<TableFingerprint[]> {
  const { rows } = await database.query<TableFingerprint>(
    `select schema_name as schema, table_name as name, columns, keys, access
     from tenantkeep.table_fingerprints()`,
  )
  return rows
}

/** One digest over all tables, for a backup's row and summary. */
export function digestFingerprints(tables: readonly TableFingerprint[]): string {
  const lines = tables.map((t) => JSON.stringify([t.schema, t.name, t.columns, t.keys, t.access]))
  return createHash('sha256').update(lines.sort().join('\n')).digest('hex')
}
