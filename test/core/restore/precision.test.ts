import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { readRowVersions } from '../../support/expect-others-equal.ts'
import {
  countsOf,
  createRestoreTrial,
  type Options,
  type RestoreTrial,
} from '../../support/restore-trial.ts'

const HOST = {
  sql: `
    create table orgs (id int primary key, name text);
    create table customers (id int primary key, org_id int not null references orgs, name text, credit numeric not null);
    create table invoices (id int primary key, org_id int not null references orgs,
      customer int references customers, total numeric);
    create table stock (org_id int not null references orgs, article text, amount int, primary key (org_id, article));
    create table remarks (org_id int not null references orgs, body text);
    create table scans (id int primary key, org_id int not null references orgs, amount int);
    insert into orgs values (1, 'one'), (2, 'two');
    insert into customers select i, i % 2 + 1, 'customer ' || i, i from generate_series(1, 2000) i;
    insert into invoices select i, i % 2 + 1, i, i * 2 from generate_series(1, 600) i;
    insert into stock select o.id, 'a' || n, n from orgs o, generate_series(1, 20) n;
    insert into remarks select i % 2 + 1, 'r' || i % 5 from generate_series(1, 50) i;
    insert into scans select i, i % 2 + 1, i % 600 + 1 from generate_series(1, 20000) i;`,
  options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
  tenants: ['1', '2'],
  owns: {
    orgs: 't.id::text = $1',
    customers: 't.org_id::text = $1',
    invoices: 't.org_id::text = $1',
    stock: 't.org_id::text = $1',
    remarks: 't.org_id::text = $1',
    scans: 't.org_id::text = $1',
  },
} as const

let trial: RestoreTrial
let backup: Backup
beforeAll(async () => {
  trial = await createRestoreTrial(HOST)
  backup = await trial.backUp()
})
beforeEach(async () => {
  const original = await trial.restore(backup)
  expect(original.blockers).toEqual([])
})
afterAll(() => trial?.drop())

async function count(sql: string): Promise<number> {
  const { rows } = await trial.database.superuser.query<{ n: number }>(
    `select count(*)::int as n ${sql}`,
  )
  return rows[0]?.n ?? -1
}

/** Which tables were written to, and by how many new versions of rows. */
async function versionsWritten(before: Record<string, string[]>): Promise<Record<string, number>> {
  const after = await readRowVersions(trial.database)
  const written: Record<string, number> = {}
  for (const [label, versions] of Object.entries(after)) {
    const known = new Set(before[label])
    const news = versions.filter((version) => !known.has(version)).length
    if (news > 0) written[label] = news
  }
  return written
}

test('one column spoiled in 500 rows comes back, and the 200 rows added since stay', async () => {
  await trial.damage(`
    update customers set credit = -1 where org_id = 1 and id <= 1000;
    insert into customers select 10000 + i, 1, 'new', i from generate_series(1, 200) i;
    delete from invoices where org_id = 1 and id <= 20`)
  const others = await trial.photographOthers()
  const before = await readRowVersions(trial.database)

  const result = await trial.restore(backup, { missing: 'keep', newer: 'keep' })

  expect(countsOf(result, 'customers')).toEqual({
    rowsInBackup: 1000,
    rowsLive: 1200,
    inserted: 0,
    updated: 500,
    deleted: 0,
    unchanged: 500,
    kept: 200,
    skipped: 0,
  })
  expect(countsOf(result, 'invoices')).toMatchObject({ inserted: 0, skipped: 10 })
  expect(await versionsWritten(before)).toEqual({ customers: 500 })
  expect(await count(`from customers where org_id = 1 and credit = -1`)).toBe(0)
  expect(await count(`from customers where id > 10000`)).toBe(200)
  await others.expectEqual()
})

test.each<[string, Options, Record<string, number>]>([
  ['all three', {}, { inserted: 5, updated: 10, deleted: 7, kept: 0 }],
  [
    'missing rows alone',
    { changed: 'keep', newer: 'keep' },
    { inserted: 5, updated: 0, deleted: 0, kept: 17 },
  ],
  [
    'changed rows alone',
    { missing: 'keep', newer: 'keep' },
    { inserted: 0, updated: 10, deleted: 0, kept: 7, skipped: 5 },
  ],
  [
    'newer rows alone',
    { missing: 'keep', changed: 'keep' },
    { inserted: 0, updated: 0, deleted: 7, kept: 10 },
  ],
  [
    'none',
    { missing: 'keep', changed: 'keep', newer: 'keep' },
    { inserted: 0, updated: 0, deleted: 0, kept: 17 },
  ],
])('of missing, changed and newer rows: %s', async (_, options, expected) => {
  await trial.damage(`
    delete from customers where id in (2000, 1998, 1996, 1994, 1992);
    update customers set name = 'spoiled' where org_id = 1 and id <= 20;
    insert into customers select 20000 + i, 1, 'new', i from generate_series(1, 7) i`)
  const others = await trial.photographOthers()

  const result = await trial.restore(backup, options)

  expect(countsOf(result, 'customers')).toMatchObject(expected)
  await others.expectEqual()
})

test('of a large table a few rows', async () => {
  await trial.damage(`
    update scans set amount = null where id <= 8;
    delete from scans where id between 11 and 20;
    insert into scans select 30000 + i, 1, i from generate_series(1, 3) i`)
  const others = await trial.photographOthers()
  const before = await readRowVersions(trial.database)

  const result = await trial.restore(backup)

  expect(countsOf(result, 'scans')).toEqual({
    rowsInBackup: 10_000,
    rowsLive: 9_998,
    inserted: 5,
    updated: 4,
    deleted: 3,
    unchanged: 9_991,
    kept: 0,
    skipped: 0,
  })
  expect(await versionsWritten(before)).toEqual({ scans: 9 })
  await others.expectEqual()
})

test('one table alone, all others left as they are', async () => {
  await trial.damage(`
    update customers set name = 'spoiled' where org_id = 1;
    update stock set amount = 0 where org_id = 1;
    insert into remarks values (1, 'new')`)
  const before = await readRowVersions(trial.database)

  const result = await trial.restore(backup, { tables: ['stock'] })

  expect(result.tables.map(({ name }) => name)).toEqual(['stock'])
  expect(await versionsWritten(before)).toEqual({ stock: 20 })
})

test('two tables, one of them without a key', async () => {
  await trial.damage(`
    update customers set name = 'spoiled' where org_id = 1;
    delete from remarks where org_id = 1 and body = 'r1';
    insert into remarks values (1, 'new'), (1, 'r2'), (1, 'r2')`)
  const before = await readRowVersions(trial.database)

  const result = await trial.restore(backup, { tables: ['stock', 'remarks'] })

  expect(countsOf(result, 'remarks')).toMatchObject({ inserted: 5, deleted: 3, unchanged: 20 })
  expect(countsOf(result, 'stock')).toMatchObject({ inserted: 0, updated: 0, deleted: 0 })
  expect(await versionsWritten(before)).toEqual({ remarks: 5 })
})

test('rows by their keys: a missing one, a changed one, a newer one, and no other', async () => {
  await trial.damage(`
    update invoices set total = 0 where org_id = 1;
    delete from invoices where id in (2, 4);
    insert into invoices values (9001, 1, null, 1), (9002, 1, null, 1);
    update stock set amount = 99 where org_id = 1`)
  const before = await readRowVersions(trial.database)

  const result = await trial.restore(backup, {
    rows: {
      invoices: [{ id: '4' }, { id: '6' }, { id: '9001' }],
      stock: [{ org_id: '1', article: 'a3' }],
    },
  })

  expect(countsOf(result, 'invoices')).toMatchObject({ inserted: 1, updated: 1, deleted: 1 })
  expect(countsOf(result, 'stock')).toMatchObject({ inserted: 0, updated: 1, deleted: 0 })
  expect(await versionsWritten(before)).toEqual({ invoices: 2, stock: 1 })
  expect(await count('from invoices where id = 9002')).toBe(1)
  expect(await count('from invoices where id in (2, 9001)')).toBe(0)
  expect(await count(`from stock where org_id = 1 and article = 'a3' and amount = 3`)).toBe(1)
})

test('a table as a whole, and of another one a row', async () => {
  await trial.damage(`
    update customers set name = 'spoiled' where org_id = 1;
    update stock set amount = 99 where org_id = 1`)
  const before = await readRowVersions(trial.database)

  const result = await trial.restore(backup, {
    tables: ['stock'],
    rows: { customers: [{ id: '4' }] },
  })

  expect(countsOf(result, 'stock')).toMatchObject({ updated: 20 })
  expect(countsOf(result, 'customers')).toMatchObject({ inserted: 0, updated: 1, deleted: 0 })
  expect(await versionsWritten(before)).toEqual({ stock: 20, customers: 1 })
})

test.each<[string, Options, RegExp]>([
  ['a table that is none', { tables: ['nothing'] }, /There is no table nothing/],
  [
    'a neighbour’s key’s shape',
    { rows: { stock: [{ article: 'a3' }] } },
    /named by their primary key: org_id, article/,
  ],
  [
    'a key of a table without one',
    { rows: { remarks: [{ body: 'r1' }] } },
    /it has no primary key/,
  ],
  [
    'a key that is no number',
    { rows: { invoices: [{ id: '1; drop table invoices' }] } },
    /none that its columns can hold/,
  ],
  [
    'a key of another name',
    { rows: { invoices: [{ 'id" = 1 or "id': '1' }] } },
    /named by their primary key: id/,
  ],
])('%s is refused', async (_, options, message) => {
  await trial.damage(`
    update stock set amount = 0 where org_id = 1;
    update invoices set total = 0 where org_id = 1;
    insert into remarks values (1, 'new')`)
  const others = await trial.photographOthers()
  await expect(trial.restore(backup, options)).rejects.toMatchObject({
    code: 'invalid_request',
    message: expect.stringMatching(message),
  })
  await others.expectEqual()
})

test('keys of no row of ours, the neighbour’s among them, are counted in a warning', async () => {
  const before = await readRowVersions(trial.database)
  const result = await trial.restore(backup, {
    rows: { invoices: [{ id: '2' }, { id: '3' }, { id: '99999' }] },
  })
  expect(result.tables.find(({ name }) => name === 'invoices')?.warnings).toEqual([
    '2 of the rows that were named are neither in the backup nor there now. Check their keys.',
  ])
  expect(countsOf(result, 'invoices')).toMatchObject({ inserted: 0, updated: 0, deleted: 0 })
  expect(await versionsWritten(before)).toEqual({})
})
