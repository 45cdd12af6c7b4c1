import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'

export interface Tenant {
  id: string
  name: string | null
  /** Why backups pass it over; null for an active tenant. */
  skipReason: string | null
}

/** Every tenant of the host application. Throws `not_configured` where no tenant table is known. */
export async function listTenants(catalog: Queryable): Promise<Tenant[]> {
  const { rows } = await catalog.query<Tenant & { isConfigured: boolean }>(
    `select c.configured as "isConfigured", t.tenant_id as id, t.tenant_name as name,
            t.skip_reason as "skipReason"
     from (select exists (select from tenantkeep.settings where key = 'tenant_table') as configured) c
     left join tenantkeep.list_tenants() t on true`,
  )
  if (rows[0]?.isConfigured !== true) {
    throw new BackupError(
      'not_configured',
      'No tenant table is known in this database. Run `tenantkeep init` first.',
    )
  }
  return rows.flatMap(({ id, name, skipReason }) => (id === null ? [] : [{ id, name, skipReason }]))
}
