import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Connection } from '../database/database.ts'
import { hasSqlstate, sqlstateOf } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { interruptible, interruptibleBytes } from '../interruptible.ts'
import type { Store } from '../store/store.ts'
import { createStaged, decodeSelect, RAW_LINES, selectLines } from '../tables/encode-rows.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import type { BackupWarning } from './backup-record.ts'
import { readObject } from './check-object.ts'
import type { Summary, SummaryPart, SummaryTable } from './summary.ts'
import { blankFraming, unpackPart } from './unpack-part.ts'

const LINES = 'pg_temp.tenantkeep_lines'
const STAGED = 'pg_temp.tenantkeep_staged'
const COPY_CHUNK_BYTES = 256 * 1024

/**
 * Loads one stored part of every table whose shape changed since the last backup into a temp table, as a
 * restore would, and encodes it again: bytes that differ mean values that no text brings back (a new
 * type, a cast, a changed output). Throws `encoding_not_exact` with the table; returns what could not
 * be tried.
 */
export async function proveEncoding(
  connection: Connection,
  given: {
    store: Store
    live: readonly ProtectedTable[]
    tables: readonly SummaryTable[]
    previous: Summary | undefined
    signal: AbortSignal | undefined
  },
): Promise<BackupWarning[]> {
  const known = new Map(given.previous?.tables.map((table) => [table.name, shapeOf(table)]))
  const warnings: BackupWarning[] = []
  for (const table of given.tables) {
    const [part] = table.parts
    const live = given.live.find((candidate) => candidate.label === table.name)
    if (live === undefined || part === undefined || part.rows === 0) continue
    if (known.get(table.name) === shapeOf(table)) continue
    if (!(await proveTable(connection, live, part, given))) {
      warnings.push({
        code: 'encoding_unproven',
        message: `Whether the rows of ${table.name} can be read back exactly was not tried: its types call functions that tenantkeep_operator may not execute.`,
      })
    }
  }
  return warnings
}

function shapeOf(table: SummaryTable): string {
  return JSON.stringify([table.columns, table.fingerprint, table.primary_key])
}

async function proveTable(
  connection: Connection,
  table: ProtectedTable,
  part: SummaryPart,
  { store, signal }: { store: Store; signal: AbortSignal | undefined },
): Promise<boolean> {
  const stored = await readObject(
    store,
    { path: part.path, storedBytes: part.stored_bytes, storedSha256: part.stored_sha256 },
    signal,
  )
  const lines = blankFraming(await unpackPart(stored, part))
  let encoded: string
  try {
    encoded = await encodeAgain(connection, table, lines, signal)
  } catch (error) {
    if (hasSqlstate(error, 'undefinedTable', 'undefinedColumn', 'lockNotAvailable')) {
      throw new BackupError(
        'registry_changed',
        `${table.label} was altered while its backup was checked. Try again.`,
        { cause: error },
      )
    }
    if (hasSqlstate(error, 'insufficientPrivilege')) {
      await connection.query('rollback')
      return false
    }
    // What else goes wrong (a lost connection, a full disk) says nothing about the encoding.
    throw isAboutValues(error) ? notExact(table, error) : error
  }
  if (encoded !== part.raw_sha256) throw notExact(table)
  return true
}

async function encodeAgain(
  connection: Connection,
  table: ProtectedTable,
  lines: Buffer,
  signal: AbortSignal | undefined,
): Promise<string> {
  await connection.query(
    `begin; set local lock_timeout = '5s'; set local role tenantkeep_operator;
     create temp table tenantkeep_lines (line text)`,
  )
  const copy = connection.copyIn(`copy ${LINES} from stdin ${RAW_LINES}`)
  // With backpressure: otherwise the whole part would be in memory a second time, as unsent messages.
  await interruptible(pipeline(Readable.from(inChunks(lines)), copy), signal)
  await connection.query(createStaged(table, STAGED))
  await connection.query(
    `insert into ${STAGED} ${decodeSelect(table, { lines: LINES, staged: STAGED })}`,
  )
  const digest = createHash('sha256')
  let isFirst = true
  const again = connection.copyOut(selectLines(table, { relation: STAGED }))
  for await (const chunk of interruptibleBytes(again, signal)) {
    // Framed as one part: the first row's line begins with the bracket.
    digest.update(isFirst ? '[' : '')
    digest.update(isFirst ? chunk.subarray(1) : chunk)
    isFirst = false
  }
  await connection.query('rollback')
  return digest.update(']\n').digest('hex')
}

function* inChunks(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += COPY_CHUNK_BYTES) {
    yield bytes.subarray(at, at + COPY_CHUNK_BYTES)
  }
}

/** Data exceptions, missing functions and operators, failed checks, what a type's input raises. */
function isAboutValues(error: unknown): boolean {
  return /^(22|23|42|0A|P0|XX)/.test(sqlstateOf(error) ?? '')
}

function notExact(table: ProtectedTable, cause?: unknown): BackupError {
  return new BackupError(
    'encoding_not_exact',
    `Rows of ${table.label} do not come back exactly as they are: a column has a type whose values Postgres writes in a way it can't read. Change the type, or register the table as excluded.`,
    { cause, details: { table: table.label } },
  )
}
