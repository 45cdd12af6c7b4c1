import { once } from 'node:events'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { findBackup } from '../../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { BackupError } from '../../../src/core/errors.ts'
import { withQueue } from '../../../src/core/jobs/queue.ts'
import { runDailyBackup } from '../../../src/core/jobs/run-daily-backup.ts'
import { startUpkeep } from '../../../src/core/jobs/start-upkeep.ts'
import { UPKEEP_TASKS, type UpkeepTask } from '../../../src/core/jobs/upkeep.ts'
import { findUpkeepRun, openUpkeepRun, queueUpkeep } from '../../../src/core/jobs/upkeep-run.ts'
import { workJobs } from '../../../src/core/jobs/work-jobs.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { ageBackup, pathsOf } from '../../support/aged-backups.ts'
import { CRON, SYSTEM } from '../../support/backup-services.ts'
import { createShops, type Shops, soon, until } from '../../support/shops.ts'

const TENANTS = ['1', '2', '3']

let shops: Shops
beforeAll(async () => {
  shops = await createShops()
  await shops.set('retention', { within_days: 30, last: 1 })
  await shops.set('drills_per_day', 3)
})
afterAll(() => shops.close())
beforeEach(async () => {
  await shops.forget()
  await shops.database.admin.query('truncate tenantkeep.verified_bytes')
  // Of each shop one backup that goes, and two that stay, one of them to be verified again.
  for (const tenantId of TENANTS) {
    for (const days of [50, 20, 0]) {
      await shops.database.admin.query(
        'update public.sales set amount = amount + 1 where shop_id = $1::int',
        [tenantId],
      )
      const { backup } = await takeBackup(shops.services, {
        tenantId,
        backupType: 'manual',
        actor: SYSTEM,
      })
      await ageBackup(shops.database, backup.id, days)
    }
  }
})
afterEach(() => shops.killWorkers())

/** What is to be true once a task was done, whatever happened on the way. */
const EFFECTS: Record<UpkeepTask, () => Promise<void>> = {
  async prune() {
    expect(
      await shops.ask(
        `select organization_id as tenant, count(*)::int as pruned from public.tenant_backups
         where status = 'pruned' group by 1 order by 1`,
      ),
    ).toEqual(TENANTS.map((tenant) => ({ tenant, pruned: 1 })))
    expect(
      await shops.ask(
        `select organization_id as tenant, status from public.backup_logs
         where backup_type = 'prune' order by 1`,
      ),
    ).toEqual(TENANTS.map((tenant) => ({ tenant, status: 'complete' })))
    expect(await shops.ask('select from tenantkeep.doomed_objects')).toEqual([])
  },
  async verify() {
    expect(
      await shops.ask(
        `select from public.tenant_backups
         where status = 'complete' and (verified_at < now() - interval '1 hour' or damaged_at is not null)`,
      ),
    ).toEqual([])
  },
  async copy() {
    expect(
      await shops.ask(
        `select b.id from public.tenant_backups b
         left join tenantkeep.backup_copies c on c.backup_id = b.id and c.status = 'complete'
         where b.status = 'complete' and c.backup_id is null`,
      ),
    ).toEqual([])
    expect(await pathsOf(shops.copy)).toEqual(await pathsOf(shops.store))
  },
  async drill() {
    expect(
      await shops.ask(
        `select organization_id as tenant, count(*)::int as passed from tenantkeep.drills
         where status = 'passed' group by 1 order by 1`,
      ),
    ).toEqual(TENANTS.map((tenant) => ({ tenant, passed: 1 })))
    expect(await shops.ask(`select from tenantkeep.drills where status = 'running'`)).toEqual([])
  },
}

async function expectAllWhole(): Promise<void> {
  const complete = await shops.ask<{ id: string }>(
    `select id from public.tenant_backups where status = 'complete'`,
  )
  for (const { id } of complete) {
    expect((await verifyBackup(shops.services, id)).findings).toEqual([])
  }
}

describe('a worker that is killed in the middle of', () => {
  test.each(UPKEEP_TASKS)('%s leaves it to the next one, who does what is left', async (task) => {
    const { database, copying } = shops
    const run = await openUpkeepRun(database.worker, { task, actor: CRON, tenantId: undefined })
    await withQueue(database.worker, (queue) => queueUpkeep(queue, run))
    const child = shops.startWorker(1, { copies: true })
    // Nobody gets past the second shop's backups; a drill gets as far as the live tables.
    await database.superuser.withConnection(async (session) => {
      await session.query('begin')
      await session.query(
        task === 'drill'
          ? 'lock table public.sales in access exclusive mode'
          : `select from public.tenant_backups where organization_id = '2' for update`,
      )
      await until(async () => (await database.superuser.query(WAITING)).rows.length > 0)
      child.kill('SIGKILL')
      await once(child, 'exit')
      await session.query('rollback')
    })
    const dead = await findUpkeepRun(database.worker, run.runId)
    const early = await startUpkeep(copying, task, {
      actor: CRON,
      startedAt: new Date(),
      wake: async () => {},
    })

    await shops.letHeartbeatsExpire()
    await withQueue(database.worker, (queue) => queue.supervise())
    await shops.endWaits()
    await workJobs(copying, { until: soon(60) })

    expect(dead).toMatchObject({ status: 'running', report: null })
    // While the dead one may still be alive, nobody does the same beside it.
    expect(early).toMatchObject({ runId: run.runId, status: 'running' })
    expect(await findUpkeepRun(database.worker, run.runId)).toMatchObject({
      status: 'complete',
      report: { failed: 0, left: 0 },
    })
    await EFFECTS[task]()
    await expectAllWhole()
  })
})

const WAITING = `select from pg_stat_activity
  where datname = current_database() and usename = 'tenantkeep_worker' and wait_event_type = 'Lock'`

test('two nights at once, every task, restores and two workers: all is done, once, and stays whole', async () => {
  const { copying, database } = shops
  const [target] = await shops.ask<{ id: string }>(
    `select id from public.tenant_backups where organization_id = '1' and taken_at > now() - interval '1 day'`,
  )
  await database.admin.query('update public.sales set amount = -1')
  const before = await readSales()
  const workers = [1, 2].map(() => shops.startWorker(2, { copies: true }))
  const call = () => ({
    actor: CRON,
    startedAt: new Date(),
    budgetMs: 20_000,
    wake: async () => {},
  })

  const [restores] = await Promise.all([
    restoreTwice(target?.id ?? ''),
    runDailyBackup(copying, call()),
    runDailyBackup(copying, call()),
    ...UPKEEP_TASKS.map((task) => startUpkeep(copying, task, call())),
  ])
  await until(
    async () => {
      await shops.endWaits()
      return (await shops.ask(OPEN)).length === 0
    },
    { seconds: 60, everyMs: 300 },
  )
  for (const worker of workers) worker.kill('SIGTERM')
  await Promise.all(workers.map((worker) => once(worker, 'exit')))
  // What was new since a task went round has its turn.
  for (const task of UPKEEP_TASKS) await startUpkeep(copying, task, call())

  expect(restores).toHaveLength(2)
  expect(
    await shops.ask(
      `select kind, status, error_code from tenantkeep.runs where status <> 'complete'`,
    ),
  ).toEqual([])
  expect(
    await shops.ask(
      `select organization_id as tenant, count(*)::int as daily from public.tenant_backups
       where backup_type = 'daily_tenant' and status = 'complete' group by 1 order by 1`,
    ),
  ).toEqual(TENANTS.map((tenant) => ({ tenant, daily: 1 })))
  for (const task of UPKEEP_TASKS) await EFFECTS[task]()
  await expectAllWhole()
  // Shop 1 is as its backup had it, the others are as they were.
  const after = await readSales()
  expect(after.filter(({ shop }) => shop !== 1)).toEqual(before.filter(({ shop }) => shop !== 1))
  expect(after.filter(({ shop, amount }) => shop === 1 && amount === '-1')).toEqual([])
}, 120_000)

const OPEN = `select from tenantkeep.runs where status = 'running'`

const readSales = () =>
  shops.ask<{ id: string; shop: number; amount: string; version: string }>(
    `select id, shop_id as shop, amount::text, xmin::text as version from public.sales order by id`,
  )

/** Restores the first shop, spoils it, and restores it again; each waits until nobody is busy with it. */
async function restoreTwice(backupId: string): Promise<string[]> {
  const done: string[] = []
  while (done.length < 2) {
    try {
      const backup = await findBackup(shops.database.worker, backupId)
      if (backup === undefined) throw new Error('There is no backup.')
      const { restoreId } = await restoreTenant(shops.copying, {
        tenantId: '1',
        source: await openBackup(shops.copying, backup),
        options: DEFAULT_OPTIONS,
        isDryRun: false,
        actor: SYSTEM,
      })
      done.push(restoreId ?? '')
      if (done.length === 1) {
        await shops.database.admin.query('update public.sales set amount = -1 where shop_id = 1')
      }
    } catch (error) {
      if (!(error instanceof BackupError) || !error.canRetry) throw error
    }
  }
  return done
}
