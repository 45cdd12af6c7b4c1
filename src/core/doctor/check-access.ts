import type { Database, Queryable } from '../database/database.ts'
import { type Finding, finding } from './finding.ts'
import { readRegisteredTables } from './registered-tables.ts'

/**
 * Reads no row from every table as the operator: what a policy of the host needs and the operator lacks
 * shows now instead of tonight.
 */
export async function checkProbe(database: Database): Promise<Finding[]> {
  const tables = await readRegisteredTables(database)
  return database.withConnection(async (connection) => {
    const found: Finding[] = []
    for (const { subject, from } of tables) {
      await connection.query('begin')
      try {
        await connection.query(`set local lock_timeout = '2s'; set local role tenantkeep_operator`)
        await connection.query(`select ${from} limit 0`)
      } catch (error) {
        found.push(
          finding('table_not_readable', {
            subject,
            message: `tenantkeep_operator can’t read it: ${(error as Error).message}.`,
            remedy:
              'grant what the message names to tenantkeep_operator, or write the policy that needs it to the roles of the application instead of public',
          }),
        )
      } finally {
        await connection.query('rollback')
      }
    }
    return found
  })
}

// Policies that bind us, checks, generated columns, index expressions and domains run with the rights of
// whoever reads or writes.
const READ_CLOSED_FUNCTIONS = `
  with registered as (
    select c.oid, t.schema_name || '.' || t.table_name as subject
    from tenantkeep.tenant_tables t
    join pg_catalog.pg_namespace n on n.nspname = t.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
    where t.class in ('root', 'direct', 'child', 'custom')
  ), part (subject, classid, objid, what) as (
    select r.subject, 'pg_catalog.pg_constraint'::regclass, k.oid, 'the constraint ' || k.conname
    from registered r join pg_catalog.pg_constraint k on k.conrelid = r.oid
    union all
    select r.subject, 'pg_catalog.pg_policy'::regclass, p.oid, 'the policy ' || p.polname
    from registered r join pg_catalog.pg_policy p on p.polrelid = r.oid
      and (0 = any (p.polroles) or exists (
        select from pg_catalog.pg_roles g where g.oid = any (p.polroles)
          and pg_has_role('tenantkeep_operator', g.oid, 'usage')))
    union all
    select r.subject, 'pg_catalog.pg_attrdef'::regclass, d.oid, 'the column ' || a.attname
    from registered r
    join pg_catalog.pg_attrdef d on d.adrelid = r.oid
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum = d.adnum and a.attgenerated <> ''
    union all
    select r.subject, 'pg_catalog.pg_class'::regclass, i.indexrelid, 'the index ' || i.indexrelid::regclass
    from registered r join pg_catalog.pg_index i on i.indrelid = r.oid
    union all
    select r.subject, 'pg_catalog.pg_constraint'::regclass, k.oid, 'the domain ' || a.atttypid::regtype
    from registered r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_constraint k on k.contypid = a.atttypid
  )
  select distinct part.subject, part.what, d.refobjid::regprocedure::text as function
  from part
  join pg_catalog.pg_depend d on d.classid = part.classid and d.objid = part.objid
    and d.refclassid = 'pg_catalog.pg_proc'::regclass
  where not has_function_privilege('tenantkeep_operator', d.refobjid, 'execute')
  order by 1, 2, 3`

/** Functions that reading or writing a row may call and the operator may not execute. */
export async function checkFunctions(database: Queryable): Promise<Finding[]> {
  const { rows } = await database.query<{ subject: string; what: string; function: string }>(
    READ_CLOSED_FUNCTIONS,
  )
  return rows.map((row) =>
    finding('function_not_executable', {
      subject: row.subject,
      message: `${row.what} calls ${row.function}, which tenantkeep_operator may not execute: ${row.what.startsWith('the policy') ? 'a backup' : 'a restore'} that meets it fails.`,
      remedy: `grant execute on function ${row.function} to tenantkeep_operator`,
    }),
  )
}
