import type { Queryable } from '../database/database.ts'

// Row level security binds the operator only while it owns nothing, bypasses nothing, and is a member of
// nothing but the role that our policies are written to, which it must inherit.
const READ_ROLE_FAULTS = `
  select 'tenantkeep_operator does not inherit tenantkeep_scope, so our policies do not bind it; run: grant tenantkeep_scope to tenantkeep_operator with inherit true, set false' as fault
  where exists (select from pg_catalog.pg_roles where rolname = 'tenantkeep_scope')
    and not pg_has_role('tenantkeep_operator',
      (select oid from pg_catalog.pg_roles where rolname = 'tenantkeep_scope'), 'usage')
  union all
  select 'tenantkeep_scope is missing'
  where current_setting('server_version_num')::int >= 160000
    and to_regrole('tenantkeep_scope') is null
  union all
  select format('%I %s, which it must not', r.rolname, attribute.has)
  from pg_catalog.pg_roles r
  cross join lateral (values
    ('is a superuser', r.rolsuper),
    ('bypasses row level security', r.rolbypassrls),
    ('may make roles', r.rolcreaterole),
    ('may log in', r.rolcanlogin and r.rolname <> 'tenantkeep_worker')
  ) as attribute (has, is_so)
  where attribute.is_so and r.rolname in ('tenantkeep_operator', 'tenantkeep_worker')
  union all
  select format('%I is a member of %I; run: revoke %2$I from %1$I', member.rolname, granted.rolname)
  from pg_catalog.pg_auth_members m
  join pg_catalog.pg_roles member on member.oid = m.member
  join pg_catalog.pg_roles granted on granted.oid = m.roleid
  where (member.rolname, granted.rolname) not in (
      ('tenantkeep_operator', 'tenantkeep_scope'), ('tenantkeep_worker', 'tenantkeep_operator')
    )
    and member.rolname in ('tenantkeep_operator', 'tenantkeep_worker', 'tenantkeep_scope')
  order by 1`

/** What is wrong with our roles, a sentence each; empty when row level security confines the operator. */
export async function readRoleFaults(database: Queryable): Promise<string[]> {
  const { rows } = await database.query<{ fault: string }>(READ_ROLE_FAULTS)
  return rows.map((row) => row.fault)
}
