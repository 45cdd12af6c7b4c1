import { randomUUID } from 'node:crypto'
import type { Connection } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import {
  interruptible,
  interruptibleConnection,
  throwIfInterrupted,
  windDown,
} from '../interruptible.ts'
import { logPhase } from '../log.ts'
import { recordRestoreCrashes } from '../restore/restore-record.ts'
import type { Actor, Services } from '../services.ts'
import { lockTenant } from '../tenants/lock-tenant.ts'
import { type Backup, findToday, recordCrashes, recordSkipped } from './backup-record.ts'
import { explainFailure } from './explain-failure.ts'
import { nothingProtected, openSnapshot, tenantNotFound } from './read-snapshot.ts'
import {
  completeBackup,
  copySnapshot,
  isNewSchema,
  proveCopied,
  startBackup,
  tryRecordFailure,
} from './write-backup.ts'

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
  const { tenantId, runId, backupType } = input
  return logPhase(
    services.log,
    'backup',
    { tenantId, runId, backupType, backupId: attempt.id },
    () => attemptBackup(services, input, attempt),
    ({ status, backup }) => ({
      ...{ status, backupId: backup.id, tables: backup.totalTables },
      ...{ rows: backup.totalRecords, bytes: backup.uploadedSize },
    }),
  )
}

async function attemptBackup(
  services: Services,
  input: TakeBackupInput,
  attempt: Attempt,
): Promise<TakenBackup> {
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
    const complete = await recordFailureOf(services, attempt, failure)
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
      const complete = await recordFailureOf(services, attempt, error)
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
  const { catalog } = services.tenants
  const runId = input.runId ?? null
  const tell = (phase: BackupProgress['phase']) =>
    input.onProgress?.({ phase, table: null, rowsDone: 0, rowsTotal: 0 })

  tell('locking')
  await interruptible(recordCrashes(catalog, tenantId), signal)
  await interruptible(recordRestoreCrashes(catalog, tenantId), signal)
  if (backupType === 'daily_tenant') {
    const today = await interruptible(findToday(catalog, tenantId), signal)
    if (today !== undefined) {
      await interruptible(recordSkipped(catalog, { backup: today, actor, runId }), signal)
      return { status: 'skipped', backup: today }
    }
  }

  attempt.isRecorded = true
  const identity = {
    id: attempt.id,
    tenantId,
    tenantName: input.tenantName,
    backupType,
    actor,
    runId,
    name: input.name ?? null,
    note: input.note ?? null,
    tags: input.tags ?? [],
  }
  const started = await startBackup(services, identity, signal)
  const snapshot = await openSnapshot(connection, {
    tenantId,
    lockTimeoutMs: started.settings.lock_timeout_ms,
  })
  const copied = await copySnapshot(connection, started, {
    snapshot,
    onProgress: (progress) => input.onProgress?.({ phase: 'copying', ...progress }),
    onRead: () => connection.query('commit'),
    signal,
  })
  if (isNewSchema(started, snapshot)) {
    tell('proving')
    await proveCopied(connection, started, copied, signal)
  }
  tell('finishing')
  const backup = await completeBackup(started, copied, signal)
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

async function recordFailureOf(
  services: Services,
  attempt: Attempt,
  failure: BackupError,
): Promise<TakenBackup | undefined> {
  if (!attempt.isRecorded) return undefined
  const backup = await tryRecordFailure(services, attempt.id, failure)
  return backup === undefined ? undefined : { status: 'complete', backup }
}
