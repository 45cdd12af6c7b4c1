import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { findBackup } from '../../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { updateBackup } from '../../../src/core/backup/update-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { runComparison } from '../../../src/core/compare/run-comparison.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { type ForgetInput, forgetTenant } from '../../../src/core/retention/forget-tenant.ts'
import { pruneBackups } from '../../../src/core/retention/prune-backups.ts'
import type { Actor, Services } from '../../../src/core/services.ts'
import { backupStamp, erasurePath } from '../../../src/core/store/object-path.ts'
import { StoreWithCopy } from '../../../src/core/store/read-with-copy.ts'
import { clearRetention, pathsOf, takeAgedBackups } from '../../support/aged-backups.ts'
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
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

const OPERATOR: Actor = { kind: 'operator', id: null, label: 'operator' }
const OWNER: Actor = { kind: 'user', id: 'u1', label: 'ann.canary@example.org' }
const FORGET: ForgetInput = {
  tenantId: ALPHA,
  confirmName: 'Alpha Gases',
  isDryRun: false,
  actor: OPERATOR,
}

let database: TestDatabase
let store: TestStore
let copy: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
beforeEach(async () => {
  await store?.remove()
  await copy?.remove()
  store = await createTestStore()
  copy = await createTestStore()
  services = servicesOf(database.worker, store.store)
  await clearRetention(database)
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
  await copy?.remove()
})

/** Every text in our tables, but for the journal of the erasure itself. */
async function everything(): Promise<string> {
  const tables = [
    'public.tenant_backups',
    'public.backup_logs',
    'tenantkeep.runs',
    'tenantkeep.run_tenants',
    'tenantkeep.run_events',
    'tenantkeep.comparison_rows',
    'tenantkeep.released_rows',
    'tenantkeep.alerts',
    'tenantkeep_jobs.job',
    'tenantkeep.drills',
  ]
  const found = await Promise.all(
    tables.map((table) =>
      database.superuser.query<{ row: string }>(`select t::text as row from ${table} t`),
    ),
  )
  return found.flatMap(({ rows }) => rows.map(({ row }) => row)).join('\n')
}

test('nothing of the tenant is left in catalog or stores but ids and marks; the neighbour keeps all', async () => {
  const [alpha] = await takeAgedBackups(database, services, [40, 0])
  const [beta] = await takeAgedBackups(database, services, [0], BETA)
  await updateBackup(services, {
    backupId: alpha?.id ?? '',
    actor: OWNER,
    name: 'name canary',
    note: 'note canary',
    tags: ['tag canary'],
    pin: { reason: 'pin canary' },
  })
  await database.admin.query(
    `update shop.accounts set label = 'row canary' where tenant_id = 'alpha'`,
  )
  await runComparison(services, {
    tenantId: ALPHA,
    tenantName: 'Alpha Gases',
    backup: { backupId: alpha?.id },
    against: 'live',
    actor: OWNER,
  })
  await database.admin.query(
    `insert into tenantkeep.released_rows (restore_id, organization_id, schema_name, table_name, row_text)
     values (gen_random_uuid(), 'alpha', 'shop', 'accounts', 'released canary')`,
  )
  await database.admin.query(
    `update public.tenant_backups set row_falls = '[{"table": "shop.accounts", "rows": 1, "usual": 9}]'
     where organization_id = 'alpha'`,
  )
  expect(await everything()).toMatch(/row canary/)
  const betaPaths = (await pathsOf(services)).filter((path) => path.includes('/beta/'))

  const looked = await forgetTenant(services, { ...FORGET, isDryRun: true, confirmName: null })
  const paths = await pathsOf(services)
  const report = await forgetTenant(services, FORGET)

  expect(looked).toMatchObject({ backups: 2, isInHost: true, holds: [] })
  expect(looked.objects).toBe(paths.length - betaPaths.length)
  expect(report).toMatchObject({
    backups: 2,
    objects: looked.objects,
    bytes: looked.bytes,
    locked: [],
  })
  expect(await pathsOf(services)).toEqual(betaPaths)
  expect(await everything()).not.toMatch(/canary|Alpha Gases/)
  expect((await verifyBackup(services, beta?.id ?? '')).findings).toEqual([])
  const { rows: counts } = await database.admin.query(
    `select organization_id as id, bool_or(table_rows is not null or row_falls is not null) as counts
     from public.tenant_backups group by 1 order by 1`,
  )
  expect(counts).toEqual([
    { id: ALPHA, counts: false },
    { id: BETA, counts: true },
  ])
  const { rows } = await database.admin.query(
    `select status, details ->> 'objects' as objects, organization_id, organization_name, actor_label
     from public.backup_logs where backup_type = 'forget'`,
  )
  expect(rows).toEqual([
    {
      status: 'complete',
      objects: String(looked.objects),
      organization_id: ALPHA,
      organization_name: null,
      actor_label: 'operator',
    },
  ])
  expect(await store.store.list('tenant-erasures/alpha/')).toHaveLength(1)
  expect(await forgetTenant(services, FORGET)).toMatchObject({ backups: 0, objects: 0 })

  const { backup: anew } = await takeBackup(services, {
    tenantId: ALPHA,
    backupType: 'manual',
    actor: SYSTEM,
  })
  const source = await openBackup(services, anew)
  expect(source.backupId).toBe(anew.id)
})

test('it takes the name exactly, and no hold; a hold that comes in between wins too', async () => {
  const [backup] = await takeAgedBackups(database, services, [0])
  const before = await pathsOf(services)
  const refused = async (input: Partial<ForgetInput> = {}) => {
    const error = await forgetTenant(services, { ...FORGET, ...input }).catch(
      (thrown: unknown) => thrown,
    )
    return error
  }

  expect(await refused({ confirmName: 'alpha gases' })).toMatchObject({ code: 'not_allowed' })
  expect(await refused({ confirmName: null })).toMatchObject({ code: 'not_allowed' })
  expect(await refused({ tenantId: 'nobody' })).toMatchObject({ code: 'tenant_not_found' })
  await updateBackup(services, {
    backupId: backup?.id ?? '',
    actor: OPERATOR,
    pin: { reason: 'lawsuit' },
  })
  expect(await refused()).toMatchObject({ code: 'tenant_held' })

  const looked = await forgetTenant(services, { ...FORGET, isDryRun: true })
  expect(looked.holds).toEqual([{ backupId: backup?.id, by: 'operator', reason: 'lawsuit' }])
  expect(await pathsOf(services)).toEqual(before)
  expect(await store.store.list('tenant-erasures/')).toEqual([])
  expect((await findBackup(database.worker, backup?.id ?? ''))?.status).toBe('complete')
})

test('a catalog from before brings nothing back: not to a restore, and prune takes the rows out again', async () => {
  const both = servicesOf(database.worker, new StoreWithCopy(store.store, copy.store))
  const [backup] = await takeAgedBackups(database, both, [0])
  // A copy of everything, and of the catalog, as before the erasure.
  const saved = new Map<string, Buffer>()
  for (const { path } of await store.store.list('tenant-backups/')) {
    const chunks: Buffer[] = []
    for await (const chunk of await store.store.get(path)) chunks.push(Buffer.from(chunk))
    saved.set(path, Buffer.concat(chunks))
    await copy.store.put(path, Buffer.concat(chunks), 'application/json')
  }
  await database.superuser.query(`create table public.older as select * from public.tenant_backups`)

  await forgetTenant(both, FORGET)
  expect(await copy.store.list('tenant-backups/')).toEqual([])
  for (const place of [store, copy]) {
    expect(await place.store.list('tenant-erasures/alpha/')).toHaveLength(1)
  }
  for (const [path, body] of saved) await copy.store.put(path, body, 'application/json')
  await database.superuser.query(
    `truncate public.tenant_backups, public.backup_logs, tenantkeep.runs, tenantkeep.forgotten_tenants cascade;
     insert into public.tenant_backups select * from public.older; drop table public.older`,
  )

  const row = await findBackup(database.worker, backup?.id ?? '')
  expect(row?.status).toBe('complete')
  if (row === undefined) throw new Error('The row is gone.')
  await expect(openBackup(both, row)).rejects.toMatchObject({ code: 'tenant_forgotten' })

  const report = await pruneBackups(both, {
    actor: CRON,
    runId: null,
    until: new Date(Date.now() + 60_000),
  })

  expect(report.failed).toBe(0)
  const after = await findBackup(database.worker, row.id)
  expect(after).toMatchObject({ status: 'pruned', organizationName: null })
  expect(await copy.store.list('tenant-backups/')).toEqual([])
})

test('a mark that we did not sign proves nothing', async () => {
  const [backup] = await takeAgedBackups(database, services, [0])
  const other = servicesOf(database.worker, store.store)
  await forgetTenant(
    { ...other, signingKeys: otherKeys() },
    { ...FORGET, tenantId: BETA, confirmName: 'Beta Rentals' },
  )
  const [forged] = await store.store.list('tenant-erasures/')
  expect(forged?.path).toContain('/beta/')
  // The same with a day to come: it would take in whatever is taken now.
  const at = new Date('2100-01-01T00:00:00.000Z')
  const mark = JSON.parse(await readFile(join(store.folder, forged?.path ?? ''), 'utf8'))
  await store.store.put(
    erasurePath(BETA, backupStamp(at, mark.erasure_id)),
    Buffer.from(JSON.stringify({ ...mark, forgotten_at: at.toISOString() })),
    'application/json',
  )

  const { backup: beta } = await takeBackup(services, {
    tenantId: BETA,
    backupType: 'manual',
    actor: SYSTEM,
  })

  expect((await openBackup(services, beta)).backupId).toBe(beta.id)
  if (backup !== undefined) expect((await openBackup(services, backup)).backupId).toBe(backup.id)
})

test('whatever fails on the way, the same call again or prune ends it, and nothing half-erased is offered', async () => {
  const probe = {
    database: new FaultyDatabase(database.worker),
    store: new FaultyStore(store.store),
  }
  await takeAgedBackups(database, services, [1, 0])
  await forgetTenant(servicesOf(probe.database, probe.store), FORGET)
  const faults = [
    ...probe.database.calls.map((_, i) => ({ call: i + 1, at: 'database' as const })),
    ...probe.store.calls.map((_, i) => ({ call: i + 1, at: 'store' as const })),
  ]
  expect(faults.length).toBeGreaterThan(15)

  for (const [index, { call, at }] of faults.entries()) {
    if (index % 2 === 1 && process.env.EVERY_FAULT === undefined) continue
    await takeAgedBackups(database, services, [0])
    const how = index % 4 < 2 ? ('error' as const) : ('after-success' as const)
    const faulty = servicesOf(
      new FaultyDatabase(database.worker, at === 'database' ? { call, how } : null),
      new FaultyStore(store.store, at === 'store' ? { call, how } : null),
    )
    await forgetTenant(faulty, FORGET).catch(() => {})

    const { rows } = await database.admin.query<{ id: string }>(
      `select id from public.tenant_backups where status = 'complete'`,
    )
    for (const { id } of rows) {
      expect((await verifyBackup(services, id)).findings, `${at} ${call} ${how}`).toEqual([])
    }
    if (index % 6 === 0 && rows.length === 0) {
      await pruneBackups(services, {
        actor: CRON,
        runId: null,
        until: new Date(Date.now() + 60_000),
      })
    } else await forgetTenant(services, FORGET)
    expect(await pathsOf(services), `${at} ${call} ${how}`).toEqual([])
    const { rows: open } = await database.admin.query(
      `select id from public.backup_logs where backup_type = 'forget' and status <> 'complete'
       union all select journal_id from tenantkeep.doomed_objects
       union all select id from public.tenant_backups where status = 'pruned' and objects_removed_at is null`,
    )
    expect(open, `${at} ${call} ${how}`).toEqual([])
  }
})
