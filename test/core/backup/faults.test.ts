import { afterAll, beforeAll, expect, test } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { connectDatabase } from '../../../src/core/database/connect-database.ts'
import type { Database } from '../../../src/core/database/database.ts'
import { BackupError } from '../../../src/core/errors.ts'
import type { Store } from '../../../src/core/store/store.ts'
import { servicesOf } from '../../support/backup-services.ts'
import { createFaultBench, type FaultBench, MANUAL } from '../../support/fault-bench.ts'
import {
  type DatabaseCall,
  type DatabaseFault,
  FaultyDatabase,
} from '../../support/faulty-database.ts'
import { FaultyStore, type StoreFault, type StoreMethod } from '../../support/faulty-store.ts'

/**
 * Every call to the database and to the store fails once, in turn. Whatever happens, a backup that says
 * complete has all its objects, no attempt stays without a reason, and the next run succeeds.
 */
const DATABASE_KINDS: DatabaseCall[] = [
  'query',
  'withConnection',
  'session.query',
  'copyOut',
  'copyIn',
]
const STORE_METHODS: StoreMethod[] = ['check', 'put', 'get', 'list', 'remove']

let bench: FaultBench
beforeAll(async () => {
  bench = await createFaultBench()
})
afterAll(() => bench?.close())

/** One attempt with a fault; says how it ended. */
async function attempt(
  worker: Database,
  faulty: { database?: DatabaseFault; store?: StoreFault },
  signal?: AbortSignal,
): Promise<{ outcome: string; struck: boolean }> {
  await bench.arrange()
  const faultyDatabase = new FaultyDatabase(worker, faulty.database ?? null)
  const faultyStore: FaultyStore & Store = new FaultyStore(bench.store.store, faulty.store ?? null)
  const outcome = await takeBackup(servicesOf(faultyDatabase, faultyStore), {
    ...MANUAL,
    waitMs: 10_000,
    ...(signal === undefined ? {} : { signal }),
  }).then(
    ({ status }) => status,
    (error) => (error instanceof BackupError ? error.code : `not a BackupError: ${error}`),
  )
  return { outcome, struck: faultyDatabase.struck || faultyStore.struck }
}

/** The kinds in turn, call by call; where `EVERY_FAULT` is set, as often as there are kinds, each beginning with another. */
function turnsOf(kinds: readonly unknown[]): number[] {
  return process.env.EVERY_FAULT === undefined ? [0] : kinds.map((_, turn) => turn)
}

const DATABASE_FAULTS = ['error', 'after-success'] as const
const STORE_FAULTS = ['error', 'after-success', 'cut'] as const

test.each(turnsOf(DATABASE_FAULTS))(
  'every database call fails once (turn %s)',
  async (turn) => {
    const { database: probe } = await bench.countCalls()
    const outcomes = new Set<string>()
    for (let call = 1; call <= probe.calls.length; call += 1) {
      const how = DATABASE_FAULTS[(call + turn) % DATABASE_FAULTS.length] ?? 'error'
      const { outcome, struck } = await attempt(bench.database.worker, { database: { call, how } })
      const name = `${how} at database call ${call} (${probe.calls[call - 1]?.sql.slice(0, 60)})`
      expect(struck, name).toBe(true)
      expect(['complete', 'database_unavailable'], name).toContain(outcome)
      outcomes.add(outcome)
      await bench.requireHealthy(name)
    }
    expect(outcomes).toContain('database_unavailable')
  },
  240_000,
)

test.each(turnsOf(STORE_FAULTS))(
  'every store call fails once (turn %s)',
  async (turn) => {
    const { store: probe } = await bench.countCalls()
    expect(new Set(probe.calls.map((call) => call.method))).toEqual(new Set(STORE_METHODS))
    for (let call = 1; call <= probe.calls.length; call += 1) {
      const how = STORE_FAULTS[(call + turn) % STORE_FAULTS.length] ?? 'error'
      const { outcome, struck } = await attempt(bench.database.worker, { store: { call, how } })
      const name = `${how} at store call ${call} (${probe.calls[call - 1]?.method})`
      expect(struck, name).toBe(true)
      expect(['complete', 'store_unavailable'], name).toContain(outcome)
      await bench.requireHealthy(name)
    }
  },
  240_000,
)

test.each(DATABASE_KINDS)(
  'a database that never answers (%s) is given up in time',
  async (kind) => {
    const stop = new AbortController()
    const onHang = () => {
      setTimeout(() => stop.abort(new DOMException('too late', 'TimeoutError')), 50)
    }
    const { outcome, struck } = await attempt(
      bench.database.worker,
      { database: { call: kind === 'query' ? 4 : 1, kind, how: 'hang', onHang } },
      stop.signal,
    )
    expect([outcome, struck]).toEqual(['backup_timed_out', true])
    await bench.requireHealthy(kind)
  },
)

test.each(DATABASE_KINDS)(
  'a database connection that is cut (%s) is recorded',
  async (kind) => {
    const { database: probe } = await bench.countCalls()
    const calls = probe.calls.filter((call) => call.kind === kind).length
    for (const call of new Set([1, Math.ceil(calls / 2), calls])) {
      const worker = connectDatabase({
        url: bench.database.workerUrl,
        applicationName: 'to be cut',
      })
      const onCut = async () => {
        await bench.database.superuser.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'to be cut' and datname = current_database()`,
        )
      }
      const { outcome, struck } = await attempt(worker, {
        database: { call, kind, how: 'cut', onCut },
      })
      await worker.close()
      expect(struck).toBe(true)
      expect(['complete', 'database_unavailable'], `${kind} ${call}`).toContain(outcome)
      await bench.requireHealthy(`${kind} ${call} cut`)
    }
  },
  120_000,
)

test.each(STORE_METHODS)('a store that times out (%s) is recorded', async (method) => {
  const { outcome, struck } = await attempt(bench.database.worker, {
    store: { call: 1, method, how: 'time-out' },
  })
  expect(struck).toBe(true)
  expect(['complete', 'store_unavailable']).toContain(outcome)
  await bench.requireHealthy(method)
})

test('a store that never answers is given up in time', async () => {
  const stop = new AbortController()
  const silent: Store = {
    ...bind(bench.store.store),
    put: () => {
      setTimeout(() => stop.abort(new DOMException('too late', 'TimeoutError')), 50)
      return new Promise(() => {})
    },
  }
  await bench.arrange()
  await expect(
    takeBackup(servicesOf(bench.database.worker, silent), { ...MANUAL, signal: stop.signal }),
  ).rejects.toMatchObject({ code: 'backup_timed_out' })
  await bench.requireHealthy('a silent store')
})

function bind(inner: Store): Store {
  return {
    url: inner.url,
    check: () => inner.check(),
    put: (...given) => inner.put(...given),
    get: (...given) => inner.get(...given),
    stat: (path) => inner.stat(path),
    remove: (paths) => inner.remove(paths),
    list: (prefix) => inner.list(prefix),
  }
}

test('where the database is gone altogether, the next run records the crash', async () => {
  await bench.arrange()
  let isGone = false
  const { worker, superuser } = bench.database
  const control: Database = {
    ...worker,
    query: (sql, params) =>
      isGone
        ? Promise.reject(new BackupError('database_unavailable', 'Gone.'))
        : worker.query(sql, params),
  }
  const gone = new FaultyDatabase(control, {
    call: 2,
    kind: 'copyOut',
    how: 'cut',
    onCut: async () => {
      isGone = true
      await superuser.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'test worker' and datname = current_database()`,
      )
    },
  })
  await expect(takeBackup(servicesOf(gone, bench.store.store), MANUAL)).rejects.toMatchObject({
    code: 'database_unavailable',
  })
  const { rows } = await bench.database.admin.query(
    `select 1 from public.tenant_backups where status = 'running'`,
  )
  expect(rows).toHaveLength(1)
  await bench.requireHealthy('the database is gone')
})
