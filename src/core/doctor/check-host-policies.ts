import type { Queryable } from '../database/database.ts'
import { quoteIdentifier, quoteTable } from '../tables/quote-identifier.ts'
import { type Finding, finding } from './finding.ts'

interface BindingPolicy {
  schema: string
  name: string
  policy: string
  roles: string[]
  /** Who has rights on the table and is not ours: whom the policy was written for. */
  users: string[]
}

// Restrictive ones only: what a permissive one would let in, our own restrictive policy keeps out.
const READ_BINDING = `
  select t.schema_name as schema, t.table_name as name, p.polname as policy,
    array(select coalesce(r.rolname, 'public')::text from unnest(p.polroles) as o (oid)
          left join pg_catalog.pg_roles r on r.oid = o.oid) as roles,
    array(select distinct g.rolname::text from pg_catalog.aclexplode(c.relacl) a
          join pg_catalog.pg_roles g on g.oid = a.grantee
          where g.oid <> c.relowner and g.rolname not like 'tenantkeep\\_%' order by 1) as users
  from tenantkeep.tenant_tables t
  join pg_catalog.pg_namespace n on n.nspname = t.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
  join pg_catalog.pg_policy p on p.polrelid = c.oid
  where t.class <> 'excluded' and not p.polpermissive and p.polname not like 'zz\\_tenantkeep\\_%'
    and (coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'true') <> 'true'
      or coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), 'true') <> 'true')
    and (0 = any (p.polroles) or exists (
      select from pg_catalog.pg_roles r where r.oid = any (p.polroles)
        and pg_has_role('tenantkeep_operator', r.oid, 'usage')))
  order by 1, 2, 3`

/** Restrictive policies of the host that bind us too: they hide rows, and then a backup fails with `rows_hidden`. */
export async function checkHostPolicies(database: Queryable): Promise<Finding[]> {
  const { rows } = await database.query<BindingPolicy>(READ_BINDING)
  return rows.map((binding) => {
    const subject = `${binding.schema}.${binding.name}`
    const others = binding.roles.filter(
      (role) => role !== 'public' && !role.startsWith('tenantkeep_'),
    )
    const roles = (others.length > 0 ? others : binding.users).map(quoteIdentifier).join(', ')
    const target = roles === '' ? 'THE_ROLES_OF_THE_APPLICATION' : roles
    return finding('policy_hides_rows', {
      subject,
      message: `The restrictive policy ${quoteIdentifier(binding.policy)} is written to ${binding.roles.join(', ')} and so binds tenantkeep_operator too: rows that it hides fail the backup.`,
      remedy: `alter policy ${quoteIdentifier(binding.policy)} on ${quoteTable(binding)} to ${target}`,
    })
  })
}
