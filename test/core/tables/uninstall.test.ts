import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { connectDatabase } from '../../../src/core/database/connect-database.ts'
import type { Database } from '../../../src/core/database/database.ts'
import { initialiseProtection } from '../../../src/core/tables/initialise-protection.ts'
import { uninstall } from '../../../src/core/tables/uninstall.ts'
import { runScript } from '../../../src/local/hosted-shape.ts'
import { CRON, createTestStore, servicesOf, type TestStore } from '../../support/backup-services.ts'
import { readCatalogLines, readRoleLines } from '../../support/catalog-fingerprint.ts'
import {
  HOSTED_TEMPLATE,
  PLAIN_TEMPLATE,
  startTestCluster,
  urlOf,
} from '../../support/test-cluster.ts'

// A Postgres of its own: roles belong to the whole server, and here they are dropped.
const HOST = 'host'
const HOST_SQL = `
  create schema app;
  create function app.touch() returns trigger language plpgsql as $$ begin return new; end $$;
  create table app.teams (id int primary key, name text);
  create table app.notes (id int primary key, team_id int not null references app.teams, text text);
  create table app.drafts (id int primary key, team_id int not null references app.teams);
  create table app.kinds (id int primary key);
  create trigger touch before update on app.notes for each row execute function app.touch();
  alter table app.notes enable row level security;
  create policy mine on app.notes to authenticated using (true);
  create policy asleep on app.drafts to authenticated using (id > 0);
  grant usage on schema app to authenticated;
  grant select on app.teams, app.kinds to authenticated;
  insert into app.teams values (1, 'One'), (2, 'Two');
  insert into app.notes values (1, 1, 'a'), (2, 2, 'b');
  insert into app.drafts values (1, 1);
`

let cluster: Awaited<ReturnType<typeof startTestCluster>>
let admin: Database
let store: TestStore
let catalogBefore: string[]
let rolesBefore: string[]
let backupId: string

beforeAll(async () => {
  cluster = await startTestCluster()
  await runScript(
    urlOf(cluster.cluster, 'supabase_admin', 'postgres'),
    `create database ${HOST} template ${HOSTED_TEMPLATE} owner postgres`,
  )
  admin = connectDatabase({
    url: urlOf(cluster.cluster, 'postgres', HOST),
    applicationName: 'test',
  })
  store = await createTestStore()
  await admin.query(HOST_SQL)
  catalogBefore = await readCatalogLines(admin)
  rolesBefore = (await readRoleLines(admin)).filter((line) => !line.includes('tenantkeep'))
  await install()
  backupId = await backUp()
})

afterAll(async () => {
  await admin?.close()
  await cluster?.stop()
  await store?.remove()
})

test('leaves every object of the host as it was, and the backups with their catalog', async () => {
  const objects = await readObjects()
  // What people grant because they were asked to is taken back as well.
  await admin.query('grant execute on function app.touch() to tenantkeep_operator')
  const report = await uninstall(admin)

  expect(await readCatalogLines(admin)).toEqual(catalogBefore)
  expect(report).toMatchObject({
    rowSecurityOff: ['app.drafts', 'app.teams'],
    rowSecurityLeft: [],
    backupsKept: 1,
    rolesDropped: [],
  })
  expect(await readObjects()).toEqual(objects)
  const { rows } = await admin.query(
    `select b.id, l.status from public.tenant_backups b join public.backup_logs l on l.backup_id = b.id`,
  )
  expect(rows).toEqual([{ id: backupId, status: 'complete' }])
})

test('keeps roles that another database of the server needs, and says which', async () => {
  const report = await uninstall(admin)
  expect(report.rolesKept).toEqual([
    {
      role: 'tenantkeep_worker',
      reason: `another database of this server needs it: ${PLAIN_TEMPLATE}`,
    },
    { role: 'tenantkeep_operator', reason: 'tenantkeep_worker stays, and needs it' },
    { role: 'tenantkeep_scope', reason: 'tenantkeep_operator stays, and needs it' },
  ])
})

test('lets nobody but the owner read the catalog that it leaves', async () => {
  const { rows } = await admin.query(
    `select distinct a.grantee::regrole::text as who from pg_class c, aclexplode(c.relacl) a
     where c.oid in ('public.tenant_backups'::regclass, 'public.backup_logs'::regclass)`,
  )
  expect(rows).toEqual([{ who: 'postgres' }])
})

test('installed again, it finds the earlier backups and can read them', async () => {
  await install()
  const worker = connectDatabase({
    url: urlOf(cluster.cluster, 'tenantkeep_worker', HOST),
    applicationName: 'test',
  })
  try {
    const services = servicesOf(worker, store.store)
    expect(await verifyBackup(services, backupId)).toMatchObject({ isIntact: true })
    await backUp()
    const { rows } = await admin.query('select status from public.tenant_backups')
    expect(rows).toEqual([{ status: 'complete' }, { status: 'complete' }])
  } finally {
    await worker.close()
  }
})

test('leaves row level security on where the host has come to rely on it', async () => {
  await admin.query('create policy since on app.drafts to authenticated using (id > 1)')
  const report = await uninstall(admin)
  expect(report).toMatchObject({ rowSecurityOff: ['app.teams'], rowSecurityLeft: ['app.drafts'] })
  await admin.query(
    `drop policy since on app.drafts; drop policy zz_tenantkeep_keep_open on app.drafts;
     alter table app.drafts disable row level security`,
  )
  expect(await readCatalogLines(admin)).toEqual(catalogBefore)
})

test('refuses to take anything of the host with it', async () => {
  await install()
  await admin.query('create view app.ours as select key from tenantkeep.settings')
  await expect(uninstall(admin)).rejects.toMatchObject({
    code: 'invalid_request',
    message: expect.stringContaining('app.ours'),
  })
  await admin.query('drop view app.ours')
})

test('waits for no backup under way, and drops nothing beneath it', async () => {
  const worker = connectDatabase({
    url: urlOf(cluster.cluster, 'tenantkeep_worker', HOST),
    applicationName: 'test',
  })
  try {
    await worker.withConnection(async (session) => {
      await session.query('select pg_advisory_lock(1)')
      await expect(uninstall(admin)).rejects.toMatchObject({ code: 'tenant_busy' })
      await session.query('select pg_advisory_unlock(1)')
    })
  } finally {
    await worker.close()
  }
})

test('with the catalog, and roles that nobody else needs, nothing is left at all', async () => {
  await runScript(
    urlOf(cluster.cluster, 'supabase_admin', 'postgres'),
    `drop database ${PLAIN_TEMPLATE}`,
  )
  const report = await uninstall(admin, { dropCatalog: true })

  expect(report).toMatchObject({
    backupsKept: null,
    rolesDropped: ['tenantkeep_worker', 'tenantkeep_operator', 'tenantkeep_scope'],
    rolesKept: [],
  })
  expect(await readCatalogLines(admin)).toEqual(catalogBefore)
  expect(await readRoleLines(admin)).toEqual(rolesBefore)
  const { rows } = await admin.query(`select to_regclass('public.tenant_backups') as catalog`)
  expect(rows).toEqual([{ catalog: null }])
})

test('run again, it finds nothing to do', async () => {
  expect(await uninstall(admin)).toEqual({
    released: [],
    rowSecurityOff: [],
    rowSecurityLeft: [],
    backupsKept: null,
    rolesDropped: [],
    rolesKept: [],
  })
})

async function install(): Promise<void> {
  const report = await initialiseProtection(admin, {
    tenantTable: 'app.teams',
    tenantColumns: ['team_id'],
    answers: { shared: ['app.kinds'] },
    enableRowSecurity: true,
  })
  expect(report.isApplied).toBe(true)
}

async function backUp(): Promise<string> {
  const worker = connectDatabase({
    url: urlOf(cluster.cluster, 'tenantkeep_worker', HOST),
    applicationName: 'test',
  })
  try {
    const { backup } = await takeBackup(servicesOf(worker, store.store), {
      tenantId: '1',
      backupType: 'manual',
      actor: CRON,
    })
    return backup.id
  } finally {
    await worker.close()
  }
}

async function readObjects(): Promise<Record<string, string>> {
  const names = await readdir(store.folder, { recursive: true, withFileTypes: true })
  const files = names.filter((entry) => entry.isFile())
  return Object.fromEntries(
    await Promise.all(
      files.map(async (file) => {
        const path = join(file.parentPath, file.name)
        return [
          path,
          createHash('sha256')
            .update(await readFile(path))
            .digest('hex'),
        ] as const
      }),
    ),
  )
}
