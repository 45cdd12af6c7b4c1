import * as z from 'zod/mini'
import { count, type PageServices, readRows, time } from './call-function.ts'

/** What differs from the complete backup before; `rowsBefore` or `rowsAfter` is null where a table came or went. */
const Changes = z.object({
  tables: z.array(
    z.object({ name: z.string(), rowsBefore: z.nullable(count), rowsAfter: z.nullable(count) }),
  ),
})
export type Changes = z.infer<typeof Changes>

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
  pinReason: z.nullable(z.string()),
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
