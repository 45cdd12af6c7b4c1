import * as z from 'zod'
import type { Database } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { UPKEEP_TASKS } from './upkeep.ts'

/** What became of one tenant, as answers have it. */
interface TenantOutcome {
  organization_id: string
  organization_name: string | null
  status: 'pending' | 'running' | 'complete' | 'failed' | 'skipped'
  backup_id: string | null
  /** Its backup of the day was there before the run began. */
  was_complete: boolean
  attempts: number
  started_at: string | null
  settled_at: string | null
  total_records: number | null
  /** Stored bytes. */
  total_size: number | null
  /** Tables that nobody classified when the backup was taken. */
  gaps: string[]
  /** What its backup says that somebody should know. */
  warnings: { code: string; message: string }[]
  error?: { code: string; message: string }
}

export interface RunReport {
  run_id: string
  kind: 'daily_tenant' | 'manual'
  status: 'running' | 'complete' | 'failed'
  created_at: string
  finished_at: string | null
  actor: { kind: string; label: string }
  summary: RunSummary
  tenants: TenantOutcome[]
  /** The upkeep that followed it, which are runs of their own. */
  upkeep: { task: string; run_id: string; status: RunReport['status'] }[]
  /** Of a manual backup under way: table, phase, rows done, rows total. */
  progress: unknown
}

interface RunSummary {
  /** Active tenants: successful, failed and pending ones. */
  total_tenants: number
  successful_tenants: number
  failed_tenants: number
  pending_tenants: number
  skipped_tenants: number
  /** Of the successful ones: those that had their backup already. */
  already_complete: number
  total_records: number
  /** Stored bytes as people read them; MB are 10^6. */
  total_size: string
  total_bytes: number
}

/**
 * Reads a run of backups with the outcome of its tenants; of the given tenants only, when some are given, so that
 * an owner learns nothing of others. Throws `run_not_found`, also for a run that has none of them.
 */
export async function reportRun(
  database: Database,
  runId: string,
  tenantIds?: readonly string[],
): Promise<RunReport> {
  const { rows } = await database.query<{
    status: RunReport['status']
    kind: RunReport['kind']
    createdAt: string
    finishedAt: string | null
    actorKind: string
    actorLabel: string
    progress: unknown
    upkeep: RunReport['upkeep']
  }>(
    `select status, kind, ${isoTime('created_at')} as "createdAt", ${isoTime('finished_at')} as "finishedAt",
            actor_kind as "actorKind", actor_label as "actorLabel", progress,
            (select coalesce(jsonb_agg(jsonb_build_object('task', u.kind, 'run_id', u.id, 'status', u.status)
                                       order by array_position('{${UPKEEP_TASKS.join()}}', u.kind)), '[]')
             from tenantkeep.runs u
             where u.request ->> 'daily_run_id' = r.id::text and u.created_at >= r.created_at) as upkeep
     from tenantkeep.runs r
     where id = $1 and kind in ('daily_tenant', 'manual')
       and ($2::text[] is null or tenant_ids && $2::text[])`,
    [runId, tenantIds ?? null],
  )
  const run = rows[0]
  if (run === undefined) {
    throw runNotFound()
  }
  const tenants = await readOutcomes(database, runId, tenantIds)
  const isWhole = tenantIds === undefined
  return {
    run_id: runId,
    kind: run.kind,
    // Whether another tenant of the run failed is nobody's business.
    status: isWhole ? run.status : statusOf(tenants),
    created_at: run.createdAt,
    finished_at: run.finishedAt,
    actor: { kind: run.actorKind, label: run.actorLabel },
    summary: summarize(tenants),
    tenants,
    upkeep: isWhole ? run.upkeep : [],
    progress: isWhole || run.kind === 'manual' ? run.progress : {},
  }
}

export function runNotFound(): BackupError {
  return new BackupError('run_not_found', 'There is no such run, or it has none of your tenants.')
}

const Outcomes = z.array(
  z.object({
    organization_id: z.string(),
    organization_name: z.string().nullable(),
    status: z.enum(['pending', 'running', 'complete', 'failed', 'skipped']),
    backup_id: z.string().nullable(),
    was_complete: z.boolean(),
    attempts: z.number(),
    started_at: z.string().nullable(),
    settled_at: z.string().nullable(),
    total_records: z.coerce.number().nullable(),
    total_size: z.coerce.number().nullable(),
    gaps: z.array(z.string()).nullable(),
    warnings: z.array(z.object({ code: z.string(), message: z.string() })).nullable(),
    error_code: z.string().nullable(),
    error_message: z.string().nullable(),
  }),
)

async function readOutcomes(
  database: Database,
  runId: string,
  tenantIds: readonly string[] | undefined,
): Promise<TenantOutcome[]> {
  const { rows } = await database.query(
    `select t.tenant_id as organization_id, t.tenant_name as organization_name, t.status, t.backup_id,
            t.was_complete, t.attempts, ${isoTime('t.started_at')} as started_at,
            ${isoTime('t.settled_at')} as settled_at, b.total_records, b.total_size, b.gaps,
            b.warnings,
            t.error_code, t.error_message
     from tenantkeep.run_tenants t
     left join public.tenant_backups b on b.id = t.backup_id
     where t.run_id = $1 and ($2::text[] is null or t.tenant_id = any ($2::text[]))
     order by t.tenant_name, t.tenant_id`,
    [runId, tenantIds ?? null],
  )
  return Outcomes.parse(rows).map(({ error_code, error_message, gaps, warnings, ...outcome }) => ({
    ...outcome,
    gaps: gaps ?? [],
    warnings: warnings ?? [],
    ...(error_code === null
      ? {}
      : { error: { code: error_code, message: error_message ?? error_code } }),
  }))
}

/** A time as JSON has it, in UTC; our sessions answer in Postgres' own form. */
export function isoTime(column: string): string {
  return `to_char(${column} at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
}

function statusOf(tenants: readonly TenantOutcome[]): RunReport['status'] {
  if (tenants.some(({ status }) => status === 'pending' || status === 'running')) return 'running'
  return tenants.some(({ status }) => status === 'failed') ? 'failed' : 'complete'
}

function summarize(tenants: readonly TenantOutcome[]): RunSummary {
  const count = (...statuses: TenantOutcome['status'][]) =>
    tenants.filter(({ status }) => statuses.includes(status)).length
  const complete = tenants.filter(({ status }) => status === 'complete')
  const bytes = complete.reduce((sum, tenant) => sum + (tenant.total_size ?? 0), 0)
  return {
    total_tenants: tenants.length - count('skipped'),
    successful_tenants: complete.length,
    failed_tenants: count('failed'),
    pending_tenants: count('pending', 'running'),
    skipped_tenants: count('skipped'),
    already_complete: complete.filter((tenant) => tenant.was_complete).length,
    total_records: complete.reduce((sum, tenant) => sum + (tenant.total_records ?? 0), 0),
    total_size: formatMegabytes(bytes),
    total_bytes: bytes,
  }
}

/** «12.34 MB», a megabyte being 10^6 bytes. */
export function formatMegabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(2)} MB`
}
