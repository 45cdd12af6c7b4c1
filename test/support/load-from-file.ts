import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import type { Summary, SummaryTable } from '../../src/core/backup/summary.ts'
import { blankFraming, unpackPart } from '../../src/core/backup/unpack-part.ts'
import type { Connection } from '../../src/core/database/database.ts'
import {
  createStaged,
  decodeSelect,
  RAW_LINES,
  writtenColumns,
} from '../../src/core/tables/encode-rows.ts'
import type { ProtectedTable } from '../../src/core/tables/protected-table.ts'
import { quoteColumns } from '../../src/core/tables/quote-identifier.ts'

/** The unpacked parts of one table, straight from the folder of a directory store. */
async function readRawParts(folder: string, table: SummaryTable): Promise<Buffer[]> {
  return Promise.all(
    table.parts.map(async (part) => unpackPart(await readFile(join(folder, part.path)), part)),
  )
}

/** The rows of one table as a person who downloads the files sees them. */
export async function readRows(
  folder: string,
  summary: Summary,
  name: string,
): Promise<Record<string, unknown>[]> {
  const table = summary.tables.find((candidate) => candidate.name === name)
  if (table === undefined) throw new Error(`The backup has no table ${name}.`)
  const parts = await readRawParts(folder, table)
  return parts.flatMap((part) => JSON.parse(part.toString()))
}

/**
 * Loads a table of a backup into an empty table of the same shape, by SQL from the file: raw lines,
 * typed staging, insert. `target` is quoted and qualified.
 */
export async function loadTable(
  session: Connection,
  given: { folder: string; summary: SummaryTable; table: ProtectedTable; target: string },
): Promise<void> {
  const { folder, summary, table, target } = given
  await session.query('begin; create temp table lines (line text) on commit drop')
  const copy = session.copyIn(`copy pg_temp.lines from stdin ${RAW_LINES}`)
  const loaded = finished(copy)
  for (const raw of await readRawParts(folder, summary)) copy.write(blankFraming(raw))
  copy.end()
  await loaded
  await session.query(createStaged(table, 'pg_temp.staged'))
  const columns = quoteColumns(writtenColumns(table).map((column) => column.name))
  await session.query(
    `insert into pg_temp.staged ${decodeSelect(table, { lines: 'pg_temp.lines', staged: 'pg_temp.staged' })};
     insert into ${target} (${columns}) overriding system value select ${columns} from pg_temp.staged;
     drop table pg_temp.staged; commit`,
  )
}
