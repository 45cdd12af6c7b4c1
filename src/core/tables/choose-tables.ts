import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { tableName } from './host-table.ts'

/** A table of the registry that is not excluded, and how its protection stands. */
export interface HookedTable {
  schema: string
  name: string
  /** Null where the table is gone. */
  oid: string | null
  class: string
  rowExpression: string | null
  isWritable: boolean
  /** As init left it; null where init has not finished with it. */
  policyDigest: string | null
  /** The protection is there, as init left it. */
  isProtected: boolean
  isUnhooked: boolean
}

/** Every registered table that is not excluded, owners first. */
export async function readHookedTables(database: Queryable): Promise<HookedTable[]> {
  const { rows } = await database.query<HookedTable>(
    `select t.schema_name as schema, t.table_name as name, c.oid::text as oid, t.class,
       t.row_expression as "rowExpression", t.is_writable as "isWritable",
       t.policy_digest as "policyDigest",
       coalesce(t.policy_digest = p.digest, false) as "isProtected",
       u.schema_name is not null as "isUnhooked"
     from tenantkeep.tenant_tables t
     left join pg_catalog.pg_namespace n on n.nspname = t.schema_name
     left join pg_catalog.pg_class c
       on c.relnamespace = n.oid and c.relname = t.table_name and c.relkind in ('r', 'p')
     left join tenantkeep.table_protection() p using (schema_name, table_name)
     left join tenantkeep.unhooked_tables u using (schema_name, table_name)
     where t.class <> 'excluded'
     order by t.position, 1, 2`,
  )
  return rows
}

/**
 * The tables that were asked for, by `schema.table` or a bare name; all of them where none was. Throws
 * `invalid_request` for a name that the registry has not, or has twice.
 */
export function chooseTables(
  tables: readonly HookedTable[],
  wanted: readonly string[],
): HookedTable[] {
  if (wanted.length === 0) return [...tables]
  return [...new Set(wanted.map((name) => findOne(tables, name)))]
}

function findOne(tables: readonly HookedTable[], wanted: string): HookedTable {
  const exact = tables.filter((table) => tableName(table) === wanted)
  const found = exact.length > 0 ? exact : tables.filter((table) => table.name === wanted)
  const [table, ...more] = found
  if (table === undefined) {
    throw new BackupError(
      'invalid_request',
      `--table ${wanted}: no table of that name is under protection.`,
    )
  }
  if (more.length > 0) {
    throw new BackupError(
      'invalid_request',
      `--table ${wanted}: several schemas have it (${found.map(tableName).join(', ')}). Write the schema.`,
    )
  }
  return table
}
