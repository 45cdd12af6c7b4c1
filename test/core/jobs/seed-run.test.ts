import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { SeedOptions } from '../../../src/core/defaults/seed-types.ts'
import { performSeed } from '../../../src/core/jobs/perform-seed.ts'
import { runSeeding, type SeedCall } from '../../../src/core/jobs/run-seed.ts'
import { findSeedRun, type SeedTask, startSeedRun } from '../../../src/core/jobs/seed-run.ts'
import { workJobs } from '../../../src/core/jobs/work-jobs.ts'
import { SYSTEM } from '../../support/backup-services.ts'
import { protect, refusalOf } from '../../support/restore-trial.ts'
import { createShops, type Shops, soon } from '../../support/shops.ts'

const HOST = { tenantTable: 'public.shops', tenantColumns: ['shop_id'] }
const OPERATOR = { ...SYSTEM, kind: 'operator' as const }

let shops: Shops
beforeAll(async () => {
  shops = await createShops()
  await shops.ask(`insert into public.shops values (0, 'Defaults')`)
  await shops.ask('insert into public.sales (shop_id, amount) values (0, 7001)')
  await protect(shops.database, {
    ...{ ...HOST, templateTenant: '0' },
    document: { version: 1, tables: { 'public.sales': { marks: { seeded: true } } } },
  })
})
afterAll(() => shops.close())
beforeEach(async () => {
  await shops.forget()
  await shops.ask('delete from public.sales where amount = 7001 and shop_id > 0')
  await shops.ask('delete from tenantkeep.seeded_rows')
})

const taskOf = (changes: Partial<SeedTask> = {}): SeedTask => ({
  ...{ kind: 'seed', options: SeedOptions.parse({}), dry_run: false, plan_hash: null },
  ...{ note: null, samples: 0, ...changes },
})

const seed = (given: Partial<SeedCall> & { task?: SeedTask } = {}) =>
  runSeeding(shops.services, {
    ...{ actor: OPERATOR, tenantIds: ['1'], task: taskOf(), needsPlan: false, time: null },
    ...given,
  })

const copies = async () =>
  (
    await shops.ask<{ shop_id: number; n: number }>(
      `select shop_id, count(*)::int as n from public.sales where amount = 7001 and shop_id > 0
       group by 1 order by 1`,
    )
  ).map(({ shop_id, n }) => [shop_id, n])

test('a process that died after the commit is believed, and the tenant is not seeded again', async () => {
  const { runId } = await startSeedRun(shops.services.tenants.catalog, {
    ...{ actor: OPERATOR, task: taskOf(), idempotencyKey: undefined },
    tenants: [{ id: '1', name: 'Shop 1', skipReason: null }],
  })
  const run = { runId, actor: OPERATOR, task: taskOf() }
  await performSeed(shops.services, run, '1')
  // As if the process had died before it could say so; nobody remembers the copies, so a second time would show.
  await shops.ask(
    `update tenantkeep.run_tenants set status = 'running', settled_at = null, result = null`,
  )
  await shops.ask(
    `update tenantkeep.runs set status = 'running', created_at = now() - interval '5 minutes'`,
  )
  await shops.ask('delete from tenantkeep.seeded_rows')

  await workJobs(shops.services, { until: soon(20), runId })

  expect(await copies()).toEqual([[1, 1]])
  const settled = await findSeedRun(shops.services.tenants.catalog, runId)
  expect(settled?.status).toBe('complete')
  expect(settled?.tenants[0]?.result?.warnings[0]?.code).toBe('answer_lost')
  expect(settled?.tenants[0]?.result?.tables).toMatchObject([{ name: 'sales', inserted: 1 }])
})

test('a process that died before it began is done by whoever comes next', async () => {
  const { runId } = await startSeedRun(shops.services.tenants.catalog, {
    ...{ actor: OPERATOR, task: taskOf(), idempotencyKey: undefined },
    tenants: [{ id: '2', name: 'Shop 2', skipReason: null }],
  })
  await shops.ask(`update tenantkeep.runs set created_at = now() - interval '5 minutes'`)

  await workJobs(shops.services, { until: soon(20), runId })

  expect(await copies()).toEqual([[2, 1]])
  expect((await findSeedRun(shops.services.tenants.catalog, runId))?.status).toBe('complete')
})

test('two seedings of one tenant at once leave one set of copies', async () => {
  const runs = await Promise.all([seed(), seed()])

  const outcomes = runs.map(({ tenants: [tenant] }) => tenant?.error?.code ?? tenant?.status)
  expect(outcomes).toContain('complete')
  expect(outcomes.every((outcome) => outcome === 'complete' || outcome === 'tenant_busy')).toBe(
    true,
  )
  expect(await copies()).toEqual([[1, 1]])
})

test('a plan holds for the tenants and the choices that it was made for', async () => {
  const dry = await seed({ tenantIds: ['1', '2'], task: taskOf({ dry_run: true }) })
  const approved = taskOf({ plan_hash: dry.planHash })

  const others = await refusalOf(seed({ tenantIds: ['1', '3'], task: approved }))
  const otherwise = await refusalOf(
    seed({
      tenantIds: ['1', '2'],
      task: { ...approved, options: SeedOptions.parse({ mode: 'overwrite' }) },
    }),
  )
  const unapproved = await refusalOf(seed({ needsPlan: true }))
  const done = await seed({ tenantIds: ['1', '2'], task: approved, needsPlan: true })

  expect([others.code, otherwise.code, unapproved.code]).toEqual([
    ...['plan_stale', 'plan_stale', 'plan_required'],
  ])
  expect(done.status, JSON.stringify(done.tenants.map(({ error }) => error))).toBe('complete')
  expect(await copies()).toEqual([
    [1, 1],
    [2, 1],
  ])
})

test('paused tenants are passed over with their reason, unless they are named', async () => {
  await shops.ask(
    `insert into tenantkeep.paused_tenants (tenant_id, reason, paused_by) values ('3', 'contract ended', 'a test')`,
  )
  const all = await seed({ tenantIds: 'all' })
  const named = await seed({ tenantIds: ['3'] })
  await shops.ask('delete from tenantkeep.paused_tenants')

  expect(all.tenants.map(({ tenantId, status }) => [tenantId, status])).toEqual([
    ['1', 'complete'],
    ['2', 'complete'],
    ['3', 'skipped'],
  ])
  expect(all.tenants[2]?.error?.message).toContain('contract ended')
  expect(named.tenants[0]?.status).toBe('complete')
})

test('init refuses a template that is no tenant, and notes one that only the answers file names', async () => {
  const flag = await refusalOf(protect(shops.database, { ...HOST, templateTenant: '99' }))
  await protect(shops.database, { ...HOST, document: { version: 1, template_tenant: '99' } })
  await protect(shops.database, HOST)

  expect(flag).toMatchObject({ code: 'invalid_request' })
  expect(flag.message).toContain('--template-tenant')
  expect(
    await shops.ask(`select value from tenantkeep.settings where key = 'template_tenant'`),
  ).toEqual([{ value: '0' }])
})
