import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { readRowVersions } from '../../support/expect-others-equal.ts'
import {
  countsOf,
  countWrites,
  createRestoreTrial,
  type Options,
  type RestoreTrial,
  refusalOf,
} from '../../support/restore-trial.ts'

/** What Postgres does that a restore would trip over; each trap has a table of its own. */
const TABLES = `
  create extension citext schema public;
  create collation caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  create table orgs (id int primary key, name text);
  create table seats (id int primary key, org_id int not null references orgs,
    place text constraint seats_place unique deferrable initially immediate,
    during int4range, constraint seats_during exclude using gist (during with &&) deferrable initially deferred);
  create table lists (id int primary key, org_id int not null references orgs, tags int[], note text);
  create table places (id int primary key, org_id int not null references orgs, pos int, label text, span int4range,
    is_main boolean, unique (org_id, pos), exclude using gist (span with &&));
  create unique index places_label on places (lower(label));
  create unique index places_main on places (org_id) where is_main;
  create table tickets (id int generated always as identity (start with 300) primary key, org_id int not null references orgs,
    n int generated always as identity (start with 400), note text);
  create table mails (address citext primary key, org_id int not null references orgs, note text);
  create table letters (id int primary key, org_id int not null references orgs,
    address citext references mails on update cascade);
  create table sizes (size numeric, org_id int not null references orgs, note text, primary key (org_id, size));
  create table tags (name text collate caseless primary key, org_id int not null references orgs);
  create table customers (id int primary key, org_id int not null references orgs, name text);
  create table rentals (id int primary key, customer_id int not null references customers, note text);
  create table remarks (org_id int not null references orgs, value float8, tags int[]);
  create table replicated (id int primary key, org_id int not null references orgs, note text);
  create function shout() returns trigger language plpgsql as $$ begin new.note := upper(new.note); return new; end $$;
  create trigger shout before update on replicated for each row execute function shout();
  alter table replicated enable replica trigger shout;`

/** Ours below 100, the neighbour's from 100 on. */
const ROWS = `
  set session_replication_role = replica;
  delete from orgs; delete from seats; delete from lists; delete from places; delete from tickets; delete from mails; delete from letters;
  delete from sizes; delete from tags; delete from customers; delete from rentals; delete from remarks; delete from replicated;
  insert into orgs values (1, 'ours'), (2, 'the neighbour’s');
  insert into seats values (1, 1, 'a', '[1,3)'), (2, 1, 'b', '[3,5)'), (101, 2, 'z', '[101,103)');
  insert into lists values (1, 1, '{1,2,3}', 'a'), (2, 1, '{1,2,3}', 'b'), (3, 1, '{{1,2},{3,4}}', 'c'), (101, 2, '{1}', 'd');
  insert into places select i, 1, i, 'Label ' || i, int4range(i * 10, i * 10 + 10), i = 1 from generate_series(1, 4) i;
  insert into places values (101, 2, 1, 'Other', '[1000,1001)', true);
  insert into tickets overriding system value select i, 1, 100 + i, 'ticket ' || i from generate_series(1, 3) i;
  insert into tickets overriding system value values (101, 2, 201, 'other');
  insert into mails values ('Anna@example.com', 1, 'a'), ('bert@example.com', 1, 'b'), ('carl@example.com', 2, 'c');
  insert into letters values (1, 1, 'ANNA@example.com'), (2, 1, 'bert@example.com');
  insert into sizes values (1.0, 1, 'a'), (2, 1, 'b'), (1, 2, 'c');
  insert into tags values ('Red', 1), ('blue', 1), ('green', 2);
  insert into customers select i + 100 * (o - 1), o, 'customer ' || i from generate_series(1, 3) i, generate_series(1, 2) o;
  insert into rentals select id * 10, id, 'rental' from customers;
  insert into remarks values (1, '-0', '{1,2}'), (1, 'NaN', null), (1, 0, '{}'), (2, 1, null);
  insert into replicated values (1, 1, 'quiet'), (101, 2, 'quiet');
  set session_replication_role = origin`

let trial: RestoreTrial
let backup: Backup
beforeAll(async () => {
  const direct = [
    'seats',
    'lists',
    'places',
    'tickets',
    'mails',
    'letters',
    'sizes',
    'tags',
    'customers',
    'remarks',
    'replicated',
  ]
  trial = await createRestoreTrial({
    sql: `${TABLES}${ROWS}`,
    options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
    tenants: ['1', '2'],
    owns: {
      orgs: 't.id::text = $1',
      ...Object.fromEntries(direct.map((table) => [table, 't.org_id::text = $1'])),
      rentals:
        'exists (select from customers c where c.id = t.customer_id and c.org_id::text = $1)',
    },
  })
  backup = await trial.backUp()
})
beforeEach(async () => {
  await trial.database.superuser.withConnection((session) => session.query(ROWS))
})
afterAll(() => trial?.drop())

/** Damages, restores exactly, finds nothing left to do; nobody else's rows moved. */
async function expectExact(damage: string, { isExact = true } = {}) {
  const original = await trial.photographTenant()
  await trial.damage(damage)
  const others = await trial.photographOthers()
  const result = await trial.restore(backup)
  await original.expectEqual({ isExact })
  await others.expectEqual()
  const versions = await readRowVersions(trial.database)
  expect(countWrites(await trial.restore(backup))).toBe(0)
  expect(await readRowVersions(trial.database)).toEqual(versions)
  return result
}

async function blockersOf(options: Options = {}) {
  const versions = await readRowVersions(trial.database)
  const { code, blockers } = await refusalOf(trial.restore(backup, options))
  expect(code).toBe('restore_blocked')
  expect(await readRowVersions(trial.database)).toEqual(versions)
  return blockers.map((it) => [it.code, it.constraint, ...it.keys.flat()])
}

async function valuesOf(sql: string): Promise<unknown[]> {
  const { rows } = await trial.database.superuser.query<{ value: unknown }>(sql)
  return rows.map(({ value }) => value)
}

test('values of deferrable constraints that a neighbour took: named, passed over, or given up', async () => {
  await trial.damage(`
    update seats set place = 'x', during = '[20,21)' where id = 1; delete from seats where id = 2;
    insert into seats values (102, 2, 'a', '[4,6)')`)

  expect(await blockersOf()).toEqual([
    ['key_taken', 'seats_during', '2'],
    ['key_taken', 'seats_place', '1'],
  ])
  const others = await trial.photographOthers()
  await trial.restore(backup, { on_taken: 'keep_live' })
  expect(await valuesOf('select s::text as value from seats s where org_id = 1')).toEqual([
    '(1,1,x,"[1,3)")',
  ])
  await others.expectEqual()
})

test('values of deferrable constraints, swapped and shifted within the tenant', async () => {
  const result = await expectExact(
    `
    update seats set place = case place when 'a' then 'b' else 'a' end, during = during + 2 where org_id = 1;
    insert into seats values (3, 1, 'c', '[10,12)')`.replace(
      'during + 2',
      `int4range(lower(during) + 2, upper(during) + 2)`,
    ),
  )
  expect(countsOf(result, 'seats')).toMatchObject({ updated: 2, deleted: 1 })
})

test('unique values in a circle, by column, expression, predicate and exclusion', async () => {
  await expectExact(`
    update places set pos = -pos, label = 'x' || id, is_main = false, span = int4range(id * 1000 + 2000, id * 1000 + 2001) where org_id = 1;
    update places set pos = id % 4 + 1, label = 'LABEL ' || id % 4 + 1, is_main = id = 3,
      span = int4range((id % 4 + 1) * 10, (id % 4 + 1) * 10 + 10) where org_id = 1`)
})

test('equal arrays with different images are no difference', async () => {
  await trial.damage(`
    update lists set tags = '{1,null,3}' where id in (1, 2); update lists set tags[2] = 2 where id in (1, 2);
    update lists set tags = '{{1,2},{3,null}}' where id = 3; update lists set tags[2][2] = 4 where id = 3;
    update remarks set tags = '{null,2}' where tags = '{1,2}' and org_id = 1;
    update remarks set tags[1] = 1 where tags = '{null,2}' and org_id = 1`)
  // So that the digests differ, and the rows are looked at.
  const result = await expectExact(
    `update lists set note = 'spoiled' where id = 1; insert into remarks values (1, 5, '{9}')`,
    { isExact: false },
  )
  expect(countsOf(result, 'lists')).toMatchObject({ updated: 1, unchanged: 2 })
  expect(countsOf(result, 'remarks')).toMatchObject({ inserted: 0, deleted: 1, unchanged: 3 })
})

test('columns that only the database may set come back as they were, and their sequences go on', async () => {
  const result = await expectExact(`
    update tickets set n = default where id = 1; delete from tickets where id = 2;
    insert into tickets (org_id, note) select 1, 'newer' from generate_series(1, 2)`)

  expect(countsOf(result, 'tickets')).toMatchObject({ inserted: 1, updated: 1, deleted: 2 })
  await trial.damage(`insert into tickets (org_id, note) values (1, 'next')`)
  expect(
    await valuesOf(`select n > 400 and id > 300 as value from tickets where note = 'next'`),
  ).toEqual([true])
})

test('keys that are equal and not the same come back as they were, and go again in an undo', async () => {
  await trial.damage(`
    update mails set address = 'ANNA@EXAMPLE.COM' where note = 'a';
    update mails set note = 'spoiled' where note = 'b';
    update sizes set size = 1.000 where org_id = 1 and note = 'a';
    update tags set name = 'RED' where name = 'Red'`)
  const damaged = await trial.photographTenant()
  const { restoreId } = await trial.restore(backup)
  await trial.undo(restoreId)
  await damaged.expectEqual()

  const result = await trial.restore(backup)

  expect(countsOf(result, 'mails')).toMatchObject({ updated: 1, inserted: 1, deleted: 1 })
  expect(countsOf(result, 'sizes')).toMatchObject({ updated: 0, inserted: 1, deleted: 1 })
  expect(
    await valuesOf('select mails::text as value from mails where org_id = 1 order by 1'),
  ).toEqual(['(Anna@example.com,1,a)', '(bert@example.com,1,b)'])
  expect(await valuesOf('select letters::text as value from letters order by 1')).toEqual([
    '(1,1,ANNA@example.com)',
    '(2,1,bert@example.com)',
  ])
  expect(
    await valuesOf('select sizes::text as value from sizes where org_id = 1 order by size'),
  ).toEqual(['(1.0,1,a)', '(2,1,b)'])
  expect(await valuesOf('select name as value from tags where org_id = 1 order by 1')).toEqual([
    'blue',
    'Red',
  ])
  expect(countWrites(await trial.restore(backup))).toBe(0)
})

test('minus zero and no number are values like others', async () => {
  const result = await expectExact(`
    update remarks set value = 0 where value = 0 and tags = '{1,2}' and org_id = 1;
    update remarks set value = 1 where value = 'NaN'`)
  expect(countsOf(result, 'remarks')).toMatchObject({ inserted: 2, deleted: 2, unchanged: 1 })
})

test('rows whose owner is another row of ours now', async () => {
  const result = await expectExact(`
    update rentals set customer_id = 2 where id = 10; delete from customers where id = 1;
    insert into customers values (9, 1, 'newer'); update rentals set customer_id = 9 where id = 30`)
  expect(countsOf(result, 'rentals')).toMatchObject({ updated: 2, inserted: 0, deleted: 0 })
})

test('rows that a neighbour has now are named and stay there', async () => {
  await trial.damage(`
    update customers set org_id = 2, name = 'moved' where id = 1;
    update rentals set customer_id = 101 where id = 20`)

  expect(await blockersOf()).toEqual([
    ['key_taken', 'customers_pkey', '1'],
    ['key_taken', 'rentals_pkey', '10', '20'],
  ])

  await trial.damage(`update customers set name = 'spoiled' where id = 3`)
  const others = await trial.photographOthers()
  const result = await trial.restore(backup, { on_taken: 'skip' })
  await others.expectEqual()
  expect(countsOf(result, 'customers')).toMatchObject({ inserted: 0, updated: 1, skipped: 1 })
  expect(countsOf(result, 'rentals')).toMatchObject({ inserted: 0, skipped: 2 })

  // Once the neighbour gave them back, they are ours as they were.
  await expectBack(
    `update customers set org_id = 1 where id = 1; update rentals set customer_id = 1 where id = 20`,
  )
})

async function expectBack(damage: string): Promise<void> {
  await trial.damage(damage)
  await trial.restore(backup)
  expect(
    await valuesOf(`select c.name || r.id as value from customers c join rentals r on r.customer_id = c.id
      where c.org_id = 1 order by r.id`),
  ).toEqual(['customer 110', 'customer 220', 'customer 330'])
}

test('a key that is ours in the backup and now belongs to a newer row of the neighbour', async () => {
  await trial.damage(`
    delete from rentals where id = 10; delete from customers where id = 1;
    insert into customers values (1, 2, 'the neighbour’s'); insert into rentals values (10, 1, 'the neighbour’s')`)
  expect(await blockersOf()).toEqual([
    ['key_taken', 'customers_pkey', '1'],
    ['key_taken', 'rentals_pkey', '10'],
  ])
})

test('a trigger that acts on replicas is named like one that always acts', async () => {
  await trial.damage(`update replicated set note = 'spoiled' where id = 1`)
  expect(await blockersOf()).toEqual([['side_effects', 'shout']])
  await trial.restore(backup, { tables: ['customers'] })
})
