import * as z from 'zod'
import type { Queryable } from '../database/database.ts'

/** What the live catalog says about the registered tables that a restore has to obey. Labels as in `ProtectedTable`. */
export interface Constraints {
  foreignKeys: ForeignKey[]
  uniqueKeys: UniqueKey[]
  /** Triggers that fire even when triggers are silenced, and rules. */
  sideEffects: SideEffect[]
  edges: Edge[]
  /** Where memberships are kept, by the setting: rows that come back here give somebody access. */
  membership: { label: string; columns: string[] } | null
}

const ForeignKey = z.object({
  oid: z.string(),
  name: z.string(),
  /** The registered table that refers; null where a table that is nobody's does. */
  childLabel: z.string().nullable(),
  childName: z.string(),
  childColumns: z.array(z.string()),
  areColumnsNullable: z.boolean(),
  parentLabel: z.string().nullable(),
  parentName: z.string(),
  parentColumns: z.array(z.string()),
  /** Points at `auth.users`. */
  isUser: z.boolean(),
  isValidated: z.boolean(),
  isDeferrable: z.boolean(),
})
export type ForeignKey = z.infer<typeof ForeignKey>

const UniqueKey = z.object({
  indexOid: z.string(),
  constraintOid: z.string().nullable(),
  name: z.string(),
  label: z.string(),
  /** Every column that the key, its expressions and its predicate read. */
  columns: z.array(z.string()),
  isPrimary: z.boolean(),
  isDeferrable: z.boolean(),
})
export type UniqueKey = z.infer<typeof UniqueKey>

const SideEffect = z.object({
  label: z.string(),
  name: z.string(),
  kind: z.enum(['trigger', 'rule']),
})
type SideEffect = z.infer<typeof SideEffect>

const Edge = z.object({
  id: z.number().int(),
  label: z.string(),
  ownerLabel: z.string(),
  /** Every column that says whose the row is: those of the edge, its condition's, the tenant's before it. */
  columns: z.array(z.string()),
  ownerColumns: z.array(z.string()),
  /** A validated foreign key keeps owned rows from outliving their owner. */
  isEnforced: z.boolean(),
})
export type Edge = z.infer<typeof Edge>

// A registered table with its partitions: what a leaf has counts for the table that is registered.
const FAMILY = `
  with recursive family (oid, label, relid) as (
    select c.oid, case when n.nspname = 'public' then c.relname::text else n.nspname || '.' || c.relname end, c.oid
    from tenantkeep.tenant_tables t
    join pg_catalog.pg_namespace n on n.nspname = t.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
    where t.class in ('root', 'direct', 'child', 'custom') and c.relkind in ('r', 'p')
    union all
    select c.oid, f.label, f.relid
    from family f
    join pg_catalog.pg_inherits i on i.inhparent = f.oid
    join pg_catalog.pg_class c on c.oid = i.inhrelid and c.relispartition
  )`

const columnNames = (relation: string, numbers: string) => `(
  select coalesce(jsonb_agg(a.attname order by u.position), '[]')
  from unnest(${numbers}) with ordinality as u (attnum, position)
  join pg_catalog.pg_attribute a on a.attrelid = ${relation} and a.attnum = u.attnum)`

const READ_FOREIGN_KEYS = `${FAMILY}
  select f.oid::text, f.conname as name, child.label as "childLabel", f.conrelid::regclass::text as "childName",
    ${columnNames('f.conrelid', 'f.conkey')} as "childColumns",
    not exists (
      select from pg_catalog.pg_attribute a
      where a.attrelid = f.conrelid and a.attnum = any (f.conkey) and a.attnotnull
    ) as "areColumnsNullable",
    parent.label as "parentLabel", f.confrelid::regclass::text as "parentName",
    ${columnNames('f.confrelid', 'f.confkey')} as "parentColumns",
    exists (
      select from pg_catalog.pg_class u join pg_catalog.pg_namespace n on n.oid = u.relnamespace
      where u.oid = f.confrelid and u.relname = 'users' and n.nspname = 'auth'
    ) as "isUser", f.convalidated as "isValidated", f.condeferrable as "isDeferrable"
  from pg_catalog.pg_constraint f
  left join family child on child.oid = f.conrelid
  left join family parent on parent.oid = f.confrelid
  where f.contype = 'f' and f.conparentid = 0 and (child.oid is not null or parent.oid is not null)
  order by f.conname, f.oid`

const READ_UNIQUE_KEYS = `${FAMILY}
  select i.indexrelid::text as "indexOid", k.oid::text as "constraintOid",
    coalesce(k.conname, ic.relname) as name, f.label,
    (
      select coalesce(jsonb_agg(a.attname order by a.attnum), '[]')
      from pg_catalog.pg_attribute a
      where a.attrelid = i.indrelid and a.attnum > 0 and (
        a.attnum = any (i.indkey::int2[])
        or exists (
          select from pg_catalog.pg_depend d
          where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
            and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid and d.refobjsubid = a.attnum
        )
      )
    ) as columns,
    i.indisprimary as "isPrimary", coalesce(k.condeferrable, false) as "isDeferrable"
  from pg_catalog.pg_index i
  join family f on f.oid = i.indrelid and f.relid = f.oid
  join pg_catalog.pg_class ic on ic.oid = i.indexrelid
  left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
  where (i.indisunique or i.indisexclusion) and i.indisvalid
  order by i.indisprimary desc, name`

const READ_SIDE_EFFECTS = `${FAMILY}
  select distinct f.label, g.tgname as name, 'trigger' as kind
  from pg_catalog.pg_trigger g join family f on f.oid = g.tgrelid
  where not g.tgisinternal and g.tgenabled in ('A', 'R')
  union all
  select distinct f.label, r.rulename, 'rule'
  from pg_catalog.pg_rewrite r join family f on f.oid = r.ev_class
  where r.ev_type <> '1'
  order by 1, 2`

const LABEL = (schema: string, table: string) =>
  `case when ${schema} = 'public' then ${table} else ${schema} || '.' || ${table} end`

const READ_EDGES = `
  select e.id, ${LABEL('e.schema_name', 'e.table_name')} as label,
    ${LABEL('e.owner_schema', 'e.owner_table')} as "ownerLabel",
    to_jsonb(e.columns)
      || case when t.tenant_column is null then '[]' else jsonb_build_array(t.tenant_column) end
      || case when e.condition is null then '[]' else jsonb_build_array(e.condition -> 'column') end as columns, to_jsonb(e.owner_columns) as "ownerColumns",
    e.constraint_name is not null and exists (
      select from pg_catalog.pg_constraint f
      join pg_catalog.pg_class c on c.oid = f.conrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where f.contype = 'f' and f.conname = e.constraint_name and f.convalidated
        and (n.nspname, c.relname) in ((e.schema_name, e.table_name), (e.owner_schema, e.owner_table))
    ) as "isEnforced"
  from tenantkeep.ownership e
  join tenantkeep.tenant_tables t on (t.schema_name, t.table_name) = (e.schema_name, e.table_name)
  order by e.id`

const Membership = z.object({
  schema: z.string(),
  table: z.string(),
  tenant: z.string(),
  user: z.string(),
})

/** Reads them in the caller's transaction, as the worker. */
export async function readConstraints(session: Queryable): Promise<Constraints> {
  const read = async <T>(shape: z.ZodType<T>, sql: string) =>
    z.array(shape).parse((await session.query(sql)).rows)
  const { rows } = await session.query<{ value: unknown }>(
    `select value from tenantkeep.settings where key = 'membership'`,
  )
  const membership = Membership.safeParse(rows[0]?.value).data
  return {
    foreignKeys: await read(ForeignKey, READ_FOREIGN_KEYS),
    uniqueKeys: await read(UniqueKey, READ_UNIQUE_KEYS),
    sideEffects: await read(SideEffect, READ_SIDE_EFFECTS),
    edges: await read(Edge, READ_EDGES),
    membership:
      membership === undefined
        ? null
        : {
            label:
              membership.schema === 'public'
                ? membership.table
                : `${membership.schema}.${membership.table}`,
            columns: [membership.tenant, membership.user],
          },
  }
}
