import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { BackupError } from '../../../src/core/errors.ts'
import {
  findRestore,
  listRestores,
  type RestoreStart,
  recordRestoreComplete,
  recordRestoreCrashes,
  recordRestoreFailure,
  recordRestoreStart,
  type TableCounts,
} from '../../../src/core/restore/restore-record.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let backups: string[]
beforeAll(async () => {
  database = await createTestDatabase()
  store = await createTestStore()
  await installSmallHost(database)
  backups = []
  for (const tenantId of [ALPHA, ALPHA, BETA]) {
    const { backup } = await takeBackup(servicesOf(database.worker, store.store), {
      tenantId,
      backupType: 'manual',
      actor: SYSTEM,
    })
    backups.push(backup.id)
  }
})
beforeEach(async () => {
  await database.superuser.query(
    `delete from public.backup_logs where backup_type in ('restore', 'undo');
     update public.tenant_backups set status = 'complete'`,
  )
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

const newRestore = (more: Partial<RestoreStart> = {}): RestoreStart => ({
  id: crypto.randomUUID(),
  tenantId: ALPHA,
  tenantName: 'Alpha Gases',
  backupId: backups[0] ?? null,
  safetyBackupId: backups[1] ?? '',
  plan: { path: 'a path', sha256: 'a digest', hash: 'a hash' },
  source: { kind: 'catalog', takenAt: '2026-11-21T02:03:04.567891Z' },
  options: { missing: 'restore' },
  undoOf: null,
  runId: null,
  note: 'on demand',
  actor: { kind: 'user', id: 'u1', label: 'anna@example.com' },
  ...more,
})
const TABLES: TableCounts[] = [
  {
    name: 'shop.accounts',
    inserted: 3,
    updated: 2,
    deleted: 1,
    unchanged: 14,
    kept: 0,
    skipped: 0,
  },
  { name: 'shop.events', inserted: 0, updated: 0, deleted: 0, unchanged: 9, kept: 1, skipped: 0 },
]
const FAILURE = new BackupError('table_busy', 'On purpose.')

async function start(more: Partial<RestoreStart> = {}): Promise<string> {
  const given = newRestore(more)
  await recordRestoreStart(database.worker, given)
  return given.id
}

async function done(more: Partial<RestoreStart> = {}): Promise<string> {
  const id = await start(more)
  await recordRestoreComplete(database.worker, id, TABLES)
  return id
}

describe('the journal row of a restore', () => {
  test('says what it was asked, from the start', async () => {
    const id = await start()
    expect(await findRestore(database.worker, id)).toEqual({
      id,
      type: 'restore',
      status: 'running',
      createdAt: expect.any(String),
      completedAt: null,
      organizationId: ALPHA,
      organizationName: 'Alpha Gases',
      backupId: backups[0],
      safetyBackupId: backups[1],
      planPath: 'a path',
      planSha256: 'a digest',
      planHash: 'a hash',
      undoOf: null,
      runId: null,
      note: 'on demand',
      actorKind: 'user',
      actorId: 'u1',
      actorLabel: 'anna@example.com',
      totalTables: null,
      totalRecords: null,
      durationMs: null,
      errorCode: null,
      errorMessage: null,
      details: {
        source: { kind: 'catalog', takenAt: '2026-11-21T02:03:04.567891Z' },
        options: { missing: 'restore' },
      },
    })
  })

  test('turns complete if and only if the transaction that wrote does', async () => {
    const id = await start()
    await database.worker.withConnection(async (session) => {
      await session.query('begin')
      await recordRestoreComplete(session, id, TABLES)
      await session.query('rollback')
      expect(await findRestore(database.worker, id)).toMatchObject({ status: 'running' })
      await session.query('begin')
      await recordRestoreComplete(session, id, TABLES)
      expect(await findRestore(database.worker, id)).toMatchObject({ status: 'running' })
      await session.query('commit')
    })
    expect(await findRestore(database.worker, id)).toMatchObject({
      status: 'complete',
      totalTables: 1,
      totalRecords: 6,
      durationMs: expect.any(Number),
      details: { options: { missing: 'restore' }, tables: TABLES },
    })
  })

  test('of an undo names the restore that it took back', async () => {
    const restore = await done()
    const undo = await done({ undoOf: restore })
    expect(await findRestore(database.worker, undo)).toMatchObject({
      type: 'undo',
      undoOf: restore,
      status: 'complete',
    })
  })

  test('names the new safety backup and plan after another look', async () => {
    const id = await start()
    const plan = { path: 'b', sha256: 'b', hash: 'b' }
    await start({ id, safetyBackupId: backups[0] ?? '', plan })
    const { restores } = await listRestores(database.worker, { tenantId: ALPHA })
    expect(restores).toMatchObject([
      { id, status: 'running', safetyBackupId: backups[0], planPath: 'b', planHash: 'b' },
    ])
  })

  test('is refused while another restore of the tenant runs, not of another tenant', async () => {
    await start()
    await expect(start()).rejects.toMatchObject({ code: 'tenant_busy' })
    await start({ tenantId: BETA, safetyBackupId: backups[2] ?? '' })
    await expect(
      database.superuser.query(
        `insert into public.backup_logs (organization_id, backup_type, actor_kind, actor_label)
         values ('alpha', 'restore', 'system', 'test')`,
      ),
    ).rejects.toThrow(/backup_logs_one_restore/)
  })
})

describe('a restore does not turn complete', () => {
  const dead = { code: 'backup_cancelled', message: expect.stringMatching(/declared this restore/) }

  test('when it was declared dead', async () => {
    const id = await start()
    await recordRestoreCrashes(database.worker, ALPHA)
    await expect(recordRestoreComplete(database.worker, id, TABLES)).rejects.toMatchObject(dead)
    await expect(start({ id })).rejects.toMatchObject(dead)
    expect(await findRestore(database.worker, id)).toMatchObject({ status: 'failed' })
  })

  test('twice, or without having begun', async () => {
    const id = await done()
    await expect(recordRestoreComplete(database.worker, id, TABLES)).rejects.toMatchObject(dead)
    await expect(
      recordRestoreComplete(database.worker, crypto.randomUUID(), TABLES),
    ).rejects.toMatchObject(dead)
  })

  test('when its safety backup is not complete any more', async () => {
    const id = await start()
    await database.superuser.query(
      `update public.tenant_backups set status = 'cancelled', error_code = 'x', error_message = 'x'
       where id = $1`,
      [backups[1]],
    )
    await expect(recordRestoreComplete(database.worker, id, TABLES)).rejects.toMatchObject(dead)
    await database.superuser.query(
      'update public.tenant_backups set error_code = null, error_message = null, status = $1',
      ['complete'],
    )
  })

  test('for any other kind of journal row', async () => {
    const { rows } = await database.worker.query<{ id: string }>(
      `select id from public.backup_logs where backup_type = 'manual' limit 1`,
    )
    const id = rows[0]?.id ?? ''
    await expect(recordRestoreComplete(database.worker, id, TABLES)).rejects.toMatchObject(dead)
    expect(await findRestore(database.worker, id)).toBeUndefined()
  })
})

describe('a restore that fails', () => {
  test('has its reason, once', async () => {
    const id = await start()
    expect(await recordRestoreFailure(database.worker, id, FAILURE)).toBeUndefined()
    await recordRestoreFailure(database.worker, id, new BackupError('internal', 'Later.'))
    expect(await findRestore(database.worker, id)).toMatchObject({
      status: 'failed',
      errorCode: 'table_busy',
      errorMessage: 'On purpose.',
    })
    const stopped = await start()
    await recordRestoreFailure(
      database.worker,
      stopped,
      new BackupError('backup_cancelled', 'Stop.'),
    )
    expect(await findRestore(database.worker, stopped)).toMatchObject({ status: 'cancelled' })
  })

  test('stays complete where only the answer of its commit was lost', async () => {
    const id = await start()
    const recorded = await database.worker.withConnection(async (session) => {
      await session.query('begin')
      await recordRestoreComplete(session, id, TABLES)
      const recording = recordRestoreFailure(database.worker, id, FAILURE)
      await waitForLockWaiter()
      await session.query('commit')
      return recording
    })
    expect(recorded).toMatchObject({ id, status: 'complete', errorCode: null })
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

describe('restores of processes that died', () => {
  test('are failed by the next backup of the tenant, and their safety backups stay', async () => {
    const id = await start()
    const other = await start({ tenantId: BETA, safetyBackupId: backups[2] ?? '' })
    const complete = await database.worker.query(
      `update public.backup_logs set created_at = created_at where status = 'complete' returning 1`,
    )

    await takeBackup(servicesOf(database.worker, store.store), {
      tenantId: ALPHA,
      backupType: 'manual',
      actor: SYSTEM,
    })

    expect(complete.rowCount).toBeGreaterThan(0)
    expect(await findRestore(database.worker, id)).toMatchObject({
      status: 'failed',
      errorCode: 'restore_crashed',
      errorMessage: expect.stringMatching(/Nothing of it was written/),
    })
    expect(await findRestore(database.worker, other)).toMatchObject({ status: 'running' })
    const { rows } = await database.worker.query(
      'select status from public.tenant_backups where id = $1',
      [backups[1]],
    )
    expect(rows).toEqual([{ status: 'complete' }])
  })

  test('of which the journal says complete are left alone', async () => {
    const id = await done()
    await recordRestoreCrashes(database.worker, ALPHA)
    expect(await findRestore(database.worker, id)).toMatchObject({ status: 'complete' })
  })
})

test('restores are listed newest first, by tenant, status and page', async () => {
  const ids = [await done(), await done(), await start()]
  await start({ tenantId: BETA, safetyBackupId: backups[2] ?? '' })
  const list = async (input: Parameters<typeof listRestores>[1]) => {
    const page = await listRestores(database.worker, input)
    return { ids: page.restores.map(({ id }) => id), next: page.nextCursor }
  }

  const first = await list({ tenantId: ALPHA, limit: 2 })
  expect(first).toEqual({ ids: [ids[2], ids[1]], next: ids[1] })
  expect(await list({ tenantId: ALPHA, limit: 2, cursor: first.next ?? '' })).toEqual({
    ids: [ids[0]],
    next: null,
  })
  expect((await list({})).ids).toHaveLength(4)
  expect((await list({ tenantId: ALPHA, statuses: ['running'] })).ids).toEqual([ids[2]])
})

test('the database refuses a complete restore without safety backup and plan, and an undo of nothing', async () => {
  const insert = (type: string, status: string) =>
    database.superuser.query(
      `insert into public.backup_logs (organization_id, backup_type, status, actor_kind, actor_label)
       values ('alpha', $1, $2, 'system', 'test')`,
      [type, status],
    )
  await expect(insert('restore', 'complete')).rejects.toThrow(/backup_logs_restore_is_whole/)
  await expect(insert('undo', 'running')).rejects.toThrow(/backup_logs_undo_names_restore/)
})

test('a run keeps the events that it told, in order, and the worker changes none', async () => {
  const { rows } = await database.worker.query<{ id: string }>(
    `insert into tenantkeep.runs (kind, actor_kind, actor_label, tenant_ids)
     values ('restore', 'system', 'test', array['alpha']) returning id`,
  )
  const runId = rows[0]?.id ?? ''
  const tell = (seq: number) =>
    database.worker.query(
      'insert into tenantkeep.run_events (run_id, seq, event) values ($1, $2, $3)',
      [runId, seq, JSON.stringify({ phase: 'writing', table: null })],
    )
  await tell(1)
  await tell(2)
  await expect(tell(2)).rejects.toThrow(/run_events_pkey/)
  await expect(tell(0)).rejects.toThrow(/run_events_counted_from_one/)
  // It deletes them where a tenant is forgotten.
  await expect(
    database.worker.query(`update tenantkeep.run_events set event = '{}'`),
  ).rejects.toThrow(/permission denied/)
})
