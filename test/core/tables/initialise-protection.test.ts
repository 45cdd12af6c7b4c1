import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { connectDatabase } from '../../../src/core/database/connect-database.ts'
import type { Queryable } from '../../../src/core/database/database.ts'
import {
  initialiseProtection,
  type ProtectionOptions,
  type ProtectionReport,
} from '../../../src/core/tables/initialise-protection.ts'
import { readGaps } from '../../../src/core/tables/read-gaps.ts'
import { readProtectedTables } from '../../../src/core/tables/read-protected-tables.ts'
import { readProtectionFaults } from '../../../src/core/tables/read-protection-faults.ts'
import { runScript } from '../../../src/local/hosted-shape.ts'
import { type TestDatabase, withDatabase } from '../../support/database.ts'
import { asOperator, countAsOperator, takeCensus } from './confinement.ts'

const A = 'aaaaaaaa-0000-4000-8000-000000000000'
const B = 'bbbbbbbb-0000-4000-8000-000000000000'
const OPTIONS: ProtectionOptions = { tenantTable: 'orgs', tenantColumns: ['org_id'] }

const HOST = `
  create table orgs (id uuid primary key, name text);
  create table customers (id int primary key, org_id uuid not null references orgs);
  create table orders (id int primary key, customer_id int not null references customers);
  alter table orgs enable row level security;
  alter table customers enable row level security;
  alter table orders enable row level security;
  insert into orgs values ('${A}', 'Anna'), ('${B}', 'Bert');
  insert into customers values (1, '${A}'), (2, '${B}'), (3, '${B}');
  insert into orders values (1, 1), (2, 2), (3, 3);`

/** A database with the small host application, protected unless `init` is false. */
async function withHost(
  use: (database: TestDatabase) => Promise<void>,
  { sql = '', init = true }: { sql?: string; init?: boolean } = {},
): Promise<void> {
  await withDatabase(async (database) => {
    await runScript(database.adminUrl, HOST + sql)
    if (init) await initialise(database)
    await use(database)
  })
}

function initialise(
  database: TestDatabase,
  more: Partial<ProtectionOptions> = {},
): Promise<ProtectionReport> {
  return initialiseProtection(database.admin, { ...OPTIONS, ...more })
}

/** Every row of the catalogs that `init` writes to, with the transaction that wrote it. */
async function readEverything(database: Queryable): Promise<unknown[]> {
  const { rows } = await database.query(`
    select 'policy' as what, p.xmin::text, p.polname || p.polrelid::regclass as name from pg_policy p
    union all select 'class', c.xmin::text, c.oid::regclass::text from pg_class c
      where c.relnamespace in ('public'::regnamespace, 'tenantkeep'::regnamespace)
    union all select 'function', p.xmin::text, p.oid::regprocedure::text from pg_proc p
      where p.pronamespace in ('public'::regnamespace, 'tenantkeep'::regnamespace)
    union all select 'schema', n.xmin::text, n.nspname from pg_namespace n where n.nspname !~ '^pg_t'
    union all select 'registry', t.xmin::text, t::text from tenantkeep.tenant_tables t
    union all select 'ownership', t.xmin::text, t::text from tenantkeep.ownership t
    union all select 'keys', t.xmin::text, t::text from tenantkeep.key_functions t
    union all select 'settings', t.xmin::text, t::text from tenantkeep.settings t
    union all select 'role', r.xmin::text, r.rolname from pg_authid r
    order by 1, 3, 2`)
  return rows
}

async function readClasses(database: TestDatabase): Promise<Record<string, string>> {
  const { rows } = await database.worker.query<{ name: string; class: string }>(
    'select table_name as name, class from tenantkeep.tenant_tables',
  )
  return Object.fromEntries(rows.map((row) => [row.name, row.class]))
}

/** Holds a lock on a table from a session of its own, until the callback is done. */
async function whileLocked<T>(
  database: TestDatabase,
  lock: string,
  use: (release: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const host = connectDatabase({ url: database.adminUrl })
  try {
    return await host.withConnection(async (session) => {
      await session.query(`begin; lock table ${lock}`)
      let isOver = false
      const release = async () => {
        if (!isOver) await session.query('rollback')
        isOver = true
      }
      try {
        return await use(release)
      } finally {
        await release()
      }
    })
  } finally {
    await host.close()
  }
}

describe.concurrent('running init again', () => {
  it('changes nothing and needs no lock that a writer would notice', () =>
    withHost(async (database) => {
      const before = await readEverything(database.superuser)
      const report = await whileLocked(
        database,
        'orgs, customers, orders in row exclusive mode',
        () => initialise(database),
      )
      expect(report.tables.map((table) => table.state)).toEqual([
        'unchanged',
        'unchanged',
        'unchanged',
      ])
      expect(await readEverything(database.superuser)).toEqual(before)
    }))

  it('goes on where a table that was in use stopped it', () =>
    withHost(
      async (database) => {
        const started = performance.now()
        await expect(
          whileLocked(database, 'orders in row exclusive mode', () => initialise(database)),
        ).rejects.toMatchObject({ code: 'table_locked', message: expect.stringMatching(/orders/) })
        expect(performance.now() - started).toBeLessThan(25_000)
        expect(await readProtectionFaults(database.worker)).toEqual([
          { table: 'public.orders', fault: 'init has not finished with it' },
        ])

        const report = await initialise(database)
        expect(report.tables.map(({ name, state }) => `${name} ${state}`)).toEqual([
          'orgs unchanged',
          'customers unchanged',
          'orders changed',
        ])
        expect(await readProtectionFaults(database.worker)).toEqual([])
      },
      { init: false },
    ))

  it('waits for a table that frees itself in time', () =>
    withHost(
      async (database) => {
        const report = await whileLocked(
          database,
          'orders in row exclusive mode',
          async (release) => {
            const running = initialise(database)
            await sleep(2_500)
            await release()
            return running
          },
        )
        expect(report.isApplied).toBe(true)
        expect(await readProtectionFaults(database.worker)).toEqual([])
      },
      { init: false },
    ))

  it('says so when somebody holds a table exclusively, and has written nothing', () =>
    withHost(
      async (database) => {
        const before = await readEverything(database.superuser)
        await whileLocked(database, 'orders in access exclusive mode', async () => {
          await expect(initialise(database)).rejects.toMatchObject({ code: 'table_locked' })
        })
        expect(await readEverything(database.superuser)).toEqual(before)
      },
      { init: false },
    ))

  it('lets two administrators take turns', () =>
    withHost(
      async (database) => {
        const reports = await Promise.all([initialise(database), initialise(database)])
        expect(reports.map((report) => report.isApplied)).toEqual([true, true])
        expect(await readProtectionFaults(database.worker)).toEqual([])
      },
      { init: false },
    ))

  it('follows a changed path, and drops key functions that nobody calls any more', () =>
    withHost(async (database) => {
      await runScript(
        database.adminUrl,
        `alter table orders add org_id uuid;
         update orders set org_id = '${B}';
         alter table orders alter org_id set not null`,
      )
      // The first customer is another tenant's, so the new column needs a person's word.
      expect(await initialise(database)).toMatchObject({
        isApplied: false,
        questions: [{ id: 'two_tenants', tables: ['public.orders'] }],
      })
      const report = await initialise(database, { acceptDefaults: true })
      expect(report.tables.find((table) => table.name === 'orders')).toMatchObject({
        class: 'direct',
        state: 'changed',
      })
      expect(await takeCensus(database.worker, B)).toEqual({ orgs: 1, customers: 2, orders: 3 })
      expect(await countAsOperator(database, A)).toEqual({ orgs: 1, customers: 1, orders: 0 })
      const { rows } = await database.admin.query(
        `select proname from pg_proc where pronamespace = 'tenantkeep'::regnamespace and proname like 'keys%'`,
      )
      expect(rows).toEqual([])
      expect(await readProtectionFaults(database.worker)).toEqual([])
    }))

  it('takes another table for the tenant when it is told so', () =>
    withHost(async (database) => {
      const report = await initialise(database, { tenantTable: 'customers', tenantColumns: [] })
      expect(report.isApplied).toBe(false)
      expect(report.unsettled.map((table) => table.name)).toEqual(['orgs'])

      await initialise(database, {
        tenantTable: 'customers',
        tenantColumns: [],
        answers: { shared: ['orgs'] },
      })
      expect(await readClasses(database)).toEqual({
        customers: 'root',
        orders: 'direct',
        orgs: 'shared',
      })
      expect(await countAsOperator(database, '2')).toEqual({ customers: 1, orders: 1 })
    }, {}))

  it('reports tables that are gone, and forgets them', () =>
    withHost(async (database) => {
      await database.admin.query('drop table public.orders')
      expect(await readProtectionFaults(database.worker)).toEqual([
        { table: 'public.orders', fault: 'the table is gone' },
      ])
      expect(await initialise(database)).toMatchObject({
        isApplied: true,
        vanished: ['public.orders'],
      })
      expect(await readClasses(database)).toEqual({ orgs: 'root', customers: 'direct' })
      expect(await readProtectionFaults(database.worker)).toEqual([])
    }))

  it('takes its policies and grants off a table that left the schemas looked at', () =>
    withHost(async (database) => {
      await runScript(
        database.adminUrl,
        'create schema archive; alter table orders set schema archive',
      )
      expect(await initialise(database)).toMatchObject({ isApplied: true })
      const { rows } = await database.admin.query(
        `select polname from pg_policy where polrelid = 'archive.orders'::regclass
         union all select privilege_type from information_schema.table_privileges
         where grantee = 'tenantkeep_operator' and table_schema = 'archive'`,
      )
      expect(rows).toEqual([])
    }))

  it('names a table that nobody has classified, until somebody does', () =>
    withHost(async (database) => {
      await database.admin.query('create table public.new_table (id int)')
      expect(await readGaps(database.worker)).toEqual(['public.new_table'])
      await initialise(database, { answers: { excluded: ['new_table=empty'] } })
      expect(await readGaps(database.worker)).toEqual([])
    }))
})

describe('what init leaves alone', () => {
  it.each([
    { name: 'a dry run', sql: '', options: { dryRun: true } },
    { name: 'an unsettled table', sql: 'create table odd (id int)', options: {} },
    {
      name: 'a table without row level security',
      sql: 'alter table orders disable row level security',
      options: {},
    },
  ])('writes nothing at all: $name', ({ sql, options }) =>
    withHost(
      async (database) => {
        const before = await readEverything(database.superuser)
        expect(await initialise(database, options)).toMatchObject({ isApplied: false })
        expect(await readEverything(database.superuser)).toEqual(before)
      },
      { sql, init: false },
    ),
  )

  it('does not even install itself on a dry run', () =>
    withDatabase(
      async (database) => {
        await runScript(database.superuserUrl, 'alter schema public owner to postgres')
        await runScript(database.adminUrl, HOST)
        const report = await initialise(database, { dryRun: true })
        expect(report.tables.map((table) => table.class)).toEqual(['root', 'direct', 'child'])
        const { rows } = await database.admin.query(
          `select to_regnamespace('tenantkeep') is null as "isAbsent"`,
        )
        expect(rows).toEqual([{ isAbsent: true }])
      },
      { template: 'empty' },
    ))

  it('does not touch an excluded table, however busy it is', () =>
    withHost(
      async (database) => {
        const report = await whileLocked(database, 'logs in row exclusive mode', () =>
          initialise(database, { answers: { excluded: ['logs=kept elsewhere'] } }),
        )
        expect(report.isApplied).toBe(true)
        await expect(
          asOperator(database, A, (session) => session.query('select from public.logs')),
        ).rejects.toThrow(/permission denied/)
      },
      { sql: 'create table logs (id int)', init: false },
    ))

  it('names tables that belong to somebody else before it writes', () =>
    withHost(
      async (database) => {
        await database.superuser.query(
          'create table public.platform (org_id uuid not null); alter table public.platform enable row level security; grant select on public.platform to postgres',
        )
        const report = await initialise(database)
        expect(report).toMatchObject({
          isApplied: false,
          unsettled: [
            { name: 'platform', reason: expect.stringMatching(/belongs to supabase_admin/) },
          ],
        })
      },
      { init: false },
    ))
})

describe('row level security that is off', () => {
  const OFF = `
    alter table orders disable row level security;
    grant select, insert, update, delete on orders to authenticated;
    grant usage on schema public to authenticated;`
  const asUser = (database: TestDatabase) =>
    database.admin.withConnection(async (session) => {
      await session.query('begin; set local role authenticated')
      const seen = await session.query('select id from public.orders order by id')
      const changed = await session.query('update public.orders set id = id')
      const added = await session.query('insert into public.orders values (9, 1)')
      const deleted = await session.query('delete from public.orders where id = 9')
      await session.query('rollback')
      return [seen.rows, changed.rowCount, added.rowCount, deleted.rowCount]
    })

  it('is named with the flag that switches it on', () =>
    withHost(
      async (database) => {
        expect(await initialise(database)).toMatchObject({
          isApplied: false,
          unsettled: [{ name: 'orders', flags: ['--enable-rls'] }],
        })
      },
      { sql: OFF, init: false },
    ))

  it('is switched on with consent, and everybody else sees and writes as before', () =>
    withHost(
      async (database) => {
        const before = await asUser(database)
        expect(await initialise(database, { enableRowSecurity: true })).toMatchObject({
          isApplied: true,
        })
        expect(await asUser(database)).toEqual(before)
        expect(await countAsOperator(database, A)).toMatchObject({ orders: 1 })
      },
      { sql: OFF, init: false },
    ))

  it('stays off where switching it on would wake policies that hide rows', () =>
    withHost(
      async (database) => {
        expect(await initialise(database, { enableRowSecurity: true })).toMatchObject({
          isApplied: false,
          unsettled: [{ name: 'orders', reason: expect.stringMatching(/"?asleep"?/) }],
        })
      },
      {
        sql: `${OFF} create policy asleep on orders as restrictive to authenticated using (false);`,
        init: false,
      },
    ))
})

describe('answers', () => {
  const EXTRA = `
    create table currencies (code text primary key);
    create table caches (id int, org_id uuid not null);
    create table blobs (path text);
    create table files (id int primary key, order_id int);
    alter table currencies enable row level security;
    alter table blobs enable row level security;
    alter table files enable row level security;
    insert into currencies values ('EUR');
    insert into blobs values ('${A}/x'), ('${B}/x');
    insert into files values (1, 1), (2, 2), (3, null);`
  const ANSWERS = {
    shared: ['currencies'],
    excluded: ['public.caches=recomputed every night'],
    custom: [`blobs=path like {tenant} || '/%'`],
    owned: ['files.order_id=orders.id'],
  }

  it('settle what the catalog does not, and are remembered by the next run', () =>
    withHost(
      async (database) => {
        await initialise(database, { answers: ANSWERS })
        const classes = await readClasses(database)
        expect(classes).toMatchObject({
          currencies: 'shared',
          caches: 'excluded',
          blobs: 'custom',
          files: 'child',
        })
        const before = await readEverything(database.superuser)
        expect(await initialise(database)).toMatchObject({ isApplied: true, unsettled: [] })
        expect(await readEverything(database.superuser)).toEqual(before)
      },
      { sql: EXTRA, init: false },
    ))

  it('let the operator read what is shared, and write nothing there', () =>
    withHost(
      async (database) => {
        await initialise(database, { answers: ANSWERS })
        const read = await asOperator(database, A, (session) =>
          session.query('select * from public.currencies'),
        )
        expect(read.rows).toEqual([{ code: 'EUR' }])
        for (const write of [
          `insert into public.currencies values ('USD')`,
          'delete from public.currencies',
          `update public.currencies set code = 'x'`,
          'truncate public.currencies',
        ]) {
          await expect(asOperator(database, A, (session) => session.query(write))).rejects.toThrow(
            /permission denied/,
          )
        }
      },
      { sql: EXTRA, init: false },
    ))

  it('are replaced by what is said now, and the old protection goes', () =>
    withHost(
      async (database) => {
        await initialise(database, { answers: ANSWERS })
        await initialise(database, {
          answers: {
            excluded: ['currencies=a', 'blobs=b', 'files=c'],
            custom: [`caches=org_id::text = {tenant}`],
          },
          enableRowSecurity: true,
        })
        expect(await readClasses(database)).toMatchObject({
          currencies: 'excluded',
          blobs: 'excluded',
          files: 'excluded',
          caches: 'custom',
        })
        const { rows } = await database.admin.query(
          `select distinct tablename from pg_policies where policyname like 'zz_tenantkeep%' order by 1`,
        )
        expect(rows).toEqual(
          ['caches', 'customers', 'orders', 'orgs'].map((tablename) => ({ tablename })),
        )
        expect(await readProtectionFaults(database.worker)).toEqual([])
      },
      { sql: EXTRA, init: false },
    ))

  it('are asked for again where what they name is gone', () =>
    withHost(
      async (database) => {
        await initialise(database, { answers: ANSWERS })
        await runScript(database.adminUrl, 'alter table files drop column order_id cascade').catch(
          () =>
            runScript(
              database.adminUrl,
              'drop policy zz_tenantkeep_allow on files; drop policy zz_tenantkeep_only on files; alter table files drop column order_id',
            ),
        )
        expect(await initialise(database)).toMatchObject({
          isApplied: false,
          unsettled: [{ name: 'files' }],
        })
      },
      { sql: EXTRA, init: false },
    ))

  it.each([
    ['a table that is not there', { shared: ['nowhere'] }, /no table nowhere/],
    ['a column that is not there', { owned: ['files.nope=orders.id'] }, /files\.nope/],
    ['an owner that is not there', { owned: ['files.order_id=nope.id'] }, /nope\.id/],
    ['sides of unequal length', { owned: ['files.order_id=orders.id,customer_id'] }, /same number/],
    ['no reason', { excluded: ['caches'] }, /table=reason/],
    ['an empty reason', { excluded: ['caches= '] }, /table=reason/],
    ['a condition without the tenant', { custom: ['blobs=true'] }, /\{tenant\}/],
    ['a condition that is no SQL', { custom: ['blobs={tenant} = ='] }, /can't read the condition/],
    ['a condition of unknown columns', { custom: ['blobs={tenant} = nope'] }, /nope/],
    [
      'a condition that names a table bare',
      { custom: ['blobs={tenant} in (select id::text from orgs)'] },
      /orgs/,
    ],
    [
      'a condition that ends in a comment',
      { custom: ['blobs={tenant} = path -- so'] },
      /can't read/,
    ],
    [
      'two statements',
      { custom: ['blobs={tenant} = path); drop table public.blobs; --'] },
      /can't read/,
    ],
    ['types that never compare', { owned: ['files.order_id=orgs.id'] }, /can't be followed/],
    ['two flags for one table', { shared: ['blobs'], excluded: ['blobs=x'] }, /more than one flag/],
    ['a flag twice', { excluded: ['blobs=x', 'public.blobs=y'] }, /more than one flag/],
    [
      '--shared and --owned together',
      { shared: ['files'], owned: ['files.order_id=orders.id'] },
      /more than one flag/,
    ],
    ['the tenant table itself', { excluded: ['orgs=x'] }, /tenant table itself/],
  ])('are refused when they make no sense: %s', (_, answers, message) =>
    withHost(
      async (database) => {
        const before = await readEverything(database.superuser)
        await expect(
          initialise(database, { answers: { ...ANSWERS, ...without(answers), ...answers } }),
        ).rejects.toMatchObject({
          code: 'invalid_request',
          message: expect.stringMatching(message),
        })
        expect(await readEverything(database.superuser)).toEqual(before)
      },
      { sql: EXTRA, init: false },
    ),
  )

  /** The answers of the other flags, so that nothing but the wrong one stands in the way. */
  function without(answers: Partial<typeof ANSWERS>): Partial<typeof ANSWERS> {
    return Object.keys(answers).length > 1
      ? { shared: [], excluded: [], custom: [], owned: [] }
      : {}
  }

  it.each([
    ['--tenant-table', { tenantTable: 'nope' }, /--tenant-table: there is no table nope/],
    ['--tenant-column', { tenantColumns: ['nope'] }, /--tenant-column nope/],
    ['--schema', { schemas: ['nope'] }, /--tenant-table/],
    ['--tenant-name-column', { tenantNameColumn: 'nope' }, /no column nope/],
  ])('name the wrong flag: %s', (_, options, message) =>
    withHost(
      async (database) => {
        await expect(initialise(database, options)).rejects.toMatchObject({
          code: 'invalid_request',
          message: expect.stringMatching(message),
        })
      },
      { init: false },
    ),
  )
})

describe('protection that rots', () => {
  it.each([
    ['a policy dropped', 'drop policy zz_tenantkeep_only on customers', 'customers'],
    ['the other policy dropped', 'drop policy zz_tenantkeep_allow on customers', 'customers'],
    ['a policy opened', 'alter policy zz_tenantkeep_only on customers using (true)', 'customers'],
    [
      'a policy for others',
      'alter policy zz_tenantkeep_only on customers to authenticated',
      'customers',
    ],
    ['row level security off', 'alter table customers disable row level security', 'customers'],
    ['a grant taken', 'revoke delete on customers from tenantkeep_operator', 'customers'],
    ['a grant given', 'grant truncate on customers to tenantkeep_operator', 'customers'],
    [
      'a table replaced',
      'alter table orders rename to old; create table orders (id int)',
      'orders',
    ],
    [
      'a view in its place',
      'alter table orders rename to old; create view orders as select 1 as id',
      'orders',
    ],
    [
      'a key function with another body',
      `create or replace function tenantkeep.keys_1() returns setof int language sql stable security definer
         set search_path = pg_catalog, pg_temp set row_security = off as 'select id from public.customers'`,
      'orders',
    ],
    [
      'a key function that may be blinded',
      'alter function tenantkeep.keys_1() reset row_security',
      'orders',
    ],
    [
      'a key function for everybody',
      'grant execute on function tenantkeep.keys_1() to public',
      'orders',
    ],
    [
      'another current tenant',
      `create or replace function tenantkeep.current_tenant() returns text language sql stable
         set search_path = pg_catalog, pg_temp as $$ select '${B}' $$`,
      'orgs',
    ],
  ])('is a fault of the next backup, and init mends it: %s', (_, sql, table) =>
    withHost(async (database) => {
      await runScript(database.adminUrl, sql)
      const faults = await readProtectionFaults(database.worker)
      expect(faults.map((fault) => fault.table)).toContain(`public.${table}`)
      if (sql.includes('current_tenant') || sql.includes('rename')) return
      await initialise(database, { enableRowSecurity: true })
      expect(await readProtectionFaults(database.worker)).toEqual([])
      expect(await countAsOperator(database, A)).toEqual({ orgs: 1, customers: 1, orders: 1 })
      await expect(
        asOperator(database, A, (session) => session.query('truncate public.customers')),
      ).rejects.toThrow(/permission denied/)
    }),
  )

  it('goes unnoticed by nobody when the operator’s roles change', () =>
    withHost(async (database) => {
      for (const change of [
        'grant tenantkeep_scope to tenantkeep_operator with inherit false granted by postgres',
        'alter role tenantkeep_operator bypassrls',
        'alter role tenantkeep_operator superuser',
        'grant pg_read_all_data to tenantkeep_operator',
        'grant pg_write_all_data to tenantkeep_worker',
        'alter role tenantkeep_worker bypassrls',
      ]) {
        // Roles belong to the whole cluster: other tests must not see the change.
        const faults = await database.superuser.withConnection(async (session) => {
          await session.query('begin')
          await session.query(change)
          const found = await readProtectionFaults(session)
          await session.query('rollback')
          return found
        })
        expect({ change, faults: faults.map((fault) => fault.table) }).toEqual({
          change,
          faults: ['roles'],
        })
      }
      expect(await readProtectionFaults(database.worker)).toEqual([])
    }))
})

describe('a host of 300 tables', () => {
  it('is taken under protection, checked and read quickly', () =>
    withHost(
      async (database) => {
        const durations = {
          first: await measure(() => initialise(database)),
          again: await measure(() => initialise(database)),
          faults: await measure(() => readProtectionFaults(database.worker)),
          tables: await measure(() => readProtectedTables(database.worker)),
          census: await measure(() => takeCensus(database.worker, A)),
        }
        expect(durations.first).toBeLessThan(40_000)
        expect(durations.again).toBeLessThan(15_000)
        expect(durations.faults).toBeLessThan(1_500)
        expect(durations.tables).toBeLessThan(3_000)
        expect(durations.census).toBeLessThan(3_000)
      },
      {
        sql: `do $$ begin
          for i in 1..150 loop
            execute format('create table d_%s (id int primary key, org_id uuid not null)', i);
            execute format('alter table d_%s enable row level security', i);
            execute format('create table e_%s (id int primary key, d int not null references d_%1$s)', i);
            execute format('alter table e_%s enable row level security', i);
          end loop; end $$`,
        init: false,
      },
    ))
})

async function measure(act: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  await act()
  return performance.now() - started
}
