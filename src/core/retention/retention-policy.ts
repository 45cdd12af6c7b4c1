import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'

const days = z.int().min(1).max(36_500)
const count = z.int().min(0).max(10_000)

/**
 * Which backups of a tenant are kept; one that several rules keep is kept once. Days, weeks (ISO, from
 * Monday), months and years are those of UTC. What is missing keeps nothing.
 */
export const RetentionPolicy = z.strictObject({
  /** Everything younger than this. */
  within_days: days.optional(),
  /** The newest so many daily ones, and as many manual ones. */
  last: count.optional(),
  /** The newest one of each of so many days, weeks, months, years that have one. */
  daily: count.optional(),
  weekly: count.optional(),
  monthly: count.optional(),
  yearly: count.optional(),
  /** By tag: everything that carries it and is younger than so many days. */
  tags: z.record(z.string().min(1).max(100), days).optional(),
})
export type RetentionPolicy = z.infer<typeof RetentionPolicy>

/** What holds where nobody said otherwise. */
const DEFAULT_POLICY: RetentionPolicy = { within_days: 30, monthly: 12 }

/** Where a policy comes from: said for this tenant, by the setting `retention`, or by nobody. */
export type PolicySource = 'tenant' | 'setting' | 'default'

export interface TenantPolicy {
  source: PolicySource
  /** Null where what was said keeps nothing or can't be read: then nothing is removed. */
  policy: RetentionPolicy | null
  /** Why it is null. */
  problem: string | null
}

/** Reads a policy as it is stored. One that keeps nothing is taken for a mistake, not for an order. */
export function parsePolicy(value: unknown, source: PolicySource): TenantPolicy {
  const whose =
    source === 'tenant' ? 'The retention policy of this tenant' : 'The setting retention'
  const parsed = RetentionPolicy.safeParse(value)
  if (!parsed.success) {
    const fields = [...new Set(parsed.error.issues.map((issue) => issue.path.join('.') || 'it'))]
    const problem = `${whose} can't be read (${fields.join(', ')}), so nothing is removed. docs/operations.md, «Retention», lists what it may say.`
    return { source, policy: null, problem }
  }
  if (keepsNothing(parsed.data)) {
    return { source, policy: null, problem: `${whose} keeps nothing, so nothing is removed.` }
  }
  return { source, policy: parsed.data, problem: null }
}

function keepsNothing({ within_days, tags, ...counts }: RetentionPolicy): boolean {
  const hasCount = Object.values(counts).some((number) => (number ?? 0) > 0)
  return within_days === undefined && !hasCount && Object.keys(tags ?? {}).length === 0
}

/** Everything that is set about keeping backups. */
export interface RetentionSettings {
  /** Of every tenant without one of its own. */
  fallback: TenantPolicy
  /** How long a safety backup is kept, and with it the way back of its restore. */
  safetyDays: number
  /** How long the backups of a tenant are kept that the host lists no more. */
  departedDays: number
}

/** The page promises people that a restore can be undone for so long. */
export const LEAST_SAFETY_DAYS = 30

const DaySettings = z.object({
  safety_backup_days: z.int().min(LEAST_SAFETY_DAYS).max(36_500).default(LEAST_SAFETY_DAYS),
  departed_tenant_days: days.default(90),
})

/** Throws `not_configured` for a number of days that makes no sense; a bad policy is in the answer. */
export async function readRetentionSettings(database: Queryable): Promise<RetentionSettings> {
  const { rows } = await database.query<{ settings: Record<string, unknown> }>(
    `select coalesce(jsonb_object_agg(key, value), '{}') as settings from tenantkeep.settings
     where key in ('retention', 'safety_backup_days', 'departed_tenant_days')`,
  )
  const { retention, ...numbers } = rows[0]?.settings ?? {}
  const parsed = DaySettings.safeParse(numbers)
  if (!parsed.success) {
    const names = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
    throw new BackupError(
      'not_configured',
      `The setting ${names} in tenantkeep.settings has a value that can't be used, so nothing is removed. docs/operations.md lists what it may be.`,
    )
  }
  return {
    fallback:
      retention === undefined
        ? { source: 'default', policy: DEFAULT_POLICY, problem: null }
        : parsePolicy(retention, 'setting'),
    safetyDays: parsed.data.safety_backup_days,
    departedDays: parsed.data.departed_tenant_days,
  }
}
