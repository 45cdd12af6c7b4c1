import { afterAll, beforeAll, expect, test } from 'vitest'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import { previewPrune } from '../../../src/core/retention/preview-prune.ts'
import { type PruneInput, pruneBackups } from '../../../src/core/retention/prune-backups.ts'
import type { Services } from '../../../src/core/services.ts'
import { ageBackup, pathsOf, takeAgedBackups } from '../../support/aged-backups.ts'
import { CRON, createTestStore, servicesOf, type TestStore } from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
afterAll(() => database?.drop())

async function fresh(): Promise<void> {
  await store?.remove()
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  await database.superuser.query(
    `truncate public.tenant_backups, public.backup_logs, tenantkeep.runs, tenantkeep.doomed_objects,
       tenantkeep.departed_tenants, tenantkeep.retention_policies, tenantkeep.forgotten_tenants cascade`,
  )
}

const prune = (input: Partial<PruneInput> = {}) =>
  pruneBackups(services, {
    actor: CRON,
    runId: null,
    until: new Date(Date.now() + 60_000),
    ...input,
  })

async function statuses(): Promise<Record<string, string>> {
  const { rows } = await database.admin.query<{ id: string; status: string }>(
    'select id, status from public.tenant_backups',
  )
  return Object.fromEntries(rows.map(({ id, status }) => [id, status]))
}

test('what the preview names goes, exactly; what others share stays, and every backup that is left is whole', async () => {
  await fresh()
  const [oldest, old, young, newest] = await takeAgedBackups(database, services, [80, 79, 20, 0])
  const [neighbour] = await takeAgedBackups(database, services, [90], BETA)
  const before = await store.store.list('tenant-backups/')

  const preview = await previewPrune(services)
  const report = await prune({ planHash: preview.plan_hash })

  // The older one of a month goes; the younger one stands for its month.
  const months = new Set(
    [80, 79].map((days) => new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 7)),
  )
  const gone = months.size === 1 ? [oldest?.id] : []
  expect(preview.tenants.flatMap(({ expired }) => expired.map((it) => it.backup_id))).toEqual(gone)
  const after = await store.store.list('tenant-backups/')
  const kept = new Set(after.map(({ path }) => path))
  const removed = before.filter(({ path }) => !kept.has(path))
  expect(report.details.objects).toBe(preview.totals.objects)
  expect(removed).toHaveLength(preview.totals.objects)
  expect(removed.reduce((sum, { size }) => sum + size, 0)).toBe(preview.totals.bytes)
  for (const backup of [old, young, newest, neighbour]) {
    expect((await verifyBackup(services, backup?.id ?? '')).findings).toEqual([])
  }
  expect(await prune()).toMatchObject({ done: 0, failed: 0, left: 0 })
})
