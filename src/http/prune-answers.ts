import * as z from 'zod'
import { previewPrune } from '../core/retention/preview-prune.ts'
import { pruneBackups } from '../core/retention/prune-backups.ts'
import { trimmed } from './daily-answers.ts'
import type { Answer, Call } from './handle.ts'

export const PruneInput = z.strictObject({
  /** One tenant only. */
  organization_id: trimmed(200).optional(),
  dry_run: z.boolean().default(true),
  /** With `dry_run: false`: only if exactly what this preview named would go. */
  plan_hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
})

/** Cron services hang up after thirty seconds. */
const BUDGET_MS = 18_000

export async function answerPrunePreview(
  { services, startedAt }: Call<unknown>,
  tenantId: string | undefined,
): Promise<Answer> {
  const until = new Date(startedAt.getTime() + BUDGET_MS)
  const preview = await previewPrune(services, { tenantId, until })
  return { status: 200, body: { success: true, dry_run: true, ...preview } }
}

/** What a person approved is done at once or not at all. */
export async function answerPruneNow(
  { services, caller, startedAt }: Call<unknown>,
  tenantId: string | undefined,
  planHash: string,
): Promise<Answer> {
  const report = await pruneBackups(services, {
    actor: caller.actor,
    runId: null,
    until: new Date(startedAt.getTime() + BUDGET_MS),
    ...(tenantId === undefined ? {} : { tenantId }),
    planHash,
  })
  const { done, failed, left, details } = report
  return {
    status: failed === 0 ? 200 : 500,
    body: {
      success: failed === 0,
      dry_run: false,
      tenants_pruned: done,
      tenants_failed: failed,
      tenants_left: left,
      ...details,
    },
  }
}

export const ForgetInput = z.strictObject({
  organization_id: trimmed(200),
  dry_run: z.boolean().default(true),
  /** The tenant's name as it stands there, or its id where it has none. */
  confirm_name: trimmed(500).optional(),
})
