import * as z from 'zod'
import type { CompareRun, DifferencePage } from '../core/compare/comparison-record.ts'
import { listDifferences, readCompareRun } from '../core/compare/comparison-record.ts'
import { reportComparison, reportDifference } from '../core/compare/report-comparison.ts'
import type { Database } from '../core/database/database.ts'
import { describeProgress } from '../core/jobs/report-restore.ts'
import { type Caller, tenantsOf } from './authorize.ts'
import { trimmed } from './daily-answers.ts'
import type { Answer } from './handle.ts'

const TO_START = ['organization_id', 'backup_id', 'backup_date', 'with', 'tables'] as const
const TO_PAGE = ['table', 'kind', 'search', 'cursor', 'limit'] as const

export const CompareInput = z
  .strictObject({
    organization_id: trimmed(200).optional(),
    backup_id: z.uuid().optional(),
    /** A UTC day: its newest complete backup. */
    backup_date: z.iso.date().optional(),
    /** The live rows, unless told, or another backup. */
    with: z.union([z.literal('live'), z.uuid()]).optional(),
    tables: z.array(trimmed(200)).min(1).max(1_000).optional(),
    /** Of a comparison of the last day: its rows, a page at a time. */
    run_id: z.uuid().optional(),
    table: trimmed(200).optional(),
    kind: z.enum(['only_in_backup', 'only_in_other', 'changed']).optional(),
    /** Part of a value, a key or a name of the rows that were kept; upper and lower case are alike. */
    search: trimmed(200).optional(),
    /** `next_cursor` of the page before. */
    cursor: z.coerce.number().int().min(0).optional(),
    limit: z.coerce.number().int().min(1).max(500).optional(),
  })
  .superRefine((input, context) => {
    const wrong = input.run_id === undefined ? TO_PAGE : TO_START
    for (const name of wrong) {
      if (input[name] === undefined) continue
      const message =
        input.run_id === undefined
          ? 'Pages are of a comparison: give run_id too'
          : 'This starts a new comparison: leave run_id out'
      context.addIssue({ code: 'custom', path: [name], message })
    }
  })
export type CompareInput = z.infer<typeof CompareInput>

/** The answer to a comparison that was just made. */
export function answerComparison(run: CompareRun): Answer {
  return { status: 200, body: describeRun(run) }
}

/** A page of the rows of a comparison, for who may see the tenant's. Throws `run_not_found`, `not_allowed`. */
export async function answerPage(
  database: Database,
  caller: Caller,
  input: CompareInput & { run_id: string },
): Promise<Answer> {
  const mine = caller.kind === 'user' ? tenantsOf(caller) : undefined
  const run = await readCompareRun(database, input.run_id, mine)
  const { run_id: runId, table, kind, search, cursor, limit } = input
  const page: DifferencePage = await listDifferences(database, {
    runId,
    table,
    kind,
    search,
    cursor,
    limit,
  })
  const body = {
    ...describeRun(run),
    rows: page.rows.map(reportDifference),
    next_cursor: page.nextCursor,
  }
  return { status: 200, body }
}

function describeRun(run: CompareRun) {
  return {
    success: run.error === null,
    run_id: run.runId,
    status: run.status,
    created_at: run.createdAt,
    organization_id: run.tenantId,
    organization_name: run.tenantName,
    only_tables: run.tables,
    progress: run.progress === null ? null : describeProgress(run.progress),
    heard_at: run.heardAt,
    ...(run.comparison === null ? {} : reportComparison(run.comparison)),
    ...(run.error === null ? {} : { error: run.error }),
  }
}
