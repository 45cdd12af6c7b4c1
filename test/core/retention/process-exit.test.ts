import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { forgetTenant } from '../../../src/core/retention/forget-tenant.ts'
import { pruneBackups } from '../../../src/core/retention/prune-backups.ts'
import type { Services } from '../../../src/core/services.ts'
import { copyBackups } from '../../../src/core/store/copy-backups.ts'
import { StoreWithCopy } from '../../../src/core/store/read-with-copy.ts'
import { lockTenant } from '../../../src/core/tenants/lock-tenant.ts'
import { takeAgedBackups } from '../../support/aged-backups.ts'
import {
  CRON,
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import type { Order } from '../../support/remove-in-process.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

/**
 * The process that removes backups from two places dies. Whenever it does, every backup that is still offered is
 * whole in both, and whoever comes next ends what was begun.
 */
let database: TestDatabase
let places: TestStore[]
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  places = [await createTestStore(), await createTestStore()]
  const [first, second] = places
  if (first === undefined || second === undefined) throw new Error('There are no places.')
  services = servicesOf(database.worker, new StoreWithCopy(first.store, second.store))
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('retention', '{"last": 1}')`,
  )
})
afterAll(async () => {
  await database?.drop()
  for (const place of places) await place.remove()
})

const input = () => ({ actor: CRON, runId: null, until: new Date(Date.now() + 60_000) })
const FORGET = { tenantId: BETA, confirmName: 'Beta Rentals', isDryRun: false, actor: SYSTEM }

async function dieInProcess(what: Order['what'], dies: Order['dies']): Promise<string> {
  const order: Order = {
    workerUrl: database.workerUrl,
    storeUrls: [places[0]?.store.url ?? '', places[1]?.store.url ?? ''],
    what,
    tenantId: BETA,
    tenantName: FORGET.confirmName,
    dies,
  }
  const script = new URL('../../support/remove-in-process.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script, JSON.stringify(order)], { stdio: 'ignore' })
  const [code, signal] = await once(child, 'exit')
  return signal ?? String(code)
}

/** What is offered is whole in both places. Returns how many they are. */
async function requireWhole(about: string): Promise<number> {
  const { rows } = await database.admin.query<{ id: string }>(
    `select id from public.tenant_backups where status = 'complete'`,
  )
  for (const { id } of rows) {
    expect(await verifyBackup(services, id), about).toMatchObject({ isIntact: true, findings: [] })
  }
  return rows.length
}

async function requireClosed(about: string): Promise<void> {
  const { rows } = await database.admin.query(
    `select id from public.backup_logs where backup_type in ('prune', 'forget') and status <> 'complete'
     union all select journal_id from tenantkeep.doomed_objects
     union all select id from public.tenant_backups where status = 'pruned' and objects_removed_at is null`,
  )
  expect(rows, about).toEqual([])
}

/** Until Postgres has noticed that the process is dead. */
const waitForLock = (tenantId: string) =>
  database.worker.withConnection((session) => lockTenant(session, tenantId, { waitMs: 20_000 }))

const pathsIn = async ({ store }: TestStore, tenantId: string) =>
  (await store.list(`tenant-backups/${tenantId}/`)).map(({ path }) => path)

const COMMON: [string, Order['dies']][] = [
  ['the commit that takes the backups out', { before: '^commit$' }],
  ['half of the objects are gone from the first place', { removing: 0 }],
  ['it is noted what the first place removed', { before: '^with gone as' }],
  ['half of the objects are gone from the second place', { removing: 1 }],
  ['the journal is closed', { before: '^with open as' }],
]

/** A process for each step takes its time: every third one in turns, all of them where `EVERY_FAULT` is set. */
function sample<T>(steps: readonly T[]): T[] {
  const seed = Math.floor(Date.now() / 1_000)
  const step = process.env.EVERY_FAULT === undefined ? 3 : 1
  return steps.filter((_, index) => (index + seed) % step === 0)
}

test('pruning: wherever it dies, the next run ends it', async () => {
  const steps: typeof COMMON = [['it is written down', { before: "status = 'pruned'" }], ...COMMON]
  for (const [about, dies] of sample(steps)) {
    await takeAgedBackups(database, services, [50, 0])
    // All of before are as old.
    await database.admin.query(
      `update public.tenant_backups set created_at = created_at - interval '2 days'
       where status = 'complete' and id <> (
         select id from public.tenant_backups where status = 'complete' order by taken_at desc limit 1)`,
    )
    await copyBackups(services, input())

    expect(await dieInProcess('prune', dies), about).toBe('SIGKILL')

    await waitForLock(ALPHA)
    expect(await requireWhole(about), about).toBeGreaterThan(0)
    expect(await pruneBackups(services, input()), about).toMatchObject({ failed: 0, left: 0 })
    expect(await requireWhole(about), about).toBe(1)
    await requireClosed(about)
    const [first, second] = await Promise.all(places.map((place) => pathsIn(place, ALPHA)))
    expect(
      first?.filter((path) => path.includes('summary-')),
      about,
    ).toHaveLength(1)
    expect(second, about).toEqual(first)
  }
})

test('erasing: wherever it dies, the same call again or prune ends it', async () => {
  const steps: typeof COMMON = [
    ...COMMON,
    ['the second place has the mark of the erasure', { putting: 1 }],
  ]
  for (const [index, [about, dies]] of sample(steps).entries()) {
    await takeAgedBackups(database, services, [1, 0], BETA)
    await copyBackups(services, input())
    const { length: marks } = (await places[1]?.store.list('tenant-erasures/')) ?? []

    expect(await dieInProcess('forget', dies), about).toBe('SIGKILL')

    await waitForLock(BETA)
    await requireWhole(about)
    const { rows } = await database.admin.query(
      `select from public.tenant_backups where organization_id = $1 and status = 'complete'`,
      [BETA],
    )
    // What did not get as far as the commit has erased nothing; a later one is prune's to end, too.
    if (rows.length > 0 || index % 2 === 0) await forgetTenant(services, FORGET)
    else await pruneBackups(services, input())
    await requireClosed(about)
    for (const place of places) {
      expect(await pathsIn(place, BETA), about).toEqual([])
      expect(await place.store.list('tenant-erasures/'), about).toHaveLength(marks + 1)
    }
  }
})
