import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { findBackup, findLast } from '../../../src/core/backup/backup-record.ts'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { openSnapshot } from '../../../src/core/backup/read-snapshot.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { copySafetyBackup, type SafetyBackup } from '../../../src/core/backup/take-safety-backup.ts'
import { verifyBackup } from '../../../src/core/backup/verify-backup.ts'
import type { Connection } from '../../../src/core/database/database.ts'
import { BackupError } from '../../../src/core/errors.ts'
import {
  recordRestoreComplete,
  recordRestoreStart,
} from '../../../src/core/restore/restore-record.ts'
import type { Services } from '../../../src/core/services.ts'
import { restorePlanPath, tenantPrefix } from '../../../src/core/store/object-path.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyDatabase } from '../../support/faulty-database.ts'
import { FaultyStore } from '../../support/faulty-store.ts'
import { ALPHA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
})
beforeEach(async () => {
  await database.superuser.query(
    'delete from public.backup_logs; delete from public.tenant_backups',
  )
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  return () => store.remove()
})
afterAll(() => database?.drop())

const CHANGING = new BackupError('tenant_changing', 'Somebody wrote.')

/** Copies in a look, as a restore does, and lends both while the look is open. */
async function look<T>(
  use: (safety: SafetyBackup, connection: Connection) => Promise<T>,
  given: { services?: Services; tenantId?: string; signal?: AbortSignal } = {},
): Promise<T> {
  const tenantId = given.tenantId ?? ALPHA
  return database.worker.withConnection(async (connection) => {
    const snapshot = await openSnapshot(connection, {
      tenantId,
      lockTimeoutMs: 1_000,
      isReadOnly: false,
      mayBeMissing: true,
    })
    const safety = await copySafetyBackup(given.services ?? services, connection, snapshot, {
      tenantId,
      tenantName: 'Alpha Gases',
      actor: SYSTEM,
      runId: null,
      note: 'before a restore',
      signal: given.signal,
    })
    const result = await use(safety, connection)
    await connection.query('rollback')
    return result
  })
}

const takeManual = () =>
  takeBackup(services, { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM })

/** A restore from a file, which this safety backup was taken for; its id. */
async function startRestore(safetyBackupId: string): Promise<string> {
  const id = crypto.randomUUID()
  await recordRestoreStart(database.worker, {
    id,
    tenantId: ALPHA,
    tenantName: null,
    backupId: null,
    safetyBackupId,
    plan: { path: 'p', sha256: 's', hash: 'h' },
    source: { kind: 'archive', takenAt: '2026-11-21T02:03:04Z' },
    options: {},
    undoOf: null,
    runId: null,
    note: null,
    actor: SYSTEM,
  })
  return id
}

async function readRows(): Promise<unknown[]> {
  const { rows } = await database.admin.query(
    `select b.status, b.error_code as code, l.status as journal, l.error_code as "journalCode"
     from public.tenant_backups b join public.backup_logs l on l.backup_id = b.id and l.backup_type = b.backup_type
     where b.backup_type = 'pre_restore' order by b.created_at`,
  )
  return rows
}

async function listObjects(): Promise<string[]> {
  return (await store.store.list(tenantPrefix(ALPHA))).map(({ path }) => path)
}

describe('a safety backup', () => {
  test('holds the look it was copied in, and leaves its transaction open', async () => {
    const snapshotOf = async (connection: Connection) =>
      (await connection.query<{ at: string }>('select pg_current_snapshot()::text as at')).rows[0]
        ?.at

    const { backup, stillSeen } = await database.worker.withConnection(async (connection) => {
      const snapshot = await openSnapshot(connection, {
        tenantId: ALPHA,
        lockTimeoutMs: 1_000,
        isReadOnly: false,
      })
      const before = await snapshotOf(connection)
      await database.admin.query(`delete from shop.events where tenant_id = 'alpha'`)
      const safety = await copySafetyBackup(services, connection, snapshot, {
        tenantId: ALPHA,
        tenantName: 'Alpha Gases',
        actor: SYSTEM,
        runId: null,
        note: null,
      })
      expect(await snapshotOf(connection)).toBe(before)
      const { rows } = await connection.query('select from shop.events')
      const completed = await safety.complete()
      await connection.query('commit')
      expect(safety.tables.map((table) => table.name)).toEqual(snapshot.tables.map((t) => t.label))
      expect(completed).toMatchObject({ id: safety.id, objectStamp: safety.stamp })
      return { backup: completed, stillSeen: rows.length }
    })

    expect(stillSeen).toBe(9)
    expect(backup).toMatchObject({
      backupType: 'pre_restore',
      status: 'complete',
      organizationName: 'Alpha Gases',
      totalRecords: 1 + 20 + 20 + 60 + 9,
    })
    expect(await verifyBackup(services, backup.id)).toMatchObject({ findings: [] })
    expect(await readRows()).toEqual([
      { status: 'complete', code: null, journal: 'complete', journalCode: null },
    ])
    await database.admin.query(
      `insert into shop.events (tenant_id, body) select 'alpha', '{}' from generate_series(1, 9)`,
    )
  })

  test('stores nothing again that the last backup has, and is never the last one itself', async () => {
    const { backup: last } = await takeManual()

    const safety = await look((copied) => copied.complete())

    const summary = await loadSummary(services, safety)
    const own = summary.tables
      .flatMap((table) => table.parts)
      .filter((part) => {
        return part.path.includes(safety.objectStamp)
      })
    expect(own).toEqual([])
    expect(await findLast(database.worker, ALPHA, store.store.url)).toMatchObject({ id: last.id })
  })

  test('of a tenant without a row is a backup too', async () => {
    const backup = await look((safety) => safety.complete(), { tenantId: 'nobody' })
    expect(backup).toMatchObject({ status: 'complete', totalRecords: 0, totalTables: 5 })
    expect(await verifyBackup(services, backup.id)).toMatchObject({ findings: [] })
  })

  test('says that the schema changed, and is proven to come back after the look', async () => {
    await takeManual()
    await database.admin.query('alter table shop.events add column if not exists extra int')

    const backup = await look(async (safety, connection) => {
      await connection.query('commit')
      await safety.proveEncoding(connection)
      return safety.complete()
    })

    expect(backup.warnings.map(({ code }) => code)).toEqual(['schema_changed_since_last'])
    await database.admin.query('alter table shop.events drop column extra')
  })

  test('is running until it is complete', async () => {
    await look(async (safety) => {
      expect(await findBackup(database.worker, safety.id)).toMatchObject({ status: 'running' })
      const { rows } = await database.worker.query<{ note: string }>(
        'select note from public.tenant_backups',
      )
      expect(rows).toEqual([{ note: 'before a restore' }])
    })
  })

  test('can be given up before it is complete, or after, and leaves no object', async () => {
    const { backup: last } = await takeManual()
    const kept = await listObjects()
    await database.admin.query(`update shop.accounts set balance = balance + 1`)

    await look((safety) => safety.cancel(CHANGING))
    await look(async (safety) => {
      await safety.complete()
      const plan = restorePlanPath(ALPHA, safety.stamp)
      await store.store.put(plan, Buffer.from('plan'), 'application/gzip')
      await safety.cancel(CHANGING)
    })

    const cancelled = {
      status: 'cancelled',
      code: 'tenant_changing',
      journal: 'cancelled',
      journalCode: 'tenant_changing',
    }
    expect(await readRows()).toEqual([cancelled, cancelled])
    expect(await listObjects()).toEqual(kept)
    expect(await verifyBackup(services, last.id)).toMatchObject({ findings: [] })
  })

  test('is not given up once its restore is committed', async () => {
    await look(async (safety) => {
      await safety.complete()
      const id = await startRestore(safety.id)
      await recordRestoreComplete(database.worker, id, [])
      await safety.cancel(CHANGING)
      expect(await findBackup(database.worker, safety.id)).toMatchObject({ status: 'complete' })
      expect(await verifyBackup(services, safety.id)).toMatchObject({ findings: [] })
    })
  })

  test('waits for a restore that is being committed before it is given up', async () => {
    await look(async (safety) => {
      await safety.complete()
      const id = await startRestore(safety.id)
      await database.worker.withConnection(async (session) => {
        await session.query('begin')
        await recordRestoreComplete(session, id, [])
        const cancelling = safety.cancel(CHANGING)
        await waitForLockWaiter()
        await session.query('commit')
        await cancelling
      })
      expect(await findBackup(database.worker, safety.id)).toMatchObject({ status: 'complete' })
    })
  })

  test('is no more complete once another run declared it dead', async () => {
    await look(async (safety) => {
      await database.worker.query(
        `update public.tenant_backups set status = 'failed', error_code = 'backup_cancelled', error_message = 'dead'`,
      )
      await expect(safety.complete()).rejects.toMatchObject({ code: 'backup_cancelled' })
    })
  })

  test('that is interrupted is recorded as cancelled', async () => {
    const stop = new AbortController()
    const faulty = new FaultyStore(store.store)
    const put = faulty.put.bind(faulty)
    faulty.put = async (path, body, type, signal) => {
      stop.abort()
      return put(path, body, type, signal)
    }
    const copied = look(async () => {}, {
      services: servicesOf(database.worker, faulty),
      signal: stop.signal,
    })
    await expect(copied).rejects.toMatchObject({ code: 'backup_cancelled' })
    expect(await readRows()).toMatchObject([{ status: 'cancelled', journal: 'cancelled' }])
  })
})

async function waitForLockWaiter(): Promise<void> {
  for (;;) {
    const { rows } = await database.superuser.query(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    )
    if (rows.length > 0) return
  }
}

/**
 * Every call to catalog and store fails once while the safety backup is copied and completed; the restore
 * then gives it up. Whatever happens, what says complete is whole, and nothing else is left.
 */
describe('whatever fails', () => {
  type Fault = { database?: number; store?: number; how: 'error' | 'after-success' | 'cut' }

  async function attempt({ database: call, store: storeCall, how }: Fault) {
    await database.admin.query('update shop.accounts set balance = balance + 1')
    const faulty = new FaultyDatabase(
      database.worker,
      call === undefined || how === 'cut' ? null : { call, how },
    )
    const faultyStore = new FaultyStore(
      store.store,
      storeCall === undefined ? null : { call: storeCall, how },
    )
    const outcome = await look((safety) => safety.complete().then(() => 'complete'), {
      services: servicesOf(faulty, faultyStore),
    }).catch((error) => (error instanceof BackupError ? error.code : `no BackupError: ${error}`))
    return { outcome, faulty, faultyStore }
  }

  async function requireSound(name: string) {
    const { rows } = await database.admin.query<{ id: string; status: string }>(
      `select id, status from public.tenant_backups where backup_type = 'pre_restore'`,
    )
    for (const { id, status } of rows) {
      if (status === 'complete') {
        expect(await verifyBackup(services, id), name).toMatchObject({ findings: [] })
      }
    }
  }

  test.each(['error', 'after-success'] as const)('in the catalog (%s)', async (how) => {
    await takeManual()
    const probe = await attempt({ how })
    expect(probe.outcome).toBe('complete')
    for (let call = 1; call <= probe.faulty.calls.length; call += 1) {
      const name = `${how} at ${call}: ${probe.faulty.calls[call - 1]?.sql.slice(0, 60)}`
      const { outcome, faulty } = await attempt({ database: call, how })
      expect(faulty.struck, name).toBe(true)
      expect(['complete', 'database_unavailable'], name).toContain(outcome)
      await requireSound(name)
      const running = (await readRows()).filter((row) => JSON.stringify(row).includes('running'))
      expect(running, name).toEqual([])
    }
  })

  test.each(['error', 'after-success', 'cut'] as const)('in the store (%s)', async (how) => {
    await takeManual()
    const probe = await attempt({ how })
    for (let call = 1; call <= probe.faultyStore.calls.length; call += 1) {
      const name = `${how} at ${call}: ${probe.faultyStore.calls[call - 1]?.method}`
      const { outcome, faultyStore } = await attempt({ store: call, how })
      expect(faultyStore.struck, name).toBe(true)
      expect(['complete', 'store_unavailable'], name).toContain(outcome)
      await requireSound(name)
    }
  })

  test.each(['error', 'after-success'] as const)(
    'while it is given up (%s): no error, and no backup without its objects',
    async (how) => {
      const { backup: last } = await takeManual()
      for (const isStore of [false, true]) {
        for (let call = 1; call <= 4; call += 1) {
          await database.admin.query('update shop.accounts set balance = balance + 1')
          const faulty = new FaultyDatabase(database.worker)
          const faultyStore = new FaultyStore(store.store)
          await look(
            async (safety) => {
              await safety.complete()
              const from = isStore ? faultyStore.calls.length : faulty.calls.length
              if (isStore) faultyStore.fault = { call: from + call, how }
              else faulty.fault = { call: from + call, how }
              await safety.cancel(CHANGING)
            },
            { services: servicesOf(faulty, faultyStore) },
          )
          await requireSound(`${how} at ${isStore ? 'store' : 'database'} call ${call}`)
          expect(await verifyBackup(services, last.id)).toMatchObject({ findings: [] })
        }
      }
      const { backup: next } = await takeManual()
      const complete = await database.admin.query<{ stamp: string }>(
        `select object_stamp as stamp from public.tenant_backups where status = 'complete'`,
      )
      const stamps = complete.rows.map((row) => row.stamp)
      const orphans = (await listObjects()).filter((path) => !stamps.some((s) => path.includes(s)))
      expect(orphans).toEqual([])
      expect(await verifyBackup(services, next.id)).toMatchObject({ findings: [] })
    },
  )
})
