/**
 * Built-in scalars whose `to_json` loses nothing, by name in `pg_catalog`. Anything that is not in this
 * list and is neither json nor jsonb travels as its Postgres text; a type that is missing here is
 * therefore slower, never wrong.
 */
const EXACT_SCALARS = [
  'bool',
  'int2',
  'int4',
  'int8',
  'float4',
  'float8',
  'numeric',
  'oid',
  'xid',
  'xid8',
  'cid',
  'tid',
  'pg_lsn',
  'text',
  'varchar',
  'bpchar',
  'char',
  'name',
  'uuid',
  'bytea',
  'date',
  'time',
  'timetz',
  'timestamp',
  'timestamptz',
  'interval',
  'bit',
  'varbit',
  'inet',
  'cidr',
  'macaddr',
  'macaddr8',
  'money',
  'refcursor',
]

/**
 * An SQL expression of type text for the `ColumnEncoding` of the column in alias `a` (a row of
 * `pg_attribute`). Domains count as the type below all of them. `output` where a cast function from
 * exactly this type to text exists, because `::text` would call it instead of the output function (a
 * cast without function, as xml has, keeps the bytes and is exact).
 */
export const columnEncodingSql = `(
  with recursive layers (oid, below) as (
    select t.oid, t.typbasetype from pg_catalog.pg_type t where t.oid = a.atttypid
    union all
    select t.oid, t.typbasetype
    from layers join pg_catalog.pg_type t on t.oid = layers.below
  )
  select case
    when t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace and t.typname in (${EXACT_SCALARS.map((name) => `'${name}'`).join(', ')}) then 'scalar'
    when t.oid = 'pg_catalog.jsonb'::pg_catalog.regtype then 'jsonb'
    when t.oid = 'pg_catalog.json'::pg_catalog.regtype then 'json'
    when exists (
      select from pg_catalog.pg_cast c
      where c.castsource = t.oid
        and c.casttarget = 'pg_catalog.text'::pg_catalog.regtype
        and c.castmethod = 'f'
    ) then 'output'
    else 'text'
  end
  from layers join pg_catalog.pg_type t on t.oid = layers.oid
  where layers.below = 0
)`
