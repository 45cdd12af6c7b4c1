import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import type { Services } from '../../../src/core/services.ts'
import { countRowsOfNoTenant } from '../../../src/core/tables/count-rows-of-no-tenant.ts'
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
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(
    database,
    `create table shop.templates (id int primary key, tenant_id text not null references shop.tenants (id));
     insert into shop.templates values (1, 'alpha');
     create table shop.transfers (
       id int primary key, tenant_id text not null references shop.tenants (id),
       pocket_id uuid references shop.pockets (id)
     );
     insert into shop.transfers select 1, 'alpha', id from shop.pockets where tenant_id = 'alpha' limit 1;`,
  )
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

const take = async () =>
  (await takeBackup(services, { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM })).backup

test('a new table and a changed one show the same night, by name', async () => {
  const before = await take()
  await database.admin.query(
    `create table shop.brand_new (id int);
     alter table shop.pockets add column currency text;
     alter table shop.events add constraint at_once check (at is not null);`,
  )

  const backup = await take()

  expect(before.warnings).toEqual([])
  expect(backup.gaps).toEqual(['shop.brand_new'])
  expect(backup.warnings).toEqual([
    {
      code: 'schema_changed_since_last',
      message:
        'The schema is not as it was at the last backup: new: shop.brand_new; changed: shop.events (keys), shop.pockets (columns). Run init again: it says whether every row still leads to its tenant.',
    },
  ])
  expect((await loadSummary(services, backup)).warnings).toEqual(backup.warnings)
  const next = await take()
  expect(next.warnings).toEqual([])
  expect(next.gaps).toEqual(['shop.brand_new'])
  await database.admin.query('drop table shop.brand_new')
  expect((await take()).warnings).toMatchObject([
    { message: expect.stringMatching(/gone: shop\.brand_new/) },
  ])
})

test('rows of no tenant and of two are in the summary, with the date of their count, and in no total', async () => {
  await database.admin.query(
    `alter table shop.templates alter column tenant_id drop not null;
     insert into shop.templates values (2, null), (3, null);
     insert into shop.transfers select 2, 'alpha', id from shop.pockets where tenant_id = 'beta' limit 1;`,
  )
  const { failed } = await database.worker.withConnection((connection) =>
    countRowsOfNoTenant(connection, { perTable: 5_000, inAll: 20_000 }),
  )

  const backup = await take()

  expect(failed).toEqual([])
  const summary = await loadSummary(services, backup)
  expect(summary.rows_of_no_tenant).toEqual({
    tables: [
      {
        name: 'shop.templates',
        measured_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
        without_tenant: 2,
        null_tenant: 2,
        two_tenants: 0,
      },
      expect.objectContaining({ name: 'shop.transfers', without_tenant: 0, two_tenants: 1 }),
    ],
    not_measured: [],
  })
  expect(summary.tables.find(({ name }) => name === 'shop.templates')?.rows).toBe(1)
})

test('a table that was never counted is named as such', async () => {
  await database.admin.query('delete from tenantkeep.table_measurements')

  const { rows_of_no_tenant: lost } = await loadSummary(services, await take())

  expect(lost?.tables).toEqual([])
  expect(lost?.not_measured).toContain('shop.templates')
})
