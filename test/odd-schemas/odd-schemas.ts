import type { OddSchema } from './odd-schema.ts'

const A = 'aaaaaaaa-0000-4000-8000-000000000000'
const B = 'bbbbbbbb-0000-4000-8000-000000000000'
const UUIDS = [A, B] as const

/** What test/core/tables/odd-schemas.test.ts has not already. */
export const ODD_SCHEMAS: OddSchema[] = [
  {
    shape: 'text ids; a tenant column that may be null, for rows that are everybody’s',
    sql: `
      create table workspaces (slug text primary key, label text);
      create table templates (id int primary key, workspace text references workspaces, body jsonb);
      create table template_lines (template_id int not null references templates, n int, body text);
      create table papers (id int primary key, workspace text not null references workspaces,
        template_id int references templates);
      insert into workspaces values ('north', 'N'), ('NORTH', 'other case'), ('', 'empty');
      insert into templates values (1, 'north', '{"a": null}'), (2, 'NORTH', '[null]'), (3, null, null), (4, '', '1');
      insert into template_lines values (1, 1, 'x'), (1, 1, 'x'), (2, 1, 'y'), (3, 1, 'z'), (4, 1, e'\\n');
      insert into papers values (1, 'north', 3), (2, 'NORTH', 3), (3, 'NORTH', 2);`,
    options: { tenantTable: 'workspaces', tenantColumns: ['workspace'] },
    asks: [],
    tenants: ['north', 'NORTH'],
    owns: {
      workspaces: 't.slug = $1',
      templates: 't.workspace = $1',
      template_lines: 't.template_id in (select id from templates where workspace = $1)',
      papers: 't.workspace = $1',
    },
  },
  {
    shape: 'several paths: two that are never null, two that may be, whose owners differ',
    sql: `
      create table firms (id int primary key);
      create table people (id int primary key, firm_id int not null references firms);
      create table rooms (id int primary key, firm_id int not null references firms);
      create table visits (id int primary key, room int not null references rooms on delete cascade,
        person int not null references people);
      create table alarms (id int primary key, person int references people, room int references rooms);
      create table replies (id int primary key, alarm int not null references alarms, note text);
      insert into firms values (1), (11);
      insert into people values (1, 1), (2, 11), (3, 1);
      insert into rooms values (1, 1), (2, 11), (3, 11);
      insert into visits values (1, 1, 1), (2, 2, 2), (3, 2, 1), (4, 1, 2);
      insert into alarms values (1, 1, null), (2, 1, 2), (3, 2, 1), (4, null, 1), (5, null, 2), (6, null, null);
      insert into replies values (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd'), (5, 6, 'nobody’s');`,
    options: { tenantTable: 'firms', tenantColumns: ['firm_id'] },
    asks: ['nullable_keys', 'two_tenants'],
    tenants: ['1', '11'],
    owns: {
      firms: 't.id::text = $1',
      people: 't.firm_id::text = $1',
      rooms: 't.firm_id::text = $1',
      visits: 't.room in (select id from rooms where firm_id::text = $1)',
      alarms: `(select firm_id from people where id = t.person)::text = $1
        or t.person is null and (select firm_id from rooms where id = t.room)::text = $1`,
      replies: `exists (select from alarms a where a.id = t.alarm and (
        (select firm_id from people where id = a.person)::text = $1
        or a.person is null and (select firm_id from rooms where id = a.room)::text = $1))`,
    },
  },
  {
    shape: 'composite keys with the tenant in them, quoted names, a key that is null in part',
    sql: `
      create table "Tenants" ("Tenant Id" uuid primary key, "Order" int);
      create table "Orders" ("Tenant Id" uuid references "Tenants", "No." int, "select" text,
        primary key ("Tenant Id", "No."));
      create table "Order Lines" ("Tenant" uuid not null, "Order" int not null, "Line" int,
        primary key ("Tenant", "Order", "Line"), foreign key ("Tenant", "Order") references "Orders");
      create table "Hints" (id int primary key, who uuid, o int, l int,
        foreign key (who, o, l) references "Order Lines" match simple);
      insert into "Tenants" values ('${A}', 1), ('${B}', 2);
      insert into "Orders" values ('${A}', 1, 'a'), ('${A}', 2, null), ('${B}', 1, '"');
      insert into "Order Lines" values ('${A}', 1, 1), ('${A}', 1, 2), ('${B}', 1, 1);
      insert into "Hints" values (1, '${A}', 1, 1), (2, '${B}', 1, 1), (3, '${A}', null, 1), (4, null, 1, 1);`,
    options: { tenantTable: 'Tenants', tenantColumns: ['Tenant Id'] },
    asks: ['nullable_keys'],
    tenants: UUIDS,
    owns: {
      Tenants: 't."Tenant Id"::text = $1',
      Orders: 't."Tenant Id"::text = $1',
      'Order Lines': 't."Tenant"::text = $1',
      Hints: 't.who::text = $1 and t.o is not null and t.l is not null',
    },
  },
  {
    shape:
      'cycles: on the only path, of keys that are never null and can’t be deferred, of one table',
    sql: `
      create table orgs (id uuid primary key);
      create table boards (id int primary key, org_id uuid references orgs, cover int);
      create table cards (id int primary key, board int not null references boards, above int references cards);
      alter table boards add foreign key (cover) references cards;
      create table eggs (id int primary key, hen int not null, org_id uuid not null references orgs);
      create table hens (id int primary key, egg int not null references eggs);
      insert into orgs values ('${A}'), ('${B}');
      insert into boards values (1, '${A}'), (2, '${B}'), (3, null);
      insert into cards values (1, 1, null), (2, 1, 1), (3, 2, 2), (4, 3, 1), (5, 1, 5);
      update boards set cover = 2 where id <> 3;
      with e as (insert into eggs values (1, 1, '${A}'), (2, 2, '${B}'), (3, 1, '${B}'))
        insert into hens values (1, 1), (2, 2), (3, 3);
      alter table eggs add foreign key (hen) references hens;`,
    options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
    asks: ['two_tenants'],
    tenants: UUIDS,
    owns: {
      orgs: 't.id::text = $1',
      boards: 't.org_id::text = $1',
      cards: 't.board in (select id from boards where org_id::text = $1)',
      eggs: 't.org_id::text = $1',
      hens: 't.egg in (select id from eggs where org_id::text = $1)',
    },
  },
  {
    shape: 'rows owned backwards: by a unique key, by a composite one, by one that is not unique',
    sql: `
      create table orgs (id uuid primary key);
      create table addresses (id int primary key, street text);
      create table address_lines (address int not null references addresses, line text);
      create table plans (kind text, n int, body text, primary key (kind, n));
      create table pictures (id int primary key, path text);
      create table sites (id int primary key, org_id uuid not null references orgs,
        address int unique references addresses, plan_kind text, plan_n int, picture int references pictures,
        unique (plan_kind, plan_n), foreign key (plan_kind, plan_n) references plans);
      insert into orgs values ('${A}'), ('${B}');
      insert into addresses select i, 's' || i from generate_series(1, 13) i;
      insert into address_lines select i % 13 + 1, 'l' from generate_series(1, 20) i;
      insert into plans select 'k', i, 'p' from generate_series(1, 13) i;
      insert into pictures select i, 'p' || i from generate_series(1, 13) i;
      insert into sites select i, (array['${A}', '${B}'])[i % 2 + 1]::uuid, i, 'k', i, i
        from generate_series(1, 12) i;
      insert into sites values (13, '${A}', null, null, null, 2);`,
    options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
    asks: ['likely_edges'],
    tenants: UUIDS,
    owns: {
      orgs: 't.id::text = $1',
      sites: 't.org_id::text = $1',
      addresses: 'exists (select from sites s where s.address = t.id and s.org_id::text = $1)',
      address_lines:
        'exists (select from sites s where s.address = t.address and s.org_id::text = $1)',
      plans:
        'exists (select from sites s where (s.plan_kind, s.plan_n) = (t.kind, t.n) and s.org_id::text = $1)',
      pictures: 'exists (select from sites s where s.picture = t.id and s.org_id::text = $1)',
    },
    readOnly: ['pictures'],
  },
  {
    shape:
      'ties without a foreign key: plain ids, ids as text, pairs of type and id, arrays and JSON that only name ids',
    sql: `
      create table accounts (id uuid primary key, name text);
      create table projects (id uuid primary key, account_id uuid not null references accounts);
      create table invoices (id int primary key, account_id uuid not null references accounts);
      create table pages (id int primary key, project_id uuid, seen_by uuid[], refs jsonb);
      create table hits (id int primary key, project_id text);
      create table remarks (id int primary key, subject_type text, subject_id text, body text);
      insert into accounts values ('${A}', 'a'), ('${B}', 'b');
      insert into projects values ('aaaaaaaa-1111-4000-8000-000000000000', '${A}'), ('bbbbbbbb-1111-4000-8000-000000000000', '${B}');
      insert into invoices values (1, '${A}'), (2, '${B}');
      insert into pages select row_number() over (), id, array[id, null], jsonb_build_object('id', id) from projects;
      insert into pages values (9, null, '{}', null);
      insert into hits select row_number() over (), id from projects;
      insert into hits select 10 + row_number() over (), id from projects;
      insert into hits values (9, 'no id');
      insert into remarks select row_number() over (), 'App\\Models\\Project', id, 'p' from projects;
      insert into remarks select 10 + id, 'Invoice', id, 'i' from invoices;
      insert into remarks values (8, 'Invoice', '77', 'lost'), (9, null, null, 'lost');`,
    options: { tenantTable: 'accounts', tenantColumns: ['account_id'] },
    asks: ['likely_edges'],
    tenants: UUIDS,
    owns: {
      accounts: 't.id::text = $1',
      projects: 't.account_id::text = $1',
      invoices: 't.account_id::text = $1',
      pages: 't.project_id in (select id from projects where account_id::text = $1)',
      hits: 't.project_id in (select id::text from projects where account_id::text = $1)',
      remarks: `t.subject_type = 'App\\Models\\Project'
          and t.subject_id in (select id::text from projects where account_id::text = $1)
        or t.subject_type = 'Invoice' and t.subject_id in (select id::text from invoices where account_id::text = $1)`,
    },
  },
  {
    shape: 'told ties to columns that are not unique, which we may only read',
    sql: `
      create table orgs (id int primary key);
      create table members (id int primary key, org_id int not null references orgs, email text);
      create table mails (id int primary key, recipient text);
      create table mail_parts (mail int not null references mails, body text);
      insert into orgs values (1), (2);
      insert into members values (1, 1, 'a@x'), (2, 2, 'b@x'), (3, 1, 'a@x');
      insert into mails values (1, 'a@x'), (2, 'b@x'), (3, 'c@x');
      insert into mail_parts values (1, 'p'), (1, 'q'), (2, 'r'), (3, 's');`,
    options: {
      tenantTable: 'orgs',
      tenantColumns: ['org_id'],
      answers: { owned: ['mails.recipient=members.email'] },
    },
    asks: [],
    tenants: ['1', '2'],
    owns: {
      orgs: 't.id::text = $1',
      members: 't.org_id::text = $1',
      mails: 't.recipient in (select email from members where org_id::text = $1)',
      mail_parts: `t.mail in (select m.id from mails m join members p on p.email = m.recipient where p.org_id::text = $1)`,
    },
    readOnly: ['mails', 'mail_parts'],
  },
  {
    shape:
      'partitions of partitions with keys on leaves alone, unlogged, no primary key, keys to a unique constraint',
    sql: `
      create table orgs (id uuid primary key, code text not null unique);
      create table devices (serial text, org_code text not null references orgs (code), unique (org_code, serial));
      create table readings (org_code text not null, serial text not null, at date not null, v numeric)
        partition by range (at);
      create table readings_old partition of readings for values from (minvalue) to ('2020-01-01')
        partition by list (serial);
      create table readings_old_1 partition of readings_old for values in ('1');
      create table readings_old_n partition of readings_old default;
      create table readings_new partition of readings default;
      alter table readings_old_1 add foreign key (org_code, serial) references devices (org_code, serial);
      alter table readings_old_n add foreign key (org_code, serial) references devices (org_code, serial);
      alter table readings_new add foreign key (org_code, serial) references devices (org_code, serial);
      create unlogged table carts (org_id uuid not null references orgs, item text);
      insert into orgs values ('${A}', 'a'), ('${B}', 'b');
      insert into devices values ('1', 'a'), ('2', 'a'), ('1', 'b');
      insert into readings select org_code, serial, d, 1.50 from devices, (values ('2001-01-01'::date), ('2030-01-01')) v (d);
      insert into readings select * from readings where org_code = 'b';
      insert into carts values ('${A}', 'x'), ('${A}', 'x'), ('${B}', null);`,
    options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
    asks: [],
    tenants: UUIDS,
    owns: {
      orgs: 't.id::text = $1',
      devices: 't.org_code = (select code from orgs where id::text = $1)',
      readings: 't.org_code = (select code from orgs where id::text = $1)',
      carts: 't.org_id::text = $1',
    },
  },
  {
    shape: 'inheritance over three levels and from two parents, each table with rows of its own',
    sql: `
      create table orgs (id uuid primary key);
      create table things (org_id uuid not null, name text);
      create table priced (price numeric(9, 2));
      create table goods (stock int) inherits (things, priced);
      create table foods (eaten_by date) inherits (goods);
      alter table priced add org_id uuid;
      insert into orgs values ('${A}'), ('${B}');
      insert into things values ('${A}', 'thing'), ('${B}', 'thing'), ('${B}', 'thing');
      insert into priced values (1, '${A}'), (2, '${B}'), (3, null);
      insert into goods values ('${A}', 'good', 9.90, 1), ('${B}', 'good', 9.90, 2);
      insert into foods values ('${A}', 'food', 1, 1, 'infinity'), ('${B}', 'food', 1, 1, null);`,
    options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
    asks: [],
    tenants: UUIDS,
    owns: {
      orgs: 't.id::text = $1',
      things: 't.org_id::text = $1',
      priced: 't.org_id::text = $1',
      goods: 't.org_id::text = $1',
      foods: 't.org_id::text = $1',
    },
  },
  {
    shape:
      'several schemas with types of their own: domains, enums, composites, ranges, generated, identity, exclusion, checks that call functions',
    sql: `
      create schema types; create schema app; create schema "App";
      create domain types.code as varchar(8) check (value ~ '^[a-z]+$');
      create domain types.wide_code as types.code not null;
      create type types.mood as enum ('fine', 'so so');
      create type types.pair as (a int, "B b" text);
      create table app.limits (n int primary key);
      create function app.is_short(t text) returns boolean language sql stable
        as 'select length(t) < (select max(n) from app.limits)';
      insert into app.limits values (10), (20);
      create extension btree_gist schema types;
      create table app.orgs (id int generated always as identity primary key, code types.wide_code unique);
      create table "App".orgs (id bigint generated by default as identity primary key,
        org types.code not null references app.orgs (code), mood types.mood, moods types.mood[], both_of types.pair,
        label text check (app.is_short(label)),
        loud text generated always as (upper(label)) stored);
      create table app.bookings (id int generated always as identity, org_id int not null references app.orgs,
        during daterange, room int, exclude using gist (room with =, during with &&),
        primary key (org_id, id));
      insert into app.orgs (code) values ('a'), ('b');
      insert into "App".orgs (org, mood, moods, both_of, label) values
        ('a', 'fine', '{fine,NULL}', '(1,"x ""y""")', 'la'), ('b', 'so so', '{}', null, null), ('b', null, null, '(,)', 'lb');
      insert into app.bookings (org_id, during, room) values
        (1, '[2020-01-01,2020-02-01)', 1), (2, '[2020-02-01,2020-03-01)', 1), (2, 'empty', 1);`,
    options: {
      tenantTable: 'app.orgs',
      tenantColumns: ['org_id'],
      schemas: ['app', 'App', 'types'],
      answers: { shared: ['app.limits'] },
    },
    asks: [],
    tenants: ['1', '2'],
    owns: {
      'app.orgs': 't.id::text = $1',
      'App.orgs': 't.org = (select code from app.orgs where id::text = $1)',
      'app.bookings': 't.org_id::text = $1',
    },
  },
  {
    shape: 'views, materialized views, rules, triggers',
    sql: `
      create table orgs (id uuid primary key);
      create table items (id int primary key, org_id uuid not null references orgs, n int);
      create table item_log (at timestamptz default now(), item int not null references items on delete cascade);
      create view all_items as select * from items;
      create materialized view totals as select org_id, sum(n) from items group by 1;
      create rule drop_it as on insert to all_items do instead insert into items values (new.*);
      create rule quiet as on update to items where false do also delete from item_log;
      create function count_up() returns trigger language plpgsql
        as 'begin new.n = new.n + 1; insert into item_log (item) values (new.id); return new; end';
      create trigger count_up before update on items for each row execute function count_up();
      insert into orgs values ('${A}'), ('${B}');
      insert into all_items values (1, '${A}', 1), (2, '${B}', 1), (3, '${B}', null);
      insert into item_log (item) select id from items;
      refresh materialized view totals;`,
    options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
    asks: [],
    tenants: UUIDS,
    owns: {
      orgs: 't.id::text = $1',
      items: 't.org_id::text = $1',
      item_log: 't.item in (select id from items where org_id::text = $1)',
    },
  },
  {
    shape:
      'row level security of the host: for everybody, forced, reading parents and children, restrictive for others',
    sql: `
      create table orgs (id uuid primary key);
      create table projects (id int primary key, org_id uuid not null references orgs);
      create table tasks (id int primary key, project int not null references projects, is_open boolean);
      create table notes (id int primary key, task int not null references tasks);
      alter table orgs enable row level security; alter table projects enable row level security;
      alter table tasks enable row level security; alter table tasks force row level security;
      alter table notes enable row level security;
      create policy everybody on orgs using (true) with check (true);
      create policy reads_child on projects using (exists (select from tasks t where t.project = projects.id));
      create policy reads_parent on notes using (task in (select k.id from tasks k where k.is_open));
      create policy everybody on tasks using (true);
      create policy open_only on tasks as restrictive to authenticated using (is_open);
      create policy by_user on notes using (auth.uid() is not null);
      create policy writes on notes for insert to public with check (true);
      insert into orgs values ('${A}'), ('${B}');
      insert into projects values (1, '${A}'), (2, '${B}');
      set session_replication_role = replica; alter table tasks no force row level security;
      insert into tasks values (1, 1, true), (2, 1, false), (3, 2, null);
      alter table tasks force row level security;
      insert into notes values (1, 1), (2, 2), (3, 3);`,
    options: { tenantTable: 'orgs', tenantColumns: ['org_id'] },
    asks: [],
    tenants: UUIDS,
    owns: {
      orgs: 't.id::text = $1',
      projects: 't.org_id::text = $1',
      tasks: 't.project in (select id from projects where org_id::text = $1)',
      notes:
        't.task in (select k.id from tasks k join projects p on p.id = k.project where p.org_id::text = $1)',
    },
  },
]
