import { text } from 'node:stream/consumers'
import { createGunzip } from 'node:zlib'
import { expect } from 'vitest'
import { loadSummary } from '../../src/core/backup/load-summary.ts'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import type { Connection, Queryable } from '../../src/core/database/database.ts'
import { sqlstateOf } from '../../src/core/database/sqlstates.ts'
import type { ProtectedTable } from '../../src/core/tables/protected-table.ts'
import { quoteColumns, quoteIdentifier } from '../../src/core/tables/quote-identifier.ts'
import { readProtectedTables } from '../../src/core/tables/read-protected-tables.ts'
import { takeCensus } from '../core/tables/confinement.ts'
import { createTestStore, SYSTEM, servicesOf, TEST_KEYS } from '../support/backup-services.ts'
import type { TestDatabase } from '../support/database.ts'
import type { OddSchema } from './odd-schema.ts'

/** Count and digest of rows, whatever their order. */
interface Rows {
  count: number
  hash: string
}

type Oracle = Pick<OddSchema, 'tenants' | 'owns'>

/** `only`: labels of the tables to look at, all when left out. */
export async function expectConfined(
  database: TestDatabase,
  { tenants, owns }: Oracle,
  only: readonly string[] = Object.keys(owns),
): Promise<void> {
  const all = await readProtectedTables(database.worker)
  expect(all.map((table) => table.label).sort()).toEqual(Object.keys(owns).sort())
  const tables = all.filter((table) => only.includes(table.label))
  for (const [index, tenant] of tenants.entries()) {
    const neighbour = tenants[1 - index] ?? ''
    const trial: Trial = { database, all, tables, owns, tenant, neighbour }
    await expectReads(trial)
    await expectUpdates(trial)
    await expectDeletes(trial)
    await expectBackup(trial)
    expect(await listEscapes(trial)).toEqual([])
  }
}

interface Trial {
  database: TestDatabase
  all: readonly ProtectedTable[]
  /** Of these, the ones to look at. */
  tables: readonly ProtectedTable[]
  owns: Record<string, string>
  tenant: string
  neighbour: string
}

async function expectReads({ database, tables, owns, tenant }: Trial): Promise<void> {
  const byHand = await asSuperuser(database, (session) => readOwned(session, tables, owns, tenant))
  const census = await takeCensus(database.worker, tenant)
  const seen = await asSuperuser(database, async (session) => {
    await becomeOperator(session, tenant)
    return readTables(session, tables, () => 'true')
  })
  expect(seen).toEqual(byHand)
  expect(Object.fromEntries(tables.map(({ label }) => [label, census[label]]))).toEqual(
    Object.fromEntries(Object.entries(byHand).map(([label, { count }]) => [label, count])),
  )
}

async function expectUpdates({ database, tables, owns, tenant }: Trial): Promise<void> {
  const writable = tables.filter((table) => table.isWritable && settable(table) !== undefined)
  await asSuperuser(database, async (session) => {
    const byHand = await readOwned(session, writable, owns, tenant)
    await becomeOperator(session, tenant)
    for (const table of writable) {
      const name = quoteIdentifier(settable(table) ?? '')
      await session.query(`update ${relationOf(table)} set ${name} = ${name}`)
    }
    await session.query('reset role')
    const touched = await readTables(
      session,
      writable,
      () => 't.xmin = pg_catalog.pg_current_xact_id()::xid',
    )
    expect(touched).toEqual(byHand)
  })
}

/** Deletes the whole tenant, from the deepest owned table upwards, and inserts it again from the root down. */
async function expectDeletes({ database, all, tables, owns, tenant }: Trial): Promise<void> {
  const writable = all.filter((table) => table.isWritable)
  await asSuperuser(database, async (session) => {
    const before = await readTables(session, tables, () => 'true')
    const others = await readTables(
      session,
      tables.filter((table) => table.isWritable),
      ({ label }) => `(${owns[label]}) is not true`,
      tenant,
    )
    await becomeOperator(session, tenant)
    for (const [index, table] of writable.entries()) {
      await session.query(`create temp table kept_${index} as select * ${table.from}`)
    }
    for (const table of [...writable].reverse()) await session.query(`delete ${table.from}`)
    await session.query('reset role')
    expect(
      await readTables(
        session,
        tables.filter((table) => table.isWritable),
        () => 'true',
      ),
    ).toEqual(others)

    await becomeOperator(session, tenant)
    for (const [index, table] of writable.entries()) {
      const columns = quoteColumns(writtenOf(table))
      await session.query(
        `insert into ${table.relation} (${columns}) overriding system value select ${columns} from kept_${index}`,
      )
    }
    await session.query('reset role')
    expect(await readTables(session, tables, () => 'true')).toEqual(before)
  })
  for (const table of tables.filter(({ isWritable }) => !isWritable)) {
    expect(await attempt(database, tenant, [`delete ${table.from}`])).toBe('42501')
  }
}

/** What a backup holds is what plain SQL finds by the conditions written by hand. */
async function expectBackup({ database, tables, owns, tenant }: Trial): Promise<void> {
  const { store, remove } = await createTestStore()
  try {
    const { backup } = await takeBackup(servicesOf(database.worker, store), {
      tenantId: tenant,
      backupType: 'manual',
      actor: SYSTEM,
    })
    expect(backup.status).toBe('complete')
    const summary = await loadSummary({ store, signingKeys: TEST_KEYS }, backup)
    await asSuperuser(database, async (session) => {
      const byHand = await readOwned(session, tables, owns, tenant)
      const backedUp: Record<string, Rows> = {}
      for (const table of tables) {
        const found = summary.tables.find((candidate) => candidate.name === table.label)
        let lines: string[] = []
        for (const part of found?.parts ?? []) {
          const raw = await text((await store.get(part.path)).pipe(createGunzip()))
          // The framing character stands first in a line; the last line is `]`.
          lines = lines.concat(
            raw.split('\n').flatMap((line) => (line.length > 1 ? [line.slice(1)] : [])),
          )
        }
        backedUp[table.label] = await readRows(
          session,
          table,
          `from unnest($1::text[]) as l, json_populate_record(null::${table.relation}, l::json) as t`,
          [lines],
        )
      }
      expect(backedUp).toEqual(byHand)
    })
  } finally {
    await remove()
  }
}

/** Where a row of a table leads: its tenant column, or columns that name an owner's row. */
interface Step {
  columns: string[]
  owner: ProtectedTable | null
  ownerColumns: string[]
  condition: { column: string; value: string } | null
}

/**
 * Tries by every step of every table to take a neighbour's row or to give it one. Gives back what was not
 * refused, and what touched a row of the neighbour.
 */
async function listEscapes(trial: Trial): Promise<string[]> {
  const { database, tables, owns, tenant, neighbour } = trial
  const escapes: string[] = []
  for (const table of tables) {
    const steps = await readSteps(trial, table)
    const own = await readOneRow(trial, table, tenant)
    const foreign = await readOneRow(trial, table, neighbour)
    const refuse = async (what: string, statements: (string | [string, unknown[]])[]) => {
      const outcome = await attempt(database, tenant, statements)
      // Nobody at all may set an identity that is always generated.
      if (outcome !== '42501' && outcome !== '428C9')
        escapes.push(`${table.label}: ${what} (${outcome ?? 'allowed'})`)
    }

    if (foreign !== null) await refuse('a foreign row', [insertOf(table, foreign, {})])
    const nothing = steps.flatMap((step) => step.columns.map((column) => [column, null]))
    if (own !== null && nothing.length > 0) {
      await refuse('a global row', [insertOf(table, own, Object.fromEntries(nothing))])
    }

    for (const [index, step] of steps.entries()) {
      const theirs = await readOwnerKey(trial, step, neighbour)
      if (theirs === null) continue
      const name = step.columns.join()
      // The neighbour's owner at this step, nothing in the former ones, our own owners in the later ones.
      const values: Record<string, unknown> = {}
      for (const [at, other] of steps.entries()) {
        const mine = at > index ? await readOwnerKey(trial, other, tenant) : null
        other.columns.forEach((column, n) => {
          if (!(column in values)) values[column] = mine?.[n] ?? null
        })
      }
      step.columns.forEach((column, n) => {
        values[column] = theirs[n]
      })
      if (step.condition !== null) values[step.condition.column] = step.condition.value
      if (own !== null) {
        await refuse(`a row of a neighbour’s by ${name}`, [insertOf(table, own, values)])
        if (table.isWritable) {
          await refuse(`re-pointed by ${name}, then deleted`, [
            updateOf(table, values),
            `delete ${table.from}`,
          ])
        }
      }
      // Our own owner's row takes the key of the neighbour's, so that the neighbour's row would be ours too.
      if (step.owner !== null) {
        const key = Object.fromEntries(step.ownerColumns.map((column, n) => [column, theirs[n]]))
        const isHarmless = await leavesAlone(trial, [
          updateOf(step.owner, key),
          `delete ${table.from}`,
        ])
        if (!isHarmless) escapes.push(`${table.label}: an owner re-keyed by ${step.ownerColumns}`)
      }
    }
  }
  return escapes

  async function leavesAlone(
    { database, tenant, neighbour, tables }: Trial,
    statements: (string | [string, unknown[]])[],
  ): Promise<boolean> {
    return asSuperuser(database, async (session) => {
      const before = await readOwned(session, tables, owns, neighbour)
      await becomeOperator(session, tenant)
      for (const statement of statements) {
        await session.query('savepoint s')
        try {
          await session.query(...asArguments(statement))
        } catch (error) {
          // Not ours to write, a key that is taken, an identity that nobody may set: each is a refusal.
          if (!/^(42501|23505|23P01|428C9)$/.test(sqlstateOf(error) ?? '')) throw error
          await session.query('rollback to s')
        }
      }
      await session.query('reset role')
      const after = await readOwned(session, tables, owns, neighbour)
      return JSON.stringify(after) === JSON.stringify(before)
    })
  }
}

async function readSteps({ database, all }: Trial, table: ProtectedTable): Promise<Step[]> {
  const { rows: direct } = await database.admin.query<{ column: string }>(
    `select tenant_column as column from tenantkeep.tenant_tables
     where schema_name = $1 and table_name = $2 and tenant_column is not null`,
    [table.schema, table.name],
  )
  const { rows: edges } = await database.admin.query<{
    columns: string[]
    schema: string
    name: string
    ownerColumns: string[]
    condition: { column: string; value: string } | null
  }>(
    `select to_jsonb(columns) as columns, owner_schema as schema, owner_table as name,
       to_jsonb(owner_columns) as "ownerColumns", condition
     from tenantkeep.ownership where schema_name = $1 and table_name = $2 order by rank`,
    [table.schema, table.name],
  )
  return [
    ...direct.map(({ column }) => ({
      columns: [column],
      owner: null,
      ownerColumns: [],
      condition: null,
    })),
    ...edges.map(({ columns, schema, name, ownerColumns, condition }) => ({
      columns,
      owner: all.find((found) => found.schema === schema && found.name === name) ?? null,
      ownerColumns,
      condition,
    })),
  ]
}

/** The values, as text, by which a row would name the first owner that the tenant has; null where it has none. */
async function readOwnerKey(
  { database, owns }: Trial,
  step: Step,
  tenant: string,
): Promise<string[] | null> {
  if (step.owner === null) return [tenant]
  const { label, from } = step.owner
  const key = step.ownerColumns.map((column) => `t.${quoteIdentifier(column)}::text`)
  const isSet = step.ownerColumns.map((column) => `t.${quoteIdentifier(column)} is not null`)
  const { rows } = await database.superuser.query<{ key: string[] }>(
    `select to_jsonb(array[${key}]) as key ${from} t where (${owns[label]}) and ${isSet.join(' and ')} order by 1 limit 1`,
    [tenant],
  )
  return rows[0]?.key ?? null
}

/** A row of the tenant's as JSON text: numbers must not pass through JavaScript. */
async function readOneRow(
  { database, owns }: Trial,
  table: ProtectedTable,
  tenant: string,
): Promise<string | null> {
  const { rows } = await database.superuser.query<{ row: string }>(
    `select to_jsonb(t)::text as row ${table.from} t where ${owns[table.label]} order by 1 limit 1`,
    [tenant],
  )
  return rows[0]?.row ?? null
}

function insertOf(
  table: ProtectedTable,
  row: string,
  values: Record<string, unknown>,
): [string, unknown[]] {
  const columns = quoteColumns(writtenOf(table))
  return [
    `insert into ${table.relation} (${columns}) overriding system value
     select ${columns} from jsonb_populate_record(null::${table.relation}, $1::jsonb || $2::jsonb)`,
    [row, JSON.stringify(values)],
  ]
}

/** One row of what we see gets these values. */
function updateOf(table: ProtectedTable, values: Record<string, unknown>): [string, unknown[]] {
  const set = Object.keys(values).map(
    (column) => `${quoteIdentifier(column)} = p.${quoteIdentifier(column)}`,
  )
  return [
    `update ${relationOf(table)} as t set ${set}
     from jsonb_populate_record(null::${table.relation}, $1::jsonb) as p
     where (t.tableoid, t.ctid) = (select tableoid, ctid ${table.from} limit 1)`,
    [JSON.stringify(values)],
  ]
}

/** Runs statements as the operator; the SQLSTATE of the first refusal, or null. Nothing stays. */
async function attempt(
  database: TestDatabase,
  tenant: string,
  statements: (string | [string, unknown[]])[],
): Promise<string | null> {
  return asSuperuser(database, async (session) => {
    await becomeOperator(session, tenant)
    try {
      for (const statement of statements) await session.query(...asArguments(statement))
      return null
    } catch (error) {
      return sqlstateOf(error) ?? String(error)
    }
  })
}

function asArguments(statement: string | [string, unknown[]]): [string, unknown[]] {
  return typeof statement === 'string' ? [statement, []] : statement
}

/** A transaction of somebody from whom nothing is hidden, without triggers; rolled back. */
async function asSuperuser<T>(
  database: TestDatabase,
  use: (session: Connection) => Promise<T>,
): Promise<T> {
  return database.superuser.withConnection(async (session) => {
    await session.query('begin')
    try {
      await session.query('set local session_replication_role = replica')
      return await use(session)
    } finally {
      await session.query('rollback')
    }
  })
}

async function becomeOperator(session: Queryable, tenant: string): Promise<void> {
  await session.query('set local role tenantkeep_operator')
  await session.query(`select set_config('tenantkeep.tenant', $1, true)`, [tenant])
}

async function readOwned(
  session: Queryable,
  tables: readonly ProtectedTable[],
  owns: Record<string, string>,
  tenant: string,
): Promise<Record<string, Rows>> {
  return readTables(session, tables, ({ label }) => owns[label] ?? 'false', tenant)
}

async function readTables(
  session: Queryable,
  tables: readonly ProtectedTable[],
  where: (table: ProtectedTable) => string,
  tenant?: string,
): Promise<Record<string, Rows>> {
  const found: Record<string, Rows> = {}
  for (const table of tables) {
    const condition = where(table)
    const params = tenant !== undefined && condition.includes('$1') ? [tenant] : []
    found[table.label] = await readRows(
      session,
      table,
      `${table.from} t where ${condition}`,
      params,
    )
  }
  return found
}

async function readRows(
  session: Queryable,
  table: ProtectedTable,
  from: string,
  params: readonly unknown[],
): Promise<Rows> {
  const columns = writtenOf(table).map((column) => `t.${quoteIdentifier(column)}`)
  const { rows } = await session.query<{ count: string; hash: string }>(
    `select count(*) as count, md5(string_agg(line, e'\\n' order by line collate "C")) as hash
     from (select row(${columns})::text as line ${from}) lines`,
    params,
  )
  return { count: Number(rows[0]?.count), hash: rows[0]?.hash ?? '' }
}

function writtenOf(table: ProtectedTable): string[] {
  return table.columns.filter((column) => !column.isGenerated).map((column) => column.name)
}

function settable(table: ProtectedTable): string | undefined {
  return table.columns.find((column) => !column.isGenerated && !column.isIdentity)?.name
}

function relationOf(table: ProtectedTable): string {
  return table.from.replace(/^from /, '')
}
