import type { Backup } from '../backup/backup-record.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor } from '../services.ts'
import { isLockHeld } from '../tenants/lock-tenant.ts'

/** One thing that would keep a backup from being restored as it is; never a value of a row. */
export interface DrillFinding {
  code:
    | 'object_missing'
    | 'backup_damaged'
    | 'schema_changed'
    | 'encoding_not_exact'
    | 'row_refused'
    | 'row_outside_tenant'
    | 'key_twice'
    | 'key_taken'
    | 'missing_reference'
    | 'missing_user'
    | 'confinement_broken'
    | 'row_too_large'
  /** Null where it is about no single table. */
  table: string | null
  /** The constraint, column, index or change of the schema. */
  constraint: string | null
  /** How many rows are concerned; null where it is known of one at least. */
  count: number | null
  message: string
}

/** What a part of a drill took, in milliseconds. */
export interface DrillPhases {
  /** Reading and proving the objects, and loading their rows. */
  staging: number
  /** Encoding the loaded rows again, and comparing them with the summary. */
  comparing: number
  /** Writing them into tables with the host's types, checks and keys. */
  checking: number
  /** Keys that others hold, and references. */
  references: number
}

/** A row of `tenantkeep.drills`. */
export interface Drill {
  id: string
  organizationId: string
  backupId: string
  runId: string | null
  status: 'running' | 'passed' | 'failed' | 'cancelled'
  startedAt: string
  finishedAt: string | null
  findings: DrillFinding[]
  warnings: { table: string | null; message: string }[]
  rows: number | null
  /** Stored bytes. */
  bytes: number | null
  durationMs: number | null
  phases: Partial<DrillPhases>
  errorCode: string | null
  errorMessage: string | null
}

const DRILL_JSON = `jsonb_build_object(
  'id', d.id, 'organizationId', d.organization_id, 'backupId', d.backup_id, 'runId', d.run_id,
  'status', d.status, 'startedAt', d.started_at, 'finishedAt', d.finished_at, 'findings', d.findings,
  'warnings', d.warnings, 'rows', d.rows, 'bytes', d.bytes, 'durationMs', d.duration_ms,
  'phases', d.phases, 'errorCode', d.error_code, 'errorMessage', d.error_message)`

/** Held by the session of a drill, on the database that it works on, until it ends. */
const drillKey = (backupId: string) => `hashtextextended('tenantkeep.drill:' || ${backupId}, 0)`

/** Throws `tenant_busy` where another session tries the same backup at this moment. */
export async function lockDrill(session: Queryable, backupId: string): Promise<void> {
  const { rows } = await session.query<{ locked: boolean }>(
    `select pg_try_advisory_lock(${drillKey('$1')}) as locked`,
    [backupId],
  )
  if (rows[0]?.locked === true) return
  throw new BackupError(
    'tenant_busy',
    `Backup ${backupId} is being tried by another drill at this moment. Wait until that is done.`,
    { details: { backup_id: backupId } },
  )
}

/** Drills that still say `running` although nobody holds their lock are of processes that died. */
export async function recordDrillCrashes(catalog: Queryable): Promise<void> {
  await catalog.query(
    `with crashed as (
       update tenantkeep.drills d
       set status = 'cancelled', finished_at = clock_timestamp(), error_code = 'backup_cancelled',
           error_message = 'The process that tried this backup ended before it was done.'
       where d.status = 'running' and not ${isLockHeld(drillKey('d.backup_id::text'))}
       returning d.id
     )
     update public.backup_logs l set
       status = 'cancelled', completed_at = clock_timestamp(), error_code = 'backup_cancelled',
       error_message = 'The process that tried this backup ended before it was done.'
     from crashed c where l.id = c.id and l.status = 'running'`,
  )
}

export interface DrillStart {
  /** Made by the caller; the journal row has it too. */
  id: string
  backup: Pick<Backup, 'id' | 'organizationId' | 'organizationName'>
  actor: Actor
  runId: string | null
  /** Whether the tenant came up by its turn, which counts towards the drills of the day. */
  isInRotation: boolean
}

/**
 * Records that a drill begins, as long as the backup is there: whoever prunes locks its row and looks for
 * drills under way. False where it is there no more.
 */
export async function recordDrillStart(catalog: Queryable, given: DrillStart): Promise<boolean> {
  const { id, backup, actor, runId, isInRotation } = given
  const { rowCount } = await catalog.query(
    `with chosen as materialized (
       select b.id from public.tenant_backups b where b.id = $2 and b.status = 'complete' for share
     ), started as (
       insert into tenantkeep.drills (id, organization_id, backup_id, run_id, in_rotation)
       select $1, $3, c.id, $4, $5 from chosen c
       returning *
     )
     insert into public.backup_logs
       (id, backup_type, created_at, organization_id, organization_name, backup_id, run_id,
        actor_kind, actor_id, actor_label)
     select s.id, 'drill', s.started_at, s.organization_id, $6, s.backup_id, s.run_id, $7, $8, $9
     from started s`,
    [
      id,
      backup.id,
      backup.organizationId,
      runId,
      isInRotation,
      backup.organizationName,
      actor.kind,
      actor.id,
      actor.label,
    ],
  )
  return rowCount === 1
}

export type DrillOutcome =
  | {
      findings: readonly DrillFinding[]
      warnings: Drill['warnings']
      rows: number
      bytes: number
      tables: number
      durationMs: number
      phases: DrillPhases
    }
  /** Why it could not be tried to its end. */
  | { error: BackupError }

/**
 * Records how a drill ended, in its row and in the journal; where nothing was found, the backup is proven.
 * Returns null where somebody declared it dead meanwhile.
 */
export async function recordDrillEnd(
  catalog: Queryable,
  id: string,
  outcome: DrillOutcome,
): Promise<Drill | null> {
  const isDone = 'findings' in outcome
  const first = isDone ? outcome.findings[0] : undefined
  const status = isDone ? (first === undefined ? 'passed' : 'failed') : 'cancelled'
  const { rows } = await catalog.query<{ drill: Drill }>(
    `with ended as (
       update tenantkeep.drills d set
         status = $2, finished_at = clock_timestamp(), findings = $3, warnings = $4, rows = $5, bytes = $6,
         duration_ms = $7, phases = $8, error_code = $9, error_message = $10
       where d.id = $1 and d.status = 'running'
       returning d.*
     ), journalled as (
       update public.backup_logs l set
         status = $11, completed_at = e.finished_at, total_tables = $12, total_records = e.rows,
         total_size = e.bytes, duration_ms = e.duration_ms, error_code = $13, error_message = $14,
         details = jsonb_build_object('findings', e.findings, 'warnings', e.warnings, 'phases', e.phases)
       from ended e where l.id = e.id and l.status = 'running'
     ), proven as (
       update public.tenant_backups b set proven_at = e.finished_at
       from ended e where b.id = e.backup_id and e.status = 'passed'
     )
     select ${DRILL_JSON} as drill from ended d`,
    [
      id,
      status,
      JSON.stringify(isDone ? outcome.findings : []),
      JSON.stringify(isDone ? outcome.warnings : []),
      isDone ? outcome.rows : null,
      isDone ? outcome.bytes : null,
      isDone ? Math.round(outcome.durationMs) : null,
      JSON.stringify(isDone ? outcome.phases : {}),
      isDone ? null : outcome.error.code,
      isDone ? null : outcome.error.message,
      status === 'passed' ? 'complete' : status,
      isDone ? outcome.tables : null,
      isDone ? (first?.code ?? null) : outcome.error.code,
      isDone
        ? first === undefined
          ? null
          : outcome.findings.map(({ message }) => message).join(' ')
        : outcome.error.message,
    ],
  )
  return rows[0]?.drill ?? null
}
