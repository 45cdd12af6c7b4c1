import * as z from 'zod/mini'
import {
  callFunction,
  check,
  count,
  type PageServices,
  RequestFailed,
  time,
} from '../calls/call-function.ts'
import { nameTenant } from '../frame/name-tenant.ts'

/** Cases about which somebody can decide; docs/defaults.md says what they mean. */
export const DECIDED_CASES = ['natural_key_taken', 'both_changed', 'edited', 'deleted'] as const
export const DecidedCase = z.enum(DECIDED_CASES)
export type DecidedCase = z.infer<typeof DecidedCase>

export const Verdict = z.enum(['keep', 'adopt', 'overwrite', 'recreate'])
export type Verdict = z.infer<typeof Verdict>

export const Mode = z.enum(['missing', 'update', 'overwrite'])
export type Mode = z.infer<typeof Mode>

/** A decision as `seed-defaults` takes it. */
export interface SeedDecision {
  case: DecidedCase
  table: string
  key: Record<string, string> | null
  decision: Verdict
}

const Conflict = z.pipe(
  z.object({
    table: z.string(),
    case: z.enum(['both_changed', 'natural_key_taken']),
    key_columns: z.record(z.string(), z.string()),
    label: z.nullable(z.string()),
    constraint: z.nullable(z.string()),
    columns: z.array(
      z.object({
        name: z.string(),
        tenant: z.nullable(z.string()),
        template: z.nullable(z.string()),
        is_masked: z.boolean(),
      }),
    ),
  }),
  z.transform(({ key_columns: key, columns, ...conflict }) => ({
    ...conflict,
    /** Of the template's row, by column: what decisions take. */
    key,
    columns: columns.map(({ is_masked: isMasked, ...column }) => ({ ...column, isMasked })),
  })),
)
export type Conflict = z.infer<typeof Conflict>

const SeededTable = z.object({
  name: z.string(),
  inserted: count,
  updated: count,
  adopted: count,
  /** Rows of the template by how they stand with the tenant. */
  cases: z.record(z.string(), count),
  warnings: z.array(z.string()),
})

const SeedResult = z.pipe(
  z.object({
    tables: z.array(SeededTable),
    conflicts: z.array(Conflict),
    conflict_count: count,
    blockers: z.array(z.object({ code: z.string(), table: z.string(), message: z.string() })),
    warnings: z.array(z.object({ message: z.string() })),
    undo: z.nullable(z.object({ restore_id: z.string() })),
  }),
  z.transform((result) => ({
    tables: result.tables,
    conflicts: result.conflicts,
    /** How many there are; not all of very many are listed. */
    conflictCount: result.conflict_count,
    blockers: result.blockers,
    warnings: result.warnings.map(({ message }) => message),
    /** What `undo-restore` takes; null where nothing of the tenant's was changed. */
    undoId: result.undo?.restore_id ?? null,
  })),
)

const SeedOutcome = z.pipe(
  z.object({
    organization_id: z.string(),
    organization_name: z.nullable(z.string()),
    status: z.enum(['pending', 'running', 'complete', 'failed', 'skipped']),
    error: z.optional(z.object({ code: z.string(), message: z.string() })),
    result: z.nullable(SeedResult),
  }),
  z.transform((tenant) => ({
    id: tenant.organization_id,
    name: nameTenant(tenant.organization_id, tenant.organization_name),
    status: tenant.status,
    error: tenant.error ?? null,
    result: tenant.result,
  })),
)
export type SeedOutcome = z.infer<typeof SeedOutcome>

const SeedRun = z.pipe(
  z.object({
    run_id: z.string(),
    kind: z.literal('seed'),
    status: z.enum(['running', 'complete', 'failed']),
    plan: z.object({ hash: z.nullable(z.string()), expires_at: z.nullable(time) }),
    summary: z.object({ dry_run: z.boolean() }),
    tenants: z.array(SeedOutcome),
    /** Of a single tenant, while it is at work. */
    events: z.optional(z.array(z.unknown())),
  }),
  z.transform(({ run_id: runId, plan, summary, tenants, status, events = [] }) => ({
    runId,
    status,
    planHash: plan.hash,
    /** When the plan of a rehearsal no longer holds. */
    expiresAt: plan.expires_at,
    isRehearsal: summary.dry_run,
    tenants,
    step: readStep(events.at(-1)),
  })),
)
export type SeedRun = z.infer<typeof SeedRun>

const Step = z.object({
  type: z.literal('progress'),
  phase: z.string(),
  table: z.nullable(z.string()),
  rows_done: count,
  rows_total: count,
})

/** What a single tenant's seeding does at the moment; null where that was not told. */
export interface SeedStep {
  phase: string
  table: string | null
  rowsDone: number
  rowsTotal: number
}

function readStep(event: unknown): SeedStep | null {
  const { data } = Step.safeParse(event)
  if (data === undefined) return null
  const { phase, table, rows_done: rowsDone, rows_total: rowsTotal } = data
  return { phase, table, rowsDone, rowsTotal }
}

/** What a seeding is asked for, beside its key. */
export interface SeedRequest {
  /** Null for all active tenants. */
  tenantIds: readonly string[] | null
  /** Null for all that take part. */
  tables: readonly string[] | null
  mode: Mode
  decisions: readonly SeedDecision[]
  /** Of the rehearsal that was looked at; null rehearses. */
  planHash: string | null
  note: string
}

/** The body of the request: the same for the rehearsal and the real one, but for what makes it real. */
export function toSeedBody(request: SeedRequest): Record<string, unknown> {
  const { tenantIds, tables, mode, decisions, planHash, note } = request
  return {
    ...(tenantIds === null ? { all: true } : { organization_ids: tenantIds }),
    tables,
    mode,
    decisions,
    ...(planHash === null ? { dry_run: true } : { dry_run: false, plan_hash: planHash }),
    ...(note.trim() === '' ? {} : { note: note.trim() }),
  }
}

/** A run of seedings, of its id or of the key that it was begun with. Throws `RequestFailed`. */
async function readSeedRun(
  services: PageServices,
  which: { run_id: string } | { idempotency_key: string },
  signal?: AbortSignal,
): Promise<SeedRun> {
  const answer = await callFunction(services, 'get-run', which, signal)
  return check(z.object({ run: SeedRun }), answer).run
}

export type SeedEnd =
  | { kind: 'ended'; run: SeedRun }
  /** Nothing was begun. */
  | { kind: 'refused'; error: RequestFailed }

export interface SeedJob {
  /** The same key never seeds twice. */
  key: string
  /** Null where it was begun before, and is only followed. */
  body: Record<string, unknown> | null
  runId: string | null
}

/** What is heard of it on the way. */
export interface SeedNews {
  run: SeedRun | null
  isLineThere: boolean
}

const POLL_MS = 1_200
/** So often it is asked whether a call arrived whose line broke. */
const MOST_ASKS = 5

const FailedRun = z.object({
  error: z.object({ details: z.object({ run_id: z.string() }) }),
})

/**
 * Begins a seeding or a rehearsal and follows it to its end, however long it takes and however often the line
 * breaks: what is told comes from the run. Throws `RequestFailed` where the run can't be read.
 */
export async function followSeeding(
  services: PageServices,
  job: SeedJob,
  {
    tell,
    signal,
    pollMs = POLL_MS,
  }: { tell: (news: SeedNews) => void; signal: AbortSignal; pollMs?: number },
): Promise<SeedEnd> {
  let { runId } = job
  let answer: { run: SeedRun } | { error: unknown } | null = null
  // Not ended with the page: what was begun goes on anyway.
  const call =
    job.body === null
      ? new Promise<void>(() => {})
      : callFunction(services, 'seed-defaults', { ...job.body, idempotency_key: job.key })
          .then((content) => check(SeedRun, content))
          .then(
            (run) => {
              answer = { run }
            },
            (error: unknown) => {
              answer = { error }
            },
          )
  let asks = 0
  for (;;) {
    await (answer === null
      ? Promise.race([sleep(pollMs, signal), call])
      : sleep(asks === 0 ? 0 : pollMs, signal))
    signal.throwIfAborted()
    const answered = answer as { run: SeedRun } | { error: unknown } | null
    if (answered !== null && 'run' in answered && answered.run.status !== 'running') {
      return { kind: 'ended', run: answered.run }
    }
    if (answered !== null && 'run' in answered) runId = answered.run.runId
    if (answered !== null && 'error' in answered) {
      const { error } = answered
      if (!(error instanceof RequestFailed)) throw error
      // A single tenant that failed answers like a refusal, with its run.
      const failed = FailedRun.safeParse(error.answer).data?.error.details.run_id
      if (failed !== undefined) runId = failed
      else if (error.code !== 'offline') return { kind: 'refused', error }
    }
    asks += answered === null ? 0 : 1
    try {
      const which = runId === null ? { idempotency_key: job.key } : { run_id: runId }
      const run = await readSeedRun(services, which, signal)
      runId = run.runId
      tell({ run, isLineThere: true })
      if (run.status !== 'running') return { kind: 'ended', run }
    } catch (error) {
      if (!(error instanceof RequestFailed)) throw error
      // The call has yet to answer: a refusal of it is told by itself, and is no failure to read its run.
      const isCalling = job.body !== null && answered === null
      if (isCalling && runId === null && error.code !== 'offline') continue
      if (error.code === 'run_not_found' && runId === null) {
        if (asks < MOST_ASKS) continue
        return {
          kind: 'refused',
          error: new RequestFailed('not_started', 'It did not arrive. Nothing was begun.'),
        }
      }
      if (error.code !== 'offline') throw error
      tell({ run: null, isLineThere: false })
    }
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
