import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as z from 'zod'
import { EXIT } from '../../src/cli/exit-status.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { runCli } from '../support/run-cli.ts'

const Document = z.object({
  success: z.boolean(),
  errors: z.number(),
  warnings: z.number(),
  findings: z.array(
    z.strictObject({
      severity: z.string(),
      code: z.string(),
      subject: z.string(),
      message: z.string(),
      remedy: z.string().min(1),
    }),
  ),
  not_checked: z.array(z.object({ check: z.string(), reason: z.string() })),
})

let database: TestDatabase
let folder: string
let env: Record<string, string>

beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-doctor-'))
  env = {
    SUPABASE_DB_URL: database.workerUrl,
    BACKUP_STORE: pathToFileURL(folder).href,
    BACKUP_SIGNING_KEY: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
  }
})
afterAll(async () => {
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

test('ends with 0 where nothing is wrong, and says what could not be checked', async () => {
  const asWorker = await runCli(['doctor'], env)
  expect(asWorker.stdout).toMatch(/Nothing is wrong\.\n$/)
  expect(asWorker.stdout).toMatch(/Not checked\n {2}the number of files in Storage: Only the owner/)
  expect(asWorker.status).toBe(EXIT.done)

  const asOwner = await runCli(['doctor', '--json', '--db-url', database.adminUrl], env)
  const document = Document.parse(JSON.parse(asOwner.stdout))
  expect(document).toMatchObject({ success: true, errors: 0, warnings: 0 })
  expect(document.not_checked).toMatchObject([{ check: 'the worker’s login' }])

  const asBoth = await runCli(['doctor', '--json'], { ...env, ADMIN_DB_URL: database.adminUrl })
  expect(Document.parse(JSON.parse(asBoth.stdout)).not_checked).toEqual([])
})

test('ends with 1 and groups what it found by how bad it is, each with its remedy', async () => {
  await database.admin.query(
    `create table public.brand_new (id int);
     create function public.noop() returns trigger language plpgsql as 'begin return new; end';
     create trigger watch after insert on public.customers for each row execute function public.noop();
     alter table public.customers enable always trigger watch;`,
  )
  const text = await runCli(['doctor'], env)
  const json = await runCli(['doctor', '--json'], env)
  await database.admin.query(
    'drop table public.brand_new; drop trigger watch on public.customers; drop function public.noop()',
  )

  expect(text.status).toBe(EXIT.failed)
  expect(text.stdout).toMatch(
    /^Errors: .*\n {2}public\.brand_new: .* \(table_unclassified\)\n {6}tenantkeep init.*\n\nWarnings: .*\n {2}public\.customers: .* \(trigger_always\)\n {6}alter table "public"\."customers" enable trigger "watch"\n\nTo know\n/,
  )
  expect(text.stdout).toMatch(/\nErrors: 1; warnings: 1\.\n$/)
  expect(json.status).toBe(EXIT.failed)
  const document = Document.parse(JSON.parse(json.stdout))
  expect(document).toMatchObject({ success: false, errors: 1, warnings: 1 })
})

test('lists the store for objects that no backup names where --orphans asks for it', async () => {
  const path = join(folder, 'tenant-backups/nobody/2026/11/01/lost.json.gz')
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, 'lost')
  const [plain, asked] = await Promise.all([
    runCli(['doctor', '--json'], env),
    runCli(['doctor', '--json', '--orphans'], env),
  ])
  await rm(path)

  const codes = [plain, asked].map(({ stdout }) =>
    Document.parse(JSON.parse(stdout)).findings.map(({ code }) => code),
  )
  expect(codes[0]).not.toContain('objects_unclear')
  expect(codes[1]).toContain('objects_unclear')
  expect(asked.status).toBe(EXIT.done)
})

test('looks at the rest where the key or the store is not set', async () => {
  const { status, stdout } = await runCli(['doctor', '--json'], {
    SUPABASE_DB_URL: database.workerUrl,
  })
  expect(status).toBe(EXIT.failed)
  const { findings, not_checked } = Document.parse(JSON.parse(stdout))
  expect(
    findings.filter(({ code }) => code === 'not_configured').map(({ subject }) => subject),
  ).toEqual(['BACKUP_STORE', 'BACKUP_SIGNING_KEY'])
  expect(not_checked).toMatchObject([
    { check: 'store' },
    { check: 'the number of files in Storage' },
  ])
})

test('ends with 2 where it can’t run: no database, one out of reach, a login that is neither', async () => {
  const none = await runCli(['doctor'], {})
  const away = await runCli(['doctor', '--db-url', 'postgres://x:secret@127.0.0.1:1/x'], env)
  const pooler = await runCli(['doctor', '--db-url', 'postgres://x@127.0.0.1:6543/x'], env)
  expect([none.status, away.status, pooler.status]).toEqual(Array(3).fill(EXIT.couldNotRun))
  expect(away.stderr).not.toContain('secret')
})
