import { afterAll, beforeAll, expect, test } from 'vitest'
import { connectDatabase } from '../../../src/core/database/connect-database.ts'
import type { Database } from '../../../src/core/database/database.ts'
import { BackupError } from '../../../src/core/errors.ts'
import type { Store } from '../../../src/core/store/store.ts'
import { servicesOf } from '../../support/backup-services.ts'
import { type DatabaseFault, FaultyDatabase } from '../../support/faulty-database.ts'
import { FaultyStore, type StoreFault } from '../../support/faulty-store.ts'
import { hookDatabase } from '../../support/hooked-database.ts'
import {
  type Attempt,
  createRestoreFaultBench,
  type RestoreFaultBench,
} from '../../support/restore-fault-bench.ts'

/**
 * Every call of a restore and of an undo fails once, in turn. Whatever happens, the tenant is exactly as
 * before or exactly as after, the journal says which, nothing is left behind, and the next run succeeds.
 */
let bench: RestoreFaultBench
beforeAll(async () => {
  bench = await createRestoreFaultBench()
})
afterAll(() => bench?.close())

const DATABASE_FAULTS = ['error', 'after-success', 'cut', 'hang'] as const
const STORE_FAULTS = ['error', 'after-success', 'cut', 'time-out'] as const
/** After so many attempts that failed, one without a fault must succeed. */
const ATTEMPTS_BETWEEN_RUNS = 15
/** The role alone is changed dozens of times, around statements that fail, too. */
const MOST_OF_ONE = process.env.EVERY_FAULT === undefined ? 1 : Number.POSITIVE_INFINITY
const CODES: Record<DatabaseFault['how'], string> = {
  error: 'database_unavailable',
  'after-success': 'database_unavailable',
  cut: 'database_unavailable',
  hang: 'backup_timed_out',
  exit: 'never',
}

async function cutSessions(name: string): Promise<void> {
  await bench.trial.database.superuser.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where application_name = $1 and datname = current_database()`,
    [name],
  )
}

async function attemptWithDatabaseFault(
  call: number,
  how: DatabaseFault['how'],
): Promise<Attempt & { struck: boolean }> {
  const stop = new AbortController()
  const isCut = how === 'cut'
  const worker: Database = isCut
    ? connectDatabase({ url: bench.trial.database.workerUrl, applicationName: 'to be cut' })
    : bench.trial.database.worker
  const faulty = new FaultyDatabase(worker, {
    call,
    how,
    onHang: () => stop.abort(new DOMException('too late', 'TimeoutError')),
    onCut: () => cutSessions('to be cut'),
  })
  const attempt = await bench.attempt(
    servicesOf(faulty, bench.trial.store.store),
    how === 'hang' ? stop.signal : undefined,
  )
  if (isCut) await worker.close()
  return { ...attempt, struck: faulty.struck }
}

/** Every call, by what is asked and how often it was asked before; leaves the tenant as it is. */
async function listDatabaseCalls(): Promise<{ call: number; asked: string; nth: number }[]> {
  const faulty = new FaultyDatabase(bench.trial.database.worker)
  const attempt = await bench.attempt(servicesOf(faulty, bench.trial.store.store))
  expect(attempt.outcome).toBe('complete')
  await bench.expectExact(attempt, 'without a fault')
  await bench.expectNextRunWorks('on the way back')
  const met = new Map<string, number>()
  return faulty.calls.map(({ kind, sql }, index) => {
    const asked = `${kind} ${sql.trim()}`
    const nth = (met.get(asked) ?? 0) + 1
    met.set(asked, nth)
    return { call: index + 1, asked: `${nth}. ${asked}`, nth }
  })
}

async function failOnce(
  given: { isDamaged: boolean; name: string; allowed: readonly string[]; attempts: number },
  fail: () => Promise<Attempt & { struck: boolean }>,
): Promise<string> {
  const { isDamaged, name, allowed, attempts } = given
  const { struck, ...attempt } = await fail()
  expect(struck, name).toBe(true)
  expect(allowed, name).toContain(attempt.outcome)
  await bench.expectExact(attempt, name)
  if (bench.isDamaged() !== isDamaged) await bench.expectNextRunWorks(name)
  else if (attempts % ATTEMPTS_BETWEEN_RUNS === 0) {
    await bench.expectNextRunWorks(name)
    await bench.expectNextRunWorks(`${name}, and back`)
  }
  return attempt.outcome
}

test('every database call of a restore or of an undo fails once', async () => {
  // They share all that follows their beginnings: every second call fails in a restore, the others in an undo.
  const failed = new Set<string>()
  const outcomes = new Set<string>()
  for (const kind of ['restore', 'undo']) {
    const isDamaged = kind === 'restore'
    if (bench.isDamaged() !== isDamaged) await bench.expectNextRunWorks('to begin')
    const calls = await listDatabaseCalls()
    for (const { call, asked, nth } of calls) {
      if (nth > MOST_OF_ONE || (isDamaged ? call % 2 === 0 : failed.has(asked))) continue
      failed.add(asked)
      const how = DATABASE_FAULTS[failed.size % DATABASE_FAULTS.length] ?? 'error'
      const name = `${kind}: ${how} at call ${call}, ${asked.slice(0, 80)}`
      const allowed = ['complete', CODES[how]]
      const outcome = await failOnce({ isDamaged, name, allowed, attempts: failed.size }, () =>
        attemptWithDatabaseFault(call, how),
      )
      outcomes.add(`${how}: ${outcome}`)
    }
  }
  expect([...outcomes]).toEqual(
    expect.arrayContaining(DATABASE_FAULTS.map((how) => `${how}: ${CODES[how]}`)),
  )
}, 600_000)

test.each(['restore', 'undo'] as const)(
  'every store call of a %s fails once',
  async (kind) => {
    const isDamaged = kind === 'restore'
    if (bench.isDamaged() !== isDamaged) await bench.expectNextRunWorks('to begin')
    const probe: FaultyStore & Store = new FaultyStore(bench.trial.store.store)
    const whole = await bench.attempt(servicesOf(bench.trial.database.worker, probe))
    await bench.expectExact(whole, 'without a fault')
    await bench.expectNextRunWorks('on the way back')
    for (const [index, { method }] of probe.calls.entries()) {
      const how = STORE_FAULTS[(index + (isDamaged ? 0 : 2)) % STORE_FAULTS.length] ?? 'error'
      const name = `${kind}: ${how} at store call ${index + 1} (${method})`
      const allowed = ['complete', 'store_unavailable']
      await failOnce({ isDamaged, name, allowed, attempts: index + 1 }, async () => {
        const fault: StoreFault = { call: index + 1, how }
        const faulty: FaultyStore & Store = new FaultyStore(bench.trial.store.store, fault)
        const attempt = await bench.attempt(servicesOf(bench.trial.database.worker, faulty))
        return { ...attempt, struck: faulty.struck }
      })
    }
  },
  300_000,
)

/** With the place of the statement, and whether the restore is done although its answer is lost. */
const DECISIVE: [string, RegExp, number, boolean][] = [
  ['the safety backup is recorded', /^with completed as/, 1, true],
  ['the restore is recorded', /^insert into public\.backup_logs as l/, 1, false],
  [
    'the restore is recorded as complete',
    /^update public\.backup_logs l set\s+status = 'complete'/,
    1,
    false,
  ],
  ['the restore is committed', /^commit$/, 3, true],
]

test.each(DECISIVE)(
  'where %s, a lost answer and a cut leave all or nothing',
  async (_, statement, nth, isDoneWithoutAnswer) => {
    for (const kind of ['restore', 'undo']) {
      if (bench.isDamaged() !== (kind === 'restore')) await bench.expectNextRunWorks('to begin')
      for (const [when, isCut] of [
        ['after', false],
        ['before', true],
        ['after', true],
      ] as const) {
        const worker = connectDatabase({
          url: bench.trial.database.workerUrl,
          applicationName: 'to be cut',
        })
        const act = async () => {
          if (isCut) await cutSessions('to be cut')
          throw new BackupError('database_unavailable', 'The database failed on purpose.')
        }
        const hooked = hookDatabase(worker, [{ when, statement, nth, act }])
        const attempt = await bench.attempt(servicesOf(hooked, bench.trial.store.store))
        await worker.close()
        const name = `${kind}: ${isCut ? 'cut' : 'error'} ${when} ${statement}`
        expect(hooked.acted, name).toEqual([1])
        // Who lost all its sessions may not be able to ask how it ended; the journal knows.
        if (isCut && attempt.outcome !== 'complete') await bench.expectAsRecorded(name)
        else await bench.expectExact(attempt, name)
        const isDone = isDoneWithoutAnswer && when === 'after'
        if (!isCut) expect(attempt.outcome === 'complete', name).toBe(isDone)
        if (bench.isDamaged() !== (kind === 'restore')) await bench.expectNextRunWorks(name)
      }
      await bench.expectNextRunWorks(`${kind} ${statement}`)
    }
  },
  180_000,
)

test('an abandoned attempt leaves no safety backup, and says why', async () => {
  if (!bench.isDamaged()) await bench.expectNextRunWorks('to begin')
  const hooked = hookDatabase(bench.trial.database.worker, [
    {
      when: 'before',
      statement: /hold_references/,
      nth: 1,
      act: async () => {
        throw new BackupError('database_unavailable', 'The database failed on purpose.')
      },
    },
  ])
  const { outcome } = await bench.attempt(servicesOf(hooked, bench.trial.store.store))
  expect(outcome).toBe('database_unavailable')
  const { rows } = await bench.trial.database.admin.query(
    `select b.status, b.error_code, l.status as restore, l.error_code as restore_code
     from public.backup_logs l join public.tenant_backups b on b.id = l.safety_backup_id
     order by l.created_at desc limit 1`,
  )
  expect(rows).toEqual([
    {
      status: 'cancelled',
      error_code: 'database_unavailable',
      restore: 'failed',
      restore_code: 'database_unavailable',
    },
  ])
  const { rows: stamps } = await bench.trial.database.admin.query<{ stamp: string }>(
    `select object_stamp as stamp from public.tenant_backups where status <> 'complete'`,
  )
  const objects = await bench.trial.store.store.list('tenant-backups/')
  expect(objects.filter(({ path }) => stamps.some(({ stamp }) => path.includes(stamp)))).toEqual([])
})
