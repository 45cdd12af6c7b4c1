import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { BackupError } from '../../../src/core/errors.ts'
import type { Services } from '../../../src/core/services.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { readRows } from '../../support/load-from-file.ts'
import { ALPHA, installSmallHost } from '../../support/small-host.ts'

const BACKUPS = 50
/** 20 accounts and 20 pockets of 100 each. */
const TOTAL = 4000

let database: TestDatabase
let store: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  await installSmallHost(database)
  await database.admin.query(
    `update tenantkeep.settings set value = '2000' where key = 'lock_timeout_ms'`,
  )
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

const backUp = () => takeBackup(services, { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM })

/** Runs statements on a connection of its own until told to stop; says how many went through. */
async function whileWriting<T>(
  statements: () => string,
  act: () => Promise<T>,
): Promise<{ result: T; writes: number }> {
  const writer = new pg.Client(database.adminUrl)
  await writer.connect()
  let isOver = false
  let writes = 0
  const writing = (async () => {
    while (!isOver) {
      await writer.query(statements())
      writes += 1
    }
  })()
  try {
    const result = await act()
    return { result, writes }
  } finally {
    isOver = true
    await writing.finally(() => writer.end())
  }
}

test('money that moves between two tables is never counted twice or missed, no child lacks its parent', async () => {
  const move = () => {
    const amount = Math.ceil(Math.random() * 30)
    return `begin;
      update shop.accounts set balance = balance - ${amount}
        where id = (select id from shop.accounts where tenant_id = 'alpha' order by random() limit 1);
      update shop.pockets set balance = balance + ${amount}
        where id = (select id from shop.pockets where tenant_id = 'alpha' order by random() limit 1);
      with account as (
        insert into shop.accounts (tenant_id, label) values ('alpha', 'new') returning id
      ) insert into shop.entries (account_id, note) select id, 'first' from account;
      delete from shop.entries where account_id in (
        select id from shop.accounts where label = 'new' and tenant_id = 'alpha' order by id limit 1);
      delete from shop.accounts a where label = 'new'
        and not exists (select from shop.entries e where e.account_id = a.id);
      commit`
  }
  const { result, writes } = await whileWriting(move, async () => {
    const backups = []
    for (let taken = 0; taken < BACKUPS; taken += 1) backups.push((await backUp()).backup)
    return backups
  })

  expect(writes).toBeGreaterThan(BACKUPS)
  const states = new Set<string>()
  for (const backup of result) {
    const summary = await loadSummary(services, backup)
    const rows = (name: string) => readRows(store.folder, summary, name)
    const accounts = await rows('shop.accounts')
    const pockets = await rows('shop.pockets')
    const sum = [...accounts, ...pockets].reduce((total, row) => total + Number(row.balance), 0)
    expect(sum).toBe(TOTAL)
    const ids = new Set(accounts.map((account) => account.id))
    const entries = await rows('shop.entries')
    expect(entries.filter((entry) => !ids.has(entry.account_id))).toEqual([])
    states.add(JSON.stringify(pockets.map((pocket) => pocket.balance)))
  }
  // The writer did get in between: otherwise the sums would prove nothing.
  expect(states.size).toBeGreaterThan(BACKUPS / 2)
})

/**
 * Each statement rewrites or empties the table as seen by an older snapshot, and puts it back. Fired in
 * a loop, so that it meets every moment of a backup.
 */
test.each([
  [
    'truncate',
    'begin; create temp table k as table shop.events; truncate shop.events; insert into shop.events select * from k; drop table k; commit',
  ],
  [
    'alter table … type',
    "alter table shop.events alter column body type jsonb using (body || '{}')",
  ],
  [
    'a column with a volatile default',
    'alter table shop.events add column r float8 default random(); alter table shop.events drop column r',
  ],
])(
  '%s at any moment waits or makes the backup fail; no backup holds an empty table',
  async (_, sql) => {
    const outcomes: string[] = []
    await whileWriting(
      () => sql,
      async () => {
        for (let taken = 0; taken < 12; taken += 1) {
          try {
            const { backup } = await backUp()
            const summary = await loadSummary(services, backup)
            outcomes.push(`${summary.tables.find((t) => t.name === 'shop.events')?.rows} rows`)
          } catch (error) {
            outcomes.push(error instanceof BackupError ? error.code : String(error))
          }
          await sleep(Math.random() * 10)
        }
      },
    )
    const allowed = ['9 rows', 'table_locked', 'registry_changed']
    expect(outcomes.filter((outcome) => !allowed.includes(outcome))).toEqual([])
    expect(outcomes).toContain('9 rows')
  },
)

test('a truncate that committed between the start of the backup and its locks is seen', async () => {
  const other = new pg.Client(database.adminUrl)
  await other.connect()
  try {
    await other.query('begin; truncate shop.pockets')
    const waiting = backUp()
    await waitForLock()
    await other.query('commit')
    const { backup } = await waiting
    const summary = await loadSummary(services, backup)

    expect(summary.tables.find((table) => table.name === 'shop.pockets')?.rows).toBe(0)
    expect(Date.parse(summary.taken_at)).toBeGreaterThan(Date.parse(backup.createdAt))
  } finally {
    await other.end()
  }
})

test('a table that stays locked makes the backup fail instead of waiting for ever', async () => {
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('lock_timeout_ms', '200')
     on conflict (key) do update set value = excluded.value`,
  )
  const other = new pg.Client(database.adminUrl)
  await other.connect()
  try {
    await other.query('begin; lock table shop.events in access exclusive mode')
    await expect(backUp()).rejects.toMatchObject({ code: 'table_locked' })
  } finally {
    await other.end()
  }
  await expect(backUp()).resolves.toMatchObject({ status: 'complete' })
})

async function waitForLock(): Promise<void> {
  for (let turn = 0; turn < 200; turn += 1) {
    const { rows } = await database.superuser.query<{ waits: boolean }>(
      `select exists (select from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and query like 'lock table%') as waits`,
    )
    if (rows[0]?.waits === true) return
    await sleep(10)
  }
  throw new Error('The backup never waited for the lock.')
}
