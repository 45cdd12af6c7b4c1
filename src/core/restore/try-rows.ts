/**
 * Whether staged rows would be taken by their table: they are written into a temp table with the host's own
 * column types, domains, checks, not-null and unique keys, which is thrown away at once. Runs as the operator.
 */
import { DatabaseError } from 'pg'
import type { Queryable } from '../database/database.ts'
import { sqlstateOf } from '../database/sqlstates.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'
import type { StagedTable } from './diff-table.ts'
import type { DrillFinding } from './drill-record.ts'
import { ACTION } from './staged-table.ts'

const TRIED = 'tenantkeep_tried'
/** Each try finds one constraint that rows violate, and does without it in the next. */
const TRIES = 30

/** What the table would refuse, one finding a constraint or column. */
export async function tryRows(session: Queryable, table: StagedTable): Promise<DrillFinding[]> {
  // Going back to it lets go of the table and its locks, of which a server has not many.
  await session.query('savepoint tenantkeep_trial')
  const findings: DrillFinding[] = []
  try {
    await createTried(session, table)
    for (let tries = 1; tries <= TRIES; tries += 1) {
      const refusal = await insertRows(session, table)
      if (refusal === null) break
      findings.push(await describeRefusal(session, table, refusal))
      if (!(await relax(session, refusal))) break
    }
  } catch (error) {
    const state = sqlstateOf(error)
    if (state === undefined || !/^(0A|22|42)/.test(state)) throw error
    findings.push({
      code: 'row_refused',
      table: table.live.label,
      constraint: null,
      count: null,
      message: `Rows of ${table.live.label} could not be tried: the role tenantkeep_operator, which restores them, can't use one of the table's types, checks or keys (SQLSTATE ${state}).`,
    })
  }
  await session.query('rollback to savepoint tenantkeep_trial; release savepoint tenantkeep_trial')
  return findings
}

async function createTried(session: Queryable, { live, shared }: StagedTable): Promise<void> {
  await session.query(
    `create temp table ${TRIED} (like ${live.relation} including constraints including generated including indexes);
     set constraints all immediate`,
  )
  // What is newer than the backup gets its default in a restore; the default itself would be code of the host's.
  const names = new Set(shared.columns.map(({ name }) => name))
  const key = new Set(live.primaryKey.map(({ name }) => name))
  const filled = live.columns.filter(
    (column) =>
      !names.has(column.name) &&
      !key.has(column.name) &&
      !column.isGenerated &&
      !column.isNullable &&
      (column.hasDefault || column.isIdentity),
  )
  if (filled.length === 0) return
  const drops = filled.map(({ name }) => `alter column ${quoteIdentifier(name)} drop not null`)
  await session.query(`alter table pg_temp.${TRIED} ${drops.join(', ')}`)
}

async function insertRows(
  session: Queryable,
  { shared, staged }: StagedTable,
): Promise<DatabaseError | null> {
  const columns = shared.columns.map(({ name }) => quoteIdentifier(name)).join(', ')
  await session.query('savepoint tenantkeep_insert')
  try {
    await session.query(
      columns === ''
        ? `insert into pg_temp.${TRIED} select from ${staged} where ${ACTION} = 'insert'`
        : `insert into pg_temp.${TRIED} (${columns}) select ${columns} from ${staged} where ${ACTION} = 'insert'`,
    )
    return null
  } catch (error) {
    if (!(error instanceof DatabaseError) || !/^(22|23|42|P0)/.test(error.code ?? '')) throw error
    await session.query('rollback to savepoint tenantkeep_insert')
    return error
  } finally {
    // Of an error that goes on, the transaction is over anyhow.
    await session.query('release savepoint tenantkeep_insert').catch(() => {})
  }
}

/** In our words: the database's may quote a value. */
async function describeRefusal(
  session: Queryable,
  { live }: StagedTable,
  error: DatabaseError,
): Promise<DrillFinding> {
  const table = live.label
  const state = error.code ?? ''
  if (state === '23505' || state === '23P01') {
    const name = await nameOfKey(session, live.relation, error.constraint ?? '')
    return {
      code: 'key_twice',
      table,
      constraint: name,
      count: null,
      message: `Rows of ${table} in the backup have the same value of ${name ?? 'a unique key'}.`,
    }
  }
  if (state === '23502') {
    const column = error.column ?? null
    return {
      code: 'row_refused',
      table,
      constraint: column,
      count: null,
      message: `Rows of ${table} would have no value in ${column ?? 'a column'}, which does not allow that.`,
    }
  }
  const what = error.constraint ?? error.dataType ?? null
  return {
    code: 'row_refused',
    table,
    constraint: what,
    count: null,
    message:
      what === null
        ? `Rows of ${table} are refused by the type of a column (SQLSTATE ${state}): it holds less than it did.`
        : `Rows of ${table} are refused by ${what}: they no longer meet what the table asks of its rows.`,
  }
}

/** Takes away what refused the rows, so that the next try finds what else does; false where that can't be done. */
async function relax(session: Queryable, error: DatabaseError): Promise<boolean> {
  const { code, column, constraint } = error
  const table = `alter table pg_temp.${TRIED}`
  if (code === '23502' && column !== undefined) {
    await session.query(`${table} alter column ${quoteIdentifier(column)} drop not null`)
    return true
  }
  if (constraint === undefined || !['23505', '23P01', '23514'].includes(code ?? '')) return false
  const { rows } = await session.query<{ isConstraint: boolean }>(
    `select exists (
       select from pg_catalog.pg_constraint k
       where k.conrelid = 'pg_temp.${TRIED}'::regclass and k.conname = $1
     ) as "isConstraint"`,
    [constraint],
  )
  if (rows[0]?.isConstraint === true) {
    await session.query(`${table} drop constraint ${quoteIdentifier(constraint)}`)
    return true
  }
  // A check that is no constraint of the table's own is a domain's.
  if (code === '23514') return false
  await session.query(`drop index pg_temp.${quoteIdentifier(constraint)}`)
  return true
}

/** What the host calls the key: the index of the temp table was named by Postgres. */
async function nameOfKey(
  session: Queryable,
  relation: string,
  triedName: string,
): Promise<string | null> {
  const { rows } = await session.query<{ name: string }>(
    `with shaped as (
       select i.indrelid, c.relname as index_name, k.conname as name,
         array(select pg_catalog.pg_get_indexdef(i.indexrelid, n, false)
               from generate_series(1, i.indnkeyatts) as n) as keys,
         coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), '') as predicate, i.indisexclusion
       from pg_catalog.pg_index i
       join pg_catalog.pg_class c on c.oid = i.indexrelid
       left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
       where (i.indisunique or i.indisexclusion) and i.indrelid in ($1::regclass, 'pg_temp.${TRIED}'::regclass)
     )
     select coalesce(l.name, l.index_name) as name
     from shaped t join shaped l using (keys, predicate, indisexclusion)
     where t.indrelid = 'pg_temp.${TRIED}'::regclass and t.index_name = $2 and l.indrelid = $1::regclass
     order by 1 limit 1`,
    [relation, triedName],
  )
  return rows[0]?.name ?? null
}
