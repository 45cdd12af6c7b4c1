import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { quoteTable } from '../tables/quote-identifier.ts'
import { fromClause } from '../tables/render-path.ts'

const Row = z.object({
  schema: z.string(),
  name: z.string(),
  class: z.enum(['root', 'direct', 'child', 'custom', 'derived', 'shared']),
  kind: z.enum(['r', 'p']),
  isWritable: z.boolean(),
})

/** A table that the registry knows and does not exclude, and that is still there. */
export interface RegisteredTable extends z.infer<typeof Row> {
  /** `schema.table`, as findings call it. */
  subject: string
  /** Quoted and qualified, for SQL and for remedies. */
  relation: string
  /** `from only x`, or `from x` for a partitioned table. */
  from: string
}

/** What the checks go through; excluded tables and tables that are gone are left out. */
export async function readRegisteredTables(database: Queryable): Promise<RegisteredTable[]> {
  const { rows } = await database.query(
    `select t.schema_name as schema, t.table_name as name, t.class, c.relkind as kind,
       t.is_writable as "isWritable"
     from tenantkeep.tenant_tables t
     join pg_catalog.pg_namespace n on n.nspname = t.schema_name
     join pg_catalog.pg_class c
       on c.relnamespace = n.oid and c.relname = t.table_name and c.relkind in ('r', 'p')
     where t.class <> 'excluded'
     order by t.position, 1, 2`,
  )
  return z
    .array(Row)
    .parse(rows)
    .map((row) => ({
      ...row,
      subject: `${row.schema}.${row.name}`,
      relation: quoteTable(row),
      from: fromClause(row),
    }))
}
