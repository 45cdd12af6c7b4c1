import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor } from '../services.ts'
import type { BackupSource } from './backup-source.ts'
import type { TableResult } from './restore-result.ts'

/**
 * The journal row of a restore or an undo. It is committed as `running` before the first write, and turns
 * `complete` inside the very transaction that writes: it is true if and only if the restore is.
 */
export interface Restore {
  id: string
  type: 'restore' | 'undo' | 'offboard' | 'seed_defaults'
  status: 'running' | 'complete' | 'failed' | 'cancelled'
  createdAt: string
  completedAt: string | null
  organizationId: string
  organizationName: string | null
  /** What it restored from; null for an archive or plain files. An undo names the safety backup that it read. */
  backupId: string | null
  /** The tenant as it was just before. */
  safetyBackupId: string | null
  planPath: string | null
  /** Of the stored bytes of the plan. */
  planSha256: string | null
  planHash: string | null
  /** The restore that an undo took back. */
  undoOf: string | null
  runId: string | null
  note: string | null
  actorKind: Actor['kind']
  actorId: string | null
  actorLabel: string
  /** Tables that it wrote to. */
  totalTables: number | null
  /** Rows that it wrote: inserted, updated, deleted. */
  totalRecords: number | null
  durationMs: number | null
  errorCode: string | null
  errorMessage: string | null
  details: RestoreDetails
}

interface RestoreDetails {
  /** Where it read from, and the state of what time that was. */
  source: Pick<BackupSource, 'kind' | 'takenAt'>
  /** As asked. */
  options: Readonly<Record<string, unknown>>
  /** By label, of a complete restore: tables that it considered, also those that it left alone. */
  tables?: TableCounts[]
}

export type TableCounts = Pick<
  TableResult,
  'name' | 'inserted' | 'updated' | 'deleted' | 'unchanged' | 'kept' | 'skipped'
>

/**
 * What writes a tenant by a plan, after a backup that brings everything back; of a seeding only where it
 * overwrites something. One at a time.
 */
const WRITING = `('restore', 'undo', 'offboard', 'seed_defaults')`

const RESTORE_CRASHED = 'restore_crashed'

const RESTORE_JSON = `jsonb_build_object(
  'id', l.id, 'type', l.backup_type, 'status', l.status, 'createdAt', l.created_at,
  'completedAt', l.completed_at, 'organizationId', l.organization_id,
  'organizationName', l.organization_name, 'backupId', l.backup_id,
  'safetyBackupId', l.safety_backup_id, 'planPath', l.plan_path, 'planSha256', l.plan_sha256,
  'planHash', l.plan_hash, 'undoOf', l.undo_of) || jsonb_build_object(
  'runId', l.run_id, 'note', l.note, 'actorKind', l.actor_kind, 'actorId', l.actor_id,
  'actorLabel', l.actor_label, 'totalTables', l.total_tables, 'totalRecords', l.total_records,
  'durationMs', l.duration_ms, 'errorCode', l.error_code, 'errorMessage', l.error_message,
  'details', l.details)`

export interface RestoreStart {
  /** Made by the caller, who must know it even when the answer is lost. */
  id: string
  tenantId: string
  tenantName: string | null
  backupId: string | null
  /** Complete by now. */
  safetyBackupId: string
  /** Stored and read back by now. `sha256` is of the stored bytes; `hash` what the plan hashes to. */
  plan: { path: string; sha256: string; hash: string }
  source: RestoreDetails['source']
  options: RestoreDetails['options']
  /** Of an undo: the restore that it takes back. */
  undoOf: string | null
  /** The tenant leaves. */
  isFarewell?: boolean
  runId: string | null
  note: string | null
  actor: Actor
}

/**
 * Records, on a connection of its own, that a restore is about to write. A restore that had to look again
 * calls it again with the same id: the row then names the new safety backup and plan. Throws `tenant_busy`
 * where another restore of the tenant is running, and `backup_cancelled` where this one was declared dead.
 */
export async function recordRestoreStart(catalog: Queryable, given: RestoreStart): Promise<void> {
  const { rowCount } = await catalog.query(
    `insert into public.backup_logs as l
       (id, backup_type, created_at, organization_id, organization_name, backup_id, safety_backup_id,
        plan_path, plan_sha256, plan_hash, undo_of, run_id, note, actor_kind, actor_id, actor_label, details)
     select $1, case when $16 then 'offboard' when $10::uuid is null then 'restore' else 'undo' end, clock_timestamp(), $2, $3, $4, $5,
        $6, $7, $8, $10, $11, $12, $13, $14, $15, $9
     where not exists (
       select from public.backup_logs o
       where o.organization_id = $2 and o.backup_type in ${WRITING} and o.status = 'running'
         and o.id <> $1
     )
     on conflict (id) do update set
       safety_backup_id = excluded.safety_backup_id, plan_path = excluded.plan_path,
       plan_sha256 = excluded.plan_sha256, plan_hash = excluded.plan_hash
     where l.status = 'running' and l.organization_id = excluded.organization_id`,
    [
      given.id,
      given.tenantId,
      given.tenantName,
      given.backupId,
      given.safetyBackupId,
      given.plan.path,
      given.plan.sha256,
      given.plan.hash,
      JSON.stringify({ source: given.source, options: given.options }),
      given.undoOf,
      given.runId,
      given.note,
      given.actor.kind,
      given.actor.id,
      given.actor.label,
      given.isFarewell ?? false,
    ],
  )
  if (rowCount === 1) return
  if ((await findRestore(catalog, given.id)) !== undefined) throw declaredDead()
  throw new BackupError(
    'tenant_busy',
    `Another restore of tenant ${given.tenantId} is running. Try again when that is done.`,
    { details: { tenant_id: given.tenantId } },
  )
}

/**
 * The commit point of a restore, to be called as the worker, as the last statement of the transaction that
 * writes. Throws `backup_cancelled`, so that nothing is written, where the row is not running any more or
 * its safety backup is not complete.
 */
export async function recordRestoreComplete(
  connection: Queryable,
  id: string,
  tables: readonly TableCounts[],
): Promise<void> {
  const writtenOf = ({ inserted, updated, deleted }: TableCounts) => inserted + updated + deleted
  const counts = tables.map(({ name, inserted, updated, deleted, unchanged, kept, skipped }) => ({
    name,
    inserted,
    updated,
    deleted,
    unchanged,
    kept,
    skipped,
  }))
  const { rowCount } = await connection.query(
    `update public.backup_logs l set
       status = 'complete', completed_at = clock_timestamp(), total_tables = $2, total_records = $3,
       duration_ms = extract(epoch from clock_timestamp() - l.created_at) * 1000,
       details = l.details || jsonb_build_object('tables', $4::jsonb)
     where l.id = $1 and l.status = 'running' and l.backup_type in ${WRITING}
       and exists (
         select from public.tenant_backups b where b.id = l.safety_backup_id and b.status = 'complete'
       )`,
    [
      id,
      tables.filter((table) => writtenOf(table) > 0).length,
      tables.reduce((total, table) => total + writtenOf(table), 0),
      JSON.stringify(counts),
    ],
  )
  if (rowCount !== 1) throw declaredDead()
}

/**
 * Records that a restore failed, unless it is complete or recorded already. Waits for its commit, should
 * that be under way; returns the restore if it turns out to be complete: then only the answer had been lost.
 */
export async function recordRestoreFailure(
  catalog: Queryable,
  id: string,
  error: BackupError,
): Promise<Restore | undefined> {
  await catalog.query(
    `update public.backup_logs l set
       status = $2, completed_at = clock_timestamp(), error_code = $3, error_message = $4,
       duration_ms = extract(epoch from clock_timestamp() - l.created_at) * 1000
     where l.id = $1 and l.status = 'running' and l.backup_type in ${WRITING}`,
    [id, error.code === 'backup_cancelled' ? 'cancelled' : 'failed', error.code, error.message],
  )
  const restore = await findRestore(catalog, id)
  return restore?.status === 'complete' ? restore : undefined
}

/**
 * Rows that still say `running` although the tenant's lock was free are of processes that died before they
 * committed, so nothing of them is written. Whoever calls holds the lock. Their safety backups stay.
 */
export async function recordRestoreCrashes(catalog: Queryable, tenantId: string): Promise<void> {
  await catalog.query(
    `update public.backup_logs set
       status = 'failed', completed_at = clock_timestamp(), error_code = '${RESTORE_CRASHED}',
       error_message = 'The process that ran this restore ended before it was done. Nothing of it was written.'
     where organization_id = $1 and status = 'running' and backup_type in ${WRITING}`,
    [tenantId],
  )
}

/** A restore or undo by its id, whatever its status. */
export async function findRestore(catalog: Queryable, id: string): Promise<Restore | undefined> {
  const { rows } = await catalog.query<{ restore: Restore }>(
    `select ${RESTORE_JSON} as restore from public.backup_logs l
     where l.id = $1 and l.backup_type in ${WRITING}`,
    [id],
  )
  return rows[0]?.restore
}

export interface ListRestoresInput {
  /** One tenant's; all tenants' where it is missing. */
  tenantId?: string
  statuses?: readonly Restore['status'][]
  /** What `nextCursor` of the page before said. */
  cursor?: string
  /** 50 unless told, at most 500. */
  limit?: number
}

export interface RestorePage {
  /** Newest first. */
  restores: Restore[]
  /** Null on the last page. */
  nextCursor: string | null
}

const MOST = 500

/** Lists restores and undos, newest first, a page at a time; new ones don't shift the pages that follow. */
export async function listRestores(
  catalog: Queryable,
  { tenantId, statuses, cursor, limit = 50 }: ListRestoresInput,
): Promise<RestorePage> {
  const size = Math.min(Math.max(1, Math.trunc(limit)), MOST)
  const { rows } = await catalog.query<{ restore: Restore }>(
    `select ${RESTORE_JSON} as restore from public.backup_logs l
     where l.backup_type in ('restore', 'undo')
       and ($1::text is null or l.organization_id = $1)
       and ($2::text[] is null or l.status = any ($2))
       and ($3::uuid is null or (l.created_at, l.id) < (
         select c.created_at, c.id from public.backup_logs c where c.id = $3))
     order by l.created_at desc, l.id desc
     limit ${size + 1}`,
    [tenantId ?? null, statuses ?? null, cursor ?? null],
  )
  const restores = rows.slice(0, size).map((row) => row.restore)
  return { restores, nextCursor: rows.length > size ? (restores.at(-1)?.id ?? null) : null }
}

function declaredDead(): BackupError {
  return new BackupError(
    'backup_cancelled',
    'Another run declared this restore dead before it was done, most likely because its database session was cut. Nothing was written.',
  )
}
