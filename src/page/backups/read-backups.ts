import * as z from 'zod/mini'
import { count, type PageServices, readRows, time } from '../calls/call-function.ts'

/** What differs from the complete backup before; `rowsBefore` or `rowsAfter` is null where a table came or went. */
const Changes = z.object({
  tables: z.array(
    z.object({ name: z.string(), rowsBefore: z.nullable(count), rowsAfter: z.nullable(count) }),
  ),
})
export type Changes = z.infer<typeof Changes>

/** What is wrong with the stored files of a backup, one thing each. */
export const Damage = z.array(z.object({ message: z.string(), table: z.nullable(z.string()) }))

/** An operator's pin is a hold: nobody but an operator lifts it. */
export const PinnedByKind = z.enum(['user', 'operator', 'cron', 'system'])

const Backup = z.object({
  id: z.string(),
  tenantId: z.string(),
  tenantName: z.nullable(z.string()),
  type: z.enum(['daily_tenant', 'manual', 'pre_restore']),
  status: z.enum(['running', 'complete', 'failed', 'cancelled', 'pruned']),
  createdAt: time,
  takenAt: z.nullable(time),
  completedAt: z.nullable(time),
  verifiedAt: z.nullable(time),
  /** Since when it is known not to be whole: it is not offered for anything. */
  damagedAt: z.nullable(time),
  damage: z.nullable(Damage),
  /** When it was last loaded on trial, and everything was in order. */
  provenAt: z.nullable(time),
  runId: z.nullable(z.string()),
  totalTables: z.nullable(count),
  totalRecords: z.nullable(count),
  rawSize: z.nullable(count),
  totalSize: z.nullable(count),
  gaps: z.array(z.string()),
  changes: z.nullable(Changes),
  name: z.nullable(z.string()),
  note: z.nullable(z.string()),
  tags: z.array(z.string()),
  pinnedAt: z.nullable(time),
  pinnedBy: z.nullable(z.string()),
  pinnedByKind: z.nullable(PinnedByKind),
  pinReason: z.nullable(z.string()),
  prunedAt: z.nullable(time),
  pruneReason: z.nullable(z.string()),
  actorLabel: z.string(),
  errorCode: z.nullable(z.string()),
  errorMessage: z.nullable(z.string()),
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
  'damagedAt:damaged_at',
  'damage',
  'provenAt:proven_at',
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
  'pinnedBy:pinned_by',
  'pinnedByKind:pinned_by_kind',
  'pinReason:pin_reason',
  'prunedAt:pruned_at',
  'pruneReason:prune_reason',
  'actorLabel:actor_label',
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

export const PAGE_SIZE = 25

/** Which backups a list shows; empty where all of them. */
export interface BackupFilters {
  /** In names, notes and tags. */
  search: string
  kind: Backup['type'] | null
  state: 'verified' | 'proven' | 'damaged' | 'pinned' | 'failed' | 'pruned' | null
  /** Instants; begun at or after the first, and before the second. */
  from: Date | null
  before: Date | null
}

/** A page of a tenant's backups; pages count from 1. */
export async function listBackups(
  { supabase }: PageServices,
  input: {
    tenantId: string
    order: BackupOrder
    isAscending: boolean
    page: number
    filters: BackupFilters
  },
  signal: AbortSignal,
): Promise<Page<Backup>> {
  const { search, kind, state, from, before } = input.filters
  const first = (input.page - 1) * PAGE_SIZE
  let query = supabase
    .from('tenant_backups')
    .select(BACKUP_COLUMNS, { count: 'exact' })
    .eq('organization_id', input.tenantId)
  if (kind !== null) query = query.eq('backup_type', kind)
  if (state === 'verified') {
    query = query.eq('status', 'complete').not('verified_at', 'is', null).is('damaged_at', null)
  }
  if (state === 'proven') query = query.eq('status', 'complete').not('proven_at', 'is', null)
  if (state === 'damaged') query = query.eq('status', 'complete').not('damaged_at', 'is', null)
  if (state === 'pinned') query = query.not('pinned_at', 'is', null)
  if (state === 'failed') query = query.in('status', ['failed', 'cancelled'])
  if (state === 'pruned') query = query.eq('status', 'pruned')
  if (from !== null) query = query.gte('created_at', from.toISOString())
  if (before !== null) query = query.lt('created_at', before.toISOString())
  if (search !== '') query = query.or(matchText(search))
  const answer = await query
    .order(BACKUP_ORDERS[input.order], { ascending: input.isAscending, nullsFirst: false })
    .order('id')
    .range(first, first + PAGE_SIZE - 1)
    .abortSignal(signal)
  return { rows: readRows(Backup, answer), total: answer.count ?? 0 }
}

/**
 * A part of a name or a note, or a whole tag, as the tables are asked for it. What would end the condition
 * is quoted; the rest is not, because the API of the local stack takes quotes for a part of the text.
 */
export function matchText(search: string): string {
  const part = `*${search.replaceAll('\\', '\\\\')}*`
  const value = /[,()"\\]/.test(part)
    ? `"${part.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
    : part
  const [, tag] = /^#?([\p{L}\p{N}-]+)$/u.exec(search) ?? []
  return [
    `name.ilike.${value}`,
    `note.ilike.${value}`,
    ...(tag === undefined ? [] : [`tags.cs.{${tag}}`]),
  ].join(',')
}

const RecentBackup = z.object({
  id: z.string(),
  type: z.enum(['daily_tenant', 'manual', 'pre_restore']),
  status: z.enum(['running', 'complete', 'failed', 'cancelled', 'pruned']),
  createdAt: time,
  takenAt: z.nullable(time),
  totalRecords: z.nullable(count),
  totalSize: z.nullable(count),
  damagedAt: z.nullable(time),
  pinnedAt: z.nullable(time),
})
export type RecentBackup = z.infer<typeof RecentBackup>

/** As many as an answer of the tables holds. */
const MOST_ROWS = 1_000
/** Nobody looks at more in one chart; the newest are those that count. */
const MOST_RECENT = 5_000

/** The backups begun since then, oldest first, safety backups left out: what the timeline shows. */
export async function listRecentBackups(
  { supabase }: PageServices,
  input: { tenantId: string; since: Date },
  signal: AbortSignal,
): Promise<RecentBackup[]> {
  const found: RecentBackup[] = []
  while (found.length < MOST_RECENT) {
    const rows = readRows(
      RecentBackup,
      await supabase
        .from('tenant_backups')
        .select(
          'id, type:backup_type, status, createdAt:created_at, takenAt:taken_at, totalRecords:total_records, totalSize:total_size, damagedAt:damaged_at, pinnedAt:pinned_at',
        )
        .eq('organization_id', input.tenantId)
        .neq('backup_type', 'pre_restore')
        .gte('created_at', input.since.toISOString())
        .order('created_at', { ascending: false })
        .order('id')
        .range(found.length, found.length + MOST_ROWS - 1)
        .abortSignal(signal),
    )
    found.push(...rows)
    if (rows.length < MOST_ROWS) break
  }
  return found.reverse()
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
