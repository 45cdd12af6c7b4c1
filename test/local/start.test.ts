import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseEnv } from 'node:util'
import { createClient } from '@supabase/supabase-js'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findFreePort, isPortBusy } from '../../src/local/free-port.ts'
import { isProcess } from '../../src/local/processes.ts'
import { copyCheckout } from '../support/copy-checkout.ts'

/** Loading everything and backing up six tenants, on two cores that others use too. */
const START_MS = 150_000

let folder: string
let checkout: Awaited<ReturnType<typeof copyCheckout>>
let ports: Record<string, string>
const started: Stack[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-stack-'))
  await chmod(folder, 0o711)
  checkout = await copyCheckout()
  ports = {
    TENANTKEEP_APP_PORT: String(await findFreePort()),
    TENANTKEEP_API_PORT: String(await findFreePort()),
    TENANTKEEP_DB_PORT: String(await findFreePort()),
  }
})
afterAll(async () => {
  for (const { child } of started) signalGroup(child, 'SIGKILL')
  await pause(500)
  await rm(folder, { recursive: true, force: true })
  await checkout.remove()
})

interface Stack {
  child: ChildProcess
  output: () => string
  /** The exit status; null where a signal ended it. */
  ended: Promise<number | null>
}

/** `npm start` as a person runs it, in a process group of its own. */
function start(args: readonly string[] = [], env: Record<string, string> = {}): Stack {
  const child = spawn('npm', ['start', '--silent', '--', ...args], {
    cwd: checkout.folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      ...ports,
      TENANTKEEP_LOCAL_FOLDER: folder,
      TENANTKEEP_DEMO_ROWS: '2000',
      ...env,
    },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
  }
  const stack = {
    child,
    output: () => output,
    ended: once(child, 'exit').then(([status]: (number | null)[]) => status ?? null),
  }
  started.push(stack)
  return stack
}

async function untilReady(stack: Stack): Promise<Record<string, string | undefined>> {
  const deadline = Date.now() + START_MS
  while (!stack.output().includes('Ready after')) {
    if (stack.child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`The stack did not get ready:\n${stack.output()}`)
    }
    await pause(100)
  }
  return parseEnv(await readFile(join(folder, 'stack.env'), 'utf8'))
}

/** npm may be gone before the stack is: the lock is what the stack gives up last. */
async function untilStopped(stack: Stack): Promise<void> {
  await stack.ended
  for (let waited = 0; waited < 20_000; waited += 100) {
    if (!existsSync(join(folder, 'stack.pid'))) break
    await pause(100)
  }
  await pause(300)
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-(child.pid ?? 0), signal)
  } catch {
    // Gone already.
  }
}

/** Every process that has the folder in its command line: the servers. */
async function processesOf(where: string): Promise<string[]> {
  const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
  return lines.filter((line) => line.includes(where))
}

async function ask(url: string | undefined, sql: string): Promise<unknown> {
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query(sql)
  await client.end()
  return rows
}

const COMPLETE = `select count(distinct organization_id)::int as tenants
  from public.tenant_backups where status = 'complete'`

describe.skipIf(process.platform === 'win32')('npm start', () => {
  let first: Stack
  let env: Record<string, string | undefined>

  test(
    'brings everything up, takes the first backup and says where things are',
    async () => {
      first = start()
      env = await untilReady(first)

      expect(Object.keys(env).sort()).toEqual(
        [
          'ADMIN_DB_URL',
          'APP_URL',
          'BACKUP_SIGNING_KEY',
          'BACKUP_STORE',
          'CRON_SECRET',
          'DEMO_MEMBER_EMAIL',
          'DEMO_MEMBER_PASSWORD',
          'DEMO_OPERATOR_EMAIL',
          'DEMO_OPERATOR_PASSWORD',
          'DEMO_OTHER_OWNER_EMAIL',
          'DEMO_OTHER_OWNER_PASSWORD',
          'DEMO_OTHER_TENANT_ID',
          'DEMO_TEMPLATE_TENANT_ID',
          'DEMO_OWNER_EMAIL',
          'DEMO_OWNER_PASSWORD',
          'DEMO_TENANT_ID',
          'OPERATOR_SECRET',
          'SUPABASE_DB_URL',
          'SUPABASE_PUBLISHABLE_KEY',
          'SUPABASE_SECRET_KEY',
          'SUPABASE_URL',
        ].sort(),
      )
      expect(Object.values(env).filter((value) => value === '')).toEqual([])
      expect(await ask(env.ADMIN_DB_URL, COMPLETE)).toEqual([{ tenants: 6 }])
      expect(first.output()).toContain(env.APP_URL)
      expect(first.output()).toContain(env.DEMO_OWNER_EMAIL)
      expect((await stat(join(folder, 'stack.env'))).mode & 0o077).toBe(0)
    },
    START_MS,
  )

  test('serves the page with its headers, and no secret with it', async () => {
    const page = await fetch(env.APP_URL ?? '')
    const api = await fetch(`${env.APP_URL}/main.tsx`)

    const text = (await page.text()) + (await api.text())
    expect(page.status).toBe(200)
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
    for (const secret of [
      'SUPABASE_SECRET_KEY',
      'CRON_SECRET',
      'OPERATOR_SECRET',
      'BACKUP_SIGNING_KEY',
    ]) {
      expect(text).not.toContain(env[secret])
    }
  })

  test('lets the owner of the demonstration sign in and see only the own backups', async () => {
    const client = createClient(env.SUPABASE_URL ?? '', env.SUPABASE_PUBLISHABLE_KEY ?? '', {
      auth: { persistSession: false, autoRefreshToken: false },
    })
    const signedIn = await client.auth.signInWithPassword({
      email: env.DEMO_OWNER_EMAIL ?? '',
      password: env.DEMO_OWNER_PASSWORD ?? '',
    })
    const backups = await client.from('tenant_backups').select('organization_id')

    expect(signedIn.error).toBeNull()
    expect(backups.data).toEqual([{ organization_id: env.DEMO_TENANT_ID }])
  })

  test('has the roles of a hosted project', async () => {
    const roles = await ask(
      env.SUPABASE_DB_URL,
      `select session_user as worker, rolname, rolsuper from pg_roles
       where rolname in ('postgres', 'supabase_admin') order by rolname`,
    )

    expect(roles).toEqual([
      { worker: 'tenantkeep_worker', rolname: 'postgres', rolsuper: false },
      { worker: 'tenantkeep_worker', rolname: 'supabase_admin', rolsuper: true },
    ])
  })

  test('a second time says that one is running, and leaves it alone', async () => {
    const second = start()

    expect(await second.ended).toBe(2)
    expect(second.output()).toMatch(/running already .*process \d+.*kill \d+/)
    expect(existsSync(join(folder, 'stack.env'))).toBe(true)
    expect((await fetch(env.APP_URL ?? '')).status).toBe(200)
  })

  test('names a busy port and how to move it', async () => {
    const elsewhere = join(folder, 'elsewhere')
    const squatter = createServer().listen(0, '127.0.0.1')
    await once(squatter, 'listening')
    const address = squatter.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0

    const blocked = start([], {
      TENANTKEEP_LOCAL_FOLDER: elsewhere,
      TENANTKEEP_APP_PORT: String(await findFreePort()),
      TENANTKEEP_API_PORT: String(port),
    })

    const status = await blocked.ended
    squatter.close()
    expect(status).toBe(2)
    expect(blocked.output()).toContain(`Port ${port}, for the Supabase API, is in use`)
    expect(blocked.output()).toContain('TENANTKEEP_API_PORT=')
    expect(existsSync(join(elsewhere, 'stack.pid'))).toBe(false)
  })

  test(
    'starts again after it was killed, with the same data and secrets',
    async () => {
      signalGroup(first.child, 'SIGKILL')
      await first.ended

      const again = start()
      const renewed = await untilReady(again)

      expect(renewed).toEqual(env)
      expect(await ask(renewed.ADMIN_DB_URL, COMPLETE)).toEqual([{ tenants: 6 }])
      first = again
    },
    START_MS,
  )

  test('leaves no process, no port and no stack.env behind after SIGTERM', async () => {
    const pid = Number(await readFile(join(folder, 'stack.pid'), 'utf8'))
    signalGroup(first.child, 'SIGTERM')
    await untilStopped(first)

    const busy = await Promise.all(Object.values(ports).map((port) => isPortBusy(Number(port))))
    expect(await processesOf(folder)).toEqual([])
    expect(await isProcess(pid, ['start.ts'])).toBe(false)
    expect(busy).toEqual([false, false, false])
    expect((await readdir(folder)).sort()).toEqual(['data', 'elsewhere', 'secrets.json', 'storage'])
  })

  test(
    'begins afresh with --reset, and without the demonstration with --no-demo',
    async () => {
      const bare = start(['--reset', '--no-demo'])
      const renewed = await untilReady(bare)

      const tables = await ask(
        renewed.ADMIN_DB_URL,
        `select to_regclass('public.organizations') as host, to_regclass('public.tenant_backups')::text as ours`,
      )
      // npm alone, as a process manager does: it ends without a word to what it started.
      bare.child.kill('SIGTERM')
      await untilStopped(bare)
      expect(tables).toEqual([{ host: null, ours: 'tenant_backups' }])
      expect(renewed.CRON_SECRET).not.toBe(env.CRON_SECRET)
      expect(Object.keys(renewed).filter((name) => name.startsWith('DEMO_'))).toEqual([])
      expect(existsSync(join(folder, 'stack.env'))).toBe(false)
      expect(await processesOf(folder)).toEqual([])
    },
    START_MS,
  )
})
