import { expect } from 'vitest'
import type { Connection, Queryable } from '../../../src/core/database/database.ts'
import { hasSqlstate } from '../../../src/core/database/sqlstates.ts'
import type { ProtectedTable } from '../../../src/core/tables/protected-table.ts'
import { quoteIdentifier } from '../../../src/core/tables/quote-identifier.ts'
import { readProtectedTables } from '../../../src/core/tables/read-protected-tables.ts'
import type { TestDatabase } from '../../support/database.ts'

/** Rows by table label. */
export type Counts = Record<string, number>

/** What the census counts for a tenant; `session` is the worker's. */
export async function takeCensus(session: Queryable, tenant: string): Promise<Counts> {
  const { rows } = await session.query<{ schema: string; name: string; count: string }>(
    `select schema_name as schema, table_name as name, row_count as count from tenantkeep.census($1)`,
    [tenant],
  )
  return Object.fromEntries(
    rows.map((row) => [
      row.schema === 'public' ? row.name : `${row.schema}.${row.name}`,
      Number(row.count),
    ]),
  )
}

/** Runs as the operator, confined to a tenant and with silent triggers; everything is rolled back. */
export async function asOperator<T>(
  database: TestDatabase,
  tenant: string | null,
  use: (session: Connection) => Promise<T>,
): Promise<T> {
  return database.worker.withConnection(async (session) => {
    await session.query('begin')
    try {
      await session.query('select tenantkeep.silence_triggers()')
      await becomeOperator(session, tenant)
      return await use(session)
    } finally {
      await session.query('rollback')
    }
  })
}

async function becomeOperator(session: Queryable, tenant: string | null): Promise<void> {
  await session.query('set local role tenantkeep_operator')
  if (tenant !== null) {
    await session.query(`select set_config('tenantkeep.tenant', $1, true)`, [tenant])
  }
}

/** What the operator sees of every table without any condition. */
export async function countAsOperator(
  database: TestDatabase,
  tenant: string | null,
): Promise<Counts> {
  const tables = await readProtectedTables(database.worker)
  return asOperator(database, tenant, async (session) => {
    const counts: Counts = {}
    for (const table of tables) {
      const { rows } = await session.query<{ count: string }>(`select count(*) ${table.from}`)
      counts[table.label] = Number(rows[0]?.count)
    }
    return counts
  })
}

/**
 * For one tenant: `update` and `delete` without a condition touch as many rows as the census counts,
 * these are exactly the tenant's (its census is 0 then), and the others' census stays what it was.
 */
export async function expectWritesConfined(
  database: TestDatabase,
  tenant: string,
  others: readonly string[],
): Promise<void> {
  const tables = await readProtectedTables(database.worker)
  const census = await takeCensus(database.worker, tenant)
  const before = await censusOfAll(database.worker, others)
  const updated: Counts = {}
  const deleted: Counts = {}
  await asOperator(database, tenant, async (session) => {
    for (const table of tables) {
      const column = table.columns.find((c) => !c.isGenerated && !c.isIdentity)
      const relation = table.from.replace(/^from /, '')
      if (column !== undefined) {
        const name = quoteIdentifier(column.name)
        updated[table.label] = (
          await session.query(`update ${relation} set ${name} = ${name}`)
        ).rowCount
      }
    }
    // Owned rows first: a row's policy asks for its owner.
    for (const table of [...tables].reverse()) {
      deleted[table.label] = (await session.query(`delete ${table.from}`)).rowCount
    }
    await session.query('reset role')
    expect(Object.values(await takeCensus(session, tenant)).every((count) => count === 0)).toBe(
      true,
    )
    expect(await censusOfAll(session, others)).toEqual(before)
  })
  expect(updated).toEqual(census)
  expect(deleted).toEqual(census)
}

/**
 * Tries for every table to insert a neighbour's row, to insert it again with nothing in the columns that
 * lead to the tenant, and to point an own row to the neighbour. Gives back what was not refused by row
 * level security, and how much was tried.
 */
export async function tryToEscape(
  database: TestDatabase,
  tenant: string,
  neighbour: string,
): Promise<{ tried: number; allowed: string[] }> {
  const tables = await readProtectedTables(database.worker)
  const allowed: string[] = []
  let tried = 0
  for (const table of tables) {
    const paths = await readPathColumns(database.admin, table)
    const foreign = await readRow(database, table, neighbour)
    if (foreign === undefined) continue
    const attempts: [string, (session: Connection) => Promise<unknown>][] = [
      ['foreign', (session) => insertRow(session, table, foreign, [])],
      ['global', (session) => insertRow(session, table, foreign, paths)],
    ]
    if ((await readRow(database, table, tenant)) !== undefined) {
      attempts.push(['re-pointed', (session) => repoint(session, table, paths, foreign)])
    }
    for (const [what, attempt] of attempts) {
      tried += 1
      const isRefused = await asOperator(database, tenant, attempt).then(
        () => false,
        (error: unknown) => {
          if (!hasSqlstate(error, 'insufficientPrivilege')) throw error
          return true
        },
      )
      if (!isRefused) allowed.push(`${table.label}: ${what}`)
    }
  }
  return { tried, allowed }
}

/** `row` is JSON text: numbers must not pass through JavaScript. */
async function insertRow(
  session: Queryable,
  table: ProtectedTable,
  row: string,
  emptied: readonly string[],
): Promise<void> {
  const columns = table.columns.filter((column) => !column.isGenerated)
  const names = columns.map((column) => quoteIdentifier(column.name))
  const values = columns.map((column, index) =>
    emptied.includes(column.name) ? 'null' : (names[index] ?? ''),
  )
  await session.query(
    `insert into ${table.relation} (${names}) overriding system value
     select ${values} from json_populate_record(null::${table.relation}, $1)`,
    [row],
  )
}

async function repoint(
  session: Queryable,
  table: ProtectedTable,
  paths: readonly string[],
  foreign: string,
): Promise<void> {
  const assignments = paths
    .map((column) => `${quoteIdentifier(column)} = p.${quoteIdentifier(column)}`)
    .join(', ')
  await session.query(
    `update ${table.from.replace(/^from /, '')} set ${assignments}
     from json_populate_record(null::${table.relation}, $1) p`,
    [foreign],
  )
}

/** A row of the tenant, by the census' condition, as somebody whom nothing is hidden from. */
async function readRow(
  database: TestDatabase,
  table: ProtectedTable,
  tenant: string,
): Promise<string | undefined> {
  const { rows: expressions } = await database.admin.query<{ census: string }>(
    `select census_expression as census from tenantkeep.tenant_tables
     where schema_name = $1 and table_name = $2`,
    [table.schema, table.name],
  )
  const { rows } = await database.admin.query<{ row: string }>(
    `select to_json(${quoteIdentifier(table.name)})::text as row ${table.from}
     where ${expressions[0]?.census} limit 1`,
    [tenant],
  )
  return rows[0]?.row
}

async function readPathColumns(database: Queryable, table: ProtectedTable): Promise<string[]> {
  const { rows } = await database.query<{ columns: string[] | null }>(
    `select array_agg(distinct c) as columns
     from tenantkeep.tenant_tables t
     left join tenantkeep.ownership o using (schema_name, table_name)
     cross join lateral unnest(array_append(o.columns, t.tenant_column)) c
     where t.schema_name = $1 and t.table_name = $2 and c is not null`,
    [table.schema, table.name],
  )
  // With an administrator's condition any column may decide.
  return rows[0]?.columns == null
    ? table.columns.filter((column) => !column.isGenerated).map((column) => column.name)
    : [...new Set(rows[0].columns)]
}

async function censusOfAll(
  session: Queryable,
  tenants: readonly string[],
): Promise<Record<string, Counts>> {
  const all: Record<string, Counts> = {}
  for (const tenant of tenants) all[tenant] = await takeCensus(session, tenant)
  return all
}

/**
 * Deletes the whole tenant from the deepest owned table upwards and inserts it again from the root down,
 * as the operator. Gives back the tables in which a row differs afterwards; rolled back.
 */
export async function deleteAndInsertAgain(
  database: TestDatabase,
  tenant: string,
): Promise<string[]> {
  const tables = await readProtectedTables(database.worker)
  return asOperator(database, tenant, async (session) => {
    for (const [index, table] of tables.entries()) {
      await session.query(`create temp table kept_${index} as select * ${table.from}`)
    }
    for (const table of [...tables].reverse()) await session.query(`delete ${table.from}`)
    for (const [index, table] of tables.entries()) {
      const columns = table.columns
        .filter((column) => !column.isGenerated)
        .map((column) => quoteIdentifier(column.name))
        .join(', ')
      await session.query(
        `insert into ${table.relation} (${columns}) overriding system value
         select ${columns} from kept_${index}`,
      )
    }
    const different: string[] = []
    for (const [index, table] of tables.entries()) {
      const live = `select ${quoteIdentifier(table.name)}::text ${table.from}`
      const kept = `select k::text from kept_${index} k`
      const { rowCount } = await session.query(
        `(${live} except all ${kept}) union all (${kept} except all ${live})`,
      )
      if (rowCount > 0) different.push(table.label)
    }
    return different
  })
}
