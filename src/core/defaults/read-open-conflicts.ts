import type { Queryable } from '../database/database.ts'

/** A tenant that was to be seeded and waits for somebody's decision. */
export interface OpenSeedConflict {
  tenantId: string
  tenantName: string | null
  since: string
  runId: string | null
  /** Rows of the template that stand against rows of the tenant. */
  conflicts: number
}

/**
 * Tenants whose last real seeding was refused because rows stood against each other, and that nothing has
 * seeded since. A rehearsal opens and closes nothing.
 */
export async function readOpenSeedConflicts(catalog: Queryable): Promise<OpenSeedConflict[]> {
  const { rows } = await catalog.query<{ open: OpenSeedConflict }>(
    `select jsonb_build_object('tenantId', l.organization_id, 'tenantName', l.organization_name,
       'since', l.created_at, 'runId', l.run_id, 'conflicts', coalesce((l.details ->> 'conflicts')::int, 1)) as open
     from (
       select distinct on (organization_id) * from public.backup_logs
       where backup_type = 'seed_defaults' and organization_id is not null
         and (status = 'complete' or error_code = 'seed_conflict')
       order by organization_id, created_at desc
     ) l
     where l.status <> 'complete'
       and exists (select from tenantkeep.list_tenants() t where t.tenant_id = l.organization_id)
     order by l.organization_name, l.organization_id`,
  )
  return rows.map((row) => row.open)
}
