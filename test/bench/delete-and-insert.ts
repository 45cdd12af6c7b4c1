import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { ProtectedTable } from '../../src/core/tables/protected-table.ts'
import { quoteIdentifier } from '../../src/core/tables/quote-identifier.ts'
import { DEMO_TABLES } from '../../supabase/demo/plan-rows.ts'
import { startApi, tenantColumn } from './page-by-page.ts'

const BATCH_ROWS = 1000

export interface ApiRestorer {
  /** Deletes and inserts all the tenant's rows; returns how many were inserted. */
  restore(): Promise<number>
  /** Makes the tables as they were before the help. */
  stop(): Promise<void>
}

/**
 * The usual way to bring a tenant back into Supabase: supabase-js, by table one delete by the tenant's
 * column, then inserts of 1,000 rows out of the file's JSON. By itself it would not get through, so it is
 * helped, to its advantage: no trigger fires and no foreign key is checked; generated columns are left
 * out of its files; whole numbers that JavaScript made others of (the largest would be refused) are
 * zero. Tables that belong to a tenant by way of others it does not know.
 */
export async function startApiRestorer(
  superuserUrl: string,
  {
    folder,
    tenantId,
    tables,
  }: { folder: string; tenantId: string; tables: readonly ProtectedTable[] },
): Promise<ApiRestorer> {
  const url = new URL(superuserUrl)
  url.searchParams.set('session_replication_role', 'replica')
  const { client, stop } = await startApi(url.href, join(folder, 'api-storage'))
  const files: { table: string; path: string }[] = []
  for (const [index, table] of DEMO_TABLES.entries()) {
    const columns = tables.find(({ label }) => label === table)?.columns ?? []
    if (!columns.some(({ name }) => name === tenantColumn(table))) continue
    const rows = await readRows(superuserUrl, table, tenantId)
    for (const row of rows) {
      for (const { name, isGenerated } of columns) if (isGenerated) delete row[name]
      for (const [name, value] of Object.entries(row)) {
        if (typeof value === 'number' && !isExact(value)) row[name] = 0
      }
    }
    const path = join(folder, `rows-${index}.json`)
    await writeFile(path, JSON.stringify(rows))
    files.push({ table, path })
  }
  return {
    async restore() {
      await setIdentities(superuserUrl, tables, 'by default')
      try {
        for (const { table } of files.toReversed()) {
          const { error } = await client.from(table).delete().eq(tenantColumn(table), tenantId)
          if (error !== null) throw new Error(`${table}: ${error.message}`)
        }
        let inserted = 0
        for (const { table, path } of files) {
          const rows: unknown[] = JSON.parse(await readFile(path, 'utf8'))
          for (let start = 0; start < rows.length; start += BATCH_ROWS) {
            const batch = rows.slice(start, start + BATCH_ROWS)
            const { error } = await client.from(table).insert(batch)
            if (error !== null) throw new Error(`${table}: ${error.message}`)
            inserted += batch.length
          }
        }
        return inserted
      } finally {
        await setIdentities(superuserUrl, tables, 'always')
      }
    },
    stop,
  }
}

/** As the API gives them; but its pages, which have no order, give some rows twice and some not at all. */
async function readRows(
  superuserUrl: string,
  table: string,
  tenantId: string,
): Promise<Record<string, unknown>[]> {
  const database = connectDatabase({ url: superuserUrl, dataSessions: 1 })
  try {
    const { rows } = await database.query<{ row: Record<string, unknown> }>(
      `select to_json(t) as row from public.${quoteIdentifier(table)} as t
       where t.${quoteIdentifier(tenantColumn(table))}::text = $1`,
      [tenantId],
    )
    return rows.map(({ row }) => row)
  } finally {
    await database.close()
  }
}

function isExact(value: number): boolean {
  return Math.abs(value) <= Number.MAX_SAFE_INTEGER
}

/** The API has no `overriding system value`; a change of the catalog alone, some milliseconds. */
async function setIdentities(
  superuserUrl: string,
  tables: readonly ProtectedTable[],
  generated: 'always' | 'by default',
): Promise<void> {
  const database = connectDatabase({ url: superuserUrl, dataSessions: 1 })
  try {
    for (const { relation, columns } of tables) {
      for (const { name, isIdentityAlways } of columns) {
        if (!isIdentityAlways) continue
        await database.query(
          `alter table ${relation} alter column ${quoteIdentifier(name)} set generated ${generated}`,
        )
      }
    }
  } finally {
    await database.close()
  }
}
