import * as z from 'zod/mini'
import { PAGE_SIZE, type Page } from '../backups/read-backups.ts'
import { count, type PageServices, readRows, time } from '../calls/call-function.ts'
import { Policy } from '../tenants/describe-policy.ts'

const JournalEntry = z.object({
  id: z.string(),
  type: z.string(),
  status: z.enum(['running', 'complete', 'failed', 'cancelled', 'skipped']),
  createdAt: time,
  backupId: z.nullable(z.string()),
  runId: z.nullable(z.string()),
  actorLabel: z.string(),
  totalTables: z.nullable(count),
  totalRecords: z.nullable(count),
  totalSize: z.nullable(count),
  durationMs: z.nullable(count),
  note: z.nullable(z.string()),
  errorCode: z.nullable(z.string()),
  errorMessage: z.nullable(z.string()),
})
export type JournalEntry = z.infer<typeof JournalEntry>

const JOURNAL_COLUMNS = [
  'id',
  'type:backup_type',
  'status',
  'createdAt:created_at',
  'backupId:backup_id',
  'runId:run_id',
  'actorLabel:actor_label',
  'totalTables:total_tables',
  'totalRecords:total_records',
  'totalSize:total_size',
  'durationMs:duration_ms',
  'note',
  'errorCode:error_code',
  'errorMessage:error_message',
].join(', ')

/** What the history can be narrowed to. */
const OPERATION_GROUPS = {
  backups: ['daily_tenant', 'manual'],
  safety: ['pre_restore'],
  restores: ['restore', 'undo'],
  changes: ['update'],
  pruning: ['prune', 'forget'],
  proofs: ['verify', 'drill'],
  copies: ['copy', 'rebuild'],
  rules: ['pause', 'resume', 'policy'],
  defaults: ['seed_defaults', 'defaults', 'create_tenant', 'offboard'],
} as const
export type OperationGroup = keyof typeof OPERATION_GROUPS

const RESULT_GROUPS = {
  done: ['complete'],
  failed: ['failed', 'cancelled'],
  skipped: ['skipped'],
  running: ['running'],
} as const
export type ResultGroup = keyof typeof RESULT_GROUPS

/** Which entries of the history are meant; null where all. */
export interface HistoryFilters {
  what: OperationGroup | null
  result: ResultGroup | null
  /** At or after the first instant, and before the second. */
  from: Date | null
  before: Date | null
}

function selectEntries(
  { supabase }: PageServices,
  tenantId: string,
  { what, result, from, before }: HistoryFilters,
) {
  let query = supabase
    .from('backup_logs')
    .select(JOURNAL_COLUMNS, { count: 'exact' })
    .eq('organization_id', tenantId)
  if (what !== null) query = query.in('backup_type', OPERATION_GROUPS[what])
  if (result !== null) query = query.in('status', RESULT_GROUPS[result])
  if (from !== null) query = query.gte('created_at', from.toISOString())
  if (before !== null) query = query.lt('created_at', before.toISOString())
  return query.order('created_at', { ascending: false }).order('id')
}

/** A page of what happened to a tenant, newest first; pages count from 1. */
export async function listHistory(
  services: PageServices,
  input: { tenantId: string; page: number; filters: HistoryFilters },
  signal: AbortSignal,
): Promise<Page<JournalEntry>> {
  const first = (input.page - 1) * PAGE_SIZE
  const answer = await selectEntries(services, input.tenantId, input.filters)
    .range(first, first + PAGE_SIZE - 1)
    .abortSignal(signal)
  return { rows: readRows(JournalEntry, answer), total: answer.count ?? 0 }
}

/** As many as an answer of the tables holds. */
const ROWS_AT_ONCE = 1_000

/** Everything that fits the filters, newest first, for a file. */
export async function readWholeHistory(
  services: PageServices,
  input: { tenantId: string; filters: HistoryFilters },
  signal: AbortSignal,
): Promise<JournalEntry[]> {
  const found = new Map<string, JournalEntry>()
  // What is added meanwhile shifts the pages, so that an entry may come twice.
  for (let first = 0; ; first += ROWS_AT_ONCE) {
    const answer = await selectEntries(services, input.tenantId, input.filters)
      .range(first, first + ROWS_AT_ONCE - 1)
      .abortSignal(signal)
    const rows = readRows(JournalEntry, answer)
    for (const entry of rows) found.set(entry.id, entry)
    if (rows.length < ROWS_AT_ONCE) return [...found.values()]
  }
}

const EntryDetails = z.object({
  safetyBackupId: z.nullable(z.string()),
  undoOf: z.nullable(z.string()),
  details: z.object({
    /** Of a restore: where it read from. */
    source: z.optional(z.object({ takenAt: time })),
    /** Of a restore that is done: what it did, table by table. */
    tables: z.optional(
      z.array(
        z.object({
          name: z.string(),
          inserted: count,
          updated: count,
          deleted: z._default(count, 0),
        }),
      ),
    ),
    /** Of a backup: tables that nobody has classified. */
    gaps: z.optional(z.array(z.string())),
    warnings: z.optional(z.array(z.object({ message: z.string() }))),
    /** Of a change to a backup: what was changed. */
    changed: z.optional(z.array(z.string())),
    pin_reason: z.optional(z.nullable(z.string())),
    /** Of a copy: the place. */
    store: z.optional(z.string()),
    /** Of pruning, or an erasure: what went, and the files that a store keeps locked for the time being. */
    backups: z.optional(count),
    objects: z.optional(count),
    bytes: z.optional(count),
    objects_left: z.optional(count),
    /** Of a verification: what is wrong with the backup, or since when it was wrong and is whole again. */
    damage: z.optional(z.array(z.object({ message: z.string() }))),
    was_damaged_at: z.optional(time),
    /** Of a drill. */
    findings: z.optional(z.array(z.object({ message: z.string() }))),
    /** Of a pause, or the end of one. */
    reason: z.optional(z.string()),
    reason_before: z.optional(z.string()),
    paused_by: z.optional(z.string()),
    paused_at: z.optional(time),
    note: z.optional(z.string()),
    /** Rules of the tenant's own; null where those of all others hold again. */
    policy: z.optional(z.nullable(Policy)),
  }),
})
export type EntryDetails = z.infer<typeof EntryDetails>

/** What the list does not say of an entry; null where it is not the reader's. */
export async function readEntryDetails(
  { supabase }: PageServices,
  id: string,
  signal: AbortSignal,
): Promise<EntryDetails | null> {
  const answer = await supabase
    .from('backup_logs')
    .select('safetyBackupId:safety_backup_id, undoOf:undo_of, details')
    .eq('id', id)
    .limit(1)
    .abortSignal(signal)
  return readRows(EntryDetails, answer)[0] ?? null
}
