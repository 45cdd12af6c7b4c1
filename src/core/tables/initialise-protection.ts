/**
 * `init`: takes a host application under protection. Looks at the catalog, decides what every table is
 * to a tenant, and writes registry, key functions, grants and policies from that and from nothing else.
 * Nothing is written while a table is unsettled. Can be run again at any time: what is right is left
 * alone, and a run that was stopped goes on.
 */
import type { Connection, Database } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { applyProtection, findTouchedTables, type Protection } from './apply-protection.ts'
import { discoverOwnership } from './discover-ownership.ts'
import type { HostTable } from './host-table.ts'
import { tableName } from './host-table.ts'
import { installSchema, isInstalled } from './install-schema.ts'
import type { ClassifiedTable, UnsettledTable } from './ownership.ts'
import { quoteTable } from './quote-identifier.ts'
import { findTable, readAnswers, type TableAnswers } from './read-answers.ts'
import { readCatalog } from './read-catalog.ts'
import { readRoleFaults } from './read-role-faults.ts'
import {
  describePath,
  fromClause,
  type Registry,
  renderCensusExpression,
  renderReachedExpression,
} from './render-path.ts'
import { dropUnusedKeyFunctions, writeRegistry } from './write-registry.ts'

/** How long a table that somebody holds exclusively is waited for, before anything is written. */
const LOCK_TIMEOUT_MS = 10_000

export interface ProtectionOptions {
  /** `schema.table` (or a bare name) of the table with one row a tenant. */
  tenantTable: string
  /** Its column with what people call the tenant; `name` where the table has one. */
  tenantNameColumn?: string
  /** Names of the column by which other tables carry the tenant's id. */
  tenantColumns: readonly string[]
  /** Schemas to look at; those of the last run, else the tenant table's. */
  schemas?: readonly string[]
  answers?: Partial<TableAnswers>
  /** Consent to switch row level security on where it is off, keeping everybody else's view. */
  enableRowSecurity?: boolean
  /** Look and report; write nothing. */
  dryRun?: boolean
}

export interface ProtectionReport {
  /** False for a dry run, and where a table is unsettled. */
  isApplied: boolean
  tables: ReportedTable[]
  unsettled: UnsettledTable[]
  /** Tables that the registry knew and the host no longer has. */
  vanished: string[]
}

interface ReportedTable {
  schema: string
  name: string
  class: ClassifiedTable['classification']['class']
  /** How a row leads to its tenant; the reason for an excluded table. */
  path: string
  rows: number
  /** Rows that lead to no tenant; null where an administrator's predicate decides. */
  rowsWithoutTenant: number | null
  state: 'new' | 'changed' | 'unchanged'
}

/**
 * Takes the host's tables under protection, or says what keeps it from doing so.
 * Throws `invalid_request` (an answer that names nothing or makes no sense), `table_locked`,
 * `confinement_broken`.
 */
export async function initialiseProtection(
  admin: Database,
  options: ProtectionOptions,
): Promise<ProtectionReport> {
  return admin.withConnection(async (connection) => {
    // Two administrators at once would each see half of the other's work.
    await connection.query(`select pg_advisory_lock(hashtextextended('tenantkeep.init', 0))`)
    try {
      await connection.query(`set lock_timeout = ${LOCK_TIMEOUT_MS}`)
      return await initialise(connection, options)
    } catch (error) {
      if (error instanceof BackupError || !hasSqlstate(error, 'lockNotAvailable')) throw error
      throw new BackupError(
        'table_locked',
        'A table is held exclusively by somebody else. Try again when that is over.',
        { cause: error },
      )
    } finally {
      await connection.query('reset lock_timeout')
      await connection.query(`select pg_advisory_unlock(hashtextextended('tenantkeep.init', 0))`)
    }
  })
}

async function initialise(
  connection: Connection,
  options: ProtectionOptions,
): Promise<ProtectionReport> {
  const wasInstalled = await isInstalled(connection)
  const schemas = await chooseSchemas(connection, options, wasInstalled)
  const catalog = await readCatalog(connection, schemas)
  const root = describeRoot(catalog, options)
  checkTenantColumns(catalog, options.tenantColumns)
  const answers = await readAnswers(connection, catalog, tableName(root), {
    excluded: options.answers?.excluded ?? [],
    shared: options.answers?.shared ?? [],
    owned: options.answers?.owned ?? [],
    custom: options.answers?.custom ?? [],
  })
  const { classified, unsettled } = discoverOwnership(catalog, {
    root,
    tenantColumns: options.tenantColumns,
    ...answers,
  })
  const closed = classified
    .filter((table) => isConfined(table) && !table.table.hasRowSecurity)
    .map((table) => table.table)
  unsettled.push(...findObstacles(classified, options.enableRowSecurity === true))

  const registry: Registry = new Map(classified.map((table) => [tableName(table.table), table]))
  await checkPredicates(connection, classified)
  const before = wasInstalled ? await readRegistered(connection) : new Map()
  const tables = await describeTables(connection, registry, before)
  const vanished = [...before.keys()].filter(
    (name) => !catalog.some((table) => tableName(table) === name),
  )
  const report = { tables, unsettled, vanished }
  if (options.dryRun === true || unsettled.length > 0) return { ...report, isApplied: false }

  await installSchema(connection)
  await requireConfinedRoles(connection)
  const rowExpressions = await inTransaction(connection, async () => {
    await writeSettings(connection, { root, schemas, catalog, options })
    return writeRegistry(connection, registry)
  })
  await protectTables(connection, classified, rowExpressions, new Set(closed))
  await releaseTables(connection, registry)
  await dropUnusedKeyFunctions(connection)
  await probeAsOperator(connection, classified, rowExpressions)
  return { ...report, isApplied: true }
}

async function chooseSchemas(
  connection: Connection,
  options: ProtectionOptions,
  wasInstalled: boolean,
): Promise<readonly string[]> {
  if (options.schemas !== undefined && options.schemas.length > 0) return options.schemas
  if (wasInstalled) {
    const { rows } = await connection.query<{ value: string[] }>(
      `select value from tenantkeep.settings where key = 'host_schemas'`,
    )
    if (rows[0] !== undefined) return rows[0].value
  }
  const dot = options.tenantTable.indexOf('.')
  return [dot > 0 ? options.tenantTable.slice(0, dot) : 'public']
}

function describeRoot(
  catalog: readonly HostTable[],
  options: ProtectionOptions,
): { schema: string; name: string; key: string; label: string | null } {
  const table = findTable(catalog, options.tenantTable, '--tenant-table')
  const [key, ...more] = table.primaryKey
  if (key === undefined || more.length > 0) {
    throw new BackupError(
      'invalid_request',
      `--tenant-table ${tableName(table)} needs a primary key of one column, the tenant's id; it has ${table.primaryKey.length}.`,
    )
  }
  const columns = table.columns.map((column) => column.name)
  const wanted = options.tenantNameColumn
  if (wanted !== undefined && !columns.includes(wanted)) {
    throw new BackupError(
      'invalid_request',
      `--tenant-name-column: ${tableName(table)} has no column ${wanted}.`,
    )
  }
  const label = wanted ?? (columns.includes('name') ? 'name' : null)
  return { schema: table.schema, name: table.name, key, label }
}

function checkTenantColumns(catalog: readonly HostTable[], names: readonly string[]): void {
  for (const name of names) {
    if (catalog.some((table) => table.columns.some((column) => column.name === name))) continue
    throw new BackupError(
      'invalid_request',
      `--tenant-column ${name}: no table in the schemas looked at has such a column.`,
    )
  }
}

function isConfined({ classification }: ClassifiedTable): boolean {
  return classification.class !== 'shared' && classification.class !== 'excluded'
}

/** What keeps us from protecting tables whose class is settled. */
function findObstacles(
  classified: readonly ClassifiedTable[],
  mayEnable: boolean,
): UnsettledTable[] {
  return classified
    .filter((entry) => entry.classification.class !== 'excluded')
    .flatMap((entry) => {
      const { table } = entry
      if (table.foreignOwner !== null) return [describeForeignTable(table, table.foreignOwner)]
      if (table.hasRowSecurity || !isConfined(entry)) return []
      if (table.restrictivePolicies.length > 0) return [describeSleepingPolicies(table)]
      return mayEnable ? [] : [describeOpenTable(table)]
    })
}

function describeForeignTable(table: HostTable, owner: string): UnsettledTable {
  return {
    schema: table.schema,
    name: table.name,
    reason: `It belongs to ${owner}, and only a member of that role can put policies on it. Run init as such a role.`,
    flags: [`--exclude "${tableName(table)}=why its rows need no backup"`],
  }
}

function describeSleepingPolicies(table: HostTable): UnsettledTable {
  return {
    schema: table.schema,
    name: table.name,
    reason: `Row level security is off, and switching it on would wake restrictive policies that hide rows from others: ${table.restrictivePolicies.join(', ')}. Drop them, or switch it on yourself.`,
    flags: [`alter table ${quoteTable(table)} enable row level security`],
  }
}

function describeOpenTable(table: HostTable): UnsettledTable {
  return {
    schema: table.schema,
    name: table.name,
    reason:
      'Row level security is off, so nothing would confine us to one tenant. Switching it on with --enable-rls adds a policy that keeps everybody else’s view as it is; only «copy … from» by others than the owner stops working.',
    flags: ['--enable-rls'],
  }
}

/**
 * Runs the administrator's conditions on no row, the way the census will: with nothing but pg_catalog in
 * the search path, and with a parameter, which leaves no room for a second statement. Throws `invalid_request` with what Postgres says.
 */
async function checkPredicates(
  connection: Connection,
  classified: readonly ClassifiedTable[],
): Promise<void> {
  for (const { table, classification } of classified) {
    if (classification.class !== 'custom') continue
    const condition = classification.predicate.replaceAll('{tenant}', () => '$1::text')
    try {
      await inTransaction(connection, async () => {
        await connection.query('set local search_path = pg_catalog, pg_temp')
        await connection.query(
          `select ${fromClause(table)} as owner_1 where (${condition}) limit 0`,
          [null],
        )
      })
    } catch (error) {
      if (!hasSqlstate(error, 'syntaxOrAccess')) throw error
      throw new BackupError(
        'invalid_request',
        `--custom ${tableName(table)}: Postgres can't read the condition (${(error as Error).message}). Write columns bare, and other tables and functions with their schema.`,
        { cause: error },
      )
    }
  }
}

/** Throws `confinement_broken` where our roles would not be bound by our policies. */
async function requireConfinedRoles(connection: Connection): Promise<void> {
  const faults = await readRoleFaults(connection)
  if (faults.length === 0) return
  throw new BackupError('confinement_broken', `Our roles are not confined: ${faults.join('; ')}.`, {
    details: { faults },
  })
}

interface RegisteredTable {
  class: string
  censusExpression: string | null
  isProtected: boolean
}

/** What the registry holds, and whether each table's protection is as it was left. */
async function readRegistered(connection: Connection): Promise<Map<string, RegisteredTable>> {
  const { rows } = await connection.query<RegisteredTable & { name: string }>(
    `select t.schema_name || '.' || t.table_name as name, t.class,
       t.census_expression as "censusExpression",
       t.class = 'excluded' or coalesce(t.policy_digest = p.digest, false) as "isProtected"
     from tenantkeep.tenant_tables t
     left join tenantkeep.table_protection() p using (schema_name, table_name)`,
  )
  return new Map(rows.map((row) => [row.name, row]))
}

async function describeTables(
  connection: Connection,
  registry: Registry,
  before: ReadonlyMap<string, RegisteredTable>,
): Promise<ReportedTable[]> {
  const described: ReportedTable[] = []
  for (const entry of registry.values()) {
    const { table, classification } = entry
    const reached = renderReachedExpression(registry, entry)
    const path = describePath(registry, entry)
    const { rows } = await connection
      .query<{ total: string; lost: string }>(
        `select count(*) as total,
           count(*) filter (where (${reached ?? 'true'}) is not true) as lost ${fromClause(table)}`,
      )
      .catch((error: unknown) => {
        if (!hasSqlstate(error, 'syntaxOrAccess', 'dataException')) throw error
        throw new BackupError(
          'invalid_request',
          `The rows of ${tableName(table)} can't be followed along ${path}: ${(error as Error).message}.`,
          { cause: error },
        )
      })
    const known = before.get(tableName(table))
    const isSame =
      known?.isProtected &&
      known.class === classification.class &&
      known.censusExpression === renderCensusExpression(registry, entry)
    described.push({
      schema: table.schema,
      name: table.name,
      class: classification.class,
      path,
      rows: Number(rows[0]?.total ?? 0),
      rowsWithoutTenant: reached === null ? null : Number(rows[0]?.lost ?? 0),
      state: known === undefined ? 'new' : isSame ? 'unchanged' : 'changed',
    })
  }
  return described
}

async function writeSettings(
  connection: Connection,
  found: {
    root: ReturnType<typeof describeRoot>
    schemas: readonly string[]
    catalog: readonly HostTable[]
    options: ProtectionOptions
  },
): Promise<void> {
  const { root, schemas, catalog, options } = found
  const settings: Record<string, unknown> = {
    tenant_table: { schema: root.schema, table: root.name, key: root.key, name: root.label },
    tenant_columns: options.tenantColumns,
    host_schemas: schemas,
  }
  for (const [key, value] of Object.entries(settings)) {
    await connection.query(
      `insert into tenantkeep.settings as s (key, value) values ($1, $2::jsonb)
       on conflict (key) do update set value = excluded.value, updated_at = now()
       where s.value <> excluded.value`,
      [key, JSON.stringify(value)],
    )
  }
  const membership = findMembership(catalog, root.schema, options.tenantColumns)
  if (membership === null) return
  // A default only: who is owner or admin is the administrator's to say, in tenantkeep.settings.
  await connection.query(
    `insert into tenantkeep.settings (key, value) values ('membership', $1::jsonb)
     on conflict (key) do nothing`,
    [JSON.stringify(membership)],
  )
}

/** The default of the setting `membership`: profiles(id, <tenant column>, role), where there is such a table. */
function findMembership(
  catalog: readonly HostTable[],
  schema: string,
  tenantColumns: readonly string[],
): Record<string, unknown> | null {
  const table = catalog.find(
    (candidate) => candidate.schema === schema && candidate.name === 'profiles',
  )
  const names = new Set(table?.columns.map((column) => column.name))
  const tenant = tenantColumns.find((column) => names.has(column))
  if (tenant === undefined || !names.has('id') || !names.has('role')) return null
  return { schema, table: 'profiles', user: 'id', tenant, role: 'role', roles: ['owner', 'admin'] }
}

async function protectTables(
  connection: Connection,
  classified: readonly ClassifiedTable[],
  rowExpressions: ReadonlyMap<string, string | null>,
  toEnable: ReadonlySet<HostTable>,
): Promise<void> {
  const registered = await readRegistered(connection)
  const policyRole = await findPolicyRole(connection)
  for (const { table, classification } of classified) {
    const name = tableName(table)
    if (registered.get(name)?.isProtected === true || classification.class === 'excluded') continue
    const rowExpression = rowExpressions.get(name) ?? null
    const protection: Protection =
      rowExpression !== null
        ? {
            kind: 'confined',
            rowExpression,
            enableRowSecurity: toEnable.has(table),
            typeSchemas: [...new Set(table.columns.flatMap((column) => column.typeSchema ?? []))],
          }
        : { kind: 'shared' }
    await applyProtection(connection, table, protection, policyRole)
    await connection.query(
      `update tenantkeep.tenant_tables t set policy_digest = p.digest
       from tenantkeep.table_protection($1::regclass) p
       where p.schema_name = t.schema_name and p.table_name = t.table_name`,
      [quoteTable(table)],
    )
  }
}

/** Takes our policies and grants off every table that is not, or no longer, under protection. */
async function releaseTables(connection: Connection, registry: Registry): Promise<void> {
  const policyRole = await findPolicyRole(connection)
  for (const table of await findTouchedTables(connection)) {
    const kept = registry.get(tableName(table))
    if (kept !== undefined && kept.classification.class !== 'excluded') continue
    await applyProtection(connection, table, { kind: 'none' }, policyRole)
  }
}

/** Before Postgres 16 the scope role can't exist, and our policies name the operator (see migration «roles»). */
async function findPolicyRole(connection: Connection): Promise<string> {
  const { rows } = await connection.query<{ role: string }>(
    `select rolname as role from pg_catalog.pg_roles where rolname = 'tenantkeep_scope'`,
  )
  return rows[0]?.role ?? 'tenantkeep_operator'
}

/**
 * Reads nothing from every table as the operator, with the condition that every read repeats: finds missing grants and host policies that need what
 * the operator lacks, now instead of tonight.
 */
async function probeAsOperator(
  connection: Connection,
  classified: readonly ClassifiedTable[],
  rowExpressions: ReadonlyMap<string, string | null>,
): Promise<void> {
  const failures: { table: string; reason: string }[] = []
  for (const entry of classified) {
    if (entry.classification.class === 'excluded') continue
    await connection.query('begin')
    try {
      await connection.query('set local role tenantkeep_operator')
      const condition = rowExpressions.get(tableName(entry.table)) ?? 'true'
      await connection.query(`select ${fromClause(entry.table)} where ${condition} limit 0`)
      const { rows: rights } = await connection.query<{ missing: boolean }>(
        `select not (has_table_privilege($1::regclass, 'select') and ($2 or (
           has_table_privilege($1::regclass, 'insert') and has_table_privilege($1::regclass, 'update')
           and has_table_privilege($1::regclass, 'delete')))) as missing`,
        [quoteTable(entry.table), entry.classification.class === 'shared'],
      )
      if (rights[0]?.missing === true) throw new Error('a grant did not take')
    } catch (error) {
      if (hasSqlstate(error, 'lockNotAvailable')) throw error
      failures.push({ table: tableName(entry.table), reason: (error as Error).message })
    } finally {
      await connection.query('rollback')
    }
  }
  if (failures.length === 0) return
  throw new BackupError(
    'confinement_broken',
    `The operator can't read or write ${failures.map((f) => `${f.table} (${f.reason})`).join(', ')}. Grant what is missing to tenantkeep_operator, then run init again.`,
    { details: { tables: failures } },
  )
}
