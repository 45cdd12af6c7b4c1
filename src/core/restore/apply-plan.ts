/**
 * The writes of a restore, inside the act's transaction, as the operator with triggers silent. Nothing is
 * written that the plan does not name, and every row only as it was when the plan was made: a row that
 * somebody changed since ends the attempt (`GuardMiss`), and the tenant is looked at again.
 *
 * Row level security asks for a row's owner at every write, so the order is that of ownership: rows go
 * children first while their owners are still there, rows come owners first.
 */

import type { Queryable } from '../database/database.ts'
import { hasSqlstate, sqlstateOf } from '../database/sqlstates.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import { asWorker } from './as-worker.ts'
import { columnsKept, equalKey, type StagedTable } from './diff-table.ts'
import type { Edge } from './read-constraints.ts'
import { ACTION, CTID, ROW, TABLEOID, XMIN } from './staged-table.ts'

/** Somebody changed a row after it was looked at. */
export class GuardMiss extends Error {
  override readonly name = 'GuardMiss'
}

/** How the same is said inside the database. */
export const GUARD_STATE = 'TK001'

/** Rows that the database refused, and by what. */
export interface RefusedRows {
  table: StagedTable
  constraint: string | null
  state: string
  /** By something that the table calls when it is written (a trigger, a check's function), not by the table. */
  isWithin: boolean
  rows: string[]
}

export const CREATE_REFUSED = `create temp table tenantkeep_refused
  (table_no int, row_no bigint, state text, constraint_name text, is_within boolean)`
export const REFUSED = 'pg_temp.tenantkeep_refused'

export interface ApplyOptions {
  tables: readonly StagedTable[]
  edges: readonly Edge[]
  tenantId: string
  /** Under which released rows are kept. */
  restoreId: string
  /** The last attempt: a duplicate that the look did not foresee is a refusal, not a reason to look again. */
  isLast: boolean
  onTable: (label: string, rowsDone: number, rowsTotal: number) => void
}

/**
 * Writes the plan. Returns the rows that the database refused one by one (checks, lengths, values); all
 * others are written. Throws `GuardMiss`, and what speaks of other sessions: lock time-outs, deadlocks.
 */
export async function applyPlan(session: Queryable, options: ApplyOptions): Promise<RefusedRows[]> {
  const { tables } = options
  await session.query(`truncate ${REFUSED}`)
  const countsOf = await countAllActions(session, tables)
  const countsIn = (table: StagedTable) => countsOf.get(table) ?? {}
  for (const table of tables) await releaseRows(session, table, countsIn(table), options)
  for (const table of tables.toReversed()) await deleteRows(session, table, countsIn(table))
  const done: StagedTable[] = []
  for (const table of tables) {
    const counts = countsIn(table)
    const rowsTotal = (counts.insert ?? 0) + (counts.update ?? 0) + (counts.replace ?? 0)
    if (rowsTotal > 0) {
      options.onTable(table.live.label, 0, rowsTotal)
      await updateRows(session, table, counts.update ?? 0, options)
      await insertRows(session, table, options, {
        insert: counts.insert ?? 0,
        replace: counts.replace ?? 0,
      })
      options.onTable(table.live.label, rowsTotal, rowsTotal)
    }
    done.push(table)
  }
  return retryRefused(session, done)
}

/** Staged rows by action. */
type Counts = Partial<Record<string, number>>

export async function countActions(session: Queryable, table: StagedTable): Promise<Counts> {
  return (await countAllActions(session, [table])).get(table) ?? {}
}

async function countAllActions(
  session: Queryable,
  tables: readonly StagedTable[],
): Promise<Map<StagedTable, Counts>> {
  if (tables.length === 0) return new Map()
  const counted = tables.map(
    ({ staged }, at) =>
      `select ${at} as at, ${ACTION} as action, count(*) as count from ${staged} where ${ACTION} is not null group by 2`,
  )
  const { rows } = await session.query<{ at: number; action: string; count: string }>(
    counted.join(' union all '),
  )
  return new Map(
    tables.map((table, index) => [
      table,
      Object.fromEntries(
        rows.filter(({ at }) => at === index).map(({ action, count }) => [action, Number(count)]),
      ),
    ]),
  )
}

/** Rows that no tenant owns and that are in the way; past row level security, each one checked there. */
async function releaseRows(
  session: Queryable,
  table: StagedTable,
  { release = 0 }: Counts,
  { tenantId, restoreId }: ApplyOptions,
): Promise<void> {
  if (release === 0) return
  const { rows } = await asWorker(session, () =>
    session.query<{ released: string }>(
      'select tenantkeep.release_rows($1, $2, $3::regclass, $4::uuid, $5) as released',
      [table.live.schema, table.live.name, table.staged, restoreId, tenantId],
    ),
  )
  requireCount(Number(rows[0]?.released), release)
}

async function deleteRows(session: Queryable, table: StagedTable, counts: Counts): Promise<void> {
  const planned = (counts.delete ?? 0) + (counts.replace ?? 0)
  if (planned === 0) return
  const rows = `select * from ${table.staged} where ${ACTION} in ('delete', 'replace')`
  const written = await writeAll(session, table, {
    planned,
    isLast: false,
    all: `delete ${relationOf(table)} as t using ${table.staged} as s
      where s.${ACTION} in ('delete', 'replace') and ${sameRow(table)}`,
    rows,
    one: `delete ${relationOf(table)} as t where ${sameRow(table)}`,
  })
  if (written === planned) return
  // What could not go can't come again either.
  await session.query(
    `update ${table.staged} set ${ACTION} = 'refused'
     where ${ACTION} in ('delete', 'replace')
       and ${ROW} in (select row_no from ${REFUSED} where table_no = ${table.index})`,
  )
}

async function updateRows(
  session: Queryable,
  table: StagedTable,
  planned: number,
  { isLast }: ApplyOptions,
): Promise<void> {
  if (planned === 0) return
  const columns = updatedColumns(table)
  if (columns.length === 0) return
  const set = (alias: string) =>
    columns.map((name) => `${quoteIdentifier(name)} = ${alias}.${quoteIdentifier(name)}`).join(', ')
  const relation = relationOf(table).replace(/^from /, '')
  await writeAll(session, table, {
    planned,
    isLast,
    all: `update ${relation} as t set ${set('s')} from ${table.staged} as s
      where s.${ACTION} = 'update' and ${sameRow(table)}`,
    rows: `select * from ${table.staged} where ${ACTION} = 'update'`,
    one: `update ${relation} as t set ${set('s')} where ${sameRow(table)}`,
  })
}

/** A table that owns its own rows takes them in rounds: a row is let in once its owner is there. */
async function insertRows(
  session: Queryable,
  table: StagedTable,
  options: ApplyOptions,
  planned: { insert: number; replace: number },
): Promise<void> {
  const name = quoteIdentifier(table.live.name)
  for (const action of ['insert', 'replace'] as const) {
    if (planned[action] === 0) continue
    const columns = insertedColumns(table, action).map((column) => quoteIdentifier(column))
    const into = `insert into ${table.live.relation} (${columns.join(', ')}) overriding system value`
    const from = (alias: string) => columns.map((column) => `${alias}.${column}`).join(', ')
    const statements = {
      planned: planned[action],
      isLast: options.isLast,
      all: `${into} select ${from('s')} from ${table.staged} as s where s.${ACTION} = '${action}'`,
      rows: `select * from ${table.staged} where ${ACTION} = '${action}'`,
      one: `${into} values (${from('s')})`,
    }
    if (!isOwnOwner(table, options) || table.shared.primaryKey.length === 0) {
      await writeAll(session, table, statements)
      continue
    }
    const key = equalKey(table.shared, 'x', name)
    let left = planned[action]
    while (left > 0) {
      const before = left
      left -= await writeAll(session, table, {
        ...statements,
        planned: null,
        all: `${into} select ${from(name)} from ${table.staged} as ${name}
          where ${name}.${ACTION} = '${action}' and (${table.live.rowExpression})
            and not exists (select ${table.live.from} as x where ${key})`,
      })
      if (left === before) break
    }
    if (left > 0) {
      await writeAll(session, table, {
        ...statements,
        rows: `${statements.rows.replace(' where ', ` as ${name} where `)}
          and not exists (select ${table.live.from} as x where ${key})`,
        all: null,
      })
    }
  }
}

interface Statements {
  /** How many rows it must write; null where the caller counts. */
  planned: number | null
  isLast: boolean
  /** All rows at once; null where that was tried. */
  all: string | null
  /** The staged rows it is about. */
  rows: string
  /** One of them, as the variable `s`. */
  one: string
}

/**
 * All rows at once; where one of them is refused, one after the other, so that every refusal is known.
 * Returns how many were written.
 */
async function writeAll(
  session: Queryable,
  table: StagedTable,
  { planned, isLast, all, rows, one }: Statements,
): Promise<number> {
  if (all !== null) {
    await session.query('savepoint tenantkeep_write')
    try {
      const { rowCount } = await session.query(all)
      await session.query('release savepoint tenantkeep_write')
      if (planned !== null) requireCount(rowCount, planned)
      return rowCount
    } catch (error) {
      if (!isRefusal(error, isLast)) throw error
      await session.query('rollback to savepoint tenantkeep_write')
    }
  }
  await session.query(tryEach(table, rows, one))
  return 0
}

/** Errors that a row's own values cause. A duplicate may come from a session that wrote meanwhile. */
function isRefusal(error: unknown, isLast: boolean): boolean {
  if (hasSqlstate(error, 'uniqueViolation', 'exclusionViolation')) return isLast
  return /^(22|23|42501|P0|44)/.test(sqlstateOf(error) ?? '')
}

/**
 * A block of the database's own language: each row in a subtransaction of its own, refusals noted. Where the
 * error comes from within, its context names that first, line by line, and our statement only then.
 */
function tryEach(table: StagedTable, rows: string, one: string): string {
  const body = `
    declare
      s record;
      tenantkeep_state text;
      tenantkeep_named text;
      tenantkeep_context text;
      tenantkeep_written bigint;
    begin
      for s in ${rows} loop
        begin
          ${one};
          get diagnostics tenantkeep_written = row_count;
          if tenantkeep_written = 0 then
            raise exception 'guard' using errcode = '${GUARD_STATE}';
          end if;
        exception when others then
          get stacked diagnostics tenantkeep_state = returned_sqlstate,
            tenantkeep_named = constraint_name, tenantkeep_context = pg_exception_context;
          if tenantkeep_state !~ '^(22|23|42501|P0|44)' then
            raise;
          end if;
          if tenantkeep_named = '' then
            get stacked diagnostics tenantkeep_named = column_name;
          end if;
          insert into ${REFUSED} values (${table.index}, s.${ROW}, tenantkeep_state, nullif(tenantkeep_named, ''),
            strpos(split_part(tenantkeep_context, ${quoteLiteral(one)}, 1), chr(10)) > 0);
        end;
      end loop;
    end`
  return `do ${quoteLiteral(body)}`
}

/**
 * Rows that were refused are tried once more when all others are written: a check may read other tables,
 * and an owner may have been among the refused.
 */
async function retryRefused(
  session: Queryable,
  tables: readonly StagedTable[],
): Promise<RefusedRows[]> {
  const { rows: any } = await session.query(`select from ${REFUSED} limit 1`)
  if (any.length === 0) return []
  const { rows: first } = await session.query<{ table_no: number }>(
    `select distinct table_no from ${REFUSED} order by table_no`,
  )
  for (const table of tables) {
    if (!first.some(({ table_no }) => table_no === table.index)) continue
    await session.query(
      `create temp table tenantkeep_again as
         select s.${ROW} as row_no from ${table.staged} as s
         where s.${ACTION} in ('update', 'insert', 'replace')
           and s.${ROW} in (select row_no from ${REFUSED} where table_no = ${table.index});
       delete from ${REFUSED} where table_no = ${table.index}
         and row_no in (select row_no from pg_temp.tenantkeep_again)`,
    )
    for (const action of ['update', 'insert', 'replace'] as const) {
      const rows = `select * from ${table.staged}
        where ${ACTION} = '${action}' and ${ROW} in (select row_no from pg_temp.tenantkeep_again)`
      await session.query(tryEach(table, rows, oneStatement(table, action)))
    }
    await session.query('drop table pg_temp.tenantkeep_again')
  }
  const { rows } = await session.query<{
    table_no: number
    state: string
    constraint_name: string | null
    is_within: boolean
    rows: string[]
  }>(
    `select table_no, state, constraint_name, is_within, array_agg(row_no::text order by row_no) as rows
     from ${REFUSED} group by 1, 2, 3, 4 order by 1, 2, 3, 4`,
  )
  return rows.flatMap((refused) => {
    const table = tables.find(({ index }) => index === refused.table_no)
    if (table === undefined) return []
    const { state, constraint_name: constraint, is_within: isWithin } = refused
    return [{ table, state, constraint, isWithin, rows: refused.rows }]
  })
}

function oneStatement(table: StagedTable, action: 'update' | 'insert' | 'replace'): string {
  if (action === 'update') {
    const set = updatedColumns(table).map(
      (name) => `${quoteIdentifier(name)} = s.${quoteIdentifier(name)}`,
    )
    return `update ${relationOf(table).replace(/^from /, '')} as t set ${set.join(', ')} where ${sameRow(table)}`
  }
  const columns = insertedColumns(table, action).map((column) => quoteIdentifier(column))
  return `insert into ${table.live.relation} (${columns.join(', ')}) overriding system value
    values (${columns.map((column) => `s.${column}`).join(', ')})`
}

/** Its own owner, by an edge to itself or as a tenant below a tenant. */
function isOwnOwner({ live }: StagedTable, { edges }: ApplyOptions): boolean {
  return (
    live.class === 'root' ||
    edges.some(({ label, ownerLabel }) => label === live.label && ownerLabel === live.label)
  )
}

function updatedColumns(table: StagedTable): string[] {
  const key = new Set(table.shared.primaryKey.map((column) => column.name))
  const kept = new Set(columnsKept(table))
  return table.shared.columns
    .filter((column) => !column.isIdentityAlways && !key.has(column.name) && !kept.has(column.name))
    .map((column) => column.name)
}

/** Rows that come back get the default of columns that are newer than the backup; replaced rows keep theirs. */
function insertedColumns(table: StagedTable, action: 'insert' | 'replace'): string[] {
  const source = action === 'insert' ? table.shared : table.live
  return source.columns.filter((column) => !column.isGenerated).map((column) => column.name)
}

/** By key and row version; without a key by place and row version. A place alone is not rechecked after a wait. */
function sameRow({ shared }: StagedTable): string {
  const isSame =
    shared.primaryKey.length > 0
      ? equalKey(shared, 't', 's')
      : `t.ctid = s.${CTID} and t.tableoid = s.${TABLEOID}`
  return `${isSame} and t.xmin = s.${XMIN}`
}

function relationOf({ live }: StagedTable): string {
  return live.from
}

function requireCount(written: number, planned: number): void {
  if (written !== planned) {
    throw new GuardMiss(`${written} of ${planned} rows were as they had been.`)
  }
}
