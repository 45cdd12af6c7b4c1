import type { SupabaseClient } from '@supabase/supabase-js'
import { z } from 'zod'

/**
 * Everything the page reads or starts, with every answer checked before anything else sees it. Lists
 * come from the two public tables under row level security; what acts, and what belongs to a run,
 * goes through the functions with the signed-in person's token.
 */

export interface PageServices {
  supabase: SupabaseClient
  /** Where the functions answer, without a slash at the end: `/.netlify/functions`. */
  functionsUrl: string
}

/** Why something the page asked for did not come. */
export class RequestFailed extends Error {
  override readonly name = 'RequestFailed'
  /** A code of the service, or `offline` (no answer), `unexpected_answer` (not what we know). */
  readonly code: string
  readonly requestId: string | undefined

  constructor(
    code: string,
    message: string,
    options: { requestId?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.requestId = options.requestId
  }
}

/** As JSON has it, or as Postgres writes it: the emulated API answers `2026-11-20 02:00:04.5+00`. */
const time = z
  .string()
  .transform((text) => new Date(text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')))
  .refine((date) => !Number.isNaN(date.getTime()), 'is not a time')
const count = z.number().nonnegative()

/** What differs from the complete backup before; `rowsBefore` or `rowsAfter` is null where a table came or went. */
const Changes = z.object({
  tables: z.array(
    z.object({ name: z.string(), rowsBefore: count.nullable(), rowsAfter: count.nullable() }),
  ),
})
export type Changes = z.infer<typeof Changes>

const Backup = z.object({
  id: z.string(),
  tenantId: z.string(),
  tenantName: z.string().nullable(),
  type: z.enum(['daily_tenant', 'manual', 'pre_restore']),
  status: z.enum(['running', 'complete', 'failed', 'cancelled', 'pruned']),
  createdAt: time,
  takenAt: time.nullable(),
  completedAt: time.nullable(),
  verifiedAt: time.nullable(),
  runId: z.string().nullable(),
  totalTables: count.nullable(),
  totalRecords: count.nullable(),
  rawSize: count.nullable(),
  totalSize: count.nullable(),
  gaps: z.array(z.string()),
  changes: Changes.nullable(),
  name: z.string().nullable(),
  note: z.string().nullable(),
  tags: z.array(z.string()),
  pinnedAt: time.nullable(),
  pinReason: z.string().nullable(),
  actorLabel: z.string(),
  errorCode: z.string().nullable(),
  errorMessage: z.string().nullable(),
})
export type Backup = z.infer<typeof Backup>

const BACKUP_COLUMNS = [
  'id',
  'tenantId:organization_id',
  'tenantName:organization_name',
  'type:backup_type',
  'status',
  'createdAt:created_at',
  'takenAt:taken_at',
  'completedAt:completed_at',
  'verifiedAt:verified_at',
  'runId:run_id',
  'totalTables:total_tables',
  'totalRecords:total_records',
  'rawSize:raw_size',
  'totalSize:total_size',
  'gaps',
  'changes',
  'name',
  'note',
  'tags',
  'pinnedAt:pinned_at',
  'pinReason:pin_reason',
  'actorLabel:actor_label',
  'errorCode:error_code',
  'errorMessage:error_message',
].join(', ')

const JournalEntry = z.object({
  id: z.string(),
  type: z.string(),
  status: z.enum(['running', 'complete', 'failed', 'cancelled', 'skipped']),
  createdAt: time,
  actorLabel: z.string(),
  totalTables: count.nullable(),
  totalRecords: count.nullable(),
  totalSize: count.nullable(),
  durationMs: count.nullable(),
  errorCode: z.string().nullable(),
  errorMessage: z.string().nullable(),
})
export type JournalEntry = z.infer<typeof JournalEntry>

const JOURNAL_COLUMNS = [
  'id',
  'type:backup_type',
  'status',
  'createdAt:created_at',
  'actorLabel:actor_label',
  'totalTables:total_tables',
  'totalRecords:total_records',
  'totalSize:total_size',
  'durationMs:duration_ms',
  'errorCode:error_code',
  'errorMessage:error_message',
].join(', ')

export interface Page<T> {
  rows: T[]
  /** How many there are in all. */
  total: number
}

/** What a list can be ordered by. */
const BACKUP_ORDERS = {
  taken: 'created_at',
  rows: 'total_records',
  size: 'total_size',
} as const
export type BackupOrder = keyof typeof BACKUP_ORDERS

export const PAGE_SIZE = 20

const Tenant = z.object({ id: z.string(), name: z.string().nullable() })
export type Tenant = z.infer<typeof Tenant>

/**
 * The tenant that the page is about: the given one, or the only one that the signed-in person looks
 * after. Throws `RequestFailed` with `not_allowed` for members without rights, `tenant_not_found`.
 */
export async function readTenant(
  services: PageServices,
  tenantId: string | undefined,
  signal: AbortSignal,
): Promise<Tenant> {
  const answer = await callFunction(
    services,
    'list-backups',
    { limit: 1, ...(tenantId === undefined ? {} : { organization_id: tenantId }) },
    signal,
  )
  const { organization } = check(z.object({ organization: Tenant.nullable() }), answer)
  if (organization === null) {
    throw new RequestFailed('invalid_request', 'It was not said which organization to show.')
  }
  return organization
}

const SHOWN_TYPES = ['daily_tenant', 'manual']

/** What the sentence at the top of the page is made from. */
export async function readState(
  { supabase }: PageServices,
  tenantId: string,
  signal: AbortSignal,
): Promise<{ newestComplete: Backup | null; newestAttempt: Backup | null }> {
  const newest = () =>
    supabase
      .from('tenant_backups')
      .select(BACKUP_COLUMNS)
      .eq('organization_id', tenantId)
      .in('backup_type', SHOWN_TYPES)
      .order('created_at', { ascending: false })
      .limit(1)
      .abortSignal(signal)
  const [complete, attempt] = await Promise.all([newest().eq('status', 'complete'), newest()])
  return {
    newestComplete: readRows(Backup, complete)[0] ?? null,
    newestAttempt: readRows(Backup, attempt)[0] ?? null,
  }
}

/** A page of a tenant's backups; pages count from 1. */
export async function listBackups(
  { supabase }: PageServices,
  input: { tenantId: string; order: BackupOrder; isAscending: boolean; page: number },
  signal: AbortSignal,
): Promise<Page<Backup>> {
  const from = (input.page - 1) * PAGE_SIZE
  const answer = await supabase
    .from('tenant_backups')
    .select(BACKUP_COLUMNS, { count: 'exact' })
    .eq('organization_id', input.tenantId)
    .order(BACKUP_ORDERS[input.order], { ascending: input.isAscending, nullsFirst: false })
    .order('id')
    .range(from, from + PAGE_SIZE - 1)
    .abortSignal(signal)
  return { rows: readRows(Backup, answer), total: answer.count ?? 0 }
}

/** A page of what happened to a tenant, newest first; pages count from 1. */
export async function listHistory(
  { supabase }: PageServices,
  input: { tenantId: string; page: number },
  signal: AbortSignal,
): Promise<Page<JournalEntry>> {
  const from = (input.page - 1) * PAGE_SIZE
  const answer = await supabase
    .from('backup_logs')
    .select(JOURNAL_COLUMNS, { count: 'exact' })
    .eq('organization_id', input.tenantId)
    .order('created_at', { ascending: false })
    .order('id')
    .range(from, from + PAGE_SIZE - 1)
    .abortSignal(signal)
  return { rows: readRows(JournalEntry, answer), total: answer.count ?? 0 }
}

/** The run of the manual backup of this tenant that is under way, if there is one. */
export async function findRunning(
  { supabase }: PageServices,
  tenantId: string,
  signal: AbortSignal,
): Promise<string | null> {
  const answer = await supabase
    .from('tenant_backups')
    .select('runId:run_id')
    .eq('organization_id', tenantId)
    .eq('backup_type', 'manual')
    .eq('status', 'running')
    .not('run_id', 'is', null)
    .order('created_at', { ascending: false })
    .limit(1)
    .abortSignal(signal)
  return readRows(z.object({ runId: z.string() }), answer)[0]?.runId ?? null
}

/** One backup, or null where it is not there or not the reader's. */
export async function readBackup(
  { supabase }: PageServices,
  backupId: string,
  signal: AbortSignal,
): Promise<Backup | null> {
  const answer = await supabase
    .from('tenant_backups')
    .select(BACKUP_COLUMNS)
    .eq('id', backupId)
    .limit(1)
    .abortSignal(signal)
  return readRows(Backup, answer)[0] ?? null
}

/** What the functions accept. */
export const MAX_NAME = 120
export const MAX_NOTE = 2_000

/**
 * Starts a backup, or finds the one that the same key started before. Answers when it is done, or
 * sooner where it takes long. Throws `RequestFailed`.
 */
export async function startBackup(
  services: PageServices,
  input: { tenantId: string; name: string; note: string; key: string },
): Promise<{ runId: string }> {
  const answer = await callFunction(services, 'daily-tenant-backup', {
    organization_id: input.tenantId,
    idempotency_key: input.key,
    ...(input.name === '' ? {} : { name: input.name }),
    ...(input.note === '' ? {} : { note: input.note }),
  })
  return check(
    z.object({ run_id: z.string() }).transform(({ run_id }) => ({ runId: run_id })),
    answer,
  )
}

const RunProgress = z.object({
  phase: z.enum(['locking', 'copying', 'proving', 'finishing']),
  table: z.string().nullable(),
  rowsDone: count,
  rowsTotal: count,
})
export type RunProgress = z.infer<typeof RunProgress>

const Run = z
  .object({
    run: z.object({
      status: z.enum(['running', 'complete', 'failed']),
      created_at: time,
      tenants: z.array(
        z.object({
          organization_id: z.string(),
          status: z.enum(['pending', 'running', 'complete', 'failed', 'skipped']),
          backup_id: z.string().nullable(),
          total_records: count.nullable(),
          error: z.object({ code: z.string(), message: z.string() }).optional(),
        }),
      ),
      // Empty before the first step, and in runs over many tenants.
      progress: RunProgress.nullable().catch(null),
    }),
  })
  .transform(({ run }) => ({
    status: run.status,
    createdAt: run.created_at,
    progress: run.progress,
    tenants: run.tenants.map((tenant) => ({
      tenantId: tenant.organization_id,
      status: tenant.status,
      backupId: tenant.backup_id,
      totalRecords: tenant.total_records,
      errorMessage: tenant.error?.message ?? null,
    })),
  }))
export type Run = z.infer<typeof Run>

/** How a run stands. */
export async function readRun(
  services: PageServices,
  runId: string,
  signal: AbortSignal,
): Promise<Run> {
  return check(Run, await callFunction(services, 'get-run', { run_id: runId }, signal))
}

const Download = z
  .object({
    file_name: z.string(),
    readme: z.object({ name: z.string(), text: z.string() }),
    summary: z.object({ name: z.string(), url: z.url() }),
    parts: z.array(
      z
        .object({ name: z.string(), url: z.url(), raw_bytes: count, raw_sha256: z.string() })
        .transform(({ raw_bytes: rawBytes, raw_sha256: rawSha256, ...part }) => ({
          ...part,
          rawBytes,
          rawSha256,
        })),
    ),
  })
  .transform(({ file_name: fileName, ...download }) => ({ ...download, fileName }))
export type Download = z.infer<typeof Download>

/** What an archive of a backup is made from: URLs of its objects, good for some minutes. */
export async function describeDownload(
  services: PageServices,
  backupId: string,
): Promise<Download> {
  return check(Download, await callFunction(services, 'export-backup', { backup_id: backupId }))
}

const Refusal = z.object({
  error: z.object({ code: z.string(), message: z.string(), request_id: z.string().optional() }),
})

async function callFunction(
  { supabase, functionsUrl }: PageServices,
  name: string,
  body: object,
  signal?: AbortSignal,
): Promise<unknown> {
  const { data } = await supabase.auth.getSession()
  if (data.session === null) throw new RequestFailed('not_signed_in', 'Nobody is signed in.')
  let answer: Response
  try {
    answer = await fetch(`${functionsUrl}/${name}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${data.session.access_token}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
      ...(signal === undefined ? {} : { signal }),
    })
  } catch (cause) {
    signal?.throwIfAborted()
    throw new RequestFailed('offline', 'The service did not answer.', { cause })
  }
  const content: unknown = await answer.json().catch(() => null)
  // A backup that failed answers like one that did not, with its run: the run says why.
  if (answer.ok || z.object({ run_id: z.string() }).safeParse(content).success) return content
  const refusal = Refusal.safeParse(content)
  const requestId = answer.headers.get('x-request-id') ?? refusal.data?.error.request_id
  if (refusal.success) {
    throw new RequestFailed(refusal.data.error.code, refusal.data.error.message, { requestId })
  }
  throw new RequestFailed(
    answer.status >= 500 ? 'offline' : 'unexpected_answer',
    `The service answered ${answer.status}.`,
    { requestId },
  )
}

interface TableAnswer {
  data: unknown
  error: { message: string; code?: string } | null
  status: number
}

function readRows<T extends z.ZodType>(schema: T, answer: TableAnswer): z.infer<T>[] {
  if (answer.error !== null) {
    // A page beyond the end, because rows went away meanwhile.
    if (answer.error.code === 'PGRST103') return []
    if (answer.status === 401) throw new RequestFailed('not_signed_in', answer.error.message)
    if (answer.status === 0) throw new RequestFailed('offline', answer.error.message)
    throw new RequestFailed('database_unavailable', answer.error.message)
  }
  return check(z.array(schema), answer.data)
}

function check<T extends z.ZodType>(schema: T, data: unknown, requestId?: string): z.infer<T> {
  const parsed = schema.safeParse(data)
  if (parsed.success) return parsed.data
  const where = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
  throw new RequestFailed('unexpected_answer', `Not as expected: ${where}`, { requestId })
}
