import { BackupError } from '../errors.ts'
import { throwIfInterrupted } from '../interruptible.ts'
import type { Services } from '../services.ts'
import type { RetentionDecision, RetentionReason } from './decide-retention.ts'
import { findDoomed } from './find-doomed.ts'
import { hashPlans, planPrune, readPremises, type TenantPlan } from './plan-prune.ts'
import type { PolicySource, RetentionPolicy } from './retention-policy.ts'

/** A backup in the answer to «what would go?». */
interface PreviewedBackup {
  backup_id: string
  backup_type: string
  taken_at: string
  name: string | null
  /** Stored, shared objects included. */
  total_size: number
  reasons: RetentionReason[]
}

interface PreviewedTenant {
  organization_id: string
  organization_name: string | null
  policy: RetentionPolicy | null
  policy_from: PolicySource
  /** Why nothing of this tenant goes, although something might; null where nothing is wrong. */
  problem: { code: string; message: string } | null
  departed_since: string | null
  kept_count: number
  expired_count: number
  /** How many are kept for each reason; one may have several. */
  kept_by_reason: Record<string, number>
  /** With its reasons each; null in a preview over all tenants. */
  kept: PreviewedBackup[] | null
  expired: PreviewedBackup[]
  /** What would be removed from the stores; null where there was no time to find out. */
  objects: number | null
  bytes: number | null
  /** Objects of earlier runs that can be removed by now. */
  left_objects: number
}

export interface PrunePreview {
  /** Of everything that would go; a real run may be told to do only this. */
  plan_hash: string
  /** What holds for every tenant without rules of its own. */
  rules: { policy: RetentionPolicy | null; policy_from: PolicySource; problem: string | null }
  totals: {
    tenants: number
    kept: number
    expired: number
    /** As far as they were counted. */
    objects: number
    bytes: number
    problems: number
  }
  /** One tenant as asked, or those of which something goes or is wrong. */
  tenants: PreviewedTenant[]
}

/**
 * What `pruneBackups` would do at this moment, with the reasons: made by the same functions, and changes
 * nothing. After `until` no more summaries are read, and objects and bytes of the rest stay uncounted.
 * Throws `not_configured`.
 */
export async function previewPrune(
  services: Services,
  given: { tenantId?: string | undefined; until?: Date; signal?: AbortSignal | undefined } = {},
): Promise<PrunePreview> {
  const premises = await readPremises(services)
  const tenants: PreviewedTenant[] = []
  const expiring: Pick<TenantPlan, 'decisions'>[] = []
  const totals = { tenants: 0, kept: 0, expired: 0, objects: 0, bytes: 0, problems: 0 }
  for await (const plan of planPrune(services, premises, given)) {
    throwIfInterrupted(given.signal)
    const expired = plan.decisions.filter(({ isKept }) => !isKept)
    const isLate = given.until !== undefined && new Date() >= given.until
    const removal =
      expired.length === 0
        ? { objects: 0, bytes: 0, problem: null }
        : isLate
          ? { objects: null, bytes: null, problem: null }
          : await countRemoval(services, plan, given.signal)
    const tenant = describeTenant(plan, removal, given.tenantId !== undefined)
    totals.tenants += 1
    totals.kept += tenant.kept_count
    totals.expired += tenant.expired_count
    totals.objects += tenant.objects ?? 0
    totals.bytes += tenant.bytes ?? 0
    if (tenant.problem !== null) totals.problems += 1
    if (expired.length > 0) expiring.push({ decisions: expired })
    const isTold =
      given.tenantId !== undefined ||
      expired.length > 0 ||
      tenant.problem !== null ||
      plan.leftObjects > 0
    if (isTold) tenants.push(tenant)
  }
  const { policy, source, problem } = premises.settings.fallback
  const rules = { policy, policy_from: source, problem }
  return { plan_hash: hashPlans(expiring), rules, totals, tenants }
}

interface Removal {
  objects: number | null
  bytes: number | null
  problem: { code: string; message: string } | null
}

async function countRemoval(
  services: Services,
  plan: TenantPlan,
  signal: AbortSignal | undefined,
): Promise<Removal> {
  try {
    const doomed = await findDoomed(services, plan, signal)
    const bytes = doomed.reduce((sum, object) => sum + object.bytes, 0)
    return { objects: doomed.length, bytes, problem: null }
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    throwIfInterrupted(signal)
    return { objects: 0, bytes: 0, problem: { code: error.code, message: error.message } }
  }
}

function describeTenant(plan: TenantPlan, removal: Removal, isWhole: boolean): PreviewedTenant {
  const { policy, decisions } = plan
  const kept = decisions.filter(({ isKept }) => isKept)
  const expired = decisions.filter(({ isKept }) => !isKept)
  const byReason: Record<string, number> = {}
  for (const { code } of kept.flatMap(({ reasons }): RetentionReason[] => reasons)) {
    byReason[code] = (byReason[code] ?? 0) + 1
  }
  return {
    organization_id: plan.tenantId,
    organization_name: plan.tenantName,
    policy: policy.policy,
    policy_from: policy.source,
    problem:
      policy.problem === null
        ? removal.problem
        : { code: 'policy_unusable', message: policy.problem },
    departed_since: plan.departedSince?.toISOString() ?? null,
    kept_count: kept.length,
    expired_count: expired.length,
    kept_by_reason: byReason,
    kept: isWhole ? describeBackups(plan, kept) : null,
    expired: describeBackups(plan, expired),
    objects: removal.objects,
    bytes: removal.bytes,
    left_objects: plan.leftObjects,
  }
}

function describeBackups(
  { backups }: TenantPlan,
  decisions: readonly RetentionDecision[],
): PreviewedBackup[] {
  const byId = new Map(backups.map((backup) => [backup.id, backup]))
  return decisions.flatMap(({ backupId, reasons }) => {
    const backup = byId.get(backupId)
    if (backup === undefined) return []
    return {
      backup_id: backup.id,
      backup_type: backup.backupType,
      taken_at: backup.takenAt.toISOString(),
      name: backup.name,
      total_size: backup.totalSize,
      reasons,
    }
  })
}
