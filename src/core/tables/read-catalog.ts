import { z } from 'zod'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { type HostTable, tableName } from './host-table.ts'

const HostTableRow = z.object({
  schema: z.string(),
  name: z.string(),
  kind: z.enum(['r', 'p']),
  hasRowSecurity: z.boolean(),
  restrictivePolicies: z.array(z.string()),
  foreignOwner: z.string().nullable(),
  columns: z.array(
    z.object({
      name: z.string(),
      type: z.string(),
      typeSchema: z.string().nullable(),
      isNullable: z.boolean(),
    }),
  ),
  primaryKey: z.array(z.string()),
  foreignKeys: z.array(
    z.object({
      name: z.string(),
      columns: z.array(z.string()),
      targetSchema: z.string(),
      targetTable: z.string(),
      targetColumns: z.array(z.string()),
      cascadesOnDelete: z.boolean(),
    }),
  ),
})

// Leaves of partitioned tables are left out: the parent stands for them, and foreign keys which the
// parent hands down to its leaves (conparentid) are the parent's. Tables of extensions belong to the
// extension. A key over several columns keeps the order of conkey.
const READ_HOST_TABLES = `
  select
    n.nspname as schema,
    c.relname as name,
    c.relkind as kind,
    c.relrowsecurity as "hasRowSecurity",
    (
      select coalesce(jsonb_agg(p.polname order by p.polname), '[]')
      from pg_catalog.pg_policy p
      where p.polrelid = c.oid and not p.polpermissive and p.polname not like 'zz\\_tenantkeep\\_%'
    ) as "restrictivePolicies",
    case when not pg_has_role(c.relowner, 'usage') then c.relowner::regrole::text end as "foreignOwner",
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', a.attname,
        'type', case when ty.typnamespace = 'pg_catalog'::regnamespace
          then pg_catalog.format_type(a.atttypid, -1)
          else format('%s.%I', ty.typnamespace::regnamespace, ty.typname) end,
        'typeSchema', (
          select tn.nspname from pg_catalog.pg_namespace tn
          where tn.oid = ty.typnamespace and tn.nspname <> 'pg_catalog'
        ),
        'isNullable', not a.attnotnull
      ) order by a.attnum), '[]')
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_type ty on ty.oid = a.atttypid
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ) as columns,
    (
      select coalesce(jsonb_agg(a.attname order by k.position), '[]')
      from pg_catalog.pg_constraint p
      cross join unnest(p.conkey) with ordinality as k (attnum, position)
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
      where p.conrelid = c.oid and p.contype = 'p'
    ) as "primaryKey",
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', f.conname,
        'columns', (
          select jsonb_agg(a.attname order by k.position)
          from unnest(f.conkey) with ordinality as k (attnum, position)
          join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum
        ),
        'targetSchema', tn.nspname,
        'targetTable', tc.relname,
        'targetColumns', (
          select jsonb_agg(a.attname order by k.position)
          from unnest(f.confkey) with ordinality as k (attnum, position)
          join pg_catalog.pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.attnum
        ),
        'cascadesOnDelete', f.confdeltype = 'c'
      ) order by f.conname), '[]')
      from pg_catalog.pg_constraint f
      join pg_catalog.pg_class tc on tc.oid = f.confrelid
      join pg_catalog.pg_namespace tn on tn.oid = tc.relnamespace
      where f.conrelid = c.oid and f.contype = 'f' and f.conparentid = 0
    ) as "foreignKeys"
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = any ($1)
    and c.relkind in ('r', 'p')
    and not c.relispartition
    and (n.nspname, c.relname) not in (('public', 'tenant_backups'), ('public', 'backup_logs'))
    and not exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
    )
  order by n.nspname, c.relname`

/**
 * Every table of these schemas that could hold tenant rows, Tenantkeep's own left out. Throws
 * `invalid_request` for two tables that people would call by the same name, such as "a.b".c and a."b.c".
 */
export async function readCatalog(
  database: Queryable,
  schemas: readonly string[],
): Promise<HostTable[]> {
  const { rows } = await database.query(READ_HOST_TABLES, [schemas])
  const tables = z.array(HostTableRow).parse(rows)
  const names = new Set<string>()
  for (const table of tables) {
    const name = tableName(table)
    if (names.has(name)) {
      throw new BackupError(
        'invalid_request',
        `Two tables are both written ${name}, because of the dots in their names. Rename one.`,
      )
    }
    names.add(name)
  }
  return tables
}
