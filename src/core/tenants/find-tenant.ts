import type { Queryable } from '../database/database.ts'

/** A tenant with its name; one whose own row is gone is still there for us while it has backups. */
export async function findTenant(
  database: Queryable,
  tenantId: string,
): Promise<{ id: string; name: string | null } | null> {
  const { rows } = await database.query<{ id: string; name: string | null }>(
    `(select tenant_id as id, tenant_name as name from tenantkeep.list_tenants() where tenant_id = $1)
     union all
     (select organization_id, organization_name from public.tenant_backups
      where organization_id = $1 order by created_at desc limit 1)
     limit 1`,
    [tenantId],
  )
  return rows[0] ?? null
}
