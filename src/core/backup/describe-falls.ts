import type { Queryable } from '../database/database.ts'

/** Fewer rows than is usual for this tenant. */
export interface RowFall {
  /** Null: all tables together. */
  table: string | null
  /** Null: the table is not in the backup any more. */
  rows: number | null
  /** The median over the days before. */
  usual: number
}

/** Rows by table. */
export type TableRows = Readonly<Record<string, number>>

const DAYS = 7
/** No tenant is backed up more often in a week. */
const MOST_BACKUPS = 100

/**
 * The rows of a tenant's earlier backups, one backup for each of the last seven days that have one: the first
 * of its day, so that nobody makes a loss look usual by taking a few backups after it.
 */
export async function readRowHistory(catalog: Queryable, tenantId: string): Promise<TableRows[]> {
  const { rows } = await catalog.query<{ tables: TableRows }>(
    `select tables from (
       select distinct on (backup_date) backup_date, table_rows as tables from (
         select backup_date, table_rows, taken_at from public.tenant_backups
         where organization_id = $1 and status in ('complete', 'pruned') and backup_type <> 'pre_restore'
           and table_rows is not null
         order by created_at desc limit ${MOST_BACKUPS}
       ) recent
       order by backup_date desc, taken_at
     ) days
     order by backup_date desc limit ${DAYS}`,
    [tenantId],
  )
  return rows.map(({ tables }) => tables)
}

/** Names the tables that have fewer rows than the history says is usual, and the total where it is less. */
export function describeFalls(history: readonly TableRows[], current: TableRows): RowFall[] {
  const names = new Set(history.flatMap((tables) => Object.keys(tables)))
  const total = (tables: TableRows) => Object.values(tables).reduce((all, rows) => all + rows, 0)
  const falls: RowFall[] = [
    { table: null, rows: total(current), usual: medianOf(history.map(total)) },
    ...[...names].map((table) => ({
      table,
      rows: rowsOf(current, table),
      usual: medianOf(history.map((tables) => rowsOf(tables, table) ?? 0)),
    })),
  ]
  return falls
    .filter(({ rows, usual }) => (rows ?? 0) < usual)
    .sort((a, b) => b.usual - (b.rows ?? 0) - (a.usual - (a.rows ?? 0)))
}

/** A table may be called `constructor`. */
function rowsOf(tables: TableRows, table: string): number | null {
  return Object.hasOwn(tables, table) ? (tables[table] ?? null) : null
}

/** Of two in the middle the larger, which notices a loss for a day longer; 0 of nothing. */
function medianOf(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}
