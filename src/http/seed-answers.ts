import * as z from 'zod'
import { SeedOptions } from '../core/defaults/seed-types.ts'
import { BackupError } from '../core/errors.ts'
import { reportSeedRun } from '../core/jobs/report-seed.ts'
import { type SeedRun, type SeedTask, seedErrorOf } from '../core/jobs/seed-run.ts'
import type { Caller } from './authorize.ts'
import { BackupNote, trimmed } from './daily-answers.ts'
import type { Answer } from './handle.ts'

export const SeedInput = z
  .strictObject({
    organization_ids: z.array(trimmed(200)).min(1).max(10_000).optional(),
    /** Every active tenant but the template. */
    all: z.literal(true).optional(),
    ...SeedOptions.shape,
    /** Only rehearsed, unless it says false. */
    dry_run: z.boolean().default(true),
    /** Of the dry run that was looked at. */
    plan_hash: trimmed(200).optional(),
    note: BackupNote.optional(),
    /** The same key again gives the answer of the first call, and seeds nothing. */
    idempotency_key: trimmed(200).optional(),
    /** Rows to show per table; a dry run only. */
    samples: z.int().min(0).max(100).default(0),
  })
  .refine((input) => (input.organization_ids === undefined) !== (input.all === undefined), {
    path: ['organization_ids'],
    error: 'Say whom: organization_ids, or all: true',
  })
export type SeedInput = z.infer<typeof SeedInput>

/** What is to be done, of what was sent. */
export function toSeedTask(input: SeedInput): SeedTask {
  const { tables, rows, manual_rows, mode, decisions, dry_run, plan_hash, note, samples } = input
  return {
    kind: 'seed',
    options: { tables, rows, manual_rows, mode, decisions },
    dry_run,
    plan_hash: plan_hash ?? null,
    note: note ?? null,
    samples: dry_run ? samples : 0,
  }
}

/** What the journal says of a refused attempt: no row of the request. */
export function describeScope(input: SeedInput): object {
  const { rows, manual_rows } = input
  const counts = (tables: Record<string, unknown[]> | null) =>
    tables === null
      ? null
      : Object.fromEntries(Object.entries(tables).map(([name, list]) => [name, list.length]))
  return {
    organization_ids: input.all === true ? 'all' : input.organization_ids,
    tables: input.tables,
    rows: counts(rows),
    manual_rows: counts(manual_rows),
    mode: input.mode,
    decisions: input.decisions.length,
    dry_run: input.dry_run,
  }
}

/** Lets operators seed, and the cron secret rehearse without seeing rows. Throws `not_allowed`. */
export function requireMaySeed(caller: Caller, input: SeedInput): void {
  if (caller.kind === 'operator') return
  if (caller.kind === 'cron' && input.dry_run && input.samples === 0) return
  throw new BackupError(
    'not_allowed',
    caller.kind === 'cron'
      ? 'The cron secret only rehearses a seeding (dry_run: true, no samples). Use OPERATOR_SECRET or sign in as an operator.'
      : 'Only operators seed tenants with defaults.',
  )
}

/**
 * The answer to a seeding: 200 done, 202 while tenants are left, 409 or 500 where some of many failed. Throws
 * what a single tenant failed with.
 */
export function answerSeed(caller: Caller, run: SeedRun): Answer {
  const [only, ...others] = run.tenants
  if (only?.status === 'failed' && others.length === 0) throw seedErrorOf(run, only)
  const report = reportSeedRun(run)
  const failed = run.tenants.filter(({ status }) => status === 'failed')
  const isConflict = failed.every(({ error }) => error !== null && /^seed_/.test(error.code))
  const status =
    report.summary.pending_tenants > 0 ? 202 : failed.length === 0 ? 200 : isConflict ? 409 : 500
  return { status, body: caller.kind === 'cron' ? withoutValues(report) : report }
}

/** Conflicts name rows and columns; what stands in them is not for an outside service. */
function withoutValues(report: ReturnType<typeof reportSeedRun>) {
  return {
    ...report,
    tenants: report.tenants.map((tenant) => ({
      ...tenant,
      result:
        tenant.result === null
          ? null
          : {
              ...tenant.result,
              conflicts: tenant.result.conflicts.map((conflict) => ({
                ...conflict,
                label: null,
                columns: [],
              })),
            },
    })),
  }
}
