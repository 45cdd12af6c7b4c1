import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { DEMO_TENANTS } from '../../supabase/demo/demo-tenants.ts'
import { createTestStore, SYSTEM, servicesOf, type TestStore } from '../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const DOCUMENT = new URL('../../docs/format.md', import.meta.url)
const TENANT = DEMO_TENANTS[0]?.id ?? ''

let database: TestDatabase
let files: TestStore
beforeAll(async () => {
  ;[database, files] = await Promise.all([
    createTestDatabase({ template: 'demo' }),
    createTestStore(),
  ])
})
afterAll(async () => {
  await database?.drop()
  await files?.remove()
})

test('the SQL of docs/format.md brings back every row of a table file, and no byte differs', async () => {
  await takeBackup(servicesOf(database.worker, files.store), {
    tenantId: TENANT,
    backupType: 'manual',
    actor: SYSTEM,
  })
  const objects = await files.store.list(`tenant-backups/${TENANT}/`)
  const part = objects.find(({ path }) => path.includes('/customers-'))
  const unpacked = gunzipSync(await readFile(join(files.folder, part?.path ?? '')))
  const client = new pg.Client(database.adminUrl)
  await client.connect()
  try {
    await client.query(`create table public.kept as select * from public.customers`)
    await client.query(
      `begin; set local session_replication_role = replica;
       delete from public.customers where organization_id = '${TENANT}'; commit`,
    )

    await pasteScript(client, await readExample(), unpacked)

    const { rows } = await client.query(
      `select count(*)::int as rows,
         count(*) filter (where k.organization_id = '${TENANT}')::int as "ofTenant",
         count(*) filter (where row(k.*)::record *= row(c.*)::record)::int as same
       from public.kept k full join public.customers c using (id)`,
    )
    expect(rows[0].ofTenant).toBeGreaterThan(200)
    expect(rows[0].same).toBe(rows[0].rows)
  } finally {
    await client.end()
  }
})

async function readExample(): Promise<string> {
  const text = await readFile(DOCUMENT, 'utf8')
  const [, example] = /```sql restore-one-table\n(.*?)```/s.exec(text) ?? []
  if (example === undefined) throw new Error('docs/format.md has no example to restore a table.')
  return example
}

/** What psql does with the script: `\copy` sends the file, everything else goes to the server as it is. */
async function pasteScript(client: pg.Client, script: string, file: Buffer): Promise<void> {
  const [before, copy, after] = script.split(/^\\(copy .*)$/m)
  await client.query(before ?? '')
  const stream = client.query(copyFrom((copy ?? '').replace(`'part.json'`, 'stdin')))
  await new Promise<void>((resolve, reject) => {
    stream.on('error', reject).on('finish', resolve).end(file)
  })
  await client.query(after ?? '')
}
