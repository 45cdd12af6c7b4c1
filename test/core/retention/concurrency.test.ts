import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Backup, findBackup } from '../../../src/core/backup/backup-record.ts'
import { recordExport } from '../../../src/core/backup/record-export.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { updateBackup } from '../../../src/core/backup/update-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { runComparison } from '../../../src/core/compare/run-comparison.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import { undoRestore } from '../../../src/core/restore/undo-restore.ts'
import { previewPrune } from '../../../src/core/retention/preview-prune.ts'
import { pruneBackups } from '../../../src/core/retention/prune-backups.ts'
import type { Services } from '../../../src/core/services.ts'
import { ageBackup, clearRetention, takeAgedBackups } from '../../support/aged-backups.ts'
import {
  CRON,
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { type Hook, hookDatabase } from '../../support/hooked-database.ts'
import { ALPHA, installSmallHost } from '../../support/small-host.ts'

/**
 * Somebody prunes at a named statement of other work, and others work at a named statement of a prune. Either
 * waits or gives way; nobody ever reads half a backup.
 */
let database: TestDatabase
let store: TestStore
let services: Services
let old: Backup
let newest: Backup
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
    `insert into tenantkeep.settings (key, value) values ('retention', '{"last": 1}')`,
  )
  const [first, second] = await takeAgedBackups(database, services, [50, 0])
  if (first === undefined || second === undefined) throw new Error('There are no backups.')
  old = first
  newest = second
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

const hooked = (...hooks: Hook[]) => servicesOf(hookDatabase(database.worker, hooks), store.store)
const INPUT = { actor: CRON, runId: null }
const soon = () => new Date(Date.now() + 60_000)
const prune = (by = services) => pruneBackups(by, { ...INPUT, until: soon() })
const statusOf = async ({ id }: Backup) => (await findBackup(database.worker, id))?.status
const RESTORE = { tenantId: ALPHA, options: DEFAULT_OPTIONS, isDryRun: false, actor: SYSTEM }
/** The statement of a prune that takes backups out of the catalog. */
const MARKS = /set status = 'pruned', pruned_at/
/** A prune takes the tenant's lock. */
const LOCKS = /pg_try_advisory_lock/
const codeOf = (error: unknown) =>
  error !== null && typeof error === 'object' && 'code' in error ? error.code : error

test.each([
  ['looks', /^begin isolation level repeatable read/],
  ['acts', /^begin isolation level read committed/],
  ['commits', /^update public\.backup_logs l set\s+status = 'complete'/],
])('while a restore %s, prune leaves the tenant for the next time', async (_, statement) => {
  await database.admin.query(
    `update shop.accounts set balance = balance + 3 where tenant_id = 'alpha'`,
  )
  const reports: Awaited<ReturnType<typeof prune>>[] = []
  const by = hooked({
    when: 'before',
    statement,
    act: async () => void reports.push(await prune()),
  })

  const result = await restoreTenant(by, { ...RESTORE, source: await openBackup(by, old) })

  expect(reports.length).toBeGreaterThan(0)
  // By the tenant's lock, or because its journal row says what it works with.
  for (const { details } of reports) expect(details).toMatchObject({ failed: [], backups: 0 })
  expect(result.restoreId).not.toBeNull()
  expect(await statusOf(old)).toBe('complete')
  expect((await prune()).details.backups).toBe(1)
})

test('while an undo acts, its safety backup stays, also past its window', async () => {
  await database.admin.query(
    `update shop.accounts set balance = balance + 3 where tenant_id = 'alpha'`,
  )
  const { restoreId } = await restoreTenant(services, {
    ...RESTORE,
    source: await openBackup(services, newest),
  })
  const { rows } = await database.admin.query<{ id: string }>(
    'select safety_backup_id as id from public.backup_logs where id = $1',
    [restoreId],
  )
  await ageBackup(database, rows[0]?.id ?? '', 31)
  const busy: string[][] = []
  const by = hooked({
    when: 'before',
    statement: /^begin isolation level read committed/,
    act: async () => void busy.push((await prune()).details.busy),
  })

  const undone = await undoRestore(by, {
    ...{ tenantId: ALPHA, restoreId: restoreId ?? '', everything: false, onConflict: 'fail' },
    ...{ isDryRun: false, actor: SYSTEM },
  })

  expect(undone.blockers).toEqual([])
  expect(busy).toEqual([[ALPHA]])
  expect((await prune()).details.backups).toBe(2)
})

test('while a backup is taken, prune leaves the tenant; while a tenant is pruned, a backup waits', async () => {
  const busy: string[][] = []
  const by = hooked({
    when: 'before',
    statement: /^begin isolation level repeatable read/,
    nth: 1,
    act: async () => void busy.push((await prune()).details.busy),
  })
  const manual = { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM } as const
  const { backup } = await takeBackup(by, manual)
  expect(busy).toEqual([[ALPHA]])

  const met: unknown[] = []
  await prune(
    hooked({
      when: 'after',
      statement: MARKS,
      act: async () => void met.push(await takeBackup(services, manual).catch(codeOf)),
    }),
  )

  expect(met).toEqual(['tenant_busy'])
  expect(await statusOf(old)).toBe('pruned')
  const after = await takeBackup(services, manual)
  for (const { id } of [backup, after.backup]) {
    expect((await verifyBackup(services, id)).findings).toEqual([])
  }
})

test('a comparison or a download that has begun is waited for', async () => {
  const reports: Awaited<ReturnType<typeof prune>>[] = []
  const by = hooked({
    when: 'after',
    statement: /insert into tenantkeep\.runs/,
    act: async () => void reports.push(await prune()),
  })
  const compare = {
    tenantId: ALPHA,
    tenantName: null,
    backup: { backupId: old.id },
    against: 'live',
    actor: SYSTEM,
  }

  const { comparison } = await runComparison(by, compare)

  expect(reports[0]?.details.backups).toBe(0)
  expect(comparison).toBeDefined()
  expect(await statusOf(old)).toBe('complete')
  await recordExport(database.worker, { backupId: old.id, actor: SYSTEM })
  expect((await prune()).details.backups).toBe(0)
  await database.admin.query(`update tenantkeep.runs set created_at = now() - interval '2 hours'`)
  expect((await prune()).details.backups).toBe(1)
})

test('whichever of prune, comparison and pin locks the backup first wins, and the other one hears of it', async () => {
  const compare = {
    tenantId: ALPHA,
    tenantName: null,
    backup: { backupId: old.id },
    against: 'live',
    actor: SYSTEM,
  }
  // It comes between the plan and the lock: prune gives way.
  for (const [comes, goes] of [
    [
      `update public.tenant_backups set pinned_at = now(), pinned_by = 'ann', pinned_by_kind = 'user', pin_reason = 'r'
       where id = $1`,
      `update public.tenant_backups set pinned_at = null, pinned_by = null, pinned_by_kind = null, pin_reason = null
       where id = $1`,
    ],
    [
      `insert into tenantkeep.runs (kind, actor_kind, actor_label, tenant_ids, request)
       values ('compare', 'user', 'ann', '{alpha}', jsonb_build_object('backup_id', $1::text))`,
      `update tenantkeep.runs set status = 'complete' where request ->> 'backup_id' = $1`,
    ],
    [
      `update public.tenant_backups set status = 'failed', error_code = 'internal', error_message = 'e' where id = $1`,
      `update public.tenant_backups set status = 'complete' where id = $1`,
    ],
  ] as const) {
    const late = await prune(
      hooked({
        when: 'before',
        statement: /order by id for update/,
        act: async () => void (await database.superuser.query(comes, [old.id])),
      }),
    )
    expect(late.details, comes).toMatchObject({ backups: 0, busy: [ALPHA] })
    await database.superuser.query(goes, [old.id])
    expect(await statusOf(old), comes).toBe('complete')
  }

  // It comes after the lock: the comparison waits for prune, and finds nothing.
  const begun: Promise<unknown>[] = []
  await prune(
    hooked({
      when: 'after',
      statement: /order by id for update/,
      act: async () => {
        begun.push(runComparison(services, compare).catch(codeOf))
        await expect
          .poll(async () => {
            const { rowCount } = await database.superuser.query(
              `select from pg_stat_activity where wait_event_type = 'Lock' and query like '%insert into tenantkeep.runs%'`,
            )
            return rowCount
          })
          .toBe(1)
      },
    }),
  )

  expect(await statusOf(old)).toBe('pruned')
  expect(await Promise.all(begun)).toEqual(['backup_incomplete'])
})

test('what would go under the lock is what was approved, or nothing goes', async () => {
  const [other] = await takeAgedBackups(database, services, [49])
  if (other === undefined) throw new Error('There is no backup.')
  await updateBackup(services, { backupId: other.id, actor: SYSTEM, pin: { reason: 'r' } })
  const { plan_hash: planHash } = await previewPrune(services)
  const by = hooked({
    when: 'before',
    statement: LOCKS,
    act: async () =>
      void (await updateBackup(services, { backupId: other.id, actor: SYSTEM, pin: null })),
  })

  const report = await pruneBackups(by, { ...INPUT, until: soon(), planHash })

  expect(report.details.failed).toMatchObject([{ organization_id: ALPHA, code: 'plan_stale' }])
  expect(await Promise.all([old, other].map(statusOf))).toEqual(['complete', 'complete'])
})
