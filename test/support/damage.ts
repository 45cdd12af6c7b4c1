import type { Connection, Queryable } from '../../src/core/database/database.ts'
import { sqlstateOf } from '../../src/core/database/sqlstates.ts'
import type { Column, ProtectedTable } from '../../src/core/tables/protected-table.ts'
import { quoteColumns, quoteIdentifier } from '../../src/core/tables/quote-identifier.ts'
import { readProtectedTables } from '../../src/core/tables/read-protected-tables.ts'
import type { TestDatabase } from './database.ts'
import type { Owns } from './expect-others-equal.ts'

/**
 * What applications do to a tenant's rows, by the owner of the tables, with every trigger, cascade and
 * constraint on. What the host refuses (a row that others need, a value that is taken) does not happen.
 */
export interface Trial {
  database: TestDatabase
  tenant: string
  neighbour: string
  owns: Owns
}

export interface Step {
  kind: 'update' | 'insert' | 'delete' | 'swap' | 'rekey' | 'unset'
  /** Which of the tables, which of its columns and rows; taken modulo how many there are. */
  table: number
  column: number
  row: number
  rows: number
}

/**
 * Does the steps one after another; returns how many rows were written. A step that would give a row to the
 * neighbour or take one from there is left out: what lives with a neighbour no restore may touch.
 */
export async function damageBySteps(trial: Trial, steps: readonly Step[]): Promise<number> {
  const tables = await readWritable(trial)
  return trial.database.admin.withConnection(async (session) => {
    let written = 0
    for (const step of steps) {
      const table = tables[step.table % tables.length]
      if (table !== undefined) written += await unlessMoved(session, trial, tables, table, step)
    }
    return written
  })
}

async function unlessMoved(
  session: Connection,
  trial: Trial,
  tables: readonly DamagedTable[],
  table: DamagedTable,
  step: Step,
): Promise<number> {
  const count = async () => {
    const counts = tables.map((each) => `(select count(*) ${rowsOf(trial, each)})`)
    const { rows } = await session.query<{ counts: string }>(
      `select row(${counts})::text as counts where $1::text is not null`,
      [trial.neighbour],
    )
    return rows[0]?.counts
  }
  await session.query('begin')
  const before = await count()
  const written = await doStep(session, trial, table, step)
  const isMoved = (await count()) !== before
  await session.query(isMoved ? 'rollback' : 'commit')
  return isMoved ? 0 : written
}

/** Deletes the tenant's root row, which takes what cascades; what stands in the way is deleted first. */
export async function deleteTenant(trial: Trial): Promise<number> {
  const tables = await readWritable(trial)
  return trial.database.admin.withConnection(async (session) => {
    let written = 0
    await session.query('begin')
    // As often as there are tables: of a cycle, each round frees one that nothing needs any more.
    for (let round = 0; round < tables.length; round += 1) {
      for (const table of [...tables].reverse()) {
        written += await attempt(session, `delete ${rowsOf(trial, table)}`, [trial.tenant])
      }
    }
    await session.query('commit')
    return written
  })
}

/** Deletes the root row alone, wherever the host allows it: its cascades and `set null` do the rest. */
export async function deleteRoot(trial: Trial): Promise<number> {
  const [root] = await readWritable(trial)
  if (root === undefined) return 0
  return trial.database.admin.withConnection(async (session) => {
    await session.query('begin')
    const written = await attempt(session, `delete ${rowsOf(trial, root)}`, [trial.tenant])
    await session.query('commit')
    return written
  })
}

/** Every row of every table is written again, and one of each changed for good. */
export async function touchEverything(trial: Trial): Promise<number> {
  const tables = await readWritable(trial)
  return trial.database.admin.withConnection(async (session) => {
    let written = 0
    for (const [index, table] of tables.entries()) {
      for (let column = 0; column < settable(table).length; column += 1) {
        const step = { kind: 'update' as const, table: index, column, row: 0, rows: 1_000 }
        written += await unlessMoved(session, trial, tables, table, step)
      }
    }
    return written
  })
}

/** Gives a table's rows to the neighbour and takes them back: equal again, and written twice. */
export async function moveAwayAndBack(trial: Trial): Promise<number> {
  const tables = await readWritable(trial)
  return trial.database.admin.withConnection(async (session) => {
    let written = 0
    for (const table of tables) {
      const name = await readTenantColumn(session, table)
      if (name === null || table.class === 'root') continue
      const column = quoteIdentifier(name)
      await session.query('begin')
      try {
        const { rows: moved } = await session.query<{ place: string }>(
          `update ${relationOf(table)} t set ${column} = $2 where (${trial.owns[table.label]})
           returning t.tableoid::text || t.ctid::text as place`,
          [trial.tenant, trial.neighbour],
        )
        const { rowCount } = await session.query(
          `update ${relationOf(table)} t set ${column} = $1
           where t.tableoid::text || t.ctid::text = any ($2::text[])`,
          [trial.tenant, moved.map(({ place }) => place)],
        )
        await session.query('commit')
        written += rowCount
      } catch (error) {
        await session.query('rollback')
        requireRefusal(error)
      }
    }
    return written
  })
}

/** One row of one table, told apart by `row`. */
export async function damageOneRow(trial: Trial): Promise<number> {
  const tables = await readWritable(trial)
  return trial.database.admin.withConnection(async (session) => {
    for (const [index, table] of [...tables.entries()].reverse()) {
      for (let column = 0; column < settable(table).length; column += 1) {
        const step = { kind: 'update' as const, table: index, column, row: 3, rows: 1 }
        const written = await unlessMoved(session, trial, tables, table, step)
        if (written > 0) return written
      }
    }
    return 0
  })
}

type DamagedTable = ProtectedTable & { pathColumns: string[] }

/** The tables that a restore may write, with the columns that say whose rows they or others are. */
async function readWritable({ database }: Trial): Promise<DamagedTable[]> {
  const { rows: paths } = await database.admin.query<{
    schema: string
    name: string
    columns: string[]
  }>(
    `select schema_name as schema, table_name as name, jsonb_build_array(tenant_column) as columns
     from tenantkeep.tenant_tables where tenant_column is not null
     union all
     select schema_name, table_name, to_jsonb(columns) from tenantkeep.ownership
     union all
     select owner_schema, owner_table, to_jsonb(owner_columns) from tenantkeep.ownership`,
  )
  const tables = await readProtectedTables(database.worker)
  return tables
    .filter((table) => table.isWritable)
    .map((table) => ({
      ...table,
      pathColumns: paths
        .filter(({ schema, name }) => schema === table.schema && name === table.name)
        .flatMap(({ columns }) => columns),
    }))
}

async function readTenantColumn(session: Queryable, table: ProtectedTable): Promise<string | null> {
  const { rows } = await session.query<{ name: string | null }>(
    'select tenant_column as name from tenantkeep.tenant_tables where schema_name = $1 and table_name = $2',
    [table.schema, table.name],
  )
  return rows[0]?.name ?? null
}

async function doStep(
  session: Connection,
  trial: Trial,
  table: DamagedTable,
  step: Step,
): Promise<number> {
  const columns = settable(table)
  const column = columns[step.column % Math.max(columns.length, 1)]
  const name = column === undefined ? '' : quoteIdentifier(column.name)
  const some = `(t.tableoid, t.ctid) in (select t.tableoid, t.ctid ${rowsOf(trial, table)}
    order by md5(row(t.*)::text || ${step.row}) limit ${step.rows})`
  const update = (set: string) =>
    attempt(session, `update ${relationOf(table)} t set ${set} where ${some}`, [trial.tenant])
  switch (step.kind) {
    case 'delete':
      // With the root nearly everything would be gone, and nothing left to damage: `deleteRoot` does that.
      if (table.class === 'root') return 0
      return attempt(session, `delete ${table.from} t where ${some}`, [trial.tenant])
    case 'update':
      return column === undefined ? 0 : update(`${name} = ${changed(table, column, step)}`)
    case 'unset':
      return column === undefined ? 0 : update(`${name} = null`)
    case 'rekey':
      return rekey(session, trial, table, step, some)
    case 'swap':
      return swap(session, trial, table, step)
    case 'insert':
      return insert(session, trial, table, step, some)
  }
}

/** Columns that damage may change: marks that keep the live value are no damage that a restore undoes. */
function settable(table: ProtectedTable): Column[] {
  const key = new Set(table.primaryKey.map(({ name }) => name))
  return table.columns.filter(
    ({ name, isGenerated, isIdentityAlways }) =>
      !isGenerated && !isIdentityAlways && !key.has(name) && !table.keepLive.includes(name),
  )
}

/** Another value of the column's type; what is no number or text becomes that of a neighbouring row, or nothing. */
function changed(table: DamagedTable, column: Column, step: Step): string {
  const name = `t.${quoteIdentifier(column.name)}`
  const isNumber = /^(smallint|integer|bigint|numeric|real|double)/.test(column.type)
  // The next number may be a neighbour's, and then the row were the neighbour's too.
  if (isNumber && table.pathColumns.includes(column.name)) return name
  if (isNumber) return `${name} + ${1 + (step.row % 3)}`
  if (/^(text|character varying)$/.test(column.type)) return `${name} || '*${step.row}'`
  if (/^(date$|timestamp)/.test(column.type)) return `${name} + interval '1 day'`
  if (column.type === 'boolean') return `not ${name}`
  if (column.type === 'jsonb') return `'{"damaged": [null, ${step.row}]}'::jsonb`
  if (column.type.endsWith('[]')) return `${name} || ${name}`
  return column.isNullable ? 'null' : name
}

/** A new primary key: what refers to the row follows where the host cascades, and refuses elsewhere. */
async function rekey(
  session: Connection,
  trial: Trial,
  table: DamagedTable,
  step: Step,
  some: string,
): Promise<number> {
  const key = table.columns.filter(
    ({ name, isIdentityAlways }) =>
      !isIdentityAlways && table.primaryKey.some((part) => part.name === name),
  )
  const column = key[step.column % Math.max(key.length, 1)]
  if (column === undefined || table.class === 'root') return 0
  return attempt(
    session,
    `update ${relationOf(table)} t set ${quoteIdentifier(column.name)} = ${fresh(column, step)} where ${some}`,
    [trial.tenant],
  )
}

function fresh(column: Column, step: Step): string {
  const name = `t.${quoteIdentifier(column.name)}`
  if (/^(smallint|integer|bigint|numeric)/.test(column.type))
    return `${name} + ${1000 + (step.row % 7)}`
  if (column.type === 'uuid') return `md5(${name}::text || '${step.row}')::uuid`
  if (/^(date$|timestamp)/.test(column.type)) return `${name} + interval '1000 days'`
  return `${name} || '${step.row % 10}'`
}

/** Two rows of the tenant exchange their values in one column, unique or not. */
async function swap(
  session: Connection,
  trial: Trial,
  table: DamagedTable,
  step: Step,
): Promise<number> {
  const columns = settable(table)
  const column = columns[step.column % Math.max(columns.length, 1)]
  if (column === undefined) return 0
  const name = quoteIdentifier(column.name)
  const { rows } = await session.query<{ place: string; kind: string; value: string | null }>(
    `select t.ctid::text as place, t.tableoid::text as kind, t.${name}::text as value
     ${rowsOf(trial, table)} order by md5(row(t.*)::text || ${step.row}) limit 2`,
    [trial.tenant],
  )
  const [one, other] = rows
  if (one === undefined || other === undefined) return 0
  await session.query('savepoint swap')
  try {
    let place = other.place
    const set = async (from: { place: string; kind: string }, value: string) => {
      const { rows: moved } = await session.query<{ place: string }>(
        `update ${relationOf(table)} t set ${name} = ${value}
         where t.ctid = $1::text::tid and t.tableoid = $2::text::oid returning t.ctid::text as place`,
        [from.place, from.kind],
      )
      return moved[0]?.place ?? from.place
    }
    const quote = (value: string | null) =>
      value === null ? 'null' : `'${value.replaceAll("'", "''")}'`
    const kept = fresh(column, step)
    const isPlain = /^(smallint|integer|bigint|numeric|text|uuid)/.test(column.type)
    // By way of a third value, as applications do where the column is unique.
    const away = isPlain ? await set(one, kept) : one.place
    place = await set({ ...other, place }, quote(one.value))
    await set({ ...one, place: away }, quote(other.value))
    await session.query('release swap')
    return 2
  } catch (error) {
    await session.query('rollback to swap')
    requireRefusal(error)
    return 0
  }
}

/** Rows as those that are there, under new keys. */
async function insert(
  session: Connection,
  trial: Trial,
  table: DamagedTable,
  step: Step,
  some: string,
): Promise<number> {
  if (table.class === 'root') return 0
  const isKey = (column: Column) => table.primaryKey.some(({ name }) => name === column.name)
  const columns = table.columns.filter(
    ({ isGenerated, isIdentityAlways }) => !isGenerated && !isIdentityAlways,
  )
  const last = columns.findLast(isKey)
  const values = columns.map((column) =>
    column === last ? fresh(column, step) : `t.${quoteIdentifier(column.name)}`,
  )
  if (values.length === 0) return 0
  return attempt(
    session,
    `insert into ${table.relation} (${quoteColumns(columns.map(({ name }) => name))})
     select ${values} ${table.from} t where ${some}`,
    [trial.tenant],
  )
}

function rowsOf({ owns }: Trial, table: ProtectedTable): string {
  return `${table.from} t where (${owns[table.label] ?? 'false'})`
}

function relationOf(table: ProtectedTable): string {
  return table.from.replace(/^from /, '')
}

/** Rows written, none where the host says no. */
async function attempt(
  session: Connection,
  sql: string,
  params: readonly unknown[],
): Promise<number> {
  await session.query('savepoint attempt')
  try {
    const { rowCount } = await session.query(sql, sql.includes('$1') ? params : [])
    await session.query('release attempt')
    return rowCount
  } catch (error) {
    requireRefusal(error)
    await session.query('rollback to attempt')
    return 0
  }
}

/** A constraint, a guard of the host's own, a value out of range; anything else is a fault of the test. */
function requireRefusal(error: unknown): void {
  if (!/^(22|23|27000|428C9|55000|P0001)/.test(sqlstateOf(error) ?? '')) throw error
}
