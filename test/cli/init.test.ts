import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EXIT } from '../../src/cli/exit-status.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { runCli } from '../support/run-cli.ts'
import { PLAIN_TEMPLATE, startTestCluster, urlOf } from '../support/test-cluster.ts'

// A Postgres of its own: the worker's login, whose password changes here, is one for a whole cluster.
let cluster: Awaited<ReturnType<typeof startTestCluster>>
let adminUrl: string
let folder: string

const FLAGS = ['init', '--tenant-table', 'public.teams', '--tenant-column', 'team_id']

beforeAll(async () => {
  cluster = await startTestCluster()
  adminUrl = urlOf(cluster.cluster, 'postgres', PLAIN_TEMPLATE)
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-init-'))
  await runScript(
    adminUrl,
    `create table public.teams (id int primary key, name text);
     create table public.notes (id int primary key, team_id int not null references public.teams, text text);
     insert into public.teams values (1, 'One'), (2, 'Two');
     insert into public.notes values (1, 1, 'a'), (2, 2, 'b');`,
  )
})

afterAll(async () => {
  await cluster?.stop()
  await rm(folder, { recursive: true, force: true })
})

test('asks before it switches row level security on, and gives no login until then', async () => {
  const file = join(folder, 'too-early')
  const { status, stdout } = await runCli([...FLAGS, '--worker-url-out', file], {
    ADMIN_DB_URL: adminUrl,
  })
  expect(status).toBe(EXIT.answersNeeded)
  expect(stdout).toMatch(/public\.notes: .*\n +--enable-rls/)
  expect(stdout).toMatch(/Nothing was written/)
  await expect(stat(file)).rejects.toThrow('ENOENT')
})

test('writes the worker’s URL to a file that only its owner can read, anew at every call', async () => {
  const file = join(folder, 'worker-url')
  const args = [...FLAGS, '--enable-rls', '--worker-url-out', file]
  const first = await runCli(args, { ADMIN_DB_URL: adminUrl })
  const firstUrl = (await readFile(file, 'utf8')).trim()
  const second = await runCli(args, { ADMIN_DB_URL: adminUrl })
  const secondUrl = (await readFile(file, 'utf8')).trim()

  expect([first.status, second.status]).toEqual([EXIT.done, EXIT.done])
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(first.stdout + first.stderr).not.toContain(new URL(firstUrl).password)
  expect(await runCli(['list', '--db-url', secondUrl])).toMatchObject({ status: EXIT.done })
  const { status, stderr } = await runCli(['list', '--db-url', firstUrl])
  expect(status).toBe(EXIT.couldNotRun)
  expect(stderr).not.toContain(new URL(firstUrl).password)
})

test('keeps the old password where the new one can’t be written down', async () => {
  const file = join(folder, 'worker-url')
  const url = (await readFile(file, 'utf8')).trim()
  await writeFile(join(folder, 'a-file'), '')
  const { status, stderr } = await runCli(
    [...FLAGS, '--worker-url-out', join(folder, 'a-file', 'x')],
    { ADMIN_DB_URL: adminUrl },
  )
  expect(status).toBe(EXIT.couldNotRun)
  expect(stderr).toMatch(/--worker-url-out/)
  expect(await runCli(['list', '--db-url', url])).toMatchObject({ status: EXIT.done })
})

describe('questions', () => {
  const file = () => join(folder, 'tenantkeep.json')
  const initAgain = (...args: string[]) =>
    runCli(['init', ...args, '--enable-rls'], { ADMIN_DB_URL: adminUrl })

  beforeAll(async () => {
    await runScript(
      adminUrl,
      `create table public.prices (id int primary key, amount numeric);
       create table public.old_log (id int);
       insert into public.prices values (1, 2);`,
    )
  })

  test('are asked in groups, each with the flag that answers it, and as data', async () => {
    const asked = await runCli(FLAGS, { ADMIN_DB_URL: adminUrl })
    expect(asked.status).toBe(EXIT.answersNeeded)
    expect(asked.stdout).toMatch(/Question unused: .*\(public\.old_log\)/)
    expect(asked.stdout).toMatch(/what we would say\):\n +--answer unused=exclude/)
    const data = await runCli([...FLAGS, '--json'], { ADMIN_DB_URL: adminUrl })
    expect(JSON.parse(data.stdout)).toMatchObject({
      is_applied: false,
      questions: [
        { id: 'unused', default: { tables: { 'public.old_log': { class: 'excluded' } } } },
        { id: 'others', tables: ['public.prices'], default: null },
      ],
    })
  })

  test('are answered by flags, which the answers file keeps for the next run', async () => {
    const first = await initAgain(
      ...FLAGS.slice(1),
      ...['--answers', file(), '--yes', '--answer', 'others=shared'],
    )
    expect(first.status).toBe(EXIT.done)
    expect(first.stdout).toMatch(/The answers are in .*tenantkeep\.json/)
    expect(JSON.parse(await readFile(file(), 'utf8'))).toMatchObject({
      version: 1,
      tenant_table: 'public.teams',
      tenant_columns: ['team_id'],
      enable_rls: true,
      tables: {
        'public.old_log': { class: 'excluded' },
        'public.prices': { class: 'shared' },
      },
    })
    const next = await initAgain('--answers', file())
    expect(next.status).toBe(EXIT.done)
    expect(next.stdout).not.toMatch(/The answers are in/)
  })

  test('refuse an option that is none', async () => {
    await runScript(adminUrl, 'create table public.more (id int)')
    const { status, stderr } = await initAgain('--answers', file(), '--answer', 'unused=maybe')
    expect(status).toBe(EXIT.couldNotRun)
    expect(stderr).toMatch(/shared, exclude|exclude, shared/)
  })

  test('leave the database alone where the SQL is only to be written down', async () => {
    const sql = join(folder, 'protect.sql')
    const args = ['--answers', file(), '--yes', '--emit', sql]
    const { status, stdout } = await initAgain(...args)
    expect(status).toBe(EXIT.done)
    expect(stdout).toMatch(/Nothing was run\. The SQL is in/)
    expect(await readFile(sql, 'utf8')).toMatch(/insert into tenantkeep\.tenant_tables/)
  })
})
