import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor } from '../services.ts'
import { backupStamp } from '../store/object-path.ts'
import type { BackupChanges } from './describe-changes.ts'
import type { RowFall, TableRows } from './describe-falls.ts'

/**
 * The catalog row of a backup and its line in the journal, always written together in one statement.
 * The change from `running` to `complete` is the commit point of a backup: it happens once, and only
 * to a row that nobody has declared dead meanwhile.
 */
export interface Backup {
  id: string
  organizationId: string
  organizationName: string | null
  backupType: 'daily_tenant' | 'manual' | 'pre_restore'
  status: 'running' | 'complete' | 'failed' | 'cancelled' | 'pruned'
  createdAt: string
  takenAt: string | null
  /** The day it counts for, UTC: `2026-11-21`. */
  backupDate: string
  completedAt: string | null
  /** When every byte was last read back and found whole. */
  verifiedAt: string | null
  /** When somebody last tried to read it back, whatever came of it. */
  checkedAt: string | null
  /** Since when it is known not to be whole: such a backup is not offered for a restore. */
  damagedAt: string | null
  damage: BackupDamage[] | null
  /** When a drill last loaded it and found everything in order. */
  provenAt: string | null
  runId: string | null
  /** Where it was made. */
  storeUrl: string
  /** The other places that it is whole in. */
  copiedTo: string[]
  objectStamp: string
  summaryPath: string | null
  summarySha256: string | null
  formatVersion: number | null
  schemaFingerprint: string | null
  totalTables: number | null
  totalRecords: number | null
  /** Bytes before compression. */
  rawSize: number | null
  /** Stored bytes of all its objects, shared ones included. */
  totalSize: number | null
  /** Stored bytes that this backup added. */
  uploadedSize: number | null
  gaps: string[]
  warnings: BackupWarning[]
  changes: BackupChanges | null
  name: string | null
  note: string | null
  tags: string[]
  pinnedAt: string | null
  pinnedBy: string | null
  /** An operator's pin is a hold: the owner of the tenant can't lift it. */
  pinnedByKind: Actor['kind'] | null
  pinReason: string | null
  prunedAt: string | null
  pruneReason: string | null
  actorKind: Actor['kind']
  actorId: string | null
  actorLabel: string
  errorCode: string | null
  errorMessage: string | null
}

/** One thing that is wrong with a stored backup; never a value of a row. */
export interface BackupDamage {
  code: string
  message: string
  table: string | null
  path: string | null
}

export interface BackupWarning {
  code: string
  message: string
}

/** One `Backup` as JSON, from `public.tenant_backups b`: numbers stay numbers, times keep microseconds. */
export const BACKUP_JSON = `jsonb_build_object(
  'id', b.id, 'organizationId', b.organization_id, 'organizationName', b.organization_name,
  'backupType', b.backup_type, 'status', b.status, 'createdAt', b.created_at,
  'takenAt', b.taken_at, 'backupDate', b.backup_date, 'completedAt', b.completed_at,
  'verifiedAt', b.verified_at, 'runId', b.run_id, 'storeUrl', b.store_url,
  'objectStamp', b.object_stamp, 'summaryPath', b.summary_path,
  'summarySha256', b.summary_sha256, 'formatVersion', b.format_version,
  'schemaFingerprint', b.schema_fingerprint, 'totalTables', b.total_tables) || jsonb_build_object(
  'totalRecords', b.total_records, 'rawSize', b.raw_size, 'totalSize', b.total_size,
  'uploadedSize', b.uploaded_size, 'gaps', b.gaps, 'warnings', b.warnings, 'changes', b.changes,
  'name', b.name, 'note', b.note, 'tags', b.tags, 'pinnedAt', b.pinned_at,
  'pinnedBy', b.pinned_by, 'pinReason', b.pin_reason, 'actorKind', b.actor_kind,
  'actorId', b.actor_id, 'actorLabel', b.actor_label, 'errorCode', b.error_code,
  'errorMessage', b.error_message, 'checkedAt', b.checked_at, 'damagedAt', b.damaged_at,
  'damage', b.damage, 'provenAt', b.proven_at, 'prunedAt', b.pruned_at,
  'pruneReason', b.prune_reason, 'pinnedByKind', b.pinned_by_kind, 'copiedTo', (
    select coalesce(jsonb_agg(c.store_url order by c.store_url), '[]') from tenantkeep.backup_copies c
    where c.backup_id = b.id and c.status = 'complete'))`

/**
 * SQL: whether a backup is whole in a place, as far as the catalog knows: made there and not found damaged
 * since, or copied there. `backup` is the alias of its row, `url` an expression.
 */
function isIn(backup: string, url: string): string {
  return `coalesce((
    select p.status = 'complete' from tenantkeep.backup_copies p
    where p.backup_id = ${backup}.id and p.store_url = ${url}), ${backup}.store_url = ${url})`
}

/** SQL: whether a backup is whole in one of several places at least; `urls` is an expression of type text[]. */
export function isWithin(backup: string, urls: string): string {
  return `exists (select from unnest(${urls}::text[]) as place (url) where ${isIn(backup, 'place.url')})`
}

export interface StartedBackup {
  id: string
  stamp: string
}

/** Records that a backup begins: catalog and journal. `id` is made by the caller, who must know it even when the answer is lost. */
export async function recordStart(
  catalog: Queryable,
  given: {
    id: string
    tenantId: string
    tenantName: string | null
    backupType: Backup['backupType']
    actor: Actor
    runId: string | null
    storeUrl: string
    name: string | null
    note: string | null
    tags: readonly string[]
  },
): Promise<StartedBackup> {
  const { rows } = await catalog.query<{ now: string }>(
    `select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as now`,
  )
  const now = new Date(rows[0]?.now ?? Number.NaN)
  const stamp = backupStamp(now, given.id)
  await catalog.query(
    `with started as (
       insert into public.tenant_backups
         (id, organization_id, organization_name, backup_type, created_at, backup_date, run_id, store_url,
          object_stamp, name, note, tags, actor_kind, actor_id, actor_label)
       values ($1, $2, $3, $4, $5::timestamptz, ($5::timestamptz at time zone 'utc')::date, $6, $7,
               $8, $9, $10, $11, $12, $13, $14)
       returning *
     )
     insert into public.backup_logs
       (backup_type, organization_id, organization_name, backup_id, run_id, actor_kind, actor_id, actor_label)
     select backup_type, organization_id, organization_name, id, run_id, actor_kind, actor_id, actor_label
     from started`,
    [
      given.id,
      given.tenantId,
      given.tenantName,
      given.backupType,
      now.toISOString(),
      given.runId,
      given.storeUrl,
      stamp,
      given.name,
      given.note,
      given.tags,
      given.actor.kind,
      given.actor.id,
      given.actor.label,
    ],
  )
  return { id: given.id, stamp }
}

export interface CompletedFacts {
  takenAt: string
  summaryPath: string
  summarySha256: string
  formatVersion: number
  schemaFingerprint: string
  totalTables: number
  totalRecords: number
  rawSize: number
  totalSize: number
  uploadedSize: number
  gaps: readonly string[]
  warnings: readonly BackupWarning[]
  changes: BackupChanges | null
  tableRows: TableRows
  /** Null of a safety backup, which nothing is compared with. */
  rowFalls: readonly RowFall[] | null
}

/**
 * The commit point. Throws `backup_cancelled` when the row is not `running` any more: another run
 * found our lock free and declared this attempt dead.
 */
export async function recordComplete(
  catalog: Queryable,
  id: string,
  facts: CompletedFacts,
): Promise<Backup> {
  const { rows } = await catalog.query<{ backup: Backup }>(
    `with completed as (
       update public.tenant_backups set
         status = 'complete', completed_at = clock_timestamp(), verified_at = clock_timestamp(),
         taken_at = $2, summary_path = $3, summary_sha256 = $4, format_version = $5,
         schema_fingerprint = $6, total_tables = $7, total_records = $8, raw_size = $9,
         total_size = $10, uploaded_size = $11, gaps = $12, warnings = $13, changes = $14,
         table_rows = $15, row_falls = $16
       where id = $1 and status = 'running'
       returning *
     ), journalled as (
       update public.backup_logs l set
         status = 'complete', completed_at = c.completed_at, total_tables = c.total_tables,
         total_records = c.total_records, total_size = c.total_size,
         duration_ms = extract(epoch from c.completed_at - l.created_at) * 1000,
         details = jsonb_build_object('gaps', c.gaps, 'warnings', c.warnings)
       from completed c
       where l.backup_id = c.id and l.status = 'running'
     )
     select ${BACKUP_JSON} as backup from completed b`,
    [
      id,
      facts.takenAt,
      facts.summaryPath,
      facts.summarySha256,
      facts.formatVersion,
      facts.schemaFingerprint,
      facts.totalTables,
      facts.totalRecords,
      facts.rawSize,
      facts.totalSize,
      facts.uploadedSize,
      facts.gaps,
      JSON.stringify(facts.warnings),
      facts.changes === null ? null : JSON.stringify(facts.changes),
      JSON.stringify(facts.tableRows),
      facts.rowFalls === null ? null : JSON.stringify(facts.rowFalls),
    ],
  )
  const backup = rows[0]?.backup
  if (backup === undefined) {
    throw new BackupError(
      'backup_cancelled',
      'Another run declared this attempt dead before it was done, most likely because its database session was cut.',
    )
  }
  return backup
}

/**
 * Records that an attempt failed, in catalog and journal, unless it is complete or recorded already.
 * Returns the row if it turned out to be complete: then only the answer had been lost.
 */
export async function recordFailure(
  catalog: Queryable,
  id: string,
  error: BackupError,
): Promise<Backup | undefined> {
  const status = error.code === 'backup_cancelled' ? 'cancelled' : 'failed'
  await catalog.query(
    `with failed as (
       update public.tenant_backups
       set status = $2, completed_at = clock_timestamp(), error_code = $3, error_message = $4
       where id = $1 and status = 'running'
       returning *
     )
     update public.backup_logs l set
       status = f.status, completed_at = f.completed_at, error_code = f.error_code,
       error_message = f.error_message,
       duration_ms = extract(epoch from f.completed_at - l.created_at) * 1000
     from failed f
     where l.backup_id = f.id and l.status = 'running'`,
    [id, status, error.code, error.message],
  )
  const backup = await findBackup(catalog, id)
  return backup?.status === 'complete' ? backup : undefined
}

/**
 * Records that a safety backup was not needed, in catalog and journal, complete or not. The restore that it
 * was taken for may have been committed without its answer arriving: then it stays, and what is returned is
 * `false`. Waits for a restore that is being committed.
 */
export async function recordCancelled(
  catalog: Queryable,
  id: string,
  reason: BackupError,
): Promise<boolean> {
  const { rowCount } = await catalog.query(
    `with restores as (
       select l.status from public.backup_logs l where l.safety_backup_id = $1 for update
     ), cancelled as (
       update public.tenant_backups
       set status = 'cancelled', completed_at = clock_timestamp(), error_code = $2, error_message = $3
       where id = $1 and backup_type in ('pre_restore', 'manual') and status in ('running', 'complete')
         and not exists (select from restores r where r.status = 'complete')
       returning *
     ), journalled as (
       update public.backup_logs l set
         status = c.status, completed_at = c.completed_at, error_code = c.error_code,
         error_message = c.error_message
       from cancelled c
       where l.backup_id = c.id and l.backup_type = c.backup_type
     )
     select from cancelled`,
    [id, reason.code, reason.message],
  )
  return rowCount === 1
}

/** Rows that still say `running` although the tenant's lock was free are of processes that died. */
export async function recordCrashes(catalog: Queryable, tenantId: string): Promise<void> {
  await catalog.query(
    `with crashed as (
       update public.tenant_backups
       set status = 'failed', completed_at = clock_timestamp(), error_code = 'backup_cancelled',
           error_message = 'The process that took this backup ended before it was done.'
       where organization_id = $1 and status = 'running'
       returning *
     )
     update public.backup_logs l set
       status = c.status, completed_at = c.completed_at, error_code = c.error_code,
       error_message = c.error_message
     from crashed c
     where l.backup_id = c.id and l.status = 'running'`,
    [tenantId],
  )
}

/** Today's complete daily backup of a tenant (UTC, the database's clock), if there is one. */
export async function findToday(catalog: Queryable, tenantId: string): Promise<Backup | undefined> {
  const { rows } = await catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b
     where b.organization_id = $1 and b.backup_type = 'daily_tenant' and b.status = 'complete'
       and b.backup_date = (clock_timestamp() at time zone 'utc')::date`,
    [tenantId],
  )
  return rows[0]?.backup
}

/** The newest complete backup of a tenant in this store that is not damaged; safety backups don't count as the last. */
export async function findLast(
  catalog: Queryable,
  tenantId: string,
  storeUrl: string,
): Promise<Backup | undefined> {
  const { rows } = await catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b
     where b.organization_id = $1 and b.status = 'complete' and b.backup_type <> 'pre_restore'
       and ${isIn('b', '$2')} and b.damaged_at is null
     order by b.taken_at desc, b.created_at desc limit 1`,
    [tenantId, storeUrl],
  )
  return rows[0]?.backup
}

/** The newest complete backup of a tenant, where that is known to be damaged. */
export async function findLastDamaged(
  catalog: Queryable,
  tenantId: string,
  storeUrl: string,
): Promise<Backup | undefined> {
  const { rows } = await catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from (
       select * from public.tenant_backups c
       where c.organization_id = $1 and c.status = 'complete' and c.backup_type <> 'pre_restore'
         and ${isIn('c', '$2')}
       order by c.taken_at desc, c.created_at desc limit 1
     ) b where b.damaged_at is not null`,
    [tenantId, storeUrl],
  )
  return rows[0]?.backup
}

/** The last complete backup of any tenant, in any store. */
export async function findLastOfAll(catalog: Queryable): Promise<Backup | undefined> {
  const { rows } = await catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b
     where b.status = 'complete' and b.backup_type <> 'pre_restore'
     order by b.taken_at desc, b.created_at desc limit 1`,
  )
  return rows[0]?.backup
}

/** A backup by its id, whatever its status. */
export async function findBackup(catalog: Queryable, id: string): Promise<Backup | undefined> {
  const { rows } = await catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b where b.id = $1`,
    [id],
  )
  return rows[0]?.backup
}

/** A journal row for a backup that was not taken, because today's is there. */
export async function recordSkipped(
  catalog: Queryable,
  given: { backup: Backup; actor: Actor; runId: string | null },
): Promise<void> {
  const { backup, actor, runId } = given
  await catalog.query(
    `insert into public.backup_logs
       (backup_type, status, completed_at, organization_id, organization_name, backup_id, run_id,
        actor_kind, actor_id, actor_label, error_code, error_message)
     values ('daily_tenant', 'skipped', now(), $1, $2, $3, $4, $5, $6, $7, 'already_complete',
             'Today''s backup of this tenant is complete.')`,
    [
      backup.organizationId,
      backup.organizationName,
      backup.id,
      runId,
      actor.kind,
      actor.id,
      actor.label,
    ],
  )
}
