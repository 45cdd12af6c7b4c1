import type { Queryable } from '../database/database.ts'
import { type Finding, finding } from './finding.ts'

// Through arrays, domains and composites down to what a value is made of. xml inside a composite loses its
// declaration on the way out; regproc and regoper print a bare name, which several functions may have.
const READ_INEXACT = `
  with recursive part as (
    select t.schema_name, t.table_name, a.attname, a.atttypid as type, false as in_composite
    from tenantkeep.tenant_tables t
    join pg_catalog.pg_namespace n on n.nspname = t.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where t.class in ('root', 'direct', 'child', 'custom') and a.attgenerated = ''
    union
    select p.schema_name, p.table_name, p.attname, below.type, p.in_composite or below.in_composite
    from part p
    join pg_catalog.pg_type t on t.oid = p.type
    cross join lateral (
      select t.typbasetype, false where t.typtype = 'd'
      union all select t.typelem, false where t.typcategory = 'A' and t.typelem <> 0
      union all select a.atttypid, true from pg_catalog.pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) as below (type, in_composite)
  )
  select schema_name || '.' || table_name as subject, attname as column,
    case when type = 'xml'::regtype then 'xml' else type::regtype::text end as type
  from part
  where type = 'xml'::regtype and in_composite or type in ('regproc'::regtype, 'regoper'::regtype)
  order by 1, 2, 3`

/** Columns whose values may have no text that reads back as the same value, and a database without an encoding. */
export async function checkValues(database: Queryable): Promise<Finding[]> {
  const { rows } = await database.query<{ subject: string; column: string; type: string }>(
    READ_INEXACT,
  )
  const found = rows.map(({ subject, column, type }) =>
    type === 'xml'
      ? finding('value_not_exact', {
          subject,
          message: `${column} is a composite that holds xml: Postgres leaves an XML declaration out of its text, so it would not come back.`,
          remedy: 'a column of its own for the xml, or text in place of xml',
        })
      : finding('value_not_exact', {
          subject,
          message: `${column} holds ${type}: the text of such a value is a bare name, which does not say which of several functions of that name is meant.`,
          remedy: `change its type to ${type === 'regproc' ? 'regprocedure' : 'regoperator'}`,
        }),
  )
  const { rows: encodings } = await database.query<{ encoding: string; database: string }>(
    `select pg_catalog.pg_encoding_to_char(encoding) as encoding, datname as database
     from pg_catalog.pg_database where datname = current_database()`,
  )
  if (encodings[0]?.encoding === 'SQL_ASCII') {
    found.push(
      finding('encoding_sql_ascii', {
        subject: encodings[0].database,
        message:
          'The database is SQL_ASCII: bytes that are no UTF-8 have no exact text and fail a backup.',
        remedy: 'dump it and load it into a database with encoding UTF8',
      }),
    )
  }
  return found
}
