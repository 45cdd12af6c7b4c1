import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { findRestore } from '../restore/restore-record.ts'
import type { Actor } from '../services.ts'

/**
 * The journal row of a seeding (`seed_defaults`). It turns `complete` inside the very transaction that writes
 * the copies. Where something of the tenant's is overwritten it names a safety backup and a plan as a restore's
 * does, and can be undone as one.
 */
export interface SeedStart {
  id: string
  tenantId: string
  tenantName: string | null
  runId: string | null
  note: string | null
  actor: Actor
  /** What was asked for, without rows' values. */
  details: Record<string, unknown>
}

/**
 * Records that a seeding begins, on a connection of its own. Throws `tenant_busy` where another seeding, restore
 * or undo of the tenant is on record as running.
 */
export async function recordSeedStart(catalog: Queryable, given: SeedStart): Promise<void> {
  const { rowCount } = await catalog.query(
    `insert into public.backup_logs
       (id, backup_type, created_at, organization_id, organization_name, run_id, note,
        actor_kind, actor_id, actor_label, details)
     values ($1, 'seed_defaults', clock_timestamp(), $2, $3, $4, $5, $6, $7, $8, $9)
     on conflict do nothing`,
    valuesOf(given),
  )
  if (rowCount === 1) return
  throw new BackupError(
    'tenant_busy',
    `Tenant ${given.tenantId} is being seeded or restored at this moment. Try again when that is done.`,
    { details: { tenant_id: given.tenantId } },
  )
}

/** Inside the transaction that writes, as the worker. Throws `backup_cancelled` where it was declared dead. */
export async function recordSeedComplete(
  connection: Queryable,
  id: string,
  given: {
    totalTables: number
    totalRecords: number
    planHash: string
    details: Record<string, unknown>
    undo: { safetyBackupId: string; planPath: string; planSha256: string } | null
  },
): Promise<void> {
  const { rowCount } = await connection.query(
    `update public.backup_logs l set
       status = 'complete', completed_at = clock_timestamp(), total_tables = $2, total_records = $3,
       plan_hash = $4, details = l.details || $5::jsonb, safety_backup_id = $6, plan_path = $7, plan_sha256 = $8,
       duration_ms = extract(epoch from clock_timestamp() - l.created_at) * 1000
     where l.id = $1 and l.status = 'running' and l.backup_type = 'seed_defaults'`,
    [
      id,
      given.totalTables,
      given.totalRecords,
      given.planHash,
      JSON.stringify(given.details),
      given.undo?.safetyBackupId ?? null,
      given.undo?.planPath ?? null,
      given.undo?.planSha256 ?? null,
    ],
  )
  if (rowCount === 1) return
  throw new BackupError(
    'backup_cancelled',
    'Another run declared this seeding dead before it was done, most likely because its database session was cut. Nothing was written.',
  )
}

/**
 * Records an attempt that failed or was refused, whether its start is on record or not. Returns whether it
 * turns out to be complete: then only the answer had been lost.
 */
export async function recordSeedFailure(
  catalog: Queryable,
  given: SeedStart,
  error: BackupError,
): Promise<boolean> {
  await catalog.query(
    `insert into public.backup_logs as l
       (id, backup_type, created_at, organization_id, organization_name, run_id, note,
        actor_kind, actor_id, actor_label, details, status, completed_at, error_code, error_message)
     values ($1, 'seed_defaults', clock_timestamp(), $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp(), $11, $12)
     on conflict (id) do update set
       status = excluded.status, completed_at = clock_timestamp(), error_code = excluded.error_code,
       error_message = excluded.error_message, details = l.details || excluded.details,
       duration_ms = extract(epoch from clock_timestamp() - l.created_at) * 1000
     where l.status = 'running'`,
    [
      ...valuesOf(given),
      error.code === 'backup_cancelled' ? 'cancelled' : 'failed',
      error.code,
      error.message,
    ],
  )
  return (await findRestore(catalog, given.id))?.status === 'complete'
}

function valuesOf(given: SeedStart): unknown[] {
  return [
    given.id,
    given.tenantId,
    given.tenantName,
    given.runId,
    given.note,
    given.actor.kind,
    given.actor.id,
    given.actor.label,
    JSON.stringify(given.details),
  ]
}
