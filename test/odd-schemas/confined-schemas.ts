import type { Counts } from '../core/tables/confinement.ts'
import type { OddSchema } from './odd-schema.ts'

const A = 'aaaaaaaa-0000-4000-8000-000000000000'
const B = 'bbbbbbbb-0000-4000-8000-000000000000'

/** Whose a row of the table `t` with the odd name is, by the key of the one above it. */
const IN_FIRM = `t."a.b" in (select "a.b" from "x"";drop table y;--" where "Id" = $1)`

export interface ConfinedSchema extends Omit<OddSchema, 'asks' | 'readOnly'> {
  /** Rows by tenant and table, as the inserts have them. */
  holds: Record<string, Counts>
}

/** Shapes whose rows are counted, and by hand whose they are. */
export const CONFINED_SCHEMAS: ConfinedSchema[] = [
  {
    shape: 'integer ids, two spellings, keys under other names, an int4 key to an int8 column',
    sql: `
      create table companies (id int8 primary key, name text);
      create table users (id int4 primary key, company_id int8 not null references companies);
      create table posts (id int8 primary key, "companyId" int4 not null);
      create table notes (author int8 not null references users, firm int8 not null references companies);
      create table likes (post int4 not null references posts on delete cascade, n int);
      insert into companies values (1, 'a'), (12, 'b');
      insert into users values (1, 1), (2, 12), (3, 12);
      insert into posts values (1, 1), (2, 12);
      insert into notes values (1, 1), (2, 12), (2, 12);
      insert into likes values (1, 1), (1, 1), (2, 1);`,
    options: { tenantTable: 'companies', tenantColumns: ['company_id', 'companyId'] },
    tenants: ['1', '12'],
    owns: {
      companies: 't.id::text = $1',
      users: 't.company_id::text = $1',
      posts: 't."companyId"::text = $1',
      notes: 't.firm::text = $1',
      likes: 't.post in (select id from posts where "companyId"::text = $1)',
    },
    holds: {
      1: { companies: 1, users: 1, posts: 1, notes: 1, likes: 2 },
      12: { companies: 1, users: 2, posts: 1, notes: 2, likes: 1 },
    },
  },
  {
    shape: 'char(n), varchar and domain ids, and names that need every kind of quoting',
    sql: `
      create schema "Types";
      create domain "Types"."Mandant" as char(4) check (value <> '');
      create table "Tenants ""A""" ("Id" "Types"."Mandant" primary key, "select" text);
      create table "x"";drop table y;--" ("Id" char(4) not null, "a.b" varchar(9) primary key);
      create table "Größe $keys$ {tenant} %I" ("a.b" varchar(9) not null
        references "x"";drop table y;--" ("a.b"), "owner_1" int primary key);
      create table "${'n'.repeat(63)}" ("owner_1" int not null references "Größe $keys$ {tenant} %I");
      insert into "Tenants ""A""" values ('ab'), ('abcd');
      insert into "x"";drop table y;--" values ('ab', 'p'), ('abcd', 'q'), ('abcd', 'p ');
      insert into "Größe $keys$ {tenant} %I" values ('p', 1), ('q', 2), ('p ', 3);
      insert into "${'n'.repeat(63)}" values (1), (2), (3), (3);`,
    options: { tenantTable: 'Tenants "A"', tenantColumns: ['Id'] },
    tenants: ['ab', 'abcd'],
    owns: {
      'Tenants "A"': 't."Id" = $1',
      'x";drop table y;--': 't."Id" = $1',
      'Größe $keys$ {tenant} %I': IN_FIRM,
      [`${'n'.repeat(63)}`]: `t."owner_1" in (select g."owner_1" from "Größe $keys$ {tenant} %I" g
        where ${IN_FIRM.replace('t.', 'g.')})`,
    },
    holds: {
      ab: {
        'Tenants "A"': 1,
        'x";drop table y;--': 1,
        'Größe $keys$ {tenant} %I': 1,
        [`${'n'.repeat(63)}`]: 1,
      },
      abcd: {
        'Tenants "A"': 1,
        'x";drop table y;--': 2,
        'Größe $keys$ {tenant} %I': 2,
        [`${'n'.repeat(63)}`]: 3,
      },
    },
  },
  {
    shape: 'partitions, inheritance, a composite key, identity always, generated columns, no keys',
    sql: `
      create table orgs (id uuid primary key);
      create table events (org uuid not null references orgs, at date, n int generated always as identity,
        doubled int generated always as (1 + 1) stored, primary key (org, at, n)) partition by range (at);
      create table events_1 partition of events for values from ('2020-01-01') to ('2021-01-01');
      create table events_2 partition of events default;
      create table details (org uuid not null, at date not null, n int not null, note text,
        foreign key (org, at, n) references events);
      create table animals (owner uuid not null references orgs, name text);
      create table dogs (barks boolean) inherits (animals);
      alter table dogs add foreign key (owner) references orgs;
      insert into orgs values ('${A}'), ('${B}');
      insert into events (org, at) values ('${A}', '2020-05-05'), ('${A}', '2025-05-05'), ('${B}', '2020-05-05');
      insert into details select org, at, n, 'x' from events;
      insert into details select org, at, n, 'x' from events where org = '${B}';
      insert into animals values ('${A}', 'cat');
      insert into dogs values ('${A}', 'rex', true), ('${B}', 'bello', null), ('${B}', 'bello', null);`,
    options: { tenantTable: 'orgs', tenantColumns: [] },
    tenants: [A, B],
    owns: {
      orgs: 't.id::text = $1',
      events: 't.org::text = $1',
      details: 't.org::text = $1',
      animals: 't.owner::text = $1',
      dogs: 't.owner::text = $1',
    },
    holds: {
      [A]: { orgs: 1, events: 2, details: 2, animals: 1, dogs: 1 },
      [B]: { orgs: 1, events: 1, details: 2, animals: 0, dogs: 2 },
    },
  },
  {
    shape: 'several schemas, cycles, self references, a path of four steps',
    sql: `
      create schema app; create schema "Billing";
      create table app.orgs (id uuid primary key, parent uuid references app.orgs);
      create table app.items (id int primary key, org_id uuid not null);
      create table "Billing".items (id int primary key, item int not null references app.items,
        next int references "Billing".items, line int);
      create table "Billing".lines (id int primary key, item int not null references "Billing".items);
      alter table "Billing".items add foreign key (line) references "Billing".lines;
      create table app.leafs (line int not null references "Billing".lines deferrable initially deferred);
      insert into app.orgs values ('${A}', null), ('${B}', '${A}');
      insert into app.items values (1, '${A}'), (2, '${B}');
      insert into "Billing".items values (1, 1, null), (2, 1, 1), (3, 2, 1);
      insert into "Billing".lines values (1, 1), (2, 2), (3, 3);
      update "Billing".items set line = id;
      insert into app.leafs values (1), (1), (3);`,
    options: {
      tenantTable: 'app.orgs',
      tenantColumns: ['org_id'],
      schemas: ['app', 'Billing'],
      subtenants: 'separate',
    },
    tenants: [A, B],
    owns: {
      'app.orgs': 't.id::text = $1',
      'app.items': 't.org_id::text = $1',
      'Billing.items': 't.item in (select id from app.items where org_id::text = $1)',
      'Billing.lines': `t.item in (select b.id from "Billing".items b join app.items i on i.id = b.item
        where i.org_id::text = $1)`,
      'app.leafs': `t.line in (select l.id from "Billing".lines l join "Billing".items b on b.id = l.item
        join app.items i on i.id = b.item where i.org_id::text = $1)`,
    },
    holds: {
      [A]: {
        'app.orgs': 1,
        'app.items': 1,
        'Billing.items': 2,
        'Billing.lines': 2,
        'app.leafs': 2,
      },
      [B]: {
        'app.orgs': 1,
        'app.items': 1,
        'Billing.items': 1,
        'Billing.lines': 1,
        'app.leafs': 1,
      },
    },
  },
  {
    shape: 'told edges: ranked, of another type, and an administrator’s condition',
    sql: `
      create table orgs (id uuid primary key);
      create table users (id uuid primary key, org_id uuid not null);
      create table teams (id int primary key, org_id uuid not null);
      create table files (id int primary key, owner_text text, team int);
      create table versions (file int not null references files);
      create table blobs (path text primary key);
      create table chunks (path text not null references blobs);
      insert into orgs values ('${A}'), ('${B}');
      insert into users values ('${A}', '${A}'), ('${B}', '${B}');
      insert into teams values (1, '${A}'), (2, '${B}');
      insert into files values (1, '${A}', null), (2, '${A}', 2), (3, null, 2), (4, null, 1), (5, null, null);
      insert into versions values (1), (2), (3), (3), (5);
      insert into blobs values ('${A}/1'), ('${B}/1'), ('${B}/2'), ('lost');
      insert into chunks values ('${A}/1'), ('${B}/1'), ('lost');`,
    options: {
      tenantTable: 'orgs',
      tenantColumns: ['org_id'],
      answers: {
        owned: ['files.owner_text=users.id', 'files.team=teams.id'],
        custom: ["blobs=split_part(path, '/', 1) = {tenant}"],
      },
    },
    tenants: [A, B],
    owns: {
      orgs: 't.id::text = $1',
      users: 't.org_id::text = $1',
      teams: 't.org_id::text = $1',
      files: `t.owner_text in (select id::text from users where org_id::text = $1)
        or t.owner_text is null and t.team in (select id from teams where org_id::text = $1)`,
      versions: `t.file in (select f.id from files f
        where f.owner_text in (select id::text from users where org_id::text = $1)
          or f.owner_text is null and f.team in (select id from teams where org_id::text = $1))`,
      blobs: `split_part(t.path, '/', 1) = $1`,
      chunks: `split_part(t.path, '/', 1) = $1 and t.path in (select path from blobs)`,
    },
    holds: {
      [A]: { orgs: 1, users: 1, teams: 1, files: 3, versions: 2, blobs: 1, chunks: 1 },
      [B]: { orgs: 1, users: 1, teams: 1, files: 1, versions: 2, blobs: 2, chunks: 1 },
    },
  },
]
