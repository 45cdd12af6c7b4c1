import * as z from 'zod/mini'
import { callFunction, check, count, type PageServices, time } from '../calls/call-function.ts'
import { nameTenant } from '../frame/name-tenant.ts'
import { Policy } from './describe-policy.ts'

const PreviewedBackup = z.pipe(
  z.object({
    backup_id: z.string(),
    backup_type: z.enum(['daily_tenant', 'manual', 'pre_restore']),
    taken_at: time,
    name: z.nullable(z.string()),
    total_size: count,
    reasons: z.array(z.object({ message: z.string() })),
  }),
  z.transform((backup) => ({
    id: backup.backup_id,
    type: backup.backup_type,
    takenAt: backup.taken_at,
    name: backup.name,
    /** Stored, with files that other backups need too. */
    totalSize: backup.total_size,
    why: backup.reasons.map(({ message }) => message).join(' '),
  })),
)

const Source = z.enum(['tenant', 'setting', 'default'])
export type PolicySource = z.infer<typeof Source>

const PreviewedTenant = z.pipe(
  z.object({
    organization_id: z.string(),
    organization_name: z.nullable(z.string()),
    policy: z.nullable(Policy),
    policy_from: Source,
    problem: z.nullable(z.object({ message: z.string() })),
    departed_since: z.nullable(time),
    kept_count: count,
    expired: z.array(PreviewedBackup),
    objects: z.nullable(count),
    bytes: z.nullable(count),
  }),
  z.transform((tenant) => ({
    id: tenant.organization_id,
    name: nameTenant(tenant.organization_id, tenant.organization_name),
    policy: tenant.policy,
    policySource: tenant.policy_from,
    /** Why nothing of it goes, although something might. */
    problem: tenant.problem?.message ?? null,
    departedSince: tenant.departed_since,
    keptCount: tenant.kept_count,
    expired: tenant.expired,
    /** Null where there was no time to count. */
    files: tenant.objects,
    bytes: tenant.bytes,
  })),
)
export type PreviewedTenant = z.infer<typeof PreviewedTenant>

const PrunePreview = z.pipe(
  z.object({
    plan_hash: z.string(),
    rules: z.object({
      policy: z.nullable(Policy),
      policy_from: Source,
      problem: z.nullable(z.string()),
    }),
    totals: z.object({ tenants: count, kept: count, expired: count, objects: count, bytes: count }),
    tenants: z.array(PreviewedTenant),
  }),
  z.transform(({ plan_hash: planHash, rules, totals, tenants }) => ({
    planHash,
    /** Of every tenant without rules of its own. */
    rules: { policy: rules.policy, source: rules.policy_from, problem: rules.problem },
    totals: {
      tenants: totals.tenants,
      kept: totals.kept,
      expired: totals.expired,
      files: totals.objects,
      bytes: totals.bytes,
    },
    /** Those of which something goes, or is wrong. */
    tenants,
  })),
)
export type PrunePreview = z.infer<typeof PrunePreview>

const Remaining = z.object({ objects: count, until: z.optional(z.nullable(time)) })

const PruneResult = z.pipe(
  z.object({
    tenants_left: count,
    backups: count,
    objects: count,
    bytes: count,
    pruned: z.array(
      z.object({
        organization_id: z.string(),
        locked: z.array(Remaining),
        elsewhere: z.array(Remaining),
      }),
    ),
    busy: z.array(z.string()),
    failed: z.array(z.object({ organization_id: z.string(), message: z.string() })),
  }),
  z.transform(({ tenants_left: left, objects: files, pruned, failed, ...result }) => ({
    ...result,
    files,
    /** Tenants that somebody works on, or for which there was no time. */
    left,
    failed: failed.map(({ organization_id: tenantId, message }) => ({ tenantId, message })),
    /** Files that a store keeps locked, with the day on which the last of them can go; null where nobody knows. */
    locked: pruned.flatMap(({ organization_id: tenantId, locked }) =>
      locked.map(({ objects, until = null }) => ({ tenantId, files: objects, until })),
    ),
    elsewhere: pruned
      .flatMap(({ elsewhere }) => elsewhere)
      .reduce((sum, { objects }) => sum + objects, 0),
  })),
)
export type PruneResult = z.infer<typeof PruneResult>

/** What pruning would remove at this moment, of all tenants. Throws `RequestFailed`. */
export async function previewPruning(
  services: PageServices,
  signal: AbortSignal,
): Promise<PrunePreview> {
  return check(PrunePreview, await callFunction(services, 'prune', { dry_run: true }, signal))
}

/** Removes exactly what that preview named, or nothing: `plan_stale`. Throws `RequestFailed`. */
export async function prune(services: PageServices, planHash: string): Promise<PruneResult> {
  const body = { dry_run: false, plan_hash: planHash }
  return check(PruneResult, await callFunction(services, 'prune', body))
}
