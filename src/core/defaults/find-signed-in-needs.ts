import type { Queryable } from '../database/database.ts'

/** Something that asks who is signed in, where nobody is. */
export interface SignedInNeed {
  table: string
  /** The trigger, or the column of the default. */
  name: string
  kind: 'trigger' | 'default'
}

/**
 * Triggers and defaults of tables whose own source asks for a signed-in user (`auth.uid()`, `auth.jwt()`, the
 * claims of a request). What functions call in turn is not looked into.
 */
export async function findSignedInNeeds(
  session: Queryable,
  tables: readonly { schema: string; name: string; label: string }[],
): Promise<SignedInNeed[]> {
  const { rows } = await session.query<SignedInNeed>(
    `with written as (
       select c.oid, t.label
       from jsonb_to_recordset($1::jsonb) as t (schema text, name text, label text)
       join pg_catalog.pg_namespace n on n.nspname = t.schema
       join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.name
     )
     select w.label as "table", g.tgname as name, 'trigger' as kind
     from written w
     join pg_catalog.pg_trigger g on g.tgrelid = w.oid and not g.tgisinternal and g.tgenabled in ('O', 'A')
     join pg_catalog.pg_proc p on p.oid = g.tgfoid
     -- On insert or update.
     where g.tgtype & 20 <> 0 and p.prosrc ~* $2
     union all
     select w.label, a.attname, 'default'
     from written w
     join pg_catalog.pg_attrdef d on d.adrelid = w.oid
     join pg_catalog.pg_attribute a on a.attrelid = w.oid and a.attnum = d.adnum
     where pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~* $2
     order by 1, 3, 2`,
    [
      JSON.stringify(tables.map(({ schema, name, label }) => ({ schema, name, label }))),
      String.raw`\mauth\s*\.\s*(uid|jwt|role|email)\s*\(|request\.jwt|request\.headers`,
    ],
  )
  return rows
}
