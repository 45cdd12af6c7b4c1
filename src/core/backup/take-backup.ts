import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { interruptible, interruptibleConnection, throwIfInterrupted } from '../interruptible.ts'
import type { Actor, Services } from '../services.ts'
import { summaryPath } from '../store/object-path.ts'
import { describeShapeChanges, diffFingerprints } from '../tables/read-fingerprint.ts'
import { lockTenant } from '../tenants/lock-tenant.ts'
import {
  type Backup,
  type BackupWarning,
  findLast,
  findToday,
  recordComplete,
  recordCrashes,
  recordFailure,
  recordSkipped,
  recordStart,
} from './backup-record.ts'
import { readBackupSettings } from './backup-settings.ts'
import { checkObject } from './check-object.ts'
import { copyTables } from './copy-tables.ts'
import { describeChanges } from './describe-changes.ts'
import { describeRowsOfNoTenant } from './describe-rows-of-no-tenant.ts'
import { explainFailure } from './explain-failure.ts'
import { loadSummary } from './load-summary.ts'
import { proveEncoding } from './prove-encoding.ts'
import { nothingProtected, openSnapshot, type Snapshot, tenantNotFound } from './read-snapshot.ts'
import { removeFailedObjects } from './remove-failed-objects.ts'
import {
  FORMAT_VERSION,
  type Summary,
  type SummaryContent,
  type SummaryTable,
  sum,
  writeSummary,
} from './summary.ts'

export interface TakeBackupInput {
  tenantId: string
  backupType: 'daily_tenant' | 'manual'
  actor: Actor
  runId?: string | null
  name?: string | null
  note?: string | null
  tags?: readonly string[]
  /** How long to wait for another backup or restore of the tenant; by default not at all. */
  waitMs?: number
  onProgress?: (progress: BackupProgress) => void
  /** Ends the attempt: `backup_timed_out` for `AbortSignal.timeout`, else `backup_cancelled`. */
  signal?: AbortSignal
}

export interface BackupProgress {
  phase: 'locking' | 'copying' | 'proving' | 'finishing'
  /** The table being copied, with its rows; null in the other phases. */
  table: string | null
  rowsDone: number
  rowsTotal: number
}

export interface TakenBackup {
  /** `skipped`: the tenant's daily backup of today was complete already; it is the one returned. */
  status: 'complete' | 'skipped'
  backup: Backup
}

/** How long an interrupted attempt may take to let go of its session and lock. */
const WIND_DOWN_MS = 5_000
const RECORD_FAILURE_MS = 10_000

interface Attempt {
  readonly id: string
  isRecorded: boolean
  result: TakenBackup | undefined
}

/**
 * Takes a backup of one tenant: every table at one instant, every row proven by the census, every object
 * read back, the summary signed, and only then the catalog row `complete`. Whatever goes wrong, the
 * attempt is recorded as failed or cancelled with its reason, and nothing of it can be restored.
 * Throws `tenant_not_found`, `tenant_busy` (both leave no row), and every code a backup can fail with.
 */
export async function takeBackup(services: Services, input: TakeBackupInput): Promise<TakenBackup> {
  const attempt: Attempt = { id: randomUUID(), isRecorded: false, result: undefined }
  try {
    const { signal, tenantId } = input
    throwIfInterrupted(signal)
    const database = await interruptible(services.tenants.databaseOf(tenantId), signal)
    const work = database.withConnection((connection) =>
      takeWithLock(services, interruptibleConnection(connection, signal), input, attempt),
    )
    return await windDown(work, signal)
  } catch (error) {
    // The session may die after the catalog said complete: then the backup is none the worse.
    if (attempt.result !== undefined) return attempt.result
    const failure = explainFailure(error)
    const complete = await tryRecordFailure(services, attempt, failure)
    if (complete !== undefined) return complete
    throw failure
  }
}

async function takeWithLock(
  services: Services,
  connection: Connection,
  input: TakeBackupInput,
  attempt: Attempt,
): Promise<TakenBackup> {
  const { tenantId, signal } = input
  throwIfInterrupted(signal)
  const tenantName = await readTenantName(connection, tenantId)
  await lockTenant(connection, tenantId, { waitMs: input.waitMs ?? 0, signal })
  try {
    attempt.result = await takeLocked(services, connection, { ...input, tenantName }, attempt)
    return attempt.result
  } catch (error) {
    // While the lock is still ours; the next run would only know that we are gone.
    if (error instanceof BackupError) {
      const complete = await tryRecordFailure(services, attempt, error)
      if (complete !== undefined) {
        attempt.result = complete
        return complete
      }
    }
    throw error
  }
}

async function takeLocked(
  services: Services,
  connection: Connection,
  input: TakeBackupInput & { tenantName: string | null },
  attempt: Attempt,
): Promise<TakenBackup> {
  const { tenantId, actor, signal, backupType } = input
  const { store, signingKeys } = services
  const { catalog } = services.tenants
  const runId = input.runId ?? null
  const tell = (phase: BackupProgress['phase']) =>
    input.onProgress?.({ phase, table: null, rowsDone: 0, rowsTotal: 0 })

  tell('locking')
  await interruptible(recordCrashes(catalog, tenantId), signal)
  if (backupType === 'daily_tenant') {
    const today = await interruptible(findToday(catalog, tenantId), signal)
    if (today !== undefined) {
      await interruptible(recordSkipped(catalog, { backup: today, actor, runId }), signal)
      return { status: 'skipped', backup: today }
    }
  }

  attempt.isRecorded = true
  const record = {
    id: attempt.id,
    tenantId,
    tenantName: input.tenantName,
    backupType,
    actor,
    runId,
    storeUrl: store.url,
    name: input.name ?? null,
    note: input.note ?? null,
    tags: input.tags ?? [],
  }
  const { stamp } = await interruptible(recordStart(catalog, record), signal)
  await interruptible(store.check(), signal)
  const settings = await interruptible(readBackupSettings(catalog), signal)
  await removeEarlierFailures(services, tenantId, signal)
  const warnings: BackupWarning[] = []
  const previous = await loadPrevious(services, tenantId, warnings, signal)

  const snapshot = await openSnapshot(connection, {
    tenantId,
    lockTimeoutMs: settings.lock_timeout_ms,
  })
  const { tables, uploadedBytes } = await copyTables(connection, snapshot, {
    store,
    tenantId,
    stamp,
    settings,
    previous,
    onProgress: (progress) => input.onProgress?.({ phase: 'copying', ...progress }),
    onRead: () => connection.query('commit'),
    signal,
  })

  if (previous?.schema_fingerprint !== snapshot.fingerprint) {
    tell('proving')
    if (previous !== undefined) warnings.push(describeSchemaChange(previous, snapshot))
    const live = snapshot.tables
    warnings.push(...(await proveEncoding(connection, { store, live, tables, previous, signal })))
  }

  tell('finishing')
  const content = describeBackup(record, snapshot, tables, warnings)
  const { body, sha256 } = writeSummary(content, signingKeys)
  const path = summaryPath(tenantId, stamp)
  await interruptible(store.put(path, body, 'application/json', signal), signal)
  await checkObject(store, { path, storedBytes: body.length, storedSha256: sha256 }, signal)
  const backup = await interruptible(
    recordComplete(catalog, attempt.id, {
      takenAt: snapshot.takenAt,
      summaryPath: path,
      summarySha256: sha256,
      formatVersion: FORMAT_VERSION,
      schemaFingerprint: snapshot.fingerprint,
      totalTables: content.totals.tables,
      totalRecords: content.totals.rows,
      rawSize: content.totals.raw_bytes,
      totalSize: content.totals.stored_bytes + body.length,
      uploadedSize: uploadedBytes + body.length,
      gaps: snapshot.gaps,
      warnings,
      changes: describeChanges(previous, content),
    }),
    signal,
  )
  return { status: 'complete', backup }
}

async function readTenantName(connection: Connection, tenantId: string): Promise<string | null> {
  const { rows } = await connection.query<{ name: string | null }>(
    'select t.tenant_name as name from tenantkeep.list_tenants() t where t.tenant_id = $1',
    [tenantId],
  )
  const [tenant] = rows
  if (tenant !== undefined) return tenant.name
  const { rows: root } = await connection.query(
    `select from tenantkeep.tenant_tables where class = 'root'`,
  )
  throw root.length === 0 ? nothingProtected() : tenantNotFound(tenantId)
}

/** What dead attempts left behind costs space and nothing else, so it never fails a backup. */
async function removeEarlierFailures(
  services: Services,
  tenantId: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await interruptible(removeFailedObjects(services, tenantId), signal)
  } catch (error) {
    throwIfInterrupted(signal)
    services.log.warn({ err: error, tenantId }, 'Objects of failed backups could not be removed')
  }
}

/** The last backup only saves work; where it is damaged, everything is stored anew, and said. */
async function loadPrevious(
  services: Services,
  tenantId: string,
  warnings: BackupWarning[],
  signal: AbortSignal | undefined,
): Promise<Summary | undefined> {
  const { store, tenants } = services
  const last = await interruptible(findLast(tenants.catalog, tenantId, store.url), signal)
  if (last === undefined) return undefined
  try {
    return await loadSummary(services, last, signal)
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    if (error.code !== 'object_missing' && error.code !== 'backup_damaged') throw error
    warnings.push({
      code: 'previous_backup_damaged',
      message: `The backup before this one (${last.id}) can't be read: ${error.message}`,
    })
    return undefined
  }
}

function describeBackup(
  record: {
    id: string
    tenantId: string
    tenantName: string | null
    backupType: Backup['backupType']
    name: string | null
    note: string | null
    tags: readonly string[]
  },
  snapshot: Snapshot,
  tables: SummaryTable[],
  warnings: BackupWarning[],
): SummaryContent {
  return {
    format_version: FORMAT_VERSION,
    backup_id: record.id,
    organization_id: record.tenantId,
    organization_name: record.tenantName,
    backup_type: record.backupType,
    taken_at: snapshot.takenAt,
    postgres_version: snapshot.postgresVersion,
    schema_fingerprint: snapshot.fingerprint,
    tables,
    totals: {
      tables: tables.length,
      rows: sum(tables, 'rows'),
      raw_bytes: sum(tables, 'raw_bytes'),
      stored_bytes: sum(tables, 'stored_bytes'),
    },
    rows_of_no_tenant: describeRowsOfNoTenant(snapshot.measurements),
    host_tables: snapshot.hostTables.map(({ schema, name, columns, keys, access }) => ({
      schema,
      name,
      columns,
      keys,
      access,
    })),
    gaps: snapshot.gaps,
    warnings,
    name: record.name,
    note: record.note,
    tags: [...record.tags],
  }
}

/** A changed table shows the same night, as a new one does. */
function describeSchemaChange(previous: Summary, snapshot: Snapshot): BackupWarning {
  const names = describeShapeChanges(
    diffFingerprints(previous.host_tables ?? snapshot.hostTables, snapshot.hostTables),
  )
  return {
    code: 'schema_changed_since_last',
    message: `The schema is not as it was at the last backup${names === '' ? '' : `: ${names}`}. Run init again: it says whether every row still leads to its tenant.`,
  }
}

/** Best effort: where the catalog can't be reached either, the next run records the crash. */
async function tryRecordFailure(
  services: Services,
  attempt: Attempt,
  failure: BackupError,
): Promise<TakenBackup | undefined> {
  if (!attempt.isRecorded) return undefined
  try {
    const backup = await interruptible(
      recordFailure(services.tenants.catalog, attempt.id, failure),
      AbortSignal.timeout(RECORD_FAILURE_MS),
    )
    return backup === undefined ? undefined : { status: 'complete', backup }
  } catch (error) {
    services.log.error(
      { err: error, backupId: attempt.id },
      'A failed backup could not be recorded',
    )
    return undefined
  }
}

/** An interrupted attempt is over when its session is closed, so that the tenant is free again. */
async function windDown<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  try {
    return await interruptible(work, signal)
  } catch (error) {
    const isOver = work.then(
      () => {},
      () => {},
    )
    await Promise.race([isOver, sleep(WIND_DOWN_MS, undefined, { ref: false })])
    throw error
  }
}
