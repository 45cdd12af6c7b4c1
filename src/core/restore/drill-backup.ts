import { hash, randomUUID } from 'node:crypto'
import type { Backup } from '../backup/backup-record.ts'
import { readBackupSettings } from '../backup/backup-settings.ts'
import { PartBuffers, PartCutter, type RawPart } from '../backup/cut-parts.ts'
import { explainFailure } from '../backup/explain-failure.ts'
import { openSnapshot, type Snapshot } from '../backup/read-snapshot.ts'
import { recordWhole } from '../backup/record-damage.ts'
import type { SummaryTable } from '../backup/summary.ts'
import type { Connection } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import {
  interruptible,
  interruptibleBytes,
  interruptibleConnection,
  throwIfInterrupted,
  windDown,
} from '../interruptible.ts'
import { logPhase } from '../log.ts'
import type { Actor, Services } from '../services.ts'
import { isWithinReach } from '../store/read-with-copy.ts'
import { selectLines } from '../tables/encode-rows.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'
import { asWorker } from './as-worker.ts'
import type { BackupSource } from './backup-source.ts'
import { addLiveRows, equalKey, liveRows, type StagedTable } from './diff-table.ts'
import {
  type Drill,
  type DrillFinding,
  type DrillOutcome,
  type DrillPhases,
  lockDrill,
  recordDrillCrashes,
  recordDrillEnd,
  recordDrillStart,
} from './drill-record.ts'
import { changedTypesOf, findSchemaChanges } from './find-schema-changes.ts'
import { openBackup } from './open-backup.ts'
import {
  type Constraints,
  type ForeignKey,
  readConstraints,
  type UniqueKey,
} from './read-constraints.ts'
import { findKeyHolders, isAdoptable, putAside } from './resolve-choices.ts'
import type { SchemaChange } from './restore-result.ts'
import {
  CREATE_LINES,
  createStaging,
  loadStagedRows,
  readFunctionOwner,
  requireOwnRows,
} from './stage-table.ts'
import { ACTION, CTID, ROW, TABLEOID, XMIN } from './staged-table.ts'
import { tryRows } from './try-rows.ts'

export interface DrillInput {
  backup: Backup
  actor: Actor
  runId?: string | null
  isInRotation?: boolean
  onProgress?: (progress: DrillProgress) => void
  signal?: AbortSignal | undefined
}

export interface DrillProgress {
  phase: keyof DrillPhases
  table: string
  rowsDone: number
  rowsTotal: number
}

const RECORD_END_MS = 10_000

/**
 * Tries whether a complete backup could be restored now: loads all of it, through what a restore uses for
 * staging, into temp tables; compares what was loaded with the signed digests; writes it into tables with the
 * host's types, checks and keys; looks for keys that others hold and for references that lead nowhere. All of
 * it in one transaction that is rolled back; live tables are read in its snapshot and not written. The
 * tenant's lock is not taken: whoever backs up or restores it meanwhile changes nothing that this reads.
 *
 * What would break a restore is in the findings of the drill, which is recorded either way. Throws what keeps
 * it from being tried to its end: `backup_incomplete`, `tenant_busy`, `store_unavailable`, `table_locked`,
 * `database_unavailable`, `backup_timed_out`, `backup_cancelled`.
 */
export async function drillBackup(services: Services, input: DrillInput): Promise<Drill> {
  const { backup, runId } = input
  return logPhase(
    services.log,
    'drill',
    { backupId: backup.id, tenantId: backup.organizationId, runId },
    () => attemptDrill(services, input),
    ({ status, rows, bytes, findings }) => ({ status, rows, bytes, findings: findings.length }),
  )
}

async function attemptDrill(services: Services, input: DrillInput): Promise<Drill> {
  const { backup, actor, signal, runId = null, isInRotation = false } = input
  const { catalog } = services.tenants
  throwIfInterrupted(signal)
  const database = await interruptible(services.tenants.databaseOf(backup.organizationId), signal)
  const id = randomUUID()
  const work = database.withConnection(async (connection) => {
    const session = interruptibleConnection(connection, signal)
    await lockDrill(session, backup.id)
    await interruptible(recordDrillCrashes(catalog), signal)
    const isThere = await interruptible(
      recordDrillStart(catalog, { id, backup, actor, runId, isInRotation }),
      signal,
    )
    if (!isThere) {
      throw new BackupError(
        'backup_incomplete',
        `Backup ${backup.id} is not complete, or not any more: only complete ones can be tried.`,
      )
    }
    return new Trial(services, session, input).run()
  })
  let drill: Drill | null
  try {
    drill = await interruptible(recordDrillEnd(catalog, id, await windDown(work, signal)), signal)
  } catch (error) {
    const failure = explainDrillFailure(error)
    await interruptible(
      recordDrillEnd(catalog, id, { error: failure }),
      AbortSignal.timeout(RECORD_END_MS),
    ).catch((unrecorded) =>
      services.log.error({ err: unrecorded, backupId: backup.id }, 'A drill could not be recorded'),
    )
    throw failure
  }
  if (drill === null) {
    throw new BackupError('backup_cancelled', 'Another process declared this drill dead.')
  }
  // Every byte was read and proven on the way.
  if (drill.status === 'passed' && isWithinReach(services.store, backup)) {
    await interruptible(recordWhole(services, backup.id, { actor, runId }), signal)
  }
  return drill
}

/** What is a finding about the backup, where others only say that it could not be looked at. */
const FOUND = [
  'object_missing',
  'backup_damaged',
  'schema_changed',
  'encoding_not_exact',
  'row_outside_tenant',
  'confinement_broken',
  'row_too_large',
] as const

class Trial {
  readonly #services: Services
  readonly #connection: Connection
  readonly #input: DrillInput
  readonly #findings: DrillFinding[] = []
  readonly #warnings: Drill['warnings'] = []
  readonly #phases: DrillPhases = { staging: 0, comparing: 0, checking: 0, references: 0 }
  /** In the order of ownership. */
  readonly #tables = new Map<string, StagedTable>()
  readonly #buffers = new PartBuffers()

  constructor(services: Services, connection: Connection, input: DrillInput) {
    this.#services = services
    this.#connection = connection
    this.#input = input
  }

  async run(): Promise<DrillOutcome> {
    const { backup, signal } = this.#input
    const startedAt = performance.now()
    try {
      const source = await openBackup(this.#services, backup, signal)
      await this.#try(source)
    } catch (error) {
      this.#findOrThrow(error, null)
    }
    // Nothing was written but temp tables, and they go.
    await this.#connection.query('rollback')
    return {
      findings: this.#findings,
      warnings: this.#warnings,
      rows: backup.totalRecords ?? 0,
      bytes: backup.totalSize ?? 0,
      tables: backup.totalTables ?? 0,
      durationMs: performance.now() - startedAt,
      phases: this.#phases,
    }
  }

  async #try(source: BackupSource): Promise<void> {
    const connection = this.#connection
    const settings = await interruptible(
      readBackupSettings(this.#services.tenants.catalog),
      this.#input.signal,
    )
    const snapshot = await openSnapshot(connection, {
      tenantId: this.#input.backup.organizationId,
      lockTimeoutMs: settings.lock_timeout_ms,
      isReadOnly: false,
      mayBeMissing: true,
    })
    const { constraints, functionOwner } = await asWorker(connection, async () => ({
      constraints: await readConstraints(connection),
      functionOwner: await readFunctionOwner(connection),
    }))
    const changes = findSchemaChanges(source.summary, snapshot.tables, {
      isInScope: () => true,
      isPlainJson: false,
    })
    for (const { name, table, message } of changes.filter(({ isLossy }) => isLossy)) {
      this.#find({ code: 'schema_changed', table, constraint: name, count: null, message })
    }
    await connection.query(CREATE_LINES)
    for (const backup of source.summary.tables) {
      const given = { source, backup, snapshot, constraints, changes, functionOwner }
      const table = await this.#measure('staging', () => this.#stage(given))
      if (table === null) continue
      this.#tables.set(backup.name, table)
      await this.#measure('comparing', () =>
        this.#compare(table, { backup, snapshot, maxRowBytes: settings.max_row_bytes }),
      )
      await this.#measure('checking', async () => {
        for (const finding of await tryRows(connection, table)) this.#find(finding)
      })
    }
    await this.#measure('references', () => this.#askOthers(source, constraints))
  }

  /** Null where the table is gone, or its rows can't be loaded; then that is found. */
  async #stage(given: {
    source: BackupSource
    backup: SummaryTable
    snapshot: Snapshot
    constraints: Constraints
    changes: readonly SchemaChange[]
    functionOwner: string
  }): Promise<StagedTable | null> {
    const { source, backup, snapshot, constraints, functionOwner } = given
    const index = snapshot.tables.findIndex(({ label }) => label === backup.name)
    const live = snapshot.tables[index]
    // What is gone with rows was found already.
    if (live === undefined) return null
    const connection = this.#connection
    const rowsLive = snapshot.census.get(backup.name) ?? 0
    await connection.query('savepoint tenantkeep_staging')
    try {
      const table = await createStaging(connection, {
        live,
        backup,
        index,
        rowsLive,
        functionOwner,
      })
      await loadStagedRows(connection, {
        source,
        backup,
        shared: table.shared,
        staged: table.staged,
        changedTypes: changedTypesOf(given.changes, backup.name),
        hasChanged: backup.fingerprint !== snapshot.columnFingerprints.get(backup.name),
        action: 'insert',
        onRows: (rowsDone) => this.#tell('staging', backup.name, rowsDone, backup.rows),
        signal: this.#input.signal,
      })
      await requireOwnRows(connection, table, constraints)
      await connection.query('release savepoint tenantkeep_staging')
      return table
    } catch (error) {
      this.#findOrThrow(error, backup.name)
      await connection.query('rollback to savepoint tenantkeep_staging')
      return null
    }
  }

  /** Encodes what was loaded as a backup does: other digests mean other values. */
  async #compare(
    table: StagedTable,
    given: { backup: SummaryTable; snapshot: Snapshot; maxRowBytes: number },
  ): Promise<void> {
    const { backup, snapshot, maxRowBytes } = given
    const { shared, live, staged } = table
    // Where a column is another, or a key is computed and not loaded, there is nothing to compare byte by byte.
    if (backup.fingerprint !== snapshot.columnFingerprints.get(backup.name)) return
    if (shared.primaryKey.length !== live.primaryKey.length) return
    const cutter = new PartCutter(backup.name, { maxRowBytes }, this.#buffers)
    const digests: string[] = []
    const digest = (parts: readonly RawPart[]) => {
      for (const part of parts) {
        digests.push(hash('sha256', part.bytes, 'hex'))
        part.release()
      }
    }
    const lines = this.#connection.copyOut(selectLines(shared, { relation: staged }))
    for await (const chunk of interruptibleBytes(lines, this.#input.signal)) {
      digest(cutter.push(chunk))
    }
    digest(cutter.finish())
    this.#tell('comparing', backup.name, backup.rows, backup.rows)
    const isSame =
      digests.length === backup.parts.length &&
      backup.parts.every((part, index) => part.raw_sha256 === digests[index])
    if (isSame) return
    this.#find({
      code: 'encoding_not_exact',
      table: backup.name,
      constraint: null,
      count: null,
      message: `Rows of ${backup.name} do not come back exactly as they were: what was loaded has another digest than the summary names.`,
    })
  }

  /**
   * Keys and references, past row level security. The live rows of the tenant stand in the staged tables by
   * their place, as rows that go: what the backup holds must fit what all others hold, without them.
   */
  async #askOthers(source: BackupSource, constraints: Constraints): Promise<void> {
    const connection = this.#connection
    for (const table of this.#tables.values()) {
      const name = quoteIdentifier(table.live.name)
      const { rowCount } = await connection.query(
        `insert into ${table.staged} (${ROW}, ${ACTION}, ${TABLEOID}, ${CTID}, ${XMIN})
         select ${table.nextRow - 1} + row_number() over (), 'release',
           ${name}.tableoid, ${name}.ctid, ${name}.xmin
         ${table.live.from} where ${table.live.rowExpression}`,
      )
      table.nextRow += rowCount
      await connection.query(`analyze ${table.staged}`)
    }
    for (const key of constraints.uniqueKeys) {
      const table = this.#tables.get(key.label)
      if (table !== undefined) await this.#findTaken(table, key, constraints)
    }
    const inBackup = new Set(source.summary.tables.map(({ name }) => name))
    for (const foreignKey of constraints.foreignKeys) {
      const { childLabel, parentLabel } = foreignKey
      const child = childLabel === null ? undefined : this.#tables.get(childLabel)
      if (child === undefined) continue
      const parent = parentLabel === null ? undefined : this.#tables.get(parentLabel)
      // Of a table that could not be loaded, that is what was found.
      if (parent === undefined && parentLabel !== null && inBackup.has(parentLabel)) continue
      await this.#findMissing(child, parent, foreignKey)
    }
  }

  async #findTaken(table: StagedTable, key: UniqueKey, constraints: Constraints): Promise<void> {
    const rows = await findKeyHolders(this.#connection, table, key)
    const adoptable = isAdoptable(table, key, constraints)
    const aside = await putAside(
      this.#connection,
      table,
      rows
        .filter((row) => adoptable && !row.is_owned)
        .map((row) => [row.holder_tableoid, row.holder_ctid, row.holder_xmin] as const),
    )
    if (aside > 0) {
      this.#warnings.push({
        table: key.label,
        message: `${aside} rows that nobody owns stand in the way; a restore puts them aside.`,
      })
    }
    const taken = new Set(rows.filter((row) => row.is_owned || !adoptable).map((row) => row.row_no))
    if (taken.size === 0) return
    this.#find({
      code: 'key_taken',
      table: key.label,
      constraint: key.name,
      count: taken.size,
      message: `${taken.size} rows of ${key.label} have a value of ${key.name} that a row outside of the tenant holds now.`,
    })
  }

  async #findMissing(
    child: StagedTable,
    parent: StagedTable | undefined,
    foreignKey: ForeignKey,
  ): Promise<void> {
    let missing = await this.#readMissing(child, parent, foreignKey)
    if (missing.length === 0) return
    if (foreignKey.isValidated && child.shared.primaryKey.length > 0) {
      // The live rows stand beside those few: what points at nothing there as well is no news.
      await addLiveRows(this.#connection, child, {
        action: 'before',
        rowNumber: `s.${ROW}`,
        from: `${child.staged} as s join ${liveRows(child.live)} on ${equalKey(child.shared, 's', 'live')}
          where s.${ACTION} = 'insert' and s.${ROW} in (${missing.map(({ row }) => row).join(', ')})
            and not exists (select from ${child.staged} as b where b.${ROW} = s.${ROW} and b.${ACTION} = 'before')`,
      })
      missing = await this.#readMissing(child, parent, foreignKey)
    }
    const isKnown = ({ wasBroken }: { wasBroken: boolean }) => wasBroken || !foreignKey.isValidated
    const broken = missing.filter(isKnown).length
    if (broken > 0) {
      this.#warnings.push({
        table: child.live.label,
        message: `${broken} rows point at nothing by ${foreignKey.name}, as they do in the tenant itself.`,
      })
    }
    const count = missing.length - broken
    if (count === 0) return
    this.#find({
      code: foreignKey.isUser ? 'missing_user' : 'missing_reference',
      table: child.live.label,
      constraint: foreignKey.name,
      count,
      message: foreignKey.isUser
        ? `${count} rows of ${child.live.label} belong to users who are gone (${foreignKey.name}).`
        : `${count} rows of ${child.live.label} point at rows of ${foreignKey.parentName} that are neither in the backup nor there (${foreignKey.name}).`,
    })
  }

  async #readMissing(
    child: StagedTable,
    parent: StagedTable | undefined,
    foreignKey: ForeignKey,
  ): Promise<{ row: number; wasBroken: boolean }[]> {
    const { rows } = await asWorker(this.#connection, () =>
      this.#connection.query<{ row_no: string; was_broken: boolean }>(
        `select row_no, bool_or(was_broken) as was_broken
         from tenantkeep.find_missing_parents($1::oid, $2::regclass, $3::regclass) group by row_no`,
        [foreignKey.oid, child.staged, parent?.staged ?? null],
      ),
    )
    return rows.map(({ row_no, was_broken }) => ({ row: Number(row_no), wasBroken: was_broken }))
  }

  async #measure<T>(phase: keyof DrillPhases, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now()
    try {
      return await work()
    } finally {
      this.#phases[phase] += Math.round(performance.now() - startedAt)
    }
  }

  #findOrThrow(error: unknown, table: string | null): void {
    if (!(error instanceof BackupError)) throw error
    const code = findingCode(error)
    if (code === undefined) throw error
    // A change of the schema that was found by name explains what its values do.
    const isTold = this.#findings.some((found) => found.code === code && found.table === table)
    if (code === 'schema_changed' && isTold) return
    const { message } = error
    this.#find({ code, table, constraint: null, count: null, message })
  }

  #find(finding: DrillFinding): void {
    this.#findings.push(finding)
  }

  #tell(phase: keyof DrillPhases, table: string, rowsDone: number, rowsTotal: number): void {
    this.#input.onProgress?.({ phase, table, rowsDone, rowsTotal })
  }
}

function findingCode({ code, details }: BackupError): DrillFinding['code'] | undefined {
  // A key or a version that this process lacks says nothing about the backup.
  return details?.lacking === undefined ? FOUND.find((known) => known === code) : undefined
}

/** What a backup would say of the same error, in the words of a drill. */
function explainDrillFailure(error: unknown): BackupError {
  const failure = explainFailure(error)
  if (failure.code !== 'internal' || error instanceof BackupError) return failure
  return new BackupError(
    'internal',
    'The drill failed in a way that was not foreseen. Nothing was changed. The log of this process has the details.',
    { cause: error },
  )
}
