import type { z } from 'zod'
import { seedTenant } from '../../src/core/defaults/seed-tenant.ts'
import { SeedOptions, type SeedResult } from '../../src/core/defaults/seed-types.ts'
import { BackupError } from '../../src/core/errors.ts'
import type { Services } from '../../src/core/services.ts'
import type { ProtectionOptions } from '../../src/core/tables/initialise-protection.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { createTestStore, SYSTEM, servicesOf, type TestStore } from './backup-services.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'
import {
  type OthersPhotograph,
  type Owns,
  photographOthers,
  readOwns,
} from './expect-others-equal.ts'
import { protect } from './restore-trial.ts'

export type SeedRequest = z.input<typeof SeedOptions>

/** A host under protection with a template, a tenant that is seeded, and a neighbour. */
export interface SeedTrial {
  database: TestDatabase
  store: TestStore
  services: Services
  template: string
  tenant: string
  seed(options?: SeedRequest, more?: { planHash?: string; tenant?: string }): Promise<SeedResult>
  rehearse(
    options?: SeedRequest,
    more?: { tenant?: string; sampleRows?: number },
  ): Promise<SeedResult>
  /** As the owner of the tables, with every trigger and constraint on. */
  run<Row>(sql: string): Promise<Row[]>
  photographOthers(): Promise<OthersPhotograph>
  drop(): Promise<void>
}

export interface SeedHost {
  sql: string
  options: ProtectionOptions
  /** Ids as text. */
  template: string
  tenant: string
  /** Labels; all tables of tenants but the tenants' own where none are given. */
  seeded?: readonly string[]
  owns?: Owns
}

export async function createSeedTrial(host: SeedHost): Promise<SeedTrial> {
  const database = await createTestDatabase()
  const store = await createTestStore()
  try {
    await runScript(database.adminUrl, host.sql)
    await protect(database, host.options)
    return await seedTrialOf(database, store, servicesOf(database.worker, store.store), host)
  } catch (error) {
    await database.drop()
    await store.remove()
    throw error
  }
}

/** A trial on a database that is under protection already. */
export async function seedTrialOf(
  database: TestDatabase,
  store: TestStore,
  services: Services,
  host: Pick<SeedHost, 'template' | 'tenant' | 'seeded' | 'owns'>,
): Promise<SeedTrial> {
  await markDefaults(database, host)
  const { template, tenant } = host
  const owns = host.owns ?? (await readOwns(database))
  return {
    database,
    store,
    services,
    template,
    tenant,
    seed: (options = {}, more = {}) =>
      seedTenant(services, {
        tenantId: more.tenant ?? tenant,
        options: SeedOptions.parse(options),
        isDryRun: false,
        planHash: more.planHash ?? null,
        actor: SYSTEM,
      }),
    rehearse: (options = {}, more = {}) =>
      seedTenant(services, {
        tenantId: more.tenant ?? tenant,
        options: SeedOptions.parse(options),
        isDryRun: true,
        sampleRows: more.sampleRows ?? 0,
        actor: SYSTEM,
      }),
    run: async <Row>(sql: string) => {
      const { rows } = await database.admin.withConnection((session) => session.query<Row>(sql))
      return rows
    },
    photographOthers: () => photographOthers(database, tenant, owns),
    drop: async () => {
      await database.drop()
      await store.remove()
    },
  }
}

/** The setting and the marks. */
async function markDefaults(
  database: TestDatabase,
  { template, seeded }: Pick<SeedHost, 'template' | 'seeded'>,
): Promise<void> {
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('template_tenant', to_jsonb($1::text))
     on conflict (key) do update set value = excluded.value`,
    [template],
  )
  await database.admin.query(
    `update tenantkeep.tenant_tables set is_seeded = class in ('direct', 'child', 'custom')
       and ($1::text[] is null or case schema_name when 'public' then table_name
         else schema_name || '.' || table_name end = any ($1))`,
    [seeded ?? null],
  )
}

/** What a seeding was refused with. */
export async function refusalOfSeed(work: Promise<unknown>): Promise<BackupError> {
  try {
    await work
  } catch (error) {
    if (error instanceof BackupError) return error
    throw error
  }
  throw new Error('Nothing was refused.')
}

/** By table, what was written; tables of which nothing was are left out. */
export function writtenBy({
  tables,
}: SeedResult): Record<string, { inserted: number; updated: number }> {
  return Object.fromEntries(
    tables
      .filter(({ inserted, updated }) => inserted + updated > 0)
      .map(({ name, inserted, updated }) => [name, { inserted, updated }]),
  )
}

/** By table, how the template's rows stand with the tenant. */
export function casesOf({ tables }: SeedResult): Record<string, object> {
  return Object.fromEntries(tables.map(({ name, cases }) => [name, cases]))
}

/** Every kind of key and reference that copying has to follow. */
export const SEED_HOST: SeedHost = {
  sql: `
    create schema shop;
    create table shop.tenants (id text primary key, code text not null unique, name text not null);
    create table shop.units (code text primary key, name text not null);
    create table shop.kinds (
      id bigint generated by default as identity primary key,
      tenant_id text not null references shop.tenants (id),
      name text not null,
      unit text not null references shop.units (code),
      above bigint references shop.kinds (id),
      color text not null default 'red',
      size numeric(10, 2),
      twice numeric generated always as (size * 2) stored,
      unique (tenant_id, name)
    );
    create table shop.prices (
      tenant_id text not null references shop.tenants (id),
      code text not null,
      amount numeric(20, 4) not null,
      kind_id bigint not null references shop.kinds (id),
      primary key (tenant_id, code)
    );
    create table shop.price_notes (
      tenant_id text not null,
      price_code text not null,
      n int not null,
      body text,
      primary key (tenant_id, price_code, n),
      foreign key (tenant_id, price_code) references shop.prices (tenant_id, code) on delete cascade
    );
    create table shop.lists (
      id uuid primary key default gen_random_uuid(),
      tenant_code text not null references shop.tenants (code),
      title text not null,
      first_entry uuid
    );
    create table shop.entries (
      id uuid primary key default gen_random_uuid(),
      list_id uuid not null references shop.lists (id) on delete cascade,
      kind_id bigint references shop.kinds (id) on delete set null,
      body jsonb
    );
    alter table shop.lists add foreign key (first_entry) references shop.entries (id);
    create table shop.eggs (id serial primary key, tenant_id text not null references shop.tenants (id), hen int not null);
    create table shop.hens (id serial primary key, tenant_id text not null references shop.tenants (id),
      egg int not null references shop.eggs (id) deferrable);
    create table shop.links (
      id bigint generated always as identity primary key,
      tenant_id text not null references shop.tenants (id),
      token text not null unique default md5(random()::text),
      target text not null
    );
    insert into shop.tenants values ('zero', 'Z', 'Template'), ('alpha', 'A', 'Alpha Gases'), ('beta', 'B', 'Beta Rentals');
    insert into shop.units values ('kg', 'Kilogram'), ('l', 'Litre');
    insert into shop.kinds (id, tenant_id, name, unit, above, size) values
      (1, 'zero', 'gas', 'kg', null, 1.5), (2, 'zero', 'oxygen', 'l', 1, 2), (3, 'zero', 'argon', 'l', 1, null),
      (10, 'alpha', 'steel', 'kg', null, 7), (11, 'beta', 'gas', 'kg', null, 1);
    alter table shop.kinds alter id restart with 100;
    insert into shop.prices values ('zero', 'O2', 21.5, 2), ('zero', 'AR', 39, 3), ('beta', 'O2', 5, 11);
    insert into shop.price_notes values ('zero', 'O2', 1, 'net'), ('zero', 'O2', 2, null), ('beta', 'O2', 1, 'theirs');
    insert into shop.lists (id, tenant_code, title) values
      ('00000000-0000-4000-8000-000000000001', 'Z', 'standard'), ('00000000-0000-4000-8000-000000000002', 'B', 'theirs');
    insert into shop.entries values
      ('00000000-0000-4000-8000-000000000011', '00000000-0000-4000-8000-000000000001', 2, '{"n": 1.50}'),
      ('00000000-0000-4000-8000-000000000012', '00000000-0000-4000-8000-000000000001', null, 'null');
    update shop.lists set first_entry = '00000000-0000-4000-8000-000000000012' where tenant_code = 'Z';
    with h as (insert into shop.hens (id, tenant_id, egg) values (1, 'zero', 1))
      insert into shop.eggs (id, tenant_id, hen) values (1, 'zero', 1);
    alter table shop.eggs add foreign key (hen) references shop.hens (id) deferrable initially deferred;
    alter sequence shop.eggs_id_seq restart with 50;
    alter sequence shop.hens_id_seq restart with 70;
    insert into shop.links (tenant_id, token, target) values ('zero', 'template-token', 'help');`,
  options: {
    tenantTable: 'shop.tenants',
    tenantColumns: ['tenant_id'],
    schemas: ['shop'],
    answers: { shared: ['shop.units'] },
  },
  template: 'zero',
  tenant: 'alpha',
}
