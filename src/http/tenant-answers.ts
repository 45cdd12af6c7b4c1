import * as z from 'zod'
import type { Queryable } from '../core/database/database.ts'
import { SeedOptions } from '../core/defaults/seed-types.ts'
import { BackupError } from '../core/errors.ts'
import { describeSeed } from '../core/jobs/report-seed.ts'
import type { CreatedTenant } from '../core/tenants/create-tenant.ts'
import type { Offboarding } from '../core/tenants/offboard-tenant.ts'
import { type AttemptType, recordRefusal } from '../core/tenants/record-refusal.ts'
import type { Caller } from './authorize.ts'
import { BackupNote, trimmed } from './daily-answers.ts'

const { tables, rows, manual_rows, decisions } = SeedOptions.shape

export const CreateTenantInput = z.strictObject({
  /** The tenant's own row: values by column. */
  columns: z.record(z.string(), z.json()),
  ...{ tables, rows, manual_rows, decisions },
  /** Here it is false unless told: a tenant that was not there can't lose anything. */
  dry_run: z.boolean().default(false),
  note: BackupNote.optional(),
  /** The same key again gives the answer of the first call, and makes no second tenant. */
  idempotency_key: trimmed(200).optional(),
})
export type CreateTenantInput = z.infer<typeof CreateTenantInput>

const DOES: Record<AttemptType, string> = {
  seed_defaults: 'seed tenants',
  create_tenant: 'make tenants',
  offboard: 'remove tenants',
  defaults: 'keep the defaults',
}

/** Lets operators pass; an attempt of anybody else is in the journal. Throws `not_allowed`. */
export async function requireOperator(
  catalog: Queryable,
  caller: Caller,
  attempt: { type: AttemptType; note?: string | null | undefined; scope: object },
): Promise<void> {
  if (caller.kind === 'operator') return
  const error = new BackupError(
    'not_allowed',
    `Only operators ${DOES[attempt.type]}. Use OPERATOR_SECRET, or sign in as an operator.`,
  )
  await recordRefusal(catalog, {
    ...{ type: attempt.type, actor: caller.actor, tenantId: null, scope: attempt.scope, error },
    note: attempt.note ?? null,
  })
  throw error
}

/** A tenant that was made, as answers have it. */
export function describeCreated({ runId, tenantId, tenantName, isDryRun, seed }: CreatedTenant) {
  const obstacles =
    seed === null ? 0 : seed.conflictCount + seed.blockers.length + seed.badRows.length
  const called = tenantName === null ? tenantId : `${tenantName} (${tenantId})`
  const inserted = seed?.tables.reduce((sum, table) => sum + table.inserted, 0) ?? 0
  return {
    success: obstacles === 0,
    message: isDryRun
      ? `Dry run completed. The organization ${tenantName ?? ''} would get ${inserted} default rows${obstacles > 0 ? `; ${obstacles} things stand in the way` : ''}.`
      : seed === null
        ? `The organization ${called} is there, with its defaults. The answer had been lost, and the counts with it.`
        : `The organization ${called} was made, with ${inserted} default rows.`,
    run_id: runId,
    // A dry run's id is another one than the real run will have, unless columns gives it.
    organization_id: isDryRun ? null : tenantId,
    organization_name: tenantName,
    dry_run: isDryRun,
    seed: seed === null ? null : describeSeed(seed),
  }
}

export const OffboardInput = z.strictObject({
  organization_id: trimmed(200),
  /** Why; the pin of the last backup says it. */
  reason: trimmed(500),
  /** Only counted and proven, unless it says false. */
  dry_run: z.boolean().default(true),
  /** The organization's name, typed; its id where it has none. Not asked of a dry run. */
  confirm_name: trimmed(500).optional(),
  /** Of the dry run that was looked at. */
  plan_hash: trimmed(200).optional(),
  /** `enable always` triggers and rules act while rows are deleted. */
  accept_side_effects: z.boolean().default(false),
  note: BackupNote.optional(),
  /** The same key again gives the answer of the first call. */
  idempotency_key: trimmed(200).optional(),
})

/** A tenant that was removed, or would be, as answers have it. */
export function describeOffboarding(done: Offboarding) {
  const { tenantId, tenantName, isDryRun, tables, blockers, backupId } = done
  const rows = tables.reduce((total, { deleted }) => total + deleted, 0)
  const called = tenantName ?? tenantId
  return {
    success: blockers.length === 0,
    message: isDryRun
      ? `Dry run completed. ${rows} rows of ${called} would be deleted${blockers.length === 0 ? '' : `; ${blockers.length} things stand in the way`}.`
      : `${called} was removed: ${rows} rows deleted. Its last backup is ${backupId}; restoring that brings it back.`,
    run_id: done.runId,
    organization_id: tenantId,
    organization_name: tenantName,
    dry_run: isDryRun,
    backup_id: backupId,
    journal_id: done.journalId,
    summary: {
      total_tables: tables.filter(({ deleted }) => deleted > 0).length,
      rows_deleted: rows,
    },
    tables,
    plan: { hash: done.planHash, blockers },
    warnings: done.warnings,
  }
}
