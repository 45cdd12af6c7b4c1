import { randomBytes, randomUUID } from 'node:crypto'
import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import { backupStamp, partPath } from '../../src/core/store/object-path.ts'
import type { Store } from '../../src/core/store/store.ts'
import { DEMO_TABLES } from '../../supabase/demo/plan-rows.ts'
import { startProcess } from './start-process.ts'

const PAGE_ROWS = 1000

export interface PageReader {
  /** Backs a tenant up; returns the rows that it found. */
  backUp(tenantId: string, store: Store): Promise<number>
  stop(): Promise<void>
}

/**
 * The usual way to copy a tenant out of Supabase: supabase-js, pages of 1,000 rows of each table that has the
 * tenant's column, one `JSON.stringify` and one upload a table. Tables that belong to a tenant by way of
 * others are left out, as that way leaves them out. The API runs in a process of its own, as in
 * production.
 */
export async function startPageReader(
  superuserUrl: string,
  storageFolder: string,
): Promise<PageReader> {
  const { client, stop } = await startApi(superuserUrl, storageFolder)
  return {
    async backUp(tenantId, store) {
      const stamp = backupStamp(new Date(), randomUUID())
      let total = 0
      for (const table of DEMO_TABLES) {
        const rows = await readPages(client, table, tenantId)
        if (rows === null) continue
        total += rows.length
        const path = partPath(tenantId, stamp, { schema: 'public', name: table }, 1)
        await store.put(path, Buffer.from(JSON.stringify(rows)), 'application/json')
      }
      return total
    },
    stop,
  }
}

/** The embedded API in a process of its own, and a client with all rights. */
export async function startApi(
  databaseUrl: string,
  storageFolder: string,
): Promise<{ client: SupabaseClient; stop(): Promise<void> }> {
  const keys = {
    publishable: `sb_publishable_${randomBytes(18).toString('base64url')}`,
    secret: `sb_secret_${randomBytes(24).toString('base64url')}`,
    jwtSecret: randomBytes(32).toString('base64url'),
  }
  const api = await startProcess(new URL('api-process.ts', import.meta.url), {
    databaseUrl,
    storageFolder,
    keys,
  })
  return {
    client: createClient(api.line, keys.secret, { auth: { persistSession: false } }),
    stop: () => api.stop(),
  }
}

/** The column by which a tenant's rows of a table are known, in the tables that have one. */
export function tenantColumn(table: string): string {
  return table === 'organizations' ? 'id' : 'organization_id'
}

/** Null for a table without the tenant's column. */
async function readPages(
  client: SupabaseClient,
  table: string,
  tenantId: string,
): Promise<Record<string, unknown>[] | null> {
  const column = tenantColumn(table)
  const rows: Record<string, unknown>[] = []
  for (;;) {
    const page = await client
      .from(table)
      .select('*')
      .eq(column, tenantId)
      .range(rows.length, rows.length + PAGE_ROWS - 1)
    if (page.error?.code === '42703') return null
    if (page.error !== null) throw new Error(`${table}: ${page.error.message}`)
    rows.push(...page.data)
    if (page.data.length < PAGE_ROWS) return rows
  }
}
