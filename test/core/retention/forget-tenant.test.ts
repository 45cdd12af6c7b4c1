import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { findBackup } from '../../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { updateBackup } from '../../../src/core/backup/update-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { runComparison } from '../../../src/core/compare/run-comparison.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { type ForgetInput, forgetTenant } from '../../../src/core/retention/forget-tenant.ts'
import { pruneBackups } from '../../../src/core/retention/prune-backups.ts'
import type { Actor, Services } from '../../../src/core/services.ts'
import { backupStamp, erasurePath } from '../../../src/core/store/object-path.ts'
import { StoreWithCopy } from '../../../src/core/store/read-with-copy.ts'
import { clearRetention, pathsOf, takeAgedBackups } from '../../support/aged-backups.ts'
import {
  CRON,
  createTestStore,
  otherKeys,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyDatabase } from '../../support/faulty-database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

const OPERATOR: Actor = { kind: 'operator', id: null, label: 'operator' }
const OWNER: Actor = { kind: 'user', id: 'u1', label: 'ann.canary@example.org' }
const FORGET: ForgetInput = {
  tenantId: ALPHA,
  confirmName: 'Alpha Gases',
  isDryRun: false,
  actor: OPERATOR,
}

let database: TestDatabase
let store: TestStore
let copy: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
beforeEach(async () => {
  await store?.remove()
  await copy?.remove()
  store = await createTestStore()
  copy = await createTestStore()
  services = servicesOf(database.worker, store.store)
  await clearRetention(database)
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
  await copy?.remove()
})

/** All tables of ours that may hold something of a tenant, from the catalog. */
async function readOurTables(): Promise<{ table: string; isOfTenants: boolean }[]> {
  const { rows } = await database.superuser.query<{ table: string; isOfTenants: boolean }>(
    `select c.oid::regclass::text as table, exists (
       select from pg_attribute a where a.attrelid = c.oid and not a.attisdropped and a.attname in (
         'tenant_id', 'tenant_ids', 'organization_id', 'run_id', 'restore_id', 'backup_id', 'journal_id')
     ) as "isOfTenants"
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and (n.nspname in ('tenantkeep', 'tenantkeep_jobs')
       or n.nspname = 'public' and c.relname in ('tenant_backups', 'backup_logs'))
     order by 1`,
  )
  return rows
}

/** The rows of a table as texts. */
async function rowsOf(table: string): Promise<string[]> {
  const { rows } = await database.superuser.query<{ row: string }>(
    `select t::text as row from ${table} t`,
  )
  return rows.map(({ row }) => row)
}

/** Every text in our tables. */
async function everything(): Promise<string> {
  const texts: string[] = []
  for (const { table } of await readOurTables()) texts.push(...(await rowsOf(table)))
  return texts.join('\n')
}

test('nothing of the tenant is left in catalog or stores but ids and marks; the neighbour keeps all', async () => {
  const [alpha] = await takeAgedBackups(database, services, [40, 0])
  const [beta] = await takeAgedBackups(database, services, [0], BETA)
  await updateBackup(services, {
    backupId: alpha?.id ?? '',
    actor: OWNER,
    name: 'name canary',
    note: 'note canary',
    tags: ['tag canary'],
    pin: { reason: 'pin canary' },
  })
  await database.admin.query(
    `update shop.accounts set label = 'row canary' where tenant_id = 'alpha'`,
  )
  await runComparison(services, {
    tenantId: ALPHA,
    tenantName: 'Alpha Gases',
    backup: { backupId: alpha?.id },
    against: 'live',
    actor: OWNER,
  })
  await database.admin.query(
    `insert into tenantkeep.released_rows (restore_id, organization_id, schema_name, table_name, row_text)
     values (gen_random_uuid(), 'alpha', 'shop', 'accounts', 'released canary')`,
  )
  await database.admin.query(
    `update public.tenant_backups set row_falls = '[{"table": "shop.accounts", "rows": 1, "usual": 9}]'
     where organization_id = 'alpha'`,
  )
  expect(await everything()).toMatch(/row canary/)
  const betaPaths = (await pathsOf(services)).filter((path) => path.includes('/beta/'))

  const looked = await forgetTenant(services, { ...FORGET, isDryRun: true, confirmName: null })
  const paths = await pathsOf(services)
  const report = await forgetTenant(services, FORGET)

  expect(looked).toMatchObject({ backups: 2, isInHost: true, holds: [] })
  expect(looked.objects).toBe(paths.length - betaPaths.length)
  expect(report).toMatchObject({
    backups: 2,
    objects: looked.objects,
    bytes: looked.bytes,
    locked: [],
  })
  expect(await pathsOf(services)).toEqual(betaPaths)
  expect(await everything()).not.toMatch(/canary|Alpha Gases/)
  expect((await verifyBackup(services, beta?.id ?? '')).findings).toEqual([])
  const { rows: counts } = await database.admin.query(
    `select organization_id as id, bool_or(table_rows is not null or row_falls is not null) as counts
     from public.tenant_backups group by 1 order by 1`,
  )
  expect(counts).toEqual([
    { id: ALPHA, counts: false },
    { id: BETA, counts: true },
  ])
  const { rows } = await database.admin.query(
    `select status, details ->> 'objects' as objects, organization_id, organization_name, actor_label
     from public.backup_logs where backup_type = 'forget'`,
  )
  expect(rows).toEqual([
    {
      status: 'complete',
      objects: String(looked.objects),
      organization_id: ALPHA,
      organization_name: null,
      actor_label: 'operator',
    },
  ])
  expect(await store.store.list('tenant-erasures/alpha/')).toHaveLength(1)
  expect(await forgetTenant(services, FORGET)).toMatchObject({ backups: 0, objects: 0 })

  const { backup: anew } = await takeBackup(services, {
    tenantId: ALPHA,
    backupType: 'manual',
    actor: SYSTEM,
  })
  const source = await openBackup(services, anew)
  expect(source.backupId).toBe(anew.id)
})

test('what any table of ours holds of a tenant goes, but for the journal; what is set for it goes when it left', async () => {
  const [backup] = await takeAgedBackups(database, services, [0])
  await takeAgedBackups(database, services, [0], BETA)
  const { rows: runs } = await database.superuser.query<{ id: string }>(
    `insert into tenantkeep.runs (kind, status, finished_at, actor_kind, actor_label, tenant_ids)
     select 'seed', 'complete', now(), 'operator', 'operator', t.ids from (values ('{alpha,beta}'::text[]), ('{alpha}')) t (ids)
     returning id`,
  )
  const [shared, own] = runs.map(({ id }) => id)
  for (const statement of [
    `insert into tenantkeep.run_tenants (run_id, tenant_id, tenant_name, status, makes_backup, result)
     select r, t, t || ' name', 'complete', false, jsonb_build_object('sample', t || ' canary')
     from unnest($1::uuid[]) r, unnest('{alpha,beta}'::text[]) t where t = 'alpha' or r = ($1::uuid[])[1]`,
    `insert into tenantkeep.run_events (run_id, seq, event)
     select r, i, jsonb_build_object('organization_id', t) from unnest($1::uuid[]) r, unnest('{alpha,beta}'::text[])
     with ordinality as t (t, i) where t = 'alpha' or r = ($1::uuid[])[1]`,
    `insert into tenantkeep.comparison_rows (run_id, number, table_name, kind, key, columns)
     values (($1::uuid[])[2], 1, 'shop.accounts', 'changed', '{alpha canary}', '[]')`,
  ]) {
    await database.superuser.query(statement, [[shared, own]])
  }
  for (const statement of [
    `insert into tenantkeep.backup_copies (backup_id, store_url) values ($1, 's3://copies')`,
    `insert into tenantkeep.drills (id, organization_id, backup_id, in_rotation, status, finished_at, rows, bytes, duration_ms)
     values (gen_random_uuid(), 'alpha', $1, true, 'passed', now(), 1, 1, 1)`,
    `with journal as (
       insert into public.backup_logs (backup_type, organization_id, actor_kind, actor_label, details)
       values ('prune', 'alpha', 'cron', 'cron', '{"backup_ids": []}') returning id
     )
     insert into tenantkeep.doomed_objects (journal_id, store_url, path, tenant_id, stored_bytes)
     select l.id, b.store_url, b.summary_path, 'alpha', 1 from journal l, public.tenant_backups b where b.id = $1`,
  ]) {
    await database.superuser.query(statement, [backup?.id])
  }
  await database.superuser.query(
    `insert into tenantkeep.released_rows (restore_id, organization_id, schema_name, table_name, row_text)
       select gen_random_uuid(), t, 'shop', 'accounts', t || ' canary' from unnest('{alpha,beta}'::text[]) t;
     insert into tenantkeep.seeded_shapes (schema_name, table_name, columns) values ('shop', 'accounts', '{id}');
     insert into tenantkeep.seeded_rows (tenant_id, schema_name, table_name, template_key, tenant_key, shape_id,
         template_digest, copy_digest, seed_id)
       select t, 'shop', 'accounts', '["1"]', jsonb_build_array(t || ' canary'), s.id, '', '', gen_random_uuid()
       from tenantkeep.seeded_shapes s, unnest('{alpha,beta}'::text[]) t;
     insert into tenantkeep.alerts (key, code, severity, tenant_id, message, remedy)
       values ('k', 'backup_late', 'error', 'alpha', 'm', 'r');
     insert into tenantkeep.retention_policies (tenant_id, policy, set_by) values ('alpha', '{"last": 9}', 'ops');
     insert into tenantkeep.departed_tenants (tenant_id) values ('alpha');
     insert into tenantkeep.paused_tenants (tenant_id, reason, paused_by) values ('alpha', 'alpha leaves', 'ops')`,
  )
  const tables = await readOurTables()
  const readHolders = async () => {
    const holders: string[] = []
    for (const { table } of tables) {
      const rows = await rowsOf(table)
      if (rows.some((row) => /\balpha\b/.test(row))) holders.push(table)
    }
    return holders
  }
  // A new table of ours without a row of this tenant here: say what becomes of it when the tenant is forgotten.
  for (const { table, isOfTenants } of tables) {
    if (!isOfTenants || table === 'tenantkeep.forgotten_tenants') continue
    expect(await rowsOf(table), table).not.toEqual([])
  }

  await forgetTenant(services, FORGET)
  const inHost = await readHolders()
  await database.superuser.query(
    `set session_replication_role = replica;
     create table public.left_tenant as select * from shop.tenants where id = 'alpha';
     delete from shop.tenants where id = 'alpha'; reset session_replication_role`,
  )
  const again = await forgetTenant(services, { ...FORGET, confirmName: ALPHA }).finally(() =>
    database.superuser.query(
      'insert into shop.tenants select * from public.left_tenant; drop table public.left_tenant',
    ),
  )

  const journal = [
    'backup_logs',
    'tenant_backups',
    'tenantkeep.drills',
    'tenantkeep.forgotten_tenants',
    'tenantkeep.run_tenants',
    'tenantkeep.runs',
  ]
  const settings = ['departed_tenants', 'paused_tenants', 'retention_policies', 'seeded_rows']
  expect(inHost).toEqual([...journal, ...settings.map((name) => `tenantkeep.${name}`)].sort())
  expect(again).toMatchObject({ backups: 0, isInHost: false })
  expect(await readHolders()).toEqual(journal)
  expect(await everything()).not.toMatch(/alpha (canary|name)/)
  for (const table of ['run_tenants', 'run_events', 'released_rows', 'seeded_rows']) {
    expect((await rowsOf(`tenantkeep.${table}`)).join(), table).toContain('beta')
  }
})

test('it takes the name exactly, and no hold; a hold that comes in between wins too', async () => {
  const [backup] = await takeAgedBackups(database, services, [0])
  const before = await pathsOf(services)
  const refused = async (input: Partial<ForgetInput> = {}) => {
    const error = await forgetTenant(services, { ...FORGET, ...input }).catch(
      (thrown: unknown) => thrown,
    )
    return error
  }

  expect(await refused({ confirmName: 'alpha gases' })).toMatchObject({ code: 'not_allowed' })
  expect(await refused({ confirmName: null })).toMatchObject({ code: 'not_allowed' })
  expect(await refused({ tenantId: 'nobody' })).toMatchObject({ code: 'tenant_not_found' })
  await updateBackup(services, {
    backupId: backup?.id ?? '',
    actor: OPERATOR,
    pin: { reason: 'lawsuit' },
  })
  expect(await refused()).toMatchObject({ code: 'tenant_held' })

  const looked = await forgetTenant(services, { ...FORGET, isDryRun: true })
  expect(looked.holds).toEqual([{ backupId: backup?.id, by: 'operator', reason: 'lawsuit' }])
  expect(await pathsOf(services)).toEqual(before)
  expect(await store.store.list('tenant-erasures/')).toEqual([])
  expect((await findBackup(database.worker, backup?.id ?? ''))?.status).toBe('complete')
})

test('a catalog from before brings nothing back: not to a restore, and prune takes the rows out again', async () => {
  const both = servicesOf(database.worker, new StoreWithCopy(store.store, copy.store))
  const [backup] = await takeAgedBackups(database, both, [0])
  // A copy of everything, and of the catalog, as before the erasure.
  const saved = new Map<string, Buffer>()
  for (const { path } of await store.store.list('tenant-backups/')) {
    const chunks: Buffer[] = []
    for await (const chunk of await store.store.get(path)) chunks.push(Buffer.from(chunk))
    saved.set(path, Buffer.concat(chunks))
    await copy.store.put(path, Buffer.concat(chunks), 'application/json')
  }
  await database.superuser.query(`create table public.older as select * from public.tenant_backups`)

  await forgetTenant(both, FORGET)
  expect(await copy.store.list('tenant-backups/')).toEqual([])
  for (const place of [store, copy]) {
    expect(await place.store.list('tenant-erasures/alpha/')).toHaveLength(1)
  }
  for (const [path, body] of saved) await copy.store.put(path, body, 'application/json')
  await database.superuser.query(
    `truncate public.tenant_backups, public.backup_logs, tenantkeep.runs, tenantkeep.forgotten_tenants cascade;
     insert into public.tenant_backups select * from public.older; drop table public.older`,
  )

  const row = await findBackup(database.worker, backup?.id ?? '')
  expect(row?.status).toBe('complete')
  if (row === undefined) throw new Error('The row is gone.')
  await expect(openBackup(both, row)).rejects.toMatchObject({ code: 'tenant_forgotten' })

  const report = await pruneBackups(both, {
    actor: CRON,
    runId: null,
    until: new Date(Date.now() + 60_000),
  })

  expect(report.failed).toBe(0)
  const after = await findBackup(database.worker, row.id)
  expect(after).toMatchObject({ status: 'pruned', organizationName: null })
  expect(await copy.store.list('tenant-backups/')).toEqual([])
})

test('a mark that we did not sign proves nothing', async () => {
  const [backup] = await takeAgedBackups(database, services, [0])
  const other = servicesOf(database.worker, store.store)
  await forgetTenant(
    { ...other, signingKeys: otherKeys() },
    { ...FORGET, tenantId: BETA, confirmName: 'Beta Rentals' },
  )
  const [forged] = await store.store.list('tenant-erasures/')
  expect(forged?.path).toContain('/beta/')
  // The same with a day to come: it would take in whatever is taken now.
  const at = new Date('2100-01-01T00:00:00.000Z')
  const mark = JSON.parse(await readFile(join(store.folder, forged?.path ?? ''), 'utf8'))
  await store.store.put(
    erasurePath(BETA, backupStamp(at, mark.erasure_id)),
    Buffer.from(JSON.stringify({ ...mark, forgotten_at: at.toISOString() })),
    'application/json',
  )

  const { backup: beta } = await takeBackup(services, {
    tenantId: BETA,
    backupType: 'manual',
    actor: SYSTEM,
  })

  expect((await openBackup(services, beta)).backupId).toBe(beta.id)
  if (backup !== undefined) expect((await openBackup(services, backup)).backupId).toBe(backup.id)
})

test('whatever fails on the way, the same call again or prune ends it, and nothing half-erased is offered', async () => {
  const probe = {
    database: new FaultyDatabase(database.worker),
    store: new FaultyStore(store.store),
  }
  await takeAgedBackups(database, services, [1, 0])
  await forgetTenant(servicesOf(probe.database, probe.store), FORGET)
  const faults = [
    ...probe.database.calls.map((_, i) => ({ call: i + 1, at: 'database' as const })),
    ...probe.store.calls.map((_, i) => ({ call: i + 1, at: 'store' as const })),
  ]
  expect(faults.length).toBeGreaterThan(15)

  for (const [index, { call, at }] of faults.entries()) {
    if (index % 2 === 1 && process.env.EVERY_FAULT === undefined) continue
    await takeAgedBackups(database, services, [0])
    const how = index % 4 < 2 ? ('error' as const) : ('after-success' as const)
    const faulty = servicesOf(
      new FaultyDatabase(database.worker, at === 'database' ? { call, how } : null),
      new FaultyStore(store.store, at === 'store' ? { call, how } : null),
    )
    await forgetTenant(faulty, FORGET).catch(() => {})

    const { rows } = await database.admin.query<{ id: string }>(
      `select id from public.tenant_backups where status = 'complete'`,
    )
    for (const { id } of rows) {
      expect((await verifyBackup(services, id)).findings, `${at} ${call} ${how}`).toEqual([])
    }
    if (index % 6 === 0 && rows.length === 0) {
      await pruneBackups(services, {
        actor: CRON,
        runId: null,
        until: new Date(Date.now() + 60_000),
      })
    } else await forgetTenant(services, FORGET)
    expect(await pathsOf(services), `${at} ${call} ${how}`).toEqual([])
    const { rows: open } = await database.admin.query(
      `select id from public.backup_logs where backup_type = 'forget' and status <> 'complete'
       union all select journal_id from tenantkeep.doomed_objects
       union all select id from public.tenant_backups where status = 'pruned' and objects_removed_at is null`,
    )
    expect(open, `${at} ${call} ${how}`).toEqual([])
  }
})
