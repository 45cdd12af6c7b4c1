import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Backup, findBackup } from '../../../src/core/backup/backup-record.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { pruneBackups } from '../../../src/core/retention/prune-backups.ts'
import type { Services } from '../../../src/core/services.ts'
import { copyBackups } from '../../../src/core/store/copy-backups.ts'
import { StoreWithCopy } from '../../../src/core/store/read-with-copy.ts'
import { clearRetention, takeAgedBackups } from '../../support/aged-backups.ts'
import { CRON, createTestStore, servicesOf, type TestStore } from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { type Hook, hookDatabase } from '../../support/hooked-database.ts'
import { installSmallHost } from '../../support/small-host.ts'

/** Somebody prunes, or copies as well, at a named statement of a copy. */
let database: TestDatabase
let first: TestStore
let second: TestStore
let services: Services
let old: Backup
let newest: Backup
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
beforeEach(async () => {
  first = await createTestStore()
  second = await createTestStore()
  services = servicesOf(database.worker, new StoreWithCopy(first.store, second.store))
  await clearRetention(database)
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('retention', '{"last": 1}')`,
  )
  const [one, other] = await takeAgedBackups(database, services, [50, 0])
  if (one === undefined || other === undefined) throw new Error('There are no backups.')
  old = one
  newest = other
  return async () => {
    await first.remove()
    await second.remove()
  }
})
afterAll(() => database?.drop())

const input = () => ({ actor: CRON, runId: null, until: new Date(Date.now() + 60_000) })
const prune = () => pruneBackups(services, input())
const copy = (...hooks: Hook[]) =>
  copyBackups(
    servicesOf(hookDatabase(database.worker, hooks), new StoreWithCopy(first.store, second.store)),
    input(),
  )
/** A copy takes its lock. */
const LOCKS = /pg_try_advisory_lock\(hashtextextended\('tenantkeep\.copies:/

const pathsIn = async ({ store }: TestStore) =>
  (await store.list('tenant-backups/')).map(({ path }) => path)

async function copyRows(): Promise<string[]> {
  const { rows } = await database.admin.query<{ row: string }>(
    `select backup_type || ' ' || status || ' ' || backup_id as row from public.backup_logs
     where backup_type = 'copy' order by created_at`,
  )
  return rows.map(({ row }) => row)
}

/** The old one is gone from both places, and the newest is whole in both. */
async function requireOnlyNewest(): Promise<void> {
  expect((await findBackup(database.worker, old.id))?.status).toBe('pruned')
  expect(await verifyBackup(services, newest.id)).toMatchObject({ isIntact: true, findings: [] })
  const [paths, copied] = await Promise.all([pathsIn(first), pathsIn(second)])
  expect(copied).toEqual(paths)
  expect(paths.filter((path) => path.includes('summary-'))).toEqual([newest.summaryPath])
}

test('a backup that is pruned before its copy begins is not copied, and that is no failure', async () => {
  const pruned: number[] = []
  const report = await copy({
    when: 'before',
    statement: LOCKS,
    nth: 2,
    act: async () => void pruned.push((await prune()).details.backups),
  })

  expect(pruned).toEqual([1])
  expect(report).toMatchObject({ done: 1, failed: 0, left: 0 })
  expect(await copyRows()).toEqual([`copy complete ${newest.id}`])
  await requireOnlyNewest()
})

test.each([
  ['begins', 'after', /^insert into tenantkeep\.backup_copies/],
  ['ends', 'before', /^with source as/],
] as const)(
  'a backup whose copy %s is left by prune for the next time',
  async (_, when, statement) => {
    const busy: number[] = []
    const report = await copy({
      ...{ when, statement, nth: 2 },
      act: async () => {
        const { left, details } = await prune()
        expect(details).toMatchObject({ backups: 0, failed: [] })
        busy.push(left)
      },
    })

    expect(busy).toEqual([1])
    expect(report).toMatchObject({ done: 2, failed: 0, left: 0 })
    expect(await prune()).toMatchObject({ done: 1, failed: 0, left: 0 })
    await requireOnlyNewest()
  },
)

test('what a copy that broke off left goes with the backup', async () => {
  const all = await copyBackups(services, { ...input(), until: new Date(Date.now() - 1) })
  expect(all).toMatchObject({ done: 0, left: 2 })
  await copy({
    when: 'before',
    statement: LOCKS,
    nth: 2,
    act: async () => {
      throw new Error('Only the newest.')
    },
  }).catch(() => {})
  const whole = await pathsIn(second)
  const failing = new FaultyStore(second.store, {
    call: 2,
    method: 'put',
    how: 'error',
    stays: true,
  })
  const broken = servicesOf(database.worker, new StoreWithCopy(first.store, failing))
  expect(await copyBackups(broken, input())).toMatchObject({ done: 0, failed: 1 })
  const partly = await pathsIn(second)
  expect(partly.length).toBeGreaterThan(whole.length)

  expect(await prune()).toMatchObject({ done: 1, failed: 0, left: 0 })

  await requireOnlyNewest()
})

test('two that copy at once copy once: who comes second looks again under the lock', async () => {
  const others: number[] = []
  const report = await copy({
    when: 'before',
    statement: LOCKS,
    nth: 1,
    act: async () => void others.push((await copyBackups(services, input())).done),
  })

  expect(others).toEqual([2])
  expect(report).toMatchObject({ done: 0, failed: 0, left: 0 })
  expect(await copyRows()).toHaveLength(2)
})
