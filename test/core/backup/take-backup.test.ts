import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { type BackupProgress, takeBackup } from '../../../src/core/backup/take-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import type { Services } from '../../../src/core/services.ts'
import { lockTenant } from '../../../src/core/tenants/lock-tenant.ts'
import {
  CRON,
  createTestStore,
  otherKeys,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyDatabase } from '../../support/faulty-database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { readRows } from '../../support/load-from-file.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
beforeEach(async () => {
  await database.superuser.query(
    'delete from public.backup_logs; delete from public.tenant_backups',
  )
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  return () => store.remove()
})
afterAll(() => database?.drop())

const manual = { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM } as const
const daily = { tenantId: ALPHA, backupType: 'daily_tenant', actor: CRON } as const

async function readCatalog(): Promise<Record<string, unknown>[]> {
  const { rows } = await database.admin.query(
    'select status, error_code, error_message from public.tenant_backups order by created_at, id',
  )
  return rows
}

async function readJournal(): Promise<Record<string, unknown>[]> {
  const { rows } = await database.admin.query(
    `select backup_type, status, error_code, actor_label, total_records is not null as counted
     from public.backup_logs order by created_at, id`,
  )
  return rows
}

async function listFiles(): Promise<string[]> {
  const entries = await readdir(store.folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(store.folder.length + 1))
    .sort()
}

test('leaves a complete row, a journal row and files that anybody can read', async () => {
  const { status, backup } = await takeBackup(services, { ...daily, note: 'first', tags: ['a'] })
  const summary = await loadSummary(services, backup)
  const files = await listFiles()

  expect(status).toBe('complete')
  expect(backup).toMatchObject({
    organizationId: 'alpha',
    organizationName: 'Alpha Gases',
    backupType: 'daily_tenant',
    status: 'complete',
    totalTables: 5,
    totalRecords: 1 + 20 + 20 + 60 + 9,
    gaps: [],
    warnings: [],
    changes: null,
    note: 'first',
    tags: ['a'],
    actorKind: 'cron',
    errorCode: null,
  })
  expect(await readJournal()).toEqual([
    {
      backup_type: 'daily_tenant',
      status: 'complete',
      error_code: null,
      actor_label: 'cron',
      counted: true,
    },
  ])
  const day = backup.backupDate
  expect(files).toEqual(
    [
      ...['accounts', 'entries', 'events', 'pockets', 'tenants'].map(
        (table) => `tenant-backups/alpha/${day}/shop.${table}-${backup.objectStamp}.json.gz`,
      ),
      `tenant-backups/alpha/${day}/summary-${backup.objectStamp}.json`,
    ].sort(),
  )
  const text = gunzipSync(await readFile(join(store.folder, files[4] ?? ''))).toString()
  expect(text).toBe('[{"id":"alpha","name":"Alpha Gases"}\n]\n')
  expect(summary.tables.map((table) => table.name)).toEqual([
    'shop.tenants',
    ...summary.tables.slice(1).map((table) => table.name),
  ])
  const sizes = await Promise.all(files.map((file) => readFile(join(store.folder, file))))
  expect(backup.totalSize).toBe(sizes.reduce((total, bytes) => total + bytes.length, 0))
})

test('takes the daily backup once a day, and says so the second time', async () => {
  const first = await takeBackup(services, daily)
  const second = await takeBackup(services, daily)
  const other = await takeBackup(services, manual)

  expect(second).toEqual({ status: 'skipped', backup: first.backup })
  expect(other.backup.id).not.toBe(first.backup.id)
  expect((await readJournal()).map((row) => [row.backup_type, row.status, row.error_code])).toEqual(
    [
      ['daily_tenant', 'complete', null],
      ['daily_tenant', 'skipped', 'already_complete'],
      ['manual', 'complete', null],
    ],
  )
})

test('of two at the same moment one is told that the tenant is busy; waiting helps', async () => {
  const [one, other] = await Promise.allSettled([
    takeBackup(services, manual),
    takeBackup(services, manual),
  ])
  expect([one?.status, other?.status].sort()).toEqual(['fulfilled', 'rejected'])
  const refused = one?.status === 'rejected' ? one : other
  expect(refused).toMatchObject({
    reason: { code: 'tenant_busy', details: { tenant_id: 'alpha' } },
  })

  const both = await Promise.all([
    takeBackup(services, { ...manual, waitMs: 20_000 }),
    takeBackup(services, { ...manual, waitMs: 20_000 }),
  ])
  expect(both.map((taken) => taken.status)).toEqual(['complete', 'complete'])
})

test('two tenants are backed up side by side', async () => {
  const taken = await Promise.all([
    takeBackup(services, manual),
    takeBackup(services, { ...manual, tenantId: BETA }),
  ])
  expect(taken.map(({ backup }) => backup.organizationId)).toEqual([ALPHA, BETA])
})

test('a tenant that does not exist is refused and leaves nothing', async () => {
  for (const tenantId of ['gamma', '', "alpha' or true --", 'ALPHA']) {
    await expect(takeBackup(services, { ...manual, tenantId })).rejects.toMatchObject({
      code: 'tenant_not_found',
    })
  }
  expect(await readCatalog()).toEqual([])
  expect(await listFiles()).toEqual([])
})

test('a database without protection says what to do first', async () => {
  const bare = await createTestDatabase()
  const refused = takeBackup(servicesOf(bare.worker, store.store), manual)
  await expect(refused).rejects.toMatchObject({ code: 'not_configured' })
  await bare.drop()
})

test('stores only what changed, names the rest, and says what changed', async () => {
  const first = await takeBackup(services, manual)
  await database.admin.query(
    `insert into shop.events (tenant_id, body) values ('alpha', '{"n": 99}')`,
  )
  const second = await takeBackup(services, manual)
  const summary = await loadSummary(services, second.backup)
  const newPaths = summary.tables
    .flatMap((table) => table.parts)
    .filter((part) => part.path.includes(second.backup.objectStamp))

  expect(newPaths.map((part) => part.path)).toEqual([expect.stringContaining('/shop.events-')])
  expect(second.backup.changes).toEqual({
    previousBackupId: first.backup.id,
    isSchemaChanged: false,
    tables: [{ name: 'shop.events', rowsBefore: 9, rowsAfter: 10 }],
  })
  expect(second.backup.totalSize).toBeGreaterThan(second.backup.uploadedSize ?? 0)
  expect((await verifyBackup(services, second.backup.id)).isIntact).toBe(true)
  await database.admin.query(`delete from shop.events where body = '{"n": 99}'`)
})

test('does not inherit an object that was damaged since', async () => {
  const first = await takeBackup(services, manual)
  const { tables } = await loadSummary(services, first.backup)
  const { parts } = tables.find((table) => table.name === 'shop.accounts') ?? { parts: [] }
  await store.store.remove(parts.map((part) => part.path))
  const second = await takeBackup(services, manual)

  expect((await verifyBackup(services, first.backup.id)).isIntact).toBe(false)
  expect((await verifyBackup(services, second.backup.id)).isIntact).toBe(true)
})

test.each([
  ['a part', 'json.gz'],
  ['the summary', 'json'],
])('%s that the store did not keep as it was sent makes the backup fail', async (_, ending) => {
  // Not the first backup, whose proof of the encoding reads objects too.
  await takeBackup(services, manual)
  await database.admin.query(`update shop.accounts set balance = balance + 1`)
  const lying = new FaultyStore(store.store)
  lying.put = (path, body, type, signal) => {
    const kept = Buffer.from(body)
    if (path.endsWith(ending)) kept[kept.length >> 1] = (kept[kept.length >> 1] ?? 0) ^ 1
    return store.store.put(path, kept, type, signal)
  }
  await expect(takeBackup({ ...services, store: lying }, manual)).rejects.toMatchObject({
    code: 'backup_damaged',
  })
  expect((await readCatalog()).map((row) => row.status)).toEqual(['complete', 'failed'])
})

test('where the last summary cannot be trusted everything is stored anew, with a warning', async () => {
  const first = await takeBackup(services, manual)
  const rotated = { ...services, signingKeys: otherKeys() }
  const second = await takeBackup(rotated, manual)

  expect(second.backup.warnings).toMatchObject([{ code: 'previous_backup_damaged' }])
  expect(second.backup.uploadedSize).toBe(second.backup.totalSize)
  expect(second.backup.changes).toBeNull()
  expect(first.backup.id).not.toBe(second.backup.id)
})

test('a cancelled backup is recorded as cancelled, one out of time as failed, and the next succeeds', async () => {
  const stop = new AbortController()
  const cancelled = takeBackup(services, {
    ...manual,
    signal: stop.signal,
    onProgress: ({ phase }) => phase === 'copying' && stop.abort(),
  })
  await expect(cancelled).rejects.toMatchObject({ code: 'backup_cancelled' })

  const late = new AbortController()
  const timedOut = takeBackup(services, {
    ...manual,
    signal: late.signal,
    onProgress: ({ phase }) =>
      phase === 'copying' && late.abort(new DOMException('too late', 'TimeoutError')),
  })
  await expect(timedOut).rejects.toMatchObject({ code: 'backup_timed_out' })
  await expect(
    takeBackup(services, { ...manual, signal: AbortSignal.abort() }),
  ).rejects.toMatchObject({
    code: 'backup_cancelled',
  })

  await takeBackup(services, manual)
  expect((await readCatalog()).map((row) => [row.status, row.error_code])).toEqual([
    ['cancelled', 'backup_cancelled'],
    ['failed', 'backup_timed_out'],
    ['complete', null],
  ])
  expect((await readJournal()).map((row) => row.status)).toEqual([
    'cancelled',
    'failed',
    'complete',
  ])
})

test('objects of failed attempts are removed by the next run, those of complete backups never', async () => {
  await takeBackup(services, manual)
  await database.admin.query(`insert into shop.events (tenant_id) values ('alpha'), ('alpha')`)
  const faulty = new FaultyStore(store.store, { call: 2, method: 'put', how: 'error' })
  await expect(takeBackup({ ...services, store: faulty }, manual)).rejects.toMatchObject({
    code: 'store_unavailable',
  })
  const [failed] = (
    await database.admin.query<{ stamp: string }>(
      `select object_stamp as stamp from public.tenant_backups where status = 'failed'`,
    )
  ).rows
  const left = (await listFiles()).filter((file) => file.includes(failed?.stamp ?? '?'))
  const beta = await takeBackup(services, { ...manual, tenantId: BETA })
  const next = await takeBackup(services, manual)

  expect(left.length).toBe(1)
  expect((await listFiles()).filter((file) => file.includes(failed?.stamp ?? '?'))).toEqual([])
  for (const { backup } of [beta, next]) {
    expect((await verifyBackup(services, backup.id)).isIntact).toBe(true)
  }
  await database.admin.query(`delete from shop.events where body is null`)
})

test('a row left running by a process that died becomes failed when its lock is found free', async () => {
  await database.worker.query(
    `insert into public.tenant_backups
       (organization_id, backup_type, store_url, object_stamp, actor_kind, actor_label)
     values ('alpha', 'manual', 'file:///x', '20260101T000000000Z-00000000', 'system', 'dead'),
            ('beta', 'manual', 'file:///x', '20260101T000000000Z-00000001', 'system', 'alive')`,
  )
  await takeBackup(services, manual)
  const { rows } = await database.admin.query(
    `select organization_id as tenant, status, error_code from public.tenant_backups order by 1, 2`,
  )
  expect(rows).toEqual([
    { tenant: 'alpha', status: 'complete', error_code: null },
    { tenant: 'alpha', status: 'failed', error_code: 'backup_cancelled' },
    { tenant: 'beta', status: 'running', error_code: null },
  ])
})

test('an attempt that was declared dead meanwhile never becomes complete', async () => {
  let hasStruck = false
  const attempt = takeBackup(services, {
    ...manual,
    onProgress: ({ phase }) => {
      if (phase === 'finishing') hasStruck = true
    },
    // While the backup copies, somebody finds the row and declares it dead.
    signal: AbortSignal.timeout(30_000),
  })
  const declared = declareDead()
  await expect(attempt).rejects.toMatchObject({ code: 'backup_cancelled' })
  await declared
  expect(hasStruck).toBe(true)
  expect((await readCatalog()).map((row) => row.status)).toEqual(['failed'])
})

async function declareDead(): Promise<void> {
  for (;;) {
    const { rowCount } = await database.admin.query(
      `update public.tenant_backups set status = 'failed', error_code = 'backup_cancelled', error_message = 'dead'
       where status = 'running'`,
    )
    if (rowCount > 0) return
  }
}

test('a lost answer to the last statement does not make a complete backup fail', async () => {
  const probe = new FaultyDatabase(database.worker)
  await takeBackup(servicesOf(probe, store.store), manual)
  const commit = probe.calls.filter((call) => call.kind === 'query').length
  const faulty = new FaultyDatabase(database.worker, {
    call: commit,
    kind: 'query',
    how: 'after-success',
  })
  const { status, backup } = await takeBackup(servicesOf(faulty, store.store), manual)

  expect(faulty.struck).toBe(true)
  expect(status).toBe('complete')
  expect((await verifyBackup(services, backup.id)).isIntact).toBe(true)
})

test('tells how far it is, table by table', async () => {
  const told: BackupProgress[] = []
  await takeBackup(services, { ...manual, onProgress: (progress) => told.push(progress) })

  expect(told.map((progress) => progress.phase)).toEqual(
    [...told.map((progress) => progress.phase)].sort(
      (a, b) => PHASES.indexOf(a) - PHASES.indexOf(b),
    ),
  )
  expect(new Set(told.map((progress) => progress.phase))).toEqual(new Set(PHASES))
  const entries = told.filter((progress) => progress.table === 'shop.entries')
  expect(entries.at(-1)).toEqual({
    phase: 'copying',
    table: 'shop.entries',
    rowsDone: 60,
    rowsTotal: 60,
  })
})
const PHASES: BackupProgress['phase'][] = ['locking', 'copying', 'proving', 'finishing']

test('a row beyond the limit of the settings is refused with its table', async () => {
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('max_row_bytes', '1024')
     on conflict (key) do update set value = excluded.value;
     insert into shop.events (tenant_id, body) values ('alpha', to_jsonb(repeat('x', 2000)))`,
  )
  await expect(takeBackup(services, manual)).rejects.toMatchObject({
    code: 'row_too_large',
    details: { table: 'shop.events' },
  })
  await database.admin.query(
    `delete from tenantkeep.settings where key = 'max_row_bytes';
     delete from shop.events where length(body::text) > 1000`,
  )
})

test('a setting that makes no sense is named', async () => {
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('gzip_level', '"best"')
     on conflict (key) do update set value = excluded.value`,
  )
  await expect(takeBackup(services, manual)).rejects.toThrow(/gzip_level/)
  await database.admin.query(`delete from tenantkeep.settings where key = 'gzip_level'`)
  expect((await readCatalog()).map((row) => row.error_code)).toEqual(['not_configured'])
})

test('another lock of the same tenant keeps a backup out, from whatever process', async () => {
  await database.worker.withConnection(async (session) => {
    await lockTenant(session, ALPHA)
    await expect(takeBackup(services, manual)).rejects.toMatchObject({ code: 'tenant_busy' })
    await expect(takeBackup(services, { ...manual, waitMs: 150 })).rejects.toMatchObject({
      code: 'tenant_busy',
    })
  })
  expect((await takeBackup(services, manual)).status).toBe('complete')
})

test('values pass through no number of JavaScript', async () => {
  await database.admin.query(
    `insert into shop.accounts (tenant_id, balance, label)
     values ('alpha', 1234567890123456.7890, 'exact')`,
  )
  const { backup } = await takeBackup(services, manual)
  const summary = await loadSummary(services, backup)
  const path = summary.tables.find((table) => table.name === 'shop.accounts')?.parts[0]?.path
  const text = gunzipSync(await readFile(join(store.folder, path ?? ''))).toString()

  expect(text).toContain('"balance":1234567890123456.7890,"label":"exact"')
  expect(await readRows(store.folder, summary, 'shop.accounts')).toHaveLength(21)
  await database.admin.query(`delete from shop.accounts where label = 'exact'`)
})
