import { mkdir, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createClient } from '@supabase/supabase-js'
import { describeDemo, describeLogins, listLogins } from './describe-demo.ts'
import { describeBackups, takeDailyBackup } from './first-backup.ts'
import { isPortBusy } from './free-port.ts'
import { runScript } from './hosted-shape.ts'
import { loadDemo, loadDemoOperator, loadDemoTemplate } from './load-demo.ts'
import { hasAllMigrations, pushMigrations } from './migrations.ts'
import { placeDataFolder, startPostgres, stopLeftover } from './postgres.ts'
import { loadSecrets, type Secrets } from './secrets.ts'
import { serveSite } from './serve-site.ts'
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
  // The emulator of the functions drops the error of a function that can't be built; that one function
  // answers with it, and the stack goes on.
  process.on('unhandledRejection', (error) => console.error(error))
  process.on('uncaughtException', (error) => {
    console.error(error)
    void leave(1)
  })

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

  const environment = describeEnvironment(settings, secrets)
  // Vite and the bundler of the functions load beside everything else; the functions are told where
  // things will be.
  const hasDemo = !flags['no-demo']
  const site = serveSite({
    port: ports.app,
    environment,
    logins: hasDemo ? listLogins(secrets.demoPassword) : [],
    builtPageFolder: settings.isPageBuilt ? join(folder, 'page') : undefined,
  })
  site.catch(() => {})
  undo.push(async () => (await site.catch(() => undefined))?.stop())

  say('Postgres 17')
  const postgres = await startPostgres({
    dataFolder: await placeDataFolder(join(folder, 'data')),
    port: ports.database,
    passwords: { supabaseAdmin: secrets.supabaseAdminPassword, postgres: secrets.postgresPassword },
    isDurable: true,
  })
  undo.push(() => postgres.stop())
  const superuserUrl = postgres.url('supabase_admin')
  const adminUrl = postgres.url('postgres')

  say('schemas of Auth and Storage, our migrations')
  await createPlatformSchemas(superuserUrl)
  if (!(await hasAllMigrations(adminUrl))) await pushMigrations(adminUrl, leaving.signal)
  await runScript(adminUrl, `alter role tenantkeep_worker password '${secrets.workerPassword}'`)

  if (hasDemo) {
    say('demonstration application, its tables under protection')
    const target = { adminUrl, superuserUrl, password: secrets.demoPassword }
    await loadDemo(target, settings.demoRows)
    await loadDemoTemplate(adminUrl)
    await loadDemoOperator(target)
  }

  say('Supabase API')
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

  say('page and functions')
  await site

  if (hasDemo) say('first backup of the day, through the function')
  const backup = hasDemo ? await takeDailyBackup(environment, leaving.signal) : undefined
  leaving.signal.throwIfAborted()
  const { URL: _, ...shared } = environment
  const envFile = await writeStackEnv(folder, {
    ...shared,
    ADMIN_DB_URL: adminUrl,
    ...(hasDemo ? describeDemo(secrets.demoPassword) : {}),
  })
  console.log(
    [
      '',
      ...(backup === undefined ? [] : [backup, '', ...(await describeBackups(adminUrl)), '']),
      `Ready after ${((Date.now() - startedAt) / 1_000).toFixed(1)} s.`,
      '',
      `  Page          ${environment.APP_URL}`,
      `  Supabase API  ${api.url}`,
      `  Postgres      127.0.0.1:${ports.database}`,
      `  Backups       bucket «${BUCKET}», private; on disk ${join(folder, 'storage', BUCKET)}`,
      `  All of it     ${envFile} (URLs, keys, logins)`,
      ...(hasDemo ? ['', ...describeLogins(secrets.demoPassword)] : []),
      '',
      'Ctrl-C stops everything; the data stay. npm start -- --reset begins afresh.',
    ].join('\n'),
  )
}

/** What the functions find in their environment. `ADMIN_DB_URL` is never among it. */
function describeEnvironment({ ports }: StackSettings, secrets: Secrets) {
  const appUrl = `http://localhost:${ports.app}`
  return {
    // Netlify's own name for where the site is.
    URL: appUrl,
    APP_URL: appUrl,
    SUPABASE_URL: `http://localhost:${ports.api}`,
    SUPABASE_PUBLISHABLE_KEY: secrets.publishableKey,
    SUPABASE_SECRET_KEY: secrets.secretKey,
    SUPABASE_DB_URL: `postgres://tenantkeep_worker:${secrets.workerPassword}@127.0.0.1:${ports.database}/postgres`,
    CRON_SECRET: secrets.cronSecret,
    OPERATOR_SECRET: secrets.operatorSecret,
    BACKUP_SIGNING_KEY: secrets.signingKey,
    BACKUP_STORE: `supabase://${BUCKET}`,
  }
}

const BUCKET = 'backups'

/** Says what comes next; nothing comes after a signal to stop. */
function say(step: string): void {
  leaving.signal.throwIfAborted()
  console.log(
    `${performance.now() < 9_950 ? ' ' : ''}${(performance.now() / 1_000).toFixed(1)} s  ${step}`,
  )
}

const PATIENCE_MS = 10_000

/**
 * Stops what was started, the last first, and ends. A second signal does not cut it short; a part that does
 * not stop is left to the end of the process.
 */
async function leave(status: number): Promise<void> {
  if (leaving.signal.aborted) return
  leaving.abort()
  for (const step of undo.reverse()) {
    await Promise.race([
      step().catch((error: unknown) => console.error(error)),
      sleep(PATIENCE_MS).then(() =>
        console.error('A part of the stack did not stop by itself; it ends with this process.'),
      ),
    ])
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

await main().catch(async (error: unknown) => {
  if (leaving.signal.aborted) return
  const isExpected = error instanceof CanNotStart || error instanceof StackIsRunning
  console.error(isExpected ? error.message : error)
  await leave(isExpected ? 2 : 1)
})
