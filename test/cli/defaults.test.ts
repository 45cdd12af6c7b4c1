import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { EXIT } from '../../src/cli/exit-status.ts'
import { runCommandLine } from '../../src/cli/run-command-line.ts'
import { loadDemoTemplate } from '../../src/local/load-demo.ts'
import { DEMO_TENANTS } from '../../supabase/demo/demo-tenants.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
let folder: string
let env: Record<string, string>
beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  await loadDemoTemplate(database.adminUrl)
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-defaults-'))
  env = {
    SUPABASE_DB_URL: database.workerUrl,
    BACKUP_STORE: pathToFileURL(join(folder, 'store')).href,
    BACKUP_SIGNING_KEY: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
  }
})
afterAll(async () => {
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

/** In this process, for speed. */
async function run(...args: string[]) {
  const told = { stdout: '', stderr: '' }
  const status = await runCommandLine(args, {
    env,
    stdout: { write: (text: string) => (told.stdout += text) },
    stderr: { write: (text: string) => (told.stderr += text) },
    signal: new AbortController().signal,
  })
  return { status, ...told }
}

async function runJson(...args: string[]) {
  const { status, stdout } = await run(...args, '--json')
  return { status, json: JSON.parse(stdout) }
}

let made: string

test('create-tenant answers with the id, and the tenant has its defaults', async () => {
  const { status, json } = await runJson(
    ...['create-tenant', '--columns', '{"name": "Delta Gas", "slug": "delta"}'],
  )

  expect(status, JSON.stringify(json)).toBe(EXIT.done)
  made = json.organization_id
  const { rows } = await database.admin.query<{ gases: number; branches: number; lines: number }>(
    `select (select count(*)::int from public.gas_types where organization_id = $1) as gases,
       (select count(*)::int from public.customers c join public.customers h on h.id = c.parent_customer_id
          and h.organization_id = $1 where c.organization_id = $1) as branches,
       (select count(*)::int from public.sales_order_items i join public.sales_orders o on o.id = i.sales_order_id
          where o.organization_id = $1) as lines`,
    [made],
  )
  expect(rows).toEqual([{ gases: 8, branches: 1, lines: 3 }])
})

test('create-tenant names every column that is wrong, and leaves no half tenant', async () => {
  const columns = '{"slug": "delta", "plan": 7, "colour": "red", "created_at": "yesterday-ish"}'
  const wrong = await runJson('create-tenant', '--columns', columns)
  const taken = await runJson('create-tenant', '--columns', '{"name": "Other", "slug": "delta"}')
  const bad = await run('create-tenant', '--columns', 'name=Delta')

  expect(wrong.status).toBe(EXIT.couldNotRun)
  expect(wrong.json.error.details.columns.map(({ column }: { column: string }) => column)).toEqual([
    ...['colour', 'created_at', 'name'],
  ])
  expect(taken.json.error.message).toContain('organizations_slug_key')
  expect(bad.status).toBe(EXIT.couldNotRun)
  const { rows } = await database.admin.query(
    `select status, error_code from public.backup_logs where backup_type = 'create_tenant' order by created_at`,
  )
  expect(rows).toEqual([
    { status: 'complete', error_code: null },
    { status: 'failed', error_code: 'invalid_request' },
    { status: 'failed', error_code: 'invalid_request' },
  ])
  const { rowCount } = await database.admin.query(
    `select from public.organizations where name = 'Other'`,
  )
  expect(rowCount).toBe(0)
})

test('shows the template, its rows, and how a tenant stands against it', async () => {
  const shown = await run('defaults', 'show')
  const rows = await runJson('defaults', 'show', '--table', 'gas_types')
  const equal = await runJson('defaults', 'diff', '--tenant', made)
  await database.admin.query(
    `update public.gas_types set name = 'Ours' where organization_id = $1 and code = 'AR'`,
    [made],
  )
  await database.admin.query(
    `delete from public."Price List 2025" where organization_id = $1 and "Article No." = 'HE-10'`,
    [made],
  )
  const differs = await runJson('defaults', 'diff', '--tenant', made)

  expect(shown.stdout).toMatch(/Price List 2025 +12/)
  expect(rows.json.tables[0]).toMatchObject({ name: 'gas_types', total: 8 })
  expect(equal.status, JSON.stringify(equal.json)).toBe(EXIT.done)
  expect(differs.status).toBe(EXIT.failed)
  const cases = Object.fromEntries(
    differs.json.tenants[0].result.tables.map((table: { name: string; cases: object }) => [
      ...[table.name, table.cases],
    ]),
  )
  expect(cases.gas_types).toEqual({ unchanged: 7, edited: 1 })
  expect(cases['Price List 2025']).toEqual({ unchanged: 11, deleted: 1 })
})

test('seeds after a dry run, with decisions from flags and files', async () => {
  const sapporo = DEMO_TENANTS[3]?.id ?? ''
  const only = ['--tenant', sapporo, '--table', 'gas_types']
  const refused = await runJson('defaults', 'seed', ...only, '--yes')
  const unasked = await runJson('defaults', 'seed', '--tenant', made)
  const file = join(folder, 'decisions.json')
  await writeFile(
    file,
    JSON.stringify([{ case: 'natural_key_taken', table: 'gas_types', decision: 'keep' }]),
  )
  const done = await runJson('defaults', 'seed', ...only, '--decisions', file, '--yes')
  const brought = await runJson(
    ...[
      'defaults',
      'seed',
      '--tenant',
      made,
      '--decide',
      'Price List 2025:deleted=recreate',
      '--yes',
    ],
  )
  const nonsense = await runJson('defaults', 'seed', ...only, '--decide', 'edited=recreate')

  expect(refused.status).toBe(EXIT.refused)
  expect(refused.json.summary.conflicts).toBeGreaterThan(0)
  expect(unasked.status).toBe(EXIT.answersNeeded)
  expect(done.status, JSON.stringify(done.json)).toBe(EXIT.done)
  expect(brought.json.summary).toMatchObject({ dry_run: false, rows_inserted: 1 })
  expect(nonsense.status).toBe(EXIT.couldNotRun)
})

test('offboard-tenant deletes only what was confirmed, and says how to bring it back', async () => {
  const args = ['offboard-tenant', '--tenant', made, '--reason', 'Contract ended']
  const dry = await runJson(...args, '--dry-run')
  const unasked = await runJson(...args)
  const wrong = await runJson(...args, '--confirm-name', 'Delta')
  const done = await runJson(...args, '--confirm-name', 'Delta Gas')

  expect(dry.status, JSON.stringify(dry.json)).toBe(EXIT.done)
  expect(unasked.status).toBe(EXIT.answersNeeded)
  expect(wrong.status).toBe(EXIT.couldNotRun)
  expect(done.status, JSON.stringify(done.json)).toBe(EXIT.done)
  expect(done.json.rows_deleted).toBe(dry.json.rows_deleted)
  expect(done.json.restore_command).toContain(done.json.backup_id)
  const { rowCount } = await database.admin.query(
    'select from public.organizations where id = $1',
    [made],
  )
  expect(rowCount).toBe(0)
})
