import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as z from 'zod'
import { EXIT } from '../../src/cli/exit-status.ts'
import { parseSigningKeys } from '../../src/core/backup/signature.ts'
import { openArchive } from '../../src/core/restore/open-archive.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { runCli } from '../support/run-cli.ts'

const KEY = `k1:${Buffer.alloc(32, 1).toString('base64')}`

let database: TestDatabase
let folder: string
let env: Record<string, string>
let taken: { backup_id: string; organization_id: string; total_records: number }

beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-export-'))
  env = {
    SUPABASE_DB_URL: database.workerUrl,
    BACKUP_STORE: pathToFileURL(join(folder, 'store')).href,
    BACKUP_SIGNING_KEY: KEY,
  }
  const { rows } = await database.superuser.query<{ id: string }>(
    `select o.id::text as id from public.organizations o
     order by (select count(*) from public.customers c where c.organization_id = o.id) limit 1`,
  )
  const { stdout } = await runCli(['backup', '--tenant', rows[0]?.id ?? '', '--json'], env)
  const Backup = z.object({
    backup_id: z.string(),
    organization_id: z.string(),
    total_records: z.number(),
  })
  const [backup] = z.object({ backups: z.array(Backup) }).parse(JSON.parse(stdout)).backups
  if (backup === undefined) throw new Error('no backup was taken')
  taken = backup
})

afterAll(async () => {
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

test('writes an archive that only its owner can read, and that opens again', async () => {
  const file = join(folder, 'archive.zip')

  const { status, stdout } = await runCli(
    ['export', '--backup', taken.backup_id, '--to', file, '--json'],
    env,
  )

  expect(status).toBe(EXIT.done)
  const { size, mode } = await stat(file)
  expect(JSON.parse(stdout)).toMatchObject({
    success: true,
    backup_id: taken.backup_id,
    organization_id: taken.organization_id,
    file,
    bytes: size,
    rows: taken.total_records,
  })
  expect(mode & 0o777).toBe(0o600)
  const source = await openArchive({
    file,
    signingKeys: parseSigningKeys({ current: KEY }),
    tenantId: taken.organization_id,
  })
  expect(source.summary.totals.rows).toBe(taken.total_records)
})

test('says in words what was written and that it is personal', async () => {
  const { status, stdout } = await runCli(
    ['export', '--backup', taken.backup_id, '--to', join(folder, 'words.zip')],
    env,
  )
  expect(status).toBe(EXIT.done)
  expect(stdout).toMatch(/words\.zip: [\d,]+ rows in \d+ tables, .*, read again and whole/)
  expect(stdout).toMatch(/personal data/)
})

test('overwrites nothing', async () => {
  const file = join(folder, 'mine.zip')
  await writeFile(file, 'mine')

  const { status, stderr } = await runCli(
    ['export', '--backup', taken.backup_id, '--to', file],
    env,
  )

  expect(status).toBe(EXIT.couldNotRun)
  expect(stderr).toMatch(/is there already; nothing was overwritten/)
  expect((await stat(file)).size).toBe(4)
})

test('leaves no file behind where a part is missing', async () => {
  const store = join(folder, 'store', 'tenant-backups', taken.organization_id)
  const [day = ''] = await readdir(store)
  const object = (await readdir(join(store, day))).find((name) => name.startsWith('customers-'))
  await rm(join(store, day, object ?? ''))

  const { status, stdout } = await runCli(
    ['export', '--backup', taken.backup_id, '--to', join(folder, 'broken.zip'), '--json'],
    env,
  )

  expect(status).toBe(EXIT.failed)
  expect(JSON.parse(stdout)).toMatchObject({ success: false, error: { code: 'object_missing' } })
  expect(await readdir(folder)).not.toContain('broken.zip')
})

test('knows no backup of that id', async () => {
  const { status, stderr } = await runCli(
    ['export', '--backup', '00000000-0000-4000-8000-000000000000', '--to', join(folder, 'x.zip')],
    env,
  )
  expect(status).toBe(EXIT.couldNotRun)
  expect(stderr).toMatch(/backup_not_found/)
})
