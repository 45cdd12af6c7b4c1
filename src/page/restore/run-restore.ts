import * as z from 'zod/mini'
import {
  callFunction,
  check,
  count,
  type PageServices,
  RequestFailed,
  time,
  withSession,
} from '../calls/call-function.ts'
import { parseLine, readLines } from '../calls/call-streaming.ts'

/**
 * Restores and undoes, rehearsed and real: asks for them, listens while they work, and finds them again by
 * their run. The stream of an answer is only the faster way: a line that breaks says nothing about the work.
 */

const phase = z.enum([
  'locking',
  'comparing',
  'safety_backup',
  'staging',
  'planning',
  'writing',
  'proving',
  'finishing',
])
export type Phase = z.infer<typeof phase>

const stepFields = { phase, table: z.nullable(z.string()), rows_done: count, rows_total: count }
const step = z.pipe(z.object(stepFields), z.transform(toStep))
/** What is being done at this moment. */
export interface Step {
  phase: Phase
  table: string | null
  rowsDone: number
  rowsTotal: number
}

function toStep(line: {
  phase: Phase
  table: string | null
  rows_done: number
  rows_total: number
}): Step {
  const { phase, table, rows_done: rowsDone, rows_total: rowsTotal } = line
  return { phase, table, rowsDone, rowsTotal }
}

const blocker = z.object({
  code: z.string(),
  table: z.string(),
  constraint: z.nullable(z.string()),
  count,
  keys: z.array(z.array(z.nullable(z.string()))),
  message: z.string(),
})
/** Why it can't be done as asked. */
export type Blocker = z.infer<typeof blocker>

const tableResult = z.pipe(
  z.object({
    rows_in_backup: count,
    rows_live: count,
    inserted: count,
    updated: count,
    deleted: count,
    unchanged: count,
    kept: count,
    skipped: count,
    warnings: z.array(z.string()),
  }),
  z.transform(({ rows_in_backup: rowsInBackup, rows_live: rowsLive, ...counts }) => ({
    rowsInBackup,
    rowsLive,
    ...counts,
  })),
)
/** What was, or would be, done to one table. */
export type TableResult = z.infer<typeof tableResult> & { name: string }

const schemaChange = z.pipe(
  z.object({ name: z.string(), table: z.string(), is_lossy: z.boolean(), message: z.string() }),
  z.transform(({ is_lossy: isLossy, ...change }) => ({ ...change, isLossy })),
)
export type SchemaChange = z.infer<typeof schemaChange>

const report = z.pipe(
  z.object({
    run_id: z.string(),
    restore_id: z.nullable(z.string()),
    safety_backup_id: z.nullable(z.string()),
    tables: z.record(z.string(), tableResult),
    plan: z.object({
      hash: z.string(),
      expires_at: z.nullable(time),
      blockers: z.array(blocker),
      access_changes: z.array(z.object({ table: z.string(), count })),
      schema_changes: z.array(schemaChange),
    }),
    warnings: z.array(z.object({ code: z.string(), message: z.string() })),
  }),
  z.transform((answer) => ({
    runId: answer.run_id,
    restoreId: answer.restore_id,
    safetyBackupId: answer.safety_backup_id,
    tables: Object.entries(answer.tables).map(([name, table]): TableResult => ({ name, ...table })),
    planHash: answer.plan.hash,
    blockers: answer.plan.blockers,
    accessChanges: answer.plan.access_changes,
    schemaChanges: answer.plan.schema_changes,
    warnings: answer.warnings,
  })),
)
/** What a restore did, or a rehearsal would do. */
export type Report = z.infer<typeof report>

const run = z.pipe(
  z.object({
    run: z.object({
      run_id: z.string(),
      kind: z.enum(['restore', 'undo']),
      status: z.enum(['running', 'complete', 'failed']),
      created_at: time,
      finished_at: z.nullable(time),
      actor: z.object({ label: z.string() }),
      backup_id: z.optional(z.nullable(z.string())),
      restore_id: z.optional(z.string()),
      dry_run: z.boolean(),
      events: z.array(
        z.pipe(
          z.object({ seq: count, at: time, ...stepFields }),
          z.transform(({ seq, at, ...line }) => ({ seq, at, ...toStep(line) })),
        ),
      ),
      error: z.optional(z.object({ code: z.string(), message: z.string() })),
      result: z.nullable(report),
    }),
  }),
  z.transform(
    ({ run: { run_id, created_at, finished_at, backup_id, restore_id, dry_run, ...rest } }) => ({
      ...rest,
      runId: run_id,
      createdAt: created_at,
      finishedAt: finished_at,
      /** Of a restore; null where it came from a file. */
      backupId: backup_id ?? null,
      /** Of an undo: what it takes back. */
      undoneId: restore_id ?? null,
      isDryRun: dry_run,
      error: rest.error ?? null,
    }),
  ),
)
/** A restore or an undo, real or rehearsed, and how it stands. */
export type RestoreRun = z.infer<typeof run>

/** Longer than a function may take: what has not answered by then never will, and is asked again. */
const ANSWER_MS = 40_000

/** How a restore stands. Throws `RequestFailed`, also where no answer comes in time. */
export async function readRestoreRun(
  services: PageServices,
  asked: { runId: string; after?: number } | { key: string },
  signal: AbortSignal,
): Promise<RestoreRun> {
  const body =
    'key' in asked
      ? { idempotency_key: asked.key }
      : { run_id: asked.runId, after: asked.after ?? 0 }
  const silence = new AbortController()
  const timer = setTimeout(() => silence.abort(), ANSWER_MS)
  try {
    const either = AbortSignal.any([signal, silence.signal])
    return check(run, await callFunction(services, 'get-run', body, either))
  } catch (error) {
    signal.throwIfAborted()
    if (!silence.signal.aborted) throw error
    throw new RequestFailed('offline', 'The service did not answer in time.', { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

/** What is asked of which function. */
export interface Errand {
  name: 'restore-tenant-data' | 'undo-restore'
  body: object
}

/** Who wants to hear what of it. */
export interface Listener {
  onRun?: (runId: string) => void
  /** The run as it stands, each time that it was asked for. */
  onFound?: (run: RestoreRun) => void
  onStep?: (step: Step) => void
  /** The line is broken, or there again. */
  onLine?: (isThere: boolean) => void
}

/** What asking came to: the service's word, or nothing that says whether it was done. */
type Asked =
  | { kind: 'done'; report: Report }
  | { kind: 'refused'; error: RequestFailed }
  | { kind: 'unknown'; error: RequestFailed; runId: string | null }

/**
 * Asks for it and listens until it is done. A refusal counts only below 500: whatever else comes back, or
 * nothing, leaves open what became of it.
 */
export async function ask(
  services: PageServices,
  errand: Errand,
  listener: Listener,
  signal: AbortSignal,
): Promise<Asked> {
  let runId: string | null = null
  let requestId: string | undefined
  const unknown = (cause: unknown): Asked => ({
    kind: 'unknown',
    runId,
    error:
      cause instanceof RequestFailed
        ? cause
        : new RequestFailed('offline', 'The service did not answer.', { requestId, cause }),
  })
  try {
    const answer = await send(services, errand, signal)
    requestId = answer.headers.get('x-request-id') ?? undefined
    for await (const text of readLines(answer.body)) {
      const line = parseLine(text)
      const told = Line.safeParse(line)
      if (!told.success) continue
      if (told.data.type === 'run') {
        runId = told.data.run_id
        listener.onRun?.(runId)
      } else if (told.data.type === 'progress') {
        const known = step.safeParse(line)
        if (known.success) listener.onStep?.(known.data)
      } else {
        return (
          settle(told.data.status, told.data.body, requestId, (id) => {
            runId = id
            listener.onRun?.(id)
          }) ?? unknown(null)
        )
      }
    }
    return unknown(null)
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof RequestFailed && error.code === 'not_signed_in') {
      return { kind: 'refused', error }
    }
    return unknown(error)
  }
}

const Line = z.discriminatedUnion('type', [
  z.object({ type: z.literal('run'), run_id: z.string() }),
  z.object({ type: z.literal('progress') }),
  z.object({ type: z.literal('result'), status: z.number(), body: z.unknown() }),
])

const Refusal = z.object({
  error: z.object({ code: z.string(), message: z.string(), request_id: z.optional(z.string()) }),
})

/** The last line; undefined where it leaves open what became of it. */
function settle(
  status: number,
  body: unknown,
  requestId: string | undefined,
  onRun: (runId: string) => void,
): Asked | undefined {
  const begun = z.object({ run_id: z.string() }).safeParse(body)
  if (begun.success) onRun(begun.data.run_id)
  if (status === 200) {
    const done = report.safeParse(body)
    return done.success ? { kind: 'done', report: done.data } : undefined
  }
  const refusal = Refusal.safeParse(body)
  if (!refusal.success) return undefined
  const { code, message, request_id } = refusal.data.error
  const error = new RequestFailed(code, message, { requestId: requestId ?? request_id })
  return status < 500 ? { kind: 'refused', error } : { kind: 'unknown', error, runId: null }
}

async function send(
  { supabase, functionsUrl }: PageServices,
  { name, body }: Errand,
  signal: AbortSignal,
): Promise<Response> {
  return withSession(supabase, async (token) => {
    const answer = await fetch(`${functionsUrl}/${name}`, {
      method: 'POST',
      headers: {
        accept: 'application/x-ndjson',
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
      signal,
    })
    if (answer.status !== 401) return answer
    const requestId = answer.headers.get('x-request-id') ?? undefined
    throw new RequestFailed('not_signed_in', 'The session has expired.', { requestId })
  })
}

/** How long to wait before asking again, in seconds; the last one from then on. */
const WAITS = [1, 2, 5]

function waitMs(tries: number): number {
  return (WAITS[Math.min(tries, WAITS.length - 1)] ?? 5) * 1_000
}

/**
 * Follows a run until it is settled, whatever the line does meanwhile. Throws `RequestFailed` only where
 * asking again is of no use.
 */
export async function followRun(
  services: PageServices,
  runId: string,
  listener: Listener,
  signal: AbortSignal,
): Promise<RestoreRun> {
  let after = 0
  for (let tries = 0; ; tries += 1) {
    try {
      const found = await readRestoreRun(services, { runId, after }, signal)
      listener.onLine?.(true)
      listener.onFound?.(found)
      for (const event of found.events) {
        after = Math.max(after, event.seq)
        listener.onStep?.(event)
      }
      if (found.status !== 'running') return found
    } catch (error) {
      signal.throwIfAborted()
      if (!isWorthAsking(error)) throw error
      listener.onLine?.(false)
    }
    await sleep(waitMs(tries), signal)
  }
}

/** How often it is asked for before «it did not start» is believed: a call may take a moment to be recorded. */
const LOOKS_FOR_A_RUN = 4

/** The run that was started with this key; null where nothing was started. Waits for the line to come back. */
export async function findStarted(
  services: PageServices,
  key: string,
  listener: Listener,
  signal: AbortSignal,
): Promise<string | null> {
  let misses = 0
  for (let tries = 0; ; tries += 1) {
    try {
      const { runId } = await readRestoreRun(services, { key }, signal)
      return runId
    } catch (error) {
      signal.throwIfAborted()
      const isMissing = error instanceof RequestFailed && error.code === 'run_not_found'
      if (isMissing) misses += 1
      else if (!isWorthAsking(error)) throw error
      listener.onLine?.(isMissing)
      if (misses >= LOOKS_FOR_A_RUN) return null
    }
    await sleep(waitMs(tries), signal)
  }
}

/** Neither a missing right nor a run that is not there comes back by waiting. */
function isWorthAsking(error: unknown): boolean {
  const NO_USE = [
    'not_signed_in',
    'not_allowed',
    'run_not_found',
    'tenant_not_found',
    'invalid_request',
  ]
  return error instanceof RequestFailed && !NO_USE.includes(error.code)
}

/** How long a rehearsal waits for another one of the tenant to end: the one that was left by going back, often. */
const BUSY_MS = 90_000

/**
 * Rehearses: nothing is written, so it may be asked for again at any time. `runId` resumes one that is
 * under way. Throws `RequestFailed` with what stands against it.
 */
export async function rehearse(
  services: PageServices,
  errand: Errand,
  listener: Listener & { onWait?: () => void },
  { signal, runId }: { signal: AbortSignal; runId?: string | null },
): Promise<Report> {
  if (typeof runId === 'string') return resume(services, runId, listener, signal)
  const giveUpAt = Date.now() + BUSY_MS
  for (let tries = 0; ; tries += 1) {
    const asked = await ask(services, errand, listener, signal)
    if (asked.kind === 'done') return asked.report
    if (asked.kind === 'unknown' && asked.runId !== null) {
      return resume(services, asked.runId, listener, signal)
    }
    if (asked.error.code !== 'tenant_busy' || Date.now() > giveUpAt) throw asked.error
    listener.onWait?.()
    await sleep(waitMs(tries), signal)
  }
}

async function resume(
  services: PageServices,
  runId: string,
  listener: Listener,
  signal: AbortSignal,
): Promise<Report> {
  const { result, error } = await followRun(services, runId, listener, signal)
  if (result !== null) return result
  throw new RequestFailed(error?.code ?? 'internal', error?.message ?? 'No reason was recorded.')
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', end)
      resolve()
    }, ms)
    signal.addEventListener('abort', end, { once: true })
  })
}
