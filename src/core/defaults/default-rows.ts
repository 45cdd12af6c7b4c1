/**
 * The rows of the template tenant, one by one: for the form in which operators keep the defaults. Whoever saves
 * says which version of the row they saw; what somebody else saved meanwhile is never overwritten unseen.
 */
import { confineSession } from '../backup/read-snapshot.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { hasSqlstate, sqlstateOf } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import type { Column, ProtectedTable } from '../tables/protected-table.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import { readProtectedTables } from '../tables/read-protected-tables.ts'
import { requireTemplateTenant } from '../tenants/find-template-tenant.ts'
import { lockTenant } from '../tenants/lock-tenant.ts'

export interface DefaultColumn {
  name: string
  /** As Postgres prints it: `numeric(12,4)`, `text[]`. */
  type: string
  isNullable: boolean
  isKey: boolean
  hasDefault: boolean
  /** Computed, the tenant's own id, masked, or an identity that takes no values: shown or not, never edited. */
  isReadOnly: boolean
  isMasked: boolean
  /** Of an enum. */
  allowed: string[] | null
  /** The row that it names: table and column. */
  refersTo: { table: string; column: string } | null
}

export interface DefaultTable {
  name: string
  /** Null where it can't be read. */
  rows: number | null
  /** Why it can't be read; null where it can. */
  unreadable: string | null
  columns: DefaultColumn[]
}

export interface DefaultRow {
  /** Texts of the primary key, by column. */
  key: Record<string, string>
  /** Changes with every change of the row. */
  version: string
  label: string | null
  /** By column, as Postgres writes them; masked columns are left out. */
  values: Record<string, string | null>
}

/**
 * What came of a change: the row as it is now (null once it is deleted, or where an earlier request with the same
 * key had added it), and whether somebody else was first.
 */
export interface DefaultChange {
  isSaved: boolean
  row: DefaultRow | null
}

/** Values by column, as texts; null for null. */
export type DefaultValues = Readonly<Record<string, string | null>>

const WAIT_MS = 3_000

interface Defaults {
  template: { id: string; name: string | null }
  tables: { live: ProtectedTable; tenantColumn: string | null }[]
}

/** The tables that take part, with their rows counted and their columns described. Throws `not_configured`. */
export async function listDefaultTables(
  services: Services,
): Promise<{ template: Defaults['template']; tables: DefaultTable[] }> {
  return withDefaults(services, async (session, { template, tables }) => {
    const listed: DefaultTable[] = []
    for (const { live, tenantColumn } of tables) {
      listed.push({
        name: live.label,
        ...(await countRows(session, live)),
        columns: await describeColumns(session, live, tenantColumn),
      })
    }
    return { template, tables: listed }
  })
}

/** How many rows a table has, or why nobody can say: one that can't be read hides no other. */
async function countRows(
  session: Connection,
  live: ProtectedTable,
): Promise<Pick<DefaultTable, 'rows' | 'unreadable'>> {
  await session.query('savepoint tenantkeep_count')
  try {
    const { rows } = await session.query<{ count: string }>(
      `select count(*) ${live.from} where ${live.rowExpression}`,
    )
    await session.query('release savepoint tenantkeep_count')
    return { rows: Number(rows[0]?.count), unreadable: null }
  } catch (error) {
    const unreadable = whyUnreadable(error)
    if (unreadable === null) throw error
    await session.query('rollback to savepoint tenantkeep_count')
    return { rows: null, unreadable }
  }
}

/** Null for an error that is not about the table alone. */
function whyUnreadable(error: unknown): string | null {
  if (!hasSqlstate(error, 'syntaxOrAccess', 'lockNotAvailable')) return null
  return hasSqlstate(error, 'insufficientPrivilege')
    ? 'the role tenantkeep_operator lacks the right to read it; `tenantkeep init` grants it again'
    : `the database refuses to read it (${sqlstateOf(error)}); \`tenantkeep doctor\` says what is wrong`
}

/**
 * Rows of one table in the order of their keys, a page at a time. Throws `invalid_request` for another table, and
 * `confinement_broken` for one that can't be read.
 */
export async function readDefaultRows(
  services: Services,
  given: { table: string; offset: number; limit: number; search?: string | undefined },
): Promise<{
  rows: DefaultRow[]
  total: number
  nextCursor: number | null
  columns: DefaultColumn[]
}> {
  return withDefaults(services, async (session, defaults) => {
    const { live, tenantColumn } = requireTable(defaults, given.table)
    const found = `(${selectRows(live)}) as d
      where $1::text is null or exists (
        select from jsonb_each_text(d.row -> 'values') v where strpos(lower(v.value), lower($1)) > 0)`
    const { rows } = await session
      .query<{ row: DefaultRow }>(
        `select d.row from ${found} order by d.row -> 'key' limit $2 offset $3`,
        [given.search ?? null, given.limit, given.offset],
      )
      .catch((cause: unknown) => {
        const reason = whyUnreadable(cause)
        if (reason === null) throw cause
        throw new BackupError('confinement_broken', `${live.label} can’t be read: ${reason}.`, {
          cause,
        })
      })
    const { rows: counted } = await session.query<{ count: string }>(
      `select count(*) from ${found}`,
      [given.search ?? null],
    )
    const total = Number(counted[0]?.count)
    const end = given.offset + rows.length
    return {
      rows: rows.map(({ row }) => row),
      total,
      nextCursor: rows.length > 0 && end < total ? end : null,
      columns: await describeColumns(session, live, tenantColumn),
    }
  })
}

export interface ChangeInput {
  actor: Actor
  table: string
  note?: string | null
}

/** Adds a row, once for each key of a request. Throws `invalid_request` with the columns that are wrong. */
export async function insertDefaultRow(
  services: Services,
  {
    values,
    ...input
  }: ChangeInput & { values: DefaultValues; idempotencyKey?: string | undefined },
): Promise<DefaultChange> {
  return change(services, input, 'insert', values, async (session, table) => {
    const { live, tenantColumn } = table
    const { template } = table
    const all = { ...values, ...(tenantColumn === null ? {} : { [tenantColumn]: template.id }) }
    const names = Object.keys(all)
    const columns = names.map(quoteIdentifier)
    const { rows } = await session.query<{ key: string[] }>(
      `insert into ${live.relation} (${columns.join(', ')})
       select ${names.map((name) => valueText(live, name)).join(', ')} from json_populate_record(null::${live.relation}, $1::json) as p
       returning array[${live.primaryKey.map(({ name }) => `${quoteIdentifier(name)}::text`).join(', ')}] as key`,
      [JSON.stringify(all)],
    )
    const key = Object.fromEntries(
      live.primaryKey.map(({ name }, index) => [name, rows[0]?.key[index] ?? '']),
    )
    return { isSaved: true, row: await findRow(session, live, key) }
  })
}

/**
 * Saves a row as somebody edited it, if it is still the version that they saw; otherwise nothing is written,
 * and the row is given back as it is now. Throws `invalid_request` with the columns that are wrong.
 */
export async function saveDefaultRow(
  services: Services,
  input: ChangeInput & { key: Record<string, string>; version: string; values: DefaultValues },
): Promise<DefaultChange> {
  const { key, version, values, ...rest } = input
  return change(services, rest, 'update', values, async (session, { live }) => {
    const now = await holdRow(session, live, key)
    if (now?.version !== version) return { isSaved: false, row: now }
    const names = Object.keys(values)
    if (names.length > 0) {
      await session.query(
        `update ${live.from.replace(/^from /, '')} set ${names
          .map((name) => `${quoteIdentifier(name)} = ${valueText(live, name)}`)
          .join(', ')}
         from json_populate_record(null::${live.relation}, $1::json) as p
         where ${isKey(live, `${quoteIdentifier(live.name)}.`, 2)}`,
        [JSON.stringify(values), JSON.stringify(key)],
      )
    }
    const newKey = Object.fromEntries(
      Object.entries(key).map(([name, value]) => [name, values[name] ?? value]),
    )
    return { isSaved: true, row: await findRow(session, live, newKey) }
  })
}

/** Deletes a row, if it is still the version that somebody saw. Copies that tenants have stay. */
export async function deleteDefaultRow(
  services: Services,
  input: ChangeInput & { key: Record<string, string>; version: string },
): Promise<DefaultChange> {
  const { key, version, ...rest } = input
  return change(services, rest, 'delete', {}, async (session, { live }) => {
    const now = await holdRow(session, live, key)
    if (now?.version !== version) return { isSaved: false, row: now }
    await session.query(
      `delete ${live.from} where ${isKey(live, '', 1)} and ${live.rowExpression}`,
      [JSON.stringify(key)],
    )
    return { isSaved: true, row: null }
  })
}

type Action = 'insert' | 'update' | 'delete'
type Chosen = Defaults['tables'][number] & Pick<Defaults, 'template'>

/** One change in one transaction, with its journal row; under the tenant's lock, so that no restore or seeding sees half. */
async function change(
  services: Services,
  { actor, table, note, idempotencyKey }: ChangeInput & { idempotencyKey?: string | undefined },
  action: Action,
  values: DefaultValues,
  work: (session: Connection, table: Chosen) => Promise<DefaultChange>,
): Promise<DefaultChange> {
  return withDefaults(
    services,
    async (session, defaults) => {
      const chosen = { ...requireTable(defaults, table), template: defaults.template }
      const columns = await describeColumns(session, chosen.live, chosen.tenantColumn)
      await requireGoodValues(session, chosen.live, columns, values)
      let changed: DefaultChange
      try {
        changed = await work(session, chosen)
      } catch (error) {
        throw explainRefusal(chosen.live, action, error)
      }
      if (!changed.isSaved) return changed
      await session.query('reset role')
      await session.query(
        `insert into public.backup_logs (backup_type, status, completed_at, organization_id, organization_name,
           note, actor_kind, actor_id, actor_label, total_tables, total_records, details)
         values ('defaults', 'complete', now(), $1, $2, $3, $4, $5, $6, 1, 1, $7)`,
        [
          chosen.template.id,
          chosen.template.name,
          note ?? null,
          actor.kind,
          actor.id,
          actor.label,
          JSON.stringify({
            ...{ table, action, columns: Object.keys(values) },
            ...(idempotencyKey === undefined ? {} : { idempotency_key: idempotencyKey }),
          }),
        ],
      )
      return changed
    },
    {
      isReadOnly: false,
      findDone: async (session, { template }) =>
        idempotencyKey !== undefined && (await isAdded(session, template.id, idempotencyKey))
          ? { isSaved: true, row: null }
          : null,
    },
  )
}

/** Whether a request with this key added its row; whoever lost the answer asks again. */
async function isAdded(session: Connection, templateId: string, key: string): Promise<boolean> {
  const { rowCount } = await session.query(
    `select from public.backup_logs
     where organization_id = $1 and backup_type = 'defaults' and details ->> 'idempotency_key' = $2`,
    [templateId, key],
  )
  return rowCount === 1
}

interface Use<T> {
  isReadOnly?: boolean
  /** What an earlier request did already; asked by ourselves, before the session is the tenant's. */
  findDone?: (session: Connection, defaults: Defaults) => Promise<T | null>
}

async function withDefaults<T>(
  { tenants }: Services,
  use: (session: Connection, defaults: Defaults) => Promise<T>,
  { isReadOnly = true, findDone }: Use<T> = {},
): Promise<T> {
  const template = await requireTemplateTenant(tenants.catalog)
  const seeded = await tenants.catalog.query<{ label: string; tenantColumn: string | null }>(
    `select case when schema_name = 'public' then '' else schema_name || '.' end || table_name as label,
            tenant_column as "tenantColumn"
     from tenantkeep.tenant_tables where is_seeded and is_writable and class in ('direct', 'child', 'custom')`,
  )
  const columns = new Map(seeded.rows.map(({ label, tenantColumn }) => [label, tenantColumn]))
  const tables = (await readProtectedTables(tenants.catalog))
    .filter(({ label, primaryKey }) => columns.has(label) && primaryKey.length > 0)
    .map((live) => ({ live, tenantColumn: columns.get(live.label) ?? null }))
  const database = await tenants.databaseOf(template.id)
  return database.withConnection(async (session) => {
    if (!isReadOnly) await lockTenant(session, template.id, { waitMs: WAIT_MS })
    await session.query(
      `begin isolation level read committed ${isReadOnly ? 'read only' : 'read write'}; set local lock_timeout = '5s'`,
    )
    const done = (await findDone?.(session, { template, tables })) ?? null
    if (done !== null) {
      await session.query('commit')
      return done
    }
    await confineSession(session, template.id, { isolation: 'read committed', isReadOnly })
    const result = await use(session, { template, tables })
    await session.query('commit')
    return result
  })
}

function requireTable({ tables }: Defaults, label: string): Defaults['tables'][number] {
  const table = tables.find(({ live }) => live.label === label)
  if (table !== undefined) return table
  throw new BackupError(
    'invalid_request',
    `${label} takes no part in the defaults, or has no primary key. Tables that do are marked as seeded: in the answers file, "marks": {"seeded": true}, then \`tenantkeep init --answers\`.`,
  )
}

/** A row as JSON: key, version, label, values. */
function selectRows(live: ProtectedTable): string {
  const object = (columns: readonly { name: string }[]) =>
    columns.length === 0
      ? `'{}'::jsonb`
      : columns
          .map(
            ({ name }) =>
              `jsonb_build_object(${quoteLiteral(name)}, t.${quoteIdentifier(name)}::text)`,
          )
          .join(' || ')
  const shown = live.columns.filter(({ name }) => !live.masked.includes(name))
  const labels = live.labelColumns.filter((name) => !live.masked.includes(name))
  const label =
    labels.length === 0
      ? 'null::text'
      : `nullif(concat_ws(' ', ${labels.map((name) => `t.${quoteIdentifier(name)}::text`).join(', ')}), '')`
  return `select jsonb_build_object(
      'key', ${object(live.primaryKey)}, 'label', ${label}, 'values', ${object(shown)},
      'version', encode(sha256(convert_to(row(t.*)::text, 'UTF8')), 'hex')) as row
    from (select * ${live.from} where ${live.rowExpression}) as t`
}

async function findRow(
  session: Queryable,
  live: ProtectedTable,
  key: Record<string, string>,
): Promise<DefaultRow | null> {
  const { rows } = await session.query<{ row: DefaultRow }>(
    `select d.row from (${selectRows(live)}) as d where d.row -> 'key' = $1::jsonb`,
    [JSON.stringify(key)],
  )
  return rows[0]?.row ?? null
}

/** The row as it is now, which nobody else changes until the end of the transaction. */
async function holdRow(
  session: Queryable,
  live: ProtectedTable,
  key: Record<string, string>,
): Promise<DefaultRow | null> {
  requireKey(live, key)
  await session.query(
    `select ${live.from} where ${live.rowExpression} and ${isKey(live, '', 1)} for update`,
    [JSON.stringify(key)],
  )
  return findRow(session, live, key)
}

function requireKey({ label, primaryKey }: ProtectedTable, key: Record<string, string>): void {
  const names = primaryKey.map(({ name }) => name)
  const isWhole =
    Object.keys(key).length === names.length && names.every((name) => Object.hasOwn(key, name))
  if (isWhole) return
  throw new BackupError(
    'invalid_request',
    `Rows of ${label} are named by their primary key: ${names.join(', ')}.`,
  )
}

/** The key's texts compared, as `$n` has them as a JSON object. */
function isKey({ primaryKey }: ProtectedTable, prefix: string, parameter: number): string {
  return primaryKey
    .map(({ name }) => {
      const given = `($${parameter}::jsonb ->> ${quoteLiteral(name)})`
      return `${prefix}${quoteIdentifier(name)}::text = ${given}`
    })
    .join(' and ')
}

async function describeColumns(
  session: Queryable,
  live: ProtectedTable,
  tenantColumn: string | null,
): Promise<DefaultColumn[]> {
  const { rows } = await session.query<{
    name: string
    allowed: string[] | null
    refersTo: DefaultColumn['refersTo']
  }>(
    `select a.attname as name,
       (select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_catalog.pg_enum e
        where e.enumtypid = a.atttypid) as allowed,
       (select jsonb_build_object('table',
           case when n.nspname = 'public' then '' else n.nspname || '.' end || r.relname, 'column', ra.attname)
        from pg_catalog.pg_constraint k
        join pg_catalog.pg_class r on r.oid = k.confrelid join pg_catalog.pg_namespace n on n.oid = r.relnamespace
        join pg_catalog.pg_attribute ra on ra.attrelid = r.oid and ra.attnum = k.confkey[1]
        where k.conrelid = c.oid and k.contype = 'f' and k.conkey = array[a.attnum] limit 1) as "refersTo"
     from pg_catalog.pg_class c
     join pg_catalog.pg_namespace s on s.oid = c.relnamespace
     join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where s.nspname = $1 and c.relname = $2 order by a.attnum`,
    [live.schema, live.name],
  )
  const more = new Map(rows.map((row) => [row.name, row]))
  const key = new Set(live.primaryKey.map(({ name }) => name))
  return live.columns.map((column) => ({
    name: column.name,
    type: column.type,
    isNullable: column.isNullable,
    isKey: key.has(column.name),
    hasDefault: column.hasDefault || column.isIdentity,
    isReadOnly: isReadOnly(live, column, tenantColumn),
    isMasked: live.masked.includes(column.name),
    allowed: more.get(column.name)?.allowed ?? null,
    refersTo: more.get(column.name)?.refersTo ?? null,
  }))
}

function isReadOnly(live: ProtectedTable, column: Column, tenantColumn: string | null): boolean {
  return (
    column.isGenerated ||
    column.isIdentityAlways ||
    column.name === tenantColumn ||
    live.masked.includes(column.name)
  )
}

/** Every value as its column's type, one by one, so that all that is wrong is told at once. */
async function requireGoodValues(
  session: Queryable,
  live: ProtectedTable,
  columns: readonly DefaultColumn[],
  values: DefaultValues,
): Promise<void> {
  const bad: { column: string; reason: string }[] = []
  for (const [name, value] of Object.entries(values)) {
    const column = columns.find((candidate) => candidate.name === name)
    if (column === undefined) bad.push({ column: name, reason: 'there is no such column' })
    else if (column.isReadOnly) bad.push({ column: name, reason: 'can’t be edited' })
    else if (value === null) {
      if (!column.isNullable) bad.push({ column: name, reason: 'may not be null' })
    } else if (!(await fits(session, live, name, value))) {
      bad.push({ column: name, reason: `no value of the type ${column.type}` })
    }
  }
  if (bad.length === 0) return
  throw new BackupError(
    'invalid_request',
    `This can’t be a row of ${live.label}. ${bad.map(({ column, reason }) => `${column}: ${reason}`).join('; ')}. Nothing was written.`,
    { details: { columns: bad } },
  )
}

async function fits(
  session: Queryable,
  live: ProtectedTable,
  name: string,
  value: string,
): Promise<boolean> {
  await session.query('savepoint tenantkeep_value')
  try {
    await session.query(
      `select ${valueText(live, name)} from json_populate_record(null::${live.relation}, $1::json) as p`,
      [JSON.stringify({ [name]: value })],
    )
    return true
  } catch (error) {
    if (!/^(22|23|0A)/.test(sqlstateOf(error) ?? '')) throw error
    await session.query('rollback to savepoint tenantkeep_value')
    return false
  }
}

/** A value of `$1`, a JSON object of texts that Postgres reads as the columns' types; beside the record `p` of it. */
function valueText(live: ProtectedTable, name: string): string {
  const type = live.columns.find((column) => column.name === name)?.type
  return type === 'json' || type === 'jsonb'
    ? `($1::json ->> ${quoteLiteral(name)})::${type}`
    : `p.${quoteIdentifier(name)}`
}

function explainRefusal(live: ProtectedTable, action: Action, error: unknown): unknown {
  const state = sqlstateOf(error)
  if (error instanceof BackupError || state === undefined) return error
  if (!/^(22|23|42501|44|P0)/.test(state)) return error
  const constraint =
    error instanceof Error && 'constraint' in error && typeof error.constraint === 'string'
      ? error.constraint
      : null
  const words: Record<string, string> = {
    '23505': 'another row has this value already',
    '23503':
      action === 'delete'
        ? `rows of ${nameReferrer(error) ?? 'another table'} refer to it`
        : 'it refers to a row that is not there, or another row refers to it',
    '23502': 'a column needs a value',
    '23514': 'a check of the table does not hold',
    '42501': 'a trigger or policy asks for what the role tenantkeep_operator lacks',
  }
  return new BackupError(
    'invalid_request',
    `The database refuses ${action === 'delete' ? 'to delete ' : ''}this row of ${live.label}${constraint === null ? '' : ` (${constraint})`}: ${words[state] ?? `it does not meet what the table asks of its rows (${state})`}. Nothing was written.`,
    { cause: error, details: { constraint, state } },
  )
}

/** The table whose reference was broken, as the database names it. */
function nameReferrer(error: unknown): string | null {
  return error instanceof Error && 'table' in error && typeof error.table === 'string'
    ? error.table
    : null
}
