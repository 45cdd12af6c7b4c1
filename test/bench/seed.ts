import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { pino } from 'pino'
import { parseSigningKeys } from '../../src/core/backup/signature.ts'
import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Database } from '../../src/core/database/database.ts'
import { seedTenant } from '../../src/core/defaults/seed-tenant.ts'
import { SeedOptions } from '../../src/core/defaults/seed-types.ts'
import type { Actor, Services } from '../../src/core/services.ts'
import { openStore } from '../../src/core/store/open-store.ts'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { setWorkerPassword, workerUrl } from '../../src/core/tables/set-worker-password.ts'
import { locateInShared } from '../../src/core/tenants/locate-tenant.ts'
import { FaultyDatabase } from '../support/faulty-database.ts'
import { type Figure, figure } from './figure.ts'
import { startApi } from './page-by-page.ts'
import { type ScratchServer, withHost } from './schema.ts'

/** Eight tables of each kind: of the tenant alone, of these, and of those. */
const CHAINS = 8
const ROWS = { whole: 2_000, quick: 240 }
const TENANTS = { whole: 500, quick: 12 }
const ROUNDS = { whole: 5, quick: 2 }
/** How many processes' worth of seedings run at once where there are many. */
const AT_ONCE = 2
const BUDGET_MS = 5 * 60_000
const OPERATOR: Actor = { kind: 'operator', id: null, label: 'benchmark' }
const TEMPLATE = '00000000-0000-4000-8000-000000000000'

const KINDS = ['groups', 'items', 'notes'] as const

/** 24 tables whose rows refer to each other in chains, with a unique name each, as defaults have. */
export function schemaOf(rows: number, tenants: number): string {
  const each = Math.ceil(rows / CHAINS / KINDS.length)
  const chains = Array.from({ length: CHAINS }, (_, at) => {
    const columns = (above: string | null) => `
      id uuid primary key default gen_random_uuid(),
      tenant_id uuid not null references public.tenants (id) on delete cascade,
      name text not null,
      amount numeric(12, 2) not null default 0,
      settings jsonb not null default '{}',
      created_at timestamptz not null default now()
      ${above === null ? '' : `, above_id uuid not null references public.${above}_${at} (id) on delete cascade`},
      unique (tenant_id, name)`
    const fill = (kind: string, above: string | null) => `
      insert into public.${kind}_${at} (tenant_id, name, amount, settings${above === null ? '' : ', above_id'})
      select '${TEMPLATE}', '${kind} ' || i, i, jsonb_build_object('n', i, 'text', repeat('x', 40))
        ${above === null ? '' : ', a.id'}
      from generate_series(1, ${each}) i
      ${above === null ? '' : `join (select id, row_number() over () as n from public.${above}_${at}) a on a.n = i`}`
    return KINDS.map((kind, place) => {
      const above = KINDS[place - 1] ?? null
      return `create table public.${kind}_${at} (${columns(above)});
        ${above === null ? '' : `create index on public.${kind}_${at} (above_id);`} ${fill(kind, above)};`
    }).join('\n')
  })
  return `
    create table public.tenants (id uuid primary key default gen_random_uuid(), name text not null);
    insert into public.tenants values ('${TEMPLATE}', 'template');
    insert into public.tenants (name) select 'tenant ' || i from generate_series(1, ${tenants}) i;
    ${chains.join('\n')}
    grant all on all tables in schema public to service_role;`
}

/** What seeding takes, for one tenant and for many, and what one insert a row through the API takes. */
export async function benchSeed(
  server: ScratchServer,
  { isQuick, tell }: { isQuick: boolean; tell: (line: string) => void },
): Promise<Figure[]> {
  const rows = isQuick ? ROWS.quick : ROWS.whole
  const tenants = isQuick ? TENANTS.quick : TENANTS.whole
  const rounds = isQuick ? ROUNDS.quick : ROUNDS.whole
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-bench-seed-'))
  try {
    // Rounds seed tenants of their own, and so does the insert by row.
    const script = schemaOf(rows, tenants + 4 * rounds + 12)
    return await withHost(server, script, async ({ admin, adminUrl, superuserUrl }) => {
      await protect(admin)
      const url = workerUrl(adminUrl, await setWorkerPassword(admin))
      const worker = connectDatabase({ url, dataSessions: AT_ONCE })
      try {
        const { rows: found } = await admin.query<{ id: string }>(
          `select id from public.tenants where id <> '${TEMPLATE}' order by name`,
        )
        const ids = found.map(({ id }) => id)
        const services = servicesOn(worker, folder)
        const seed = (tenantId: string, isDryRun = false, given = services) =>
          seedTenant(given, { tenantId, options: SeedOptions.parse({}), isDryRun, actor: OPERATOR })
        const next = () => ids.pop() ?? ''
        await seed(next())
        const figures: Figure[] = []
        const one = await repeat(rounds, () => time(() => seed(next())))
        tell(`one tenant: ${one.map((ms) => ms.toFixed(0)).join(', ')} ms`)
        figures.push(figure(`${rows} rows of 24 tables into one tenant`, 'ms', one))
        const known = next()
        await seed(known)
        figures.push(
          figure('  rehearsed', 'ms', await repeat(rounds, () => time(() => seed(next(), true)))),
          figure('  again, nothing new', 'ms', await repeat(rounds, () => time(() => seed(known)))),
        )
        const asked = await countQueries(worker, (counted) =>
          seed(next(), false, servicesOn(counted, folder)),
        )
        figures.push(figure('  queries', 'queries', [asked]))
        const ten = ids.splice(0, 10)
        const forTen = await time(() => seedAll(ten, seed))
        figures.push(figure('into 10 tenants, two at a time', 'ms', [forTen]))
        tell(`ten tenants: ${(forTen / 1000).toFixed(1)} s`)
        const byRow = await insertByRow(
          superuserUrl,
          join(folder, 'api'),
          ids.splice(0, isQuick ? 1 : 2),
        )
        tell(`by row through the API: ${byRow.map((ms) => (ms / 1000).toFixed(1)).join(', ')} s`)
        figures.push(
          figure('one insert a row through supabase-js, one tenant', 'ms', byRow),
          figure(
            '  against seeding',
            '×',
            one.map((ms) => Math.min(...byRow) / ms),
            { atLeast: 20 },
          ),
        )
        const many = ids.slice(0, tenants)
        const startedAt = performance.now()
        const done = await seedAll(many, seed, startedAt + BUDGET_MS)
        const seconds = (performance.now() - startedAt) / 1000
        tell(`${done} tenants: ${seconds.toFixed(0)} s`)
        figures.push(
          figure(`into ${done} tenants, two at a time`, 's', [seconds]),
          figure('  a second', 'tenants/s', [done / seconds]),
        )
        // The tables hold a thousand times as many rows by then.
        figures.push(
          figure(
            'one of the first again, beside these',
            'ms',
            await repeat(rounds, () => time(() => seed(known))),
          ),
        )
        return figures
      } finally {
        await worker.close()
      }
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export async function protect(admin: Database): Promise<void> {
  const report = await initialiseProtection(admin, {
    tenantTable: 'tenants',
    tenantColumns: ['tenant_id'],
    enableRowSecurity: true,
    acceptDefaults: true,
  })
  if (!report.isApplied) throw new Error(JSON.stringify(report.unsettled))
  await admin.query(
    `insert into tenantkeep.settings (key, value) values ('template_tenant', to_jsonb('${TEMPLATE}'::text))`,
  )
  await admin.query(`update tenantkeep.tenant_tables set is_seeded = true where class = 'direct'`)
}

export function servicesOn(worker: Database, folder: string): Services {
  return {
    tenants: locateInShared(worker),
    store: openStore({ url: pathToFileURL(join(folder, 'store')).href }),
    signingKeys: parseSigningKeys({
      current: `bench:${Buffer.alloc(32, 1).toString('base64')}`,
    }),
    log: pino({ level: 'silent' }),
  }
}

/** Seeds them two at a time until the time is up; returns how many were seeded. */
async function seedAll(
  tenants: readonly string[],
  seed: (tenantId: string) => Promise<unknown>,
  until = Number.POSITIVE_INFINITY,
): Promise<number> {
  const left = [...tenants]
  let done = 0
  const work = async () => {
    for (let id = left.pop(); id !== undefined && performance.now() < until; id = left.pop()) {
      await seed(id)
      done += 1
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return done
}

async function countQueries(
  worker: Database,
  use: (database: Database) => Promise<unknown>,
): Promise<number> {
  const counted = new FaultyDatabase(worker)
  await use(counted)
  return counted.calls.filter(({ kind }) => kind !== 'withConnection').length
}

/**
 * The usual way: the rows of the template read through the API, then one insert each, keys made by the client
 * and references followed in a map. It neither remembers nor takes anything back.
 */
async function insertByRow(
  superuserUrl: string,
  storageFolder: string,
  tenants: readonly string[],
): Promise<number[]> {
  const { client, stop } = await startApi(superuserUrl, storageFolder)
  try {
    return await repeatOver(tenants, async (tenantId) => {
      const keys = new Map<unknown, string>()
      for (const kind of KINDS) {
        for (let at = 0; at < CHAINS; at += 1) {
          const table = `${kind}_${at}`
          const { data, error } = await client.from(table).select('*').eq('tenant_id', TEMPLATE)
          if (error !== null) throw new Error(`${table}: ${error.message}`)
          for (const row of data) {
            const id = randomUUID()
            keys.set(row.id, id)
            const above = row.above_id === undefined ? {} : { above_id: keys.get(row.above_id) }
            const inserted = await client
              .from(table)
              .insert({ ...row, ...above, id, tenant_id: tenantId })
            if (inserted.error !== null) throw new Error(`${table}: ${inserted.error.message}`)
          }
        }
      }
    })
  } finally {
    await stop()
  }
}

async function repeatOver(
  tenants: readonly string[],
  work: (tenantId: string) => Promise<void>,
): Promise<number[]> {
  const samples: number[] = []
  for (const tenantId of tenants) samples.push(await time(() => work(tenantId)))
  return samples
}

async function repeat(rounds: number, measure: () => Promise<number>): Promise<number[]> {
  const samples: number[] = []
  for (let round = 0; round < rounds; round += 1) samples.push(await measure())
  return samples
}

async function time(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}
