import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { verifyBackup } from '../../src/core/backup/verify-backup.ts'
import { runComparison } from '../../src/core/compare/run-comparison.ts'
import type { Database } from '../../src/core/database/database.ts'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { readProtectionFaults } from '../../src/core/tables/read-protection-faults.ts'
import { setWorkerPassword } from '../../src/core/tables/set-worker-password.ts'
import { uninstall } from '../../src/core/tables/uninstall.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { hasVersion, OTHER_VERSIONS, OWN_VERSION } from '../../src/local/postgres.ts'
import {
  countAsOperator,
  deleteAndInsertAgain,
  expectWritesConfined,
  takeCensus,
  tryToEscape,
} from '../core/tables/confinement.ts'
import { CRON, createTestStore, servicesOf, type TestStore } from '../support/backup-services.ts'
import { readCatalogLines, readRoleLines } from '../support/catalog-fingerprint.ts'
import { startVersion, type VersionCluster } from '../support/version-cluster.ts'

// A host on a plain Postgres: integer and composite keys, two paths, partitions, row level security with
// and without `force`, and a policy for everybody.
const HOST = `
  create table teams (id int primary key, name text not null);
  create table people (id uuid primary key default gen_random_uuid(), team_id int not null references teams, name text);
  create table orders (team_id int references teams, number int, note jsonb, primary key (team_id, number));
  create table order_lines (team_id int, number int, line int, price numeric(10, 2),
    primary key (team_id, number, line), foreign key (team_id, number) references orders);
  create table comments (id int primary key, person_id uuid references people, order_team int, order_number int, body text,
    foreign key (order_team, order_number) references orders, check (person_id is not null or order_team is not null));
  create table events (team_id int not null references teams, at timestamptz not null, what text) partition by range (at);
  create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01');
  create table kinds (id int primary key, label text);
  alter table people enable row level security;
  alter table orders enable row level security;
  alter table orders force row level security;
  create policy open_to_all on people to public using (true) with check (true);
  insert into teams select i, 'Team ' || i from generate_series(1, 3) i;
  insert into people (team_id, name) select 1 + i % 3, 'Person ' || i from generate_series(1, 30) i;
  insert into orders select 1 + i % 3, i, jsonb_build_object('n', i) from generate_series(1, 30) i;
  insert into order_lines select o.team_id, o.number, l, l * 1.5 from orders o, generate_series(1, 2) l;
  insert into comments (id, person_id, body) select row_number() over (), id, 'hello' from people;
  insert into comments (id, order_team, order_number, body) select 1000 + number, team_id, number, 'hi' from orders;
  insert into events select 1 + i % 3, '2025-06-01', 'e' from generate_series(1, 9) i;
  insert into kinds values (1, 'one');
`

// The packages of the other versions are for this platform; elsewhere their tests are skipped.
const isPackaged = process.platform === 'linux' && process.arch === 'x64'

describe.each([OWN_VERSION, ...OTHER_VERSIONS] as const)('Postgres %i without auth', (version) => {
  const other = OTHER_VERSIONS.find((candidate) => candidate === version)
  let cluster: VersionCluster
  let admin: Database
  let worker: Database
  let store: TestStore
  let catalogBefore: string[]
  let rolesBefore: string[]

  beforeAll(async () => {
    if (other !== undefined && !isPackaged && !(await hasVersion(other))) return
    cluster = await startVersion(other)
    const owner = await cluster.createOwner({ name: 'owner', attributes: 'createrole bypassrls' })
    admin = owner.database
    await runScript(owner.url, HOST)
    catalogBefore = await readCatalogLines(admin)
    rolesBefore = await readRoleLines(admin)
    const report = await initialiseProtection(admin, {
      tenantTable: 'public.teams',
      tenantColumns: ['team_id'],
      answers: { shared: ['kinds'] },
      acceptDefaults: true,
      enableRowSecurity: true,
    })
    expect(report.questions).toEqual([])
    expect(report.isApplied).toBe(true)
    worker = cluster.connect('tenantkeep_worker', await setWorkerPassword(admin), 'owner')
    store = await createTestStore()
  })

  afterAll(async () => {
    await cluster?.stop()
    await store?.remove()
  })

  const on = it.skipIf(other !== undefined && !isPackaged)
  const database = () => ({
    ...{ name: 'owner', superuserUrl: '', adminUrl: '', workerUrl: '' },
    ...{ admin, worker, superuser: admin, drop: async () => {} },
  })

  on('is the version that it says', async () => {
    const { rows } = await admin.query<{ major: number }>(
      `select current_setting('server_version_num')::int / 10000 as major`,
    )
    expect(rows).toEqual([{ major: version }])
  })

  on('has no fault after init by an owner that is no superuser', async () => {
    expect(await readProtectionFaults(worker)).toEqual([])
    const { rows } = await admin.query<{ role: string }>(
      `select distinct r.rolname as role from pg_policy p join pg_roles r on r.oid = any (p.polroles)
       where p.polname like 'zz\\_tenantkeep%' and p.polname <> 'zz_tenantkeep_keep_open'`,
    )
    // Before 16 such an owner can't make the role that policies are written to elsewhere.
    expect(rows).toEqual([{ role: version >= 16 ? 'tenantkeep_scope' : 'tenantkeep_operator' }])
  })

  on('shows census and operator the same rows, for every tenant', async () => {
    for (const tenant of ['1', '2', '3']) {
      const census = await takeCensus(worker, tenant)
      expect(census).toMatchObject({
        people: 10,
        orders: 10,
        order_lines: 20,
        comments: 20,
        events: 3,
      })
      expect(await countAsOperator(database(), tenant)).toEqual(census)
    }
    expect(new Set(Object.values(await countAsOperator(database(), null)))).toEqual(new Set([0]))
  })

  on('confines writes, and refuses foreign, global and re-pointed rows', async () => {
    await expectWritesConfined(database(), '1', ['2', '3'])
    expect((await tryToEscape(database(), '1', '2')).allowed).toEqual([])
  })

  on('takes a tenant out and puts it back', async () => {
    expect(await deleteAndInsertAgain(database(), '2')).toEqual([])
  })

  on('takes a backup that can be verified', async () => {
    const services = servicesOf(worker, store.store)
    const { status, backup } = await takeBackup(services, {
      tenantId: '1',
      backupType: 'manual',
      actor: CRON,
    })
    expect(status).toBe('complete')
    expect(await verifyBackup(services, backup.id)).toMatchObject({ isIntact: true, rows: 64 })
  })

  on('compares a backup with what is live, by key and without one', async () => {
    const services = servicesOf(worker, store.store)
    const { backup } = await takeBackup(services, {
      tenantId: '1',
      backupType: 'manual',
      actor: CRON,
    })
    await admin.query(`update order_lines set price = price + 1 where team_id = 1 and number = 3`)
    await admin.query(
      `insert into events values (1, '2025-07-01', 'new'), (2, '2025-07-01', 'new')`,
    )

    const { comparison } = await runComparison(services, {
      tenantId: '1',
      tenantName: null,
      against: 'live',
      actor: CRON,
      backup: { backupId: backup.id },
    })

    expect(
      comparison.tables
        .filter((table) => table.onlyInBackup + table.onlyInOther + table.changed > 0)
        .map(({ name, changed, onlyInOther, keptRows }) => [name, changed, onlyInOther, keptRows]),
    ).toEqual([
      ['events', 0, 1, 1],
      ['order_lines', 2, 0, 2],
    ])
  })

  on('can be run again, and leaves nothing when it is uninstalled', async () => {
    const again = await initialiseProtection(admin, {
      tenantTable: 'public.teams',
      tenantColumns: ['team_id'],
      answers: { shared: ['kinds'] },
    })
    expect(again.tables.filter(({ state }) => state !== 'unchanged')).toEqual([])
    await uninstall(admin, { dropCatalog: true })
    expect(await readCatalogLines(admin)).toEqual(catalogBefore)
    expect(await readRoleLines(admin)).toEqual(rolesBefore)
  })
})
