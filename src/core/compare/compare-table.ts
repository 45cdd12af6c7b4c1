/**
 * Compares the rows of one table, inside the database: the backup's rows are loaded into temp tables, the
 * live ones are read where they are. All of it happens behind a savepoint and is rolled back, so that the
 * locks of hundreds of tables do not add up. Only the texts of rows that differ pass through here, unread.
 */
import type { SummaryTable } from '../backup/summary.ts'
import { blankFraming } from '../backup/unpack-part.ts'
import type { Connection } from '../database/database.ts'
import { sqlstateOf } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import type { BackupSource } from '../restore/backup-source.ts'
import { lineOf, rowsDiffer } from '../restore/diff-table.ts'
import {
  CREATE_LINES,
  copyLines,
  createStagedTable,
  LINES,
  loadStagedRows,
} from '../restore/stage-table.ts'
import { encodeLine } from '../tables/encode-rows.ts'
import type { Column, ProtectedTable } from '../tables/protected-table.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import type { DifferenceKind, TableComparison } from './comparison.ts'

/** Longer values are cut in what people look at, never in what is compared. */
const LONGEST_TEXT = 2_000
const ROWS_AT_ONCE = 100
const DIFFERENCES = 'pg_temp.tenantkeep_differences'
const STAGED_BACKUP = 'pg_temp.tenantkeep_staged_backup'
const STAGED_OTHER = 'pg_temp.tenantkeep_staged_other'
/** Tells a row that is there from one that the outer join made up. */
const HERE = '"tenantkeep:here"'

/** One side: a table of a backup, or the live rows. */
export type Side = { source: BackupSource; table: SummaryTable } | 'live'

export interface CompareTableOptions {
  /** The live table, cut down to the columns that are compared, with the key that rows are matched by. */
  shared: ProtectedTable
  backup: Exclude<Side, 'live'>
  other: Side
  /** At most so many rows are kept, numbered from `firstNumber`. */
  maxRows: number
  firstNumber: number
  /** Takes rows that differ, each as one JSON text of a `RowDifference`. */
  keep: (rows: string[]) => Promise<void>
  onRows: (rows: number) => void
  signal: AbortSignal | undefined
}

export type TableDifferences = Pick<
  TableComparison,
  'onlyInBackup' | 'onlyInOther' | 'changed' | 'keptRows' | 'isByKey' | 'keyColumns' | 'isByText'
>

/**
 * Compares one table, as the operator in a snapshot that was opened for writing. A row has changed when its
 * image differs and its text does too: the images of equal arrays can differ. Without a key rows are a
 * multiset of lines. Where the backup's values can't be read as the types of now, all are compared as texts.
 */
export async function compareTable(
  connection: Connection,
  options: CompareTableOptions,
): Promise<TableDifferences> {
  const isByKey = options.shared.primaryKey.length > 0
  await connection.query(`savepoint tenantkeep_table; ${CREATE_LINES}`)
  const isByText = !(await tryStage(connection, options))
  if (isByText) {
    await connection.query(`rollback to tenantkeep_table; ${CREATE_LINES}`)
    await stageTexts(connection, options)
  }
  const shape = isByText ? asTexts(options.shared) : options.shared
  const isLive = options.other === 'live' && !isByText
  const sides: Sides = {
    shape,
    a: `(select ${columnList(shape)}, true as ${HERE} from ${STAGED_BACKUP}) as a`,
    b: isLive
      ? liveSide(shape)
      : `(select ${columnList(shape)}, true as ${HERE} from ${STAGED_OTHER}) as b`,
  }
  await connection.query(isByKey ? differencesByKey(sides) : differencesByLine(sides))
  const counts = await countDifferences(connection)
  const keptRows = Math.min(counts.entries, options.maxRows)
  if (keptRows > 0) await keepRows(connection, sides, { ...options, maxRows: keptRows })
  await connection.query('rollback to tenantkeep_table; release tenantkeep_table')
  const keyColumns = options.shared.primaryKey.map(({ name }) => name)
  return { ...counts.of, keptRows, isByKey, keyColumns, isByText }
}

/** Loads what is not live, typed. False where a value can't be read as its column's type. */
async function tryStage(connection: Connection, options: CompareTableOptions): Promise<boolean> {
  const { shared, backup, other } = options
  // Two backups are compared with each other, not with the scale that a column has by now.
  const changed = other === 'live' ? changedTypes(shared, backup.table) : new Set<string>()
  try {
    await stageTyped(connection, options, backup, STAGED_BACKUP, changed)
    if (other !== 'live') await stageTyped(connection, options, other, STAGED_OTHER, changed)
    return true
  } catch (error) {
    if (isUnreadable(error)) return false
    throw error
  }
}

function changedTypes({ columns }: ProtectedTable, table: SummaryTable): ReadonlySet<string> {
  const then = new Map(table.columns.map((column) => [column.name, column.type]))
  const changed = columns.filter(({ name, type }) => then.get(name) !== type)
  return new Set(changed.map(({ name }) => name))
}

async function stageTyped(
  connection: Connection,
  { shared, onRows, signal }: CompareTableOptions,
  { source, table }: Exclude<Side, 'live'>,
  staged: string,
  changedTypes: ReadonlySet<string>,
): Promise<void> {
  await connection.query(createStagedTable(shared, staged))
  await loadStagedRows(connection, {
    source,
    backup: table,
    shared,
    changedTypes,
    // Whatever the reason, such a table is compared by text (isUnreadable).
    hasChanged: false,
    staged,
    action: null,
    onRows,
    signal,
  })
}

/** Only what Postgres said of values and types; a part that is damaged is no question of types. */
function isUnreadable(error: unknown): boolean {
  const isDamaged = error instanceof BackupError && error.code === 'backup_damaged'
  return isDamaged && sqlstateOf(error) !== undefined
}

/** Every value as the text that its line holds, on both sides by the same way. */
async function stageTexts(connection: Connection, options: CompareTableOptions): Promise<void> {
  const { shared, backup, other } = options
  await stageLines(connection, options, backup, STAGED_BACKUP)
  if (other !== 'live') return stageLines(connection, options, other, STAGED_OTHER)
  const lines = `(select substr(${encodeLine(shared)}, 2) as line ${shared.from} where ${shared.rowExpression})`
  await connection.query(
    `${createTexts(shared, STAGED_OTHER)};
     insert into ${STAGED_OTHER} ${selectTexts(shared.columns, lines)}`,
  )
}

async function stageLines(
  connection: Connection,
  { shared, onRows, signal }: CompareTableOptions,
  { source, table }: Exclude<Side, 'live'>,
  staged: string,
): Promise<void> {
  const encodings = new Map(table.columns.map((column) => [column.name, column.encoding]))
  const columns = shared.columns.map((column) => ({
    ...column,
    encoding: encodings.get(column.name) ?? column.encoding,
  }))
  await connection.query(createTexts(shared, staged))
  let rows = 0
  for (const part of table.parts) {
    await copyLines(connection, blankFraming(await source.readPart(part, signal)), signal)
    await connection.query(
      `insert into ${staged} ${selectTexts(columns, LINES)}; truncate ${LINES}`,
    )
    rows += part.rows
    onRows(rows)
  }
  await connection.query(`analyze ${staged}`)
}

function createTexts({ columns }: ProtectedTable, staged: string): string {
  return `create temp table ${staged} (${columns.map(({ name }) => `${quoteIdentifier(name)} text`).join(', ')})`
}

function selectTexts(columns: readonly Column[], lines: string): string {
  const texts = columns.map(({ name, encoding }) => {
    const text = `p.${quoteIdentifier(name)}`
    if (encoding !== 'jsonb') return text
    // A JSON null arrives as an SQL null, which leaves the key out.
    const key = quoteLiteral(name)
    return `case when ${text} is null and json_typeof(l.line::json -> ${key}) = 'null' then 'null' else ${text} end`
  })
  const typed = columns.map(({ name }) => `${quoteIdentifier(name)} text`)
  return `select ${texts.join(', ')} from ${lines} as l, json_to_record(l.line::json) as p (${typed.join(', ')})`
}

function asTexts(table: ProtectedTable): ProtectedTable {
  const columns = table.columns.map(
    (column): Column => ({ ...column, type: 'text', encoding: 'scalar', isNullable: true }),
  )
  return { ...table, columns }
}

interface Sides {
  shape: ProtectedTable
  /** Relations with the alias `a` (the backup) and `b` (the other side). */
  a: string
  b: string
}

/** Domains as their base types, as the staged rows have them. */
function liveSide(table: ProtectedTable): string {
  const name = quoteIdentifier(table.name)
  const columns = table.columns.map((column) => {
    const quoted = quoteIdentifier(column.name)
    return `coalesce(${name}.${quoted}, null) as ${quoted}`
  })
  return `(select ${columns.join(', ')}, true as ${HERE} ${table.from} where ${table.rowExpression}) as b`
}

function columnList({ columns }: ProtectedTable): string {
  return columns.map(({ name }) => quoteIdentifier(name)).join(', ')
}

function differencesByKey({ shape, a, b }: Sides): string {
  const names = shape.columns.map(({ name }) => name)
  const keys = shape.primaryKey.map(
    ({ name }, i) => `coalesce(a.${quoteIdentifier(name)}, b.${quoteIdentifier(name)}) as k${i}`,
  )
  const order = keys.map((_, i) => `d.k${i}`).join(', ')
  return `create temp table tenantkeep_differences as
    select row_number() over (order by ${order}) as number, 1::bigint as times, d.*
    from (
      select case when b.${HERE} is null then 'only_in_backup'
          when a.${HERE} is null then 'only_in_other' else 'changed' end as kind,
        ${keys.join(', ')}
      from ${a} full join ${b} on ${matches(shape, 'a', 'b')}
      where a.${HERE} is null or b.${HERE} is null or (${rowsDiffer(shape, names, 'a', 'b') ?? 'false'})
    ) as d`
}

/** Equal by the keys' own equality, which for types of extensions no search path may lead to. */
function matches(shape: ProtectedTable, left: string, right: string, ofDifference = false): string {
  const pairs = shape.primaryKey.map(({ name }, i) => {
    const column = shape.columns.find((candidate) => candidate.name === name)
    const [one, two] = [
      ofDifference ? `${left}.k${i}` : `${left}.${quoteIdentifier(name)}`,
      `${right}.${quoteIdentifier(name)}`,
    ]
    return column?.encoding === 'scalar'
      ? `${one} = ${two}`
      : `row(${one})::record = row(${two})::record`
  })
  return pairs.join(' and ')
}

function differencesByLine({ shape, a, b }: Sides): string {
  const counted = (relation: string, alias: string) =>
    `(select l.line, count(*) as times
      from (select ${lineOf(shape, alias)} as line from ${relation}) as l group by l.line)`
  return `create temp table tenantkeep_differences as
    select row_number() over (order by d.line collate "C") as number, abs(d.surplus) as times, d.line,
      case when d.surplus > 0 then 'only_in_backup' else 'only_in_other' end as kind
    from (
      select coalesce(x.line, y.line) as line, coalesce(x.times, 0) - coalesce(y.times, 0) as surplus
      from ${counted(a, 'a')} as x full join ${counted(b, 'b')} as y on x.line = y.line
    ) as d
    where d.surplus <> 0`
}

async function countDifferences(connection: Connection) {
  const { rows } = await connection.query<{ kind: DifferenceKind; times: string; entries: string }>(
    `select kind, sum(times)::text as times, count(*)::text as entries from ${DIFFERENCES} group by kind`,
  )
  const timesOf = (kind: DifferenceKind) =>
    Number(rows.find((row) => row.kind === kind)?.times ?? 0)
  return {
    entries: rows.reduce((total, row) => total + Number(row.entries), 0),
    of: {
      onlyInBackup: timesOf('only_in_backup'),
      onlyInOther: timesOf('only_in_other'),
      changed: timesOf('changed'),
    },
  }
}

async function keepRows(
  connection: Connection,
  sides: Sides,
  { maxRows, firstNumber, keep }: CompareTableOptions,
): Promise<void> {
  await connection.query(
    `analyze ${DIFFERENCES};
     declare tenantkeep_kept no scroll cursor for ${selectKept(sides, { maxRows, firstNumber })}`,
  )
  for (;;) {
    const { rows } = await connection.query<{ row: string }>(
      `fetch ${ROWS_AT_ONCE} from tenantkeep_kept`,
    )
    if (rows.length === 0) return
    await keep(rows.map(({ row }) => row))
  }
}

/** One JSON text a row, in the order of their numbers. */
function selectKept(
  { shape, a, b }: Sides,
  { maxRows, firstNumber }: { maxRows: number; firstNumber: number },
): string {
  const isByKey = shape.primaryKey.length > 0
  const key = shape.primaryKey.map(({ name }, i) => {
    const column = shape.columns.find((candidate) => candidate.name === name)
    return column === undefined || shape.masked.includes(name)
      ? 'null'
      : columnText(column, `d.k${i}`)
  })
  const joins = isByKey
    ? `left join ${a} on ${matches(shape, 'd', 'a', true)}
       left join ${b} on ${matches(shape, 'd', 'b', true)}`
    : `left join ${oneOfEachLine(shape, a, 'a')} on a.line = d.line and d.kind = 'only_in_backup'
       left join ${oneOfEachLine(shape, b, 'b')} on b.line = d.line and d.kind = 'only_in_other'`
  const values = shape.columns.map((column, i) => {
    const name = quoteIdentifier(column.name)
    return `(${i}, ${quoteLiteral(column.name)}, ${columnText(column, `a.${name}`)},
      ${columnText(column, `b.${name}`)}, ${shape.masked.includes(column.name)})`
  })
  return `select jsonb_build_object(
      'number', ${firstNumber - 1} + d.number, 'table_name', ${quoteLiteral(shape.label)}::text,
      'kind', d.kind, 'times', d.times, 'key', jsonb_build_array(${key.join(', ')}),
      'label', ${rowLabel(shape)}, 'columns', coalesce(c.columns, '[]'))::text as row
    from ${DIFFERENCES} as d
    ${joins}
    cross join lateral (
      select jsonb_agg(jsonb_build_object(
          'name', v.name, 'is_masked', v.is_masked,
          'before', case when not v.is_masked then ${cut('v.before')} end,
          'after', case when not v.is_masked then ${cut('v.after')} end,
          'is_cut', not v.is_masked and greatest(length(v.before), length(v.after)) > ${LONGEST_TEXT}
        ) order by v.position) as columns
      from (values ${values.join(', ')}) as v (position, name, before, after, is_masked)
      where v.before is distinct from v.after
    ) as c
    where d.number <= ${maxRows}
    order by d.number`
}

function oneOfEachLine(shape: ProtectedTable, relation: string, alias: string): string {
  return `(select distinct on (l.line) l.*
    from (select ${alias}.*, ${lineOf(shape, alias)} as line from ${relation}) as l) as ${alias}`
}

function rowLabel(shape: ProtectedTable): string {
  const columns = shape.columns.filter(
    ({ name }) => shape.labelColumns.includes(name) && !shape.masked.includes(name),
  )
  if (columns.length === 0) return 'null::text'
  const text = (alias: string) =>
    `nullif(concat_ws(' ', ${columns.map((column) => columnText(column, `${alias}.${quoteIdentifier(column.name)}`)).join(', ')}), '')`
  return cut(`coalesce(${text('b')}, ${text('a')})`)
}

function cut(text: string): string {
  return `case when length(${text}) > ${LONGEST_TEXT} then left(${text}, ${LONGEST_TEXT}) || '…' else ${text} end`
}

/** A value as Postgres writes it. The cast to text would cut the blanks of char(n), or call a cast function. */
function columnText(column: Column, value: string): string {
  const isPlain = column.encoding !== 'output' && column.encoding !== 'scalar'
  if (column.type === 'xml[]') return `${value}::text[]::text`
  if (isPlain || column.type === 'boolean' || column.type === 'text') return `${value}::text`
  return `case when num_nulls(${value}) = 0 then concat(${value}) end`
}
