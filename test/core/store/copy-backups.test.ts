import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Backup, findBackup } from '../../../src/core/backup/backup-record.ts'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { undoRestore } from '../../../src/core/restore/undo-restore.ts'
import { forgetTenant } from '../../../src/core/retention/forget-tenant.ts'
import { pruneBackups } from '../../../src/core/retention/prune-backups.ts'
import type { Services } from '../../../src/core/services.ts'
import { copyBackups, countDueCopies } from '../../../src/core/store/copy-backups.ts'
import { openStore } from '../../../src/core/store/open-store.ts'
import { StoreWithCopy } from '../../../src/core/store/read-with-copy.ts'
import type { Store } from '../../../src/core/store/store.ts'
import { lockCopies } from '../../../src/core/tenants/lock-tenant.ts'
import {
  CRON,
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyStore, type StoreFault } from '../../support/faulty-store.ts'
import { type S3Server, startS3Server } from '../../support/s3-server.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let server: S3Server
let first: TestStore
let copy: Store
let services: Services

beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
beforeEach(async () => {
  await database.superuser.query(
    `truncate public.backup_logs, public.tenant_backups, tenantkeep.runs cascade`,
  )
  server = await startS3Server({
    buckets: { copies: {}, locked: { isVersioned: true, lockMs: 3_600_000 } },
  })
  first = await createTestStore()
  copy = openS3('copies')
  services = servicesOf(database.worker, new StoreWithCopy(first.store, copy))
  return async () => {
    await first.remove()
    await server.close()
  }
})
afterAll(() => database?.drop())

function openS3(name: string): Store {
  return openStore({
    url: `s3://${name}/all`,
    s3: {
      endpoint: server.url,
      region: server.region,
      accessKeyId: server.accessKeyId,
      secretAccessKey: server.secretAccessKey,
      sessionToken: undefined,
      forcePathStyle: undefined,
    },
  })
}

/** Services that know these places, or one of them alone. */
function withPlaces(place: Store, other?: Store): Services {
  return servicesOf(database.worker, other === undefined ? place : new StoreWithCopy(place, other))
}

async function take(tenantId = ALPHA, at = services): Promise<Backup> {
  const { backup } = await takeBackup(at, { tenantId, backupType: 'manual', actor: SYSTEM })
  return backup
}

const copyNow = (at = services) =>
  copyBackups(at, { actor: CRON, runId: null, until: new Date(Date.now() + 60_000) })

async function journal(): Promise<{ status: string; details: { store: string } | null }[]> {
  const { rows } = await database.admin.query<{ status: string; details: { store: string } }>(
    `select status, details from public.backup_logs where backup_type = 'copy' order by created_at`,
  )
  return rows
}

async function reload({ id }: Backup): Promise<Backup> {
  const backup = await findBackup(database.worker, id)
  if (backup === undefined) throw new Error('The backup is gone.')
  return backup
}

/** Loses an object of a table in the first place, or changes a byte of it. */
async function harm(backup: Backup, name: string, how: 'lost' | 'changed'): Promise<string> {
  const summary = await loadSummary(services, backup)
  const path = summary.tables.find((table) => table.name === name)?.parts[0]?.path ?? ''
  const file = join(first.folder, path)
  if (how === 'lost') await rm(file)
  else await writeFile(file, Buffer.from('something else'))
  return path
}

/** Photographs the tenant, spoils it, restores it from a backup and photographs it again. */
async function restoreExactly(backup: Backup, at: Services): Promise<string> {
  const before = await photograph()
  await database.admin.query(`
    delete from shop.pockets where tenant_id = 'alpha';
    update shop.accounts set balance = balance + 1 where tenant_id = 'alpha'`)
  const source = await openBackup(at, await reload(backup))
  const restored = await restoreTenant(at, {
    tenantId: ALPHA,
    source,
    options: DEFAULT_OPTIONS,
    actor: SYSTEM,
    isDryRun: false,
  })
  expect(restored.blockers).toEqual([])
  expect(await photograph()).toEqual(before)
  return restored.restoreId ?? ''
}

async function photograph(): Promise<string[]> {
  const { rows } = await database.superuser.query<{ row: string }>(
    `select 'a ' || t::text as row from shop.accounts t union all
     select 'p ' || t::text from shop.pockets t order by 1`,
  )
  return rows.map(({ row }) => row)
}

/** A place that can't be reached. */
function down(place: Store): FaultyStore {
  return new FaultyStore(place, { call: 1, how: 'error', stays: true })
}

test('every backup is copied once, what backups share once, and the journal says where they are', async () => {
  const backups = [await take(), await take(), await take(BETA)]
  expect(await countDueCopies({ catalog: database.worker, store: services.store })).toBe(3)

  const report = await copyNow()
  const again = await copyNow()

  expect(report).toMatchObject({ done: 3, failed: 0, left: 0 })
  expect(again).toMatchObject({ done: 0, failed: 0, left: 0 })
  const objects = await first.store.list('tenant-backups/')
  expect((await copy.list('tenant-backups/')).map((it) => [it.path, it.size])).toEqual(
    objects.map((it) => [it.path, it.size]),
  )
  expect(report.details.objects).toBe(objects.length)
  for (const backup of backups) {
    expect((await reload(backup)).copiedTo).toEqual([copy.url])
    expect(await verifyBackup(withPlaces(copy), backup.id)).toMatchObject({ isIntact: true })
  }
  expect(await journal()).toEqual(
    Array.from({ length: 3 }, () => ({
      status: 'complete',
      details: expect.objectContaining({ store: copy.url }),
    })),
  )
})

test('safety backups go with the plans of their restores, so that an undo works from the copy alone', async () => {
  const backup = await take()
  const before = await photograph()
  await database.admin.query(`update shop.accounts set balance = 7 where tenant_id = 'alpha'`)
  const damaged = await photograph()
  const restored = await restoreTenant(services, {
    tenantId: ALPHA,
    source: await openBackup(services, backup),
    options: DEFAULT_OPTIONS,
    actor: SYSTEM,
    isDryRun: false,
  })
  expect(await photograph()).toEqual(before)

  expect(await copyNow()).toMatchObject({ done: 2, failed: 0, left: 0 })

  const undone = await undoRestore(withPlaces(down(first.store), copy), {
    tenantId: ALPHA,
    restoreId: restored.restoreId ?? '',
    everything: false,
    onConflict: 'fail',
    isDryRun: false,
    actor: SYSTEM,
  })
  expect(undone.blockers).toEqual([])
  expect(await photograph()).toEqual(damaged)
})

test('where the first place is down a backup goes to the second, says so, and comes back later', async () => {
  await take()
  await copyNow()
  const outage = withPlaces(down(first.store), copy)

  const backup = await take(ALPHA, outage)
  const shared = await take(ALPHA, outage)

  expect(backup).toMatchObject({
    status: 'complete',
    storeUrl: copy.url,
    warnings: [expect.objectContaining({ code: 'first_store_unavailable' })],
  })
  // What the second place has already is not sent again.
  const { tables } = await loadSummary(outage, shared)
  const paths = tables.flatMap((table) => table.parts.map((part) => part.path))
  expect(paths.filter((path) => path.includes(shared.objectStamp))).toEqual([])
  await restoreExactly(backup, outage)
  expect(await verifyBackup(services, backup.id)).toMatchObject({
    isIntact: true,
    wholeIn: [copy.url],
  })

  expect(await copyNow()).toMatchObject({ failed: 0, left: 0 })
  expect((await reload(backup)).copiedTo).toEqual([first.store.url])
  expect(await verifyBackup(withPlaces(first.store), backup.id)).toMatchObject({ isIntact: true })
  await restoreExactly(backup, withPlaces(first.store, down(copy)))
})

test('without a second place a backup fails where the first is down', async () => {
  await expect(take(ALPHA, withPlaces(down(first.store)))).rejects.toMatchObject({
    code: 'store_unavailable',
  })
})

test.each(['lost', 'changed'] as const)(
  'what is %s in one place is read from the other, named, and put right',
  async (how) => {
    const backup = await take()
    await copyNow()
    const path = await harm(backup, 'shop.pockets', how)

    await restoreExactly(backup, services)
    const found = await verifyBackup(services, backup.id)

    expect(found).toMatchObject({ isIntact: false, isUsable: true, wholeIn: [copy.url] })
    expect(found.findings).toEqual([
      expect.objectContaining({ path, message: expect.stringContaining(first.store.url) }),
    ])
    expect((await reload(backup)).damagedAt).toBeNull()

    expect(await copyNow()).toMatchObject({ failed: 0, left: 0 })
    expect(await verifyBackup(services, backup.id)).toMatchObject({ isIntact: true })
  },
)

test('what is damaged and locked is left and said', async () => {
  copy = openS3('locked')
  services = withPlaces(first.store, copy)
  const backup = await take()
  const { tables } = await loadSummary(services, backup)
  const part = tables[0]?.parts[0]
  // Somebody wrote something else there before.
  await copy.put(part?.path ?? '', Buffer.from('other'), 'application/gzip')

  const report = await copyNow()

  expect(report).toMatchObject({ done: 0, failed: 1 })
  const { rows } = await database.admin.query(
    `select status, error_message from tenantkeep.backup_copies where backup_id = $1`,
    [backup.id],
  )
  expect(rows).toEqual([
    { status: 'failed', error_message: expect.stringMatching(/locked until 20\d\d-/) },
  ])
})

test('what a bucket locks outlives its tenant, with the day, and goes when it may', async () => {
  copy = openS3('locked')
  services = withPlaces(first.store, copy)
  const backup = await take(BETA)
  expect(await copyNow()).toMatchObject({ done: 1 })
  const stored = server.countVersions('locked', 'all/tenant-backups/')
  const input = { tenantId: BETA, actor: SYSTEM, isDryRun: false, confirmName: 'Beta Rentals' }

  const report = await forgetTenant(services, input)

  expect(await first.store.list('tenant-backups/')).toEqual([])
  expect(report.locked).toEqual([
    { store: copy.url, objects: stored, until: expect.stringMatching(/^20\d\d-/) },
  ])
  expect(await reload(backup)).toMatchObject({ status: 'pruned' })
  server.endLocks('locked')
  await database.superuser.query('update tenantkeep.doomed_objects set try_after = now()')
  await pruneBackups(services, { actor: CRON, runId: null, until: new Date(Date.now() + 60_000) })
  expect(server.countVersions('locked', 'all/tenant-backups/')).toBe(0)
  await database.superuser.query('truncate tenantkeep.forgotten_tenants cascade')
})

test('nothing is copied while it is being removed', async () => {
  await take()
  await database.worker.withConnection(async (session) => {
    await lockCopies(session, ALPHA)
    expect(await copyNow()).toMatchObject({ done: 0, failed: 0 })
  })
  expect(await copyNow()).toMatchObject({ done: 1 })
})

test('whatever fails at whichever step, the next call makes the copy whole, and nothing says complete before', async () => {
  await take()
  await copyNow()
  const calls = { copy: 0, first: 0 }
  const counted = async () => {
    await database.admin.query(`update shop.accounts set balance = balance + 1`)
    return take()
  }
  {
    const [a, b] = [new FaultyStore(first.store), new FaultyStore(copy)]
    await counted()
    expect(await copyNow(withPlaces(a, b))).toMatchObject({ done: 1 })
    calls.first = a.calls.length
    calls.copy = b.calls.length
  }
  // Each call fails in one of two ways.
  const faults = (['copy', 'first'] as const).flatMap((place) =>
    Array.from({ length: calls[place] }, (_, index): [typeof place, StoreFault] => [
      place,
      { call: index + 1, how: index % 2 === 0 ? 'error' : 'after-success' },
    ]),
  )
  for (const [place, fault] of faults) {
    const backup = await counted()
    const faulty = new FaultyStore(place === 'copy' ? copy : first.store, fault)
    const at = place === 'copy' ? withPlaces(first.store, faulty) : withPlaces(faulty, copy)

    const report = await copyNow(at).catch(() => null)

    const { copiedTo } = await reload(backup)
    if (report?.done !== 1) expect(copiedTo).toEqual([])
    expect(await copyNow()).toMatchObject({ failed: 0, left: 0 })
    expect(await verifyBackup(withPlaces(copy), backup.id)).toMatchObject({ isIntact: true })
  }
})
