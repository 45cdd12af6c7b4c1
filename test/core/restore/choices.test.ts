import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import type { RestoreResult } from '../../../src/core/restore/restore-result.ts'
import { readRowVersions } from '../../support/expect-others-equal.ts'
import {
  countsOf,
  countWrites,
  createRestoreTrial,
  type Options,
  type RestoreTrial,
  refusalOf,
} from '../../support/restore-trial.ts'

const ANNA = '00000000-0000-4000-8000-00000000000a'
const BERT = '00000000-0000-4000-8000-00000000000b'
const CARL = '00000000-0000-4000-8000-00000000000c'

const TABLES = `
  create table orgs (id int primary key, name text);
  create table profiles (id uuid primary key references auth.users on delete cascade,
    org_id int not null references orgs, role text not null, nick text);
  create table tasks (id int primary key, org_id int not null references orgs, title text,
    author uuid references auth.users on delete set null,
    doer uuid not null references auth.users on delete cascade);
  create table customers (id int primary key, org_id int not null references orgs, code text unique,
    name text, password_hash text);
  create table agents (id int primary key, org_id int not null references orgs, name text);
  create table rentals (id int primary key, org_id int not null references orgs,
    customer_id int references customers on delete cascade, agent_id int references agents on delete set null);
  create table deals (id int primary key, org_id int not null references orgs,
    customer_id int references customers);
  create table trail (id int primary key, org_id int not null references orgs, what text);`

/** Ours are 1 to 4, the neighbour's 51 to 54. Deals are the neighbour's, with whoever's customers. */
const ROWS = `
  set session_replication_role = replica;
  delete from auth.users;
  delete from orgs; delete from profiles; delete from tasks; delete from customers; delete from agents;
  delete from rentals; delete from deals; delete from trail;
  insert into auth.users (id) values ('${ANNA}'), ('${BERT}'), ('${CARL}');
  insert into orgs values (1, 'ours'), (2, 'the neighbour’s');
  insert into profiles values ('${ANNA}', 1, 'owner', 'a'), ('${BERT}', 1, 'member', 'b'), ('${CARL}', 2, 'owner', 'c');
  insert into tasks select i + o * 50 - 50, o, 'task', case when i % 2 = 0 then '${BERT}'::uuid else '${ANNA}' end,
    case when i = 4 then '${BERT}'::uuid else '${ANNA}' end from generate_series(1, 4) i, generate_series(1, 2) o
    where o = 1;
  insert into tasks select 50 + i, 2, 'task', '${CARL}', '${CARL}' from generate_series(1, 4) i;
  insert into customers select i, 1, 'code ' || i, 'customer ' || i, 'hash ' || i from generate_series(1, 4) i;
  insert into customers select 50 + i, 2, 'code ' || 50 + i, 'customer', 'hash' from generate_series(1, 4) i;
  insert into agents select i, 1 + i / 50, 'agent ' || i from unnest(array[1, 2, 51]) i;
  insert into rentals select i, 1, i, 1 + i % 2 from generate_series(1, 4) i;
  insert into rentals values (51, 2, 51, 51);
  insert into deals values (51, 2, 51);
  insert into trail select i, 1 + i / 50, 'did ' || i from unnest(array[1, 2, 51]) i;
  set session_replication_role = origin`

const byOrg = Object.fromEntries(
  ['profiles', 'tasks', 'customers', 'agents', 'rentals', 'deals', 'trail'].map((table) => [
    table,
    't.org_id::text = $1',
  ]),
)

let trial: RestoreTrial
let backup: Backup
beforeAll(async () => {
  trial = await createRestoreTrial({
    sql: `${TABLES}${ROWS}`,
    options: {
      tenantTable: 'orgs',
      tenantColumns: ['org_id'],
      document: {
        version: 1,
        tables: {
          'public.profiles': { marks: { keep_live: ['role'] } },
          'public.customers': { marks: { keep_live: ['password_hash'] } },
          'public.trail': { marks: { history: true } },
        },
      },
    },
    tenants: ['1', '2'],
    owns: { orgs: 't.id::text = $1', ...byOrg },
  })
  backup = await trial.backUp()
})
beforeEach(async () => {
  await trial.database.superuser.withConnection((session) => session.query(ROWS))
})
afterAll(() => trial?.drop())

/** Our rows of a table, as text. */
async function rowsOf(table: string): Promise<string[]> {
  const { rows } = await trial.database.superuser.query<{ row: string }>(
    `select t::text as row from ${table} t where org_id = 1 order by id`,
  )
  return rows.map(({ row }) => row.replaceAll(ANNA, 'anna').replaceAll(BERT, 'bert'))
}

/** Restores with nobody else's rows moved, and nothing left for a second time. */
async function restore(options: Options): Promise<RestoreResult> {
  const others = await trial.photographOthers()
  const result = await trial.restore(backup, options)
  await others.expectEqual()
  expect(countWrites(await trial.rehearse(backup, options))).toBe(0)
  return result
}

/** What is in the way, the same in a dry run and a real one; nothing is written. */
async function blockersOf(options: Options) {
  const versions = await readRowVersions(trial.database)
  const { blockers } = await trial.rehearse(backup, options)
  const refused = await refusalOf(trial.restore(backup, options))
  const inShort = (found: typeof refused.blockers) =>
    found.map(({ code, table, constraint, keys }) => [
      code,
      constraint ?? table,
      ...keys.flat().map((key) => (key === BERT ? 'bert' : key)),
    ])
  expect(inShort(refused.blockers)).toEqual(inShort(blockers))
  expect(refused.code).toBe('restore_blocked')
  expect(await readRowVersions(trial.database)).toEqual(versions)
  return inShort(blockers)
}

const warningsOf = (result: RestoreResult, table: string) =>
  result.tables.find(({ name }) => name === table)?.warnings ?? []

test('a user who is gone: what belonged to him is named, or loses him where it can', async () => {
  await trial.database.superuser.query('delete from auth.users where id = $1', [BERT])
  const accepted = { accept_access_changes: true }

  expect(await blockersOf(accepted)).toEqual([
    ['missing_user', 'profiles_id_fkey', 'bert'],
    ['missing_user', 'tasks_author_fkey', '2', '4'],
    ['missing_user', 'tasks_doer_fkey', '4'],
  ])
  await trial.damage(`update tasks set title = 'spoiled' where org_id = 1`)

  const softened = await restore({ ...accepted, on_missing_user: 'null' })

  expect(countsOf(softened, 'tasks')).toMatchObject({ inserted: 0, updated: 3, skipped: 1 })
  expect(await rowsOf('tasks')).toEqual([
    '(1,1,task,anna,anna)',
    '(2,1,task,,anna)',
    '(3,1,task,anna,anna)',
  ])
  expect(countsOf(softened, 'profiles')).toMatchObject({ inserted: 0, skipped: 1 })
  expect(warningsOf(softened, 'tasks')).toEqual([
    expect.stringMatching(/2 rows lose what they pointed at by tasks_author_fkey/),
    expect.stringMatching(/1 rows were passed over.*tasks_doer_fkey/),
  ])
})

test('a user who is gone: rows that need him are passed over where that was chosen', async () => {
  await trial.database.superuser.query('delete from auth.users where id = $1', [BERT])
  await trial.damage(`update tasks set title = 'spoiled' where org_id = 1`)

  const result = await restore({ accept_access_changes: true, on_missing_user: 'skip' })

  expect(countsOf(result, 'profiles')).toMatchObject({ inserted: 0, skipped: 1 })
  expect(countsOf(result, 'tasks')).toMatchObject({ inserted: 0, updated: 2, skipped: 2, kept: 1 })
  expect(await rowsOf('tasks')).toEqual([
    '(1,1,task,anna,anna)',
    '(2,1,spoiled,,anna)',
    '(3,1,task,anna,anna)',
  ])
  const { rows } = await trial.database.superuser.query('select from auth.users')
  expect(rows).toHaveLength(2)
})

test('a parent outside of the scope: named, passed over, lost, or brought along', async () => {
  await trial.damage('delete from customers where id in (1, 2); delete from agents where id = 1')
  const scope = { tables: ['rentals'] }

  expect(await blockersOf(scope)).toEqual([
    ['missing_reference', 'rentals_agent_id_fkey', '2', '4'],
    ['missing_reference', 'rentals_customer_id_fkey', '1', '2'],
  ])

  const skipped = await restore({ ...scope, on_missing_reference: 'skip' })
  expect(countsOf(skipped, 'rentals')).toMatchObject({ inserted: 0, updated: 0, skipped: 3 })
  expect(await rowsOf('rentals')).toEqual(['(3,1,3,2)', '(4,1,4,)'])

  const softened = await restore({ ...scope, on_missing_reference: 'null' })
  expect(countsOf(softened, 'rentals')).toMatchObject({ inserted: 2, updated: 0 })
  expect(await rowsOf('rentals')).toEqual(['(1,1,,2)', '(2,1,,)', '(3,1,3,2)', '(4,1,4,)'])

  const brought = await restore({
    ...scope,
    on_missing_reference: 'restore',
    accept_access_changes: true,
  })
  expect(brought.tables.map(({ name }) => name).sort()).toEqual(['agents', 'customers', 'rentals'])
  expect(countsOf(brought, 'rentals')).toMatchObject({ inserted: 0, updated: 3 })
  expect(countsOf(brought, 'customers')).toMatchObject({ inserted: 2, updated: 0, deleted: 0 })
  expect(await rowsOf('rentals')).toEqual(['(1,1,1,2)', '(2,1,2,1)', '(3,1,3,2)', '(4,1,4,1)'])
  expect(await rowsOf('agents')).toEqual(['(1,1,"agent 1")', '(2,1,"agent 2")'])
  expect(warningsOf(brought, 'customers')).toEqual([
    expect.stringMatching(/2 rows are brought back although not asked for/),
  ])
})

test('parents that are brought along bring nothing else along', async () => {
  await trial.damage(`delete from customers where id in (1, 2); update customers set name = 'spoiled' where org_id = 1;
    insert into customers values (9, 1, 'code 9', 'newer', null)`)

  await restore({
    rows: { rentals: [{ id: '1' }] },
    on_missing_reference: 'restore',
    accept_access_changes: true,
  })

  expect(await rowsOf('rentals')).toEqual(['(1,1,1,2)', '(3,1,3,2)', '(4,1,4,1)'])
  expect(await rowsOf('customers')).toEqual([
    '(1,1,"code 1","customer 1","hash 1")',
    '(3,1,"code 3",spoiled,"hash 3")',
    '(4,1,"code 4",spoiled,"hash 4")',
    '(9,1,"code 9",newer,)',
  ])
})

/** The neighbour took two of our codes: that of a row which is there, and that of one which is gone. */
const TAKEN = `
  delete from customers where id = 1;
  update customers set code = 'changed', name = 'spoiled' where id = 2;
  update customers set name = 'spoiled' where id = 3;
  insert into customers values (61, 2, 'code 1', 'x', null), (62, 2, 'code 2', 'x', null)`

test('a value that somebody else holds now: named, with what hangs on the row', async () => {
  await trial.damage(TAKEN)
  const accepted = { accept_access_changes: true }

  expect(await blockersOf(accepted)).toEqual([
    ['key_taken', 'customers_code_key', '1', '2'],
    ['missing_reference', 'rentals_customer_id_fkey', '1'],
  ])
  expect(await blockersOf({ ...accepted, on_taken: 'skip' })).toEqual([
    ['missing_reference', 'rentals_customer_id_fkey', '1'],
  ])
})

test('a value that somebody else holds now: rows are passed over', async () => {
  await trial.damage(TAKEN)

  const result = await restore({ on_taken: 'skip', on_missing_reference: 'null' })

  expect(countsOf(result, 'customers')).toMatchObject({ inserted: 0, updated: 1, skipped: 2 })
  expect(await rowsOf('customers')).toEqual([
    '(2,1,changed,spoiled,"hash 2")',
    '(3,1,"code 3","customer 3","hash 3")',
    '(4,1,"code 4","customer 4","hash 4")',
  ])
  expect(await rowsOf('rentals')).toEqual(['(1,1,,2)', '(2,1,2,1)', '(3,1,3,2)', '(4,1,4,1)'])
})

test('a value that somebody else holds now: the live one is kept, all else comes back', async () => {
  await trial.damage(TAKEN)

  const result = await restore({ on_taken: 'keep_live', on_missing_reference: 'skip' })

  expect(countsOf(result, 'customers')).toMatchObject({ inserted: 0, updated: 2, skipped: 1 })
  expect(await rowsOf('customers')).toEqual([
    '(2,1,changed,"customer 2","hash 2")',
    '(3,1,"code 3","customer 3","hash 3")',
    '(4,1,"code 4","customer 4","hash 4")',
  ])
  expect(await rowsOf('rentals')).toEqual(['(2,1,2,1)', '(3,1,3,2)', '(4,1,4,1)'])
})

test('a newer row that others refer to: named, or kept with what it needs', async () => {
  await trial.damage(`
    insert into customers values (8, 1, 'code 8', 'newer', null), (9, 1, 'code 9', 'newer', null);
    insert into deals values (58, 2, 8)`)

  expect(await blockersOf({})).toEqual([['referenced', 'deals_customer_id_fkey', '8']])

  const result = await restore({ on_referenced: 'keep' })
  expect(countsOf(result, 'customers')).toMatchObject({ deleted: 1, kept: 1 })
  expect((await rowsOf('customers')).at(-1)).toBe('(8,1,"code 8",newer,)')
  expect(warningsOf(result, 'customers')).toEqual([
    expect.stringMatching(/1 rows stay as they are.*deals_customer_id_fkey/),
  ])
})

test('a newer row that stays keeps its newer parent', async () => {
  await trial.damage(`
    insert into agents values (9, 1, 'newer');
    insert into rentals values (9, 1, 1, 9)`)

  expect(await blockersOf({ tables: ['agents'] })).toEqual([
    ['referenced', 'rentals_agent_id_fkey', '9'],
  ])
  const result = await restore({ newer: 'keep' })
  expect(countWrites(result)).toBe(0)
  expect(await rowsOf('rentals')).toHaveLength(5)
})

test('the trail of what happened stays, unless that is asked for; lost entries come back', async () => {
  await trial.damage(`
    delete from trail where id = 1; update trail set what = 'spoiled' where id = 2;
    insert into trail values (9, 1, 'newer')`)

  const kept = await restore({})
  expect(countsOf(kept, 'trail')).toMatchObject({ inserted: 1, updated: 1, deleted: 0, kept: 1 })
  expect(await rowsOf('trail')).toEqual(['(1,1,"did 1")', '(2,1,"did 2")', '(9,1,newer)'])

  const whole = await restore({ history: 'restore' })
  expect(countsOf(whole, 'trail')).toMatchObject({ inserted: 0, updated: 0, deleted: 1 })
  expect(await rowsOf('trail')).toHaveLength(2)
})

test('columns that keep their live value: on update, not where the row is gone', async () => {
  await trial.damage(`
    update customers set password_hash = 'new', name = 'spoiled' where id = 1;
    update customers set password_hash = 'new' where id = 2;
    update customers set password_hash = null, code = 'spoiled' where id = 3;
    delete from customers where id = 4;
    update profiles set role = 'owner', nick = 'spoiled' where id = '${BERT}'`)
  const before = (await readRowVersions(trial.database)).customers?.length

  const result = await restore({ accept_access_changes: true })

  expect(countsOf(result, 'customers')).toMatchObject({ inserted: 1, updated: 2, unchanged: 1 })
  expect(await rowsOf('customers')).toEqual([
    '(1,1,"code 1","customer 1",new)',
    '(2,1,"code 2","customer 2",new)',
    '(3,1,"code 3","customer 3",)',
    '(4,1,"code 4","customer 4","hash 4")',
  ])
  expect(await rowsOf('profiles')).toEqual(['(anna,1,owner,a)', '(bert,1,owner,b)'])
  expect((await readRowVersions(trial.database)).customers).toHaveLength((before ?? 0) + 1)
})

test('rows that would let somebody in are listed, and come back only when that is accepted', async () => {
  await trial.damage(
    `delete from profiles where id = '${BERT}'; delete from customers where id = 4`,
  )

  expect(await blockersOf({})).toEqual([
    ['access_changes', 'customers', '4'],
    ['access_changes', 'profiles', 'bert'],
  ])
  const rest = await restore({ tables: ['rentals'], on_missing_reference: 'skip' })
  expect(rest.accessChanges).toEqual([])

  const result = await restore({ accept_access_changes: true })
  expect(result.accessChanges).toEqual([
    { table: 'customers', count: 1, keys: [['4']] },
    { table: 'profiles', count: 1, keys: [[BERT]] },
  ])
  expect(await rowsOf('profiles')).toEqual(['(anna,1,owner,a)', '(bert,1,member,b)'])
})

test('a member who became somebody else’s is named before he comes back', async () => {
  await trial.damage(`update profiles set org_id = 2 where id = '${BERT}'`)
  expect(await blockersOf({ accept_access_changes: true })).toEqual([
    ['key_taken', 'profiles_pkey', 'bert'],
  ])
})
