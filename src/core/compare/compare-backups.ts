import { readBackupSettings } from '../backup/backup-settings.ts'
import { digestTables } from '../backup/digest-tables.ts'
import { openSnapshot, requireCensus, type Snapshot } from '../backup/read-snapshot.ts'
import type { SummaryTable } from '../backup/summary.ts'
import type { Connection } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { interruptible, interruptibleConnection, throwIfInterrupted } from '../interruptible.ts'
import type { BackupSource } from '../restore/backup-source.ts'
import type { RestoreProgress } from '../restore/restore-result.ts'
import { sharedTable } from '../restore/stage-table.ts'
import type { Services } from '../services.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import { compareTable, type Side, type TableDifferences } from './compare-table.ts'
import type { Comparison, TableComparison } from './comparison.ts'
import { deleteExpiredRows, keepDifferences } from './comparison-record.ts'

export interface CompareBackupsInput {
  tenantId: string
  source: BackupSource
  against: BackupSource | 'live'
  /** Labels of tables; null for all. */
  tables?: readonly string[] | null
  /**
   * How many of the rows that differ are kept to be looked at, over all tables; all of them are counted. A
   * table gets at most half of what is left, so that a large one leaves room for those that follow.
   */
  maxRows?: number
  /** The run under which they are kept. */
  runId: string
  onProgress?: (progress: RestoreProgress) => void
  signal?: AbortSignal | undefined
}

/**
 * Kept rows are a copy outside of the tenant's tables: 100,000 of them are 90 MB and half a minute. Nobody
 * looks at so many one by one; for those there is the table as a whole.
 */
const MOST_ROWS_KEPT = 20_000

/**
 * Compares a backup with the tenant's live rows, or with another backup of the tenant, row by row. It reads
 * one frozen picture as the operator, confined to the tenant, and locks nothing that a writer needs. Tables
 * whose bytes hash to the same digests are equal, and are not downloaded. Throws what opening a snapshot and
 * reading a backup throw, and `invalid_request` for tables that neither side has.
 */
export async function compareBackups(
  services: Services,
  input: CompareBackupsInput,
): Promise<Comparison> {
  const { tenantId, source, against, signal } = input
  requireSameTenant(tenantId, source)
  if (against !== 'live') requireSameTenant(tenantId, against)
  const { catalog } = services.tenants
  await interruptible(deleteExpiredRows(catalog), signal)
  const settings = await interruptible(readBackupSettings(catalog), signal)
  const database = await interruptible(services.tenants.databaseOf(tenantId), signal)
  return database.withConnection(async (lent) => {
    const connection = interruptibleConnection(lent, signal)
    tell(input, { phase: 'locking' })
    const snapshot = await openSnapshot(connection, {
      tenantId,
      lockTimeoutMs: settings.lock_timeout_ms,
      isReadOnly: false,
      mayBeMissing: true,
    })
    const comparison = await compareInSnapshot(services, connection, snapshot, input, {
      maxRowBytes: settings.max_row_bytes,
    })
    // Nothing was written but temp tables, and they go.
    await connection.query('rollback')
    return comparison
  })
}

async function compareInSnapshot(
  services: Services,
  connection: Connection,
  snapshot: Snapshot,
  input: CompareBackupsInput,
  { maxRowBytes }: { maxRowBytes: number },
): Promise<Comparison> {
  const { source, against, signal } = input
  const pairs = pairTables(snapshot, input)
  const digests = await digestLive(connection, snapshot, pairs, input, maxRowBytes)
  const tables: TableComparison[] = []
  let kept = 0
  for (const pair of pairs) {
    throwIfInterrupted(signal)
    const drift = describeDrift(pair)
    const rows = { rowsInBackup: pair.backup?.rows ?? 0, rowsInOther: rowsInOther(pair) }
    const found = await compareOne(connection, pair, {
      digests,
      input,
      kept,
      rows,
      keep: (texts) =>
        interruptible(keepDifferences(services.tenants.catalog, input.runId, texts), signal),
    })
    if (found.differences !== null && pair.live !== undefined && against === 'live') {
      // What the comparison says of the live rows must add up to all of them.
      const { onlyInBackup, onlyInOther } = found.differences
      requireCensus(snapshot, pair.live, rows.rowsInBackup - onlyInBackup + onlyInOther)
    }
    const counts = found.differences ?? NO_DIFFERENCES
    kept += counts.keptRows
    tables.push({
      name: pair.name,
      presence: pair.presence,
      isCompared: found.isCompared,
      ...rows,
      ...counts,
      equal: found.isCompared ? rows.rowsInBackup - counts.onlyInBackup - counts.changed : 0,
      ...drift,
    })
  }
  return {
    backupId: source.backupId,
    takenAt: source.takenAt,
    otherBackupId: against === 'live' ? null : against.backupId,
    otherTakenAt: against === 'live' ? snapshot.takenAt : against.takenAt,
    isEqual: tables.every(isEqualTable),
    tables,
    warnings: [...source.warnings, ...(against === 'live' ? [] : against.warnings)],
  }
}

/** One table by its label, as far as it is on the two sides and in the database. */
interface Pair {
  name: string
  presence: TableComparison['presence']
  live: ProtectedTable | undefined
  backup: SummaryTable | undefined
  /** The table of the other backup; undefined also where the other side is live. */
  other: SummaryTable | undefined
  rowsLive: number
  isAgainstLive: boolean
}

/** The tables of both sides: in the order of ownership, then those that the database has no more. */
function pairTables(snapshot: Snapshot, { source, against, tables }: CompareBackupsInput): Pair[] {
  const byLabel = (list: readonly SummaryTable[]) =>
    new Map(list.map((table) => [table.name, table]))
  const backup = byLabel(source.summary.tables)
  const other = byLabel(against === 'live' ? [] : against.summary.tables)
  const live = new Map(snapshot.tables.map((table) => [table.label, table]))
  const isAgainstLive = against === 'live'
  const names = new Set(
    [...live.keys(), ...backup.keys(), ...other.keys()].filter(
      (name) => backup.has(name) || other.has(name) || isAgainstLive,
    ),
  )
  const unknown = (tables ?? []).filter((name) => !names.has(name))
  if (unknown.length > 0) {
    throw new BackupError(
      'invalid_request',
      `Neither side has a table ${unknown.join(', ')}. A table outside of public is named schema.table.`,
    )
  }
  return [...names]
    .filter((name) => tables == null || tables.includes(name))
    .map((name) => {
      const isInOther = isAgainstLive ? live.has(name) : other.has(name)
      const presence = !isInOther
        ? 'backup'
        : !backup.has(name)
          ? 'other'
          : live.has(name)
            ? 'both'
            : 'dropped'
      return {
        name,
        presence,
        isAgainstLive,
        live: live.get(name),
        backup: backup.get(name),
        other: other.get(name),
        rowsLive: snapshot.census.get(name) ?? 0,
      }
    })
}

function rowsInOther({ presence, isAgainstLive, rowsLive, other }: Pair): number {
  if (presence === 'backup') return 0
  return isAgainstLive ? rowsLive : (other?.rows ?? 0)
}

/** Only tables that can be equal are read for it: as many rows, and the same columns. */
async function digestLive(
  connection: Connection,
  snapshot: Snapshot,
  pairs: readonly Pair[],
  input: CompareBackupsInput,
  maxRowBytes: number,
): Promise<ReadonlyMap<string, readonly string[]>> {
  if (input.against !== 'live') return new Map()
  const worthIt = new Set(
    pairs
      .filter(
        (pair) =>
          pair.presence === 'both' && pair.backup?.rows === pair.rowsLive && !hasDrift(pair),
      )
      .map(({ name }) => name),
  )
  const tables = snapshot.tables.filter(({ label }) => worthIt.has(label))
  const digests = await digestTables(
    connection,
    { ...snapshot, tables },
    {
      maxRowBytes,
      onProgress: (progress) => tell(input, { phase: 'comparing', ...progress }),
      signal: input.signal,
    },
  )
  return new Map([...digests].map(([label, { rawSha256 }]) => [label, rawSha256]))
}

async function compareOne(
  connection: Connection,
  pair: Pair,
  given: {
    digests: ReadonlyMap<string, readonly string[]>
    input: CompareBackupsInput
    kept: number
    rows: { rowsInBackup: number; rowsInOther: number }
    keep: (rows: string[]) => Promise<void>
  },
): Promise<{ isCompared: boolean; differences: TableDifferences | null }> {
  const { input, kept } = given
  const { rowsInBackup, rowsInOther: rowsThere } = given.rows
  const { name, presence, live, backup, other } = pair
  // The rows of a table that one side lacks are counted, not shown.
  if (presence === 'backup' || presence === 'other' || backup === undefined) {
    const differences = { ...NO_DIFFERENCES, onlyInBackup: rowsInBackup, onlyInOther: rowsThere }
    return { isCompared: true, differences }
  }
  const there = pair.isAgainstLive ? given.digests.get(name) : digestsOf(other)
  if (isSameList(digestsOf(backup), there) || (rowsInBackup === 0 && rowsThere === 0)) {
    return { isCompared: true, differences: null }
  }
  if (live === undefined) return { isCompared: false, differences: null }
  const shared = withCommonKey(pair, live, backup)
  if (shared.columns.length === 0) return { isCompared: false, differences: null }
  const rowsTotal = rowsInBackup + (pair.isAgainstLive ? 0 : rowsThere)
  const side: Side =
    input.against === 'live' || other === undefined
      ? 'live'
      : { source: input.against, table: other }
  const differences = await compareTable(connection, {
    shared,
    backup: { source: input.source, table: backup },
    other: side,
    maxRows: Math.ceil(((input.maxRows ?? MOST_ROWS_KEPT) - kept) / 2),
    firstNumber: kept + 1,
    keep: given.keep,
    onRows: (rowsDone) => tell(input, { phase: 'staging', table: name, rowsDone, rowsTotal }),
    signal: input.signal,
  })
  return { isCompared: true, differences }
}

/**
 * The columns that all sides have, with the key that is unique on both: where it has changed, the longer
 * one, if it holds the other; else none.
 */
function withCommonKey(pair: Pair, live: ProtectedTable, backup: SummaryTable): ProtectedTable {
  const { other } = pair
  const first = sharedTable(live, backup)
  const shared = other === undefined ? first : sharedTable(first, other)
  const columns = new Set(shared.columns.map(({ name }) => name))
  const keys = [backup.primary_key, other?.primary_key ?? live.primaryKey.map(({ name }) => name)]
  const [shorter = [], longer = []] = keys.sort((a, b) => a.length - b.length)
  const isUsable =
    shorter.length > 0 &&
    shorter.every((name) => longer.includes(name)) &&
    longer.every((name) => columns.has(name))
  const textKeys = new Set(live.primaryKey.filter(({ isText }) => isText).map(({ name }) => name))
  const primaryKey = isUsable ? longer.map((name) => ({ name, isText: textKeys.has(name) })) : []
  return { ...shared, primaryKey }
}

const NO_DIFFERENCES: TableDifferences = {
  onlyInBackup: 0,
  onlyInOther: 0,
  changed: 0,
  keptRows: 0,
  isByKey: true,
  keyColumns: [],
  isByText: false,
}

function describeDrift(
  pair: Pair,
): Pick<TableComparison, 'columnsOnlyInBackup' | 'columnsOnlyInOther' | 'columnsNotCompared'> {
  const none = { columnsOnlyInBackup: [], columnsOnlyInOther: [], columnsNotCompared: [] }
  const { presence, backup, other, live } = pair
  if (backup === undefined || (presence !== 'both' && presence !== 'dropped')) return none
  const now = live?.columns.filter((column) => !column.isGenerated).map(({ name }) => name) ?? []
  const then = backup.columns.map(({ name }) => name)
  const there = pair.isAgainstLive ? now : (other?.columns.map(({ name }) => name) ?? [])
  return {
    columnsOnlyInBackup: then.filter((name) => !there.includes(name)),
    columnsOnlyInOther: there.filter((name) => !then.includes(name)),
    columnsNotCompared:
      presence === 'dropped'
        ? []
        : then.filter((name) => there.includes(name) && !now.includes(name)),
  }
}

function hasDrift(pair: Pair): boolean {
  return Object.values(describeDrift(pair)).some((names) => names.length > 0)
}

function digestsOf(table: SummaryTable | undefined): string[] | undefined {
  return table?.parts.map((part) => part.raw_sha256)
}

function isSameList(
  one: readonly string[] | undefined,
  two: readonly string[] | undefined,
): boolean {
  return (
    one !== undefined &&
    two !== undefined &&
    one.length === two.length &&
    one.every((digest, i) => digest === two[i])
  )
}

function isEqualTable(table: TableComparison): boolean {
  return table.isCompared && table.onlyInBackup + table.onlyInOther + table.changed === 0
}

function requireSameTenant(tenantId: string, { summary }: BackupSource): void {
  if (summary.organization_id === tenantId) return
  throw new BackupError('backup_not_found', `There is no such backup of tenant ${tenantId}.`)
}

function tell(
  { onProgress }: CompareBackupsInput,
  progress: Pick<RestoreProgress, 'phase'> & Partial<RestoreProgress>,
): void {
  onProgress?.({ table: null, rowsDone: 0, rowsTotal: 0, ...progress })
}
