import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { type HostTable, tableName } from './host-table.ts'

const HostTableRow = z.object({
  schema: z.string(),
  name: z.string(),
  kind: z.enum(['r', 'p']),
  hasRowSecurity: z.boolean(),
  isUnlogged: z.boolean(),
  inheritsFrom: z.array(z.string()),
  rules: z.array(z.string()),
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
  uniqueKeys: z.array(z.array(z.string())),
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
// extension. A key over several columns keeps the order of conkey. A foreign key that only leaves have
// counts for the parent, and a key to a leaf is a key to the parent.
const READ_HOST_TABLES = `
  select
    n.nspname as schema,
    c.relname as name,
    c.relkind as kind,
    c.relrowsecurity as "hasRowSecurity",
    c.relpersistence = 'u' as "isUnlogged",
    (
      select coalesce(jsonb_agg(pn.nspname || '.' || pc.relname order by i.inhseqno), '[]')
      from pg_catalog.pg_inherits i
      join pg_catalog.pg_class pc on pc.oid = i.inhparent
      join pg_catalog.pg_namespace pn on pn.oid = pc.relnamespace
      where i.inhrelid = c.oid
    ) as "inheritsFrom",
    (
      select coalesce(jsonb_agg(r.rulename order by r.rulename), '[]')
      from pg_catalog.pg_rewrite r where r.ev_class = c.oid
    ) as rules,
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
      select coalesce(jsonb_agg(u.columns order by u.columns), '[]')
      from (
        select jsonb_agg(a.attname order by k.position) as columns
        from pg_catalog.pg_index i
        cross join unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
        join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
        where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indisvalid
          and i.indpred is null and i.indexprs is null and k.position <= i.indnkeyatts
        group by i.indexrelid
      ) u
    ) as "uniqueKeys",
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', k.name, 'columns', k.columns, 'targetSchema', k.schema, 'targetTable', k.target,
        'targetColumns', k.target_columns, 'cascadesOnDelete', k.cascades
      ) order by k.name), '[]')
      from (
        select distinct on (k.columns, k.schema, k.target, k.target_columns) k.*
        from (
          select f.conname as name,
            (
              select jsonb_agg(a.attname order by k.position)
              from unnest(f.conkey) with ordinality as k (attnum, position)
              join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum
            ) as columns,
            tn.nspname as schema,
            tc.relname as target,
            (
              select jsonb_agg(a.attname order by k.position)
              from unnest(f.confkey) with ordinality as k (attnum, position)
              join pg_catalog.pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.attnum
            ) as target_columns,
            f.confdeltype = 'c' as cascades
          from pg_catalog.pg_constraint f
          join pg_catalog.pg_class tc
            on tc.oid = coalesce(pg_catalog.pg_partition_root(f.confrelid), f.confrelid)
          join pg_catalog.pg_namespace tn on tn.oid = tc.relnamespace
          where f.contype = 'f' and f.conparentid = 0 and (
            f.conrelid = c.oid
            or c.relkind = 'p' and f.conrelid in (
              select leaf.relid::oid from pg_catalog.pg_partition_tree(c.oid) leaf
            )
          )
        ) k
        order by k.columns, k.schema, k.target, k.target_columns, k.name
      ) k
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

const READ_CATALOG_NOTES = `
  select format('%s.%s is a %s: it holds no rows of its own, and is neither backed up nor restored.',
      n.nspname, c.relname,
      case c.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'foreign table' end) as note
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = any ($1) and c.relkind in ('v', 'm', 'f')
    and not exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
    )
  order by n.nspname, c.relname`

/** What these schemas hold beside tables, a sentence each: views, materialized views, foreign tables. */
export async function readCatalogNotes(
  database: Queryable,
  schemas: readonly string[],
): Promise<string[]> {
  const { rows } = await database.query<{ note: string }>(READ_CATALOG_NOTES, [schemas])
  return rows.map((row) => row.note)
}

/** What a person should know of a table beyond its class, a sentence each. Pure. */
export function describeOddities(table: HostTable): string[] {
  const notes: string[] = []
  if (table.isUnlogged) notes.push('It is unlogged: a crash of the server empties it.')
  if (table.inheritsFrom.length > 0) {
    notes.push(
      `It inherits from ${table.inheritsFrom.join(', ')}; each table is backed up with its own rows.`,
    )
  }
  if (table.rules.length > 0) {
    notes.push(
      `Rules rewrite what is written to it: ${table.rules.join(', ')}. A restore would set them off.`,
    )
  }
  if (table.primaryKey.length === 0) {
    notes.push(
      'It has no primary key: its rows are compared as a whole, and equal rows are counted.',
    )
  }
  for (const { name, type } of table.columns) {
    if (type.endsWith('[]') && /(^|_)ids$|Ids$/.test(name)) {
      notes.push(
        `${name} is an array that seems to hold ids: they are backed up, and not followed.`,
      )
    } else if (
      /^jsonb?$/.test(type) &&
      /(^|_)(ids|refs|references|links|members|items)$/.test(name)
    ) {
      notes.push(`${name} is JSON that may hold ids: they are backed up, and not followed.`)
    }
  }
  return notes
}
