import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { findTenant } from '../tenants/find-tenant.ts'
import { parsePolicy, readRetentionSettings, type TenantPolicy } from './retention-policy.ts'

type Catalog = Pick<Services, 'tenants'>

/** The policy that holds for a tenant; without one, that of all tenants which have none of their own. */
export async function readPolicy({ tenants }: Catalog, tenantId?: string): Promise<TenantPolicy> {
  const { rows } = await tenants.catalog.query<{ policy: unknown }>(
    'select policy from tenantkeep.retention_policies where tenant_id = $1',
    [tenantId ?? null],
  )
  const own = rows[0]
  if (own !== undefined) return parsePolicy(own.policy, 'tenant')
  return (await readRetentionSettings(tenants.catalog)).fallback
}

/**
 * Gives a tenant rules of its own, or with null those of all others again, and writes it into the journal.
 * Throws `tenant_not_found`, and `invalid_request` for rules that make no sense.
 */
export async function setPolicy(
  { tenants }: Catalog,
  given: { tenantId: string; policy: unknown; actor: Actor },
): Promise<void> {
  const { tenantId, policy, actor } = given
  const tenant = await findTenant(tenants.catalog, tenantId)
  if (tenant === null) {
    throw new BackupError('tenant_not_found', `There is no tenant ${tenantId}.`)
  }
  if (policy !== null) {
    const { problem } = parsePolicy(policy, 'tenant')
    if (problem !== null) throw new BackupError('invalid_request', problem)
  }
  await tenants.catalog.query(
    `with cleared as (
       delete from tenantkeep.retention_policies where tenant_id = $1 and $2::jsonb is null
     ), kept as (
       insert into tenantkeep.retention_policies (tenant_id, policy, set_by)
       select $1, $2::jsonb, $5 where $2::jsonb is not null
       on conflict (tenant_id) do update
       set policy = excluded.policy, set_at = now(), set_by = excluded.set_by
     )
     insert into public.backup_logs
       (backup_type, status, completed_at, organization_id, organization_name,
        actor_kind, actor_id, actor_label, details)
     values ('policy', 'complete', now(), $1, $6, $3, $4, $5, jsonb_build_object('policy', $2::jsonb))`,
    [
      tenantId,
      policy === null ? null : JSON.stringify(policy),
      actor.kind,
      actor.id,
      actor.label,
      tenant.name,
    ],
  )
}

/** Throws `not_configured` where prune would remove nothing because of what is set. */
export async function requireUsablePolicies(catalog: Queryable): Promise<void> {
  const { fallback } = await readRetentionSettings(catalog)
  const { rows } = await catalog.query<{ tenantId: string; policy: unknown }>(
    'select tenant_id as "tenantId", policy from tenantkeep.retention_policies order by 1',
  )
  const bad = rows.filter(({ policy }) => parsePolicy(policy, 'tenant').problem !== null)
  const problems = [
    ...(fallback.problem === null ? [] : [fallback.problem]),
    ...bad.map(
      ({ tenantId }) =>
        `The policy of tenant ${tenantId} can't be used; policy set writes another.`,
    ),
  ]
  if (problems.length > 0) throw new BackupError('not_configured', problems.join(' '))
}
