import * as z from 'zod/mini'
import {
  callFunction,
  check,
  count,
  type PageServices,
  readRows,
  time,
} from '../calls/call-function.ts'

/** What the functions accept. */
export const MAX_NAME = 120
export const MAX_NOTE = 2_000
export const MAX_TAG = 50
export const MAX_TAGS = 20

export interface BackupRequest {
  name: string
  note: string
  tags: string[]
}

/**
 * Starts a backup, or finds the one that the same key started before. Answers when it is done, or
 * sooner where it takes long. Throws `RequestFailed`.
 */
export async function startBackup(
  services: PageServices,
  input: BackupRequest & { tenantId: string; key: string },
): Promise<{ runId: string }> {
  const answer = await callFunction(services, 'daily-tenant-backup', {
    organization_id: input.tenantId,
    idempotency_key: input.key,
    ...(input.name === '' ? {} : { name: input.name }),
    ...(input.note === '' ? {} : { note: input.note }),
    ...(input.tags.length === 0 ? {} : { tags: input.tags }),
  })
  return check(
    z.pipe(
      z.object({ run_id: z.string() }),
      z.transform(({ run_id: runId }) => ({ runId })),
    ),
    answer,
  )
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

const RunProgress = z.object({
  phase: z.enum(['locking', 'copying', 'proving', 'finishing']),
  table: z.nullable(z.string()),
  rowsDone: count,
  rowsTotal: count,
  /** Every table that was begun, in the order of the work. */
  tables: z.catch(z.array(z.object({ name: z.string(), rowsDone: count, rowsTotal: count })), []),
})
export type RunProgress = z.infer<typeof RunProgress>

const Run = z.pipe(
  z.object({
    run: z.object({
      status: z.enum(['running', 'complete', 'failed']),
      created_at: time,
      tenants: z.array(
        z.object({
          organization_id: z.string(),
          status: z.enum(['pending', 'running', 'complete', 'failed', 'skipped']),
          backup_id: z.nullable(z.string()),
          total_records: z.nullable(count),
          error: z.optional(z.object({ code: z.string(), message: z.string() })),
        }),
      ),
      // Empty before the first step, and in runs over many tenants.
      progress: z.catch(z.nullable(RunProgress), null),
    }),
  }),
  z.transform(({ run }) => ({
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
  })),
)
export type Run = z.infer<typeof Run>

/** How a run stands. */
export async function readRun(
  services: PageServices,
  runId: string,
  signal: AbortSignal,
): Promise<Run> {
  return check(Run, await callFunction(services, 'get-run', { run_id: runId }, signal))
}
