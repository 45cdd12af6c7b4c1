import * as z from 'zod/mini'
import {
  callFunction,
  check,
  count,
  type PageServices,
  RequestFailed,
  readRows,
  time,
} from '../calls/call-function.ts'
import { callStreaming } from '../calls/call-streaming.ts'

/**
 * Comparisons: started once, then read by their run as often as somebody looks. Which rows differ is kept
 * for a day; paging and searching compute nothing again.
 */

export const DifferenceKind = z.enum(['only_in_backup', 'changed', 'only_in_other'])
export type DifferenceKind = z.infer<typeof DifferenceKind>

const Step = z.pipe(
  z.object({
    phase: z.string(),
    table: z.nullable(z.string()),
    rows_done: count,
    rows_total: count,
  }),
  z.transform(({ phase, table, rows_done: rowsDone, rows_total: rowsTotal }) => ({
    phase,
    table,
    rowsDone,
    rowsTotal,
  })),
)
/** What a comparison is doing at this moment. */
export type CompareStep = z.infer<typeof Step>

const Table = z.pipe(
  z.object({
    name: z.string(),
    presence: z.enum(['both', 'backup', 'other', 'dropped']),
    is_compared: z.boolean(),
    rows_in_backup: count,
    rows_in_other: count,
    only_in_backup: count,
    only_in_other: count,
    changed: count,
    equal: count,
    kept_rows: count,
    is_by_key: z.boolean(),
    key_columns: z.array(z.string()),
    is_by_text: z.boolean(),
    columns_only_in_backup: z.array(z.string()),
    columns_only_in_other: z.array(z.string()),
    columns_not_compared: z.array(z.string()),
  }),
  z.transform((table) => ({
    name: table.name,
    /** On which sides it is; `dropped` where both backups have it and the database has it no more. */
    presence: table.presence,
    isCompared: table.is_compared,
    rowsInBackup: table.rows_in_backup,
    rowsInOther: table.rows_in_other,
    counts: {
      only_in_backup: table.only_in_backup,
      changed: table.changed,
      only_in_other: table.only_in_other,
    },
    equal: table.equal,
    /** How many of the rows that differ can be looked at. */
    keptRows: table.kept_rows,
    isByKey: table.is_by_key,
    /** In the order of a row's `key`; empty without a key. */
    keyColumns: table.key_columns,
    isByText: table.is_by_text,
    columnsOnlyInBackup: table.columns_only_in_backup,
    columnsOnlyInOther: table.columns_only_in_other,
    columnsNotCompared: table.columns_not_compared,
  })),
)
export type ComparedTable = z.infer<typeof Table>

const Side = z.object({ backup_id: z.nullable(z.string()), taken_at: time })

const Result = z.object({
  is_equal: z.boolean(),
  backup: Side,
  with: Side,
  tables: z.array(Table),
  warnings: z.array(z.object({ code: z.string(), message: z.string() })),
})

const Run = z.object({
  run_id: z.string(),
  status: z.enum(['running', 'complete', 'failed']),
  created_at: time,
  only_tables: z.nullable(z.array(z.string())),
  progress: z.nullable(Step),
  heard_at: z.nullable(time),
  error: z.optional(z.object({ code: z.string(), message: z.string() })),
})

export interface Comparison {
  backupId: string | null
  takenAt: Date
  /** Null where the other side is the live data, read at `otherTakenAt`. */
  otherBackupId: string | null
  otherTakenAt: Date
  isEqual: boolean
  /** In the order in which their rows are numbered. */
  tables: ComparedTable[]
  warnings: { code: string; message: string }[]
}

export interface CompareRun {
  runId: string
  status: 'running' | 'complete' | 'failed'
  createdAt: Date
  /** The tables that were asked for; null for all. */
  onlyTables: string[] | null
  step: CompareStep | null
  /** When it last told a step, while it runs. */
  heardAt: Date | null
  error: RequestFailed | null
  /** Null until it is complete. */
  comparison: Comparison | null
}

function toRun(answer: unknown): CompareRun {
  const run = check(Run, answer)
  return {
    runId: run.run_id,
    status: run.status,
    createdAt: run.created_at,
    onlyTables: run.only_tables,
    step: run.progress,
    heardAt: run.heard_at,
    error: run.error === undefined ? null : new RequestFailed(run.error.code, run.error.message),
    comparison: run.status === 'complete' ? toComparison(check(Result, answer)) : null,
  }
}

function toComparison(result: z.infer<typeof Result>): Comparison {
  return {
    backupId: result.backup.backup_id,
    takenAt: result.backup.taken_at,
    otherBackupId: result.with.backup_id,
    otherTakenAt: result.with.taken_at,
    isEqual: result.is_equal,
    tables: result.tables,
    warnings: result.warnings,
  }
}

export interface CompareRequest {
  tenantId: string
  backupId: string
  /** Another backup; null for the live data. */
  withId: string | null
  /** Null for all. */
  tables: string[] | null
}

/**
 * Compares, and tells the run as soon as it has one. Throws `RequestFailed`; with `offline` the comparison
 * may go on, and its run tells.
 */
export async function startComparison(
  services: PageServices,
  { tenantId, backupId, withId, tables }: CompareRequest,
  told: { onStep: (step: CompareStep, runId: string) => void; signal: AbortSignal },
): Promise<CompareRun> {
  const answer = await callStreaming(
    services,
    'compare-backups',
    {
      organization_id: tenantId,
      backup_id: backupId,
      with: withId ?? 'live',
      ...(tables === null ? {} : { tables }),
    },
    {
      signal: told.signal,
      onProgress: (line) => {
        const run = z.object({ run_id: z.string() }).safeParse(line).data
        const step = Step.safeParse(line).data
        if (run !== undefined && step !== undefined) told.onStep(step, run.run_id)
      },
    },
  )
  return toRun(answer)
}

/** How a comparison stands. Throws `run_not_found` where it is older than a day. */
export async function readComparison(
  services: PageServices,
  runId: string,
  signal: AbortSignal,
): Promise<CompareRun> {
  return toRun(await callFunction(services, 'compare-backups', { run_id: runId, limit: 1 }, signal))
}

const Row = z.pipe(
  z.object({
    table: z.string(),
    kind: DifferenceKind,
    key: z.array(z.nullable(z.string())),
    label: z.nullable(z.string()),
    times: count,
    columns: z.array(
      z.object({
        name: z.string(),
        before: z.nullable(z.string()),
        after: z.nullable(z.string()),
        is_masked: z.boolean(),
        is_cut: z.boolean(),
      }),
    ),
  }),
  z.transform(({ columns, ...row }) => ({
    ...row,
    columns: columns.map(({ is_masked: isMasked, is_cut: isCut, ...column }) => ({
      ...column,
      isMasked,
      isCut,
    })),
  })),
)
/** A row that differs. */
export type RowDifference = z.infer<typeof Row>
export type ColumnDifference = RowDifference['columns'][number]

const RowPage = z.pipe(
  z.object({ rows: z.array(Row), next_cursor: z.nullable(count) }),
  z.transform(({ rows, next_cursor: nextCursor }) => ({ rows, nextCursor })),
)
export type RowPage = z.infer<typeof RowPage>

export interface RowQuery {
  runId: string
  /** Null for all tables. */
  table: string | null
  kind: DifferenceKind | null
  /** A part of a value, a key or a name; empty for all. */
  search: string
}

/** Rows that differ, `limit` of them after the cursor, unless fewer are left. */
export async function readDifferences(
  services: PageServices,
  query: RowQuery & { cursor: number; limit: number },
  signal?: AbortSignal,
): Promise<RowPage> {
  const rows: RowDifference[] = []
  let cursor: number | null = query.cursor
  // Where rows are large, an answer holds fewer than were asked for.
  while (cursor !== null && rows.length < query.limit) {
    const page: RowPage = check(
      RowPage,
      await callFunction(
        services,
        'compare-backups',
        {
          run_id: query.runId,
          cursor,
          limit: Math.min(query.limit - rows.length, MOST_AT_ONCE),
          ...(query.table === null ? {} : { table: query.table }),
          ...(query.kind === null ? {} : { kind: query.kind }),
          ...(query.search === '' ? {} : { search: query.search }),
        },
        signal,
      ),
    )
    rows.push(...page.rows)
    cursor = page.nextCursor
  }
  return { rows, nextCursor: cursor }
}

const MOST_AT_ONCE = 500

const Choice = z.object({
  id: z.string(),
  type: z.enum(['daily_tenant', 'manual', 'pre_restore']),
  status: z.string(),
  createdAt: time,
  takenAt: z.nullable(time),
  name: z.nullable(z.string()),
})
/** A backup that can be compared, as far as one must know it to choose it. */
export type BackupChoice = z.infer<typeof Choice>

const CHOICE_COLUMNS =
  'id, type:backup_type, status, createdAt:created_at, takenAt:taken_at, name' as const

/** How many backups are offered at once. */
export const CHOICES = 40

/** The newest complete backups, or the newest of those taken before an instant. */
export async function listChoices(
  { supabase }: PageServices,
  { tenantId, before }: { tenantId: string; before: Date | null },
  signal: AbortSignal,
): Promise<BackupChoice[]> {
  const complete = supabase
    .from('tenant_backups')
    .select(CHOICE_COLUMNS)
    .eq('organization_id', tenantId)
    .eq('status', 'complete')
  const old = before === null ? complete : complete.lt('created_at', before.toISOString())
  const answer = await old
    .order('created_at', { ascending: false })
    .limit(CHOICES)
    .abortSignal(signal)
  return readRows(Choice, answer)
}

/** One backup of the tenant by its id; null where there is none. */
export async function readChoice(
  { supabase }: PageServices,
  { tenantId, backupId }: { tenantId: string; backupId: string },
  signal: AbortSignal,
): Promise<BackupChoice | null> {
  const answer = await supabase
    .from('tenant_backups')
    .select(CHOICE_COLUMNS)
    .eq('organization_id', tenantId)
    .eq('id', backupId)
    .limit(1)
    .abortSignal(signal)
  return readRows(Choice, answer)[0] ?? null
}
