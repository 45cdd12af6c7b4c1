import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { blankFraming } from '../../src/core/backup/unpack-part.ts'
import type { Connection, Database } from '../../src/core/database/database.ts'
import type { BackupSource } from '../../src/core/restore/backup-source.ts'
import {
  createStaged,
  decodeSelect,
  RAW_LINES,
  writtenColumns,
} from '../../src/core/tables/encode-rows.ts'
import type { ProtectedTable } from '../../src/core/tables/protected-table.ts'
import { quoteIdentifier } from '../../src/core/tables/quote-identifier.ts'
import { readProtectedTables } from '../../src/core/tables/read-protected-tables.ts'

const LINES = 'pg_temp.bench_lines'
const COPY_CHUNK_BYTES = 256 * 1024

/**
 * The quickest way to a backup's state that a person would write in SQL: the parts staged, every row of the
 * tenant deleted, every staged row inserted, in one transaction, by the same role under the same
 * policies, with triggers silenced. It looks at nothing beforehand, proves nothing afterwards, and can't
 * be undone.
 */
export async function wipeAndLoad(
  worker: Database,
  source: BackupSource,
  tenantId: string,
): Promise<void> {
  await worker.withConnection(async (session) => {
    const tables = await readProtectedTables(session)
    await session.query('begin')
    await session.query('set local role tenantkeep_operator')
    for (const [index, table] of tables.entries()) await stage(session, table, index, source)
    await session.query('commit')

    await session.query('begin')
    await session.query('select tenantkeep.silence_triggers()')
    await session.query('set local role tenantkeep_operator')
    await session.query(`select set_config('tenantkeep.tenant', $1, true)`, [tenantId])
    for (const { relation, rowExpression } of tables.toReversed()) {
      await session.query(`delete from ${relation} where ${rowExpression}`)
    }
    for (const [index, table] of tables.entries()) {
      const columns = writtenColumns(table).map(({ name }) => quoteIdentifier(name))
      await session.query(
        `insert into ${table.relation} (${columns}) overriding system value
         select ${columns} from ${stagedName(index)}`,
      )
    }
    await session.query('commit')
  })
}

function stagedName(index: number): string {
  return `pg_temp.bench_staged_${index}`
}

async function stage(
  session: Connection,
  table: ProtectedTable,
  index: number,
  source: BackupSource,
): Promise<void> {
  const staged = stagedName(index)
  await session.query(createStaged(table, staged))
  await session.query('create temp table bench_lines (line text)')
  const parts = source.summary.tables.find(({ name }) => name === table.label)?.parts ?? []
  for (const part of parts) {
    const lines = blankFraming(await source.readPart(part))
    const copy = session.copyIn(`copy ${LINES} from stdin ${RAW_LINES}`)
    await pipeline(Readable.from(inChunks(lines)), copy)
  }
  await session.query(`insert into ${staged} ${decodeSelect(table, { lines: LINES, staged })}`)
  await session.query(`drop table ${LINES}`)
}

function* inChunks(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += COPY_CHUNK_BYTES) {
    yield bytes.subarray(at, at + COPY_CHUNK_BYTES)
  }
}
