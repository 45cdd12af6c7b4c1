import { expect } from 'vitest'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { verifyBackup } from '../../src/core/backup/verify-backup.ts'
import { backupStamp, partPath } from '../../src/core/store/object-path.ts'
import { createTestStore, SYSTEM, servicesOf, type TestStore } from './backup-services.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'
import { FaultyDatabase } from './faulty-database.ts'
import { FaultyStore } from './faulty-store.ts'
import { ALPHA, installSmallHost } from './small-host.ts'

export const MANUAL = { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM } as const

/**
 * A small host whose backups make every kind of call, and what must hold whatever fails: a backup that
 * says complete has all its objects, no attempt stays without a reason, and the next run succeeds.
 */
export interface FaultBench {
  database: TestDatabase
  store: TestStore
  /** Makes the next backup copy, prove and remove: all rows differ, the schema, and a failed attempt. */
  arrange(): Promise<void>
  /** The calls of a backup that nothing happens to. */
  countCalls(): Promise<{ database: FaultyDatabase; store: FaultyStore }>
  requireHealthy(fault: string): Promise<void>
  close(): Promise<void>
}

export async function createFaultBench(): Promise<FaultBench> {
  const database = await createTestDatabase()
  const store = await createTestStore()
  await installSmallHost(database)
  const services = servicesOf(database.worker, store.store)
  await takeBackup(services, MANUAL)
  let verified = 0
  let attempts = 0

  const bench: FaultBench = {
    database,
    store,

    async arrange() {
      attempts += 1
      await database.admin.query(`
        update shop.tenants set name = name || '.';
        update shop.accounts set balance = balance + 1;
        update shop.pockets set balance = balance + 1;
        update shop.entries set note = note || '.';
        update shop.events set at = clock_timestamp();
        alter table shop.events drop column if exists extra;
        alter table shop.events add column extra ${attempts % 2 === 0 ? 'int' : 'text'}`)
      const id = crypto.randomUUID()
      const stamp = backupStamp(new Date(), id)
      const path = partPath(ALPHA, stamp, { schema: 'shop', name: 'events' }, 1)
      await store.store.put(path, Buffer.from('left behind'), 'application/gzip')
      await database.worker.query(
        `insert into public.tenant_backups
           (id, organization_id, backup_type, status, store_url, object_stamp, actor_kind, actor_label,
            completed_at, error_code, error_message)
         values ($1, $2, 'manual', 'failed', $3, $4, 'system', 'test', now(), 'internal', 'On purpose.')`,
        [id, ALPHA, store.store.url, stamp],
      )
    },

    async countCalls() {
      await bench.arrange()
      const probe = new FaultyDatabase(database.worker)
      const probedStore = new FaultyStore(store.store)
      await takeBackup(servicesOf(probe, probedStore), MANUAL)
      return { database: probe, store: probedStore }
    },

    async requireHealthy(fault) {
      const next = await takeBackup(services, { ...MANUAL, waitMs: 10_000 })
      expect(next.status, fault).toBe('complete')
      const { rows } = await database.admin.query<{ id: string; status: string }>(
        'select id, status from public.tenant_backups order by created_at',
      )
      expect(
        rows.filter((row) => row.status === 'running'),
        fault,
      ).toEqual([])
      const complete = rows.filter((row) => row.status === 'complete')
      for (const { id } of complete.slice(verified)) {
        const { findings } = await verifyBackup(services, id)
        expect(findings, fault).toEqual([])
      }
      verified = complete.length
      const { rows: open } = await database.admin.query(
        `select 1 from public.backup_logs where status = 'running'`,
      )
      expect(open, fault).toEqual([])
    },

    async close() {
      await database.drop()
      await store.remove()
    },
  }
  return bench
}
