import type { Queryable } from '../database/database.ts'

/** SQL: runs of this tenant alone, up to the moment. */
const OWN_RUNS = `select r.id from tenantkeep.runs r where r.tenant_ids = array[$1] and r.created_at <= $2`

/**
 * Takes out of our tables what is a forgotten tenant's, in the caller's transaction: rows that comparisons
 * kept and restores put aside, what runs told, names, notes, tags, pins, and who of its
 * people did something. Only what is older than `before`: a tenant may come again. What stays says that backups
 * and restores took place, under the tenant's id. May be called again.
 */
export async function blankTenant(
  session: Queryable,
  tenantId: string,
  before: Date,
): Promise<void> {
  const values = [tenantId, before.toISOString()]
  for (const statement of STATEMENTS) await session.query(statement, values)
}

/**
 * Removes what is of use only while the application has the tenant, in the caller's transaction: what was set for it, and
 * the memory of which of its rows are copies of defaults, without which a seeding would add them a second time.
 */
export async function removeTenantSettings(session: Queryable, tenantId: string): Promise<void> {
  await session.query(
    `with rules as (
       delete from tenantkeep.retention_policies where tenant_id = $1
     ), departure as (
       delete from tenantkeep.departed_tenants where tenant_id = $1
     )
     delete from tenantkeep.paused_tenants where tenant_id = $1`,
    [tenantId],
  )
  // Only the operator, confined to the tenant, writes the memory of seeding.
  await session.query(
    `select set_config('tenantkeep.tenant', $1, true), set_config('role', 'tenantkeep_operator', true)`,
    [tenantId],
  )
  await session.query('delete from tenantkeep.seeded_rows where tenant_id = $1', [tenantId])
  await session.query('reset role')
}

const STATEMENTS = [
  `delete from tenantkeep.released_rows where organization_id = $1 and released_at <= $2`,
  `delete from tenantkeep.comparison_rows where run_id in (${OWN_RUNS})`,
  `delete from tenantkeep.run_events where run_id in (${OWN_RUNS})`,
  // In runs of several tenants, what was told of this one.
  `delete from tenantkeep.run_events e using tenantkeep.run_tenants t, tenantkeep.runs r
   where t.tenant_id = $1 and r.id = t.run_id and r.created_at <= $2 and e.run_id = t.run_id
     and e.event ->> 'organization_id' = $1`,
  `delete from tenantkeep.alerts where tenant_id = $1 and opened_at <= $2`,
  `delete from tenantkeep_jobs.job where data ->> 'tenantId' = $1 and state <> 'active' and created_on <= $2`,
  `update tenantkeep.runs r set
     request = '{}', result = null, progress = '{}', plan_hash = null, idempotency_key = null,
     status = case r.status when 'running' then 'failed' else r.status end,
     finished_at = coalesce(r.finished_at, now()),
     error_code = case r.status when 'running' then 'tenant_forgotten' else r.error_code end,
     error_message = case r.status when 'running' then 'The tenant was forgotten.' else r.error_message end,
     actor_id = case r.actor_kind when 'user' then null else r.actor_id end,
     actor_label = case r.actor_kind when 'user' then 'user' else r.actor_label end
   where r.id in (${OWN_RUNS})`,
  `update tenantkeep.run_tenants t set tenant_name = null, result = null
   from tenantkeep.runs r
   where r.id = t.run_id and r.created_at <= $2 and t.tenant_id = $1
     and (t.tenant_name is not null or t.result is not null)`,
  `update public.tenant_backups b set
     organization_name = null, name = null, note = null, tags = '{}', changes = null,
     table_rows = null, row_falls = null,
     pinned_at = null, pinned_by = null, pinned_by_kind = null, pin_reason = null,
     actor_id = case b.actor_kind when 'user' then null else b.actor_id end,
     actor_label = case b.actor_kind when 'user' then 'user' else b.actor_label end
   where b.organization_id = $1 and b.created_at <= $2`,
  `update public.backup_logs l set
     organization_name = null, note = null,
     -- The options of a restore may name rows.
     details = case
       when l.backup_type in ('prune', 'forget') then l.details
       when l.backup_type in ('restore', 'undo') then l.details || '{"options": {}}'
       else '{}' end,
     actor_id = case l.actor_kind when 'user' then null else l.actor_id end,
     actor_label = case l.actor_kind when 'user' then 'user' else l.actor_label end
   where l.organization_id = $1 and l.created_at <= $2`,
]
