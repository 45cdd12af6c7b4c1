import { hash, randomUUID } from 'node:crypto'
import { cp, mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { sum, totalsOf, writeSummary } from '../../../src/core/backup/summary.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { drillBackup } from '../../../src/core/restore/drill-backup.ts'
import { recordDrillCrashes } from '../../../src/core/restore/drill-record.ts'
import { drillTenant, runDrills } from '../../../src/core/restore/run-drills.ts'
import { otherKeys, SYSTEM, TEST_KEYS } from '../../support/backup-services.ts'
import { readRowVersions } from '../../support/expect-others-equal.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import {
  createRestoreTrial,
  protect,
  type RestoreTrial,
  readBackup,
} from '../../support/restore-trial.ts'

/** Customers of odd numbers are the neighbour's, those of even numbers ours; rentals follow their customer. */
const HOST = {
  sql: `
    create domain grade as text;
    create table kinds (id int primary key, name text);
    create table orgs (id int primary key, name text not null);
    create table customers (id int primary key, org_id int not null references orgs, name text not null,
      email text unique, graded grade, kind int references kinds, amount numeric(10, 2), note text,
      doubled numeric generated always as (amount * 2) stored);
    create table rentals (id bigint generated always as identity primary key,
      customer_id int not null references customers, during int4range, parent bigint references rentals,
      exclude using gist (during with &&) where (during is not null));
    create table remarks (org_id int not null references orgs, body text);
    create table spare (id int primary key, org_id int not null references orgs);
    insert into kinds values (1, 'gas'), (2, 'air'), (3, 'nobody’s');
    insert into orgs values (1, 'ours'), (2, 'the neighbour’s');
    insert into customers select i, 1 + i % 2, 'customer ' || i, i || '@example', 'a', 1 + i % 2, i * 1.50, 'n'
      from generate_series(1, 12) i;
    insert into rentals (customer_id, during, parent)
      select i, int4range(i * 10, i * 10 + 5), nullif(i / 2, 0) from generate_series(1, 12) i;
    insert into remarks select 1 + i % 2, 'r' || i % 3 from generate_series(1, 10) i;
    insert into spare select i, 1 + i % 2 from generate_series(1, 6) i;`,
  options: { tenantTable: 'orgs', tenantColumns: ['org_id'], answers: { shared: ['kinds'] } },
  tenants: ['1', '2'] as const,
}

let trial: RestoreTrial
let backup: Backup
let whole: string
beforeAll(async () => {
  trial = await createRestoreTrial(HOST)
  backup = await trial.backUp()
  whole = await mkdtemp(join(tmpdir(), 'tenantkeep-drill-'))
  await cp(trial.store.folder, whole, { recursive: true })
})
afterAll(async () => {
  await trial?.drop()
  await rm(whole, { recursive: true, force: true })
})

const drill = async () =>
  drillBackup(trial.services, {
    backup: await readBackup(trial.database, backup.id),
    actor: SYSTEM,
  })

async function fileOf(table: string): Promise<string> {
  const { tables } = await loadSummary(trial.services, backup)
  return join(trial.store.folder, tables.find(({ name }) => name === table)?.parts[0]?.path ?? '')
}

/** What only somebody with our own key could make: the rows of a table are others, and all digests fit. */
async function forge(table: string, edit: (rows: string[]) => string[]): Promise<void> {
  const { signature: _, ...summary } = await loadSummary(trial.services, backup)
  const forged = summary.tables.find(({ name }) => name === table)
  const part = forged?.parts[0]
  if (forged === undefined || part === undefined) throw new Error(`There is no ${table}.`)
  const file = join(trial.store.folder, part.path)
  const rows = gunzipSync(await readFile(file))
    .toString()
    .split('\n')
    .slice(0, -2)
    .map((line) => line.slice(1))
  const edited = edit(rows)
  const raw = Buffer.from(
    `${edited.map((row, index) => `${index === 0 ? '[' : ','}${row}\n`).join('')}]\n`,
  )
  const stored = gzipSync(raw, { level: 1 })
  await writeFile(file, stored)
  Object.assign(part, {
    rows: edited.length,
    raw_bytes: raw.length,
    stored_bytes: stored.length,
    raw_sha256: hash('sha256', raw, 'hex'),
    stored_sha256: hash('sha256', stored, 'hex'),
  })
  for (const field of ['rows', 'raw_bytes', 'stored_bytes'] as const) {
    forged[field] = sum(forged.parts, field)
  }
  const { body } = writeSummary({ ...summary, totals: totalsOf(summary.tables) }, TEST_KEYS)
  await putSummary(body)
}

async function putSummary(body: Buffer): Promise<void> {
  await writeFile(join(trial.store.folder, backup.summaryPath ?? ''), body)
  await nameInCatalog(hash('sha256', body, 'hex'))
}

/** A row again, with some of its text replaced. */
const changed = (from: RegExp, to: string) => (rows: string[]) => {
  const edited = rows.map((row) => row.replace(from, to))
  if (edited.join() === rows.join()) throw new Error('Nothing was forged.')
  return edited
}

async function nameInCatalog(sha256: string | null): Promise<void> {
  await trial.database.superuser.query(
    'update public.tenant_backups set summary_sha256 = $2, damaged_at = null, damage = null where id = $1',
    [backup.id, sha256],
  )
}

interface Fault {
  name: string
  /** By whoever owns the tables, and how it is taken back. */
  sql?: [string, string]
  /** Whether init must run again for the new shape. */
  isNewShape?: true
  act?: () => Promise<unknown>
  /** Code, table and constraint of each finding. */
  finds: [string, string | null, string | null][]
}

/** To add to it, say what somebody does, and what a drill says of it. */
const FAULTS: Fault[] = [
  {
    name: 'a flipped bit',
    act: async () => {
      const file = await fileOf('customers')
      const bytes = await readFile(file)
      bytes[40] = (bytes[40] ?? 0) ^ 16
      await writeFile(file, bytes)
    },
    finds: [['backup_damaged', 'customers', null]],
  },
  {
    name: 'a missing part',
    act: async () => rm(await fileOf('remarks')),
    finds: [['object_missing', 'remarks', null]],
  },
  {
    name: 'a truncated part',
    act: async () => truncate(await fileOf('rentals'), 40),
    finds: [['backup_damaged', 'rentals', null]],
  },
  {
    name: 'swapped parts',
    act: async () => {
      const [one, other] = [await fileOf('remarks'), await fileOf('spare')]
      await rename(one, `${one}.aside`)
      await rename(other, one)
      await rename(`${one}.aside`, other)
    },
    finds: [
      ['backup_damaged', 'remarks', null],
      ['backup_damaged', 'spare', null],
    ],
  },
  {
    name: 'a missing summary',
    act: () => rm(join(trial.store.folder, backup.summaryPath ?? '')),
    finds: [['object_missing', null, null]],
  },
  {
    name: 'a forged summary that the catalog was made to fit',
    act: async () => {
      const file = join(trial.store.folder, backup.summaryPath ?? '')
      await putSummary(Buffer.from((await readFile(file, 'utf8')).replace('"ours"', '"mine"')))
    },
    finds: [['backup_damaged', null, null]],
  },
  {
    name: 'values that come back as others',
    act: () => forge('customers', changed(/"amount":(\d+)\.(\d+)/, '"amount":$1$2e-2')),
    finds: [['encoding_not_exact', 'customers', null]],
  },
  {
    name: 'a dropped column',
    sql: ['alter table customers drop column note', 'alter table customers add column note text'],
    isNewShape: true,
    finds: [['schema_changed', 'customers', 'dropped_column:customers.note']],
  },
  {
    name: 'a new column that allows no null and has no default',
    sql: [
      `alter table remarks add column by_whom text; update remarks set by_whom = 'x';
       alter table remarks alter column by_whom set not null`,
      'alter table remarks drop column by_whom',
    ],
    isNewShape: true,
    finds: [['row_refused', 'remarks', 'by_whom']],
  },
  {
    name: 'a type that holds less',
    sql: [
      'alter table customers alter column note type varchar(1); alter table customers alter column name type varchar(11)',
      'alter table customers alter column note type text; alter table customers alter column name type text',
    ],
    isNewShape: true,
    finds: [
      ['schema_changed', 'customers', 'changed_type:customers.name'],
      ['schema_changed', 'customers', 'changed_type:customers.note'],
    ],
  },
  {
    name: 'a narrower domain',
    sql: [
      `alter domain grade add constraint good check (value <> 'a') not valid`,
      'alter domain grade drop constraint good',
    ],
    finds: [['row_refused', 'customers', 'good']],
  },
  {
    name: 'two checks that rows violate',
    sql: [
      `alter table customers add constraint rich check (amount > 100) not valid,
         add constraint named check (name like 'x%') not valid`,
      'alter table customers drop constraint rich, drop constraint named',
    ],
    isNewShape: true,
    finds: [
      ['row_refused', 'customers', 'named'],
      ['row_refused', 'customers', 'rich'],
    ],
  },
  {
    name: 'a column that was emptied and allows no null now',
    act: () => forge('customers', changed(/"name":"customer 2"/, '"name":null')),
    finds: [['row_refused', 'customers', 'name']],
  },
  {
    name: 'an orphan within the tenant',
    act: () => forge('customers', (rows) => rows.filter((row) => !row.includes('"customer 4"'))),
    finds: [['missing_reference', 'rentals', 'rentals_customer_id_fkey']],
  },
  {
    name: 'an orphan within one table',
    act: () => forge('rentals', changed(/"parent":\d+/, '"parent":4711')),
    finds: [['missing_reference', 'rentals', 'rentals_parent_fkey']],
  },
  {
    name: 'a row that everybody shares and that is gone',
    act: () => forge('customers', changed(/"kind":1/, '"kind":9')),
    finds: [['missing_reference', 'customers', 'customers_kind_fkey']],
  },
  {
    name: 'a clash of unique values within the backup',
    act: () => forge('customers', changed(/"email":"4@example"/, '"email":"2@example"')),
    finds: [['key_twice', 'customers', 'customers_email_key']],
  },
  {
    name: 'ranges that exclude each other',
    act: () => forge('rentals', changed(/"during":"\[40,45\)"/, '"during":"[22,24)"')),
    finds: [['key_twice', 'rentals', 'rentals_during_excl']],
  },
  {
    name: 'a primary key twice',
    act: () => forge('spare', (rows) => [...rows, rows[0] ?? '']),
    finds: [['backup_damaged', 'spare', null]],
  },
  {
    name: 'a unique value that another tenant holds now',
    act: () => forge('customers', changed(/"email":"2@example"/, '"email":"3@example"')),
    finds: [['key_taken', 'customers', 'customers_email_key']],
  },
  {
    name: 'a key that another tenant holds now',
    act: () => forge('spare', changed(/"id":2/, '"id":3')),
    finds: [['key_taken', 'spare', 'spare_pkey']],
  },
  {
    name: 'a row of another tenant',
    act: () => forge('remarks', changed(/"org_id":1/, '"org_id":2')),
    finds: [['row_outside_tenant', 'remarks', null]],
  },
  {
    name: 'a vanished table',
    sql: [
      'drop table spare',
      `create table public.spare (id int primary key, org_id int not null references orgs);
       insert into spare select i, 1 + i % 2 from generate_series(1, 6) i`,
    ],
    isNewShape: true,
    finds: [['schema_changed', 'spare', 'dropped_table:spare']],
  },
  {
    name: 'a table whose protection is gone',
    sql: [
      'alter table customers disable row level security',
      'alter table customers enable row level security',
    ],
    finds: [['confinement_broken', null, null]],
  },
]

describe('what would break a restore is found, and nothing is touched', () => {
  test.each(FAULTS)('$name', async ({ sql, act, isNewShape, finds }) => {
    const init = () => protect(trial.database, HOST.options)
    if (sql !== undefined) await trial.damage(sql[0])
    if (isNewShape === true) await init()
    await act?.()
    const before = await readRowVersions(trial.database)
    const result = await drill()
    const after = await readRowVersions(trial.database)
    const { rows } = await trial.database.worker.query(
      `select l.status, l.error_code as code, b.proven_at as "provenAt"
       from public.backup_logs l join public.tenant_backups b on b.id = l.backup_id where l.id = $1`,
      [result.id],
    )
    if (sql !== undefined) await trial.damage(sql[1])
    if (isNewShape === true) await init()
    await cp(whole, trial.store.folder, { recursive: true })
    await nameInCatalog(backup.summarySha256)

    expect(result.findings.map(({ code, table, constraint }) => [code, table, constraint])).toEqual(
      finds,
    )
    expect(result.status).toBe('failed')
    expect(after).toEqual(before)
    expect(rows).toEqual([{ status: 'failed', code: finds[0]?.[0], provenAt: null }])
  })
})

test('references that are broken in the tenant as well are told, and no finding', async () => {
  await trial.database.superuser.query(
    `begin; set local session_replication_role = replica; update customers set kind = 77 where id in (2, 3); commit`,
  )
  const broken = await trial.backUp()
  const result = await drillBackup(trial.services, { backup: broken, actor: SYSTEM })
  await trial.damage('update customers set kind = 1 where kind = 77')

  expect(result).toMatchObject({
    status: 'passed',
    findings: [],
    warnings: [{ table: 'customers', message: expect.stringContaining('customers_kind_fkey') }],
  })
})

test('a clean drill proves the backup, measures it, and stands in the journal', async () => {
  const before = await readRowVersions(trial.database)
  const result = await drill()
  const { rows } = await trial.database.worker.query(
    `select b.proven_at is not null as proven, b.verified_at > b.completed_at as verified,
       l.status, l.duration_ms::int as ms, l.total_records::int as rows
     from public.tenant_backups b join public.backup_logs l on l.backup_id = b.id and l.id = $2
     where b.id = $1`,
    [backup.id, result.id],
  )

  expect(result).toMatchObject({
    status: 'passed',
    findings: [],
    warnings: [],
    rows: backup.totalRecords,
  })
  expect(rows).toEqual([
    { proven: true, verified: true, status: 'complete', ms: result.durationMs, rows: result.rows },
  ])
  expect(await readRowVersions(trial.database)).toEqual(before)
})

test('a store out of reach and a key that is missing are no findings: the drill is cancelled, and says why', async () => {
  const { services } = trial
  const down = new FaultyStore(trial.store.store, { call: 2, method: 'get', how: 'error' })
  await expect(
    drillBackup({ ...services, store: down }, { backup, actor: SYSTEM }),
  ).rejects.toMatchObject({ code: 'store_unavailable' })
  await expect(
    drillBackup({ ...services, signingKeys: otherKeys() }, { backup, actor: SYSTEM }),
  ).rejects.toMatchObject({ code: 'backup_damaged' })
  const { rows } = await trial.database.worker.query(
    `select d.status, d.error_code as code, b.damaged_at as damaged
     from tenantkeep.drills d join public.tenant_backups b on b.id = d.backup_id
     order by d.started_at desc limit 2`,
  )

  expect(rows).toEqual([
    { status: 'cancelled', code: 'backup_damaged', damaged: null },
    { status: 'cancelled', code: 'store_unavailable', damaged: null },
  ])
})

test('each day as many tenants as the setting says, the longest untried first; a dead drill is declared so', async () => {
  const { services, database } = trial
  const take = (tenantId: string) =>
    takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })
  await database.superuser.query(
    `delete from tenantkeep.drills; insert into tenantkeep.runs (id, kind, actor_kind, actor_label, tenant_ids)
     values ('00000000-0000-4000-8000-000000000001', 'drill', 'system', 'test', '{}')`,
  )
  const input = () => ({
    actor: SYSTEM,
    runId: '00000000-0000-4000-8000-000000000001',
    until: new Date(Date.now() + 60_000),
  })
  await take(trial.tenant)
  const neighbours = (await take(trial.neighbour)).backup
  await drillTenant(services, { tenantId: trial.tenant, actor: SYSTEM })
  await database.superuser.query(
    `update tenantkeep.drills set started_at = now() - interval '2 days'`,
  )
  await database.superuser.query(
    `insert into tenantkeep.drills (id, organization_id, backup_id, in_rotation) values ($1, $2, $3, true)`,
    [randomUUID(), trial.neighbour, neighbours.id],
  )
  await recordDrillCrashes(database.worker)
  await database.superuser.query(
    `update tenantkeep.drills set started_at = now() - interval '3 days' where status = 'cancelled'`,
  )
  const first = await runDrills(services, input())
  const second = await runDrills(services, input())
  await database.superuser.query(
    `insert into tenantkeep.settings (key, value) values ('drills_per_day', '5')`,
  )
  const third = await runDrills(services, input())
  const named = await runDrills(services, { ...input(), tenantId: trial.tenant })
  const broken = (await take(trial.tenant)).backup
  await rm(join(trial.store.folder, broken.summaryPath ?? ''))
  const failed = await runDrills(services, { ...input(), tenantId: trial.tenant })

  expect(first).toMatchObject({
    done: 1,
    failed: 0,
    left: 0,
    details: { passed: [trial.neighbour] },
  })
  expect(second).toMatchObject({ done: 0, failed: 0, left: 0 })
  expect(third).toMatchObject({ done: 1, left: 0, details: { passed: [trial.tenant] } })
  expect(named).toMatchObject({ done: 1, failed: 0 })
  expect(failed).toMatchObject({
    ...{ done: 0, failed: 1, left: 0 },
    details: {
      passed: [],
      failed: [{ organization_id: trial.tenant, backup_id: broken.id, codes: ['object_missing'] }],
    },
  })
})
