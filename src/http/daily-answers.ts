import * as z from 'zod'
import { BackupError } from '../core/errors.ts'
import type { RunReport } from '../core/jobs/report-run.ts'
import { type Caller, onlyTenantOf } from './authorize.ts'
import type { Answer } from './handle.ts'

/** What people type: Postgres takes neither NUL nor half a character. */
export const trimmed = (longest: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(longest)
    .refine((text) => text.isWellFormed() && !text.includes('\0'), {
      error: 'It holds a character that is none',
    })

export const BackupName = trimmed(120)
export const BackupNote = trimmed(2_000)
export const BackupTags = z.array(trimmed(50)).max(20)

export const DailyInput = z.strictObject({
  /** Only this tenant, as a manual backup. */
  organization_id: trimmed(200).optional(),
  name: BackupName.optional(),
  note: BackupNote.optional(),
  tags: BackupTags.optional(),
  /** The same key again gives the answer of the first call. */
  idempotency_key: trimmed(200).optional(),
})
export type DailyInput = z.infer<typeof DailyInput>

/**
 * The tenant that is to be backed up alone; null for all of them. Throws `invalid_request` where a user
 * has to say which, `not_allowed` for a user who administers none.
 */
export function tenantAskedFor(caller: Caller, input: DailyInput): string | null {
  if (input.organization_id !== undefined) return input.organization_id
  if (caller.kind === 'user') return onlyTenantOf(caller)
  const { name, note, tags } = input
  if (name !== undefined || note !== undefined || tags !== undefined) {
    throw new BackupError(
      'invalid_request',
      'name, note and tags belong to the backup of one tenant: give organization_id too.',
    )
  }
  return null
}

/** The answer to the daily call. */
export function answerDaily(report: RunReport): Answer {
  const { summary, tenants } = report
  const failed = tenants.filter((tenant) => tenant.status === 'failed')
  const skipped = tenants.filter((tenant) => tenant.status === 'skipped')
  return {
    status: statusOf(report),
    body: {
      success: failed.length === 0,
      message: describeDaily(report),
      run_id: report.run_id,
      summary,
      tenants_failed: failed.map((tenant) => ({
        organization_id: tenant.organization_id,
        organization_name: tenant.organization_name,
        ...tenant.error,
      })),
      tenants_skipped: skipped.map((tenant) => ({
        organization_id: tenant.organization_id,
        organization_name: tenant.organization_name,
        ...tenant.error,
      })),
      gaps: gapsOf(tenants),
      warnings: describeWarnings(tenants),
      upkeep: report.upkeep,
    },
  }
}

type Tenants = RunReport['tenants']

function gapsOf(tenants: Tenants): string[] {
  return [...new Set(tenants.flatMap((tenant) => tenant.gaps))].sort()
}

interface DailyWarning {
  code: string
  message: string
  /** Whose backups say so. */
  organization_ids: string[]
}

/** The warnings of all backups, each once, tables in no backup first: the backups stand, and somebody has to act. */
function describeWarnings(tenants: Tenants): DailyWarning[] {
  const gaps = gapsOf(tenants)
  const warnings = new Map<string, DailyWarning>()
  if (gaps.length > 0) {
    warnings.set('', {
      code: 'tables_unclassified',
      message: `In no backup, because nobody has said what they are to a tenant: ${gaps.join(', ')}. Run \`tenantkeep init\`: it settles or asks about each.`,
      organization_ids: tenants
        .filter((tenant) => tenant.gaps.length > 0)
        .map((tenant) => tenant.organization_id),
    })
  }
  for (const { organization_id, warnings: given } of tenants) {
    for (const { code, message } of given) {
      const key = JSON.stringify([code, message])
      const warning = warnings.get(key) ?? { code, message, organization_ids: [] }
      warning.organization_ids.push(organization_id)
      warnings.set(key, warning)
    }
  }
  return [...warnings.values()]
}

function statusOf({ summary }: RunReport): number {
  if (summary.failed_tenants > 0) return 500
  return summary.pending_tenants > 0 ? 202 : 200
}

function describeDaily({ summary }: RunReport): string {
  const { total_tenants: total, failed_tenants: failed, pending_tenants: pending } = summary
  const follow = pending === 0 ? '' : ` ${pending} more follow in the background.`
  if (failed > 0) return `Daily tenant backup: ${failed} of ${total} tenants failed.${follow}`
  if (pending > 0) {
    return `Daily tenant backup started: ${total - pending} of ${total} tenants are done.${follow}`
  }
  return 'Daily tenant backup completed successfully'
}

/** The answer to a manual backup: 200 with the backup, 202 while it is under way, or its error. */
export function answerManual(report: RunReport): Answer {
  const [tenant] = report.tenants
  return {
    status: statusOf(report),
    body: {
      success: report.summary.failed_tenants === 0,
      message: {
        complete: 'Manual backup completed successfully',
        running: 'Manual backup started; it follows in the background.',
        failed: `Manual backup failed: ${tenant?.error?.message ?? 'its run says why.'}`,
      }[report.status],
      run_id: report.run_id,
      backup_id: tenant?.backup_id ?? null,
      summary: report.summary,
      ...(tenant?.error === undefined
        ? {}
        : { tenants_failed: [{ organization_id: tenant.organization_id, ...tenant.error }] }),
      gaps: tenant?.gaps ?? [],
      warnings: describeWarnings(report.tenants),
    },
  }
}
