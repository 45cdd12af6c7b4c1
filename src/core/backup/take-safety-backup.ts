import { randomUUID } from 'node:crypto'
import type { Connection } from '../database/database.ts'
import type { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import type { Actor, Services } from '../services.ts'
import type { Store } from '../store/store.ts'
import { type Backup, recordCancelled } from './backup-record.ts'
import type { TableProgress } from './cut-table.ts'
import { explainFailure } from './explain-failure.ts'
import type { Snapshot } from './read-snapshot.ts'
import { removeFailedObjects } from './remove-failed-objects.ts'
import type { SummaryTable } from './summary.ts'
import {
  completeBackup,
  copySnapshot,
  isNewSchema,
  proveCopied,
  startBackup,
  tryRecordFailure,
} from './write-backup.ts'

/** How long a restore that gives up may spend on tidying up; the next backup does what is left. */
const CANCEL_MS = 20_000

/** A backup whose objects are stored and read back, and whose summary is not written yet. */
export interface SafetyBackup {
  readonly id: string
  /** Of all its objects, and of the plan of the restore that it was taken for. */
  readonly stamp: string
  /** The place that all of them are in. */
  readonly store: Store
  /** What its summary will say, in the order of ownership. */
  readonly tables: readonly SummaryTable[]
  /**
   * Proves, after the look's transaction is over, that tables whose shape changed since the last backup can
   * be read back exactly. Throws `encoding_not_exact`.
   */
  proveEncoding(connection: Connection): Promise<void>
  /** The commit point. Throws what a backup can fail with; the row says so by then. */
  complete(): Promise<Backup>
  /**
   * Gives it up, complete or not, with the reason in catalog and journal, and removes its objects. Never
   * throws, and does nothing to the safety backup of a restore that turns out to be committed.
   */
  cancel(reason: BackupError): Promise<void>
}

/**
 * Copies the tenant as an open snapshot has it, so that whatever a restore then overwrites is in this
 * backup by construction. The transaction stays open; the caller holds the tenant's lock until `complete`
 * or `cancel`. A tenant without a single row is backed up too. A failure is recorded here.
 */
export async function copySafetyBackup(
  services: Services,
  connection: Connection,
  snapshot: Snapshot,
  given: {
    tenantId: string
    tenantName: string | null
    actor: Actor
    runId: string | null
    note: string | null
    /** The tenant leaves: its last backup is one like those that people ask for, not one that only an undo reads. */
    isFarewell?: boolean
    onProgress?: (progress: TableProgress) => void
    signal?: AbortSignal | undefined
  },
): Promise<SafetyBackup> {
  const { signal } = given
  const id = randomUUID()
  const identity = {
    id,
    tenantId: given.tenantId,
    tenantName: given.tenantName,
    backupType: given.isFarewell === true ? ('manual' as const) : ('pre_restore' as const),
    actor: given.actor,
    runId: given.runId,
    name: given.isFarewell === true ? 'Last backup' : null,
    note: given.note,
    tags: [],
  }
  try {
    const attempt = await startBackup(services, identity, signal)
    const copied = await copySnapshot(connection, attempt, {
      snapshot,
      onProgress: given.onProgress ?? (() => {}),
      signal,
    })
    return {
      id,
      stamp: attempt.stamp,
      store: attempt.services.store,
      tables: copied.tables,
      proveEncoding: async (session) => {
        if (!isNewSchema(attempt, snapshot)) return
        await proveCopied(session, attempt, copied, signal)
      },
      complete: async () => {
        try {
          return await completeBackup(attempt, copied, signal)
        } catch (error) {
          return await failedUnlessComplete(services, id, error)
        }
      },
      cancel: (reason) => cancel(services, { id, tenantId: given.tenantId }, reason),
    }
  } catch (error) {
    const failure = explainFailure(error)
    await tryRecordFailure(services, id, failure)
    throw failure
  }
}

/** Only the answer of the last statement may have been lost. */
async function failedUnlessComplete(
  services: Services,
  id: string,
  error: unknown,
): Promise<Backup> {
  const failure = explainFailure(error)
  const complete = await tryRecordFailure(services, id, failure)
  if (complete === undefined) throw failure
  return complete
}

async function cancel(
  services: Services,
  { id, tenantId }: { id: string; tenantId: string },
  reason: BackupError,
): Promise<void> {
  const timeout = AbortSignal.timeout(CANCEL_MS)
  try {
    await interruptible(recordCancelled(services.tenants.catalog, id, reason), timeout)
    await interruptible(removeFailedObjects(services, tenantId), timeout)
  } catch (error) {
    services.log.warn({ err: error, backupId: id }, 'A safety backup could not be given up cleanly')
  }
}
