import type { Queryable } from '../database/database.ts'
import { readRoleFaults } from './read-role-faults.ts'

export interface ProtectionFault {
  /** `schema.table`, or `roles` where the fault is in our roles and so concerns every table. */
  table: string
  fault: string
}

/** How the fault of a table begins that was taken off on purpose, for a migration of the host. */
export const UNHOOKED = 'unhooked since'

/**
 * Registered tables whose protection is not as `init` left it: gone, row level security off, a policy
 * (or a function it calls) or a grant missing or changed; and roles that are not confined. While there is one, no backup may be called complete.
 */
export async function readProtectionFaults(database: Queryable): Promise<ProtectionFault[]> {
  const { rows } = await database.query<ProtectionFault>(
    `select t.schema_name || '.' || t.table_name as "table",
       case
         when c.oid is null then 'the table is gone'
         when not c.relrowsecurity and t.class <> 'shared' then 'row level security is off'
         when u.schema_name is not null then format(
           '${UNHOOKED} %s UTC by %s',
           to_char(u.unhooked_at at time zone 'utc', 'YYYY-MM-DD HH24:MI'), u.unhooked_by)
         when t.policy_digest is null then 'init has not finished with it'
         else 'a policy of ours, a function it calls, or a grant is missing or was changed'
       end as fault
     from tenantkeep.tenant_tables t
     left join pg_catalog.pg_namespace n on n.nspname = t.schema_name
     left join pg_catalog.pg_class c
       on c.relnamespace = n.oid and c.relname = t.table_name and c.relkind in ('r', 'p')
     left join tenantkeep.table_protection() p using (schema_name, table_name)
     left join tenantkeep.unhooked_tables u using (schema_name, table_name)
     where t.class <> 'excluded' and t.policy_digest is distinct from p.digest
       or t.class <> 'excluded' and p.digest is null
     order by 1`,
  )
  const roles = await readRoleFaults(database)
  return [...roles.map((fault) => ({ table: 'roles', fault })), ...rows]
}
