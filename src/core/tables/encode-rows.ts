import { escapeLiteral } from 'pg'
import type { Column, ProtectedTable } from './protected-table.ts'
import { quoteIdentifier } from './quote-identifier.ts'

/**
 * How rows become lines of JSON inside Postgres, and lines become rows again. docs/format.md has the
 * table of encodings; both directions stand here side by side, because one is wrong without the other.
 * Everything is SQL generated from the live catalog: no value ever passes through JavaScript.
 */

/**
 * Options of `copy` that give and take lines as they are: neither character occurs raw in JSON, so
 * nothing is quoted and nothing is split.
 */
export const RAW_LINES = `(format csv, quote e'\\x01', delimiter e'\\x02')`

/** Where `selectLines` reads, when not the tenant's live rows; `relation` is quoted and qualified. */
export interface LineSource {
  relation: string
}

/** The columns that a backup holds: all but those which the database computes. */
export function writtenColumns(table: ProtectedTable): Column[] {
  return table.columns.filter((column) => !column.isGenerated)
}

/**
 * An SQL expression of type text: the row as one line `,{"column":value,…}`. It refers to columns by
 * the table's own name, so that no alias can be mistaken for a column. An SQL null is `null`, except
 * in jsonb columns, where `null` is the JSON null and an SQL null leaves the key out.
 */
export function encodeLine(table: ProtectedTable): string {
  const columns = writtenColumns(table)
  // The first key carries no comma, so it must always be there.
  const first =
    columns.find((column) => !column.isNullable) ??
    columns.find((column) => column.encoding !== 'jsonb')
  if (first === undefined) {
    const keys = columns.flatMap((column) => encodeColumn(table, column, ','))
    if (keys.length === 0) return literal(',{}')
    return joinText([{ text: ',{' }, { sql: `substr(${joinText(keys)}, 2)` }, { text: '}' }])
  }
  const others = columns.filter((column) => column !== first)
  return joinText([
    { text: ',{' },
    ...encodeColumn(table, first, ''),
    ...others.flatMap((column) => encodeColumn(table, column, ',')),
    { text: '}' },
  ])
}

/**
 * The whole `copy` statement that gives the tenant's rows of a table as lines, in an order that
 * depends on the data alone: by primary key, without one by the line. The registry's expression is
 * repeated for the planner and as a second lock beside the policies.
 *
 * The rows are sorted first and written as lines on their way out: sorting the lines themselves moves
 * twice the bytes, and nothing could be compressed before the last one was written.
 */
export function selectLines(table: ProtectedTable, source?: LineSource): string {
  const name = quoteIdentifier(table.name)
  const from =
    source === undefined
      ? `${table.from} where ${table.rowExpression}`
      : `from ${source.relation} as ${name}`
  const line = `${encodeLine(table)} collate "C"`
  if (table.primaryKey.length === 0) return copyLines(`select ${line} ${from} order by 1`)
  const columns = writtenColumns(table).map((column) => reference(table, column))
  const key = table.primaryKey.map(
    (column) => `${reference(table, column)}${column.isText ? ' collate "C"' : ''}`,
  )
  return copyLines(
    `select ${line} from (select ${columns.join(', ')} ${from} order by ${key.join(', ')}) as ${name}`,
  )
}

function copyLines(query: string): string {
  return `copy (${query}) to stdout ${RAW_LINES}`
}

/**
 * The statement that makes a typed staging table: the live types without being able to name them,
 * domains as their base types and without length limits, which would cut and round silently (a
 * `coalesce` with an untyped null does both). Generated columns are left out.
 */
export function createStaged(table: ProtectedTable, staged: string): string {
  const columns = writtenColumns(table).map(
    (column) => `coalesce(${reference(table, column)}, null) as ${quoteIdentifier(column.name)}`,
  )
  return `create temp table ${staged} as select ${columns.join(', ')} ${table.from} with no data`
}

/**
 * A query that reads raw lines (`lines` has one column `line text`, without the framing character) as
 * rows of the staging table that `createStaged` made, exactly as they were written; columns of
 * `otherwise` by these expressions over `l.line` instead. The function stands in `from`: spelled `(…).*`
 * it would run once per column.
 */
export function decodeSelect(
  table: ProtectedTable,
  {
    lines,
    staged,
    otherwise,
  }: { lines: string; staged: string; otherwise?: ReadonlyMap<string, string> },
): string {
  const columns = writtenColumns(table).map(
    (column) => otherwise?.get(column.name) ?? decodeColumn(column),
  )
  return `select ${columns.join(', ')}
    from ${lines} as l, json_populate_record(null::${staged}, l.line::json) as p`
}

/** A piece of a line: fixed text, or an expression of type text. */
type Piece = { text: string } | { sql: string }

/**
 * Types whose JSON is their Postgres text, bare or between these quotes: the bytes of `to_json`, which
 * looks its argument's type up anew for every value, at a third of its cost.
 */
const PLAIN_TYPES = new Map([
  ['smallint', ''],
  ['integer', ''],
  ['bigint', ''],
  ['boolean', ''],
  ['uuid', '"'],
  ['date', '"'],
])

function encodeColumn(table: ProtectedTable, column: Column, comma: ',' | ''): Piece[] {
  const name = reference(table, column)
  const key = `${comma}${JSON.stringify(column.name)}:`
  const quote = column.encoding === 'scalar' ? PLAIN_TYPES.get(column.type) : undefined
  if (quote !== undefined && !column.isNullable) {
    return [{ text: `${key}${quote}` }, { sql: `${name}::text` }, { text: quote }]
  }
  const value =
    quote === undefined
      ? encodeValue(column, name)
      : joinText([{ text: quote }, { sql: `${name}::text` }, { text: quote }])
  if (!column.isNullable) return [{ text: key }, { sql: value }]
  if (column.encoding === 'jsonb') return [{ sql: `coalesce(${literal(key)} || ${value}, '')` }]
  return [{ text: key }, { sql: `coalesce(${value}, 'null')` }]
}

function encodeValue(column: Column, name: string): string {
  switch (column.encoding) {
    case 'scalar':
      return `to_json(${name})::text`
    case 'jsonb':
      return `${name}::text`
    case 'json':
    case 'text':
      // The output function of xml, which arrays use, leaves out the declaration; the cast does not.
      return `to_json(${name}${column.type === 'xml[]' ? '::text[]' : ''}::text)::text`
    case 'output':
      // Not `is null`, which is true for a composite whose every field is null.
      return `to_json(case when num_nulls(${name}) = 0 then concat(${name}) end)::text`
  }
}

function decodeColumn(column: Column): string {
  const name = `p.${quoteIdentifier(column.name)}`
  const key = escapeLiteral(column.name)
  if (column.encoding === 'json') return `(l.line::json ->> ${key})::json`
  if (column.encoding !== 'jsonb') return name
  // JSON null arrives as SQL null; parsing the line again only where it may be one is three times faster.
  const jsonNull = literal(`${JSON.stringify(column.name)}:null`)
  return `case when strpos(l.line, ${jsonNull}) > 0 then coalesce(${name}, (l.line::json -> ${key})::jsonb) else ${name} end`
}

function reference(table: ProtectedTable, column: { name: string }): string {
  return `${quoteIdentifier(table.name)}.${quoteIdentifier(column.name)}`
}

function literal(text: string): string {
  return escapeLiteral(text).trim()
}

function joinText(pieces: readonly Piece[]): string {
  const operands: string[] = []
  let fixed = ''
  for (const piece of pieces) {
    if ('text' in piece) {
      fixed += piece.text
    } else {
      if (fixed !== '') operands.push(literal(fixed))
      operands.push(piece.sql)
      fixed = ''
    }
  }
  if (fixed !== '') operands.push(literal(fixed))
  return balance(operands)
}

/** Postgres concatenates pairwise, and a chain would copy the start of the row once per column. */
function balance(operands: readonly string[]): string {
  if (operands.length <= 1) return operands[0] ?? `''`
  const middle = operands.length >> 1
  return `(${balance(operands.slice(0, middle))} || ${balance(operands.slice(middle))})`
}
