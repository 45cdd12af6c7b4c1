import type { Connection } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { interruptible, throwIfInterrupted } from '../interruptible.ts'
import type { Actor, Services } from '../services.ts'
import { summaryPath } from '../store/object-path.ts'
import { choosePlace, placesOf } from '../store/read-with-copy.ts'
import type { Store } from '../store/store.ts'
import { describeShapeChanges, diffFingerprints } from '../tables/read-fingerprint.ts'
import {
  type Backup,
  type BackupWarning,
  findLast,
  findLastDamaged,
  recordComplete,
  recordFailure,
  recordStart,
} from './backup-record.ts'
import { type BackupSettings, readBackupSettings } from './backup-settings.ts'
import { checkObject } from './check-object.ts'
import { copyTables } from './copy-tables.ts'
import type { TableProgress } from './cut-table.ts'
import { describeChanges } from './describe-changes.ts'
import { describeFalls, type RowFall, readRowHistory, type TableRows } from './describe-falls.ts'
import { describeRowsOfNoTenant } from './describe-rows-of-no-tenant.ts'
import { loadSummary } from './load-summary.ts'
import { proveEncoding } from './prove-encoding.ts'
import type { Snapshot } from './read-snapshot.ts'
import { noteDamage } from './record-damage.ts'
import { removeFailedObjects } from './remove-failed-objects.ts'
import {
  FORMAT_VERSION,
  type Summary,
  type SummaryContent,
  type SummaryTable,
  totalsOf,
  writeSummary,
} from './summary.ts'

/**
 * What every backup goes through, whoever asked for it: the row in the catalog, the copy of a snapshot, the
 * summary, the row complete. Whoever calls holds the tenant's lock and records a failure.
 */

const RECORD_FAILURE_MS = 10_000

/** What a backup says about itself, made before anything is recorded. */
export interface BackupIdentity {
  id: string
  tenantId: string
  tenantName: string | null
  backupType: Backup['backupType']
  actor: Actor
  runId: string | null
  name: string | null
  note: string | null
  tags: readonly string[]
}

export interface StartedAttempt {
  identity: BackupIdentity
  /** With the one place that this backup is written to and read back from as their store. */
  services: Services
  /** Of all its objects. */
  stamp: string
  settings: BackupSettings
  /** The last complete backup, where it can be read, and its row. */
  previous: Summary | undefined
  last: Backup | undefined
  warnings: BackupWarning[]
}

export interface CopiedSnapshot {
  snapshot: Snapshot
  tables: SummaryTable[]
  uploadedBytes: number
}

/**
 * Records that a backup begins, removes what failed ones left, and reads the one before. Where the first place
 * can't be used and the second can, it goes there, with a warning; the next round of copies brings it back.
 */
export async function startBackup(
  given: Services,
  identity: BackupIdentity,
  signal: AbortSignal | undefined,
): Promise<StartedAttempt> {
  const { catalog } = given.tenants
  const { place, trouble } = await interruptible(choosePlace(given.store), signal)
  const record = { ...identity, storeUrl: place.url }
  const { stamp } = await interruptible(recordStart(catalog, record), signal)
  const [first] = placesOf(given.store)
  if (trouble !== undefined && place === first) throw trouble
  const warnings: BackupWarning[] = []
  if (trouble !== undefined) warnings.push(describeOutage(first, place, trouble))
  const services = { ...given, store: place }
  const settings = await interruptible(readBackupSettings(catalog), signal)
  await removeEarlierFailures(given, identity.tenantId, signal)
  const { previous, last } = await loadPrevious(services, identity.tenantId, warnings, signal)
  return { identity, services, stamp, settings, previous, last, warnings }
}

function describeOutage(first: Store, place: Store, trouble: BackupError): BackupWarning {
  return {
    code: 'first_store_unavailable',
    message: `It was made in ${place.url}, because ${first.url} could not be used: ${trouble.message}`,
  }
}

/** Copies an open snapshot; the transaction stays open unless `onRead`, awaited after the last row, ends it. */
export async function copySnapshot(
  connection: Connection,
  attempt: StartedAttempt,
  given: {
    snapshot: Snapshot
    onProgress: (progress: TableProgress) => void
    onRead?: () => Promise<unknown>
    signal: AbortSignal | undefined
  },
): Promise<CopiedSnapshot> {
  const { snapshot, ...rest } = given
  const { previous } = attempt
  if (previous !== undefined && isNewSchema(attempt, snapshot)) {
    attempt.warnings.push(describeSchemaChange(previous, snapshot))
  }
  const damaged: { error: BackupError; table: string }[] = []
  const copied = await copyTables(connection, snapshot, {
    onDamaged: (error, table) => damaged.push({ error, table }),
    store: attempt.services.store,
    tenantId: attempt.identity.tenantId,
    stamp: attempt.stamp,
    settings: attempt.settings,
    previous,
    ...rest,
  })
  const [first] = damaged
  if (first !== undefined && attempt.last !== undefined) {
    await noteDamage(attempt.services, attempt.last, first.error, first.table)
    attempt.warnings.push(describeDamage(attempt.last, first.error.message))
  }
  return { snapshot, ...copied }
}

function describeDamage({ id }: Backup, what: string): BackupWarning {
  return {
    code: 'previous_backup_damaged',
    message: `The backup before this one (${id}) is damaged: ${what}`,
  }
}

/**
 * Proves that the rows of tables whose shape changed since the last backup come back exactly. Runs
 * transactions of its own on the session, so the snapshot's must be over. Throws `encoding_not_exact`.
 */
export async function proveCopied(
  connection: Connection,
  attempt: StartedAttempt,
  copied: CopiedSnapshot,
  signal: AbortSignal | undefined,
): Promise<void> {
  const unproven = await proveEncoding(connection, {
    store: attempt.services.store,
    live: copied.snapshot.tables,
    tables: copied.tables,
    previous: attempt.previous,
    signal,
  })
  attempt.warnings.push(...unproven)
}

/** Whether anything about the schema differs from the last backup's, or there is none. */
export function isNewSchema({ previous }: StartedAttempt, snapshot: Snapshot): boolean {
  return previous?.schema_fingerprint !== snapshot.fingerprint
}

/** Writes the summary, reads it back, and turns the row complete: the commit point. */
export async function completeBackup(
  attempt: StartedAttempt,
  copied: CopiedSnapshot,
  signal: AbortSignal | undefined,
): Promise<Backup> {
  const { identity, services, stamp, previous, warnings } = attempt
  const { store, signingKeys, tenants } = services
  const { snapshot, tables, uploadedBytes } = copied
  const content = describeBackup(identity, snapshot, tables, warnings)
  const { body, sha256 } = writeSummary(content, signingKeys)
  const path = summaryPath(identity.tenantId, stamp)
  await interruptible(store.put(path, body, 'application/json', signal), signal)
  await checkObject(store, { path, storedBytes: body.length, storedSha256: sha256 }, signal)
  const tableRows = rowsByTable(content)
  const rowFalls = await findFalls(attempt, tableRows, signal)
  return interruptible(
    recordComplete(tenants.catalog, identity.id, {
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
      tableRows,
      rowFalls,
    }),
    signal,
  )
}

/** Rows by table, as the catalog keeps them. */
export function rowsByTable({ tables }: Pick<SummaryContent, 'tables'>): TableRows {
  return Object.fromEntries(tables.map(({ name, rows }) => [name, rows]))
}

/** A safety backup is compared with nothing: it shows the very damage that is about to be repaired. */
async function findFalls(
  { identity, previous, services: { tenants } }: StartedAttempt,
  tableRows: TableRows,
  signal: AbortSignal | undefined,
): Promise<RowFall[] | null> {
  if (identity.backupType === 'pre_restore') return null
  const history = await interruptible(readRowHistory(tenants.catalog, identity.tenantId), signal)
  // Backups of earlier versions have their rows in the summary alone.
  const known = history.length === 0 && previous !== undefined ? [rowsByTable(previous)] : history
  return describeFalls(known, tableRows)
}

/**
 * Best effort: where the catalog can't be reached either, the next run records the crash. Returns the
 * backup if it turns out to be complete: then only the answer had been lost.
 */
export async function tryRecordFailure(
  services: Services,
  id: string,
  failure: BackupError,
): Promise<Backup | undefined> {
  try {
    return await interruptible(
      recordFailure(services.tenants.catalog, id, failure),
      AbortSignal.timeout(RECORD_FAILURE_MS),
    )
  } catch (error) {
    services.log.error({ err: error, backupId: id }, 'A failed backup could not be recorded')
    return undefined
  }
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

/**
 * The last backup that is whole only saves work, and each of its parts is read again before it is named again;
 * where it is damaged, everything is stored anew. Damage that is known or found is said.
 */
async function loadPrevious(
  services: Services,
  tenantId: string,
  warnings: BackupWarning[],
  signal: AbortSignal | undefined,
): Promise<Pick<StartedAttempt, 'previous' | 'last'>> {
  const { store, tenants } = services
  const damaged = await interruptible(findLastDamaged(tenants.catalog, tenantId, store.url), signal)
  if (damaged !== undefined) {
    warnings.push(describeDamage(damaged, damaged.damage?.[0]?.message ?? 'no more is known.'))
  }
  const last = await interruptible(findLast(tenants.catalog, tenantId, store.url), signal)
  if (last === undefined) return { previous: undefined, last }
  try {
    return { previous: await loadSummary(services, last, signal), last }
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    if (error.code !== 'object_missing' && error.code !== 'backup_damaged') throw error
    await noteDamage(services, last, error, null)
    warnings.push({
      code: 'previous_backup_damaged',
      message: `The backup before this one (${last.id}) can't be read: ${error.message}`,
    })
    return { previous: undefined, last: undefined }
  }
}

function describeBackup(
  identity: BackupIdentity,
  snapshot: Snapshot,
  tables: SummaryTable[],
  warnings: BackupWarning[],
): SummaryContent {
  return {
    format_version: FORMAT_VERSION,
    backup_id: identity.id,
    organization_id: identity.tenantId,
    organization_name: identity.tenantName,
    backup_type: identity.backupType,
    taken_at: snapshot.takenAt,
    postgres_version: snapshot.postgresVersion,
    schema_fingerprint: snapshot.fingerprint,
    tables,
    totals: totalsOf(tables),
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
    name: identity.name,
    note: identity.note,
    tags: [...identity.tags],
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
