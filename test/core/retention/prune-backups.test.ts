import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Backup, findBackup } from '../../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { updateBackup } from '../../../src/core/backup/update-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { undoRestore } from '../../../src/core/restore/undo-restore.ts'
import { findOrphans, removeOrphans } from '../../../src/core/retention/find-orphans.ts'
import { previewPrune } from '../../../src/core/retention/preview-prune.ts'
import { type PruneInput, pruneBackups } from '../../../src/core/retention/prune-backups.ts'
import { readPolicy, setPolicy } from '../../../src/core/retention/set-policy.ts'
import type { Actor, Services } from '../../../src/core/services.ts'
import { backupStamp, partPath } from '../../../src/core/store/object-path.ts'
import { lockTenant } from '../../../src/core/tenants/lock-tenant.ts'
import { ageBackup, clearRetention, pathsOf, takeAgedBackups } from '../../support/aged-backups.ts'
import {
  CRON,
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyDatabase } from '../../support/faulty-database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

const OPERATOR: Actor = { kind: 'operator', id: null, label: 'operator' }

let database: TestDatabase
let store: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
beforeEach(async () => {
  await store?.remove()
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  await clearRetention(database)
  await database.admin.query(
    `insert into shop.tenants values ('beta', 'Beta Rentals') on conflict do nothing`,
  )
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

const prune = (input: Partial<PruneInput> = {}, by = services) =>
  pruneBackups(by, { actor: CRON, runId: null, until: new Date(Date.now() + 60_000), ...input })

const setSetting = (key: string, value: unknown) =>
  database.admin.query(
    `insert into tenantkeep.settings (key, value) values ($1, $2)
     on conflict (key) do update set value = excluded.value`,
    [key, JSON.stringify(value)],
  )

const statusOf = async (backup: Backup | undefined) =>
  (await findBackup(database.worker, backup?.id ?? ''))?.status

async function requireWhole(about = ''): Promise<number> {
  const { rows } = await database.admin.query<{ id: string }>(
    `select id from public.tenant_backups where status = 'complete'`,
  )
  for (const { id } of rows) {
    expect((await verifyBackup(services, id)).findings, about).toEqual([])
  }
  return rows.length
}

async function restoreFrom(backup: Backup | undefined): Promise<string> {
  if (backup === undefined) throw new Error('There is no backup.')
  const { restoreId } = await restoreTenant(services, {
    tenantId: ALPHA,
    source: await openBackup(services, backup),
    options: DEFAULT_OPTIONS,
    isDryRun: false,
    actor: SYSTEM,
  })
  return restoreId ?? ''
}

test('what the preview names goes, exactly; what others share stays, and every backup that is left is whole', async () => {
  await setSetting('retention', { within_days: 30, last: 1 })
  const [oldest, old, young, newest] = await takeAgedBackups(database, services, [80, 79, 20, 0])
  const [neighbour] = await takeAgedBackups(database, services, [90], BETA)
  const before = await store.store.list('tenant-backups/')

  const preview = await previewPrune(services)
  const all = await previewPrune(services, { tenantId: ALPHA })
  const untouched = await store.store.list('tenant-backups/')
  const report = await prune({ planHash: preview.plan_hash })

  expect(untouched).toEqual(before)
  expect(preview.tenants.map(({ expired }) => expired.map((it) => it.backup_id).sort())).toEqual([
    [oldest?.id, old?.id].sort(),
  ])
  expect(preview.totals).toMatchObject({ tenants: 2, kept: 3, expired: 2, problems: 0 })
  expect(all.tenants[0]?.kept?.map(({ backup_id }) => backup_id)).toEqual([newest?.id, young?.id])
  expect(all.tenants[0]?.kept_by_reason).toMatchObject({ newest_good: 1, within_days: 2, last: 1 })
  const left = new Set(await pathsOf(services))
  const removed = before.filter(({ path }) => !left.has(path))
  expect(report.details).toMatchObject({ backups: 2, objects: preview.totals.objects, busy: [] })
  expect(removed).toHaveLength(preview.totals.objects)
  expect(removed.reduce((sum, { size }) => sum + size, 0)).toBe(preview.totals.bytes)
  expect(await Promise.all([oldest, old, young, newest, neighbour].map(statusOf))).toEqual([
    'pruned',
    'pruned',
    'complete',
    'complete',
    'complete',
  ])
  expect(await requireWhole()).toBe(3)
  const { rows } = await database.admin.query(
    `select status, total_size, organization_id, actor_label, details ->> 'objects' as objects
     from public.backup_logs where backup_type = 'prune'`,
  )
  expect(rows).toEqual([
    {
      status: 'complete',
      total_size: String(preview.totals.bytes),
      organization_id: ALPHA,
      actor_label: 'cron',
      objects: String(preview.totals.objects),
    },
  ])
  expect(await prune()).toMatchObject({ done: 0, failed: 0, left: 0 })
})

test('pins and holds, what is in use and a tenant that somebody works on stay; then they go', async () => {
  await setSetting('retention', { last: 1 })
  const [pinned, held, used, old] = await takeAgedBackups(database, services, [50, 49, 48, 47, 0])
  const owner: Actor = { kind: 'user', id: 'u1', label: 'ann' }
  await updateBackup(services, { backupId: pinned?.id ?? '', actor: owner, pin: { reason: 'a' } })
  await updateBackup(services, { backupId: held?.id ?? '', actor: OPERATOR, pin: { reason: 'b' } })
  await database.worker.query(
    `insert into tenantkeep.runs (kind, actor_kind, actor_label, tenant_ids, request)
     values ('compare', 'user', 'ann', '{alpha}', jsonb_build_object('backup_id', $1::text))`,
    [used?.id],
  )

  const busy = await database.worker.withConnection(async (session) => {
    await lockTenant(session, ALPHA)
    return prune()
  })
  expect(busy).toMatchObject({ done: 0, left: 1, failed: 0, details: { busy: [ALPHA] } })
  expect(await statusOf(old)).toBe('complete')

  await prune()
  expect(await Promise.all([pinned, held, used, old].map(statusOf))).toEqual([
    'complete',
    'complete',
    'complete',
    'pruned',
  ])

  const lift = { backupId: held?.id ?? '', tenantId: ALPHA, actor: owner }
  for (const pin of [null, { reason: 'mine now' }]) {
    await expect(updateBackup(services, { ...lift, pin })).rejects.toMatchObject({
      code: 'not_allowed',
    })
  }
  await updateBackup(services, { backupId: held?.id ?? '', actor: OPERATOR, pin: null })
  await updateBackup(services, { backupId: pinned?.id ?? '', actor: owner, pin: null })
  await database.admin.query(`update tenantkeep.runs set status = 'complete'`)
  await prune()
  expect(await Promise.all([pinned, held, used].map(statusOf))).toEqual([
    'pruned',
    'pruned',
    'pruned',
  ])
  expect(await requireWhole()).toBe(1)
  const { rows } = await database.admin.query<{ reason: string | null; actor: string }>(
    `select details ->> 'pin_reason' as reason, actor_label as actor from public.backup_logs
     where backup_type = 'update' order by created_at`,
  )
  expect(rows.map(({ reason, actor }) => `${actor}: ${reason}`)).toEqual([
    'ann: a',
    'operator: b',
    'operator: null',
    'ann: null',
  ])
})

test('whatever works with a backup keeps it, and is named, for a day; a store that is not open here always does', async () => {
  await setSetting('retention', { last: 1 })
  const taken = await takeAgedBackups(database, services, [60, 59, 58, 57, 56, 55, 0])
  const ids = taken.map(({ id }) => id).slice(0, -1)
  await database.superuser.query(
    `update public.tenant_backups set store_url = 's3://away' where id = $1`,
    [ids[5]],
  )
  await database.superuser.query(
    `with ids as (select $1::uuid[] as b), drill as (
       insert into tenantkeep.drills (id, organization_id, backup_id, in_rotation)
       select gen_random_uuid(), 'alpha', b[1], true from ids
     ), restore as (
       insert into public.backup_logs (backup_type, organization_id, backup_id, safety_backup_id, actor_kind, actor_label)
       select 'restore', 'alpha', b[2], b[3], 'user', 'ann' from ids
     )
     insert into tenantkeep.runs (kind, status, finished_at, plan_hash, actor_kind, actor_label, tenant_ids, request)
     select 'restore', 'complete', now(), 'x', 'user', 'ann', '{alpha}'::text[],
       jsonb_build_object('task', jsonb_build_object('backup_id', b[4], 'dry_run', true)) from ids
     union all
     select 'compare', 'running', null, null, 'user', 'ann', '{alpha}', jsonb_build_object('with_backup_id', b[5]) from ids`,
    [ids],
  )
  const readUses = async () => {
    const { tenants } = await previewPrune(services, { tenantId: ALPHA })
    return ids.map((id) => {
      const kept = tenants[0]?.kept?.find(({ backup_id }) => backup_id === id)
      return kept?.reasons.map(({ message }) => message).join() ?? 'goes'
    })
  }

  const uses = await readUses()
  await database.superuser.query(
    `update tenantkeep.drills set started_at = started_at - interval '2 days';
     update public.backup_logs set created_at = created_at - interval '2 days' where backup_type = 'restore';
     update tenantkeep.runs set created_at = created_at - interval '2 days', finished_at = finished_at - interval '2 hours'`,
  )

  expect(uses).toEqual([
    'It is in use: drill under way.',
    'It is in use: restore under way.',
    'It is in use: restore under way.',
    'It is in use: a restore was rehearsed from it within the hour.',
    'It is in use: compare under way.',
    'It lies in a store that is not set up here, so it can’t be removed.',
  ])
  expect(await readUses()).toEqual([...Array(5).fill('goes'), uses[5]])
})

test('a safety backup goes with its plan and what was put aside, and undo says that it is too late', async () => {
  const [backup] = await takeAgedBackups(database, services, [0])
  await database.admin.query(
    `update shop.accounts set balance = balance + 7 where tenant_id = 'alpha'`,
  )
  const restoreId = await restoreFrom(backup)
  const { rows: found } = await database.admin.query<{ id: string; plan: string }>(
    `select safety_backup_id as id, plan_path as plan from public.backup_logs where id = $1`,
    [restoreId],
  )
  const safety = found[0]
  await database.admin.query(
    `insert into tenantkeep.released_rows (restore_id, organization_id, schema_name, table_name, row_text)
     values ($1, 'alpha', 'shop', 'accounts', '(1)')`,
    [restoreId],
  )
  await ageBackup(database, safety?.id ?? '', 29)
  expect(await prune()).toMatchObject({ done: 0 })
  await ageBackup(database, safety?.id ?? '', 2)
  const before = await store.store.list('tenant-backups/')
  expect(before.map(({ path }) => path)).toContain(safety?.plan)

  const preview = await previewPrune(services)
  await prune()

  const after = await pathsOf(services)
  expect(before.length - after.length).toBe(preview.totals.objects)
  expect(after.filter((path) => path.includes('restore-plan'))).toEqual([])
  const { rows } = await database.admin.query('select from tenantkeep.released_rows')
  expect(rows).toEqual([])
  const undo = undoRestore(services, {
    tenantId: ALPHA,
    restoreId,
    everything: false,
    onConflict: 'fail',
    isDryRun: true,
    actor: SYSTEM,
  })
  await expect(undo).rejects.toMatchObject({
    code: 'undo_impossible',
    message: expect.stringMatching(/too late.*removed on \d{4}-\d{2}-\d{2}/),
  })
})

test('where the summary of a kept one can’t be read nothing goes; one of those that go may be unreadable', async () => {
  await setSetting('retention', { last: 2 })
  const [first, second, third] = await takeAgedBackups(database, services, [50, 49, 1, 0])
  const file = (backup: Backup | undefined) => join(store.folder, backup?.summaryPath ?? '')
  const before = await pathsOf(services)
  const bytes = await store.store.get(third?.summaryPath ?? '')
  const chunks: Buffer[] = []
  for await (const chunk of bytes) chunks.push(Buffer.from(chunk))
  await writeFile(file(third), '{}')

  const preview = await previewPrune(services)
  const refused = await prune()

  expect(preview.tenants[0]?.problem?.code).toBe('prune_unsafe')
  expect(refused).toMatchObject({ failed: 1, details: { failed: [{ code: 'prune_unsafe' }] } })
  expect(await pathsOf(services)).toEqual(before)
  expect(await statusOf(first)).toBe('complete')
  const { rows } = await database.admin.query(
    `select error_code from public.backup_logs where backup_type = 'prune' and status = 'failed'`,
  )
  expect(rows).toEqual([{ error_code: 'prune_unsafe' }])

  await rm(file(third))
  await writeFile(file(third), Buffer.concat(chunks))
  await rm(file(second))
  expect(await prune()).toMatchObject({ done: 1, failed: 0, details: { backups: 2 } })
  expect(await requireWhole()).toBe(2)
  const stamps = [first, second].map((it) => it?.objectStamp ?? 'none')
  const named = await pathsOf(services)
  // Of those that went only what the kept ones share is left.
  expect(
    named.filter((path) => path.includes('summary-') && stamps.some((it) => path.includes(it))),
  ).toEqual([])
})

test('a tenant that left keeps everything for its time, then goes whole, holds excepted; one that returns stays', async () => {
  await setSetting('retention', { last: 1 })
  const [held, pinned, newest] = await takeAgedBackups(database, services, [50, 49, 0], BETA)
  await updateBackup(services, { backupId: held?.id ?? '', actor: OPERATOR, pin: { reason: 'b' } })
  await updateBackup(services, {
    backupId: pinned?.id ?? '',
    actor: { kind: 'user', id: 'u', label: 'u' },
    pin: { reason: 'a' },
  })
  const { rows: kept } = await database.superuser.query<{ t: string }>(
    `select to_jsonb(t)::text as t from shop.tenants t where id = 'beta'`,
  )
  expect(kept).toHaveLength(1)
  await database.superuser.query(
    `set session_replication_role = replica; delete from shop.tenants where id = 'beta'; reset session_replication_role`,
  )
  try {
    expect(await prune()).toMatchObject({ done: 0 })
    await database.admin.query(
      `update tenantkeep.departed_tenants set noticed_at = now() - interval '89 days'`,
    )
    expect(await prune()).toMatchObject({ done: 0 })
    await database.admin.query(`insert into shop.tenants values ('beta', 'Beta Rentals')`)
    await prune()
    const { rows } = await database.admin.query('select from tenantkeep.departed_tenants')
    expect(rows).toEqual([])
    await database.superuser.query(
      `set session_replication_role = replica; delete from shop.tenants where id = 'beta'; reset session_replication_role`,
    )
    await prune()
    await database.admin.query(
      `update tenantkeep.departed_tenants set noticed_at = now() - interval '91 days'`,
    )
    expect(await Promise.all([held, pinned, newest].map(statusOf))).toEqual(
      Array(3).fill('complete'),
    )

    await prune()

    expect(await Promise.all([held, pinned, newest].map(statusOf))).toEqual([
      'complete',
      'pruned',
      'pruned',
    ])
    expect(await requireWhole()).toBe(1)

    // With the last one goes what a failed attempt left: no backup will come that tidies up.
    const stamp = backupStamp(new Date('2026-01-01T00:00:00Z'), crypto.randomUUID())
    const left = partPath(BETA, stamp, { schema: 'shop', name: 'accounts' }, 1)
    await store.store.put(left, Buffer.from('left behind'), 'application/gzip')
    await database.worker.query(
      `insert into public.tenant_backups (organization_id, backup_type, status, store_url, object_stamp,
         actor_kind, actor_label, error_code, error_message)
       values ('beta', 'manual', 'failed', $1, $2, 'system', 'test', 'internal', 'On purpose.')`,
      [store.store.url, stamp],
    )
    await updateBackup(services, { backupId: held?.id ?? '', actor: OPERATOR, pin: null })
    await prune()
    expect(await pathsOf(services)).toEqual([])
  } finally {
    await database.admin.query(
      `insert into shop.tenants values ('beta', 'Beta Rentals') on conflict do nothing`,
    )
  }
})

test('a host that lists no tenant at all has lost something: no tenant is taken for gone', async () => {
  await setSetting('retention', { last: 1 })
  const [newest] = await takeAgedBackups(database, services, [1])
  const [neighbour] = await takeAgedBackups(database, services, [1], BETA)
  await database.admin.query(
    `insert into tenantkeep.departed_tenants (tenant_id, noticed_at) values ('alpha', now() - interval '91 days')`,
  )
  await database.superuser.query(
    `set session_replication_role = replica;
     create table public.listed as select * from shop.tenants; delete from shop.tenants;
     reset session_replication_role`,
  )
  const report = await prune().finally(() =>
    database.superuser.query(
      'insert into shop.tenants select * from public.listed; drop table public.listed',
    ),
  )

  expect(report).toMatchObject({ done: 0, failed: 0, left: 0 })
  expect(await Promise.all([newest, neighbour].map(statusOf))).toEqual(['complete', 'complete'])
  const { rows } = await database.admin.query('select tenant_id from tenantkeep.departed_tenants')
  expect(rows).toEqual([{ tenant_id: ALPHA }])
})

test('what only the one that is kept before it shares stays; summaries go first', async () => {
  await setSetting('retention', { last: 1 })
  const [pinned, between] = await takeAgedBackups(database, services, [50, 49])
  await updateBackup(services, {
    backupId: pinned?.id ?? '',
    actor: OPERATOR,
    pin: { reason: 'lawsuit' },
  })
  await database.admin.query(`
    update shop.accounts set balance = balance + 1; update shop.entries set note = note || '.';
    update shop.events set at = clock_timestamp()`)
  await takeAgedBackups(database, services, [0])
  const watched = new FaultyStore(store.store)

  await prune({}, servicesOf(database.worker, watched))

  expect(await Promise.all([pinned, between].map(statusOf))).toEqual(['complete', 'pruned'])
  expect(await requireWhole()).toBe(2)
  const removals = watched.calls.filter(({ method }) => method === 'remove')
  expect(removals.map(({ path }) => path)).toEqual([between?.summaryPath])
})

test('rules that make no sense remove nothing and say so; a tenant may have its own', async () => {
  await takeAgedBackups(database, services, [50, 0])
  const [old] = await takeAgedBackups(database, services, [50, 0], BETA)
  await setSetting('retention', {})
  await setPolicy(services, { tenantId: BETA, policy: { last: 1 }, actor: OPERATOR })

  const report = await prune()

  expect(report.details.problems).toEqual([
    expect.objectContaining({ organization_id: ALPHA, code: 'policy_unusable' }),
  ])
  expect(report.details.pruned.map((it) => it.organization_id)).toEqual([BETA])
  expect(await statusOf(old)).toBe('pruned')
  await expect(
    setPolicy(services, { tenantId: BETA, policy: { last: 0 }, actor: OPERATOR }),
  ).rejects.toMatchObject({ code: 'invalid_request' })
  expect(await readPolicy(services, BETA)).toMatchObject({ source: 'tenant', policy: { last: 1 } })
  await setPolicy(services, { tenantId: BETA, policy: null, actor: OPERATOR })
  expect((await readPolicy(services, BETA)).source).toBe('setting')
  for (const [key, value] of [
    ['safety_backup_days', 7],
    ['departed_tenant_days', 'soon'],
  ] as const) {
    await setSetting(key, value)
    await expect(prune()).rejects.toMatchObject({ code: 'not_configured' })
    await database.admin.query('delete from tenantkeep.settings where key = $1', [key])
  }
  const { rows } = await database.admin.query(
    `select details -> 'policy' as policy from public.backup_logs where backup_type = 'policy' order by created_at`,
  )
  expect(rows).toEqual([{ policy: { last: 1 } }, { policy: null }])
})

test('only what was approved goes: a plan of before is stale, and two at once do the work once', async () => {
  await setSetting('retention', { last: 1 })
  await takeAgedBackups(database, services, [50, 0])
  const { plan_hash: planHash } = await previewPrune(services)
  await takeAgedBackups(database, services, [49, 0])

  await expect(prune({ planHash })).rejects.toMatchObject({ code: 'plan_stale' })
  expect(await requireWhole()).toBe(4)

  const reports = await Promise.all([prune(), prune()])

  expect(reports.map(({ failed }) => failed)).toEqual([0, 0])
  expect(reports.reduce((sum, { details }) => sum + details.backups, 0)).toBe(2)
  expect(await requireWhole()).toBe(2)
})

test('a turn ends in time also while it plans: what there was no time for is whole, and goes next time', async () => {
  await setSetting('retention', { last: 1 })
  const [old, newest] = await takeAgedBackups(database, services, [50, 0])
  const [others] = await takeAgedBackups(database, services, [50, 0], BETA)
  // Two more pages of tenants, of whom nothing goes.
  await database.superuser.query(
    `insert into public.tenant_backups select (jsonb_populate_record(b,
       jsonb_build_object('id', gen_random_uuid(), 'organization_id', 'more ' || i))).*
     from public.tenant_backups b, generate_series(1, 250) i where b.id = $1`,
    [newest?.id],
  )
  const { plan_hash: planHash } = await previewPrune(services)
  const late = { until: new Date(0) }
  const planned = new FaultyDatabase(database.worker)
  const cut = new FaultyDatabase(database.worker)

  const whole = await prune({ ...late, planHash }, servicesOf(cut, store.store))
  const until = new Date(Date.now() + 60_000)
  const first = await prune({ until, tell: () => until.setTime(0) })
  const then = await Promise.all([old, others].map(statusOf))
  const second = await prune({}, servicesOf(planned, store.store))

  expect(whole).toMatchObject({ done: 0, left: 3, details: { backups: 0 } })
  expect(first).toMatchObject({
    done: 1,
    left: 2,
    details: { pruned: [{ organization_id: ALPHA }] },
  })
  expect(then).toEqual(['pruned', 'complete'])
  expect(second).toMatchObject({ done: 1, left: 0 })
  expect(await statusOf(others)).toBe('pruned')
  const pagesOf = ({ calls }: FaultyDatabase) =>
    calls.filter(({ sql }) => sql.includes('from unnest($1::text[]) as t (id)')).length
  // Of the second, one page is one tenant's plan again.
  expect([pagesOf(cut), pagesOf(planned)]).toEqual([2, 4])
})

test('what a bucket locks goes when it may, and until then it is said', async () => {
  await setSetting('retention', { last: 1 })
  const [old] = await takeAgedBackups(database, services, [50, 0])
  const until = new Date(Date.now() + 3 * 86_400_000)
  const isLocked = { now: true }
  const locking = new FaultyStore(store.store)
  locking.remove = async (paths) =>
    isLocked.now ? { locked: paths.map((path) => ({ path, until })) } : store.store.remove(paths)
  const locked = servicesOf(database.worker, locking)
  const before = await pathsOf(services)

  const report = await prune({}, locked)

  const [pruned] = report.details.pruned
  expect(pruned?.locked).toEqual([
    {
      store: store.store.url,
      objects: pruned?.objects,
      until: expect.stringMatching(until.toISOString().slice(0, 19)),
    },
  ])
  expect(await statusOf(old)).toBe('pruned')
  expect(await pathsOf(services)).toEqual(before)
  expect(await prune({}, locked)).toMatchObject({ done: 0 })

  isLocked.now = false
  await database.admin.query(
    `update tenantkeep.doomed_objects set try_after = now() - interval '1 minute'`,
  )
  await prune({}, locked)
  expect((await pathsOf(services)).length).toBe(before.length - (pruned?.objects ?? 0))
  const { rows } = await database.admin.query(
    `select b.objects_removed_at is not null as gone, l.details -> 'objects_left' as left
     from public.tenant_backups b join public.backup_logs l on l.backup_type = 'prune' where b.id = $1`,
    [old?.id],
  )
  expect(rows).toEqual([{ gone: true, left: 0 }])
})

test('objects that nothing names are found and removed, but for young ones and those of backups under way', async () => {
  await takeAgedBackups(database, services, [0])
  const put = async (at: Date, table: string) => {
    const path = partPath(
      ALPHA,
      backupStamp(at, crypto.randomUUID()),
      { schema: 'shop', name: table },
      1,
    )
    await store.store.put(path, Buffer.from('left behind'), 'application/gzip')
    return path
  }
  const orphan = await put(new Date('2026-01-01T00:00:00Z'), 'orphan')
  const { utimes } = await import('node:fs/promises')
  const old = new Date(Date.now() - 2 * 86_400_000)
  for (const { path } of await store.store.list('tenant-backups/')) {
    await utimes(join(store.folder, path), old, old)
  }
  await put(new Date(), 'young')
  const running = backupStamp(new Date(), crypto.randomUUID())
  const underWay = partPath(ALPHA, running, { schema: 'shop', name: 'running' }, 1)
  await store.store.put(underWay, Buffer.from('x'), 'application/gzip')
  await utimes(join(store.folder, underWay), old, old)
  await database.worker.query(
    `insert into public.tenant_backups (organization_id, backup_type, store_url, object_stamp, actor_kind, actor_label)
     values ('alpha', 'manual', $1, $2, 'system', 'test')`,
    [store.store.url, running],
  )
  const search = { ...services, catalog: database.worker }

  const found = await findOrphans(search)
  const removed = await removeOrphans(services, { actor: OPERATOR })

  expect(found.orphans.map(({ paths }) => paths)).toEqual([[orphan]])
  expect(removed).toMatchObject({ objects: 1, bytes: 11, busy: [] })
  const left = await pathsOf(services)
  expect(left).not.toContain(orphan)
  expect(left).toContain(underWay)
  expect(await requireWhole()).toBe(1)

  // A catalog that was lost: summaries protect what they name.
  await database.superuser.query('truncate public.tenant_backups cascade')
  await database.worker.query(
    `insert into public.tenant_backups (organization_id, backup_type, store_url, object_stamp, actor_kind, actor_label)
     values ('alpha', 'manual', $1, $2, 'system', 'test')`,
    [store.store.url, running],
  )
  expect((await findOrphans(search)).orphans).toEqual([])
  await database.superuser.query('truncate public.tenant_backups cascade')
  const lost = await findOrphans(search)
  expect(lost.orphans).toEqual([])
  expect(lost.unclear.map(({ folder }) => folder)).toEqual(['tenant-backups/alpha/'])
})

test('whatever fails on the way, what is left is whole, nothing half-removed is offered, and the next run ends it', async () => {
  await setSetting('retention', { last: 1 })
  const probe = {
    database: new FaultyDatabase(database.worker),
    store: new FaultyStore(store.store),
  }
  await takeAgedBackups(database, services, [50, 0])
  await prune({}, servicesOf(probe.database, probe.store))
  const faults = [
    ...probe.database.calls.map((_, i) => ({ call: i + 1, at: 'database' as const })),
    ...probe.store.calls.map((_, i) => ({ call: i + 1, at: 'store' as const })),
  ]
  expect(faults.length).toBeGreaterThan(15)

  for (const [index, { call, at }] of faults.entries()) {
    if (index % 2 === 1 && process.env.EVERY_FAULT === undefined) continue
    const how = index % 4 < 2 ? ('error' as const) : ('after-success' as const)
    const about = `${at} ${call} ${how}`
    const [old] = await takeAgedBackups(database, services, [50, 0])
    await database.admin.query(
      `update public.tenant_backups set created_at = created_at - interval '1 day' where status = 'complete' and id <> (
         select id from public.tenant_backups where status = 'complete' order by taken_at desc limit 1)`,
    )
    const faulty = servicesOf(
      new FaultyDatabase(database.worker, at === 'database' ? { call, how } : null),
      new FaultyStore(store.store, at === 'store' ? { call, how } : null),
    )
    await prune({}, faulty).catch(() => {})
    await requireWhole(about)

    expect((await prune()).failed, about).toBe(0)

    expect(await statusOf(old), about).toBe('pruned')
    expect(await requireWhole(about)).toBe(1)
    const summaries = (await pathsOf(services)).filter((path) => path.includes('summary-'))
    expect(summaries, about).toHaveLength(1)
    const { rows } = await database.admin.query(
      `select id from public.backup_logs where backup_type = 'prune' and status = 'running'
       union all select journal_id from tenantkeep.doomed_objects
       union all select id from public.tenant_backups where status = 'pruned' and objects_removed_at is null`,
    )
    expect(rows, about).toEqual([])
  }
  expect(await readdir(store.folder)).toContain('tenant-backups')
  await takeBackup(services, { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM })
})
