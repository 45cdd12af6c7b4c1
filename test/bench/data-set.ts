import { createHash, randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import * as z from 'zod'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Connection } from '../../src/core/database/database.ts'
import { setWorkerPassword, workerUrl } from '../../src/core/tables/set-worker-password.ts'
import { findFreePort } from '../../src/local/free-port.ts'
import { protectDemo } from '../../src/local/load-demo.ts'
import { applyMigrations, REPOSITORY } from '../../src/local/migrations.ts'
import { placeDataFolder, startPostgres } from '../../src/local/postgres.ts'
import { isProcess } from '../../src/local/processes.ts'
import { createPlatformSchemas } from '../../src/local/supabase-api.ts'
import { createDemoUsers } from '../../supabase/demo/create-demo-users.ts'
import { listDemoPeople, listDemoTenants } from '../../supabase/demo/demo-tenants.ts'
import { generateDemo } from '../../supabase/demo/generate.ts'
import { installDemo } from '../../supabase/demo/install-demo.ts'
import { DEMO_TABLES } from '../../supabase/demo/plan-rows.ts'

/**
 * The one data set of all benchmarks: the demonstration with 4,000,000 rows, made once into a Postgres of
 * its own under `.local/bench` and kept. What it was made from is part of its name for itself: where the
 * generator or a migration has changed since, it is made anew.
 */
export interface DataSet {
  isQuick: boolean
  rows: number
  tenantCount: number
  postgresVersion: string
  tenants: Record<'tenth' | 'usual' | 'fourfold' | 'large', BenchTenant> & {
    small: readonly BenchTenant[]
  }
  superuserUrl: string
  adminUrl: string
  workerUrl: string
  /** Seconds that making it took; null where it was kept from an earlier run. */
  madeIn: number | null
  stop(): Promise<void>
}

export interface BenchTenant {
  id: string
  rows: number
}

export interface DataSetOptions {
  folder: string
  /** A twentieth of everything: for trying out the benchmarks themselves. */
  isQuick: boolean
  /** Throws away what is kept. */
  reset: boolean
  tell: (line: string) => void
}

/** Tenants of 10,000, 200,000, 800,000 and 1,000,000 rows, 200 small ones, three that fill up to 4,000,000. */
const FULL = { tenth: 10_000, usual: 200_000, fourfold: 800_000, large: 1_000_000 }
const SMALL = { count: 200, rows: 500 }
const TOTAL_ROWS = 4_000_000
const FILLERS = 3
const QUICK_DIVISOR = 20
const SEED = 1

/** Boots the data set's Postgres on a free port, making what is missing. One process at a time per folder. */
export async function openDataSet(options: DataSetOptions): Promise<DataSet> {
  const { tell } = options
  const folder = join(options.folder, options.isQuick ? 'quick' : 'full')
  await mkdir(folder, { recursive: true })
  const unlock = await lockFolder(folder)
  const plan = planTenants(options.isQuick)
  const stampFile = join(folder, 'made-from')
  const stamp = await digestSources(plan.sizes)
  const isKept = !options.reset && (await readText(stampFile)) === stamp
  try {
    if (!isKept) await removeCluster(folder, stampFile)
    const dataFolder = await placeDataFolder(join(folder, 'postgres'))
    const passwords = {
      supabaseAdmin: await loadPassword(folder),
      postgres: await loadPassword(folder),
    }
    const postgres = await startPostgres({
      dataFolder,
      port: await findFreePort(),
      passwords,
      isDurable: false,
      // A vacuum in the middle of a measurement would be measured too.
      settings: { autovacuum: 'off', max_connections: '100' },
    })
    const stop = async () => {
      await postgres.stop()
      await unlock()
    }
    try {
      const superuserUrl = postgres.url('supabase_admin', 'postgres')
      const adminUrl = postgres.url('postgres', 'postgres')
      const startedAt = performance.now()
      if (!isKept) {
        tell(
          `Making the data set: ${plan.total.toLocaleString('en')} rows (once; kept in ${folder})`,
        )
        await makeDataSet({ superuserUrl, adminUrl, sizes: plan.sizes })
      }
      await protectDemo(adminUrl)
      const prepared = await prepareWorker(adminUrl, plan.total)
      if (!isKept) await writeFile(stampFile, stamp)
      return {
        isQuick: options.isQuick,
        rows: plan.total,
        tenantCount: plan.sizes.length,
        tenants: plan.tenants,
        superuserUrl,
        adminUrl,
        ...prepared,
        madeIn: isKept ? null : (performance.now() - startedAt) / 1000,
        stop,
      }
    } catch (error) {
      await postgres.stop()
      throw error
    }
  } catch (error) {
    await unlock()
    throw error
  }
}

function planTenants(isQuick: boolean) {
  const divisor = isQuick ? QUICK_DIVISOR : 1
  const total = TOTAL_ROWS / divisor
  const named = Object.values(FULL).map((rows) => rows / divisor)
  const small = Array.from({ length: SMALL.count / divisor }, () => SMALL.rows)
  const left = total - [...named, ...small].reduce((sum, rows) => sum + rows, 0)
  const fillers = Array.from({ length: FILLERS }, () => left / FILLERS)
  const sizes = [...named, ...small, ...fillers].map((rows) => Math.round(rows))
  const [tenth, usual, fourfold, large, ...others] = listDemoTenants(sizes.length).map(
    ({ id }, index): BenchTenant => ({ id, rows: sizes[index] ?? 0 }),
  )
  if (!tenth || !usual || !fourfold || !large) throw new Error('The plan has too few tenants.')
  return {
    total: sizes.reduce((sum, rows) => sum + rows, 0),
    sizes,
    tenants: { tenth, usual, fourfold, large, small: others.slice(0, small.length) },
  }
}

async function makeDataSet({
  superuserUrl,
  adminUrl,
  sizes,
}: {
  superuserUrl: string
  adminUrl: string
  sizes: readonly number[]
}): Promise<void> {
  await createPlatformSchemas(superuserUrl)
  await applyMigrations(adminUrl)
  const admin = connectDatabase({ url: adminUrl, dataSessions: 1 })
  try {
    await admin.withConnection(async (session) => {
      await installDemo(session)
      await createDemoUsers(session, listDemoPeople(listDemoTenants(sizes.length)))
      await generateDemo(session, { seed: SEED, sizes, shape: 'flat' })
      await mixRows(session)
    })
    await admin.withConnection((session) => session.query('vacuum analyze'))
  } finally {
    await admin.close()
  }
}

/**
 * The generator writes one tenant after the other. In an application the rows of all tenants lie mixed on
 * the disk, in the order in which they came, and a tenant of a twentieth of the rows has some on every page.
 */
async function mixRows(session: Connection): Promise<void> {
  const { rows } = await session.query<{ table: string; type: 'uuid' | 'bigint' }>(
    `select c.oid::regclass::text as table, format_type(a.atttypid, -1) as type
     from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'id'
     where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
       and a.atttypid in ('uuid'::regtype, 'bigint'::regtype)
       and c.relname = any ($1)`,
    [DEMO_TABLES],
  )
  await session.query(`set maintenance_work_mem = '512MB'`)
  for (const { table, type } of rows) {
    const hash = type === 'uuid' ? 'uuid_hash(id)' : 'hashint8(id)'
    await session.query(`create index bench_order on ${table} (${hash})`)
    await session.query(`cluster ${table} using bench_order`)
    await session.query('drop index bench_order')
  }
}

/** A new password for the worker, the backups of earlier runs forgotten, the size proven. */
async function prepareWorker(
  adminUrl: string,
  total: number,
): Promise<{ workerUrl: string; postgresVersion: string }> {
  const admin = connectDatabase({ url: adminUrl, dataSessions: 1 })
  try {
    const { rows } = await admin.query<{ total: string; version: string }>(
      `select current_setting('server_version') as version, ${DEMO_TABLES.map((table) => `(select count(*) from public."${table}")`).join(' + ')} as total`,
    )
    if (Number(rows[0]?.total) !== total) {
      throw new Error(
        `The data set has ${rows[0]?.total} rows, not ${total}. Run again with --reset.`,
      )
    }
    await admin.query('truncate public.tenant_backups, public.backup_logs cascade')
    return {
      workerUrl: workerUrl(adminUrl, await setWorkerPassword(admin)),
      postgresVersion: rows[0]?.version ?? 'unknown',
    }
  } finally {
    await admin.close()
  }
}

/** What the rows depend on: sizes, demonstration, migrations. `init` runs anew each time. */
async function digestSources(sizes: readonly number[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([SEED, sizes, 'mixed']))
  for (const folder of ['supabase/migrations', 'supabase/demo']) {
    for (const name of (await readdir(join(REPOSITORY, folder))).sort()) {
      hash.update(name).update(await readFile(join(REPOSITORY, folder, name)))
    }
  }
  return hash.digest('hex')
}

async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const file = join(folder, 'bench.pid')
  const pid = z.coerce
    .number()
    .int()
    .positive()
    .safeParse(await readText(file))
  const isTaken = pid.success && pid.data !== process.pid && (await isProcess(pid.data, ['node']))
  if (isTaken) throw new Error(`Another benchmark works in ${folder} (process ${pid.data}).`)
  await writeFile(file, String(process.pid))
  return () => rm(file, { force: true })
}

/** The cluster may be a link to where the server's user gets in. */
async function removeCluster(folder: string, stampFile: string): Promise<void> {
  await rm(stampFile, { force: true })
  const cluster = join(folder, 'postgres')
  const stats = await lstat(cluster).catch(() => undefined)
  if (stats?.isSymbolicLink() === true) {
    await rm(dirname(await readlink(cluster)), { recursive: true, force: true })
  }
  await rm(cluster, { recursive: true, force: true })
}

async function loadPassword(folder: string): Promise<string> {
  const file = join(folder, 'password')
  const known = await readText(file)
  if (known !== undefined) return known
  const password = randomBytes(18).toString('base64url')
  await writeFile(file, password, { mode: 0o600 })
  await chmod(file, 0o600)
  return password
}

async function readText(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch(() => undefined)
}
