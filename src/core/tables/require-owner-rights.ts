import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'

const READ_MISSING = `
  with me as (
    select r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole,
      current_setting('server_version_num')::int >= 160000 as has_scope
    from pg_catalog.pg_roles r where r.rolname = current_user
  )
  select format('it lacks createrole, which makes our three roles') as lack,
    format('alter role %I createrole', rolname) as statement
  from me where not (rolsuper or rolcreaterole) and (
    to_regrole('tenantkeep_worker') is null or to_regrole('tenantkeep_operator') is null
    or has_scope and to_regrole('tenantkeep_scope') is null
  )
  union all
  select 'it lacks bypassrls, without which the census could not count what a policy hides',
    format('alter role %I bypassrls', rolname)
  from me where not (rolsuper or rolbypassrls)
  union all
  select format('it may not create schemas in the database %I', current_database()),
    format('grant create on database %I to %I', current_database(), rolname)
  from me where not has_database_privilege(current_database(), 'create')
    and to_regnamespace('tenantkeep') is null
  union all
  select 'it may not create tables in the schema public, where catalog and journal are',
    format('grant create on schema public to %I', rolname)
  from me where not has_schema_privilege('public', 'create')
    and to_regclass('public.tenant_backups') is null`

/**
 * Makes sure that the login may do what an installation needs, before anything is tried. Throws
 * `not_configured`, naming what is missing and what a superuser has to run.
 */
export async function requireOwnerRights(database: Queryable): Promise<void> {
  const { rows } = await database.query<{ lack: string; statement: string }>(READ_MISSING)
  if (rows.length === 0) return
  const { rows: who } = await database.query<{ login: string }>('select current_user as login')
  const statements = rows.map((row) => row.statement)
  throw new BackupError(
    'not_configured',
    `The login ${who[0]?.login} can't install Tenantkeep: ${rows.map((row) => row.lack).join('; ')}. A superuser has to run: ${statements.join('; ')}. Nothing was written.`,
    { details: { statements } },
  )
}
