import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { EXIT } from '../../src/cli/exit-status.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { runCli, startCli } from '../support/run-cli.ts'

let database: TestDatabase
let folder: string
let env: Record<string, string>
/** The two smallest tenants, the smaller one first. */
let tenant: { id: string; name: string }
let other: { id: string; name: string }
/** A backup of the tenant that nobody touches. */
let taken: z.infer<typeof Taken>['backups'][number]

const Failure = z.object({
  success: z.literal(false),
  error: z.object({ code: z.string(), message: z.string() }),
})
const Taken = z.object({
  success: z.boolean(),
  backups: z.array(
    z.looseObject({
      backup_id: z.string(),
      organization_id: z.string(),
      status: z.string(),
      was_complete: z.boolean(),
      summary_path: z.string(),
      total_records: z.number(),
      tags: z.array(z.string()),
    }),
  ),
})

beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-cli-'))
  env = {
    SUPABASE_DB_URL: database.workerUrl,
    BACKUP_STORE: pathToFileURL(join(folder, 'store')).href,
    BACKUP_SIGNING_KEY: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
  }
  const { rows } = await database.superuser.query<{ id: string; name: string }>(
    `select o.id::text as id, o.name from public.organizations o
     order by (select count(*) from public.customers c where c.organization_id = o.id)`,
  )
  const [first, second] = rows
  if (first === undefined || second === undefined) throw new Error('the demonstration is empty')
  tenant = first
  other = second
  taken = await takeOne('--note', 'for show', '--tag', 'readable')
})

afterAll(async () => {
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

/** Runs with `--json` and reads the one document on stdout. */
async function runJson<T>(schema: z.ZodType<T>, args: string[], more: Record<string, string> = {}) {
  const { status, stdout, stderr } = await runCli([...args, '--json'], { ...env, ...more })
  return { status, stderr, document: schema.parse(JSON.parse(stdout)) }
}

async function takeOne(...flags: string[]) {
  const { document } = await runJson(Taken, ['backup', '--tenant', tenant.id, ...flags])
  const [backup] = document.backups
  if (backup === undefined) throw new Error('no backup was taken')
  return backup
}

describe('backup', () => {
  test('backs up the tenants that are named, with progress on stderr and the result on stdout', async () => {
    const args = [
      'backup',
      '--tenant',
      tenant.id,
      '--tenant',
      other.id,
      '--note',
      'before the move',
    ]
    const { status, stdout, stderr } = await runCli([...args, '--tag', 'a', '--tag', 'b'], env)

    expect(stderr).toMatch(/customers, [\d,]+ rows/)
    expect(status).toBe(EXIT.done)
    expect(
      stdout
        .trim()
        .split('\n')
        .filter((line) => line.includes('backed up')),
    ).toHaveLength(2)
    const { rows } = await database.worker.query<{ organization_id: string }>(
      `select organization_id from public.tenant_backups
       where status = 'complete' and note = 'before the move' and tags = '{a,b}'
         and backup_type = 'manual' and actor_kind = 'operator'`,
    )
    expect(rows.map((row) => row.organization_id).sort()).toEqual([tenant.id, other.id].sort())
  })

  test('prints one JSON document on stdout, and nothing of its progress', async () => {
    const { status, stdout, stderr } = await runCli(
      ['backup', '--tenant', tenant.id, '--json'],
      env,
    )
    expect(status).toBe(EXIT.done)
    expect(stderr).toContain(tenant.name)
    expect(JSON.parse(stdout)).toMatchObject({
      success: true,
      backups: [{ organization_id: tenant.id, status: 'complete', was_complete: false }],
    })
  })

  test('records that it was cancelled when it is told to stop', async () => {
    await database.superuser.withConnection(async (session) => {
      await session.query('begin')
      await session.query('lock table public.customers in access exclusive mode')
      const { child, result } = startCli(['backup', '--tenant', tenant.id, '--json'], env)
      await waitForRow("select from public.tenant_backups where status = 'running'")
      child.kill('SIGTERM')
      const { status, stdout } = await result
      await session.query('rollback')
      expect(status).toBe(EXIT.failed)
      expect(JSON.parse(stdout)).toMatchObject({
        success: false,
        backups: [{ status: 'failed', error: { code: 'backup_cancelled' } }],
      })
    })
    const { rowCount } = await database.worker.query(
      `select from public.tenant_backups where status = 'cancelled'`,
    )
    expect(rowCount).toBe(1)
  })

  test('of all tenants for the day passes over those that have it', async () => {
    const first = await runJson(Taken, ['backup', '--all', '--daily'])
    const again = await runJson(Taken, ['backup', '--all', '--daily'])
    expect([first.status, again.status]).toEqual([EXIT.done, EXIT.done])
    expect(first.document.backups).toHaveLength(5)
    expect(first.document.backups.some((backup) => backup.was_complete)).toBe(false)
    expect(again.document.backups.every((backup) => backup.was_complete)).toBe(true)
    expect(again.document.backups.map((backup) => backup.backup_id)).toEqual(
      first.document.backups.map((backup) => backup.backup_id),
    )
  })

  test('backs up nobody where one of the named tenants is unknown', async () => {
    const before = await countBackups()
    const { status, document } = await runJson(Failure, [
      'backup',
      '--tenant',
      tenant.id,
      '--tenant',
      'x',
    ])
    expect(status).toBe(EXIT.couldNotRun)
    expect(document.error.code).toBe('tenant_not_found')
    expect(await countBackups()).toBe(before)
  })

  test('says busy, and who, while another process has the tenant', async () => {
    await database.worker.withConnection(async (session) => {
      await session.query(
        `select pg_advisory_lock(hashtextextended('tenantkeep.tenant:' || $1, 0))`,
        [tenant.id],
      )
      const { status, stdout } = await runCli(['backup', '--tenant', tenant.id], env)
      expect(status).toBe(EXIT.busy)
      expect(stdout).toMatch(/FAILED.*\(tenant_busy\)/)
      await session.query('select pg_advisory_unlock_all()')
    })
  })

  test('says where the store cannot be reached, before it begins', async () => {
    const before = await countBackups()
    const { status, document } = await runJson(Failure, [
      'backup',
      '--all',
      '--store',
      pathToFileURL(join(folder, 'not', 'mounted')).href,
    ])
    expect(status).toBe(EXIT.couldNotRun)
    expect(document.error.code).toBe('store_unavailable')
    expect(await countBackups()).toBe(before)
  })
})

async function waitForRow(sql: string): Promise<void> {
  await expect
    .poll(async () => (await database.worker.query(sql)).rowCount, { timeout: 20_000 })
    .toBe(1)
}

async function countBackups(): Promise<number> {
  const { rowCount } = await database.worker.query('select from public.tenant_backups')
  return rowCount
}

describe('list and show', () => {
  const Listed = z.object({
    backups: z.array(z.looseObject({ backup_id: z.string(), organization_id: z.string() })),
    next_cursor: z.string().nullable(),
  })

  test('list goes through all pages, newest first', async () => {
    const newest = await takeOne()
    const first = await runJson(Listed, ['list', '--tenant', tenant.id, '--limit', '1'])
    expect(first.document.backups.map((it) => it.backup_id)).toEqual([newest.backup_id])
    const cursor = first.document.next_cursor ?? ''
    const rest = await runJson(Listed, ['list', '--tenant', tenant.id, '--after', cursor])
    expect(rest.document.next_cursor).toBeNull()
    expect(rest.document.backups.at(-1)?.backup_id).toBe(taken.backup_id)
    expect(rest.document.backups.map((it) => it.backup_id)).not.toContain(newest.backup_id)
    expect(rest.document.backups.every((it) => it.organization_id === tenant.id)).toBe(true)
  })

  test('list needs a database and nothing else, and finds nothing on another day', async () => {
    const { status, stdout } = await runCli(['list', '--to', '2020-01-01'], {
      SUPABASE_DB_URL: database.workerUrl,
    })
    expect({ status, stdout }).toEqual({ status: EXIT.done, stdout: 'No backups.\n' })
  })

  test('list is a table that people can read', async () => {
    const { stdout } = await runCli(['list', '--tenant', tenant.id], env)
    const lines = stdout.split('\n')
    expect(lines[0]).toMatch(/^backup +tenant +type +status/)
    const line = lines.find((it) => it.startsWith(taken.backup_id))
    expect(line).toContain(tenant.name)
    expect(line).toContain('readable')
  })

  test('show gives what the signed summary says of every table', async () => {
    const { backup_id, total_records } = taken
    const Shown = z.object({
      backup: z.looseObject({ backup_id: z.string(), note: z.string() }),
      summary: z.looseObject({
        tables: z.array(z.looseObject({ name: z.string(), rows: z.number() })),
      }),
    })
    const { document } = await runJson(Shown, ['show', backup_id.toUpperCase()])
    expect(document.backup).toMatchObject({ backup_id, note: 'for show' })
    const rows = document.summary.tables.reduce((sum, table) => sum + table.rows, 0)
    expect(rows).toBe(total_records)
    const { stdout } = await runCli(['show', backup_id], env)
    expect(stdout).toMatch(/^customers +[\d,]+ /m)
  })

  test('show refuses a summary that another key signed', async () => {
    const { backup_id } = taken
    const { status, document } = await runJson(Failure, ['show', backup_id], {
      BACKUP_SIGNING_KEY: `k1:${Buffer.alloc(32, 2).toString('base64')}`,
    })
    expect(status).toBe(EXIT.failed)
    expect(document.error.code).toBe('backup_damaged')
  })

  test('show says where a backup is that lives in another store', async () => {
    const { backup_id } = taken
    const elsewhere = pathToFileURL(join(folder, 'elsewhere')).href
    const { status, document } = await runJson(Failure, ['show', backup_id, '--store', elsewhere])
    expect(status).toBe(EXIT.couldNotRun)
    expect(document.error.message).toContain(`Say --store ${env.BACKUP_STORE}`)
  })

  test('show says that there is no such backup', async () => {
    const { status, document } = await runJson(Failure, [
      'show',
      '00000000-0000-4000-8000-000000000000',
    ])
    expect(status).toBe(EXIT.couldNotRun)
    expect(document.error.code).toBe('backup_not_found')
  })
})

describe('verify', () => {
  const Verified = z.object({
    success: z.boolean(),
    backups: z.array(
      z.looseObject({
        backup_id: z.string(),
        is_intact: z.boolean(),
        findings: z.array(z.looseObject({ code: z.string(), path: z.string().nullable() })),
      }),
    ),
    in_another_store: z.array(z.looseObject({ backup_id: z.string() })),
  })

  test('reads everything again and finds nothing wrong', async () => {
    const { backup_id } = taken
    const { status, document } = await runJson(Verified, ['verify', backup_id])
    expect(status).toBe(EXIT.done)
    expect(document).toMatchObject({ success: true, backups: [{ backup_id, is_intact: true }] })
  })

  test('--all verifies every backup of this store and names those elsewhere', async () => {
    const elsewhere = pathToFileURL(join(folder, 'second')).href
    const { backup_id } = await takeOne('--store', elsewhere)
    const { status, document } = await runJson(Verified, ['verify', '--all', '--tenant', tenant.id])
    expect(status).toBe(EXIT.done)
    expect(document.backups.length).toBeGreaterThan(0)
    expect(document.in_another_store.map((it) => it.backup_id)).toEqual([backup_id])
  })

  test('names the object that was cut short, and goes on with the others', async () => {
    const store = pathToFileURL(join(folder, 'damaged')).href
    const first = await takeOne('--store', store)
    const second = await takeOne('--store', store)
    const summary = join(folder, 'damaged', first.summary_path)
    await writeFile(summary, (await readFile(summary)).subarray(0, 100))

    const args = ['verify', first.backup_id, second.backup_id, '--store', store]
    const { status, document } = await runJson(Verified, args)
    const { stdout } = await runCli(args, env)

    expect(status).toBe(EXIT.failed)
    expect(document).toMatchObject({
      success: false,
      backups: [
        { is_intact: false, findings: [{ path: first.summary_path }] },
        { backup_id: second.backup_id },
      ],
    })
    expect(stdout).toMatch(/DAMAGED/)
  })
})

describe('worker', () => {
  test('does what is queued and ends, with --once', async () => {
    const { rows } = await database.worker.query<{ id: string }>(
      `insert into tenantkeep.runs (kind, actor_kind, actor_label, tenant_ids, created_at)
       values ('manual', 'operator', 'test', array[$1], now() - interval '2 minutes') returning id`,
      [tenant.id],
    )
    const run = rows[0]?.id
    await database.worker.query(
      'insert into tenantkeep.run_tenants (run_id, tenant_id) values ($1, $2)',
      [run, tenant.id],
    )
    const Done = z.object({ success: z.literal(true), settled: z.number(), left: z.number() })
    const { status, document } = await runJson(Done, ['worker', '--once'])
    expect(status).toBe(EXIT.done)
    expect(document).toMatchObject({ settled: 1, left: 0 })
    const { rows: outcome } = await database.worker.query(
      'select status from tenantkeep.run_tenants where run_id = $1',
      [run],
    )
    expect(outcome).toEqual([{ status: 'complete' }])
  })

  test('waits for work until it is asked to stop, and then ends well', async () => {
    const { child, result } = startCli(['worker', '--json'], env)
    child.stderr.once('data', () => setTimeout(() => child.kill('SIGTERM'), 300))
    const { status, stdout } = await result
    expect(status).toBe(EXIT.done)
    expect(JSON.parse(stdout)).toMatchObject({ success: true, settled: 0 })
  })
})

describe('pause and resume', () => {
  const Answer = z.object({
    success: z.literal(true),
    organization_id: z.string(),
    paused: z.object({ reason: z.string(), by: z.string(), since: z.string() }).nullable(),
    has_changed: z.boolean(),
  })

  test('a paused tenant is passed over with the reason, and backed up by whoever names it', async () => {
    const paused = await runJson(Answer, ['pause', '--tenant', tenant.id, '--reason', 'Moving'])
    const all = await runCli(['backup', '--all', '--daily'], env)
    const named = await runCli(['backup', '--tenant', tenant.id], env)
    const resumed = await runJson(Answer, ['resume', '--tenant', tenant.id])
    const again = await runCli(['resume', '--tenant', tenant.id], env)

    expect(paused.document).toMatchObject({
      organization_id: tenant.id,
      paused: { reason: 'Moving', by: 'command line' },
      has_changed: true,
    })
    expect(all.stdout).toContain(
      `${tenant.name} (${tenant.id}): skipped. Paused by command line: Moving`,
    )
    expect(named.status).toBe(EXIT.done)
    expect(resumed.document).toMatchObject({ paused: null, has_changed: true })
    expect(again).toMatchObject({ status: EXIT.done })
    expect(again.stdout).toContain('was not paused')
  })

  test('there is no such tenant, and no pause without a reason', async () => {
    const unknown = await runCli(['pause', '--tenant', 'nobody', '--reason', 'x', '--json'], env)
    const empty = await runCli(['pause', '--tenant', tenant.id, '--reason', ' ', '--json'], env)
    const none = await runCli(['pause', '--tenant', tenant.id], env)

    expect(Failure.parse(JSON.parse(unknown.stdout)).error.code).toBe('tenant_not_found')
    expect(Failure.parse(JSON.parse(empty.stdout)).error.code).toBe('invalid_request')
    expect([unknown, empty, none].map(({ status }) => status)).toEqual(
      Array(3).fill(EXIT.couldNotRun),
    )
  })
})

describe('init', () => {
  const FLAGS = [
    'init',
    '--tenant-table',
    'public.organizations',
    '--tenant-column',
    'organization_id',
  ]

  test('reports what is protected already, changes nothing, and needs no more answers', async () => {
    const Report = z.object({
      is_applied: z.boolean(),
      tables: z.array(z.looseObject({ table: z.string(), class: z.string(), state: z.string() })),
      unsettled: z.array(z.unknown()),
    })
    const { status, document } = await runJson(Report, [...FLAGS, '--db-url', database.adminUrl])
    expect(status).toBe(EXIT.done)
    expect(document.is_applied).toBe(true)
    expect(document.unsettled).toEqual([])
    expect(document.tables.every((table) => table.state === 'unchanged')).toBe(true)
    const { stdout } = await runCli([...FLAGS, '--dry-run'], { ADMIN_DB_URL: database.adminUrl })
    expect(stdout).toMatch(/^public\.organizations +root /m)
    expect(stdout).toMatch(/Nothing was written \(--dry-run\)/)
  })

  test('lists a table that it can’t settle with the flag that would, and writes nothing', async () => {
    await database.admin.query('create table public.lonely (id int primary key, what text)')
    await database.admin.query(`insert into public.lonely values (1, 'x')`)
    const asked = await runCli(FLAGS, { ADMIN_DB_URL: database.adminUrl })
    const settled = await runCli([...FLAGS, '--exclude', 'public.lonely=a toy'], {
      ADMIN_DB_URL: database.adminUrl,
    })
    await database.admin.query('drop table public.lonely')
    expect(asked.status).toBe(EXIT.answersNeeded)
    expect(asked.stdout).toMatch(/public\.lonely: /)
    expect(asked.stdout).toMatch(/--exclude/)
    expect(settled.status).toBe(EXIT.done)
    expect(settled.stdout).toMatch(/^public\.lonely +excluded .*a toy/m)
  })

  test('says in words what a flag names that is not there', async () => {
    const { status, document } = await runJson(Failure, [
      ...FLAGS,
      '--shared',
      'no_such_table',
      '--db-url',
      database.adminUrl,
    ])
    expect(status).toBe(EXIT.couldNotRun)
    expect(document.error.message).toContain('no_such_table')
  })
})
