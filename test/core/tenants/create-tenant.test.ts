import { afterAll, beforeAll, expect, test } from 'vitest'
import { SeedOptions } from '../../../src/core/defaults/seed-types.ts'
import { createTenant } from '../../../src/core/tenants/create-tenant.ts'
import { SYSTEM, servicesOf } from '../../support/backup-services.ts'
import { FaultyDatabase } from '../../support/faulty-database.ts'
import { createSeedTrial, type SeedTrial } from '../../support/seed-trial.ts'

/** Keys of every kind: the tenant's from a sequence, natural ones, an identity, a child's. */
const HOST = {
  sql: `
    create schema app;
    create table app.tenants (
      id serial primary key,
      name text not null constraint tenants_name_key unique check (name <> 'refused'),
      contact jsonb,
      seats numeric(4, 0) not null default 5,
      shout text generated always as (upper(name)) stored
    );
    create table app.roles (
      tenant_id int not null references app.tenants (id), code text not null, title text not null,
      primary key (tenant_id, code)
    );
    create table app.rights (
      id bigint generated always as identity primary key,
      tenant_id int not null references app.tenants (id),
      role text not null, verb text not null,
      foreign key (tenant_id, role) references app.roles (tenant_id, code)
    );
    insert into app.tenants (name) values ('Defaults'), ('Alpha');
    insert into app.roles values (1, 'boss', 'Boss'), (1, 'clerk', 'Clerk');
    insert into app.rights (tenant_id, role, verb) values (1, 'boss', 'all'), (1, 'clerk', 'read');`,
  options: { tenantTable: 'app.tenants', tenantColumns: ['tenant_id'], schemas: ['app'] },
  template: '1',
  tenant: '2',
}

let trial: SeedTrial
beforeAll(async () => {
  trial = await createSeedTrial(HOST)
})
afterAll(() => trial?.drop())

const OPERATOR = { ...SYSTEM, kind: 'operator' as const }

function make(
  columns: Record<string, unknown>,
  given: Partial<Parameters<typeof createTenant>[1]> = {},
  services = trial.services,
) {
  return createTenant(services, {
    actor: OPERATOR,
    columns,
    options: SeedOptions.parse({}),
    isDryRun: false,
    ...given,
  })
}

/** What there is of a tenant: its own row and its defaults. */
const readTenant = async (name: string) =>
  trial.run<{ id: number; roles: number; rights: number }>(
    `select t.id, (select count(*)::int from app.roles r where r.tenant_id = t.id) as roles,
       (select count(*)::int from app.rights r where r.tenant_id = t.id) as rights
     from app.tenants t where t.name = '${name}'`,
  )

test('the id comes from the sequence, the row and its defaults in one step', async () => {
  const others = await trial.photographOthers()

  const made = await make({ name: 'Beta', contact: { phones: [1, 2] }, seats: '12' })

  expect(await readTenant('Beta')).toEqual([{ id: Number(made.tenantId), roles: 2, rights: 2 }])
  expect(made).toMatchObject({ tenantName: 'Beta', isDryRun: false })
  const [row] = await trial.run<{ seats: string; contact: object }>(
    `select seats, contact from app.tenants where name = 'Beta'`,
  )
  expect(row).toEqual({ seats: '12', contact: { phones: [1, 2] } })
  await trial.run(`delete from app.rights where tenant_id = ${made.tenantId}`)
  await trial.run(`delete from app.roles where tenant_id = ${made.tenantId}`)
  await trial.run(`delete from app.tenants where id = ${made.tenantId}`)
  await others.expectEqual()
})

test('a rehearsal leaves nothing but a number that the sequence gave', async () => {
  const rehearsed = await make({ name: 'Gamma' }, { isDryRun: true })

  expect(rehearsed.seed?.tables.reduce((sum, { inserted }) => sum + inserted, 0)).toBe(4)
  expect(await readTenant('Gamma')).toEqual([])
  expect(
    await trial.run(`select from public.backup_logs where details::text like '%Gamma%'`),
  ).toEqual([])
})

test('names all that is wrong with the columns, and says no value', async () => {
  const error = await make({
    ...{ contact: null, seats: 'plenty', shout: 'X', colour: 'red' },
  }).catch((thrown: unknown) => thrown)
  const refused = await make({ name: 'refused' }).catch((thrown: unknown) => thrown)
  const there = await make({ id: 2, name: 'Again' }).catch((thrown: unknown) => thrown)

  expect(error).toHaveProperty('details.columns', [
    { column: 'seats', reason: 'no value of the type numeric(4,0)' },
    { column: 'shout', reason: 'computed by the database, so it can’t be given' },
    { column: 'colour', reason: 'app.tenants has no such column' },
    { column: 'name', reason: 'needs a value: it may not be null and has no default' },
  ])
  expect(error).toHaveProperty('message', expect.not.stringContaining('plenty'))
  expect(refused).toHaveProperty('message', expect.stringContaining('tenants_name_check'))
  expect(there).toHaveProperty('message', expect.stringContaining('already'))
})

test('a default that can’t be copied leaves no half tenant, and the journal says why', async () => {
  await trial.run(`alter table app.roles add constraint few check (tenant_id < 3) not valid`)

  const error = await make({ name: 'Half' }).catch((thrown: unknown) => thrown)

  expect(error).toHaveProperty('code', 'seed_blocked')
  expect(await readTenant('Half')).toEqual([])
  const journal = await trial.run(
    `select status, error_code from public.backup_logs
     where backup_type = 'create_tenant' and organization_name = 'Half'`,
  )
  expect(journal).toEqual([{ status: 'failed', error_code: 'seed_blocked' }])
  await trial.run('alter table app.roles drop constraint few')
})

test('whatever call of the database fails, there is the tenant with its defaults or no tenant', async () => {
  const counted = new FaultyDatabase(trial.database.worker)
  await make({ name: 'Counted' }, {}, servicesOf(counted, trial.store.store))
  const step = process.env.EVERY_FAULT === undefined ? 6 : 1
  let made = 0
  let failed = 0
  for (let call = new Date().getUTCDate() % step; call < counted.calls.length; call += step) {
    const how = (['error', 'after-success'] as const)[Math.floor(call / step) % 2] ?? 'error'
    const name = `Tenant ${call}`
    const key = `key ${call}`
    const faulty = new FaultyDatabase(trial.database.worker, { call, how })

    const outcome = await make(
      { name },
      { idempotencyKey: key },
      servicesOf(faulty, trial.store.store),
    ).catch((thrown: unknown) => thrown)

    const [tenant] = await readTenant(name)
    if (tenant === undefined) {
      expect(outcome, `call ${call}`).toBeInstanceOf(Error)
      failed += 1
    } else {
      expect(tenant, `call ${call}`).toMatchObject({ roles: 2, rights: 2 })
      made += 1
    }
  }
  expect(made + failed).toBeGreaterThan(5)
  expect(failed).toBeGreaterThan(0)
  const open = await trial.run(
    `select from public.backup_logs l where backup_type = 'create_tenant' and status = 'complete'
       and not exists (select from app.tenants t where t.id::text = l.organization_id)
       and organization_name <> 'Beta'`,
  )
  expect(open).toEqual([])
})
