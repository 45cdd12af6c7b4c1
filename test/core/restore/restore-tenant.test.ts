import { afterAll, beforeAll, expect, test } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { undoRestore } from '../../../src/core/restore/undo-restore.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { ALPHA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore

beforeAll(async () => {
  database = await createTestDatabase()
  store = await createTestStore()
  await installSmallHost(database)
})

afterAll(async () => {
  await database.drop()
  await store.remove()
})

async function photograph(): Promise<string[]> {
  const { rows } = await database.superuser.query<{ row: string }>(
    `select 't ' || t::text as row from shop.tenants t
     union all select 'a ' || t::text from shop.accounts t
     union all select 'p ' || t::text from shop.pockets t
     union all select 'e ' || t::text from shop.entries t
     union all select 'v ' || t::text from shop.events t order by 1`,
  )
  return rows.map(({ row }) => row)
}

test('a damaged tenant comes back exactly, writes nothing the second time, and the restore can be undone', async () => {
  const services = servicesOf(database.worker, store.store)
  const { backup } = await takeBackup(services, {
    tenantId: ALPHA,
    backupType: 'manual',
    actor: SYSTEM,
  })
  const before = await photograph()
  await database.admin.query(`
    update shop.tenants set name = 'Spoiled' where id = 'alpha';
    update shop.accounts set balance = balance + 1 where tenant_id = 'alpha' and id % 2 = 0;
    delete from shop.entries where account_id in (select id from shop.accounts where tenant_id = 'alpha') and id % 3 = 0;
    insert into shop.entries (account_id, note) select id, 'new' from shop.accounts where tenant_id = 'alpha';
    delete from shop.events where tenant_id = 'alpha' and body ->> 'n' = '1';
    insert into shop.events (tenant_id, body) values ('alpha', '{"n": 9}'), ('alpha', '{"n": 9}');
    delete from shop.pockets where tenant_id = 'alpha'`)
  const damaged = await photograph()
  const source = await openBackup(services, backup)
  const input = { tenantId: ALPHA, source, options: DEFAULT_OPTIONS, actor: SYSTEM }

  const rehearsal = await restoreTenant(services, { ...input, isDryRun: true, sampleRows: 2 })
  expect(rehearsal.blockers).toEqual([])
  expect(await photograph()).toEqual(damaged)

  const restored = await restoreTenant(services, {
    ...input,
    isDryRun: false,
    planHash: rehearsal.planHash,
  })
  expect(await photograph()).toEqual(before)
  expect(restored.tables.map(({ samples: _, ...table }) => table)).toEqual(
    rehearsal.tables.map(({ samples: _, ...table }) => table),
  )

  const again = await restoreTenant(services, { ...input, isDryRun: false })
  expect(again.tables.every((t) => t.inserted + t.updated + t.deleted === 0)).toBe(true)

  const undone = await undoRestore(services, {
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
