import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/database.ts'
import { ALPHA, installSmallHost, protectSmallHost } from '../../../support/small-host.ts'
import { constraintOf, relationOf, type Staging, staged, withStaging } from './staging.ts'

// What an attacker wants to run with the owner's rights, and a place to see whether it ran: nextval is not
// rolled back, and the sequence is the owner's alone.
const HOST = `
  create sequence shop.ran;
  create schema trap;
  create domain shop.amount as numeric check (value > -1000);
  create table shop.offers (id int primary key, tenant_id text not null, price shop.amount, body json);
  create table shop.countries (code text primary key);
  create table shop.currencies (code text primary key, country text references shop.countries);
  insert into shop.countries values ('se');
`

/** A function of the session's own that leaves a trace if the owner runs it. */
const TRAP = `create function pg_temp.trap(anyelement default 1) returns int language plpgsql immutable
  as $$ begin if current_user = 'postgres' then perform nextval('shop.ran'); end if; return 1; end $$`

let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  await database.admin.query(HOST)
  await protectSmallHost(database, { shared: ['shop.countries', 'shop.currencies'] })
})

afterAll(() => database?.drop())

/** Every definer function, called with this as its staged table. */
const CALLS: [string, (staged: string) => string][] = [
  ['find_key_holders', (s) => `find_key_holders(${relationOf('accounts_pkey')}, ${s})`],
  [
    'find_missing_parents',
    (s) => `find_missing_parents(${constraintOf('accounts_tenant_id_fkey')}, ${s}, null)`,
  ],
  [
    'find_missing_parents, its parents',
    (s) =>
      `find_missing_parents(${constraintOf('entries_account_id_fkey')}, 'pg_temp.entries', ${s})`,
  ],
  [
    'find_referrers',
    (s) => `find_referrers(${constraintOf('entries_account_id_fkey')}, ${s}, null)`,
  ],
  [
    'find_referrers, its children',
    (s) => `find_referrers(${constraintOf('accounts_tenant_id_fkey')}, 'pg_temp.tenants', ${s})`,
  ],
  [
    'find_unowned_children',
    (s) =>
      `find_unowned_children((select id from tenantkeep.ownership where table_name = 'entries'), ${s})`,
  ],
  [
    'find_owned_parents',
    (s) => `find_owned_parents(${constraintOf('accounts_tenant_id_fkey')}, ${s})`,
  ],
  ['release_rows', (s) => `release_rows('shop', 'accounts', ${s}, gen_random_uuid(), 'alpha')`],
  ['hold_references', (s) => `hold_references(${constraintOf('accounts_tenant_id_fkey')}, ${s})`],
  [
    'count_lost_referrers',
    (s) => `count_lost_referrers(${constraintOf('entries_account_id_fkey')}, ${s})`,
  ],
  ['count_duplicates', (s) => `count_duplicates(${constraintOf('accounts_pkey')}, ${s})`],
  ['raise_sequences', (s) => `raise_sequences('shop', 'accounts', ${s})`],
]

async function call(sql: string, stage: (staging: Staging) => Promise<unknown>): Promise<unknown> {
  return withStaging(
    database,
    ALPHA,
    async (staging) => {
      await staging.create('entries', 'shop.entries')
      await staging.create('tenants', 'shop.tenants')
      await stage(staging)
      return staging.asWorker(`select * from tenantkeep.${sql}`)
    },
    { isSilent: true },
  )
}

describe('every definer function that reads staged rows', () => {
  it('is named here', async () => {
    const { rows } = await database.admin.query<{ name: string }>(
      `select p.proname as name from pg_proc p
       where p.pronamespace = 'tenantkeep'::regnamespace and 'regclass'::regtype = any (p.proargtypes)
         and has_function_privilege('tenantkeep_worker', p.oid, 'execute') order by 1`,
    )
    const named = new Set(CALLS.map(([name]) => name.split(',')[0]))
    expect(rows.map((row) => row.name)).toEqual([...named].sort())
  })

  it.each(CALLS)('takes a staged table as the engine makes it: %s', async (_, render) => {
    const rows = await call(render(staged('s')), (staging) => staging.create('s', 'shop.accounts'))
    expect(Array.isArray(rows)).toBe(true)
  })

  it.each(CALLS)('refuses a view in its place, and does not read it: %s', async (_, render) => {
    const answer = call(render(staged('s')), async (staging) => {
      await staging.create('real', 'shop.accounts')
      await staging.asOperator(TRAP)
      await staging.asOperator(
        `create view pg_temp.s as select r.*, pg_temp.trap() as ran from pg_temp.real r
         where pg_temp.trap() = 1; grant select on pg_temp.s to postgres`,
      )
    })
    await expect(answer).rejects.toMatchObject({
      code: 'TK001',
      message: expect.stringContaining('is no temporary table'),
    })
  })

  it.each(CALLS)('refuses no staged table at all: %s', async (_, render) => {
    // The tables of the other side may be left out.
    if (render('null').endsWith('null, null)') || /'pg_temp\.\w+', null/.test(render('null')))
      return
    const answer = call(render('null::regclass'), async () => {})
    await expect(answer).rejects.toMatchObject({ code: 'TK001' })
  })
})

describe('a staged table', () => {
  /** Makes a staged table of offers, changes it, and lets a definer function have it. */
  const offer = (change: (staging: Staging) => Promise<unknown>) =>
    call(`find_key_holders(${relationOf('offers_pkey')}, ${staged('s')})`, async (staging) => {
      await staging.create('s', 'shop.offers')
      await change(staging)
      await staging.asOperator(
        'insert into pg_temp.s (id, "tenantkeep:action") values (1, \'insert\')',
      )
    })

  it('may have base types of domains, live types, and built-in types', async () => {
    await expect(offer(async () => {})).resolves.toEqual([])
    await expect(
      offer((staging) => staging.asOperator('alter table pg_temp.s alter price type text')),
    ).resolves.toEqual([])
    // The engine makes no such column, but what the live table has can't be worse than the live table.
    await database.admin.query('grant usage on schema shop to tenantkeep_operator')
    await expect(
      offer((staging) => staging.asOperator('alter table pg_temp.s alter price type shop.amount')),
    ).resolves.toEqual([])
  })

  it.each([
    [
      'a rule',
      `create rule r as on insert to pg_temp.s where pg_temp.trap() = 0 do also nothing`,
      'has rules',
    ],
    [
      'a policy that calls a function',
      `alter table pg_temp.s enable row level security;
       create policy p on pg_temp.s using (pg_temp.trap() = 1)`,
      'has policies',
    ],
    ['row level security', 'alter table pg_temp.s enable row level security', 'has policies'],
    [
      'a trigger',
      `create function pg_temp.t() returns trigger language plpgsql as 'begin return new; end';
       create trigger t before insert on pg_temp.s for each row execute function pg_temp.t()`,
      'has triggers',
    ],
    ['a child', 'create table pg_temp.below () inherits (pg_temp.s)', 'inherits'],
    ['a check', 'alter table pg_temp.s add check (pg_temp.trap(id) = 1)', 'has checks'],
    ['a default', 'alter table pg_temp.s alter price set default pg_temp.trap()', 'has defaults'],
    [
      'a generated column',
      `alter table pg_temp.s drop column price;
       alter table pg_temp.s add price int generated always as (pg_temp.trap(id)) stored`,
      'has defaults or generated',
    ],
    [
      'an identity',
      'alter table pg_temp.s alter id set not null, alter id add generated by default as identity',
      'no live column: id',
    ],
    [
      'an index on an expression',
      'create index on pg_temp.s (pg_temp.trap(id))',
      'index on an expression',
    ],
    [
      'a partial index',
      'create index on pg_temp.s (id) where pg_temp.trap(1) = 1',
      'index on an expression',
    ],
    [
      'statistics on an expression',
      'create statistics pg_temp.x on id, (pg_temp.trap(1)) from pg_temp.s',
      'extended statistics',
    ],
    [
      'a domain whose check calls a function',
      `create domain pg_temp.d as numeric check (pg_temp.trap(1) = 1);
       alter table pg_temp.s alter price type pg_temp.d`,
      'no live column: price',
    ],
    [
      'a type of its own',
      `create type pg_temp.e as enum ('a'); alter table pg_temp.s alter price type pg_temp.e using null`,
      'no live column: price',
    ],
    ['a column too many', 'alter table pg_temp.s add evil int', 'no live column: evil'],
    ['a column too few', 'alter table pg_temp.s drop column price', 'no live column: price'],
    [
      'a bookkeeping column of another type',
      'alter table pg_temp.s alter "tenantkeep:row" type text',
      'no live column: tenantkeep:row',
    ],
    [
      'a bookkeeping column too few',
      'alter table pg_temp.s drop column "tenantkeep:xmin"',
      'no live column: tenantkeep:xmin',
    ],
  ])('may not have %s', async (_, change, message) => {
    const answer = offer(async (staging) => {
      await staging.asOperator(TRAP)
      await staging.asOperator(change)
    })
    await expect(answer).rejects.toMatchObject({
      code: 'TK001',
      message: expect.stringContaining(message),
    })
  })

  it('may not be another role’s', async () => {
    // Which the worker can't make, since it may make no temporary table itself; the owner could.
    await database.admin.query(`grant temporary on database ${database.name} to tenantkeep_worker`)
    const answer = call(
      `find_key_holders(${relationOf('offers_pkey')}, ${staged('theirs')})`,
      async (staging) => {
        await staging.create('s', 'shop.offers')
        await staging.asOperator('grant select on pg_temp.s to tenantkeep_worker')
        await staging.asWorker(
          'create temp table theirs as table pg_temp.s; grant select on theirs to postgres',
        )
      },
    )
    await expect(answer).rejects.toMatchObject({
      message: expect.stringContaining('is not the operator'),
    })
  })

  it('may not be a permanent table, nor another session’s', async () => {
    await database.admin.query(
      `create schema if not exists trap; grant all on schema trap to tenantkeep_operator, tenantkeep_worker`,
    )
    const permanent = call(
      `find_key_holders(${relationOf('offers_pkey')}, 'trap.s'::regclass)`,
      async (staging) => {
        await staging.create('s', 'shop.offers')
        await staging.asOperator(
          'create table trap.s as table pg_temp.s; grant select on trap.s to postgres',
        )
      },
    )
    await expect(permanent).rejects.toMatchObject({
      message: expect.stringContaining('is no temporary table'),
    })
    const others = withStaging(database, ALPHA, async (first) => {
      await first.create('s', 'shop.offers')
      await first.asOperator('commit')
      const [table] = await first.asWorker<{ oid: string }>(
        `select ${staged('s')}::oid::text as oid`,
      )
      return call(
        `find_key_holders(${relationOf('offers_pkey')}, ${table?.oid}::oid::regclass)`,
        async () => {},
      )
    })
    await expect(others).rejects.toMatchObject({
      message: expect.stringContaining('is no temporary table'),
    })
  })
})

describe('a definer function', () => {
  it.each([
    [
      'an index of a shared table',
      `find_key_holders(${relationOf('countries_pkey')}, ${staged('s')})`,
    ],
    ['an index of a catalog', `find_key_holders('pg_class_oid_index'::regclass, ${staged('s')})`],
    [
      'an index of our own',
      `find_key_holders('tenantkeep.released_rows_pkey'::regclass, ${staged('s')})`,
    ],
    [
      'an index that is not unique',
      `find_key_holders('tenantkeep.released_rows_restore'::regclass, ${staged('s')})`,
    ],
    ['a table for an index', `find_key_holders(${relationOf('accounts')}, ${staged('s')})`],
    [
      'a key between shared tables',
      `find_missing_parents(${constraintOf('currencies_country_fkey')}, ${staged('s')}, null)`,
    ],
    [
      'a key between shared tables, from its other end',
      `find_referrers(${constraintOf('currencies_country_fkey')}, ${staged('s')}, null)`,
    ],
    [
      'a shared table’s rows as staged parents',
      `find_missing_parents(${constraintOf('currencies_country_fkey')}, ${staged('s')}, ${staged('s')})`,
    ],
    [
      'a key of our own tables',
      `hold_references((select oid from pg_constraint where conname = 'ownership_of_registered_table'), ${staged('s')})`,
    ],
    [
      'a constraint that is no foreign key',
      `count_lost_referrers(${constraintOf('accounts_pkey')}, ${staged('s')})`,
    ],
    [
      'a foreign key for a unique one',
      `count_duplicates(${constraintOf('accounts_tenant_id_fkey')}, ${staged('s')})`,
    ],
    ['nothing', `find_missing_parents(null, ${staged('s')}, null)`],
    ['an edge that is not there', `find_unowned_children(-1, ${staged('s')})`],
    [
      'rows of a shared table',
      `release_rows('shop', 'countries', ${staged('s')}, gen_random_uuid(), 'alpha')`,
    ],
    [
      'rows of the registry',
      `release_rows('tenantkeep', 'operators', ${staged('s')}, gen_random_uuid(), 'alpha')`,
    ],
    [
      'a table whose name is SQL',
      `release_rows('shop', 'accounts; drop table shop.accounts', ${staged('s')}, gen_random_uuid(), 'alpha')`,
    ],
    ['sequences of an unknown table', `raise_sequences('pg_catalog', 'pg_class', ${staged('s')})`],
  ])('refuses %s', async (_, sql) => {
    const answer = call(sql, (staging) => staging.create('s', 'shop.accounts'))
    await expect(answer).rejects.toMatchObject({ code: 'TK001' })
  })

  it('never ran what was laid out for it', async () => {
    const { rows } = await database.admin.query('select is_called from shop.ran')
    expect(rows).toEqual([{ is_called: false }])
  })
})
