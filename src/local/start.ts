import { mkdir, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createClient } from '@supabase/supabase-js'
import { z } from 'zod'
import { DEMO_TENANTS, type DemoRole, listDemoPeople } from '../../supabase/demo/demo-tenants.ts'
import { connectDatabase } from '../core/database/connect-database.ts'
import { isPortBusy } from './free-port.ts'
import { runScript } from './hosted-shape.ts'
import { loadDemo, protectDemo } from './load-demo.ts'
import { hasAllMigrations, pushMigrations } from './migrations.ts'
import { placeDataFolder, startPostgres, stopLeftover } from './postgres.ts'
import { loadSecrets, type Secrets } from './secrets.ts'
import { loadVite, serveSite } from './serve-site.ts'
import { removeStackEnv, writeStackEnv } from './stack-env.ts'
import { StackIsRunning, takeStackLock } from './stack-lock.ts'
import { PORTS, type PortName, readStackSettings, type StackSettings } from './stack-settings.ts'
import { createPlatformSchemas, startSupabaseApi } from './supabase-api.ts'

const USAGE = `npm start [-- --reset] [-- --no-demo]

Brings up Postgres, the Supabase API, the page and the functions with a demonstration application,
and takes the first backup.

  --reset    begin afresh: remove all data and secrets of the local stack
  --no-demo  leave the demonstration application out

Ports are moved by ${Object.values(PORTS)
  .map(({ variable }) => variable)
  .join(', ')}; data by TENANTKEEP_LOCAL_FOLDER.`

/** What has to be undone on the way out, the last first. */
const undo: (() => Promise<void>)[] = []
const leaving = new AbortController()

/** Something that the person at the terminal can settle; said without a stack trace. */
class CanNotStart extends Error {}

async function main(): Promise<void> {
  const { values: flags } = parseArgs({
    options: {
      reset: { type: 'boolean', default: false },
      'no-demo': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (flags.help) {
    console.log(USAGE)
    return
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => void leave(0))
  }
  leaveWithParent()

  const startedAt = Date.now()
  const settings = readStackSettings(process.env)
  const { folder, ports } = settings
  await mkdir(folder, { recursive: true })
  undo.push(await takeStackLock(folder))
  await removeStackEnv(folder)
  undo.push(() => removeStackEnv(folder))

  const dataFolder = await placeDataFolder(join(folder, 'data'))
  await stopLeftover(dataFolder)
  if (flags.reset) await removeData(folder, dataFolder)
  await requireFreePorts(settings)
  const secrets = await loadSecrets(folder)

  loadVite().catch(() => {})
  say('Postgres 17 …')
  const postgres = await startPostgres({
    dataFolder: await placeDataFolder(join(folder, 'data')),
    port: ports.database,
    passwords: { supabaseAdmin: secrets.supabaseAdminPassword, postgres: secrets.postgresPassword },
    isDurable: true,
  })
  undo.push(() => postgres.stop())
  const superuserUrl = postgres.url('supabase_admin')
  const adminUrl = postgres.url('postgres')

  say('schemas of Auth and Storage, migrations (supabase db push) …')
  await createPlatformSchemas(superuserUrl)
  if (!(await hasAllMigrations(adminUrl))) await pushMigrations(adminUrl, leaving.signal)
  await runScript(adminUrl, `alter role tenantkeep_worker password '${secrets.workerPassword}'`)

  const hasDemo = !flags['no-demo']
  if (hasDemo) {
    say('demonstration application, tables under protection …')
    await loadDemo({ adminUrl, superuserUrl, password: secrets.demoPassword })
    await protectDemo(adminUrl)
  }

  say('Supabase API …')
  const api = await startSupabaseApi({
    databaseUrl: superuserUrl,
    storageFolder: join(folder, 'storage'),
    keys: {
      publishable: secrets.publishableKey,
      secret: secrets.secretKey,
      jwtSecret: secrets.jwtSecret,
    },
    port: ports.api,
  })
  undo.push(() => api.stop())
  await createBucket(api.url, secrets.secretKey)

  say('page and functions …')
  const appUrl = `http://localhost:${ports.app}`
  const environment = {
    APP_URL: appUrl,
    SUPABASE_URL: api.url,
    SUPABASE_PUBLISHABLE_KEY: secrets.publishableKey,
    SUPABASE_SECRET_KEY: secrets.secretKey,
    SUPABASE_DB_URL: `postgres://tenantkeep_worker:${secrets.workerPassword}@127.0.0.1:${ports.database}/postgres`,
    CRON_SECRET: secrets.cronSecret,
    OPERATOR_SECRET: secrets.operatorSecret,
    BACKUP_SIGNING_KEY: secrets.signingKey,
    BACKUP_STORE: `supabase://${BUCKET}`,
  }
  const site = await serveSite(ports.app, { ...environment, URL: appUrl })
  undo.push(() => site.stop())

  const backup = hasDemo ? await takeDailyBackup(appUrl, secrets.cronSecret) : undefined
  leaving.signal.throwIfAborted()
  const envFile = await writeStackEnv(folder, {
    ...environment,
    ADMIN_DB_URL: adminUrl,
    ...(hasDemo ? describeDemo(secrets) : {}),
  })
  const seconds = ((Date.now() - startedAt) / 1_000).toFixed(1)
  console.log(
    [
      '',
      ...(backup === undefined ? [] : await describeBackup(adminUrl, folder, backup)),
      `Ready after ${seconds} s.`,
      '',
      `  Page          ${appUrl}`,
      `  Supabase API  ${api.url}`,
      `  Postgres      127.0.0.1:${ports.database}`,
      `  All of it     ${envFile} (URLs, keys, logins)`,
      ...(hasDemo ? ['', ...describeLogins(secrets)] : []),
      '',
      'Ctrl-C stops everything; the data stay. npm start -- --reset begins afresh.',
    ].join('\n'),
  )
}

const BUCKET = 'backups'

/** Says what comes next; nothing comes after a signal to stop. */
function say(step: string): void {
  leaving.signal.throwIfAborted()
  console.log(
    `${performance.now() < 9_950 ? ' ' : ''}${(performance.now() / 1_000).toFixed(1)} s  ${step}`,
  )
}

/** Stops what was started, the last first, and ends. A second signal does not cut it short. */
async function leave(status: number): Promise<void> {
  if (leaving.signal.aborted) return
  leaving.abort()
  for (const step of undo.reverse()) {
    await step().catch((error: unknown) => console.error(error))
  }
  process.exit(status)
}

/** npm passes a signal on to its shell, which dies of it and tells nobody. */
function leaveWithParent(): void {
  const parent = process.ppid
  setInterval(() => {
    if (process.ppid !== parent) void leave(0)
  }, 250).unref()
}

async function removeData(folder: string, dataFolder: string): Promise<void> {
  const real = await realpath(dataFolder).catch(() => dataFolder)
  for (const path of [
    real,
    join(folder, 'data'),
    join(folder, 'storage'),
    join(folder, 'secrets.json'),
  ]) {
    await rm(path, { recursive: true, force: true })
  }
}

async function requireFreePorts({ ports }: StackSettings): Promise<void> {
  const names: readonly PortName[] = ['app', 'api', 'database']
  for (const name of names) {
    if (!(await isPortBusy(ports[name]))) continue
    const { variable, what } = PORTS[name]
    throw new CanNotStart(
      `Port ${ports[name]}, for ${what}, is in use by another program. Stop that, or take another port: ${variable}=${ports[name] + 1000} npm start`,
    )
  }
}

async function createBucket(url: string, secretKey: string): Promise<void> {
  const { storage } = createClient(url, secretKey, { auth: { persistSession: false } })
  const { data, error } = await storage.listBuckets()
  if (error !== null) throw error
  if (data.some(({ name }) => name === BUCKET)) return
  const created = await storage.createBucket(BUCKET, { public: false })
  if (created.error !== null) throw created.error
}

const DailyBackup = z.object({
  message: z.string().optional(),
  error: z.object({ message: z.string() }).optional(),
})

/** Calls the real endpoint, as a cron service does, and returns what it says of itself. */
async function takeDailyBackup(appUrl: string, cronSecret: string): Promise<string> {
  say('first backup, through the function …')
  const answer = await fetch(`${appUrl}/.netlify/functions/daily-tenant-backup`, {
    method: 'POST',
    headers: { authorization: `Bearer ${cronSecret}` },
    signal: leaving.signal,
  })
  const text = await answer.text()
  const read = DailyBackup.safeParse(parseJson(text))
  const said = read.data?.error?.message ?? read.data?.message ?? text.slice(0, 300)
  return `daily-tenant-backup answered ${answer.status}: ${said}`
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function describeBackup(adminUrl: string, folder: string, said: string): Promise<string[]> {
  const admin = connectDatabase({ url: adminUrl })
  try {
    const { rows } = await admin.query<{
      name: string
      tables: number
      records: string
      size: string
      id: string
    }>(
      `select distinct on (organization_id) organization_name as name, organization_id as id,
         total_tables as tables, total_records as records, total_size as size
       from public.tenant_backups where status = 'complete'
       order by organization_id, created_at desc`,
    )
    const total = (key: 'records' | 'size') => rows.reduce((sum, row) => sum + Number(row[key]), 0)
    return [
      said,
      '',
      ...rows.map(
        (row) =>
          `  ${row.name.padEnd(32)}${count(row.records).padStart(9)} rows ${megabytes(row.size).padStart(9)}`,
      ),
      `  ${`${rows.length} tenants`.padEnd(32)}${count(total('records')).padStart(9)} rows ${megabytes(total('size')).padStart(9)}`,
      '',
      `Stored in the private bucket «${BUCKET}»; the objects lie in ${join(folder, 'storage', BUCKET)}`,
      '',
    ]
  } finally {
    await admin.close()
  }
}

const count = (value: string | number) => Number(value).toLocaleString('en-US')
const megabytes = (bytes: string | number) => `${(Number(bytes) / 1e6).toFixed(2)} MB`

function personOf(tenant: number, role: DemoRole) {
  const person = listDemoPeople(DEMO_TENANTS).find(
    (candidate) => candidate.tenantId === DEMO_TENANTS[tenant]?.id && candidate.role === role,
  )
  if (person === undefined) throw new Error(`The demonstration has no ${role} in tenant ${tenant}.`)
  return person
}

function describeDemo(secrets: Secrets): Record<string, string> {
  const owner = personOf(0, 'owner')
  const other = personOf(1, 'owner')
  return {
    DEMO_TENANT_ID: owner.tenantId,
    DEMO_OTHER_TENANT_ID: other.tenantId,
    DEMO_OWNER_EMAIL: owner.email,
    DEMO_OWNER_PASSWORD: secrets.demoPassword,
    DEMO_MEMBER_EMAIL: personOf(0, 'member').email,
    DEMO_MEMBER_PASSWORD: secrets.demoPassword,
    DEMO_OTHER_OWNER_EMAIL: other.email,
    DEMO_OTHER_OWNER_PASSWORD: secrets.demoPassword,
  }
}

function describeLogins(secrets: Secrets): string[] {
  const people = [personOf(0, 'owner'), personOf(0, 'member'), personOf(1, 'owner')]
  return [
    `Sign in with one of these and the password ${secrets.demoPassword}`,
    '',
    ...people.map(
      ({ email, role, tenantName }) => `  ${email.padEnd(40)}${role.padEnd(8)}${tenantName}`,
    ),
  ]
}

await main().catch(async (error: unknown) => {
  if (leaving.signal.aborted) return
  const isExpected = error instanceof CanNotStart || error instanceof StackIsRunning
  console.error(isExpected ? error.message : error)
  await leave(isExpected ? 2 : 1)
})
