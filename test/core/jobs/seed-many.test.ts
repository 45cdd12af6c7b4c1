import { afterAll, beforeAll, expect, test } from 'vitest'
import { SeedOptions } from '../../../src/core/defaults/seed-types.ts'
import { runSeeding } from '../../../src/core/jobs/run-seed.ts'
import { findSeedRun } from '../../../src/core/jobs/seed-run.ts'
import { workJobs } from '../../../src/core/jobs/work-jobs.ts'
import { SYSTEM } from '../../support/backup-services.ts'
import { protect } from '../../support/restore-trial.ts'
import { createShops, type Shops, soon, until } from '../../support/shops.ts'

/** 500 are the same thing for minutes. */
const TENANTS = process.env.EVERY_FAULT === undefined ? 120 : 500
/** What the template's rows cost, and no other row. */
const DEFAULT_AMOUNTS = [7001, 7002]

let shops: Shops
beforeAll(async () => {
  shops = await createShops()
  await shops.make(TENANTS)
  await shops.ask(`insert into public.shops values (0, 'Defaults')`)
  await shops.ask('insert into public.sales (shop_id, amount) select 0, unnest($1::int[])', [
    DEFAULT_AMOUNTS,
  ])
  await protect(shops.database, {
    tenantTable: 'public.shops',
    tenantColumns: ['shop_id'],
    templateTenant: '0',
    document: { version: 1, tables: { 'public.sales': { marks: { seeded: true } } } },
  })
})
afterAll(() => shops.close())

/** How many tenants have how many copies of the defaults. */
const spread = () =>
  shops.ask<{ copies: number; tenants: number }>(
    `select copies, count(*)::int as tenants from (
       select s.id, count(p.id) filter (where p.amount = any ($1))::int as copies
       from public.shops s left join public.sales p on p.shop_id = s.id where s.id > 0 group by s.id) c
     group by 1 order by 1`,
    [DEFAULT_AMOUNTS],
  )

const settled = async () =>
  (
    await shops.ask<{ n: number }>(
      `select count(*)::int as n from tenantkeep.run_tenants where status = 'complete'`,
    )
  )[0]?.n ?? 0

test('many tenants are each seeded exactly once, although a worker is killed in the middle', async () => {
  const task = {
    kind: 'seed' as const,
    options: SeedOptions.parse({}),
    ...{ dry_run: false, plan_hash: null, note: null, samples: 0 },
  }
  const { runId } = await runSeeding(shops.services, {
    actor: { ...SYSTEM, kind: 'operator' },
    tenantIds: 'all',
    task,
    needsPlan: false,
    time: { startedAt: new Date(), budgetMs: 0, wake: async () => {} },
  })
  const killed = shops.startWorker(2)
  await until(async () => (await settled()) >= 20)
  killed.kill('SIGKILL')
  const before = await settled()
  await shops.letHeartbeatsExpire()

  await workJobs(shops.services, { until: soon(150), concurrency: 4, runId })
  await shops.letHeartbeatsExpire()
  await shops.endWaits()
  await workJobs(shops.services, { until: soon(60), concurrency: 4, runId })

  expect(before).toBeLessThan(TENANTS)
  expect(await spread()).toEqual([{ copies: DEFAULT_AMOUNTS.length, tenants: TENANTS }])
  const run = await findSeedRun(shops.services.tenants.catalog, runId)
  expect(run?.status).toBe('complete')
  expect(run?.tenants).toHaveLength(TENANTS)
  const journal = await shops.ask<{ tenants: number; rows: number }>(
    `select count(distinct organization_id)::int as tenants, count(*)::int as rows
     from public.backup_logs where backup_type = 'seed_defaults' and status = 'complete'`,
  )
  expect(journal).toEqual([{ tenants: TENANTS, rows: TENANTS }])
}, 240_000)
