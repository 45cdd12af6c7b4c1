import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Connection, Database } from '../../src/core/database/database.ts'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { readTableFingerprints } from '../../src/core/tables/read-fingerprint.ts'
import { readProtectedTables } from '../../src/core/tables/read-protected-tables.ts'
import { setWorkerPassword, workerUrl } from '../../src/core/tables/set-worker-password.ts'
import { findFreePort } from '../../src/local/free-port.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { startPostgres } from '../../src/local/postgres.ts'
import { createPlatformSchemas } from '../../src/local/supabase-api.ts'
import { generateSchema } from '../odd-schemas/generate-schema.ts'
import { type Figure, figure, median } from './figure.ts'

/** An empty Postgres that is thrown away afterwards. */
export interface ScratchServer {
  postgresVersion: string
  superuserUrl(database: string): string
  adminUrl(database: string): string
  stop(): Promise<void>
}

const ROUNDS = { whole: 5, quick: 2 }
const SIZES = { whole: [24, 100, 300], quick: [12, 24] }
/** Per table, the largest schema against the smallest: above 1, the cost grows faster than the schema. */
const LINEAR = 1.2
const SEED = 1

const TENANTS = 200
const TASKS_OF_TENANT = 45
const ENTRIES_OF_TASK = { whole: 200, quick: 10 }
const READS_BEFORE = 1
const CALLS = 5

/** Boots the server in a folder of its own below the system's temporary one. */
export async function openScratchServer(): Promise<ScratchServer> {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-bench-schema-'))
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    // The server's user must get in, where this runs as root.
    await chmod(folder, 0o711)
    const postgres = await startPostgres({
      dataFolder: join(folder, 'postgres'),
      port: await findFreePort(),
      passwords: { supabaseAdmin: 'bench-admin', postgres: 'bench-owner' },
      isDurable: false,
      settings: { autovacuum: 'off', max_connections: '40' },
    })
    // What a platform brings lies in the database from which the hosts are copied.
    await createPlatformSchemas(postgres.url('supabase_admin', 'postgres'))
    const superuser = connectDatabase({
      url: postgres.url('supabase_admin', 'template1'),
      dataSessions: 1,
    })
    const { rows } = await superuser
      .query<{ version: string }>(`select current_setting('server_version') as version`)
      .finally(() => superuser.close())
    return {
      postgresVersion: rows[0]?.version ?? 'unknown',
      superuserUrl: (database) => postgres.url('supabase_admin', database),
      adminUrl: (database) => postgres.url('postgres', database),
      stop: async () => {
        await postgres.stop()
        await remove()
      },
    }
  } catch (error) {
    await remove()
    throw error
  }
}

/** What schemas of several sizes cost, and what our policies add to reading a table far from its tenant. */
export async function benchSchema(
  server: ScratchServer,
  { isQuick, tell }: { isQuick: boolean; tell: (line: string) => void },
): Promise<Figure[]> {
  return [
    ...(await benchSizes(server, { isQuick, tell })),
    ...(await benchGrandchild(server, { isQuick, tell })),
  ]
}

const MEASURED = ['init', 'census', 'fingerprint'] as const
type Costs = Record<(typeof MEASURED)[number], number>

/** Each round makes a new database of every size, so that `init` always has everything to do. */
async function benchSizes(
  server: ScratchServer,
  { isQuick, tell }: { isQuick: boolean; tell: (line: string) => void },
): Promise<Figure[]> {
  const rounds = isQuick ? ROUNDS.quick : ROUNDS.whole
  const sizes = isQuick ? SIZES.quick : SIZES.whole
  const costs = new Map<number, Costs[]>(sizes.map((size) => [size, []]))
  // Once before, unmeasured: the server's caches, our compiled code.
  await measureSize(server, sizes[0] ?? 0)
  for (let round = 1; round <= rounds; round += 1) {
    for (const [size, samples] of costs) samples.push(await measureSize(server, size))
    const last = [...costs].map(([size, samples]) => `${size}: ${samples.at(-1)?.init.toFixed(0)}`)
    tell(`round ${round} of ${rounds}, init of ${last.join(', ')} ms`)
  }
  const [smallest = 0] = sizes
  const largest = sizes.at(-1) ?? 0
  return MEASURED.flatMap((what) => {
    const of = (size: number) => (costs.get(size) ?? []).map((cost) => cost[what])
    const perTable = of(largest).map(
      (ms, round) => ms / largest / ((of(smallest)[round] ?? Number.NaN) / smallest),
    )
    return [
      ...sizes.map((size) => figure(`${what}, ${size} tables`, 'ms', of(size))),
      figure(`  a table of ${largest} against one of ${smallest}`, '×', perTable, {
        atMost: LINEAR,
      }),
    ]
  })
}

async function measureSize(server: ScratchServer, size: number): Promise<Costs> {
  const schema = generateSchema({ tables: size, seed: SEED })
  return withHost(server, schema.sql, async ({ admin, adminUrl }) => {
    const init = await time(async () => {
      const { isApplied } = await initialiseProtection(admin, {
        ...schema.options,
        choices: new Map([['enable_rls', 'yes']]),
        acceptDefaults: true,
      })
      if (!isApplied) throw new Error('The generated schema has questions without a default.')
    })
    return withWorker(admin, adminUrl, (worker) =>
      worker.withConnection(async (connection) => {
        const [tenant] = schema.tenants
        const census = () =>
          connection.query('select count(*) from tenantkeep.census($1)', [tenant])
        return {
          init,
          census: await timeOften(census),
          fingerprint: await timeOften(() => readTableFingerprints(connection)),
        }
      }),
    )
  })
}

/** Entries of tasks of projects of tenants; those of one tenant lie among all the others. */
const GRANDCHILD = `
  create table tenants (id int primary key, name text not null);
  create table projects (id int primary key, tenant_id int not null references tenants);
  create table tasks (id int primary key, project_id int not null references projects);
  create table entries (id bigint primary key, task_id int not null references tasks, note text not null);
  create index on projects (tenant_id);
  create index on tasks (project_id);
  alter table tenants enable row level security;
  alter table projects enable row level security;
  alter table tasks enable row level security;
  alter table entries enable row level security;
  insert into tenants select i, 'Tenant ' || i from generate_series(1, ${TENANTS}) i;
  insert into projects select i, 1 + i % ${TENANTS} from generate_series(1, ${TENANTS * 5}) i;
  insert into tasks select i, 1 + i % ${TENANTS * 5} from generate_series(1, ${TENANTS * TASKS_OF_TENANT}) i;
`

async function benchGrandchild(
  server: ScratchServer,
  { isQuick, tell }: { isQuick: boolean; tell: (line: string) => void },
): Promise<Figure[]> {
  const rounds = isQuick ? ROUNDS.quick : ROUNDS.whole
  const ofTenant = TASKS_OF_TENANT * (isQuick ? ENTRIES_OF_TASK.quick : ENTRIES_OF_TASK.whole)
  const all = ofTenant * TENANTS
  const script = `${GRANDCHILD}
    insert into entries
    select i, 1 + i % ${TENANTS * TASKS_OF_TENANT}, 'entry ' || md5(i::text)
    from generate_series(1, ${all}) i`
  const size = `${ofTenant.toLocaleString('en')} of ${all.toLocaleString('en')} rows`
  return withHost(server, script, async ({ admin, adminUrl, superuser }) => {
    const { isApplied } = await initialiseProtection(admin, {
      tenantTable: 'public.tenants',
      tenantColumns: ['tenant_id'],
    })
    if (!isApplied) throw new Error('The tables of the benchmark have questions.')
    return withWorker(admin, adminUrl, async (worker) => {
      const figures: Figure[] = []
      for (const isIndexed of [true, false]) {
        if (isIndexed) await admin.query('create index entries_of_task on public.entries (task_id)')
        else await admin.query('drop index public.entries_of_task')
        await superuser.query('vacuum analyze')
        const byHand: number[] = []
        const confined: number[] = []
        for (let round = 1 - READS_BEFORE; round <= rounds; round += 1) {
          const hand = await superuser.withConnection((session) => readByHand(session, ofTenant))
          const ours = await worker.withConnection((session) => readConfined(session, ofTenant))
          if (round < 1) continue
          byHand.push(hand)
          confined.push(ours)
        }
        tell(`${size}, index: ${isIndexed}`)
        const how = isIndexed ? 'with the index' : 'without the index'
        figures.push(
          figure(`${size} ${how}, by hand as superuser`, 'ms', byHand),
          figure('  through the policies', 'ms', confined),
          figure(
            '  against the query by hand',
            '×',
            confined.map((ms, round) => ms / (byHand[round] ?? Number.NaN)),
            { atMost: 1.5 },
          ),
        )
      }
      return figures
    })
  })
}

async function readByHand(session: Connection, expected: number): Promise<number> {
  return timeRead(session, expected, {
    text: `select count(*)::int as rows, sum(length(e.note)) from public.entries e
      join public.tasks t on t.id = e.task_id join public.projects p on p.id = t.project_id
      where p.tenant_id = 1`,
  })
}

/** As a backup reads: the operator, the tenant set, the policies, and the condition once more. */
async function readConfined(session: Connection, expected: number): Promise<number> {
  const tables = await readProtectedTables(session)
  const entries = tables.find(({ label }) => label === 'entries')
  if (entries === undefined) throw new Error('The table of the benchmark is not under protection.')
  await session.query('begin isolation level repeatable read read only')
  try {
    await session.query('set local role tenantkeep_operator')
    await session.query(`select set_config('tenantkeep.tenant', '1', true)`)
    return await timeRead(session, expected, {
      text: `select count(*)::int as rows, sum(length(note)) ${entries.from} where ${entries.rowExpression}`,
    })
  } finally {
    await session.query('rollback')
  }
}

/** Milliseconds; throws where other rows were read than meant. */
async function timeRead(
  session: Connection,
  expected: number,
  { text }: { text: string },
): Promise<number> {
  let read: number | undefined
  const ms = await time(async () => {
    const { rows } = await session.query<{ rows: number }>(text)
    read = rows[0]?.rows
  })
  if (read !== expected) throw new Error(`${read} rows were read, not ${expected}.`)
  return ms
}

export interface Host {
  admin: Database
  adminUrl: string
  superuser: Database
  superuserUrl: string
}

/** A database of its own with these tables, dropped afterwards. */
export async function withHost<T>(
  server: ScratchServer,
  script: string,
  use: (host: Host) => Promise<T>,
  name = 'bench_schema',
): Promise<T> {
  await runScript(
    server.superuserUrl('template1'),
    `create database ${name} owner postgres template postgres`,
  )
  const adminUrl = server.adminUrl(name)
  await runScript(adminUrl, script)
  const admin = connectDatabase({ url: adminUrl, dataSessions: 1 })
  const superuser = connectDatabase({ url: server.superuserUrl(name), dataSessions: 1 })
  try {
    await superuser.query('vacuum analyze')
    return await use({ admin, adminUrl, superuser, superuserUrl: server.superuserUrl(name) })
  } finally {
    await Promise.all([admin.close(), superuser.close()])
    await runScript(server.superuserUrl('template1'), `drop database ${name} with (force)`)
  }
}

async function withWorker<T>(
  admin: Database,
  adminUrl: string,
  use: (worker: Database) => Promise<T>,
): Promise<T> {
  const worker = connectDatabase({
    url: workerUrl(adminUrl, await setWorkerPassword(admin)),
    dataSessions: 1,
  })
  try {
    return await use(worker)
  } finally {
    await worker.close()
  }
}

/** The median of several calls in a warm session. */
async function timeOften(work: () => Promise<unknown>): Promise<number> {
  await work()
  const samples: number[] = []
  for (let call = 0; call < CALLS; call += 1) samples.push(await time(work))
  return median(samples)
}

/** Milliseconds. */
export async function time(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}
