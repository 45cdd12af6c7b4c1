import { randomUUID } from 'node:crypto'
import { recordCrashes } from '../backup/backup-record.ts'
import { explainFailureOf } from '../backup/explain-failure.ts'
import { confineSession } from '../backup/read-snapshot.ts'
import type { SafetyBackup } from '../backup/take-safety-backup.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { hasSqlstate, sqlstateOf } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import {
  interruptible,
  interruptibleConnection,
  throwIfInterrupted,
  windDown,
} from '../interruptible.ts'
import { logPhase } from '../log.ts'
import type { Actor, Services } from '../services.ts'
import { restorePlanPath } from '../store/object-path.ts'
import { digestFingerprints, readTableFingerprints } from '../tables/read-fingerprint.ts'
import { lockTenant } from '../tenants/lock-tenant.ts'
import { applyPlan, GUARD_STATE, GuardMiss, type RefusedRows } from './apply-plan.ts'
import { asWorker } from './as-worker.ts'
import type { BackupSource } from './backup-source.ts'
import { describeShape, readPlanLines } from './describe-plan.ts'
import type { StagedTable } from './diff-table.ts'
import { administers, type Look, lookAtTenant } from './look-at-tenant.ts'
import { storePlan } from './plan-document.ts'
import { proveRestore } from './prove-restore.ts'
import type { Constraints } from './read-constraints.ts'
import { readKeys } from './resolve-choices.ts'
import type { RestoreOptions } from './restore-options.ts'
import {
  recordRestoreComplete,
  recordRestoreCrashes,
  recordRestoreFailure,
  recordRestoreStart,
} from './restore-record.ts'
import type { Blocker, RestoreProgress, RestoreResult, TableResult } from './restore-result.ts'

export interface RestoreInput {
  tenantId: string
  source: BackupSource
  /** Does everything and rolls it back. */
  isDryRun: boolean
  options: RestoreOptions
  /** Of the plan that was approved; a real run that would do anything else throws `plan_stale`. */
  planHash?: string | null
  actor: Actor
  runId?: string | null
  note?: string | null
  /** How many rows of each kind to show per table; none by default. */
  sampleRows?: number
  onProgress?: (progress: RestoreProgress) => void
  signal?: AbortSignal
  /** How long to wait for another backup or restore of the tenant; by default not at all. */
  waitMs?: number
  /** The tenant leaves: the source holds nothing, and nothing of it may be left. */
  farewell?: Farewell
}

interface Farewell {
  /** Called with the last backup, complete, before the first write. What it throws ends the attempt. */
  keep: (backupId: string) => Promise<void>
}

/** What makes a restore an undo: it takes back another one, and what that one put aside. */
export interface Undo {
  restoreId: string
  /** Asked again under the tenant's lock: another undo may have been first. Throws `undo_impossible`. */
  requireUndoable(): Promise<unknown>
  /** For the hash. */
  facts: object
  /** Only the rows that the other restore wrote; undefined for the whole safety backup. */
  rows: UndoneRows | undefined
}

export interface UndoneRows {
  /** Tables that it wrote to. */
  labels: ReadonlySet<string>
  loadScope(session: Connection, indexOf: (label: string) => number | undefined): Promise<void>
  /** Rows that were changed again since: blockers, or left out, or taken back all the same. */
  settleConflicts(session: Queryable, tables: ReadonlyMap<string, StagedTable>): Promise<Blocker[]>
}

/** How often a tenant is looked at before it is said that somebody always writes in between. */
export const LOOKS = 3
/** Writers in flight are waited for once, at the tenant's own row. */
export const ROOT_LOCK_MS = 5_000
const RECORD_FAILURE_MS = 70_000

/** What the look would have found: if the proof finds it, somebody wrote in between, and a new look settles it. */
const MADE_BY_OTHERS: ReadonlySet<Blocker['code']> = new Set([
  'missing_user',
  'missing_reference',
  'key_taken',
  'referenced',
])
/** The same, or a row that is refused however often one looks: then the last look says so. */
const PERHAPS_MADE_BY_OTHERS: ReadonlySet<Blocker['code']> = new Set([
  ...MADE_BY_OTHERS,
  'row_outside_tenant',
])

interface Attempt {
  readonly restoreId: string
  isRecorded: boolean
  safety: SafetyBackup | undefined
  /** Set just before the commit, whose answer may be lost. */
  result: RestoreResult | undefined
}

/**
 * Brings a tenant back to a backup, or as much of it as the options say: looks at one frozen picture (safety
 * backup, staging, diff), then acts on the present, in one transaction that proves itself before it commits.
 * A dry run does the same and rolls back; it returns what stands in the way, where a real run throws
 * `restore_blocked` or `schema_changed`. Throws also `tenant_busy`, `plan_stale`, `tenant_changing`,
 * `table_busy`, `row_outside_tenant`, `backup_damaged` and what a backup can fail with; whatever it throws,
 * nothing was written.
 */
export async function restoreTenant(
  services: Services,
  input: RestoreInput,
): Promise<RestoreResult> {
  return runRestore(services, input, undefined)
}

/** The same for an undo. */
export async function runRestore(
  services: Services,
  input: RestoreInput,
  undo: Undo | undefined,
): Promise<RestoreResult> {
  const attempt: Attempt = {
    restoreId: randomUUID(),
    isRecorded: false,
    safety: undefined,
    result: undefined,
  }
  const { tenantId, runId, isDryRun, source } = input
  return logPhase(
    services.log,
    undo === undefined ? 'restore' : 'undo',
    { tenantId, runId, dryRun: isDryRun, backupId: source.backupId, restoreId: attempt.restoreId },
    () => attemptRestore(services, input, undo, attempt),
    ({ tables }) => ({
      tables: tables.length,
      rows: tables.reduce(
        (all, { inserted, updated, deleted }) => all + inserted + updated + deleted,
        0,
      ),
    }),
  )
}

async function attemptRestore(
  services: Services,
  input: RestoreInput,
  undo: Undo | undefined,
  attempt: Attempt,
): Promise<RestoreResult> {
  const { signal, tenantId, source } = input
  try {
    throwIfInterrupted(signal)
    if (source.summary.organization_id !== tenantId) {
      throw new BackupError('backup_damaged', 'This backup is of another tenant.')
    }
    const database = await interruptible(services.tenants.databaseOf(tenantId), signal)
    const work = database.withConnection(async (connection) => {
      const session = interruptibleConnection(connection, signal)
      await lockTenant(session, tenantId, { waitMs: input.waitMs ?? 0, signal })
      const { catalog } = services.tenants
      await interruptible(recordCrashes(catalog, tenantId), signal)
      await interruptible(recordRestoreCrashes(catalog, tenantId), signal)
      if (undo !== undefined) await interruptible(undo.requireUndoable(), signal)
      return lookAndAct(services, session, { ...input, undo }, attempt)
    })
    return await windDown(work, signal)
  } catch (error) {
    const failure = explainFailureOf('restore', 'restored', error)
    const done = await recordFailed(services, attempt, failure)
    if (done !== undefined) return done
    throw failure
  }
}

async function lookAndAct(
  services: Services,
  connection: Connection,
  input: RestoreInput & { undo: Undo | undefined },
  attempt: Attempt,
): Promise<RestoreResult> {
  const tenantName = await readTenantName(connection, input)
  for (let looks = 1; ; looks += 1) {
    try {
      const look = await lookAtTenant(services, connection, {
        ...input,
        tenantName,
        onSafetyBackup: (safety) => {
          attempt.safety = safety
        },
      })
      if (!input.isDryRun) await prepare(services, connection, { input, look, attempt, tenantName })
      const isLast = looks === LOOKS
      return await act(connection, { input, look, attempt, looks, isLast })
    } catch (error) {
      if (!isWorthAnotherLook(error)) throw error
      attempt.result = undefined
      await connection.query('rollback')
      await connection.query('discard temp')
      const changing = new BackupError(
        'tenant_changing',
        `Somebody wrote to this tenant each of the ${LOOKS} times that it was looked at. Nothing was restored. Try again at a quieter moment.`,
        { cause: error },
      )
      await attempt.safety?.cancel(changing)
      attempt.safety = undefined
      if (looks === LOOKS) throw changing
    }
  }
}

/** Everything that must be on record before the first write. */
async function prepare(
  services: Services,
  connection: Connection,
  given: {
    input: RestoreInput & { undo: Undo | undefined }
    look: Look
    attempt: Attempt
    tenantName: string | null
  },
): Promise<void> {
  const { input, look, attempt, tenantName } = given
  const { tenantId, source, signal, options } = input
  const { catalog } = services.tenants
  const { safety } = look
  if (safety === undefined) throw new BackupError('internal', 'There is no safety backup.')
  if (typeof input.planHash === 'string' && input.planHash !== look.planHash) throw planStale()
  if (look.blockers.length > 0) throw restoreBlocked(look.blockers)

  if (input.farewell !== undefined) requireNothingKept(look)
  await safety.proveEncoding(connection)
  await safety.complete()
  await input.farewell?.keep(safety.id)
  const tables = [...look.tables.values()]
  const path = restorePlanPath(tenantId, safety.stamp)
  await connection.query('begin read only; set local role tenantkeep_operator')
  const { signingKeys } = services
  const plan = await storePlan(
    { store: safety.store, signingKeys },
    {
      path,
      header: {
        restore_id: attempt.restoreId,
        organization_id: tenantId,
        backup_id: source.backupId,
        safety_backup_id: safety.id,
        plan_hash: look.planHash,
        options,
        tables: tables.map((table) => ({
          ...describeShape(table),
          ...countsOf(look, table.live.label),
        })),
      },
      lines: readPlanLines(connection, signal),
      signal,
    },
  )
  await connection.query('commit')
  attempt.isRecorded = true
  await interruptible(
    recordRestoreStart(catalog, {
      id: attempt.restoreId,
      tenantId,
      tenantName,
      backupId: source.backupId,
      safetyBackupId: safety.id,
      plan: { path: plan.path, sha256: plan.sha256, hash: look.planHash },
      source: { kind: source.kind, takenAt: source.takenAt },
      options,
      undoOf: input.undo?.restoreId ?? null,
      isFarewell: input.farewell !== undefined,
      runId: input.runId ?? null,
      note: input.note ?? null,
      actor: input.actor,
    }),
    signal,
  )
}

/** The second transaction: writes, proofs, and the journal row, all or nothing. */
async function act(
  connection: Connection,
  given: {
    input: RestoreInput & { undo: Undo | undefined }
    look: Look
    attempt: Attempt
    looks: number
    isLast: boolean
  },
): Promise<RestoreResult> {
  const { input, look, attempt, looks, isLast } = given
  const { tenantId, isDryRun, undo } = input
  const tables = [...look.tables.values()]
  const tell = (phase: RestoreProgress['phase'], table: string | null, done = 0, total = 0) =>
    input.onProgress?.({ phase, table, rowsDone: done, rowsTotal: total })

  const lockTimeoutMs = await readLockTimeout(connection)
  await connection.query(
    `begin isolation level read committed read write; set local lock_timeout = ${ROOT_LOCK_MS}`,
  )
  await connection.query('select tenantkeep.silence_triggers()')
  await confineSession(connection, tenantId, { isolation: 'read committed', isReadOnly: false })
  await holdShape(connection, look)
  await lockRoot(connection, look)
  // From here on it is we who give way in a tangle.
  await connection.query(`set local lock_timeout = ${lockTimeoutMs}`)

  tell('writing', null)
  const refused = await applyPlan(connection, {
    tables,
    edges: look.constraints.edges,
    tenantId,
    restoreId: attempt.restoreId,
    isLast,
    onTable: (label, done, total) => tell('writing', label, done, total),
  })
  if (undo !== undefined) {
    await asWorker(connection, () =>
      connection.query('select * from tenantkeep.return_rows($1::uuid, $2)', [
        undo.restoreId,
        tenantId,
      ]),
    )
  }
  tell('proving', null)
  const proof = await proveRestore(connection, {
    tables: look.tables,
    constraints: look.constraints,
    isDryRun,
    lockTimeoutMs,
  })
  const blockers = mergeBlockers(look.blockers, [
    ...(await describeRefused(connection, refused, look.constraints)),
    ...proof.blockers,
    ...(await findLockOut(connection, input, look)),
  ])
  const results = look.results.map((result) => ({
    ...result,
    warnings: [
      ...result.warnings,
      ...proof.warnings.filter(({ table }) => table === result.name).map(({ message }) => message),
    ],
  }))
  const result: RestoreResult = {
    isDryRun,
    restoreId: isDryRun ? null : attempt.restoreId,
    backupId: input.source.backupId,
    safetyBackupId: look.safety?.id ?? null,
    planHash: look.planHash,
    tables: results,
    blockers,
    warnings: look.warnings,
    accessChanges: look.accessChanges,
    schemaChanges: look.schemaChanges,
    looks,
  }
  if (isDryRun) {
    await connection.query('rollback')
    return result
  }
  const made = isLast ? MADE_BY_OTHERS : PERHAPS_MADE_BY_OTHERS
  if (blockers.some(({ code }) => made.has(code))) {
    throw new GuardMiss('Something is in the way that was not there when the tenant was looked at.')
  }
  if (blockers.length > 0) throw restoreBlocked(blockers)
  tell('finishing', null)
  await connection.query('reset role')
  if (input.farewell !== undefined) await requireNothingLeft(connection, tenantId)
  for (const { live, staged } of tables) {
    await connection.query('select * from tenantkeep.raise_sequences($1, $2, $3::regclass)', [
      live.schema,
      live.name,
      staged,
    ])
  }
  await recordRestoreComplete(connection, attempt.restoreId, results)
  attempt.result = result
  await connection.query('commit')
  return result
}

/**
 * Keeps the tables that are written as they are, and makes sure that they, and what refers to them, are still
 * as they were when the tenant was looked at: nobody proves a constraint that the look did not know.
 */
export async function holdShape(
  session: Queryable,
  { tables, snapshot }: Pick<Look, 'tables' | 'snapshot'>,
): Promise<void> {
  const relations = [...tables.values()]
    .filter(({ live }) => live.isWritable)
    .map(({ live }) => live.from.replace(/^from /, ''))
  if (relations.length === 0) return
  await session.query(`lock table ${relations.join(', ')} in row exclusive mode`)
  const now = await asWorker(session, () => readTableFingerprints(session))
  if (digestFingerprints(now) !== snapshot.fingerprint) {
    throw new GuardMiss('The schema has changed since the tenant was looked at.')
  }
}

/** Holds the tenant's own row: whoever inserts what refers to it waits, and nobody else does. */
export async function lockRoot(
  session: Queryable,
  { snapshot }: Pick<Look, 'snapshot'>,
): Promise<void> {
  const root = snapshot.tables.find((table) => table.class === 'root')
  if (root === undefined || !root.isWritable) return
  await session.query(`select ${root.from} where ${root.rowExpression} for update`)
}

/** Below the time after which Postgres looks for deadlocks, so that a tangle ends with our giving way. */
export async function readLockTimeout(session: Queryable): Promise<number> {
  const { rows } = await session.query<{ ms: string }>(
    `select round(extract(epoch from current_setting('deadlock_timeout')::interval) * 900)::text as ms`,
  )
  return Math.min(Math.max(Number(rows[0]?.ms ?? 900), 50), 5_000)
}

export function isWorthAnotherLook(error: unknown): boolean {
  // Our own errors are answers, whatever caused them.
  if (error instanceof BackupError) return false
  return (
    error instanceof GuardMiss ||
    sqlstateOf(error) === GUARD_STATE ||
    hasSqlstate(
      error,
      'serializationFailure',
      'deadlockDetected',
      'lockNotAvailable',
      'uniqueViolation',
      'exclusionViolation',
    )
  )
}

/** Rows that we may only read would stay behind as nobody's. */
function requireNothingKept({ results }: Look): void {
  const kept = results.filter((table) => table.kept + table.skipped > 0)
  if (kept.length > 0) throw restoreBlocked(kept.map(describeKept))
}

/** A table whose rows we can't delete, as what stands in the way of a tenant's leaving. */
export function describeKept({ name, kept, skipped }: TableResult): Blocker {
  const count = kept + skipped
  return {
    code: 'read_only_table',
    table: name,
    constraint: null,
    count,
    keys: [],
    message: `${count} rows of ${name} can't be deleted by Tenantkeep, which may only read that table: nothing says for certain whose they are. Delete them yourself first.`,
  }
}

/** Somebody may have written to a table that nothing ties to the tenant's own row. */
async function requireNothingLeft(session: Queryable, tenantId: string): Promise<void> {
  const { rows } = await session.query(
    'select from tenantkeep.census($1) as c where c.row_count > 0 limit 1',
    [tenantId],
  )
  if (rows.length > 0) throw new GuardMiss('Rows of the tenant came while it was being removed.')
}

/** Who asked for the restore must be able to look at what it did, and to take it back. */
async function findLockOut(
  session: Queryable,
  input: RestoreInput,
  look: Look,
): Promise<Blocker[]> {
  if (!look.isActorAllowed || (await asWorker(session, () => administers(session, input))))
    return []
  return [
    {
      code: 'actor_locked_out',
      table: look.constraints.membership?.label ?? '',
      constraint: null,
      count: 1,
      keys: [],
      message:
        'You would lose your own access by this restore, because your membership is newer than the backup or was another then. Keep newer rows of that table, or ask an operator.',
    },
  ]
}

async function describeRefused(
  session: Queryable,
  refused: readonly RefusedRows[],
  { sideEffects }: Constraints,
): Promise<Blocker[]> {
  const blockers: Blocker[] = []
  for (const { table, constraint, state, isWithin, rows } of refused) {
    const { label } = table.live
    const isForbidden = state === '42501' && isWithin
    const isOutside = state === '42501' && !isWithin
    const acting = sideEffects.filter((effect) => effect.label === label).map(({ name }) => name)
    const by = constraint === null ? `the database (${state})` : constraint
    blockers.push({
      code: isOutside ? 'row_outside_tenant' : 'row_refused',
      table: label,
      constraint: constraint ?? (isForbidden ? (acting[0] ?? null) : null),
      count: rows.length,
      keys: await readKeys(session, table, rows.slice(0, 20)),
      message: isForbidden
        ? describeForbidden(label, rows.length, acting)
        : isOutside
          ? `${rows.length} rows of ${label} would not belong to this tenant: nothing that is there or restored owns them.`
          : `${rows.length} rows of ${label} are refused by ${by}: they no longer meet what the table asks of its rows.`,
    })
  }
  return blockers
}

/** What acts within our write does so with our rights, and these end at the tenant's registered tables. */
function describeForbidden(label: string, count: number, acting: readonly string[]): string {
  const by =
    acting.length === 0
      ? 'a function that the table calls when its rows are written'
      : `what always acts on that table (${acting.join(', ')})`
  return `${count} rows of ${label} are refused by ${by}: the role tenantkeep_operator, which writes them, may not do what it does. Disable it for the restore, or make its function security definer.`
}

/** What the look named already is not named twice. */
function mergeBlockers(found: readonly Blocker[], proven: readonly Blocker[]): Blocker[] {
  const known = new Set(found.map(({ code, constraint }) => `${code} ${constraint}`))
  return [...found, ...proven.filter(({ code, constraint }) => !known.has(`${code} ${constraint}`))]
}

function restoreBlocked(blockers: readonly Blocker[]): BackupError {
  const outside = blockers.find(({ code }) => code === 'row_outside_tenant')
  if (outside !== undefined) {
    return new BackupError('row_outside_tenant', `${outside.message} Nothing was written.`, {
      details: { blockers },
    })
  }
  return new BackupError(
    'restore_blocked',
    `Nothing was restored: ${blockers.map(({ message }) => message).join(' ')}`,
    { details: { blockers } },
  )
}

function planStale(): BackupError {
  return new BackupError(
    'plan_stale',
    'The tenant has changed since the plan was made, so this restore would do something else. Nothing was restored. Make a new dry run, look at it, and approve that.',
  )
}

function countsOf(
  look: Look,
  label: string,
): { inserted: number; updated: number; deleted: number } {
  const result = look.results.find(({ name }) => name === label)
  return {
    inserted: result?.inserted ?? 0,
    updated: result?.updated ?? 0,
    deleted: result?.deleted ?? 0,
  }
}

async function readTenantName(session: Queryable, { tenantId, source }: RestoreInput) {
  const { rows } = await session.query<{ name: string | null }>(
    'select t.tenant_name as name from tenantkeep.list_tenants() t where t.tenant_id = $1',
    [tenantId],
  )
  return rows[0] === undefined ? source.summary.organization_name : rows[0].name
}

/** Returns the result where the restore turns out to be committed and only the answer was lost. */
async function recordFailed(
  services: Services,
  attempt: Attempt,
  failure: BackupError,
): Promise<RestoreResult | undefined> {
  try {
    if (attempt.isRecorded) {
      const work = recordRestoreFailure(services.tenants.catalog, attempt.restoreId, failure)
      const complete = await interruptible(work, AbortSignal.timeout(RECORD_FAILURE_MS))
      if (complete !== undefined) return attempt.result
    }
    await attempt.safety?.cancel(failure)
  } catch (error) {
    services.log.error(
      { err: error, restoreId: attempt.restoreId },
      'A failed restore could not be recorded',
    )
  }
  return undefined
}
