import { describe, expect, it } from 'vitest'
import {
  initialiseProtection,
  type ProtectionOptions,
  type ProtectionReport,
} from '../../../src/core/tables/initialise-protection.ts'
import { readProtectionFaults } from '../../../src/core/tables/read-protection-faults.ts'
import { runScript } from '../../../src/local/hosted-shape.ts'
import { type TestDatabase, withDatabase } from '../../support/database.ts'
import { countAsOperator, takeCensus } from './confinement.ts'

const A = 'aaaaaaaa-0000-4000-8000-000000000000'
const B = 'bbbbbbbb-0000-4000-8000-000000000000'
const OPTIONS: ProtectionOptions = {
  tenantTable: 'orgs',
  tenantColumns: ['org_id'],
  enableRowSecurity: true,
}

const HOST = `
  create table orgs (id uuid primary key, name text);
  create table customers (id uuid primary key default gen_random_uuid(), org_id uuid not null references orgs, name text);
  insert into orgs values ('${A}', 'Anna'), ('${B}', 'Bert');
  insert into customers (org_id, name) select '${A}', 'a' || i from generate_series(1, 6) i;
  insert into customers (org_id, name) select '${B}', 'b' || i from generate_series(1, 4) i;`

async function survey(
  sql: string,
  options: Partial<ProtectionOptions> = {},
): Promise<ProtectionReport> {
  let report: ProtectionReport | undefined
  await withDatabase(async (database) => {
    await runScript(database.adminUrl, HOST + sql)
    report = await initialiseProtection(database.admin, { ...OPTIONS, ...options, dryRun: true })
  })
  if (report === undefined) throw new Error('There is no report.')
  return report
}

function tableOf(report: ProtectionReport, name: string) {
  return report.tables.find((table) => table.name === name)
}

/** Question id → its tables without the schema. */
function asked(report: ProtectionReport): Record<string, string[]> {
  return Object.fromEntries(
    report.questions.map((question) => [
      question.id,
      question.tables.map((name) => name.replace('public.', '')),
    ]),
  )
}

describe('what the rows say', () => {
  it('settles a nullable tenant column by itself, and counts the rows that are nobody’s', async () => {
    const report = await survey(`
      create table templates (id int primary key, org_id uuid references orgs, name text);
      insert into templates values (1, '${A}', 'x'), (2, '${B}', 'x'), (3, null, 'global'), (4, null, 'global');`)
    expect(report.questions).toEqual([])
    expect(tableOf(report, 'templates')).toMatchObject({
      class: 'direct',
      rows: 4,
      nullTenantRows: 2,
      rowsWithoutTenant: 2,
    })
  })

  it('takes a not-null key as the next step where the tenant column is null', async () => {
    const report = await survey(`
      create table notes (id int primary key, org_id uuid, customer_id uuid not null references customers);
      insert into notes select 1, null, id from customers where name = 'a1';
      insert into notes select 2, '${B}', id from customers where name = 'b1';`)
    expect(report.questions).toEqual([])
    expect(tableOf(report, 'notes')).toMatchObject({
      path: 'notes.org_id, else notes.customer_id → customers.org_id',
      nullTenantRows: 1,
      rowsWithoutTenant: 0,
      rowsOfTwoTenants: 0,
    })
  })

  it('asks once about all tables that hang on tenants by nullable keys, as ordered lists', async () => {
    const report = await survey(`
      create table carts (id int primary key, customer_id uuid references customers);
      create table files (id int primary key, cart_id int references carts on delete cascade, customer_id uuid references customers);
      create table pages (id int primary key, file_id int not null references files);
      insert into carts select 1, id from customers where name = 'a1';
      insert into files select 1, 1, null;
      insert into files select 2, null, id from customers where name = 'b1';
      insert into files values (3, null, null);
      insert into pages values (1, 1), (2, 3);`)
    expect(asked(report)).toEqual({ nullable_keys: ['carts', 'files'] })
    expect(tableOf(report, 'files')).toMatchObject({
      rowsWithoutTenant: 1,
      path: 'files.customer_id → customers.org_id, else files.cart_id → carts.customer_id → customers.org_id',
    })
    expect(tableOf(report, 'pages')).toMatchObject({ class: 'child', rowsWithoutTenant: 1 })
  })

  it('asks whether a table that no row of leads to a tenant is everybody’s', async () => {
    const report = await survey(`
      create table feeds (id int primary key, org_id uuid references orgs);
      insert into feeds values (1, null), (2, null);`)
    expect(asked(report)).toEqual({ no_tenant: ['feeds'] })
    expect(report.questions[0]?.default).toEqual({
      tables: { 'public.feeds': { class: 'shared' } },
    })
  })

  it('asks for the home path where rows lead to two tenants, and counts them', async () => {
    const report = await survey(`
      create table loans (id int primary key, org_id uuid not null references orgs, customer_id uuid not null references customers);
      insert into loans select 1, '${A}', id from customers where name = 'a1';
      insert into loans select 2, '${A}', id from customers where name = 'b1';
      create table swaps (id int primary key, from_id uuid not null references customers, to_id uuid not null references customers);
      insert into swaps select 1, a.id, b.id from customers a, customers b where a.name = 'a1' and b.name = 'b1';
      insert into swaps select 2, a.id, b.id from customers a, customers b where a.name = 'a1' and b.name = 'a2';`)
    expect(asked(report)).toEqual({ two_tenants: ['loans', 'swaps'] })
    expect(tableOf(report, 'loans')).toMatchObject({ rowsOfTwoTenants: 1 })
    expect(tableOf(report, 'swaps')).toMatchObject({ rowsOfTwoTenants: 1 })
    expect(report.questions[0]?.evidence[0]).toMatch(/loans_customer_id_fkey: 1/)
  })

  it('asks what a tenant below another one is, and counts it in where told so', async () => {
    const sql = `alter table orgs add parent_id uuid references orgs; update orgs set parent_id = '${A}' where id = '${B}';`
    expect(asked(await survey(sql))).toEqual({ subtenants: ['orgs'] })
    await withDatabase(async (database) => {
      await runScript(database.adminUrl, HOST + sql)
      const report = await initialiseProtection(database.admin, {
        ...OPTIONS,
        subtenants: 'included',
      })
      expect(report.isApplied).toBe(true)
      expect(await countAsOperator(database, A)).toEqual({ orgs: 2, customers: 10 })
      expect(await takeCensus(database.worker, A)).toEqual({ orgs: 2, customers: 10 })
      expect(await countAsOperator(database, B)).toEqual({ orgs: 1, customers: 4 })
      const again = await initialiseProtection(database.admin, OPTIONS)
      expect(again.tables.map((table) => table.state)).toEqual(['unchanged', 'unchanged'])
      await initialiseProtection(database.admin, { ...OPTIONS, subtenants: 'separate' })
      expect(await countAsOperator(database, A)).toEqual({ orgs: 1, customers: 6 })
      expect(await readProtectionFaults(database.worker)).toEqual([])
    })
  })
})

describe('evidence where no foreign key says anything', () => {
  it('is found in names and values, uuid and text', async () => {
    const report = await survey(`
      create table visits (id int primary key, customer_id uuid not null);
      create table letters (id int primary key, recipient text);
      create table strangers (id int primary key, customer_id uuid);
      create table shouts (id int primary key, recipient text);
      create table firms (id int primary key, organisation uuid);
      insert into visits select row_number() over (), id from customers;
      insert into letters select row_number() over (), id::text from customers;
      insert into shouts select row_number() over (), upper(id::text) from customers;
      insert into firms select row_number() over (), id from orgs;
      insert into strangers select i, gen_random_uuid() from generate_series(1, 20) i;`)
    expect(asked(report)).toEqual({
      likely_edges: ['firms', 'letters', 'visits'],
      others: ['shouts', 'strangers'],
    })
    expect(tableOf(report, 'firms')).toMatchObject({ class: 'direct', rowsWithoutTenant: 0 })
    expect(tableOf(report, 'visits')).toMatchObject({
      path: 'visits.customer_id → customers.org_id',
      rowsWithoutTenant: 0,
      isWritable: true,
    })
    expect(report.questions[0]?.evidence).toContain(
      'public.visits.customer_id: 10 of 10 distinct values are keys of public.customers.',
    )
  })

  it('is a key to a table outside, which an owner’s own key has too', async () => {
    const report = await survey(`
      create schema logins;
      create table logins.users (id uuid primary key);
      create table profiles (id uuid primary key references logins.users, org_id uuid not null references orgs);
      create table preferences (id int primary key, user_id uuid not null references logins.users, theme text);
      create table devices (id int primary key, user_id uuid references logins.users);
      insert into logins.users select id from customers;
      insert into profiles select id, org_id from customers;
      insert into preferences select row_number() over (), id from profiles;`)
    expect(asked(report)).toEqual({ likely_edges: ['devices', 'preferences'] })
    expect(tableOf(report, 'preferences')).toMatchObject({
      path: 'preferences.user_id → profiles.org_id',
      rowsWithoutTenant: 0,
      isWritable: true,
    })
  })

  it('is not a bare id, nor a column that other tables refer to', async () => {
    const report = await survey(`
      create table twins (id uuid primary key);
      insert into twins select id from customers;`)
    expect(asked(report)).toEqual({ others: ['twins'] })
  })

  it('takes the pairs of type and id apart, with a condition each', async () => {
    await withDatabase(async (database) => {
      await runScript(
        database.adminUrl,
        `${HOST}
        create table invoices (id uuid primary key default gen_random_uuid(), org_id uuid not null);
        insert into invoices (org_id) values ('${A}'), ('${B}');
        create table comments (id int primary key, subject_type text not null, subject_id uuid not null);
        insert into comments select 1, 'Customer', id from customers where name = 'a1';
        insert into comments select 2, 'App\\Models\\Invoice', id from invoices where org_id = '${B}';
        insert into comments select 3, 'Nothing', gen_random_uuid();`,
      )
      const report = await initialiseProtection(database.admin, OPTIONS)
      expect(asked(report)).toEqual({ likely_edges: ['comments'] })
      expect(tableOf(report, 'comments')).toMatchObject({ rows: 3, rowsWithoutTenant: 1 })
      expect(
        await initialiseProtection(database.admin, { ...OPTIONS, acceptDefaults: true }),
      ).toMatchObject({ isApplied: true })
      expect(await countAsOperator(database, A)).toMatchObject({ comments: 1 })
      expect(await takeCensus(database.worker, B)).toMatchObject({ comments: 1 })
      const again = await initialiseProtection(database.admin, OPTIONS)
      expect(again).toMatchObject({ isApplied: true, questions: [] })
      expect(again.tables.every((table) => table.state === 'unchanged')).toBe(true)
    })
  })

  it('is a key of the owner that points at the table, writable only where it is unique', async () => {
    const report = await survey(`
      create table addresses (id int primary key, street text);
      create table avatars (id int primary key, path text);
      alter table customers add address_id int references addresses, add avatar_id int unique references avatars;
      insert into addresses select i, 'x' from generate_series(1, 10) i;
      insert into avatars select i, 'x' from generate_series(1, 10) i;
      update customers c set address_id = n.i, avatar_id = n.i
        from (select id, row_number() over () as i from customers) n where n.id = c.id;`)
    expect(asked(report)).toEqual({ likely_edges: ['addresses', 'avatars'] })
    expect(tableOf(report, 'addresses')).toMatchObject({ isWritable: false, rowsWithoutTenant: 0 })
    expect(tableOf(report, 'avatars')).toMatchObject({
      isWritable: true,
      path: 'avatars.id ← customers.avatar_id: customers.org_id',
    })
  })
})

describe('tables that no rule owns', () => {
  it('are settled where they are lookups, migration records, or hang on such; and grouped where not', async () => {
    const report = await survey(`
      create table countries (code text primary key);
      create table regions (id int primary key, country text not null references countries);
      create table plans (id int primary key, name text);
      create table schema_migrations (version text primary key, inserted_at timestamp);
      create table request_log (id int, at timestamptz);
      create table old_things (id int);
      create table prices (id int primary key, amount numeric);
      create table price_notes (id int primary key, price_id int not null references prices);
      insert into countries values ('DE'), ('FR');
      insert into regions values (1, 'DE');
      insert into plans values (1, 'p');
      insert into schema_migrations values ('1');
      insert into request_log values (1);
      insert into prices values (1);
      alter table customers add country text references countries default 'DE', add plan_id int references plans;`)
    const classes = Object.fromEntries(report.tables.map(({ name, class: kind }) => [name, kind]))
    expect(classes).toMatchObject({
      countries: 'shared',
      regions: 'shared',
      schema_migrations: 'excluded',
      plans: 'unclassified',
    })
    expect(asked(report)).toEqual({
      lookups: ['plans'],
      unused: ['old_things', 'request_log'],
      others: ['prices'],
    })
    expect(report.questions.map((question) => question.default !== null)).toEqual([
      true,
      true,
      false,
    ])
  })

  it('follow the answer of what they hang on, and are kept by the next run', async () => {
    await withDatabase(async (database) => {
      await runScript(
        database.adminUrl,
        `${HOST}
         create table prices (id int primary key, amount numeric);
         create table price_notes (id int primary key, price_id int not null references prices);
         insert into prices values (1); insert into price_notes values (1, 1);`,
      )
      const choices = new Map([['others', 'exclude']])
      const report = await initialiseProtection(database.admin, { ...OPTIONS, choices })
      expect(report.isApplied).toBe(true)
      expect(tableOf(report, 'price_notes')).toMatchObject({
        class: 'excluded',
        path: 'hangs on public.prices, which is excluded',
      })
      expect(await initialiseProtection(database.admin, OPTIONS)).toMatchObject({ isApplied: true })
    })
  })
})

describe('what the catalog holds beside plain tables', () => {
  it('names views, rules, unlogged tables and arrays of ids, and reads keys that only leaves have', async () => {
    const report = await survey(`
      create view open_customers as select * from customers;
      create materialized view counted as select count(*) from customers;
      create unlogged table carts (id int primary key, org_id uuid not null, item_ids uuid[]);
      create rule quiet as on delete to carts do also select 1;
      create table events (id int, customer_id uuid not null, at date not null) partition by range (at);
      create table events_1 partition of events for values from ('2020-01-01') to ('2021-01-01');
      alter table events_1 add foreign key (customer_id) references customers;
      insert into events select 1, id, '2020-05-05' from customers;`)
    expect(report.questions).toEqual([])
    expect(tableOf(report, 'events')).toMatchObject({
      path: 'events.customer_id → customers.org_id',
      rows: 10,
      rowsWithoutTenant: 0,
    })
    expect(report.notes).toEqual([
      'public.counted is a materialized view: it holds no rows of its own, and is neither backed up nor restored.',
      'public.open_customers is a view: it holds no rows of its own, and is neither backed up nor restored.',
    ])
    expect(tableOf(report, 'carts')?.notes.join(' ')).toMatch(/unlogged.*quiet.*item_ids/)
  })
})

describe('the SQL that --emit gives', () => {
  it('does on another database what init would have done, and leaves this one alone', async () => {
    const sql = `create table notes (id int primary key, customer_id uuid not null references customers, "it's" text);
      insert into notes select row_number() over (), id from customers;`
    let script = ''
    let expected: unknown
    const readState = (database: TestDatabase) =>
      database.superuser.query(`
        select t.schema_name, t.table_name, t.class, t.row_expression, t.policy_digest, t.label_columns,
          (select count(*) from pg_policies p where p.tablename = t.table_name) as policies
        from tenantkeep.tenant_tables t order by 1, 2`)
    await withDatabase(
      async (database) => {
        await runScript(database.superuserUrl, 'alter schema public owner to postgres')
        await runScript(database.adminUrl, HOST + sql)
        const report = await initialiseProtection(database.admin, { ...OPTIONS, emit: true })
        script = report.sql ?? ''
        expect(report.isApplied).toBe(false)
        const { rows } = await database.admin.query(
          `select to_regnamespace('tenantkeep') is null as "isAbsent"`,
        )
        expect(rows).toEqual([{ isAbsent: true }])
        await initialiseProtection(database.admin, OPTIONS)
        expected = (await readState(database)).rows
      },
      { template: 'empty' },
    )
    await withDatabase(
      async (database) => {
        await runScript(database.superuserUrl, 'alter schema public owner to postgres')
        await runScript(database.adminUrl, HOST + sql)
        await runScript(database.adminUrl, script)
        expect((await readState(database)).rows).toEqual(expected)
        expect(await countAsOperator(database, A)).toEqual({ orgs: 1, customers: 6, notes: 6 })
        expect(await readProtectionFaults(database.worker)).toEqual([])
        const again = await initialiseProtection(database.admin, OPTIONS)
        expect(again.tables.map((table) => table.state)).toEqual([
          'unchanged',
          'unchanged',
          'unchanged',
        ])
      },
      { template: 'empty' },
    )
  })
})
