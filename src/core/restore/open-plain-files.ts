import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import type { BackupWarning } from '../backup/backup-record.ts'
import {
  type SummaryContent,
  type SummaryPart,
  type SummaryTable,
  sum,
  totalsOf,
} from '../backup/summary.ts'
import { BackupError } from '../errors.ts'
import { interruptibleBytes, throwIfInterrupted } from '../interruptible.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import type { BackupSource } from './backup-source.ts'
import { findPlainRun, type PlainRun, timeOf } from './find-plain-run.ts'
import { type JsonRow, splitJsonRows } from './split-json.ts'

/**
 * Reads backups that an earlier tool left as plain files, one JSON array of rows a table:
 *
 *     …/{tenant id}/{YYYY-MM-DD}/{table}-{timestamp}.json
 *     …/{tenant id}/{YYYY-MM-DD}/summary-{timestamp}.json
 *
 * They carry no digests and no signature. What can be checked all the same is checked before anybody gets
 * the source, and what can't is in its warnings. Rows stay in their files: a part is a stretch of one, read
 * again when it is asked for.
 */

export interface OpenPlainFilesInput {
  /** The folder with the files, or one above it. Links are not followed. */
  folder: string
  tenantId: string
  /** The day of the backup, `2026-11-21`; the newest where none is given. */
  date?: string | undefined
  /** The tables of now: they give names their schema, and say which columns the database computes. */
  liveTables?: readonly ProtectedTable[] | undefined
  /** The setting `max_row_bytes`. */
  maxRowBytes?: number | undefined
  signal?: AbortSignal | undefined
}

const MAX_ROW_BYTES = 256 * 1024 * 1024
/** Raw bytes of a part, as in our own backups. */
const PART_BYTES = 8 * 1024 * 1024
const OPEN = 0x5b
const COMMA = 0x2c
const NEWLINE = 0x0a
/** What Supabase answers at most, unless it is told to answer in pages. */
const ROWS_PER_ANSWER = 1_000

/**
 * Opens the newest complete set of plain files of a tenant. Throws `archive_unreadable` for files that
 * are not there, incomplete, of another tenant or no JSON arrays of rows, and `row_too_large`.
 */
export async function openPlainFiles(input: OpenPlainFilesInput): Promise<BackupSource> {
  const { tenantId, signal } = input
  const { run, warnings: ofChoice } = await findPlainRun(input)
  const warnings = [...ALWAYS, ...ofChoice]
  const ranges = new Map<string, Range>()
  const tables: SummaryTable[] = []
  for (const [name, file] of [...run.files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    throwIfInterrupted(signal)
    const table = await readTable(input, { name, file, pathOf: run.pathOf, ranges })
    if (tables.some((other) => other.name === table.name)) refuse(`Two files are of ${table.name}.`)
    warnings.push(...checkRows(table, run.summary?.tables.get(name)))
    tables.push(table)
  }
  const summary = summarise(run, tenantId, tables, warnings)
  return {
    kind: 'unsigned',
    backupId: null,
    takenAt: summary.taken_at,
    summary,
    isPlainJson: true,
    warnings,
    readPart: (part, partSignal) => readPart(part, ranges, input, partSignal ?? signal),
  }
}

/** What is true of every such backup. */
const ALWAYS: readonly BackupWarning[] = [
  {
    code: 'unsigned',
    message:
      'These files carry no signature and no digests: nothing proves that they are what was backed up. Only their form, their tenant and their numbers of rows were checked.',
  },
  {
    code: 'not_one_instant',
    message:
      'The tables were read one after the other: what was changed meanwhile may be in one table and not in another.',
  },
  {
    code: 'values_rounded',
    message:
      'Values passed through JavaScript when these files were written: numbers of more than 15 digits may have been rounded, null and JSON null are the same, and blanks and doubled keys in json columns are lost.',
  },
]

/** The rows of a table against the summary. Throws where they differ; warns where nobody can tell. */
function checkRows(
  { name, rows }: SummaryTable,
  said: { rows: number | null } | undefined,
): BackupWarning[] {
  if (said !== undefined && said.rows !== null && said.rows !== rows) {
    refuse(`${name} has ${rows} rows where the summary says ${said.rows}.`, { table: name })
  }
  const warnings: BackupWarning[] = []
  if (said !== undefined && said.rows === null) {
    warnings.push({
      code: 'rows_not_checked',
      message: `The summary does not say how many rows ${name} should have; its file has ${rows}.`,
    })
  }
  if (rows === ROWS_PER_ANSWER) {
    warnings.push({
      code: 'probably_cut',
      message: `${name} has exactly ${rows} rows, as many as Supabase answers at once: others were most likely left out then. A restore removes rows that a backup does not have, unless newer rows are to be kept.`,
    })
  }
  return warnings
}

/** Where the rows of a part stand in a file. */
interface Range {
  file: string
  start: number
  end: number
}

interface TableFile {
  name: string
  file: string
  pathOf: PlainRun['pathOf']
  ranges: Map<string, Range>
}

/** Reads a file to its end, noting where its parts are and what they hash to. */
async function readTable(
  { liveTables, maxRowBytes = MAX_ROW_BYTES, signal }: OpenPlainFilesInput,
  { name, file, pathOf, ranges }: TableFile,
): Promise<SummaryTable> {
  const keys = new Set<string>()
  const parts: SummaryPart[] = []
  let framing: Framing | undefined
  let range: Range | undefined
  const finish = () => {
    if (framing === undefined) return
    const path = parts.length === 0 ? pathOf(file) : `${pathOf(file)}#${parts.length + 1}`
    parts.push({ path, ...framing.finish() })
    if (range !== undefined) ranges.set(path, range)
  }
  const split = splitJsonRows(readBytes(file, signal), { file: basename(file), maxRowBytes, keys })
  for await (const rows of split) {
    for (const row of rows) {
      if (framing === undefined || range === undefined || !framing.hasRoomFor(row.line)) {
        finish()
        framing = new Framing()
        range = { file, start: row.start, end: row.end }
      }
      framing.add(row.line)
      range.end = row.end
    }
  }
  framing ??= new Framing()
  finish()
  const live = findLive(name, liveTables)
  return {
    name: live?.label ?? name,
    schema: live?.schema ?? 'public',
    table: live?.name ?? name,
    columns: describeColumns(keys, live),
    fingerprint: 'unknown',
    primary_key: live?.primaryKey.map((column) => column.name) ?? [],
    rows: sum(parts, 'rows'),
    raw_bytes: sum(parts, 'raw_bytes'),
    stored_bytes: sum(parts, 'stored_bytes'),
    parts,
  }
}

/** By label, or by a name that only one of the tables of now has. */
function findLive(
  name: string,
  tables: readonly ProtectedTable[] = [],
): ProtectedTable | undefined {
  const labelled = tables.find((table) => table.label === name)
  const named = tables.filter((table) => table.name === name)
  return labelled ?? (named.length === 1 ? named[0] : undefined)
}

/** Columns in the order of the table of now, then those that it does not have. */
function describeColumns(
  keys: ReadonlySet<string>,
  live: ProtectedTable | undefined,
): SummaryTable['columns'] {
  const known = live?.columns.filter((column) => keys.has(column.name)) ?? []
  const names = new Set(known.map((column) => column.name))
  return [
    // What the database computes was written along, and is of no use.
    ...known
      .filter((column) => !column.isGenerated)
      .map(({ name, type }) => ({ name, type, encoding: 'scalar' as const })),
    ...[...keys]
      .filter((key) => key !== '' && !names.has(key))
      .map((name) => ({ name, type: 'unknown', encoding: 'scalar' as const })),
  ]
}

/** Lines as a part has them, hashed on the way; the bytes themselves are kept only where asked for. */
class Framing {
  readonly #hash: Hash = createHash('sha256')
  readonly #kept: Buffer[] | undefined
  #rows = 0
  #bytes = 0

  constructor(kept?: Buffer[]) {
    this.#kept = kept
  }

  hasRoomFor(line: Buffer): boolean {
    return this.#bytes + line.length + 2 + 2 <= PART_BYTES
  }

  add(line: Buffer): void {
    const framed = Buffer.allocUnsafe(line.length + 2)
    framed[0] = this.#rows === 0 ? OPEN : COMMA
    line.copy(framed, 1)
    framed[framed.length - 1] = NEWLINE
    this.#put(framed)
    this.#rows += 1
  }

  finish(): Omit<SummaryPart, 'path'> {
    this.#put(Buffer.from(this.#rows === 0 ? '[\n]\n' : ']\n'))
    const digest = this.#hash.digest('hex')
    // Nothing but the rows is stored, so that both sides of compression are the same.
    return {
      rows: this.#rows,
      raw_bytes: this.#bytes,
      stored_bytes: this.#bytes,
      raw_sha256: digest,
      stored_sha256: digest,
    }
  }

  #put(bytes: Buffer): void {
    this.#hash.update(bytes)
    this.#bytes += bytes.length
    this.#kept?.push(bytes)
  }
}

/** The rows of a part again, from their file, which must not have changed since it was checked. */
async function readPart(
  part: SummaryPart,
  ranges: ReadonlyMap<string, Range>,
  { maxRowBytes = MAX_ROW_BYTES }: OpenPlainFilesInput,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const kept: Buffer[] = []
  const framing = new Framing(kept)
  const range = ranges.get(part.path)
  for await (const rows of range === undefined ? [] : splitRange(range, maxRowBytes, signal)) {
    for (const row of rows) framing.add(row.line)
  }
  if (framing.finish().raw_sha256 !== part.raw_sha256) {
    throw new BackupError('backup_damaged', `${part.path} was changed after it was checked.`, {
      details: { path: part.path },
    })
  }
  return Buffer.concat(kept)
}

async function* splitRange(
  { file, start, end }: Range,
  maxRowBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<JsonRow[]> {
  const bytes = readBytes(file, signal, { start, end })
  try {
    yield* splitJsonRows(inBrackets(bytes), { file: basename(file), maxRowBytes })
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'archive_unreadable') throw error
    throw new BackupError('backup_damaged', `${basename(file)} was changed after it was checked.`, {
      cause: error,
    })
  }
}

async function* inBrackets(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield Buffer.from('[')
  yield* bytes
  yield Buffer.from(']')
}

async function* readBytes(
  file: string,
  signal: AbortSignal | undefined,
  range?: { start: number; end: number },
): AsyncGenerator<Buffer> {
  const stream = createReadStream(file, {
    highWaterMark: 256 * 1024,
    // The last byte counts in, here.
    ...(range === undefined ? {} : { start: range.start, end: range.end - 1 }),
  })
  try {
    yield* interruptibleBytes(stream, signal)
  } catch (error) {
    if (error instanceof BackupError) throw error
    throw unreadable(file, 'cannot be read', error)
  }
}

function summarise(
  run: PlainRun,
  tenantId: string,
  tables: SummaryTable[],
  warnings: readonly BackupWarning[],
): SummaryContent {
  return {
    format_version: 1,
    backup_id: '00000000-0000-0000-0000-000000000000',
    organization_id: tenantId,
    organization_name: run.summary?.organizationName ?? null,
    backup_type: 'manual',
    taken_at: timeOf(run),
    postgres_version: 'unknown',
    schema_fingerprint: 'unknown',
    tables,
    totals: totalsOf(tables),
    gaps: [],
    warnings: [...warnings],
    name: null,
    note: null,
    tags: [],
  }
}

function unreadable(path: string, what: string, cause: unknown): BackupError {
  return new BackupError('archive_unreadable', `${path} ${what}.`, { cause })
}

function refuse(message: string, details?: Record<string, unknown>): never {
  throw new BackupError('archive_unreadable', message, details === undefined ? {} : { details })
}
