import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { findTenant } from './find-tenant.ts'

/** Why a tenant's daily backups stopped, and since when, as JSON has times. */
interface Pause {
  reason: string
  by: string
  since: string
}

export interface PausedTenant {
  tenantId: string
  tenantName: string | null
  pause: Pause | null
  /** False where it was as asked for already. */
  hasChanged: boolean
}

/**
 * Stops the daily backups of a tenant; what it has stays, a backup by hand and a restore are still possible.
 * Of one that is paused already the reason changes, and the day it was paused stays. Throws
 * `tenant_not_found`, and `invalid_request` for an empty reason.
 */
export async function pauseTenant(
  { tenants }: Services,
  { tenantId, reason, actor }: { tenantId: string; reason: string; actor: Actor },
): Promise<PausedTenant> {
  const said = reason.trim()
  if (said === '') {
    throw new BackupError(
      'invalid_request',
      'A pause needs a reason: it stands in the journal every day.',
    )
  }
  const tenant = await requireTenant(tenants.catalog, tenantId)
  const { rows } = await tenants.catalog.query<{ pause: Pause; hasChanged: boolean }>(
    `with before as (
       select reason from tenantkeep.paused_tenants where tenant_id = $1
     ), paused as (
       insert into tenantkeep.paused_tenants as p (tenant_id, reason, paused_by) values ($1, $3, $6)
       on conflict (tenant_id) do update set reason = excluded.reason, paused_by = excluded.paused_by
         where p.reason <> excluded.reason
       returning p.*
     ), journalled as (
       insert into public.backup_logs
         (backup_type, status, completed_at, organization_id, organization_name, actor_kind, actor_id,
          actor_label, details)
       select 'pause', 'complete', now(), $1, $2, $4, $5, $6,
              jsonb_strip_nulls(jsonb_build_object('reason', p.reason, 'reason_before', (select reason from before)))
       from paused p
     )
     select jsonb_build_object('reason', reason, 'by', paused_by, 'since', paused_at) as pause,
            "hasChanged"
     from (
       select reason, paused_by, paused_at, true as "hasChanged" from paused
       union all
       select reason, paused_by, paused_at, false from tenantkeep.paused_tenants where tenant_id = $1
     ) p
     order by "hasChanged" desc limit 1`,
    [tenantId, tenant.name, said, actor.kind, actor.id, actor.label],
  )
  const row = rows[0]
  if (row === undefined) {
    throw new BackupError('internal', 'The pause was lifted at this very moment. Try again.')
  }
  return { tenantId, tenantName: tenant.name, ...row }
}

/** The daily backups go on. Throws `tenant_not_found`. */
export async function resumeTenant(
  { tenants }: Services,
  { tenantId, note, actor }: { tenantId: string; note: string | null; actor: Actor },
): Promise<PausedTenant> {
  const tenant = await requireTenant(tenants.catalog, tenantId)
  const { rows } = await tenants.catalog.query(
    `with resumed as (
       delete from tenantkeep.paused_tenants where tenant_id = $1 returning *
     )
     insert into public.backup_logs
       (backup_type, status, completed_at, organization_id, organization_name, actor_kind, actor_id,
        actor_label, details)
     select 'resume', 'complete', now(), $1, $2, $4, $5, $6,
            jsonb_strip_nulls(jsonb_build_object(
              'reason', r.reason, 'paused_by', r.paused_by, 'paused_at', r.paused_at, 'note', $3::text))
     from resumed r
     returning id`,
    [tenantId, tenant.name, note, actor.kind, actor.id, actor.label],
  )
  return { tenantId, tenantName: tenant.name, pause: null, hasChanged: rows.length > 0 }
}

async function requireTenant(catalog: Services['tenants']['catalog'], tenantId: string) {
  const tenant = await findTenant(catalog, tenantId)
  if (tenant !== null) return tenant
  throw new BackupError('tenant_not_found', `There is no tenant ${tenantId}. Nothing was changed.`)
}
