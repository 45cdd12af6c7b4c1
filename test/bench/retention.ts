import { listBackups } from '../../src/core/backup/list-backups.ts'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Connection, Database } from '../../src/core/database/database.ts'
import { planPrune, readPremises } from '../../src/core/retention/plan-prune.ts'
import type { Services } from '../../src/core/services.ts'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { setWorkerPassword, workerUrl } from '../../src/core/tables/set-worker-password.ts'
import { listTenantStates } from '../../src/core/tenants/list-tenant-states.ts'
import { monitor } from '../../src/core/watch/monitor.ts'
import { createTestStore, servicesOf, type TestStore } from '../support/backup-services.ts'
import { type Figure, figure } from './figure.ts'
import { type Host, type ScratchServer, time, withHost } from './schema.ts'

const BACKUPS_OF_TENANT = 400
const TENANTS = { whole: [100, 300, 1_000], quick: [20, 50] }
/** Of the monitor, with a month of backups each. */
const WATCHED = { whole: [1_000, 3_000, 10_000], quick: [50, 200] }
const BACKUPS_OF_WATCHED = 30
const CALLS = { whole: 5, quick: 2 }
/** What one more costs in the largest catalog against the smallest: above 1, the cost grows faster. */
const LINEAR = 1.2
/** A page of it costs the same, however large the catalog. */
const CONSTANT = 3

/** What keeping, listing and watching cost as the catalog grows, in time and in statements. */
export async function benchRetention(
  server: ScratchServer,
  { isQuick, tell }: { isQuick: boolean; tell: (line: string) => void },
): Promise<Figure[]> {
  const calls = isQuick ? CALLS.quick : CALLS.whole
  const store = await createTestStore()
  try {
    const catalog = await benchSizes(server, {
      ...{ store, calls, tell, backups: BACKUPS_OF_TENANT },
      sizes: isQuick ? TENANTS.quick : TENANTS.whole,
      subjects: CATALOG,
    })
    const watch = await benchSizes(server, {
      ...{ store, calls, tell, backups: BACKUPS_OF_WATCHED },
      sizes: isQuick ? WATCHED.quick : WATCHED.whole,
      subjects: WATCH,
    })
    return [...catalog, ...watch]
  } finally {
    await store.remove()
  }
}

interface Subject {
  name: string
  /** Whether it looks at the whole catalog, or takes one page of it. */
  growth: 'linear' | 'constant'
  /** 10 unless told. */
  mostStatements?: (tenants: number) => number
  work(services: Services, tenants: number, backups: number): Promise<void>
}

const CATALOG: Subject[] = [
  {
    name: 'plan of prune',
    growth: 'linear',
    // Three for a page of a hundred tenants, and a handful before.
    mostStatements: (tenants) => 10 + Math.ceil(tenants / 100) * 4,
    async work(services, tenants, backups) {
      let decided = 0
      let kept = 0
      for await (const { decisions } of planPrune(services, await readPremises(services))) {
        decided += decisions.length
        kept += decisions.filter(({ isKept }) => isKept).length
      }
      // A month of days and a year of months, as the default rules have it; a month may be in both.
      expectBetween(kept / tenants, 30, 45)
      expectBetween(decided, tenants * backups, tenants * backups)
    },
  },
  {
    name: 'list-backups, first page of all tenants',
    growth: 'constant',
    work: async ({ tenants }) => expectPage(await listBackups(tenants.catalog, {})),
  },
  {
    name: 'list-backups, a page far down',
    growth: 'constant',
    async work({ tenants }) {
      const { rows } = await tenants.catalog.query<{ id: string }>(
        `select id from public.tenant_backups where organization_id = '7' order by created_at limit 1 offset 200`,
      )
      expectPage(await listBackups(tenants.catalog, { cursor: rows[0]?.id ?? '' }))
    },
  },
  {
    name: 'list-backups, first page of one tenant',
    growth: 'constant',
    work: async ({ tenants }) => expectPage(await listBackups(tenants.catalog, { tenantId: '7' })),
  },
  {
    name: 'list-tenants, first page',
    growth: 'linear',
    async work({ tenants }, count) {
      const { total } = await listTenantStates(tenants.catalog, {})
      expectBetween(total, count, count)
    },
  },
]

const WATCH: Subject[] = [
  {
    name: 'monitor',
    growth: 'linear',
    async work(services, count) {
      const { tenants, problems } = await monitor(services)
      expectBetween(tenants.active, count, count)
      expectBetween(problems.length, 0, 0)
    },
  },
]

function expectPage({ backups }: { backups: readonly unknown[] }): void {
  expectBetween(backups.length, 50, 50)
}

function expectBetween(value: number, least: number, most: number): void {
  if (value >= least && value <= most) return
  throw new Error(`${value} is not between ${least} and ${most}: it did something else.`)
}

interface Sizes {
  store: TestStore
  calls: number
  tell: (line: string) => void
  sizes: readonly number[]
  backups: number
  subjects: readonly Subject[]
}

/** A catalog of every size at the same time, so that each round measures all of them in turn. */
async function benchSizes(server: ScratchServer, given: Sizes): Promise<Figure[]> {
  const { sizes, subjects, calls, tell } = given
  const samples = new Map(subjects.map((subject) => [subject, sizes.map((): Cost[] => [])]))
  await withCatalogs(server, given, async (catalogs) => {
    // Once before, unmeasured.
    for (let round = 0; round <= calls; round += 1) {
      for (const [subject, costs] of samples) {
        for (const [i, catalog] of catalogs.entries()) {
          const cost = await measure(subject, catalog, given)
          if (round > 0) costs[i]?.push(cost)
        }
      }
      tell(`round ${round} of ${calls}`)
    }
  })
  return [...samples].flatMap(([subject, costs]) => describe(subject, { ...given, costs }))
}

interface Catalog {
  size: number
  worker: Database
}

async function withCatalogs(
  server: ScratchServer,
  given: Sizes,
  use: (catalogs: readonly Catalog[]) => Promise<void>,
  made: readonly { size: number; host: Host }[] = [],
): Promise<void> {
  const { sizes, backups, store, tell } = given
  const size = sizes[made.length]
  if (size === undefined) return asWorker(made, use)
  await withHost(
    server,
    HOST,
    async (host) => {
      const { isApplied } = await initialiseProtection(host.admin, {
        tenantTable: 'public.tenants',
        tenantColumns: ['tenant_id'],
        enableRowSecurity: true,
      })
      if (!isApplied) throw new Error('The tables of the benchmark have questions.')
      await fillCatalog(host, { size, backups, storeUrl: store.store.url })
      tell(`${size} tenants with ${backups} backups each`)
      await withCatalogs(server, given, use, [...made, { size, host }])
    },
    `bench_${size}`,
  )
}

/** One login serves all databases of a server, so that its password is set once. */
async function asWorker(
  hosts: readonly { size: number; host: Host }[],
  use: (catalogs: readonly Catalog[]) => Promise<void>,
): Promise<void> {
  const [first] = hosts
  if (first === undefined) return
  const password = await setWorkerPassword(first.host.admin)
  const catalogs = hosts.map(({ size, host }) => ({
    size,
    worker: connectDatabase({ url: workerUrl(host.adminUrl, password), dataSessions: 1 }),
  }))
  try {
    await use(catalogs)
  } finally {
    await Promise.all(catalogs.map(({ worker }) => worker.close()))
  }
}

async function measure(
  { work }: Subject,
  { size, worker }: Catalog,
  { backups, store }: Sizes,
): Promise<Cost> {
  const counted = countStatements(worker)
  const services = servicesOf(counted.database, store.store)
  const ms = await time(() => work(services, size, backups))
  return { ms, statements: counted.count() }
}

interface Cost {
  ms: number
  statements: number
}

function describe(
  { name, growth, mostStatements = () => 10 }: Subject,
  { sizes, backups, costs }: Pick<Sizes, 'sizes' | 'backups'> & { costs: readonly Cost[][] },
): Figure[] {
  const [smallest = 0] = sizes
  const largest = sizes.at(-1) ?? 0
  const step = growth === 'linear' ? largest / smallest : 1
  const factors = (costs.at(-1) ?? []).map(
    ({ ms }, call) => ms / step / (costs[0]?.[call]?.ms ?? Number.NaN),
  )
  const title = (size: number) =>
    `${name}, ${size.toLocaleString('en')} tenants × ${backups} backups`
  return [
    ...sizes.map((size, i) => figure(title(size), 'ms', costs[i]?.map(({ ms }) => ms) ?? [])),
    growth === 'linear'
      ? figure(`  a tenant of ${largest} against one of ${smallest}`, '×', factors, {
          atMost: LINEAR,
        })
      : figure(`  of ${largest} tenants against ${smallest}`, '×', factors, { atMost: CONSTANT }),
    figure(
      `  statements for ${largest} tenants`,
      'queries',
      costs.at(-1)?.map(({ statements }) => statements) ?? [],
      { atMost: mostStatements(largest) },
    ),
  ]
}

const HOST = `
  create table public.tenants (id text primary key, name text not null);
  create table public.notes (id bigint generated always as identity primary key,
    tenant_id text not null references public.tenants, body text not null);
  create index on public.notes (tenant_id);
`

/** Rows that go in with one statement, so that none runs into the time limit. */
const ROWS_AT_ONCE = 20_000

/** Makes it so many tenants, each with a complete backup of every day up to now; daily runs and drills, too. */
async function fillCatalog(
  { superuser }: Host,
  { size, backups, storeUrl }: { size: number; backups: number; storeUrl: string },
): Promise<void> {
  const step = Math.ceil(ROWS_AT_ONCE / backups)
  for (let to = step; to < size + step; to += step) {
    await addTenants(superuser, { upTo: Math.min(to, size), backups, storeUrl })
  }
  // All of them were in the last run.
  await superuser.query(
    `update tenantkeep.run_tenants set run_id = (select id from tenantkeep.runs order by created_at desc limit 1)`,
  )
  await superuser.query('vacuum analyze')
}

async function addTenants(
  superuser: Database,
  { upTo, backups, storeUrl }: { upTo: number; backups: number; storeUrl: string },
): Promise<void> {
  await superuser.query(
    `with run as (
       insert into tenantkeep.runs (kind, status, finished_at, actor_kind, actor_label, tenant_ids)
       values ('daily_tenant', 'complete', now(), 'cron', 'cron', '{}') returning id
     ), grown as (
       insert into public.tenants
       select i, 'Tenant ' || i
       from generate_series((select count(*) + 1 from public.tenants), $1::int) i
       returning *
     ), made as (
       insert into public.tenant_backups (
         organization_id, organization_name, backup_type, status, created_at, taken_at, backup_date, completed_at,
         verified_at, run_id, store_url, object_stamp, summary_path, summary_sha256, format_version,
         schema_fingerprint, total_tables, total_records, raw_size, total_size, uploaded_size, actor_kind,
         actor_label, table_rows)
       select t.id, t.name, 'daily_tenant', 'complete', d.at, d.at, (d.at at time zone 'utc')::date,
         d.at + interval '2 seconds', d.at + interval '2 seconds', (select id from run), $3, s.stamp,
         format('tenant-backups/%s/%s/summary-%s.json', t.id, (d.at at time zone 'utc')::date, s.stamp),
         md5(s.stamp) || md5(t.id), 1, md5('shape'), 40, 22000, 5000000, 1000000, 50000, 'cron', 'cron',
         '{"notes": 22000}'
       from grown t cross join generate_series(0, $2::int - 1) as n
       cross join lateral (select now() - interval '5 minutes' - n * interval '1 day' as at) d
       cross join lateral (select to_char(d.at, 'YYYYMMDD"T"HH24MISS') || '000Z-' || left(md5(t.id), 8) as stamp) s
       returning id, organization_id, organization_name, created_at
     ), outcomes as (
       insert into tenantkeep.run_tenants (run_id, tenant_id, tenant_name, status, backup_id, settled_at)
       select distinct on (organization_id) (select id from run), organization_id, organization_name, 'complete',
         id, now()
       from made order by organization_id, created_at desc
     )
     insert into tenantkeep.drills (id, organization_id, backup_id, in_rotation, status, finished_at, rows, bytes,
       duration_ms)
     select distinct on (organization_id) gen_random_uuid(), organization_id, id, true, 'passed', now(), 22000,
       1000000, 2000
     from made order by organization_id, created_at desc`,
    [upTo, backups, storeUrl],
  )
}

/** A database that counts what it is asked. */
function countStatements(database: Database) {
  let count = 0
  const counting = (session: Connection): Connection => ({
    query(sql, params) {
      count += 1
      return session.query(sql, params)
    },
    copyOut: (sql) => session.copyOut(sql),
    copyIn: (sql) => session.copyIn(sql),
  })
  const counted: Database = {
    query(sql, params) {
      count += 1
      return database.query(sql, params)
    },
    withConnection: (use) => database.withConnection((session) => use(counting(session))),
    close: () => database.close(),
  }
  return {
    database: counted,
    count: () => count,
  }
}
