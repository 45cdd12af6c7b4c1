import type { Queryable } from '../database/database.ts'
import { quoteIdentifier, quoteTable } from './quote-identifier.ts'

/** A restrictive policy of the host that binds our operator as well. */
export interface BindingPolicy {
  schema: string
  name: string
  policy: string
  /** The statement that writes it to those whom it was meant for. */
  remedy: string
}

// `to public`, or to a role that the operator inherits; a condition that is always true hides nothing.
// Permissive ones do no harm: what they would let in, our own restrictive policy keeps out.
const READ_BINDING = `
  select n.nspname as schema, c.relname as name, p.polname as policy,
    array(select r.rolname::text from pg_catalog.pg_roles r
          where r.oid = any (p.polroles) and r.rolname not like 'tenantkeep\\_%' order by 1) as roles,
    array(select distinct g.rolname::text from pg_catalog.aclexplode(c.relacl) a
          join pg_catalog.pg_roles g on g.oid = a.grantee
          where g.oid <> c.relowner and g.rolname not like 'tenantkeep\\_%' order by 1) as users
  from pg_catalog.pg_policy p
  join pg_catalog.pg_class c on c.oid = p.polrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = any ($1) and c.relrowsecurity
    and not p.polpermissive and p.polname not like 'zz\\_tenantkeep\\_%'
    and (coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'true') <> 'true'
      or coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), 'true') <> 'true')
    and (0 = any (p.polroles) or exists (
      select from pg_catalog.pg_roles r
      join pg_catalog.pg_roles operator on operator.rolname = 'tenantkeep_operator'
      where r.oid = any (p.polroles) and pg_catalog.pg_has_role(operator.oid, r.oid, 'usage')))
  order by 1, 2, 3`

/** Restrictive policies of the host in these schemas that would hide rows from us, each with its remedy. */
export async function findBindingPolicies(
  database: Queryable,
  schemas: readonly string[],
): Promise<BindingPolicy[]> {
  const { rows } = await database.query<
    Omit<BindingPolicy, 'remedy'> & { roles: string[]; users: string[] }
  >(READ_BINDING, [schemas])
  return rows.map(({ schema, name, policy, roles, users }) => {
    const meant = (roles.length > 0 ? roles : users).map(quoteIdentifier).join(', ')
    const target = meant === '' ? 'THE_ROLES_OF_THE_APPLICATION' : meant
    return {
      schema,
      name,
      policy,
      remedy: `alter policy ${quoteIdentifier(policy)} on ${quoteTable({ schema, name })} to ${target}`,
    }
  })
}
