/**
 * `init`: takes a host application under protection. Looks at the catalog, decides what every table is
 * to a tenant, and writes registry, key functions, grants and policies from that and from nothing else.
 * Nothing is written while a table is unsettled. Can be run again at any time: what is right is left
 * alone, and a run that was stopped goes on.
 */
import * as z from 'zod'
import type { Connection, Database } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import {
  applyProtection,
  findPolicyRole,
  findTouchedTables,
  type Protection,
} from './apply-protection.ts'
import { countRowsOfNoTenant } from './count-rows-of-no-tenant.ts'
import { type BindingPolicy, findBindingPolicies } from './find-binding-policies.ts'
import type { Obstacle, OpenTable, Question } from './group-questions.ts'
import type { HostTable } from './host-table.ts'
import { tableName } from './host-table.ts'
import { installSchema, isInstalled } from './install-schema.ts'
import { isWritable } from './is-writable.ts'
import type { ClassifiedTable, UnsettledTable } from './ownership.ts'
import { proposeMarks, type TableMarks } from './propose-marks.ts'
import { quoteIdentifier, quoteTable } from './quote-identifier.ts'
import {
  type Answer,
  type AnswersDocument,
  addAnswer,
  findTable,
  type KnownAnswers,
  type MarksAnswer,
  readAnswers,
  type TableAnswers,
} from './read-answers.ts'
import { describeOddities, readCatalog, readCatalogNotes } from './read-catalog.ts'
import { readRoleFaults } from './read-role-faults.ts'
import { acceptCounts, recordAccepted, recordKnownTables } from './record-state.ts'
import { recordStatements } from './record-statements.ts'
import { describePath, fromClause, type Registry, renderCensusExpression } from './render-path.ts'
import { type Survey, type SurveyMemory, surveyHost } from './survey-host.ts'
import { dropUnusedFunctions, writeRegistry } from './write-registry.ts'

/** How often answers given beforehand may lead to further questions. */
const CHOICE_ROUNDS = 5

const NO_MARKS: TableMarks = {
  isHistory: false,
  isSeeded: false,
  keepLive: [],
  masked: [],
  label: [],
}

/** How long a table that somebody holds exclusively is waited for, before anything is written. */
const LOCK_TIMEOUT_MS = 5_000

/** Milliseconds for counting rows once more; what is larger keeps the count that was shown. */
const RECOUNT_BUDGET = { perTable: 1_000, inAll: 3_000 }

export interface ProtectionOptions {
  /** `schema.table` (or a bare name) of the table with one row a tenant. */
  tenantTable: string
  /** Its column with what people call the tenant; `name` where the table has one. */
  tenantNameColumn?: string
  /** Names of the column by which other tables carry the tenant's id. */
  tenantColumns: readonly string[]
  /** Schemas to look at; those of the last run, else the tenant table's. */
  schemas?: readonly string[]
  /** What the flags say of tables. */
  answers?: Partial<TableAnswers>
  /** The answers file. */
  document?: AnswersDocument
  /** Whether tenants below a tenant count in; needed only where the tenant table refers to itself. */
  subtenants?: 'separate' | 'included'
  /** The id of the tenant whose rows are the defaults; that of the last run where nothing says another. */
  templateTenant?: string
  /** Answers to questions by their id: the key of the option. */
  choices?: ReadonlyMap<string, string>
  /** Answer every question that has a default with it. */
  acceptDefaults?: boolean
  /** Consent to switch row level security on where it is off, keeping everybody else's view. */
  enableRowSecurity?: boolean
  /** Look and report; write nothing. */
  dryRun?: boolean
  /** Give the SQL that would be run, and run nothing. */
  emit?: boolean
}

export interface ProtectionReport {
  /** False for a dry run, and where a table is unsettled. */
  isApplied: boolean
  /** Every table, owners first, those that nothing settles last. */
  tables: ReportedTable[]
  /** What only a person can say, in a few groups; empty where everything is settled. */
  questions: Question[]
  /** The tables of the questions, one by one, each with what would settle it alone. */
  unsettled: UnsettledTable[]
  /** Tables that the registry knew and the host no longer has. */
  vanished: string[]
  /** What else there is to know: views, answers that name nothing any more. */
  notes: string[]
  /** Everything that was answered, in the form of the answers file. */
  answers: AnswersDocument
  /** What would be run; only where `emit` asked for it and everything is settled. */
  sql?: string
}

export interface ReportedTable {
  schema: string
  name: string
  class: ClassifiedTable['classification']['class'] | 'unclassified'
  /** How a row leads to its tenant; the reason for an excluded table. */
  path: string
  rows: number
  /** False where we may only read its rows, because its owners are not named by a unique key. */
  isWritable: boolean
  /** Rows that lead to no tenant; null where an administrator's predicate decides, or where counting took too long. */
  rowsWithoutTenant: number | null
  /** Rows that one path leads to a tenant and another one to another; null where that can't be told. */
  rowsOfTwoTenants: number | null
  /** Rows whose tenant column is null; null where it can't be. */
  nullTenantRows: number | null
  marks: TableMarks
  /** What a person should know of it, a sentence each. */
  notes: string[]
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
  const memory: SurveyMemory = { measured: new Map(), usage: new Map(), rows: new Map() }
  let document: AnswersDocument = options.document ?? { version: 1 }
  let found = await survey(connection, { options, document, catalog, root, memory, wasInstalled })
  for (let round = 0; round < CHOICE_ROUNDS; round += 1) {
    const answers = chooseAnswers(found.questions, options)
    if (answers.length === 0) break
    document = answers.reduce(addAnswer, document)
    found = await survey(connection, { options, document, catalog, root, memory, wasInstalled })
  }

  const { registry, answers, marks } = found
  const { classified } = found.discovery
  const template = await findTemplate(connection, root, options)
  const before = wasInstalled ? await readRegistered(connection) : new Map()
  const report = {
    tables: [
      ...classified.map((entry) => describeTable(found, entry, before)),
      ...found.open.map((open) => describeOpenTable(open, marks)),
    ],
    questions: found.questions,
    unsettled: listUnsettled(found),
    vanished: [...before.keys()].filter(
      (name) => !catalog.some((table) => tableName(table) === name),
    ),
    notes: [
      ...answers.notes,
      ...(template.note === undefined ? [] : [template.note]),
      ...(await readCatalogNotes(connection, schemas)),
    ],
    answers: { ...answers.document, ...settledByFlags(options, found.root) },
  }
  const isSettled = found.questions.length === 0 && found.open.length === 0
  if (options.dryRun === true || !isSettled) return { ...report, isApplied: false }
  const { tables } = report
  const closed = classified
    .filter((table) => isConfined(table) && !table.table.hasRowSecurity)
    .map((table) => table.table)

  const plan: Plan = {
    ...{ found, schemas, catalog, options },
    templateTenant: template.id,
    toEnable: new Set(closed),
  }
  if (options.emit === true) {
    return { ...report, isApplied: false, sql: await emitProtection(connection, plan, tables) }
  }
  await installSchema(connection)
  const rowExpressions = await writeOwnState(connection, plan)
  await protectHost(connection, plan, rowExpressions)
  await probeAsOperator(connection, registry, rowExpressions)
  await recordOutcome(connection, tables)
  return { ...report, isApplied: true }
}

interface Plan {
  found: Found
  schemas: readonly string[]
  catalog: readonly HostTable[]
  options: ProtectionOptions
  /** Undefined where nothing names one now; what the setting says then stays. */
  templateTenant: string | undefined
  /** Tables whose row level security is to be switched on. */
  toEnable: ReadonlySet<HostTable>
}

type RowExpressions = Awaited<ReturnType<typeof writeRegistry>>

/** Settings, registry and key functions; nothing here touches a host table. */
async function writeOwnState(connection: Connection, plan: Plan): Promise<RowExpressions> {
  const { found, schemas, catalog, options, templateTenant } = plan
  await requireConfinedRoles(connection)
  return inTransaction(connection, async () => {
    await writeSettings(connection, {
      ...{ root: found.root, schemas, catalog, options, templateTenant },
    })
    return writeRegistry(connection, found.registry, found.marks, listAnswered(found.answers))
  })
}

async function protectHost(
  connection: Connection,
  { found, toEnable }: Plan,
  rowExpressions: RowExpressions,
): Promise<void> {
  await protectTables(connection, found.registry, rowExpressions, toEnable)
  await releaseTables(connection, found.registry)
  await dropUnusedFunctions(connection, found.registry)
}

/** The same as SQL for people to review and deploy. Our own part is tried out and rolled back. */
async function emitProtection(
  connection: Connection,
  plan: Plan,
  tables: readonly ReportedTable[],
): Promise<string> {
  const recorder = recordStatements(connection)
  await connection.query('begin')
  try {
    await installSchema(recorder.connection)
    const rowExpressions = await writeOwnState(recorder.connection, plan)
    recorder.holdBack()
    await protectHost(recorder.connection, plan, rowExpressions)
    await recordKnownTables(recorder.connection)
    await recordAccepted(recorder.connection, tables.filter(isClassified))
  } finally {
    await connection.query('rollback')
  }
  return [
    '-- Written by «tenantkeep init --emit». Run it as the owner of the database, in one transaction:',
    '-- psql --single-transaction --set ON_ERROR_STOP=1 --file <this file>, or as a migration of the host.',
    "set lock_timeout = '10s';",
    ...recorder.statements().map((statement) => `${statement};`),
    'reset lock_timeout;',
    '',
  ].join('\n\n')
}

function isClassified(table: ReportedTable): boolean {
  return table.class !== 'unclassified'
}

interface Found extends Survey {
  binding: readonly BindingPolicy[]
  root: Root
  answers: KnownAnswers
  marks: ReadonlyMap<string, TableMarks>
}

async function survey(
  connection: Connection,
  input: {
    options: ProtectionOptions
    document: AnswersDocument
    catalog: readonly HostTable[]
    root: Root
    memory: SurveyMemory
    wasInstalled: boolean
  },
): Promise<Found> {
  const { options, document, catalog, memory } = input
  const subtenants =
    options.subtenants ??
    document.subtenants ??
    (input.wasInstalled ? await readSubtenants(connection) : undefined)
  const root = { ...input.root, subtenants }
  const answers = await readAnswers(
    connection,
    catalog,
    tableName(root),
    {
      excluded: options.answers?.excluded ?? [],
      shared: options.answers?.shared ?? [],
      owned: options.answers?.owned ?? [],
      custom: options.answers?.custom ?? [],
    },
    document,
    options.tenantColumns,
  )
  await checkPredicates(connection, catalog, answers.custom)
  const mayEnable = options.enableRowSecurity === true || document.enable_rls === true
  const schemas = [...new Set(catalog.map((table) => table.schema))]
  const binding = await findBindingPolicies(connection, schemas)
  const surveyed = await surveyHost(
    connection,
    {
      catalog,
      root: {
        schema: root.schema,
        name: root.name,
        key: root.key,
        parentColumn: subtenants === 'included' ? root.selfColumn : null,
      },
      tenantColumns: options.tenantColumns,
      answers,
      openParentColumn: subtenants === undefined ? root.selfColumn : null,
      obstaclesOf: (classified) => findObstacles(classified, binding, mayEnable),
    },
    memory,
  )
  const marks = new Map(
    catalog.map((table) => {
      const name = tableName(table)
      return [name, joinMarks(proposeMarks(table), answers.marks.get(name))]
    }),
  )
  return { ...surveyed, binding, root, answers, marks }
}

/** The answers that flags give to these questions. Throws `invalid_request` for an option that is none. */
function chooseAnswers(questions: readonly Question[], options: ProtectionOptions): Answer[] {
  return questions.flatMap((question) => {
    const key = options.choices?.get(question.id)
    if (key === undefined) {
      return options.acceptDefaults === true && question.default !== null ? [question.default] : []
    }
    const option = question.options.find((candidate) => candidate.key === key)
    if (option !== undefined) return [option.answer]
    throw new BackupError(
      'invalid_request',
      `--answer ${question.id}=${key}: the answers are ${question.options.map((candidate) => candidate.key).join(', ')}.`,
    )
  })
}

/** What was said by flags and belongs into the answers file. */
function settledByFlags(options: ProtectionOptions, root: Root): Partial<AnswersDocument> {
  return {
    tenant_table: tableName(root),
    tenant_columns: [...options.tenantColumns],
    ...(options.tenantNameColumn === undefined
      ? {}
      : { tenant_name_column: options.tenantNameColumn }),
    ...(options.schemas === undefined ? {} : { schemas: [...options.schemas] }),
    ...(options.enableRowSecurity === true ? { enable_rls: true } : {}),
    ...(options.templateTenant === undefined ? {} : { template_tenant: options.templateTenant }),
    ...(root.subtenants === undefined ? {} : { subtenants: root.subtenants }),
  }
}

/** What of each registry row a person said, so that the next run keeps it. */
function listAnswered(answers: KnownAnswers): Map<string, string[]> {
  const said = new Map<string, string[]>()
  const add = (name: string, topic: string) => said.set(name, [...(said.get(name) ?? []), topic])
  for (const name of answers.answered) add(name, 'class')
  for (const [name, marks] of answers.marks)
    for (const topic of Object.keys(marks)) add(name, topic)
  return said
}

function joinMarks(proposed: TableMarks, said: MarksAnswer | undefined): TableMarks {
  return {
    isHistory: said?.history ?? proposed.isHistory,
    isSeeded: said?.seeded ?? proposed.isSeeded,
    keepLive: said?.keep_live ?? proposed.keepLive,
    masked: said?.masked ?? proposed.masked,
    label: said?.label ?? proposed.label,
  }
}

async function readSubtenants(
  connection: Connection,
): Promise<'separate' | 'included' | undefined> {
  const { rows } = await connection.query<{ value: unknown }>(
    `select value from tenantkeep.settings where key = 'subtenants'`,
  )
  return z.enum(['separate', 'included']).optional().catch(undefined).parse(rows[0]?.value)
}

/** What doctor compares with later: the shape of every table, and the counts that were shown. */
async function recordOutcome(
  connection: Connection,
  tables: readonly ReportedTable[],
): Promise<void> {
  await recordKnownTables(connection)
  await recordAccepted(connection, tables)
  // Counted once more the way doctor counts, since only like can be compared with like.
  await countRowsOfNoTenant(connection, RECOUNT_BUDGET)
  await acceptCounts(connection)
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

function describeRoot(catalog: readonly HostTable[], options: ProtectionOptions): Root {
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
  const self = table.foreignKeys.find(
    (candidate) =>
      `${candidate.targetSchema}.${candidate.targetTable}` === tableName(table) &&
      candidate.columns.length === 1 &&
      candidate.targetColumns[0] === key,
  )
  const selfColumn = self?.columns[0] ?? null
  return { schema: table.schema, name: table.name, key, label, selfColumn, subtenants: undefined }
}

/**
 * The template tenant as its column writes the id. One that only the answers file names may be missing here:
 * the file goes with the application, to databases that have other tenants.
 */
async function findTemplate(
  connection: Connection,
  root: Root,
  options: ProtectionOptions,
): Promise<{ id?: string; note?: string }> {
  const given = options.templateTenant ?? options.document?.template_tenant
  if (given === undefined) return {}
  const key = quoteIdentifier(root.key)
  const { rows } = await connection.query<{ id: string }>(
    `select ${key}::text as id from ${quoteTable(root)} where ${key}::text = $1`,
    [given],
  )
  const id = rows[0]?.id
  if (id !== undefined) return { id }
  const missing = `${tableName(root)} has no row ${given}, which is to be the template tenant.`
  if (options.templateTenant === undefined) return { note: missing }
  throw new BackupError('invalid_request', `--template-tenant: ${missing}`)
}

interface Root {
  schema: string
  name: string
  key: string
  label: string | null
  /** Its column that names the tenant above; null where there is none. */
  selfColumn: string | null
  subtenants: 'separate' | 'included' | undefined
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
  binding: readonly BindingPolicy[],
  mayEnable: boolean,
): Obstacle[] {
  return classified
    .filter((entry) => entry.classification.class !== 'excluded')
    .flatMap((entry): Obstacle[] => {
      const { table } = entry
      if (table.foreignOwner !== null) {
        const reason = `It belongs to ${table.foreignOwner}, and only a member of that role can put policies on it. Run init as such a role.`
        return [{ kind: 'foreign_owner', table, reason }]
      }
      if (!isConfined(entry)) return []
      const policies = binding.filter((policy) => tableName(policy) === tableName(table))
      if (policies.length > 0) {
        const names = policies.map(({ policy }) => policy).join(', ')
        const remedies = policies.map(({ remedy }) => remedy).join('; ')
        const reason = `Restrictive policies that bind everybody would hide rows from us, and every backup would fail: ${names}. Write them to those whom they are meant for: ${remedies}`
        return [{ kind: 'binding_policies', table, reason }]
      }
      if (table.hasRowSecurity) return []
      if (table.restrictivePolicies.length > 0) {
        const reason = `Row level security is off, and switching it on would wake restrictive policies that hide rows from others: ${table.restrictivePolicies.join(', ')}. Drop them, or switch it on yourself.`
        return [{ kind: 'sleeping_policies', table, reason }]
      }
      if (mayEnable) return []
      const reason =
        'Row level security is off, so nothing would confine us to one tenant. Switching it on with --enable-rls adds a policy that keeps everybody else’s view as it is; only «copy … from» by others than the owner stops working.'
      return [{ kind: 'enable_rls', table, reason }]
    })
}

/** The tables of the questions one by one, with what would settle each alone. */
function listUnsettled(found: Found): UnsettledTable[] {
  const unsettled: UnsettledTable[] = []
  for (const question of found.questions) {
    for (const name of question.tables) {
      const open = found.discovery.unsettled.find((table) => tableName(table) === name)
      const entry = found.registry.get(name)
      const obstacle = findObstacles(found.discovery.classified, found.binding, false).find(
        (candidate) => candidate.kind === question.kind && tableName(candidate.table) === name,
      )
      const table = open ?? entry?.table
      if (table === undefined) continue
      unsettled.push({
        schema: table.schema,
        name: table.name,
        reason: obstacle?.reason ?? open?.reason ?? question.text,
        flags: flagsFor(question, name, table, open, found.binding),
      })
    }
  }
  return unsettled
}

function flagsFor(
  question: Question,
  name: string,
  table: { schema: string; name: string },
  open: UnsettledTable | undefined,
  binding: readonly BindingPolicy[],
): string[] {
  if (open !== undefined) return open.flags
  switch (question.kind) {
    case 'enable_rls':
      return ['--enable-rls']
    case 'sleeping_policies':
      return [`alter table ${quoteTable(table)} enable row level security`]
    case 'binding_policies':
      return binding.filter((policy) => tableName(policy) === name).map(({ remedy }) => remedy)
    case 'foreign_owner':
      return [`--exclude "${name}=why its rows need no backup"`]
    default:
      return question.options.flatMap((option) => option.flags)
  }
}

/**
 * Runs the administrator's conditions on no row, the way the census will: with nothing but pg_catalog in
 * the search path, and with a parameter, which leaves no room for a second statement. Throws `invalid_request` with what Postgres says.
 */
async function checkPredicates(
  connection: Connection,
  catalog: readonly HostTable[],
  custom: ReadonlyMap<string, string>,
): Promise<void> {
  for (const [name, predicate] of custom) {
    const table = findTable(catalog, name, '--custom')
    const condition = predicate.replaceAll('{tenant}', () => '$1::text')
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

function describeTable(
  { registry, measured, marks }: Found,
  entry: ClassifiedTable,
  before: ReadonlyMap<string, RegisteredTable>,
): ReportedTable {
  const { table, classification } = entry
  const name = tableName(table)
  const rows = measured.get(name)
  const known = before.get(name)
  const isSame =
    known?.isProtected &&
    known.class === classification.class &&
    known.censusExpression === renderCensusExpression(registry, entry)
  const notes = isConfined(entry) ? describeOddities(table) : []
  if (rows?.isEstimate === true) {
    notes.push('It is too large to count here: its rows are what the planner thinks.')
  }
  if (!isWritable(registry, entry)) {
    notes.push(
      'We only read it: the columns that name its owner are not unique there, so a restore could reach a neighbour’s rows.',
    )
  }
  return {
    schema: table.schema,
    name: table.name,
    class: classification.class,
    path: describePath(registry, entry),
    rows: rows?.rows ?? 0,
    isWritable: isWritable(registry, entry),
    rowsWithoutTenant: rows?.rowsWithoutTenant ?? null,
    rowsOfTwoTenants: rows?.rowsOfTwoTenants ?? null,
    nullTenantRows: rows?.nullTenantRows ?? null,
    marks: isConfined(entry) ? (marks.get(name) ?? NO_MARKS) : NO_MARKS,
    notes,
    state: known === undefined ? 'new' : isSame ? 'unchanged' : 'changed',
  }
}

function describeOpenTable(
  { table, rows }: OpenTable,
  marks: ReadonlyMap<string, TableMarks>,
): ReportedTable {
  return {
    schema: table.schema,
    name: table.name,
    class: 'unclassified',
    path: '',
    rows,
    isWritable: false,
    rowsWithoutTenant: null,
    rowsOfTwoTenants: null,
    nullTenantRows: null,
    marks: marks.get(tableName(table)) ?? NO_MARKS,
    notes: describeOddities(table),
    state: 'new',
  }
}

async function writeSettings(
  connection: Connection,
  found: {
    root: Root
    schemas: readonly string[]
    catalog: readonly HostTable[]
    options: ProtectionOptions
    templateTenant: string | undefined
  },
): Promise<void> {
  const { root, schemas, catalog, options, templateTenant } = found
  const settings: Record<string, unknown> = {
    tenant_table: { schema: root.schema, table: root.name, key: root.key, name: root.label },
    tenant_columns: options.tenantColumns,
    host_schemas: schemas,
    ...(root.subtenants === undefined ? {} : { subtenants: root.subtenants }),
    ...(templateTenant === undefined ? {} : { template_tenant: templateTenant }),
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
  registry: Registry,
  rowExpressions: ReadonlyMap<string, string | null>,
  toEnable: ReadonlySet<HostTable>,
): Promise<void> {
  const registered = await readRegistered(connection)
  const policyRole = await findPolicyRole(connection)
  for (const entry of registry.values()) {
    const { table, classification } = entry
    const name = tableName(table)
    if (registered.get(name)?.isProtected === true || classification.class === 'excluded') continue
    const rowExpression = rowExpressions.get(name) ?? null
    const protection: Protection =
      rowExpression !== null
        ? {
            kind: isWritable(registry, entry) ? 'confined' : 'confined-readonly',
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

/**
 * Reads nothing from every table as the operator, with the condition that every read repeats: finds missing grants and host policies that need what
 * the operator lacks, now instead of tonight.
 */
async function probeAsOperator(
  connection: Connection,
  registry: Registry,
  rowExpressions: ReadonlyMap<string, string | null>,
): Promise<void> {
  const failures: { table: string; reason: string }[] = []
  for (const entry of registry.values()) {
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
        [
          quoteTable(entry.table),
          entry.classification.class === 'shared' || !isWritable(registry, entry),
        ],
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
