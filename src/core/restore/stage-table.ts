import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { SummaryTable } from '../backup/summary.ts'
import { blankFraming } from '../backup/unpack-part.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { sqlstateOf } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import { decodeSelect, RAW_LINES, writtenColumns } from '../tables/encode-rows.ts'
import type { Column, ProtectedTable } from '../tables/protected-table.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import type { BackupSource } from './backup-source.ts'
import type { StagedTable } from './diff-table.ts'
import type { Constraints } from './read-constraints.ts'
import { ACTION, CTID, ROW, stagedName, TABLEOID, XMIN } from './staged-table.ts'

export const LINES = 'pg_temp.tenantkeep_restore_lines'
const COPY_CHUNK_BYTES = 256 * 1024

/** The temp table that raw lines pass through, one for all tables; made by the operator. */
export const CREATE_LINES = 'create temp table tenantkeep_restore_lines (line text)'

/**
 * The live table as far as the backup knows it: its columns of then that are still there, read as they were
 * written. What both sides have is what is compared and written.
 */
export function sharedTable(live: ProtectedTable, backup: SummaryTable): ProtectedTable {
  const then = new Set(backup.columns.map((column) => column.name))
  const columns = writtenColumns(live).filter((column) => then.has(column.name))
  const names = new Set(columns.map((column) => column.name))
  // A key that the backup can't have (a new column, a computed one) tells no rows apart.
  const primaryKey = live.primaryKey.every((key) => names.has(key.name)) ? live.primaryKey : []
  return { ...live, columns, primaryKey }
}

/**
 * The statement that makes the staging table: the live types without being able to name them, domains as
 * their base types and without length limits, which would cut and round silently; generated columns too,
 * since keys may hold them. Bookkeeping stands beside them.
 */
export function createStagedTable(live: ProtectedTable, staged: string): string {
  const name = quoteIdentifier(live.name)
  const columns = live.columns.map(
    (column) =>
      `coalesce(${name}.${quoteIdentifier(column.name)}, null) as ${quoteIdentifier(column.name)}`,
  )
  return `create temp table ${staged} as
    select ${columns.join(', ')}, null::bigint as ${ROW}, null::text as ${ACTION},
      null::oid as ${TABLEOID}, null::tid as ${CTID}, null::xid as ${XMIN}
    ${live.from} with no data`
}

/** Makes the staging table of one table, readable for the definer functions, whose owner is given. */
export async function createStaging(
  connection: Connection,
  given: {
    live: ProtectedTable
    backup: SummaryTable
    /** Its place in the order of ownership. */
    index: number
    rowsLive: number
    functionOwner: string
  },
): Promise<StagedTable> {
  const { live, backup, index, rowsLive, functionOwner } = given
  const staged = stagedName(index)
  await connection.query(
    `${createStagedTable(live, staged.replace('pg_temp.', ''))};
     grant select on ${staged} to ${quoteIdentifier(functionOwner)}`,
  )
  return {
    live,
    shared: sharedTable(live, backup),
    staged,
    index,
    rowsInBackup: backup.rows,
    rowsLive,
    rowsEqual: 0,
    nextRow: backup.rows + 1,
  }
}

/** Who the definer functions run as. To be called as the worker. */
export async function readFunctionOwner(session: Queryable): Promise<string> {
  const { rows } = await session.query<{ owner: string }>(
    `select pg_catalog.pg_get_userbyid(p.proowner) as owner from pg_catalog.pg_proc p
     where p.oid = 'tenantkeep.census(text)'::regprocedure`,
  )
  const [owner] = rows
  if (owner === undefined) throw new BackupError('schema_missing', 'tenantkeep.census is missing.')
  return owner.owner
}

export interface StageOptions {
  source: BackupSource
  backup: SummaryTable
  /** From `sharedTable`. */
  shared: ProtectedTable
  /** Columns whose type changed since: their values are read as the live type. */
  changedTypes: ReadonlySet<string>
  /** Whether anything changed about the columns: an enum's or a domain's values too. */
  hasChanged: boolean
  staged: string
  /** What the rows' action is before they were compared; null where that finds out. */
  action: 'insert' | null
  onRows: (rows: number) => void
  signal: AbortSignal | undefined
}

/**
 * Loads every part of a table from the backup into its staging table, as the operator: each part is proven
 * before its bytes reach the database, and rows are numbered from 1. Throws what the source throws,
 * `backup_damaged` where the lines are no rows of this table, and `schema_changed` where they were once.
 */
export async function loadStagedRows(
  connection: Connection,
  options: StageOptions,
): Promise<number> {
  const { source, backup, shared, staged, signal } = options
  const columns = shared.columns.map((column) => quoteIdentifier(column.name))
  const decoded = decodeShared(options)
  let rows = 0
  // The next part is fetched and proven while the database reads this one.
  const readPart = async (part: (typeof backup.parts)[number] | undefined) =>
    part === undefined ? null : source.readPart(part, signal)
  let next = readPart(backup.parts[0])
  for (const [index, part] of backup.parts.entries()) {
    const raw = await next
    if (raw === null) break
    next = readPart(backup.parts[index + 1])
    // Whoever waits for it is told.
    next.catch(() => {})
    try {
      await copyLines(connection, blankFraming(raw), signal)
      const { rowCount } = await connection.query(
        `insert into ${staged} (${[...columns, ROW, ACTION].join(', ')})
         select decoded.*, ${rows} + row_number() over (), ${options.action === null ? 'null' : `'${options.action}'`}
         from (${decoded}) as decoded`,
      )
      rows += rowCount
    } catch (error) {
      throw unreadable(options, error)
    }
    if (part !== backup.parts.at(-1)) await connection.query(`truncate ${LINES}`)
    options.onRows(rows)
  }
  await connection.query(`truncate ${LINES}; analyze ${staged}`)
  if (rows !== backup.rows) {
    throw new BackupError(
      'backup_damaged',
      `${backup.name} has ${rows} rows where the summary names ${backup.rows}.`,
      { details: { table: backup.name } },
    )
  }
  return rows
}

/** Copies lines into the lines table, with backpressure. */
export async function copyLines(
  connection: Connection,
  lines: Buffer | AsyncIterable<Buffer>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const copy = connection.copyIn(`copy ${LINES} from stdin ${RAW_LINES}`)
  await interruptible(
    pipeline(Readable.from(Buffer.isBuffer(lines) ? inChunks(lines) : lines), copy),
    signal,
  )
}

function decodeShared({ source, backup, shared, staged, changedTypes }: StageOptions): string {
  const then = new Map(backup.columns.map((column) => [column.name, column]))
  const columns = shared.columns.map((column): Column => {
    // Ordinary JSON: whatever the type, the value stands there as it is.
    const encoding = source.isPlainJson ? 'scalar' : (then.get(column.name)?.encoding ?? 'scalar')
    return { ...column, encoding }
  })
  const otherwise = new Map<string, string>()
  for (const column of shared.columns) {
    if (!changedTypes.has(column.name)) continue
    const expression = throughText(column, then.get(column.name)?.encoding)
    if (expression !== null) otherwise.set(column.name, expression)
  }
  const query = decodeSelect({ ...shared, columns }, { lines: LINES, staged, otherwise })
  // A scale that changed would make every row look different for ever.
  const rescaled = shared.columns.filter(
    (column) => changedTypes.has(column.name) && column.type.startsWith('numeric('),
  )
  if (rescaled.length === 0) return query
  const names = shared.columns.map((column) => {
    const name = quoteIdentifier(column.name)
    return rescaled.includes(column) ? `read.${name}::${column.type} as ${name}` : `read.${name}`
  })
  return `select ${names.join(', ')} from (${query}) as read (${shared.columns.map((column) => quoteIdentifier(column.name)).join(', ')})`
}

/**
 * A text that holds JSON became a json column, or the other way round: read as Postgres casts them, through
 * their text. Read as a value of JSON, a text would become a JSON string. Null where nothing of that kind
 * changed.
 */
function throughText(
  live: Column,
  then: SummaryTable['columns'][number]['encoding'] | undefined,
): string | null {
  const isJson = live.type === 'json' || live.type === 'jsonb'
  const key = quoteLiteral(live.name)
  if (then === 'jsonb' && isJson) return `(l.line::json -> ${key})::json`
  if (then === 'jsonb') {
    const isText = live.type === 'text' || live.type.startsWith('character')
    return isText ? `(l.line::json -> ${key})::text` : `p.${quoteIdentifier(live.name)}`
  }
  return isJson && then !== 'json' ? `(l.line::json ->> ${key})::json` : null
}

/**
 * Keys twice, keys that are null, rows that name another tenant: no backup of this tenant holds such. Throws
 * `backup_damaged`, `row_outside_tenant`.
 */
export async function requireOwnRows(
  session: Queryable,
  table: StagedTable,
  constraints: Constraints,
): Promise<void> {
  const { live, shared, staged } = table
  const key = shared.primaryKey.map(({ name }) => quoteIdentifier(name))
  if (key.length > 0) {
    const { rows } = await session.query(
      `select from ${staged} group by ${key.join(', ')}
       having count(*) > 1 or num_nulls(${key.join(', ')}) > 0 limit 1`,
    )
    if (rows.length > 0) {
      throw new BackupError('backup_damaged', `${live.label} holds a key twice, or an empty one.`, {
        details: { table: live.label },
      })
    }
  }
  // Where a row is owned by another row, its policy judges it when it is written.
  const isOwnedByColumn =
    (live.class === 'root' || live.class === 'direct') &&
    !constraints.edges.some(({ label }) => label === live.label) &&
    !live.rowExpression.includes('tenantkeep.current_tenants()')
  if (!isOwnedByColumn) return
  const { rows } = await session.query<{ count: string }>(
    `select count(*) from ${staged} as ${quoteIdentifier(live.name)}
     where ${ROW} <= ${table.rowsInBackup} and (${live.rowExpression}) is not true`,
  )
  const count = Number(rows[0]?.count)
  if (count === 0) return
  throw new BackupError(
    'row_outside_tenant',
    `${count} rows of ${live.label} in this backup name another tenant. Nothing was written.`,
    { details: { table: live.label, count } },
  )
}

/** The database's message may quote a value, so it stays in the cause. */
function unreadable({ backup, changedTypes, hasChanged }: StageOptions, error: unknown): unknown {
  const state = sqlstateOf(error) ?? ''
  if (!/^(22|23|42|P0)/.test(state)) return error
  const what = `Rows of ${backup.name} can't be read as this table's rows (${state})`
  const details = { table: backup.name, state, columns: [...changedTypes] }
  if (!hasChanged) {
    return new BackupError(
      'backup_damaged',
      `${what}: a column's type does not fit what the backup holds.`,
      { cause: error, details },
    )
  }
  const changed =
    changedTypes.size === 0 ? 'a type has' : `the type of ${[...changedTypes].join(', ')} has`
  return new BackupError(
    'schema_changed',
    `${what}: ${changed} changed since the backup, and a value of then is none of it now. Nothing was restored. Restore other tables, or bring the type back.`,
    { cause: error, details },
  )
}

function* inChunks(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += COPY_CHUNK_BYTES) {
    yield bytes.subarray(at, at + COPY_CHUNK_BYTES)
  }
}
