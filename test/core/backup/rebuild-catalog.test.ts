import { randomUUID } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Backup, findBackup } from '../../../src/core/backup/backup-record.ts'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { rebuildCatalog } from '../../../src/core/backup/rebuild-catalog.ts'
import { writeSummary } from '../../../src/core/backup/summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { undoRestore } from '../../../src/core/restore/undo-restore.ts'
import { forgetTenant } from '../../../src/core/retention/forget-tenant.ts'
import type { Services } from '../../../src/core/services.ts'
import { copyBackups } from '../../../src/core/store/copy-backups.ts'
import { erasurePrefix, summaryPath, tenantPrefix } from '../../../src/core/store/object-path.ts'
import { StoreWithCopy } from '../../../src/core/store/read-with-copy.ts'
import {
  CRON,
  createTestStore,
  otherKeys,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { ALPHA, BETA, installSmallHost, protectSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let copy: TestStore
let services: Services

beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
afterAll(async () => {
  await store?.remove()
  await copy?.remove()
  await database?.drop()
})

async function fresh(): Promise<void> {
  await store?.remove()
  await copy?.remove()
  store = await createTestStore()
  copy = await createTestStore()
  services = servicesOf(database.worker, new StoreWithCopy(store.store, copy.store))
  await loseRows()
}

const loseRows = () =>
  database.superuser.query(
    `truncate public.backup_logs, public.tenant_backups, tenantkeep.runs, tenantkeep.forgotten_tenants cascade`,
  )

async function take(tenantId = ALPHA): Promise<Backup> {
  const input = {
    tenantId,
    backupType: 'manual',
    actor: SYSTEM,
    name: 'Spring',
    tags: ['a'],
  } as const
  return (await takeBackup(services, input)).backup
}

const rebuild = (at = services, isDryRun = false) => rebuildCatalog(at, { actor: SYSTEM, isDryRun })

async function photograph(): Promise<string[]> {
  const { rows } = await database.superuser.query<{ row: string }>(
    `select 'a ' || t::text as row from shop.accounts t union all
     select 'p ' || t::text from shop.pockets t order by 1`,
  )
  return rows.map(({ row }) => row)
}

const spoil = () =>
  database.admin.query(`
    delete from shop.pockets where tenant_id = 'alpha';
    update shop.accounts set balance = balance + 1 where tenant_id = 'alpha'`)

async function restore(id: string, at = services): Promise<string> {
  const backup = await findBackup(database.worker, id)
  if (backup === undefined) throw new Error('The backup is gone.')
  const restored = await restoreTenant(at, {
    tenantId: ALPHA,
    source: await openBackup(at, backup),
    options: DEFAULT_OPTIONS,
    actor: SYSTEM,
    isDryRun: false,
  })
  expect(restored.blockers).toEqual([])
  return restored.restoreId ?? ''
}

test('with every table of ours and the first place gone, a tenant comes back from the copy, and a restore is undone', async () => {
  await fresh()
  const backups = [await take(), await take(BETA)]
  const before = await photograph()
  await spoil()
  const spoiled = await photograph()
  const restoreId = await restore(backups[0]?.id ?? '')
  await copyBackups(services, { actor: CRON, runId: null, until: new Date(Date.now() + 60_000) })

  await database.superuser.query(`
    drop table public.backup_logs, public.tenant_backups cascade;
    drop schema tenantkeep, tenantkeep_jobs cascade`)
  await rm(store.folder, { recursive: true })
  await protectSmallHost(database)
  const rehearsal = await rebuild(services, true)
  const report = await rebuild()
  const again = await rebuild()

  expect(rehearsal.rebuilt).toEqual(report.rebuilt)
  expect(report).toMatchObject({ restores: 1, known: 0, refused: [] })
  expect(report.rebuilt).toHaveLength(3)
  expect(report.closed).toEqual([expect.objectContaining({ store: store.store.url })])
  expect(again).toMatchObject({ rebuilt: [], restores: 0, known: 3 })
  for (const backup of backups) {
    const rebuilt = await findBackup(database.worker, backup.id)
    expect(rebuilt).toMatchObject({
      ...pick(backup),
      status: 'complete',
      storeUrl: copy.store.url,
      actorLabel: 'rebuild-catalog',
    })
    expect(await verifyBackup(servicesOf(database.worker, copy.store), backup.id)).toMatchObject({
      isIntact: true,
    })
  }
  expect(await photograph()).toEqual(before)
  const only = servicesOf(database.worker, copy.store)
  const undone = await undoRestore(only, {
    tenantId: ALPHA,
    restoreId,
    everything: false,
    onConflict: 'fail',
    isDryRun: false,
    actor: SYSTEM,
  })
  expect(undone.blockers).toEqual([])
  expect(await photograph()).toEqual(spoiled)
  await restore(backups[0]?.id ?? '', only)
  expect(await photograph()).toEqual(before)
})

/** What a summary holds of a row. */
function pick(backup: Backup): Partial<Backup> {
  const { id, organizationId, organizationName, backupType, createdAt, takenAt, backupDate } =
    backup
  const { objectStamp, summaryPath: path, summarySha256, formatVersion, totalTables } = backup
  const { totalRecords, rawSize, totalSize, uploadedSize, gaps, name, note, tags } = backup
  return {
    ...{ id, organizationId, organizationName, backupType, createdAt, takenAt, backupDate },
    ...{ objectStamp, summaryPath: path, summarySha256, formatVersion, totalTables },
    ...{ totalRecords, rawSize, totalSize, uploadedSize, gaps, name, note, tags },
  }
}

test('what lacks objects is refused and named; what was cut short too; the others are taken in', async () => {
  await fresh()
  const whole = await take()
  await database.admin.query(`update shop.pockets set balance = balance + 1`)
  const lacking = await take()
  await database.admin.query(`update shop.pockets set balance = balance + 1`)
  const cut = await take()
  const own = async (backup: Backup) => {
    const { tables } = await loadSummary(services, backup)
    const paths = tables.flatMap(({ parts }) => parts.map(({ path }) => path))
    return join(store.folder, paths.find((path) => path.includes(backup.objectStamp)) ?? '')
  }
  await rm(await own(lacking))
  await writeFile(await own(cut), 'short')
  await loseRows()

  const report = await rebuild()

  expect(report.rebuilt.map(({ backupId }) => backupId)).toEqual([whole.id])
  expect(report.refused).toHaveLength(2)
  for (const { code, message } of report.refused) {
    expect(code).toBe('backup_incomplete')
    expect(message).toMatch(/1 of \d+ parts/)
  }
})

test('forged, foreign and misplaced summaries are refused', async () => {
  await fresh()
  const backup = await take()
  const { signature: _, ...summary } = await loadSummary(services, backup)
  const file = join(store.folder, backup.summaryPath ?? '')
  const body = await readFile(file)
  await loseRows()
  const changed = Buffer.from(body.toString().replace('Spring', 'Autumn'))
  const elsewhere = summaryPath(BETA, backup.objectStamp)
  const id = randomUUID()
  const renamed = summaryPath(ALPHA, `${backup.objectStamp.slice(0, -8)}${id.slice(0, 8)}`)
  const trials: [string, Buffer][] = [
    [backup.summaryPath ?? '', changed],
    [backup.summaryPath ?? '', writeSummary(summary, otherKeys()).body],
    [backup.summaryPath ?? '', Buffer.from('{}')],
    [elsewhere, body],
    [renamed, body],
  ]
  for (const [path, bytes] of trials) {
    await rm(file, { force: true })
    await store.store.put(path, bytes, 'application/json')
    expect(await rebuild()).toMatchObject({
      rebuilt: [],
      refused: [{ path, code: 'backup_damaged' }],
    })
    await store.store.remove([path])
  }
})

test('what the catalog knows stays as it is, and forgotten tenants stay forgotten', async () => {
  await fresh()
  const known = await take()
  await database.admin.query(
    `update public.tenant_backups set note = 'said later', status = 'pruned', pruned_at = now(),
       prune_reason = 'on purpose' where id = $1`,
    [known.id],
  )
  const beta = await take(BETA)
  const objects = await store.store.list(tenantPrefix(BETA))
  const bodies = await Promise.all(
    objects.map(async ({ path }) => [path, await readFile(join(store.folder, path))] as const),
  )
  await forgetTenant(services, {
    tenantId: BETA,
    actor: SYSTEM,
    isDryRun: false,
    confirmName: 'Beta Rentals',
  })
  // As from an older copy of the bucket, beside a catalog that never heard of it.
  for (const [path, body] of bodies) await store.store.put(path, body, 'application/json')
  await database.superuser.query(`
    delete from tenantkeep.doomed_objects;
    delete from tenantkeep.forgotten_tenants;
    delete from public.backup_logs where organization_id = '${BETA}';
    delete from public.tenant_backups where organization_id = '${BETA}'`)
  const [mark] = await store.store.list(erasurePrefix())
  // In the other place it stands all the same.
  await store.store.remove([mark?.path ?? ''])

  const report = await rebuild()

  expect(report).toMatchObject({ rebuilt: [], known: 1 })
  expect(report).toMatchObject({ forgotten: 1, refused: [] })
  expect(await findBackup(database.worker, beta.id)).toBeUndefined()
  expect(await findBackup(database.worker, known.id)).toMatchObject({
    status: 'pruned',
    note: 'said later',
  })
})
