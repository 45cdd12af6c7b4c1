import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Database } from '../../../src/core/database/database.ts'
import { reportRun } from '../../../src/core/jobs/report-run.ts'
import { runDailyBackup } from '../../../src/core/jobs/run-daily-backup.ts'
import { startDailyRun } from '../../../src/core/jobs/start-run.ts'
import { workJobs } from '../../../src/core/jobs/work-jobs.ts'
import type { Services } from '../../../src/core/services.ts'
import { CRON } from '../../support/backup-services.ts'
import type { TestDatabase } from '../../support/database.ts'
import { createShops, type Shops, soon, until } from '../../support/shops.ts'

let shops: Shops
let database: TestDatabase
let services: Services

beforeAll(async () => {
  shops = await createShops()
  ;({ database, services } = shops)
  // Here it is about backups alone.
  await shops.set('upkeep_after_daily', [])
})
afterAll(() => shops.close())
beforeEach(() => shops.forget())
afterEach(() => shops.killWorkers())

/** An open daily run whose tenants nobody has worked on. */
async function openRun(): Promise<string> {
  const { runId } = await startDailyRun(database.worker, { actor: CRON })
  return runId
}

async function countBackups(): Promise<{ complete: number; tenants: number; others: number }> {
  const [row] = await shops.ask<{ complete: number; tenants: number; others: number }>(
    `select count(*) filter (where status = 'complete')::int as complete,
            count(distinct organization_id) filter (where status = 'complete')::int as tenants,
            count(*) filter (where status <> 'complete')::int as others
     from public.tenant_backups`,
  )
  return row ?? { complete: 0, tenants: 0, others: 0 }
}

const SLOT_LOCKS = `select count(*)::int as n from pg_locks
  where locktype = 'advisory' and classid = ${0x746b6273} and granted
    and database = (select oid from pg_database where datname = current_database())`

/** `EVERY_FAULT=1` takes as many as a large host has. */
const TENANTS = process.env.EVERY_FAULT === undefined ? 80 : 300

describe('many tenants', () => {
  test('are all backed up, none twice, never more at once than the setting says', async () => {
    await shops.make(TENANTS)
    await shops.set('max_concurrent_backups', 3)
    const runId = await openRun()
    const seen: number[] = []
    const watching = new AbortController()
    const watch = (async () => {
      while (!watching.signal.aborted) {
        const [row] = await shops.ask<{ n: number }>(SLOT_LOCKS)
        seen.push(row?.n ?? 0)
        await sleep(20)
      }
    })()

    const workers = [shops.startWorker(3), shops.startWorker(3)]
    const own = await workJobs(services, { until: soon(200), concurrency: 3 })
    for (const worker of workers) worker.kill('SIGTERM')
    const reports = await Promise.all(workers.map((worker) => reportOf(worker)))
    watching.abort()
    await watch

    expect(await countBackups()).toEqual({ complete: TENANTS, tenants: TENANTS, others: 0 })
    expect(own.settled + reports.reduce((sum, { settled }) => sum + settled, 0)).toBe(TENANTS)
    expect(Math.max(...seen)).toBe(3)
    const report = await reportRun(database.worker, runId)
    expect(report).toMatchObject({
      status: 'complete',
      summary: { total_tenants: TENANTS, successful_tenants: TENANTS, pending_tenants: 0 },
    })
    expect(report.tenants.every(({ attempts }) => attempts === 1)).toBe(true)
    await shops.make(3)
    await database.admin.query('delete from tenantkeep.settings where key = $1', [
      'max_concurrent_backups',
    ])
  }, 240_000)
})

async function reportOf(worker: ChildProcess): Promise<{ settled: number; left: number }> {
  const output = worker.stdout === null ? '' : await text(worker.stdout)
  return JSON.parse(output)
}

describe('a worker', () => {
  test('that is killed in the middle leaves its tenant to the next one', async () => {
    const runId = await openRun()
    const child = shops.startWorker(1)
    // Nobody can read the table, so the backup stops in its middle.
    await database.superuser.withConnection(async (session) => {
      await session.query('begin')
      await session.query('lock table public.sales in access exclusive mode')
      await until(async () => (await shops.ask(RUNNING)).length === 1)
      child.kill('SIGKILL')
      await once(child, 'exit')
      await session.query('rollback')
    })
    const [killed] = await shops.ask<{ tenant: string }>(RUNNING)

    const early = await workJobs(services, { until: soon(2) })
    await shops.letHeartbeatsExpire()
    await workJobs(services, { until: soon(0.5) })
    await shops.endWaits()
    const late = await workJobs(services, { until: soon(20) })

    expect(early).toEqual({ settled: 2, left: 1 })
    expect(late).toEqual({ settled: 1, left: 0 })
    expect(await countBackups()).toEqual({ complete: 3, tenants: 3, others: 1 })
    const [failed] = await shops.ask(
      `select organization_id as tenant, status from public.tenant_backups where status <> 'complete'`,
    )
    expect(failed).toEqual({ tenant: killed?.tenant, status: 'failed' })
    const report = await reportRun(database.worker, runId)
    expect(report.status).toBe('complete')
  })

  test('that is told to stop finishes what it has begun, and takes nothing more', async () => {
    await openRun()
    const child = shops.startWorker(1)
    await database.superuser.withConnection(async (session) => {
      await session.query('begin')
      await session.query('lock table public.sales in access exclusive mode')
      await until(async () => (await shops.ask(RUNNING)).length === 1)
      child.kill('SIGTERM')
      await sleep(200)
      await session.query('rollback')
    })

    const report = await reportOf(child)

    expect(report).toEqual({ settled: 1, left: 2 })
    expect(await countBackups()).toEqual({ complete: 1, tenants: 1, others: 0 })
  })

  test('whose time is up lets go of a backup, and the next one takes it', async () => {
    const runId = await openRun()
    await database.superuser.withConnection(async (session) => {
      await session.query('begin')
      await session.query('lock table public.sales in access exclusive mode')
      await workJobs(services, { until: soon(0.5), cancelAt: soon(1), concurrency: 1 })
      await session.query('rollback')
    })
    const waiting = await reportRun(database.worker, runId)
    await shops.endWaits()

    await workJobs(services, { until: soon(20) })

    expect(waiting.summary).toMatchObject({ pending_tenants: 3, failed_tenants: 0 })
    expect(waiting.tenants.filter(({ error }) => error !== undefined)).toHaveLength(1)
    expect(await countBackups()).toMatchObject({ complete: 3, tenants: 3 })
    expect((await reportRun(database.worker, runId)).status).toBe('complete')
  })

  test('finds the tenants again that lost their job', async () => {
    const runId = await openRun()
    await workJobs(services, { until: soon(0) })
    await database.admin.query('delete from tenantkeep_jobs.job')

    await workJobs(services, { until: soon(20) })

    expect((await reportRun(database.worker, runId)).status).toBe('complete')
  })

  test('closes a run whose worker died between the backup and its record', async () => {
    const runId = await openRun()
    await workJobs(services, { until: soon(20) })
    await database.admin.query(
      `update tenantkeep.run_tenants set status = 'running', settled_at = null, backup_id = null where tenant_id = '2'`,
    )
    await database.admin.query(
      `update tenantkeep.runs set status = 'running', finished_at = null, result = null`,
    )

    const again = await workJobs(services, { until: soon(20) })

    expect(again).toEqual({ settled: 0, left: 0 })
    expect(await reportRun(database.worker, runId)).toMatchObject({
      status: 'complete',
      summary: { successful_tenants: 3 },
    })
    expect(await countBackups()).toEqual({ complete: 3, tenants: 3, others: 0 })
  })

  test('passes over a tenant that was removed since the run began', async () => {
    const runId = await openRun()
    await database.admin.query('delete from public.sales where shop_id = 2')
    await database.admin.query('delete from public.shops where id = 2')

    await workJobs(services, { until: soon(20) })

    await shops.make(3)
    const report = await reportRun(database.worker, runId)
    expect(report).toMatchObject({
      status: 'complete',
      summary: { total_tenants: 2, successful_tenants: 2, skipped_tenants: 1 },
    })
    expect(report.tenants[1]).toMatchObject({ error: { code: 'tenant_not_found' } })
  })

  test('reports a tenant whose every worker died as failed', async () => {
    const runId = await openRun()
    await workJobs(services, { until: soon(0) })
    await database.admin.query(
      `update tenantkeep_jobs.job
       set state = 'active', started_on = now(), retry_count = retry_limit, heartbeat_on = now() - interval '1 minute'
       where singleton_key = 'daily_tenant:2'`,
    )
    await shops.letHeartbeatsExpire()

    await workJobs(services, { until: soon(20) })

    const report = await reportRun(database.worker, runId)
    expect(report).toMatchObject({
      status: 'failed',
      summary: { successful_tenants: 2, failed_tenants: 1 },
    })
    expect(report.tenants.find(({ status }) => status === 'failed')).toMatchObject({
      organization_id: '2',
      error: { code: 'backup_timed_out' },
    })
  })
})

const RUNNING = `select organization_id as tenant from public.tenant_backups where status = 'running'`

describe('the database', () => {
  test('that ends every session in the middle of a run loses no tenant', async () => {
    const report = runDailyBackup(services, {
      actor: CRON,
      startedAt: new Date(),
      budgetMs: 20_000,
      wake: async () => {},
    }).catch((error: unknown) => error)
    await until(async () => (await shops.ask(RUNNING)).length > 0, { everyMs: 5 })
    await killSessions(database.superuser)
    await report

    await shops.letHeartbeatsExpire()
    await workJobs(services, { until: soon(0.5) })
    await shops.endWaits()
    await workJobs(services, { until: soon(20) })

    expect(await countBackups()).toMatchObject({ complete: 3, tenants: 3 })
    const runs = await shops.ask(`select status from tenantkeep.runs`)
    expect(runs).toEqual([{ status: 'complete' }])
  })
})

async function killSessions(superuser: Database): Promise<void> {
  await superuser.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and usename = 'tenantkeep_worker'`,
  )
}
