import type { Connection, Queryable } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import type { HookedTable } from './choose-tables.ts'
import { tableName } from './host-table.ts'
import { quoteTable } from './quote-identifier.ts'

// What init found out about these tables and their owners, looked up again: types of tenant columns and
// of keys, and the foreign keys along which rows are owned.
const READ_DRIFT = `
  with registered as (
    select t.*, c.oid
    from tenantkeep.tenant_tables t
    join pg_catalog.pg_namespace n on n.nspname = t.schema_name
    join pg_catalog.pg_class c
      on c.relnamespace = n.oid and c.relname = t.table_name and c.relkind in ('r', 'p')
  ), typed as (
    select r.schema_name, r.table_name, r.oid, a.attname,
      case when ty.typnamespace = 'pg_catalog'::regnamespace
        then pg_catalog.format_type(a.atttypid, -1)
        else format('%s.%I', ty.typnamespace::regnamespace, ty.typname) end as type
    from registered r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_type ty on ty.oid = a.atttypid
  )
  select r.schema_name || '.' || r.table_name as "table",
    format('its column %I is %s and was %s', r.tenant_column,
      coalesce(t.type, 'gone'), r.tenant_type) as drift
  from registered r
  left join typed t on t.oid = r.oid and t.attname = r.tenant_column
  where r.class in ('root', 'direct') and t.type is distinct from r.tenant_type
  union
  select o.schema_name || '.' || o.table_name,
    format('the key column %I.%I is %s and was %s', case when o.constraint_name is null
      then o.table_name else o.owner_table end, k.name, coalesce(t.type, 'gone'), k.type)
  from tenantkeep.ownership o
  join tenantkeep.key_functions f on f.id = o.key_function
  cross join lateral unnest(
    case when o.constraint_name is null then o.columns else o.owner_columns end, f.types
  ) as k (name, type)
  left join typed t on t.attname = k.name and (t.schema_name, t.table_name) =
    case when o.constraint_name is null then (o.schema_name, o.table_name)
      else (o.owner_schema, o.owner_table) end
  where t.type is distinct from k.type
  union
  select o.schema_name || '.' || o.table_name,
    format('the foreign key %I, along which its rows are owned, is gone', o.constraint_name)
  from tenantkeep.ownership o
  where o.constraint_name is not null and not exists (
    select from registered r
    join pg_catalog.pg_constraint c on c.contype = 'f' and c.conname = o.constraint_name
      and c.conrelid in (select r.oid union all select l.relid from pg_catalog.pg_partition_tree(r.oid) l)
    where (r.schema_name, r.table_name) = case when o.is_backward
      then (o.owner_schema, o.owner_table) else (o.schema_name, o.table_name) end
  )
  order by 1, 2`

export interface Drift {
  /** `schema.table` */
  table: string
  reasons: string[]
}

/**
 * Tables which are no longer what init found: then their policies can't simply be put back, and init has
 * to look again. What only adds to a table is no drift.
 */
export async function findDrift(
  connection: Connection,
  tables: readonly HookedTable[],
): Promise<Drift[]> {
  const found = new Map<string, string[]>()
  const add = (table: string, reason: string) => {
    found.set(table, [...(found.get(table) ?? []), reason])
  }
  const { rows } = await connection.query<{ table: string; drift: string }>(READ_DRIFT)
  for (const { table, drift } of rows) add(table, drift)
  for (const table of tables) {
    const name = tableName(table)
    if (table.oid === null) add(name, 'the table is gone')
    else if (!found.has(name)) {
      const refusal = await tryCondition(connection, table)
      if (refusal !== null) add(name, `its condition can't be read any more: ${refusal}`)
    }
  }
  return [...found].map(([table, reasons]) => ({ table, reasons }))
}

/** What Postgres has against the condition; null where it takes it. Reads no row. */
async function tryCondition(
  connection: Connection,
  table: Pick<HookedTable, 'schema' | 'name' | 'rowExpression'>,
): Promise<string | null> {
  const { rowExpression } = table
  if (rowExpression === null) return null
  try {
    await inTransaction(connection, () => readNothing(connection, table, rowExpression))
    return null
  } catch (error) {
    if (!hasSqlstate(error, 'syntaxOrAccess')) throw error
    return (error as Error).message
  }
}

async function readNothing(
  session: Queryable,
  table: { schema: string; name: string },
  condition: string,
): Promise<void> {
  await session.query('set local search_path = pg_catalog, pg_temp')
  await session.query(`select from ${quoteTable(table)} where (${condition}\n) limit 0`)
}
