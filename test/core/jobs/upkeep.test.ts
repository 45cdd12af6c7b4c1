import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { BackupError } from '../../../src/core/errors.ts'
import { chainUpkeep } from '../../../src/core/jobs/chain-upkeep.ts'
import { performUpkeep } from '../../../src/core/jobs/perform-upkeep.ts'
import { withQueue } from '../../../src/core/jobs/queue.ts'
import { runDailyBackup } from '../../../src/core/jobs/run-daily-backup.ts'
import { startUpkeep } from '../../../src/core/jobs/start-upkeep.ts'
import type { UpkeepInput, UpkeepReport, UpkeepTask } from '../../../src/core/jobs/upkeep.ts'
import { findUpkeepRun, openUpkeepRun, queueUpkeep } from '../../../src/core/jobs/upkeep-run.ts'
import { workJobs } from '../../../src/core/jobs/work-jobs.ts'
import type { Services } from '../../../src/core/services.ts'
import { CRON, SYSTEM } from '../../support/backup-services.ts'
import type { TestDatabase } from '../../support/database.ts'
import { createShops, type Shops, soon } from '../../support/shops.ts'

let shops: Shops
let database: TestDatabase
let services: Services

beforeAll(async () => {
  shops = await createShops()
  ;({ database, services } = shops)
})
afterAll(() => shops.close())
beforeEach(async () => {
  await shops.forget()
  await database.admin.query(`delete from tenantkeep.settings where key = 'upkeep_after_daily'`)
})
afterEach(() => shops.killWorkers())

/** Without a second place there is nothing to copy. */
const NIGHTLY: UpkeepTask[] = ['prune', 'verify', 'drill']

const runDaily = (wake = async () => {}) =>
  runDailyBackup(services, { actor: CRON, startedAt: new Date(), budgetMs: 20_000, wake })

const readUpkeep = () =>
  shops.ask<{ kind: string; status: string }>(
    `select kind, status from tenantkeep.runs where kind <> 'daily_tenant'
     order by array_position(array['prune', 'verify', 'copy', 'drill'], kind), created_at`,
  )

const each = (status: string) => NIGHTLY.map((kind) => ({ kind, status }))

describe('a daily run that ends', () => {
  test('is followed by upkeep once a day, however often it is called', async () => {
    let wakes = 0
    const wake = async () => {
      wakes += 1
    }

    const first = await runDaily(wake)
    const second = await runDaily(wake)
    const queued = await readUpkeep()
    await workJobs(services, { until: soon(60) })
    const third = await runDaily(wake)

    expect(first.upkeep).toMatchObject(NIGHTLY.map((task) => ({ task, status: 'running' })))
    expect([second.upkeep, third.upkeep]).toEqual([[], []])
    // The second call wakes once more what the first may have woken in vain.
    expect(wakes).toBe(2)
    expect(queued).toEqual(each('running'))
    expect(await readUpkeep()).toEqual(each('complete'))
  })

  test('whose process died is followed by it as well, once, whoever finds out', async () => {
    await runDaily()
    await database.admin.query(`delete from tenantkeep.runs where kind <> 'daily_tenant'`)
    await database.admin.query('truncate tenantkeep_jobs.job')
    // It died after the last backup and before it was closed.
    await database.admin.query(
      `update tenantkeep.runs set status = 'running', finished_at = null, result = null`,
    )

    await Promise.all([1, 2, 3].map(() => workJobs(services, { until: soon(60) })))

    expect(await readUpkeep()).toEqual(each('complete'))
  })

  test('is followed by nothing that the setting does not name', async () => {
    await shops.set('upkeep_after_daily', ['verify'])
    const one = await runDaily()
    await shops.forget()
    await shops.set('upkeep_after_daily', [])
    const none = await runDaily()
    await shops.forget()
    await shops.set('upkeep_after_daily', ['prune', 'sweep'])
    const senseless = await runDaily()

    expect(one.upkeep.map(({ task }) => task)).toEqual(['verify'])
    expect(none.upkeep).toEqual([])
    // The backups go on, and nothing is removed by a setting that nobody understands.
    expect(senseless).toMatchObject({ status: 'complete', upkeep: [] })
  })

  test('waits with a task whose run of the day before is still open', async () => {
    const { runId } = await openUpkeepRun(database.worker, {
      task: 'verify',
      actor: CRON,
      tenantId: undefined,
    })
    await runDaily()
    const opened = await readUpkeep()
    await workJobs(services, { until: soon(60) })

    expect(opened).toEqual(each('running'))
    expect(await findUpkeepRun(database.worker, runId)).toMatchObject({ status: 'complete' })
    // Its own turn comes when the other is over.
    await Promise.all([1, 2, 3].map(() => chainUpkeep(services)))
    await workJobs(services, { until: soon(60) })
    const verified = (await readUpkeep()).filter(({ kind }) => kind === 'verify')
    expect(verified).toEqual([1, 2].map(() => ({ kind: 'verify', status: 'complete' })))
  })
})

const NOTHING: UpkeepReport = { done: 0, failed: 0, left: 0, details: {} }

/** Opens a run of verification and does turns as `perform` says, until nobody may go on. */
async function takeTurns(
  perform: (input: UpkeepInput, turn: number) => Promise<UpkeepReport>,
  { seconds = 60, signal }: { seconds?: number; signal?: AbortSignal } = {},
) {
  const run = await openUpkeepRun(database.worker, {
    task: 'verify',
    actor: SYSTEM,
    tenantId: undefined,
  })
  let turns = 0
  await withQueue(database.worker, async (queue) => {
    await queueUpkeep(queue, run)
    for (;;) {
      const claimed = await queue.claimUpkeep()
      if (claimed === null) return
      turns += 1
      await performUpkeep(services, queue, claimed, { until: soon(seconds), signal }, (_, input) =>
        perform(input, turns),
      )
      await shops.endWaits()
    }
  })
  return { turns, run: await findUpkeepRun(database.worker, run.runId) }
}

describe('a task of upkeep', () => {
  test('takes turns until nothing is left, and its run has the sum of them', async () => {
    const { turns, run } = await takeTurns(async (_, turn) => ({
      done: 2,
      failed: 0,
      left: 6 - 2 * turn,
      details: { bytes: 10, backups: [turn], is_off: turn === 2 },
    }))

    expect(turns).toBe(3)
    expect(run).toMatchObject({
      status: 'complete',
      report: {
        done: 6,
        failed: 0,
        left: 0,
        details: { bytes: 30, backups: [1, 2, 3], is_off: false },
      },
      error: null,
    })
  })

  test('that gets no further ends, and says what is left', async () => {
    const { turns, run } = await takeTurns(async (_, turn) =>
      turn === 1 ? { ...NOTHING, done: 1, left: 4 } : { ...NOTHING, left: 4 },
    )

    expect(turns).toBe(2)
    expect(run).toMatchObject({ status: 'complete', report: { done: 1, left: 4 } })
  })

  test('of which all items failed for good got further, too', async () => {
    const { turns, run } = await takeTurns(async (_, turn) => ({
      ...{ ...NOTHING, failed: 1, left: 3 - turn },
      hasSettledFailures: true,
    }))

    expect(turns).toBe(3)
    expect(run).toMatchObject({ status: 'failed', report: { done: 0, failed: 3, left: 0 } })
  })

  test('of which items failed is a failed run that did the others', async () => {
    const { run } = await takeTurns(async () => ({ ...NOTHING, done: 3, failed: 1 }))

    expect(run).toMatchObject({
      status: 'failed',
      report: { done: 3, failed: 1 },
      error: { code: 'items_failed', message: 'Failed: 1. The result says which.' },
    })
  })

  test('is tried again after an error that may pass, four times in all', async () => {
    const down = new BackupError('store_unavailable', 'The store does not answer.')
    const once = await takeTurns(async (_, turn) => {
      if (turn === 1) throw down
      return { ...NOTHING, done: 1 }
    })
    const always = await takeTurns(() => Promise.reject(down))

    expect(once).toMatchObject({ turns: 2, run: { status: 'complete' } })
    expect(always).toMatchObject({
      turns: 4,
      run: { status: 'failed', error: { code: 'store_unavailable' } },
    })
  })

  test('fails at once with an error that nobody foresaw, of which nothing is told', async () => {
    const { turns, run } = await takeTurns(() => Promise.reject(new Error('canary-row-3f9a')))

    expect(turns).toBe(1)
    expect(run).toMatchObject({ status: 'failed', error: { code: 'internal' } })
    expect(JSON.stringify(run)).not.toContain('canary')
  })

  test('that its process breaks off goes on elsewhere', async () => {
    const stop = new AbortController()
    const { turns, run } = await takeTurns(
      async ({ signal }, turn) => {
        if (turn > 3) return { ...NOTHING, done: 1 }
        stop.abort()
        throw signal?.reason
      },
      { signal: stop.signal },
    )

    expect(turns).toBe(4)
    expect(run).toMatchObject({ status: 'complete', report: { done: 1 } })
  })

  test('that gets nothing done in a whole turn, again and again, fails in the end', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const { turns, run } = await takeTurns(async () => {
        vi.setSystemTime(Date.now() + 61_000)
        return { ...NOTHING, left: 1 }
      })

      expect(turns).toBe(4)
      expect(run).toMatchObject({ status: 'failed', error: { code: 'backup_timed_out' } })
    } finally {
      vi.useRealTimers()
    }
  })

  test('that was settled meanwhile is not done again', async () => {
    const { turns, run } = await takeTurns(async ({ runId }, turn) => {
      await database.admin.query(
        `update tenantkeep.runs set status = 'failed', finished_at = now(), error_code = 'internal', error_message = 'x' where id = $1`,
        [runId],
      )
      return { ...NOTHING, done: 1, left: 5 - turn }
    })

    expect(turns).toBe(2)
    expect(run?.status).toBe('failed')
  })

  test('tells how it stands', async () => {
    const { run } = await takeTurns(async ({ tell }) => {
      tell?.({ verified: 1 })
      tell?.({ verified: 2 })
      return NOTHING
    })

    expect(run?.progress).toEqual({ verified: 2 })
  })
})

describe('a run of upkeep', () => {
  test('whose job was lost, or its worker, is taken up again', async () => {
    for (const lose of [
      () => database.admin.query('truncate tenantkeep_jobs.job'),
      async () => {
        await withQueue(database.worker, (queue) => queue.claimUpkeep())
        await shops.letHeartbeatsExpire()
        await withQueue(database.worker, (queue) => queue.supervise())
        await shops.endWaits()
      },
    ]) {
      const run = await openUpkeepRun(database.worker, {
        task: 'verify',
        actor: CRON,
        tenantId: undefined,
      })
      await withQueue(database.worker, (queue) => queueUpkeep(queue, run))
      await lose()

      await workJobs(services, { until: soon(30) })

      expect(await findUpkeepRun(database.worker, run.runId)).toMatchObject({ status: 'complete' })
    }
  })

  test('whose every worker died fails', async () => {
    const run = await openUpkeepRun(database.worker, {
      task: 'verify',
      actor: CRON,
      tenantId: undefined,
    })
    await withQueue(database.worker, (queue) => queueUpkeep(queue, run))
    await database.admin.query(
      `update tenantkeep_jobs.job
       set state = 'active', started_on = now(), retry_count = retry_limit, heartbeat_on = now()`,
    )
    await shops.letHeartbeatsExpire()

    await workJobs(services, { until: soon(6) })

    expect(await findUpkeepRun(database.worker, run.runId)).toMatchObject({
      status: 'failed',
      error: { code: 'backup_timed_out' },
    })
  })

  test('that many ask for at once is one, and done once', async () => {
    await runDaily()
    await database.admin.query(`delete from tenantkeep.runs where kind <> 'daily_tenant'`)
    await database.admin.query('truncate tenantkeep_jobs.job')
    let wakes = 0
    const ask = () =>
      startUpkeep(services, 'prune', {
        actor: CRON,
        startedAt: new Date(),
        budgetMs: 20_000,
        wake: async () => {
          wakes += 1
        },
      })

    const runs = await Promise.all([ask(), ask(), ask(), ask()])

    expect(new Set(runs.map(({ runId }) => runId)).size).toBe(1)
    expect(runs.filter(({ status }) => status === 'running').length).toBe(wakes)
    expect((await readUpkeep()).filter(({ kind }) => kind === 'prune')).toEqual([
      { kind: 'prune', status: 'complete' },
    ])
  })

  test('has no time to begin with, so the background is woken', async () => {
    let wakes = 0
    const run = await startUpkeep(services, 'verify', {
      actor: CRON,
      startedAt: new Date(),
      budgetMs: 0,
      wake: async () => {
        wakes += 1
      },
    })

    expect(run).toMatchObject({ status: 'running', report: null })
    expect(wakes).toBe(1)
  })
})
