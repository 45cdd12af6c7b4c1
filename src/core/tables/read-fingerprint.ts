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

/** What became of a table between two looks at the schema. */
export interface ShapeChange {
  /** `schema.table` */
  table: string
  kind: 'new' | 'gone' | 'changed'
  /** What changed: columns (types, domains and enums too), keys, access (owner, grants, policies, triggers). */
  topics: ('columns' | 'keys' | 'access')[]
}

/** Compares two looks at the schema, table by table and topic by topic. */
export function diffFingerprints(
  before: readonly TableFingerprint[],
  after: readonly TableFingerprint[],
): ShapeChange[] {
  const nameOf = (table: TableFingerprint) => `${table.schema}.${table.name}`
  const earlier = new Map(before.map((table) => [nameOf(table), table]))
  const later = new Map(after.map((table) => [nameOf(table), table]))
  const names = [...new Set([...earlier.keys(), ...later.keys()])].sort()
  return names.flatMap((table): ShapeChange[] => {
    const was = earlier.get(table)
    const is = later.get(table)
    if (was === undefined) return [{ table, kind: 'new', topics: [] }]
    if (is === undefined) return [{ table, kind: 'gone', topics: [] }]
    const topics = (['columns', 'keys', 'access'] as const).filter((t) => was[t] !== is[t])
    return topics.length === 0 ? [] : [{ table, kind: 'changed', topics }]
  })
}

/** «new: public.a; changed: public.b (columns, keys); gone: public.c» */
export function describeShapeChanges(changes: readonly ShapeChange[]): string {
  return (['new', 'changed', 'gone'] as const)
    .map((kind) => {
      const tables = changes
        .filter((change) => change.kind === kind)
        .map(({ table, topics }) =>
          kind === 'changed' ? `${table} (${topics.join(', ')})` : table,
        )
      return tables.length === 0 ? '' : `${kind}: ${tables.join(', ')}`
    })
    .filter((part) => part !== '')
    .join('; ')
}
