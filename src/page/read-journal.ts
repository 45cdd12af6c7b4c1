import * as z from 'zod/mini'
import { count, type PageServices, readRows, time } from './call-function.ts'
import { PAGE_SIZE, type Page } from './read-backups.ts'

const JournalEntry = z.object({
  id: z.string(),
  type: z.string(),
  status: z.enum(['running', 'complete', 'failed', 'cancelled', 'skipped']),
  createdAt: time,
  actorLabel: z.string(),
  totalTables: z.nullable(count),
  totalRecords: z.nullable(count),
  totalSize: z.nullable(count),
  durationMs: z.nullable(count),
  errorCode: z.nullable(z.string()),
  errorMessage: z.nullable(z.string()),
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
