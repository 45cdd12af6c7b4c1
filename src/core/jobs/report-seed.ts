import type { SeedResult, SeedTableResult } from '../defaults/seed-types.ts'
import type { RunEvent } from './record-events.ts'
import { type SeedOutcome, type SeedRun, seedPlanExpiry } from './seed-run.ts'

/** From so many tenants on an answer names only tables that are touched. */
const MANY_TENANTS = 100
/** What a run keeps of a tenant's samples, at most, in characters. */
const MOST_SAMPLES = 60_000

/** The result without samples that would make the run's row too large. */
export function trimResult(result: SeedResult): SeedResult {
  let left = MOST_SAMPLES
  const tables = result.tables.map((table) => {
    const samples = table.samples.filter((sample) => {
      left -= JSON.stringify(sample).length
      return left >= 0
    })
    return { ...table, samples }
  })
  return { ...result, tables }
}

/** A run of seedings, as answers have it. */
export function reportSeedRun(run: SeedRun) {
  const { task, tenants } = run
  const count = (...statuses: SeedOutcome['status'][]) =>
    tenants.filter(({ status }) => statuses.includes(status)).length
  const results = tenants.flatMap(({ result }) => (result === null ? [] : [result]))
  const sum = (of: (result: SeedResult) => number) =>
    results.reduce((total, result) => total + of(result), 0)
  const summary = {
    dry_run: task.dry_run,
    mode: task.options.mode,
    total_tenants: tenants.length,
    successful_tenants: count('complete'),
    failed_tenants: count('failed'),
    pending_tenants: count('pending', 'running'),
    skipped_tenants: count('skipped'),
    rows_inserted: sum(({ tables }) => sumOf(tables, 'inserted')),
    rows_updated: sum(({ tables }) => sumOf(tables, 'updated')),
    rows_adopted: sum(({ tables }) => sumOf(tables, 'adopted')),
    conflicts: sum(({ conflictCount }) => conflictCount),
    blockers: sum(({ blockers }) => blockers.length),
    bad_rows: sum(({ badRows }) => badRows.length),
  }
  const isInTheWay = summary.conflicts + summary.blockers + summary.bad_rows > 0
  return {
    success: summary.failed_tenants === 0 && !isInTheWay,
    message: describeSeeding(summary),
    run_id: run.runId,
    kind: 'seed' as const,
    status: run.status,
    note: task.note,
    plan: { hash: run.planHash, expires_at: seedPlanExpiry(run) },
    summary,
    tenants: tenants.map((tenant) => describeOutcome(tenant, tenants.length > MANY_TENANTS)),
  }
}

/** The same as `get-run` tells it, with who, when and the events. */
export function describeSeedRun(run: SeedRun, events: readonly RunEvent<object>[]) {
  const { success: _, ...report } = reportSeedRun(run)
  return {
    ...report,
    created_at: run.createdAt,
    finished_at: run.finishedAt,
    actor: { kind: run.actor.kind, label: run.actor.label },
    events: events.map(({ seq, at, event }) => ({ seq, at, ...event })),
  }
}

function describeSeeding(summary: {
  dry_run: boolean
  total_tenants: number
  successful_tenants: number
  failed_tenants: number
  pending_tenants: number
  rows_inserted: number
  rows_updated: number
  conflicts: number
  blockers: number
  bad_rows: number
}): string {
  const what = summary.dry_run ? 'Dry run of the seeding' : 'Seeding'
  const would = summary.dry_run ? 'would be ' : ''
  const rows = `${summary.rows_inserted} rows ${would}inserted, ${summary.rows_updated} ${would}updated`
  if (summary.pending_tenants > 0) {
    return `${what}: ${summary.total_tenants - summary.pending_tenants} of ${summary.total_tenants} tenants are done; the others follow in the background. get-run tells how it stands.`
  }
  const failed =
    summary.failed_tenants > 0
      ? ` ${summary.failed_tenants} of ${summary.total_tenants} tenants failed.`
      : ''
  const inTheWay = [
    summary.conflicts > 0 ? `${summary.conflicts} rows need a decision (conflicts)` : '',
    summary.blockers > 0 ? `${summary.blockers} things stand in the way (blockers)` : '',
    summary.bad_rows > 0
      ? `${summary.bad_rows} rows of the request can’t be inserted (bad_rows)`
      : '',
  ].filter((text) => text !== '')
  return `${what} completed: ${rows}.${failed}${inTheWay.length > 0 ? ` ${inTheWay.join('; ')}.` : ''}`
}

function sumOf(
  tables: readonly SeedTableResult[],
  key: 'inserted' | 'updated' | 'adopted',
): number {
  return tables.reduce((total, table) => total + table[key], 0)
}

function describeOutcome(
  { tenantId, tenantName, status, attempts, settledAt, result, error }: SeedOutcome,
  isOneOfMany: boolean,
) {
  const told =
    result !== null && isOneOfMany ? { ...result, tables: result.tables.filter(isTouched) } : result
  return {
    organization_id: tenantId,
    organization_name: tenantName,
    status,
    attempts,
    settled_at: settledAt,
    ...(error === null ? {} : { error }),
    result: told === null ? null : describeSeed(told),
  }
}

function isTouched({ inserted, updated, adopted, cases, manual }: SeedTableResult): boolean {
  const isUnequal = Object.keys(cases).some((name) => name !== 'unchanged')
  return inserted + updated + adopted + manual > 0 || isUnequal
}

/** What one seeding did or would do, as answers have it. */
export function describeSeed(result: SeedResult) {
  return {
    seed_id: result.seedId,
    safety_backup_id: result.safetyBackupId,
    template_id: result.templateId,
    plan_hash: result.planHash,
    tables: result.tables.map(describeTable),
    ...describeObstacles(result),
    warnings: result.warnings,
    undo:
      result.seedId === null || result.safetyBackupId === null
        ? null
        : {
            restore_id: result.seedId,
            message: `undo-restore with restore_id ${result.seedId} takes back what this wrote; what people wrote since stays.`,
          },
  }
}

/** What keeps a seeding from being done, as answers and the details of errors have it. */
function describeObstacles({
  conflicts,
  conflictCount,
  blockers,
  badRows,
}: Pick<SeedResult, 'conflicts' | 'conflictCount' | 'blockers' | 'badRows'>) {
  return {
    conflicts: conflicts.map(({ tenantKey, keyColumns, columns, ...conflict }) => ({
      ...conflict,
      key_columns: keyColumns,
      tenant_key: tenantKey,
      columns: columns.map(({ isMasked, ...column }) => ({ ...column, is_masked: isMasked })),
    })),
    conflict_count: conflictCount,
    blockers,
    bad_rows: badRows,
  }
}

function describeTable(table: SeedTableResult) {
  const { rowsInTemplate, samples, ...counts } = table
  return {
    ...counts,
    rows_in_template: rowsInTemplate,
    ...(samples.length === 0
      ? {}
      : {
          samples: samples.map(({ columns, ...sample }) => ({
            ...sample,
            columns: columns.map(({ isMasked, ...column }) => ({ ...column, is_masked: isMasked })),
          })),
        }),
  }
}
