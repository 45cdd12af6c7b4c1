/**
 * Compares a staged table with the tenant's live rows and writes down, in the staged rows' action, what a
 * restore would do. Runs as the operator in the snapshot of the look, so every live row it sees is the
 * tenant's own.
 */
import type { Queryable } from '../database/database.ts'
import { encodeLine } from '../tables/encode-rows.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'
import { ACTION, CTID, ROW, TABLEOID, XMIN } from './staged-table.ts'

/** A table of the tenant on its way through a restore. */
export interface StagedTable {
  /** The live table, all columns. */
  live: ProtectedTable
  /** The live table as far as the backup knows it; what is compared and written. */
  shared: ProtectedTable
  /** `pg_temp.…`, and the number in it. */
  staged: string
  index: number
  rowsInBackup: number
  /** Live rows at the time of the look. */
  rowsLive: number
  /** Rows that proved equal and are staged no more; those that are still there have no action. */
  rowsEqual: number
  /** The number of the next row that is added to the staged table. */
  nextRow: number
}

export interface DiffChoices {
  missing: 'restore' | 'keep'
  changed: 'restore' | 'keep'
  newer: 'restore' | 'keep'
  /** Only the rows that the scope table names under this table's number. */
  isScoped: boolean
}

/**
 * Which rows a restore is about, where it is not about all: by the texts of their keys, or, in an undo, by
 * the digests of their lines before and after, with what the restore did to them.
 */
export const SCOPE = 'pg_temp.tenantkeep_scope'
export const CREATE_SCOPE =
  'create temp table tenantkeep_scope (table_no int, key jsonb, action text, before text, after text)'

/** From how many rows on it is worth a moment to get rid of those that are equal. */
const MANY_ROWS = 10_000

/** Rows of one table that differ: the number of the staged one, the place of the live one. */
const DIFFERENCES = 'pg_temp.tenantkeep_differences'
export const CREATE_DIFFERENCES = `create temp table tenantkeep_differences
  (${ROW} bigint, ${TABLEOID} oid, ${CTID} tid, ${XMIN} xid)`

/** Marks every staged row and adds the live rows that change or go. */
export async function diffTable(
  session: Queryable,
  table: StagedTable,
  choices: DiffChoices,
): Promise<void> {
  await markRows(session, table, choices)
  if (!choices.isScoped && table.rowsInBackup >= MANY_ROWS) await dropEqualRows(session, table)
  // Rows that were staged as what they are stay as they are.
  if (table.rowsLive > 0 || choices.isScoped) await session.query(`analyze ${table.staged}`)
}

/**
 * What is equal is needed no more, and everything from here on reads the whole staged table time and again.
 * A table is made for it and gone at once, since it takes locks as any other: so only where it is worth it.
 */
async function dropEqualRows(session: Queryable, table: StagedTable): Promise<void> {
  const { staged } = table
  const { rows } = await session.query<{ equal: string; differ: string }>(
    `select count(*) filter (where ${ACTION} is null) as equal, count(${ACTION}) as differ from ${staged}`,
  )
  const equal = Number(rows[0]?.equal)
  if (equal < Number(rows[0]?.differ)) return
  await session.query(
    `create temp table tenantkeep_differ as select * from ${staged} where ${ACTION} is not null;
     truncate ${staged};
     insert into ${staged} select * from pg_temp.tenantkeep_differ;
     drop table pg_temp.tenantkeep_differ`,
  )
  table.rowsEqual = equal
}

/** How many of the keys that the scope names for a table have no row in the backup, nor a live one. */
export async function countUnknownKeys(session: Queryable, table: StagedTable): Promise<number> {
  const { shared, staged, index, rowsInBackup } = table
  const { rows } = await session.query<{ count: string }>(
    `select count(*)::text as count from ${SCOPE} as c
     where c.table_no = ${index}
       and c.key not in (select ${keyOf(shared, 's')} from ${staged} as s where s.${ROW} <= ${rowsInBackup})
       and c.key not in (select ${keyOf(shared, 'live')} from ${liveRows(table.live)})`,
  )
  return Number(rows[0]?.count)
}

async function markRows(
  session: Queryable,
  table: StagedTable,
  choices: DiffChoices,
): Promise<void> {
  if (table.shared.primaryKey.length === 0) {
    if (choices.isScoped) await diffByScopedLine(session, table)
    else await diffByLine(session, table, choices)
    return
  }
  if (choices.isScoped) {
    await session.query(
      `update ${table.staged} as s set ${ACTION} = 'outside' where not ${isInScope(table, 's')}`,
    )
  }
  await diffByKey(session, table, choices)
}

/**
 * One join over both sides notes what differs, in the order in which it comes; everything else is done with
 * those few. The snapshot stands still, so a live row is found again by its place.
 */
async function diffByKey(
  session: Queryable,
  table: StagedTable,
  choices: DiffChoices,
): Promise<void> {
  const { staged, shared } = table
  const missing = choices.missing === 'restore' ? 'insert' : 'skip'
  const changed = choices.changed === 'restore' ? 'update' : 'skip'
  if (table.rowsLive === 0) {
    await session.query(
      `update ${staged} set ${ACTION} = '${missing}'
       where coalesce(${ACTION}, 'insert') = 'insert' and ${ACTION} is distinct from '${missing}'`,
    )
    return
  }
  const differs = rowsDiffer(shared, comparedColumns(shared), 's', 'live') ?? 'false'
  const scope = choices.isScoped ? ` and ${isInScope(table, 'live', 'insert')}` : ''
  const isNewer = choices.newer === 'keep' ? 'false' : `s.${ROW} is null${scope}`
  await session.query(
    `truncate ${DIFFERENCES};
     insert into ${DIFFERENCES}
     select s.${ROW}, live.${TABLEOID}, live.${CTID}, live.${XMIN}
     from ${staged} as s full join ${liveRows(table.live)} on ${equalKey(shared, 's', 'live')}
     where (s.${ROW} is not null and s.${ACTION} is null and (live.${CTID} is null or (${differs})))
       or (${isNewer});
     analyze ${DIFFERENCES}`,
  )
  await session.query(
    `update ${staged} as s
     set ${ACTION} = case when d.${CTID} is null then '${missing}' else '${changed}' end,
       ${TABLEOID} = d.${TABLEOID}, ${CTID} = d.${CTID}, ${XMIN} = d.${XMIN}
     from ${DIFFERENCES} as d where d.${ROW} = s.${ROW}`,
  )
  const from = `${DIFFERENCES} as d
    join ${liveRows(table.live)} on live.${CTID} = d.${CTID} and live.${TABLEOID} = d.${TABLEOID}`
  if (changed === 'update') {
    await addLiveRows(session, table, {
      action: 'before',
      rowNumber: `d.${ROW}`,
      from: `${from} where d.${ROW} is not null`,
    })
  }
  if (choices.newer === 'keep') return
  await addLiveRows(session, table, {
    action: 'delete',
    rowNumber: null,
    from: `${from} where d.${ROW} is null`,
  })
}

/** Without a key rows are a multiset: equal lines are told apart by their number only. */
async function diffByLine(
  session: Queryable,
  table: StagedTable,
  { missing, newer }: DiffChoices,
): Promise<void> {
  const lines = numberedLines(table)
  await session.query(
    `with ${lines}
     update ${table.staged} as s set ${ACTION} = '${missing === 'restore' ? 'insert' : 'skip'}'
     from staged_lines as l
     where l.row_no = s.${ROW}
       and not exists (select from live_lines as v where v.${LINE} = l.line and v.${TURN} = l.n)`,
  )
  if (newer === 'keep') return
  await addLiveRows(session, table, {
    action: 'delete',
    rowNumber: null,
    with: lines,
    from: `live_lines as live
      where not exists (select from staged_lines as l where l.line = live.${LINE} and l.n = live.${TURN})`,
  })
}

/** An undo: as many equal lines as the restore inserted go, as many as it deleted come back. */
async function diffByScopedLine(session: Queryable, table: StagedTable): Promise<void> {
  const lines = numberedLines(table)
  const wanted = (digest: 'before' | 'after', action: string) =>
    `(select count(*) from ${SCOPE} as c
      where c.table_no = ${table.index} and c.action = '${action}' and c.${digest} = md5(l.line))`
  await session.query(
    `with ${lines}
     update ${table.staged} as s
     set ${ACTION} = case when l.n <= ${wanted('before', 'delete')} then 'insert' else 'outside' end
     from staged_lines as l where l.row_no = s.${ROW}`,
  )
  await addLiveRows(session, table, {
    action: 'delete',
    rowNumber: null,
    with: lines,
    from: `live_lines as live
      where live.${TURN} <= ${wanted('after', 'insert').replace('l.line', `live.${LINE}`)}`,
  })
}

/** Beside the host's own columns, which may be called anything. */
const LINE = '"tenantkeep:line"'
const TURN = '"tenantkeep:turn"'

function numberedLines(table: StagedTable): string {
  return `live_lines as materialized (
      select live.*, row_number() over (partition by live.${LINE}) as ${TURN}
      from (select live.*, ${lineOf(table.shared, 'live')} as ${LINE} from ${liveRows(table.live)}) as live
    ), staged_lines as materialized (
      select s.row_no, s.line, row_number() over (partition by s.line order by s.row_no) as n
      from (
        select s.${ROW} as row_no, ${lineOf(table.shared, 's')} as line
        from ${table.staged} as s where s.${ACTION} is null or s.${ACTION} = 'insert'
      ) as s
    )`
}

/**
 * After the diff: what keeps its live value gets it, so that the staged row is what will be written, and
 * rows whose unique values or owner change are replaced instead of updated. The tenant's own row is always
 * updated in place: whoever waits for it would else find it gone.
 */
export async function settleUpdates(
  session: Queryable,
  table: StagedTable,
  keyColumns: ReadonlySet<string>,
): Promise<void> {
  const { live, shared, staged } = table
  const both = `from ${staged} as b where b.${ROW} = s.${ROW} and b.${ACTION} = 'before'
    and s.${ACTION} = 'update'`
  const kept = columnsKept(table)
  if (kept.length > 0) {
    const set = kept.map((name) => `${quoteIdentifier(name)} = b.${quoteIdentifier(name)}`)
    await session.query(`update ${staged} as s set ${set.join(', ')} ${both}`)
  }
  if (live.class === 'root') return
  const moving = shared.columns.filter(
    (column) => column.isIdentityAlways || keyColumns.has(column.name),
  )
  if (moving.length === 0) return
  const image = (alias: string) =>
    `row(${moving.map((column) => `${alias}.${quoteIdentifier(column.name)}`).join(', ')})::record`
  await session.query(
    `update ${staged} as s set ${ACTION} = 'replace' ${both} and ${image('s')} *<> ${image('b')}`,
  )
}

/** Columns that an update leaves as they are: marked as keep-live, or newer than the backup. */
export function columnsKept({ live, shared }: StagedTable): string[] {
  const names = new Set(shared.columns.map((column) => column.name))
  return live.columns
    .filter((column) => !column.isGenerated)
    .map((column) => column.name)
    .filter((name) => live.keepLive.includes(name) || !names.has(name))
}

/** The columns in which a difference counts. */
export function comparedColumns(shared: ProtectedTable): string[] {
  const key = new Set(shared.primaryKey.map((column) => column.name))
  return shared.columns
    .map((column) => column.name)
    .filter((name) => !key.has(name) && !shared.keepLive.includes(name))
}

/**
 * Whether two rows differ: by image, which is fast and sees everything, and by text, because equal arrays
 * may have different images. Null where there is nothing to compare.
 */
export function rowsDiffer(
  shared: ProtectedTable,
  columns: readonly string[],
  left: string,
  right: string,
): string | null {
  if (columns.length === 0) return null
  const image = (alias: string) =>
    `row(${columns.map((name) => `${alias}.${quoteIdentifier(name)}`).join(', ')})::record`
  const compared = {
    ...shared,
    columns: shared.columns.filter((column) => columns.includes(column.name)),
  }
  return `${image(left)} *<> ${image(right)}
    and ${lineOf(compared, left)} is distinct from ${lineOf(compared, right)}`
}

/** The row of an alias as its line of JSON. */
export function lineOf(table: ProtectedTable, alias: string): string {
  const columns = table.columns
    .filter((column) => !column.isGenerated)
    .map((column) => `${alias}.${quoteIdentifier(column.name)}`)
  const select = columns.length === 0 ? 'select' : `select ${columns.join(', ')}`
  return `(select ${encodeLine(table)} collate "C" from (${select}) as ${quoteIdentifier(table.name)})`
}

/** The texts of a row's key as a JSON array; what plans and scopes call a row by. */
export function keyOf(table: ProtectedTable, alias: string): string {
  const texts = table.primaryKey.map((column) => `${alias}.${quoteIdentifier(column.name)}::text`)
  return `jsonb_build_array(${texts.join(', ')})`
}

/**
 * The tenant's live rows as a relation called `live`: domains as their base types, as the staged rows have
 * them, and each row's place beside it.
 */
export function liveRows(table: ProtectedTable): string {
  const name = quoteIdentifier(table.name)
  const columns = table.columns.map((column) => {
    const quoted = quoteIdentifier(column.name)
    // A domain becomes its base type; around any other column that would hide it from its index.
    return column.isDomain ? `coalesce(${name}.${quoted}, null) as ${quoted}` : `${name}.${quoted}`
  })
  const place = `${name}.tableoid as ${TABLEOID}, ${name}.ctid as ${CTID}, ${name}.xmin as ${XMIN}`
  return `(select ${[...columns, place].join(', ')} ${table.from} where ${table.rowExpression}) as live`
}

/** Types in which equal values are the same value. */
const EXACT_TYPES = new Set([
  'smallint',
  'integer',
  'bigint',
  'boolean',
  'uuid',
  'date',
  'timestamp without time zone',
  'timestamp with time zone',
  'bytea',
])

/**
 * Whether two aliases have the same primary key. Types of extensions are compared as records, by their default
 * operator class: their `=` is found only where the search path and the role's rights lead to it. Where keys
 * can be equal and not the same (letters' case, zeros behind the point), the texts must be the same too: such
 * rows are two, one that goes and one that comes.
 */
export function equalKey(table: ProtectedTable, left: string, right: string): string {
  return table.primaryKey
    .map(({ name }) => {
      const column = table.columns.find((candidate) => candidate.name === name)
      const pair = [left, right].map((alias) => `${alias}.${quoteIdentifier(name)}`)
      const isEqual =
        column?.encoding === 'scalar'
          ? pair.join(' = ')
          : // One side may still be a domain.
            pair.map((value) => `row(coalesce(${value}, null))::record`).join(' = ')
      if (EXACT_TYPES.has(column?.type ?? '')) return isEqual
      return `${isEqual} and ${pair.map((value) => `${value}::text collate "C"`).join(' = ')}`
    })
    .join(' and ')
}

function isInScope(table: StagedTable, alias: string, action?: 'insert'): string {
  const done = action === undefined ? '' : ` and (c.action is null or c.action = '${action}')`
  return `exists (select from ${SCOPE} as c
    where c.table_no = ${table.index} and c.key = ${keyOf(table.shared, alias)}${done})`
}

/** Adds live rows of the tenant to the staged ones, with their own values and their place. */
export async function addLiveRows(
  session: Queryable,
  table: StagedTable,
  given: { action: 'before' | 'delete'; rowNumber: string | null; with?: string; from: string },
): Promise<void> {
  const columns = table.live.columns.map((column) => quoteIdentifier(column.name))
  const { rowCount } = await session.query(
    `${given.with === undefined ? '' : `with ${given.with} `}
     insert into ${table.staged} (${[...columns, ROW, ACTION, TABLEOID, CTID, XMIN].join(', ')})
     select ${columns.map((column) => `live.${column}`).join(', ')},
       ${given.rowNumber ?? `${table.nextRow - 1} + row_number() over ()`}, '${given.action}',
       live.${TABLEOID}, live.${CTID}, live.${XMIN}
     from ${given.from}`,
  )
  if (given.rowNumber === null) table.nextRow += rowCount
}
