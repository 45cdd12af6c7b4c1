import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import type { Services } from '../../../src/core/services.ts'
import { readProtectedTables } from '../../../src/core/tables/read-protected-tables.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { loadTable, readRows } from '../../support/load-from-file.ts'
import { ALPHA, installSmallHost, protectSmallHost } from '../../support/small-host.ts'

const SIZES = [0, 1, 1000, 1001, 50_000]

let database: TestDatabase
let store: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  const sized = SIZES.map(
    (size) => `
    create table shop.of_${size} (
      id uuid primary key default gen_random_uuid(), tenant_id text not null references shop.tenants (id),
      n integer not null, body text, doubled integer generated always as (n * 2) stored
    );
    create schema again_${size};
    create table again_${size}.t (like shop.of_${size} including generated);
    insert into shop.of_${size} (tenant_id, n, body)
      select 'alpha', i, repeat(md5(i::text), 12) from generate_series(1, ${size}) i;
    insert into shop.of_${size} (tenant_id, n) select 'beta', i from generate_series(1, 7) i;`,
  )
  await installSmallHost(database, sized.join(''))
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

const backUp = () => takeBackup(services, { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM })

test.each(SIZES)('a table of %i rows comes back as it was', async (size) => {
  const { backup } = await backUp()
  const summary = await loadSummary(services, backup)
  const inBackup = summary.tables.find((table) => table.name === `shop.of_${size}`)
  const table = (await readProtectedTables(database.worker)).find((t) => t.name === `of_${size}`)
  if (inBackup === undefined || table === undefined) throw new Error('not in the backup')

  expect(inBackup.rows).toBe(size)
  await database.admin.withConnection(async (admin) => {
    await admin.query(`truncate again_${size}.t`)
    await loadTable(admin, {
      folder: store.folder,
      summary: inBackup,
      table,
      target: `again_${size}.t`,
    })
    const { rows } = await admin.query(
      `(select * from shop.of_${size} where tenant_id = 'alpha' except all select * from again_${size}.t)
       union all
       (select * from again_${size}.t except all select * from shop.of_${size} where tenant_id = 'alpha')`,
    )
    expect(rows).toEqual([])
  })
})

test('a large table is cut into parts whose rows follow one another in the order of the key', async () => {
  const { backup } = await backUp()
  const summary = await loadSummary(services, backup)
  const rows = await readRows(store.folder, summary, 'shop.of_50000')
  const ids = rows.map((row) => String(row.id))

  expect(summary.tables.find((t) => t.name === 'shop.of_50000')?.parts.length).toBeGreaterThan(1)
  expect(ids).toEqual([...ids].sort())
})

test('equal data give equal bytes, whatever was written in between', async () => {
  const before = await loadSummary(services, (await backUp()).backup)
  // Other physical order, other row versions, the same values.
  await database.admin.query(`update shop.events set body = body where tenant_id = 'alpha'`)
  await database.admin.query(`update shop.of_1001 set n = n where n % 3 = 0`)
  const after = await backUp()
  const summary = await loadSummary(services, after.backup)

  expect(summary.tables.map((t) => t.parts)).toEqual(before.tables.map((t) => t.parts))
  expect(after.backup.changes?.tables).toEqual([])
})

test('rows that a policy of the host hides make the backup fail with the table named', async () => {
  await database.admin.query(
    `create policy "only recent" on shop.events as restrictive to public using (at < '2000-01-01')`,
  )
  const failing = backUp()

  await expect(failing).rejects.toMatchObject({
    code: 'rows_hidden',
    details: { table: 'shop.events', read: 0, counted: 9 },
  })
  await database.admin.query(`drop policy "only recent" on shop.events`)
  await expect(backUp()).resolves.toMatchObject({ status: 'complete' })
})

test('a policy that hides a single row is found too', async () => {
  await database.admin.query(
    `create policy "not the last" on shop.of_50000 as restrictive to public
     using (n < 50000 or tenant_id = 'beta')`,
  )
  await expect(backUp()).rejects.toMatchObject({
    code: 'rows_hidden',
    details: { table: 'shop.of_50000', read: 49_999, counted: 50_000 },
  })
  await database.admin.query(`drop policy "not the last" on shop.of_50000`)
})

test('a table that nobody classified is named in the backup and its summary', async () => {
  await database.admin.query(
    'create table shop.brand_new (id int primary key, tenant_id text not null references shop.tenants (id))',
  )
  const { backup } = await backUp()
  const summary = await loadSummary(services, backup)

  expect(backup.gaps).toEqual(['shop.brand_new'])
  expect(summary.gaps).toEqual(['shop.brand_new'])
  expect(summary.tables.map((table) => table.name)).not.toContain('shop.brand_new')

  await database.admin.query(`alter table shop.brand_new enable row level security`)
  await protectSmallHost(database)
  const next = await backUp()
  expect(next.backup.gaps).toEqual([])
  expect(next.backup.changes).toMatchObject({
    isSchemaChanged: true,
    tables: [{ name: 'shop.brand_new', rowsBefore: null, rowsAfter: 0 }],
  })
})

test.each([
  ['reads its own text as another value', 'text', 'textin', 'byteaout', "'some'"],
  ['cannot read its own text', 'int8', 'int8in', 'cash_out', "'100'"],
])(
  'a type that %s makes the backup fail with the table named',
  async (_, like, input, output, value) => {
    await database.superuser.withConnection(async (superuser) => {
      await superuser.query(`
      create type shop.odd;
      create function shop.odd_in(cstring) returns shop.odd language internal immutable strict as '${input}';
      create function shop.odd_out(shop.odd) returns cstring language internal immutable strict as '${output}';
      create type shop.odd (input = shop.odd_in, output = shop.odd_out, like = ${like})`)
    })
    await database.admin.query('alter table shop.events add column odd shop.odd')
    await database.admin.query(`update shop.events set odd = ${value}`)

    await expect(backUp()).rejects.toMatchObject({
      code: 'encoding_not_exact',
      details: { table: 'shop.events' },
    })
    await database.admin.query('alter table shop.events drop column odd')
    await database.superuser.query('drop type shop.odd cascade')
    await expect(backUp()).resolves.toMatchObject({ status: 'complete' })
  },
)
