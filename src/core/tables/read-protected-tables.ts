import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { columnEncodingSql } from './column-encoding.ts'
import type { ProtectedTable } from './protected-table.ts'
import { quoteTable } from './quote-identifier.ts'
import { fromClause } from './render-path.ts'

const Row = z.object({
  schema: z.string(),
  name: z.string(),
  kind: z.enum(['r', 'p']),
  class: z.enum(['root', 'direct', 'child', 'custom']),
  position: z.number().int(),
  rowExpression: z.string(),
  isWritable: z.boolean(),
  isHistory: z.boolean(),
  keepLive: z.array(z.string()),
  masked: z.array(z.string()),
  labelColumns: z.array(z.string()),
  columns: z.array(
    z.object({
      name: z.string(),
      type: z.string(),
      encoding: z.enum(['scalar', 'jsonb', 'json', 'text', 'output']),
      isNullable: z.boolean(),
      isGenerated: z.boolean(),
      isIdentity: z.boolean(),
      isIdentityAlways: z.boolean(),
      hasDefault: z.boolean(),
      isDomain: z.boolean(),
    }),
  ),
  primaryKey: z.array(z.object({ name: z.string(), isText: z.boolean() })),
})

// Text-like keys are ordered `collate "C"`: the order of a collation differs between servers.
const READ_PROTECTED_TABLES = `
  select
    t.schema_name as schema,
    t.table_name as name,
    c.relkind as kind,
    t.class,
    t.position,
    t.row_expression as "rowExpression",
    t.is_writable as "isWritable",
    t.is_history as "isHistory",
    to_jsonb(t.keep_live_columns) as "keepLive",
    to_jsonb(t.masked_columns) as masked,
    to_jsonb(t.label_columns) as "labelColumns",
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', a.attname,
        'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'encoding', ${columnEncodingSql},
        'isNullable', not a.attnotnull,
        'isGenerated', a.attgenerated <> '',
        'isIdentity', a.attidentity <> '',
        'isIdentityAlways', a.attidentity = 'a',
        'hasDefault', a.atthasdef,
        'isDomain', exists (select from pg_catalog.pg_type d where d.oid = a.atttypid and d.typtype = 'd')
      ) order by a.attnum), '[]')
      from pg_catalog.pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ) as columns,
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', a.attname,
        'isText', a.attcollation <> 0
      ) order by k.position), '[]')
      from pg_catalog.pg_constraint p
      cross join unnest(p.conkey) with ordinality as k (attnum, position)
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
      where p.conrelid = c.oid and p.contype = 'p'
    ) as "primaryKey"
  from tenantkeep.tenant_tables t
  join pg_catalog.pg_namespace n on n.nspname = t.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
  where t.class in ('root', 'direct', 'child', 'custom') and c.relkind in ('r', 'p')
  order by t.position`

/**
 * The tables whose rows belong to tenants, owners first: the registry joined with the live catalog as
 * this snapshot has it. A registered table that is gone is missing here; `readProtectionFaults` names it.
 */
export async function readProtectedTables(database: Queryable): Promise<ProtectedTable[]> {
  const { rows } = await database.query(READ_PROTECTED_TABLES)
  return z
    .array(Row)
    .parse(rows)
    .map(({ kind, ...table }) => ({
      ...table,
      label: table.schema === 'public' ? table.name : `${table.schema}.${table.name}`,
      relation: quoteTable(table),
      from: fromClause({ ...table, kind }),
    }))
}
