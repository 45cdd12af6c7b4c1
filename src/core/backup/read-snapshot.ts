import type { Connection, Queryable } from '../database/database.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { interruptibleBytes } from '../interruptible.ts'
import { selectLines } from '../tables/encode-rows.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import {
  digestFingerprints,
  readTableFingerprints,
  type TableFingerprint,
} from '../tables/read-fingerprint.ts'
import { readGaps } from '../tables/read-gaps.ts'
import { readProtectedTables } from '../tables/read-protected-tables.ts'
import {
  type ProtectionFault,
  readProtectionFaults,
  UNHOOKED,
} from '../tables/read-protection-faults.ts'
import { type Measurement, readMeasurements } from '../tables/record-state.ts'

/**
 * Reading a tenant at one instant. The order of statements is the safety of it:
 *
 *   1. as the operator, lock every registered table in access share mode. Locking takes no snapshot;
 *      a snapshot older than a truncate or a rewriting alter table would see an empty table.
 *   2. as the worker, the first query takes the snapshot: the instant, registry, fingerprint, faults of
 *      the protection, census. The operator may call none of these, and must not.
 *   3. as the operator, set the tenant and prove the confinement; from here on only tenant rows are read.
 */
export interface Snapshot {
  /** UTC, microseconds, the database's clock. */
  takenAt: string
  postgresVersion: string
  /** In the order of ownership. */
  tables: ProtectedTable[]
  /** How many rows the tenant has in each table, counted past row level security; by label. */
  census: ReadonlyMap<string, number>
  fingerprint: string
  /** Digest of a table's columns, by label. */
  columnFingerprints: ReadonlyMap<string, string>
  /** The shape of every host table, in a backup or not. */
  hostTables: TableFingerprint[]
  /** Rows that lead to no tenant, over all tenants, as init or doctor last counted them. */
  measurements: Measurement[]
  gaps: string[]
}

const ATTEMPTS = 3

export interface SnapshotOptions {
  tenantId: string
  lockTimeoutMs: number
  /** False for a restore, which makes temp tables in it; nothing else may be written. */
  isReadOnly?: boolean
  /** A tenant whose root row is not there is no error: a restore may bring it back. */
  mayBeMissing?: boolean
}

/**
 * Opens the transaction of a backup, or of a restore's look, and leaves it open, confined to the tenant.
 * The caller commits. Throws `registry_changed`, `table_locked`, `confinement_broken`, `tenant_not_found`,
 * `not_configured`.
 */
export async function openSnapshot(
  connection: Connection,
  options: SnapshotOptions,
): Promise<Snapshot> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await tryOpenSnapshot(connection, options)
    } catch (error) {
      const isWorthAnother = error instanceof BackupError && error.code === 'registry_changed'
      if (!isWorthAnother || attempt === ATTEMPTS) throw error
      await connection.query('rollback')
    }
  }
}

async function tryOpenSnapshot(
  connection: Connection,
  { tenantId, lockTimeoutMs, isReadOnly = true, mayBeMissing = false }: SnapshotOptions,
): Promise<Snapshot> {
  const locked = await readProtectedTables(connection)
  if (locked.length === 0) throw nothingProtected()
  await lockTables(connection, locked, { lockTimeoutMs, isReadOnly })
  const snapshot = await readSnapshot(connection, tenantId)
  requireSameTables(locked, snapshot.tables)
  const root = snapshot.tables.find((table) => table.class === 'root')
  const isMissing = root !== undefined && snapshot.census.get(root.label) === 0
  if (isMissing && !mayBeMissing) throw tenantNotFound(tenantId)
  await confineSession(connection, tenantId, { isolation: 'repeatable read', isReadOnly })
  return snapshot
}

async function lockTables(
  connection: Connection,
  tables: readonly ProtectedTable[],
  { lockTimeoutMs, isReadOnly }: { lockTimeoutMs: number; isReadOnly: boolean },
): Promise<void> {
  // No parameters: an extended query would take the snapshot, and so would `select set_config`.
  const list = tables.map((table) => table.from.replace(/^from /, '')).join(', ')
  await connection.query(
    `begin isolation level repeatable read ${isReadOnly ? 'read only' : 'read write'}`,
  )
  await connection.query(
    `set local lock_timeout = ${Math.round(lockTimeoutMs)}; set local role tenantkeep_operator`,
  )
  try {
    await connection.query(`lock table ${list} in access share mode`)
  } catch (error) {
    if (hasSqlstate(error, 'lockNotAvailable')) {
      throw new BackupError(
        'table_locked',
        `A table could not be read for ${lockTimeoutMs} ms because somebody alters or truncates it. Try again later, or raise the setting lock_timeout_ms.`,
        { cause: error },
      )
    }
    if (hasSqlstate(error, 'insufficientPrivilege')) {
      // Most likely the protection is not as it was left; then its faults say which table, and why.
      await connection.query('rollback')
      const faults = await readProtectionFaults(connection)
      if (faults.length > 0) throw protectionBroken(faults, error)
      throw new BackupError(
        'confinement_broken',
        'The role tenantkeep_operator may not read every table that the registry names. Run `init` again.',
        { cause: error },
      )
    }
    if (hasSqlstate(error, 'undefinedTable', 'invalidSchemaName')) throw registryChanged(error)
    throw error
  }
  await connection.query('reset role')
}

async function readSnapshot(connection: Queryable, tenantId: string): Promise<Snapshot> {
  const { rows } = await connection.query<{ takenAt: string; postgresVersion: string }>(
    `select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "takenAt",
            current_setting('server_version') as "postgresVersion"`,
  )
  const instant = rows[0]
  if (instant === undefined) throw new BackupError('internal', 'The database has no clock.')
  const tables = await readProtectedTables(connection)
  const faults = await readProtectionFaults(connection)
  if (faults.length > 0) throw protectionBroken(faults)
  const gaps = await readGaps(connection)
  const fingerprints = await readTableFingerprints(connection)
  const measurements = await readMeasurements(connection)
  const census = await takeCensus(connection, tenantId, tables)
  return {
    ...instant,
    tables,
    census,
    gaps,
    hostTables: fingerprints,
    measurements,
    fingerprint: digestFingerprints(fingerprints),
    columnFingerprints: new Map(fingerprints.map((f) => [labelOf(f), f.columns])),
  }
}

function protectionBroken(faults: readonly ProtectionFault[], cause?: unknown): BackupError {
  const tables = faults.length === 1 ? 'a table' : `${faults.length} tables`
  const named = faults.map(({ table, fault }) => `${table} (${fault})`).join(', ')
  const remedy = faults.every(({ fault }) => fault.startsWith(UNHOOKED))
    ? '`tenantkeep hook` puts it back.'
    : 'Run `init` again.'
  return new BackupError(
    'confinement_broken',
    `The protection of ${tables} is not as it was left: ${named}. Nothing was read. ${remedy}`,
    { cause, details: { faults } },
  )
}

async function takeCensus(
  connection: Queryable,
  tenantId: string,
  tables: readonly ProtectedTable[],
): Promise<Map<string, number>> {
  const { rows } = await connection.query<{ schema: string; name: string; count: string }>(
    `select schema_name as schema, table_name as name, row_count as count from tenantkeep.census($1)`,
    [tenantId],
  )
  const counted = new Map(rows.map((row) => [labelOf(row), Number(row.count)]))
  const missing = tables.find((table) => !counted.has(table.label))
  if (missing !== undefined || counted.size !== tables.length) throw registryChanged()
  return counted
}

/**
 * Takes the operator's role and the tenant for the rest of the transaction, and proves that both hold: a
 * policy binds only who inherits the role it is written to, and if that is not so, everything is open.
 * Throws `confinement_broken`, also where the transaction is not of the kind that the caller began.
 */
export async function confineSession(
  connection: Queryable,
  tenantId: string,
  expected: { isolation: 'repeatable read' | 'read committed'; isReadOnly: boolean },
): Promise<void> {
  await connection.query('set local role tenantkeep_operator')
  const { rows } = await connection.query<{ isConfined: boolean }>(
    `select set_config('tenantkeep.tenant', $1, true) = tenantkeep.current_tenant()
        and current_user = 'tenantkeep_operator'
        and current_setting('row_security')::boolean
        and current_setting('transaction_read_only')::boolean = $3
        and current_setting('transaction_isolation') = $2
        and not (select r.rolsuper or r.rolbypassrls from pg_roles r where r.rolname = current_user)
        and case when exists (select from pg_roles where rolname = 'tenantkeep_scope')
              then pg_has_role('tenantkeep_operator', 'tenantkeep_scope', 'usage')
              else current_setting('server_version_num')::int < 160000 end as "isConfined"`,
    [tenantId, expected.isolation, expected.isReadOnly],
  )
  if (rows[0]?.isConfined !== true) {
    throw new BackupError(
      'confinement_broken',
      'The role tenantkeep_operator is not confined to one tenant in this database, most likely because it does not inherit tenantkeep_scope. Nothing was read or written. Run `init` again.',
    )
  }
}

/**
 * The tenant's rows of one table, as lines. Throws `row_too_large` where Postgres can't make a line;
 * whoever stops reading in the middle gives up the connection.
 */
export async function* readLines(
  connection: Connection,
  table: ProtectedTable,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  try {
    yield* interruptibleBytes(connection.copyOut(selectLines(table)), signal)
  } catch (error) {
    if (isTooLarge(error)) {
      throw new BackupError(
        'row_too_large',
        `A row of ${table.label} is too large for Postgres to write as one line of JSON. Its table can only be registered as excluded.`,
        { cause: error, details: { table: table.label } },
      )
    }
    throw error
  }
}

/** Fewer rows than the census: something hides them. More: something lets in what is not the tenant's. */
export function requireCensus(snapshot: Snapshot, table: ProtectedTable, rows: number): void {
  const counted = snapshot.census.get(table.label) ?? 0
  if (rows === counted) return
  const details = { table: table.label, read: rows, counted }
  if (rows < counted) {
    throw new BackupError(
      'rows_hidden',
      `Only ${rows} of the tenant's ${counted} rows of ${table.label} could be read: a policy of the host hides the others from tenantkeep_operator. Let the policy pass this role, or write it to other roles than public.`,
      { details },
    )
  }
  throw new BackupError(
    'confinement_broken',
    `${rows} rows of ${table.label} could be read, though only ${counted} belong to the tenant. Run \`init\` again.`,
    { details },
  )
}

export function tenantNotFound(tenantId: string): BackupError {
  return new BackupError('tenant_not_found', `There is no tenant ${tenantId}.`)
}

export function nothingProtected(): BackupError {
  return new BackupError(
    'not_configured',
    'No table is under protection yet. Run `npm run -s tenantkeep -- init` first.',
  )
}

function requireSameTables(
  locked: readonly ProtectedTable[],
  registered: readonly ProtectedTable[],
): void {
  const before = new Set(locked.map((table) => table.from))
  const isSame =
    registered.length === before.size && registered.every((table) => before.has(table.from))
  if (!isSame) throw registryChanged()
}

function registryChanged(cause?: unknown): BackupError {
  return new BackupError(
    'registry_changed',
    'Tables were registered, renamed or dropped while the backup began. Try again; if it stays so, run `init`.',
    { cause },
  )
}

/** 54000 is «string buffer exceeds maximum»; a plain concatenation ends in an unnamed internal error. */
function isTooLarge(error: unknown): boolean {
  return (
    hasSqlstate(error, 'programLimitExceeded', 'outOfMemory') ||
    (error instanceof Error && /invalid memory alloc request size/.test(error.message))
  )
}

function labelOf(table: { schema: string; name: string }): string {
  return table.schema === 'public' ? table.name : `${table.schema}.${table.name}`
}
