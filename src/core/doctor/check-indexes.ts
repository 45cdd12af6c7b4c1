import type { Queryable } from '../database/database.ts'
import { quoteColumns, quoteTable } from '../tables/quote-identifier.ts'
import { type Finding, finding } from './finding.ts'

/** From here on a read without an index is felt every night, for every tenant. */
const LARGE_ROWS = 10_000
const LARGE_BYTES = 16 * 1024 * 1024

// Partitioned tables: size and rows of their leaves. An index serves where its first columns are the path's,
// in whatever order; a partial one does not.
const READ_UNINDEXED = `
  with registered as (
    select t.schema_name, t.table_name, c.oid, c.relkind, t.class, t.tenant_column, size.rows, size.bytes
    from tenantkeep.tenant_tables t
    join pg_catalog.pg_namespace n on n.nspname = t.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
    cross join lateral (
      select sum(greatest(l.reltuples, 0))::bigint as rows, sum(pg_catalog.pg_relation_size(l.oid)) as bytes
      from pg_catalog.pg_class l
      where l.oid = c.oid or c.relkind = 'p' and l.oid in (select relid from pg_catalog.pg_partition_tree(c.oid))
    ) size
    where t.class in ('root', 'direct', 'child')
  ), path as (
    select oid, array[tenant_column] as columns from registered where tenant_column is not null
    union
    select r.oid, o.columns from registered r
    join tenantkeep.ownership o on o.schema_name = r.schema_name and o.table_name = r.table_name
  )
  select r.schema_name as schema, r.table_name as name, r.relkind = 'p' as "isPartitioned",
    path.columns, r.rows, r.bytes
  from registered r
  join path using (oid)
  where (r.rows >= $1 or r.bytes >= $2)
    and not exists (
      select from pg_catalog.pg_index i
      where i.indrelid = r.oid and i.indisvalid and i.indpred is null
        and path.columns <@ (
          select coalesce(array_agg(a.attname::text), '{}')
          from unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
          join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
          where k.position <= cardinality(path.columns)
        )
    )
  order by 1, 2, 4`

/** Large tables without an index on the columns by which we find a tenant's rows: each backup reads all of them. */
export async function checkIndexes(
  database: Queryable,
  limits: { rows: number; bytes: number } = { rows: LARGE_ROWS, bytes: LARGE_BYTES },
): Promise<Finding[]> {
  const { rows } = await database.query<{
    schema: string
    name: string
    isPartitioned: boolean
    columns: string[]
    rows: string
    bytes: string
  }>(READ_UNINDEXED, [limits.rows, limits.bytes])
  return rows.map((table) => {
    const size = `${Number(table.rows).toLocaleString('en-US')} rows, ${(Number(table.bytes) / 1e6).toFixed(0)} MB`
    // A partitioned table takes no concurrent index; each leaf would have to be done by itself.
    const how = table.isPartitioned ? 'create index' : 'create index concurrently'
    return finding('index_missing', {
      subject: `${table.schema}.${table.name}`,
      message: `No index begins with ${table.columns.join(', ')}: every backup of every tenant reads the whole table (${size}).`,
      remedy: `${how} on ${quoteTable(table)} (${quoteColumns(table.columns)})`,
    })
  })
}
