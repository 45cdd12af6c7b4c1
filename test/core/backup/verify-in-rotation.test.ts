import { randomUUID } from 'node:crypto'
import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { exportBackup } from '../../../src/core/backup/export-backup.ts'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { recordDamage } from '../../../src/core/backup/record-damage.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { verifyInRotation } from '../../../src/core/backup/verify-in-rotation.ts'
import { compareBackups } from '../../../src/core/compare/compare-backups.ts'
import { holdRotation } from '../../../src/core/jobs/hold-rotation.ts'
import type { UpkeepReport } from '../../../src/core/jobs/upkeep.ts'
import { chooseBackup } from '../../../src/core/restore/choose-backup.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import type { Services } from '../../../src/core/services.ts'
import { StoreWithCopy } from '../../../src/core/store/read-with-copy.ts'
import { readTenantState } from '../../../src/core/tenants/read-tenant-state.ts'
import {
  createTestStore,
  otherKeys,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let services: Services
const runId = randomUUID()
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  await database.superuser.query(
    `insert into tenantkeep.runs (id, kind, actor_kind, actor_label, tenant_ids) values ($1, 'verify', 'system', 'test', '{}')`,
    [runId],
  )
})
beforeEach(async () => {
  await database.superuser.query(
    `delete from public.backup_logs; delete from public.tenant_backups;
     delete from tenantkeep.verified_bytes; delete from tenantkeep.settings where key = 'verify_bytes_per_day'`,
  )
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  return () => store.remove()
})
afterAll(() => database?.drop())

async function take(tenantId: string): Promise<Backup> {
  const taken = await takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })
  return taken.backup
}

/** As if its last proof were so many days old. */
async function age({ id }: Backup, days: number): Promise<void> {
  await database.superuser.query(
    `update public.tenant_backups set verified_at = now() - make_interval(days => $2),
       checked_at = case when checked_at is null then null else now() - make_interval(days => $2) end
     where id = $1`,
    [id, days],
  )
}

function rotate(given: Partial<Services> = {}, until = Date.now() + 60_000): Promise<UpkeepReport> {
  return verifyInRotation(
    { ...services, ...given },
    { actor: SYSTEM, runId, until: new Date(until) },
  )
}

async function readRow({ id }: Backup): Promise<Backup> {
  const { rows } = await database.worker.query<Backup>(
    `select verified_at as "verifiedAt", checked_at as "checkedAt", damaged_at as "damagedAt", damage
     from public.tenant_backups where id = $1`,
    [id],
  )
  if (rows[0] === undefined) throw new Error('The backup is gone.')
  return rows[0]
}

async function partOf(backup: Backup, table: string): Promise<string> {
  const { tables } = await loadSummary(services, backup)
  const path = tables.find(({ name }) => name === table)?.parts[0]?.path
  if (path === undefined) throw new Error(`${table} is not in the backup`)
  return path
}

async function flip(folder: string, path: string): Promise<() => Promise<void>> {
  const file = join(folder, path)
  const whole = await readFile(file)
  const bytes = Buffer.from(whole)
  bytes[30] = (bytes[30] ?? 0) ^ 4
  await writeFile(file, bytes)
  return () => writeFile(file, whole)
}

const setting = (bytes: number) =>
  database.superuser.query(
    `insert into tenantkeep.settings (key, value) values ('verify_bytes_per_day', $1::jsonb)`,
    [String(bytes)],
  )

async function readJournal(): Promise<unknown[]> {
  const { rows } = await database.worker.query(
    `select backup_id as id, status, error_code as code from public.backup_logs
     where backup_type = 'verify' order by created_at`,
  )
  return rows
}

test('the oldest proof comes first, across tenants, and what was proven this week is left alone', async () => {
  const [older, young, oldest] = [await take(ALPHA), await take(ALPHA), await take(BETA)]
  await age(older, 20)
  await age(young, 6)
  await age(oldest, 40)
  await setting(1)
  const first = await rotate()
  await database.superuser.query(`delete from tenantkeep.verified_bytes`)
  const second = await rotate()
  await database.superuser.query(`delete from tenantkeep.verified_bytes`)
  const third = await rotate()

  expect(first).toMatchObject({ done: 1, failed: 0, left: 0 })
  expect([first.done, second.done, third.done]).toEqual([1, 1, 0])
  const proofs = await Promise.all(
    [oldest, older, young].map(async (one) => Date.parse((await readRow(one)).verifiedAt ?? '')),
  )
  expect(Math.abs((proofs[0] ?? 0) - Date.now())).toBeLessThan(60_000)
  expect(proofs[1]).toBeGreaterThan(proofs[0] ?? 0)
  expect(proofs[2]).toBeLessThan(Date.now() - 5 * 86_400_000)
})

test('what was read counts towards the day, of damaged and broken-off ones too, and ends it', async () => {
  const backups = [await take(ALPHA), await take(BETA)]
  for (const backup of backups) await age(backup, 30)
  const total = backups.reduce((sum, { totalSize }) => sum + (totalSize ?? 0), 0)
  const report = await rotate()
  const again = await rotate()
  const { rows } = await database.worker.query<{ bytes: string }>(
    `select bytes from tenantkeep.verified_bytes where day = (now() at time zone 'utc')::date`,
  )

  expect(report).toMatchObject({ done: 2, failed: 0, left: 0, details: { bytes: total } })
  expect(Number(rows[0]?.bytes)).toBe(total)
  expect(again).toMatchObject({ done: 0, left: 0, details: { bytes: 0 } })
  for (const backup of backups) await age(backup, 30)
  await setting(total + 1)
  expect(await rotate()).toMatchObject({ done: 1, left: 0 })
  expect(await rotate()).toMatchObject({ done: 0, left: 0 })
})

test('one who comes while another goes round does nothing, and a budget of 0 turns it off', async () => {
  await age(await take(ALPHA), 30)
  const meanwhile = await holdRotation(database.worker, 'verify', () => rotate())
  await setting(0)
  const off = await rotate()

  expect(meanwhile).toMatchObject({ done: 0, left: 0, details: { is_busy: true } })
  expect(off).toMatchObject({ done: 0, left: 0, details: { is_off: true } })
})

test('parts that several backups share are read once a round, and after its time nothing is begun', async () => {
  const backups = [await take(ALPHA), await take(ALPHA), await take(ALPHA)]
  for (const backup of backups) await age(backup, 30)
  const late = await rotate({}, Date.now() - 1)
  const report = await rotate()

  expect(late).toMatchObject({ done: 0, left: 3 })
  expect(report).toMatchObject({ done: 3, left: 0 })
  const added = backups.reduce((sum, { uploadedSize }) => sum + (uploadedSize ?? 0), 0)
  expect(report.details.bytes).toBe(added)
})

test('damage is marked, told once in the journal, and others of the tenant are looked at next', async () => {
  const old = await take(ALPHA)
  const sharing = await take(ALPHA)
  const neighbours = await take(BETA)
  await age(old, 30)
  await age(neighbours, 20)
  const repair = await flip(store.folder, await partOf(old, 'shop.entries'))
  await flip(store.folder, await partOf(neighbours, 'shop.entries'))
  const report = await rotate()
  const rows = await Promise.all([old, sharing].map(readRow))
  await database.superuser.query(
    "update public.tenant_backups set checked_at = now() - interval '1 day'",
  )
  await rotate()
  const journal = await readJournal()
  const later = await readRow(old)
  await repair()
  const repaired = await verifyBackup(services, old.id)

  expect(report).toMatchObject({
    done: 0,
    failed: 3,
    // What shares objects with it does not wait for an older proof.
    details: { damaged: [old.id, sharing.id, neighbours.id], verified: 0 },
  })
  expect(later.damagedAt).toEqual(rows[0]?.damagedAt)
  for (const row of rows) {
    expect(row.damagedAt).not.toBeNull()
    expect(row.damage).toMatchObject([{ code: 'backup_damaged', table: 'shop.entries' }])
  }
  expect(journal).toEqual([
    { id: old.id, status: 'failed', code: 'backup_damaged' },
    { id: sharing.id, status: 'failed', code: 'backup_damaged' },
    { id: neighbours.id, status: 'failed', code: 'backup_damaged' },
  ])
  expect(repaired.isIntact).toBe(true)
  expect(await readRow(old)).toMatchObject({ damagedAt: null, damage: null })
  expect(await readJournal()).toHaveLength(4)
})

test('a damaged backup is refused by id, passed over by date, and makes the state damaged', async () => {
  const good = await take(ALPHA)
  const damaged = await take(ALPHA)
  await rm(join(store.folder, damaged.summaryPath ?? ''))
  await verifyBackup(services, damaged.id)
  const chosen = await chooseBackup(database.worker, ALPHA, { backupDate: damaged.backupDate })
  const source = await openBackup(services, chosen)
  const report = await readTenantState(database.worker, ALPHA)

  expect(chosen.id).toBe(good.id)
  expect(source.warnings).toEqual([
    { code: 'newer_backup_damaged', message: expect.stringContaining(damaged.id) },
  ])
  expect(report?.state).toMatchObject({
    code: 'damaged',
    reason: expect.stringContaining('not in the store'),
  })
  await expect(
    chooseBackup(database.worker, ALPHA, { backupId: damaged.id }),
  ).rejects.toMatchObject({
    code: 'backup_damaged',
    message: expect.stringContaining(`tenantkeep verify ${damaged.id}`),
  })
  await rm(join(store.folder, good.summaryPath ?? ''))
  await verifyBackup(services, good.id)
  await expect(
    chooseBackup(database.worker, ALPHA, { backupDate: good.backupDate }),
  ).rejects.toMatchObject({
    code: 'backup_not_found',
    message: expect.stringContaining('is damaged (2)'),
  })
})

test('the backup after a damaged one says so, and names nothing of what is damaged again', async () => {
  const first = await take(ALPHA)
  const path = await partOf(first, 'shop.entries')
  await flip(store.folder, path)
  await verifyBackup(services, first.id)
  const next = await take(ALPHA)

  expect(next.warnings).toEqual([
    { code: 'previous_backup_damaged', message: expect.stringContaining(first.id) },
  ])
  expect(await partOf(next, 'shop.entries')).not.toBe(path)
  expect(next.uploadedSize).toBe(next.totalSize)
  expect((await verifyBackup(services, next.id)).isIntact).toBe(true)
})

test('a backup that meets a damaged part of the last one marks that one and stores the part anew', async () => {
  const first = await take(ALPHA)
  const path = await partOf(first, 'shop.entries')
  await flip(store.folder, path)
  const next = await take(ALPHA)

  expect(next.warnings).toEqual([
    { code: 'previous_backup_damaged', message: expect.stringContaining(path) },
  ])
  expect(await partOf(next, 'shop.entries')).not.toBe(path)
  expect((await readRow(first)).damage).toMatchObject([{ table: 'shop.entries', path }])
})

test('who can’t see the other place of a backup calls it damaged in this one only', async () => {
  const backup = await take(ALPHA)
  await database.superuser.query(
    `insert into tenantkeep.backup_copies (backup_id, store_url, status, objects, bytes, copied_at)
     values ($1, 's3://elsewhere', 'complete', 6, $2, now())`,
    [backup.id, backup.totalSize],
  )
  await rm(join(store.folder, await partOf(backup, 'shop.entries')))
  const { isUsable } = await verifyBackup(services, backup.id)
  const { rows } = await database.worker.query(
    `select store_url as url from tenantkeep.backup_copies where status = 'damaged'`,
  )

  expect(isUsable).toBe(false)
  expect(rows).toEqual([{ url: store.store.url }])
  expect((await readRow(backup)).damagedAt).toBeNull()
})

test.each(['restore', 'compare', 'export'])(
  'a %s that stumbles over damage marks it',
  async (how) => {
    const backup = await take(ALPHA)
    await rm(join(store.folder, await partOf(backup, 'shop.entries')))
    await database.superuser.query('update shop.entries set note = note || $1', ['!'])
    const read = async () => {
      if (how === 'export') {
        const { stream } = await exportBackup(services, { backup })
        for await (const _ of stream);
        return
      }
      const source = await openBackup(services, backup)
      if (how === 'restore') {
        await restoreTenant(services, {
          tenantId: ALPHA,
          source,
          isDryRun: true,
          options: DEFAULT_OPTIONS,
          actor: SYSTEM,
        })
      } else {
        await compareBackups(services, {
          tenantId: ALPHA,
          source,
          against: 'live',
          runId: randomUUID(),
        })
      }
    }

    await expect(read()).rejects.toMatchObject({ code: 'object_missing' })
    expect(await readRow(backup)).toMatchObject({
      damagedAt: expect.anything(),
      damage: [{ code: 'object_missing', table: 'shop.entries' }],
    })
  },
)

test('a store out of reach, a folder that is gone and a key that is missing say nothing about a backup', async () => {
  const backup = await take(ALPHA)
  await age(backup, 30)
  for (const days of [12, 11, 10]) await age(await take(BETA), days)
  const down = new FaultyStore(store.store, { call: 1, method: 'get', how: 'error', stays: true })
  const report = await rotate({ store: down })
  const again = await rotate()
  const unknown = await verifyBackup({ ...services, signingKeys: otherKeys() }, backup.id)
  const elsewhere = await createTestStore()
  const wrong = await verifyBackup({ ...services, store: elsewhere.store }, backup.id)
  await elsewhere.remove()
  await store.remove()

  expect(report).toMatchObject({
    done: 0,
    failed: 3,
    left: 1,
    details: { unreadable: { length: 3, 0: { backup_id: backup.id, code: 'store_unavailable' } } },
  })
  // Once a day each: the one that nobody asked for is left.
  expect(again).toMatchObject({ done: 1, failed: 0, left: 0 })
  expect([unknown.isIntact, wrong.isIntact]).toEqual([false, false])
  await expect(verifyBackup(services, backup.id)).rejects.toMatchObject({
    code: 'store_unavailable',
  })
  const damage = [{ code: 'object_missing', message: 'Gone.', table: null, path: null }]
  const gone = new FaultyStore(store.store, { call: 1, method: 'check', how: 'error' })
  // A folder that is gone, and the same made anew by whoever looked whether one can write there.
  for (const place of [gone, store.store]) {
    await expect(
      recordDamage({ ...services, store: place }, backup, { damage, isRead: false }),
    ).rejects.toMatchObject({ code: 'store_unavailable' })
  }
  expect(await readRow(backup)).toMatchObject({ damagedAt: null, damage: null })
})

test('what is damaged in one place and whole in another stays usable, and is told', async () => {
  const second = await createTestStore()
  const both = { ...services, store: new StoreWithCopy(store.store, second.store) }
  const backup = await take(ALPHA)
  await cp(store.folder, second.folder, { recursive: true })
  await database.superuser.query(
    `insert into tenantkeep.backup_copies (backup_id, store_url, status, objects, bytes, copied_at)
     values ($1, $2, 'complete', 6, $3, now())`,
    [backup.id, second.store.url, backup.totalSize],
  )
  await age(backup, 30)
  const path = await partOf(backup, 'shop.entries')
  await flip(store.folder, path)
  const harmed = await rotate(both)
  const places = await database.worker.query(
    `select store_url as url, status from tenantkeep.backup_copies where status = 'damaged'`,
  )
  const usable = await readRow(backup)
  await flip(second.folder, path)
  const { isUsable } = await verifyBackup(both, backup.id)
  await second.remove()

  expect(harmed).toMatchObject({
    done: 0,
    failed: 1,
    details: { damaged: [], damaged_in_one_place: [{ whole_in: [second.store.url] }] },
  })
  expect(places.rows).toEqual([{ url: store.store.url, status: 'damaged' }])
  expect(usable.damagedAt).toBeNull()
  expect(isUsable).toBe(false)
  expect((await readRow(backup)).damagedAt).not.toBeNull()
})
