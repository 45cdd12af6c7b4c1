import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exportBackup } from '../../../src/core/backup/export-backup.ts'
import type { BackupSource } from '../../../src/core/restore/backup-source.ts'
import { openArchive } from '../../../src/core/restore/open-archive.ts'
import { openPlainFiles } from '../../../src/core/restore/open-plain-files.ts'
import { RestoreOptions } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { readProtectedTables } from '../../../src/core/tables/read-protected-tables.ts'
import { SYSTEM, TEST_KEYS } from '../../support/backup-services.ts'
import { createRestoreTrial, type RestoreTrial } from '../../support/restore-trial.ts'

/** Values that ordinary JSON writes differently than our own encodings. Blanks in json columns it loses. */
const HOST = `
  create type grade as enum ('low', 'high');
  create table organizations (id uuid primary key, name text not null);
  create table customers (
    id bigint generated always as identity primary key,
    organization_id uuid not null references organizations (id),
    name text not null,
    shout text generated always as (upper(name)) stored,
    tags text[], matrix integer[][], grades grade[],
    contact jsonb, raw json, picture bytea,
    price numeric(12, 4), since timestamptz, span interval, period tstzrange
  );
  create table rentals (
    id uuid primary key default gen_random_uuid(),
    customer_id bigint not null references customers (id),
    note text
  );
  insert into organizations values
    ('a0000000-0000-4000-8000-000000000001', 'Alpha Gases'),
    ('a0000000-0000-4000-8000-000000000002', 'Beta Rentals');
  insert into customers (organization_id, name, tags, matrix, grades, contact, raw, picture, price, since, span, period)
  select o.id, 'Äther "' || i || E'"\\nline', array['a,b', null, 'NULL', '{}'], array[[1, 2], [3, null]],
    array['low', 'high']::grade[], jsonb_build_object('n', 12345678901234567890.10, 'list', jsonb_build_array(1, null)),
    '{"b":1,"a":[2]}', '\\x00ff10', i + 0.1234, '2026-11-21 02:03:04.567891+00', '1 mon 2 days 03:04:05.678',
    '[2026-01-01 00:00+00,)'
  from organizations o, generate_series(1, 12) i;
  insert into customers (organization_id, name) select id, 'nothing but a name' from organizations;
  insert into rentals (customer_id, note) select id, 'rented' from customers;
`

const DAMAGE = [
  `update customers set tags = '{}', contact = null, price = price + 1, picture = null where id % 2 = 0 and organization_id = 'a0000000-0000-4000-8000-000000000001'`,
  `delete from rentals r using customers c where c.id = r.customer_id and c.id % 3 = 0 and c.organization_id = 'a0000000-0000-4000-8000-000000000001'`,
  `insert into rentals (customer_id, note) select min(id), 'newer' from customers where organization_id = 'a0000000-0000-4000-8000-000000000001'`,
].join(';')

let trial: RestoreTrial
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-foreign-'))
  trial = await createRestoreTrial({
    sql: HOST,
    options: { tenantTable: 'public.organizations', tenantColumns: ['organization_id'] },
    tenants: ['a0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000002'],
  })
})

afterAll(async () => {
  await trial?.drop()
  await rm(folder, { recursive: true, force: true })
})

test('an archive brings the tenant back exactly, and a second time writes nothing', async () => {
  const before = await readAll()
  const others = await readAll(trial.neighbour)
  const file = join(folder, 'archive.zip')
  const { stream } = await exportBackup(trial.services, { backup: await trial.backUp() })
  await pipeline(stream, createWriteStream(file))
  const open = () => openArchive({ file, signingKeys: TEST_KEYS, tenantId: trial.tenant })
  await trial.damage(DAMAGE)

  await restore(await open())

  expect(await readAll()).toEqual(before)
  expect(await readAll(trial.neighbour)).toEqual(others)
  expect(countWrites(await restore(await open()))).toBe(0)
})

test('plain files bring every value of ordinary JSON back, and a second time write nothing', async () => {
  const before = await readAll()
  const others = await readAll(trial.neighbour)
  await writePlainFiles()
  await trial.damage(DAMAGE)

  const result = await restore(await openPlain())

  expect(result.schemaChanges).toEqual([])
  expect(await readAll()).toEqual(before)
  expect(await readAll(trial.neighbour)).toEqual(others)
  expect(countWrites(await restore(await openPlain()))).toBe(0)
})

test('plain files that hold a row of another tenant are refused, and nothing is written', async () => {
  const neighbours = await trial.database.admin.query<{ rows: string }>(
    `select json_agg(c)::text as rows from customers c where organization_id = $1`,
    [trial.neighbour],
  )
  await writePlainFiles({ customers: neighbours.rows[0]?.rows ?? '' })
  await trial.damage(DAMAGE)
  const [before, others] = [await readAll(), await readAll(trial.neighbour)]

  await expect(openPlain().then(restore)).rejects.toMatchObject({ code: 'row_outside_tenant' })

  expect(await readAll()).toEqual(before)
  expect(await readAll(trial.neighbour)).toEqual(others)
})

async function openPlain(): Promise<BackupSource> {
  return openPlainFiles({
    folder,
    tenantId: trial.tenant,
    liveTables: await readProtectedTables(trial.services.tenants.catalog),
  })
}

function restore(source: BackupSource) {
  return restoreTenant(trial.services, {
    tenantId: trial.tenant,
    source,
    isDryRun: false,
    options: RestoreOptions.parse({}),
    actor: SYSTEM,
  })
}

function countWrites({ tables }: Awaited<ReturnType<typeof restore>>): number {
  return tables.reduce((total, it) => total + it.inserted + it.updated + it.deleted, 0)
}

const QUERIES: Record<string, string> = {
  organizations: 'select * from organizations where id = $1 order by id',
  customers: 'select * from customers where organization_id = $1 order by id',
  rentals:
    'select r.* from rentals r join customers c on c.id = r.customer_id where c.organization_id = $1 order by r.id',
}

/** Every row of a tenant as Postgres text. */
async function readAll(tenant = trial.tenant): Promise<Record<string, string[]>> {
  const all: Record<string, string[]> = {}
  for (const [name, query] of Object.entries(QUERIES)) {
    const { rows } = await trial.database.admin.query<{ line: string }>(
      `select q::text as line from (${query}) q`,
      [tenant],
    )
    all[name] = rows.map(({ line }) => line)
  }
  return all
}

/** As a tool does that asks Supabase for all rows and writes what it gets. */
async function writePlainFiles(changed: Record<string, string> = {}): Promise<void> {
  const day = join(folder, 'tenant-backups', trial.tenant, '2025-01-15')
  await mkdir(day, { recursive: true })
  for (const [name, query] of Object.entries(QUERIES)) {
    const { rows } = await trial.database.admin.query<{ body: string }>(
      `select coalesce(json_agg(q), '[]')::text as body from (${query}) q`,
      [trial.tenant],
    )
    await writeFile(
      join(day, `${name}-2025-01-15T02-00-00-000Z.json`),
      changed[name] ?? rows[0]?.body ?? '',
    )
  }
}
