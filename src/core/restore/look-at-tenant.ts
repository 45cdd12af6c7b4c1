/**
 * The look of a restore: one frozen picture of the tenant, in which the safety backup is taken, tables that
 * differ are staged and compared, and everything that stands in the way is found. It leaves the plan in the
 * session's temp tables, and holds nothing that a writer needs.
 */
import { readBackupSettings } from '../backup/backup-settings.ts'
import { digestTables } from '../backup/digest-tables.ts'
import { openSnapshot, type Snapshot } from '../backup/read-snapshot.ts'
import type { SummaryTable } from '../backup/summary.ts'
import { copySafetyBackup, type SafetyBackup } from '../backup/take-safety-backup.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import type { Services } from '../services.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'
import { CREATE_REFUSED } from './apply-plan.ts'
import { asWorker } from './as-worker.ts'
import { CREATE_PLAN, countTable, hashPlan, sampleRows } from './describe-plan.ts'
import {
  CREATE_DIFFERENCES,
  CREATE_SCOPE,
  countUnknownKeys,
  type DiffChoices,
  diffTable,
  SCOPE,
  type StagedTable,
  settleUpdates,
} from './diff-table.ts'
import { changedTypesOf, findSchemaChanges } from './find-schema-changes.ts'
import { type Constraints, readConstraints } from './read-constraints.ts'
import { type Resolution, resolveChoices } from './resolve-choices.ts'
import type { Blocker, RestoreProgress, SchemaChange, TableResult } from './restore-result.ts'
import type { RestoreInput, Undo } from './restore-tenant.ts'
import {
  CREATE_LINES,
  createStaging,
  loadStagedRows,
  readFunctionOwner,
  requireOwnRows,
} from './stage-table.ts'
import { ACTION } from './staged-table.ts'

export interface Look {
  snapshot: Snapshot
  constraints: Constraints
  safety: SafetyBackup | undefined
  /** In the order of ownership; only tables that differ, or that the plan needs. */
  tables: Map<string, StagedTable>
  results: TableResult[]
  planHash: string
  blockers: Blocker[]
  schemaChanges: SchemaChange[]
  accessChanges: Resolution['accessChanges']
  warnings: { code: string; message: string }[]
  /** Before anything was written; a restore must not shut out who asked for it. */
  isActorAllowed: boolean
}

export interface LookInput extends RestoreInput {
  undo: Undo | undefined
  tenantName: string | null
  /** Called as soon as there is one, so that whatever fails from then on can give it up. */
  onSafetyBackup: (safety: SafetyBackup) => void
}

/** Looks, and commits the look. Throws what a backup and its reading can throw, and `row_outside_tenant`. */
export async function lookAtTenant(
  services: Services,
  connection: Connection,
  input: LookInput,
): Promise<Look> {
  const looker = new Looker(services, connection, input)
  return looker.look()
}

class Looker {
  readonly #services: Services
  readonly #connection: Connection
  readonly #input: LookInput
  readonly #tables = new Map<string, StagedTable>()
  readonly #warnings = new Map<string, { table: string; message: string }>()

  constructor(services: Services, connection: Connection, input: LookInput) {
    this.#services = services
    this.#connection = connection
    this.#input = input
  }

  async look(): Promise<Look> {
    const { tenantId, source, options, isDryRun, undo } = this.#input
    const connection = this.#connection
    this.#tell('locking')
    const settings = await interruptible(
      readBackupSettings(this.#services.tenants.catalog),
      this.#input.signal,
    )
    const snapshot = await openSnapshot(connection, {
      tenantId,
      lockTimeoutMs: settings.lock_timeout_ms,
      isReadOnly: false,
      mayBeMissing: true,
    })
    this.#requireScope(snapshot)
    const { constraints, functionOwner, isActorAllowed } = await asWorker(connection, async () => ({
      constraints: await readConstraints(connection),
      functionOwner: await readFunctionOwner(connection),
      isActorAllowed: await administers(connection, this.#input),
    }))
    const schemaChanges = findSchemaChanges(source.summary, snapshot.tables, {
      isInScope: (label) => this.#isInScope(label),
      isPlainJson: source.isPlainJson,
    })
    const blockers = describeLossyChanges(schemaChanges, options.accept_schema_changes)
    if (blockers.length > 0 && !isDryRun) throw schemaChanged(schemaChanges)

    const { safety, digests } = await this.#readLive(snapshot, settings.max_row_bytes)
    await connection.query(
      [CREATE_LINES, CREATE_SCOPE, CREATE_DIFFERENCES, CREATE_PLAN, CREATE_REFUSED].join('; '),
    )
    const stage = (label: string, isForced: boolean) =>
      this.#stage(label, { snapshot, constraints, schemaChanges, functionOwner, isForced })
    await undo?.rows?.loadScope(connection, (label) => indexOf(snapshot, label))
    for (const table of source.summary.tables) {
      if (!this.#isInScope(table.name)) continue
      if (undo?.rows?.labels.has(table.name) === false) continue
      const live = digests.get(table.name)
      // Keys that were named are looked at even where nothing differs: a mistyped one must not pass.
      const isNamed = options.rows !== null && Object.hasOwn(options.rows, table.name)
      if (!isNamed && live !== undefined && isEqual(table, live)) continue
      await stage(table.name, false)
    }
    if (undo?.rows !== undefined) {
      blockers.push(...(await undo.rows.settleConflicts(connection, this.#tables)))
    }

    this.#tell('planning')
    const resolution = await resolveChoices(connection, {
      tables: this.#tables,
      constraints,
      options,
      returning: await asWorker(connection, () => readReturning(connection, this.#input)),
      stageMore: (label) => stage(label, true),
    })
    blockers.push(...resolution.blockers, ...(await this.#findSideEffects(constraints)))
    for (const warning of resolution.warnings) this.#warn(warning)

    const tables = this.#inOrder()
    const planHash = await hashPlan(
      connection,
      [...tables.values()],
      { tenant: tenantId, backup: source.summary.backup_id, options, undo: undo?.facts ?? null },
      this.#input.signal,
    )
    const results = await this.#describeTables(snapshot, tables)
    await connection.query('commit')
    return {
      snapshot,
      constraints,
      safety,
      tables,
      results,
      planHash,
      blockers,
      schemaChanges,
      accessChanges: resolution.accessChanges,
      warnings: [
        ...source.warnings,
        ...snapshot.gaps.map((gap) => ({
          code: 'gap',
          message: `${gap} is not registered: it is in no backup, and is left alone.`,
        })),
        ...schemaChanges.map(({ name, message }) => ({ code: 'schema_change', message, name })),
      ].map(({ code, message }) => ({ code, message })),
      isActorAllowed,
    }
  }

  /** Copies or digests every table as it is now. */
  async #readLive(snapshot: Snapshot, maxRowBytes: number) {
    const { isDryRun, tenantId, tenantName, actor, signal } = this.#input
    const onProgress = (phase: RestoreProgress['phase']) => ({
      onProgress: (progress: { table: string; rowsDone: number; rowsTotal: number }) =>
        this.#input.onProgress?.({ phase, ...progress }),
    })
    const digests = new Map<string, { rows: number; rawSha256: string[] }>()
    if (isDryRun) {
      const given = { maxRowBytes, signal, ...onProgress('comparing') }
      const read = await digestTables(this.#connection, snapshot, given)
      for (const [label, digest] of read) digests.set(label, digest)
      return { safety: undefined, digests }
    }
    const safety = await copySafetyBackup(this.#services, this.#connection, snapshot, {
      tenantId,
      tenantName,
      actor,
      runId: this.#input.runId ?? null,
      note: this.#input.note ?? null,
      isFarewell: this.#input.farewell !== undefined,
      signal,
      ...onProgress('safety_backup'),
    })
    this.#input.onSafetyBackup(safety)
    for (const table of safety.tables) {
      const rawSha256 = table.parts.map((part) => part.raw_sha256)
      digests.set(table.name, { rows: table.rows, rawSha256 })
    }
    return { safety, digests }
  }

  /** Stages a table of the backup and compares it; undefined where backup or database does not have it. */
  async #stage(
    label: string,
    given: {
      snapshot: Snapshot
      constraints: Constraints
      schemaChanges: readonly SchemaChange[]
      functionOwner: string
      /** Rows of a table that was not asked for stay outside of the plan, until something needs them. */
      isForced: boolean
    },
  ): Promise<StagedTable | undefined> {
    const known = this.#tables.get(label)
    if (known !== undefined) return known
    const { snapshot, constraints, functionOwner } = given
    const connection = this.#connection
    const backup = this.#input.source.summary.tables.find((table) => table.name === label)
    const index = indexOf(snapshot, label)
    const live = index === undefined ? undefined : snapshot.tables[index]
    if (backup === undefined || live === undefined || index === undefined) return undefined

    const rowsLive = snapshot.census.get(label) ?? 0
    const table = await createStaging(connection, { live, backup, index, rowsLive, functionOwner })
    const choices = await this.#choose(table, given.isForced)
    await loadStagedRows(connection, {
      source: this.#input.source,
      backup,
      shared: table.shared,
      staged: table.staged,
      changedTypes: changedTypesOf(given.schemaChanges, label),
      hasChanged:
        !this.#input.source.isPlainJson &&
        backup.fingerprint !== snapshot.columnFingerprints.get(label),
      action:
        rowsLive === 0 && !choices.isScoped && choices.missing === 'restore' ? 'insert' : null,
      onRows: (rowsDone) =>
        this.#input.onProgress?.({
          phase: 'staging',
          table: label,
          rowsDone,
          rowsTotal: backup.rows,
        }),
      signal: this.#input.signal,
    })
    await requireOwnRows(connection, table, constraints)
    await diffTable(connection, table, choices)
    if (choices.isScoped && this.#input.options.rows !== null) await this.#warnOfUnknownKeys(table)
    await settleUpdates(connection, table, movingColumns(table, constraints))
    if (!live.isWritable) await this.#leaveReadOnly(table)
    this.#tables.set(label, table)
    return table
  }

  async #choose(table: StagedTable, isForced: boolean): Promise<DiffChoices> {
    const { options, undo } = this.#input
    const { label, isHistory } = table.live
    if (undo?.rows !== undefined) {
      return { missing: 'restore', changed: 'restore', newer: 'restore', isScoped: true }
    }
    const { rows } = options
    const keys = rows !== null && Object.hasOwn(rows, label) ? rows[label] : undefined
    const isOutside = isForced && !this.#isInScope(label)
    if (keys !== undefined && keys.length > 0) await this.#loadKeys(table, keys)
    return {
      missing: options.missing,
      changed: options.changed,
      newer: isHistory ? options.history : options.newer,
      isScoped: keys !== undefined || isOutside,
    }
  }

  /** The rows that were asked for, their keys read as the columns' own types. */
  async #loadKeys(table: StagedTable, keys: readonly Record<string, string>[]): Promise<void> {
    const names = table.shared.primaryKey.map((column) => column.name)
    const isWhole = (key: Record<string, string>) =>
      Object.keys(key).length === names.length && names.every((name) => Object.hasOwn(key, name))
    if (names.length === 0 || !keys.every(isWhole)) {
      throw new BackupError(
        'invalid_request',
        names.length === 0
          ? `Rows of ${table.live.label} can't be named: it has no primary key.`
          : `Rows of ${table.live.label} are named by their primary key: ${names.join(', ')}.`,
      )
    }
    const texts = names.map((name) => `p.${quoteIdentifier(name)}::text`)
    try {
      await this.#connection.query(
        `insert into ${SCOPE} (table_no, key)
         select ${table.index}, jsonb_build_array(${texts.join(', ')})
         from json_populate_recordset(null::${table.staged}, $1::json) as p`,
        [JSON.stringify(keys)],
      )
    } catch (cause) {
      throw new BackupError(
        'invalid_request',
        `A key given for ${table.live.label} is none that its columns can hold.`,
        { cause },
      )
    }
  }

  async #warnOfUnknownKeys(table: StagedTable): Promise<void> {
    if (table.shared.primaryKey.length === 0) return
    const unknown = await countUnknownKeys(this.#connection, table)
    if (unknown === 0) return
    this.#warn({
      table: table.live.label,
      message: `${unknown} of the rows that were named are neither in the backup nor there now. Check their keys.`,
    })
  }

  /** We may read such rows and not write them; what differs is told. */
  async #leaveReadOnly(table: StagedTable): Promise<void> {
    const { rowCount } = await this.#connection.query(
      `update ${table.staged} set ${ACTION} = case ${ACTION} when 'delete' then 'keep'
         when 'before' then 'unused' else 'skip' end
       where ${ACTION} in ('insert', 'update', 'replace', 'delete', 'before')`,
    )
    if (rowCount === 0) return
    const { label } = table.live
    this.#warn({
      table: label,
      message: `Rows of ${label} differ and are left as they are: nothing says for certain whose they are, so Tenantkeep only reads this table.`,
    })
  }

  async #findSideEffects(constraints: Constraints): Promise<Blocker[]> {
    if (this.#input.options.accept_side_effects) return []
    const blockers: Blocker[] = []
    for (const { label, name, kind } of constraints.sideEffects) {
      const table = this.#tables.get(label)
      if (table === undefined) continue
      const { rows } = await this.#connection.query<{ count: string }>(
        `select count(*) from ${table.staged}
         where ${ACTION} in ('insert', 'update', 'replace', 'delete')`,
      )
      const count = Number(rows[0]?.count)
      if (count === 0) continue
      blockers.push({
        code: 'side_effects',
        table: label,
        constraint: name,
        count,
        keys: [],
        message: `The ${kind} ${name} on ${label} can't be silenced (it is set to act always), so it would act on ${count} rows. Disable it, or accept that with accept_side_effects.`,
      })
    }
    return blockers
  }

  async #describeTables(
    snapshot: Snapshot,
    tables: ReadonlyMap<string, StagedTable>,
  ): Promise<TableResult[]> {
    const results: TableResult[] = []
    for (const backup of this.#input.source.summary.tables) {
      const table = tables.get(backup.name)
      if (table === undefined && !this.#isInScope(backup.name)) continue
      const rowsLive = snapshot.census.get(backup.name) ?? 0
      const result: TableResult =
        table === undefined
          ? {
              name: backup.name,
              rowsInBackup: backup.rows,
              rowsLive,
              inserted: 0,
              updated: 0,
              deleted: 0,
              unchanged: Math.min(rowsLive, backup.rows),
              kept: 0,
              skipped: 0,
              warnings: [],
              samples: [],
            }
          : await countTable(this.#connection, table)
      for (const { table: label, message } of this.#warnings.values()) {
        if (label === backup.name) result.warnings.push(message)
      }
      const { sampleRows: limit = 0 } = this.#input
      if (table !== undefined && limit > 0) {
        result.samples = await sampleRows(this.#connection, table, limit)
      }
      results.push(result)
    }
    return results
  }

  #inOrder(): Map<string, StagedTable> {
    return new Map([...this.#tables].sort(([, a], [, b]) => a.index - b.index))
  }

  #isInScope(label: string): boolean {
    const { tables, rows } = this.#input.options
    if (rows !== null && Object.hasOwn(rows, label)) return true
    if (tables !== null) return tables.includes(label)
    return rows === null
  }

  #requireScope(snapshot: Snapshot): void {
    const { options, source } = this.#input
    const known = new Set([
      ...snapshot.tables.map((table) => table.label),
      ...source.summary.tables.map((table) => table.name),
    ])
    const unknown = [...(options.tables ?? []), ...Object.keys(options.rows ?? {})].filter(
      (label) => !known.has(label),
    )
    if (unknown.length === 0) return
    throw new BackupError(
      'invalid_request',
      `There is no table ${unknown.join(', ')} in this backup, nor among the registered tables.`,
      { details: { tables: unknown } },
    )
  }

  #warn(warning: { table: string; message: string }): void {
    this.#warnings.set(`${warning.table} ${warning.message}`, warning)
  }

  #tell(phase: RestoreProgress['phase']): void {
    this.#input.onProgress?.({ phase, table: null, rowsDone: 0, rowsTotal: 0 })
  }
}

function indexOf(snapshot: Snapshot, label: string): number | undefined {
  const index = snapshot.tables.findIndex((table) => table.label === label)
  return index === -1 ? undefined : index
}

function isEqual(table: SummaryTable, live: { rows: number; rawSha256: string[] }): boolean {
  return (
    table.rows === live.rows &&
    table.parts.length === live.rawSha256.length &&
    table.parts.every((part, index) => part.raw_sha256 === live.rawSha256[index])
  )
}

/** Columns whose change moves a row: unique values, and what leads to its owner, or what it leads to. */
function movingColumns(table: StagedTable, { uniqueKeys, edges }: Constraints): Set<string> {
  const { label } = table.live
  // An administrator's predicate may ask for any of them.
  if (table.live.class === 'custom') return new Set(table.shared.columns.map(({ name }) => name))
  return new Set([
    ...uniqueKeys
      .filter((key) => key.label === label && !key.isPrimary)
      .flatMap((key) => key.columns),
    ...edges.filter((edge) => edge.label === label).flatMap((edge) => edge.columns),
  ])
}

/** Labels of the tables whose rows of nobody's an undo puts back. */
async function readReturning(session: Queryable, { undo }: LookInput): Promise<Set<string>> {
  if (undo === undefined) return new Set()
  const { rows } = await session.query<{ label: string }>(
    `select distinct case schema_name when 'public' then table_name else schema_name || '.' || table_name end as label
     from tenantkeep.released_rows where restore_id = $1::uuid and returned_at is null`,
    [undo.restoreId],
  )
  return new Set(rows.map(({ label }) => label))
}

/** Whether a person administers the tenant at this moment; true for everybody who is not asked that. */
export async function administers(
  session: Queryable,
  { actor, tenantId }: Pick<RestoreInput, 'actor' | 'tenantId'>,
): Promise<boolean> {
  if (actor.kind !== 'user') return true
  const { rows } = await session.query<{ may: boolean }>(
    `select exists (select from tenantkeep.administered_by($1) a where a.tenant_id = $2) as may`,
    [actor.id, tenantId],
  )
  return rows[0]?.may ?? false
}

function describeLossyChanges(
  changes: readonly SchemaChange[],
  accepted: readonly string[],
): Blocker[] {
  return changes
    .filter((change) => change.isLossy && !accepted.includes(change.name))
    .map((change) => ({
      code: 'schema_changed',
      table: change.table,
      constraint: change.name,
      count: 0,
      keys: [],
      message: `${change.message} Accept it with accept_schema_changes: ${change.name}.`,
    }))
}

function schemaChanged(changes: readonly SchemaChange[]): BackupError {
  const lossy = changes.filter((change) => change.isLossy)
  return new BackupError(
    'schema_changed',
    `The schema changed since the backup: ${lossy.map(({ name }) => name).join(', ')}. Nothing was restored. Look at a dry run, and accept the changes by these names.`,
    { details: { changes: lossy } },
  )
}
