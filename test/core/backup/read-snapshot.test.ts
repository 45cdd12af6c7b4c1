import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestTables } from '../../../src/core/backup/digest-tables.ts'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import {
  confineSession,
  openSnapshot,
  type Snapshot,
  type SnapshotOptions,
} from '../../../src/core/backup/read-snapshot.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import type { Connection } from '../../../src/core/database/database.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { ALPHA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
beforeAll(async () => {
  database = await createTestDatabase()
  store = await createTestStore()
  await installSmallHost(database)
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

async function inSnapshot<T>(
  options: Partial<SnapshotOptions>,
  use: (connection: Connection, snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  return database.worker.withConnection(async (connection) => {
    const given = { tenantId: ALPHA, lockTimeoutMs: 1_000, ...options }
    const snapshot = await openSnapshot(connection, given)
    const result = await use(connection, snapshot)
    await connection.query('rollback')
    return result
  })
}

const MAKE_TEMP = 'create temp table tenantkeep_probe as select 1 as one'

describe('a snapshot', () => {
  test('takes no temp tables unless it is a look', async () => {
    const refused = inSnapshot({}, (connection) => connection.query(MAKE_TEMP))
    await expect(refused).rejects.toThrow(/read-only transaction/)

    const { rows } = await inSnapshot({ isReadOnly: false }, async (connection) => {
      await connection.query(MAKE_TEMP)
      return connection.query(
        'select one, (select count(*)::int from shop.accounts) from tenantkeep_probe',
      )
    })
    expect(rows).toEqual([{ one: 1, count: 20 }])
  })

  test('refuses a tenant that is not there, unless it may be missing', async () => {
    const tenantId = 'nobody'
    await expect(inSnapshot({ tenantId }, async () => {})).rejects.toMatchObject({
      code: 'tenant_not_found',
    })
    const seen = await inSnapshot(
      { tenantId, mayBeMissing: true },
      async (connection, snapshot) => {
        const { rows } = await connection.query('select from shop.accounts')
        return [rows.length, [...snapshot.census.values()]]
      },
    )
    expect(seen).toEqual([0, [0, 0, 0, 0, 0]])
  })
})

describe('a confined session', () => {
  const writing = { isolation: 'read committed', isReadOnly: false } as const

  async function begun(
    begin: string,
    tenantId = ALPHA,
    expected: Parameters<typeof confineSession>[2] = writing,
  ) {
    return database.worker.withConnection(async (connection) => {
      await connection.query(begin)
      await confineSession(connection, tenantId, expected)
      const { rows } = await connection.query<{ tenant: string }>(
        'select distinct tenant_id as tenant from shop.accounts',
      )
      await connection.query('rollback')
      return rows.map((row) => row.tenant)
    })
  }

  test('sees one tenant in a transaction that writes', async () => {
    expect(await begun('begin isolation level read committed read write')).toEqual([ALPHA])
    expect(
      await begun(
        'begin; select tenantkeep.silence_triggers(); set local role tenantkeep_operator',
      ),
    ).toEqual([ALPHA])
  })

  test.each([
    ['begin isolation level repeatable read'],
    ['begin isolation level serializable'],
    ['begin read only'],
    ['begin; set local row_security = off'],
  ])('is refused in a transaction of another kind: %s', async (begin) => {
    await expect(begun(begin)).rejects.toMatchObject({ code: 'confinement_broken' })
  })

  test('is refused where a look is expected and something else began', async () => {
    const look = { isolation: 'repeatable read', isReadOnly: true } as const
    await expect(begun('begin isolation level repeatable read', ALPHA, look)).rejects.toMatchObject(
      {
        code: 'confinement_broken',
      },
    )
  })
})

describe('digests', () => {
  test('are those of a backup of the same rows, however many parts', async () => {
    await database.admin.query(
      `insert into shop.entries (account_id, note)
       select min(id), repeat(i::text, 2000000) from shop.accounts, generate_series(100000, 100003) i
       where tenant_id = 'alpha' group by i`,
    )
    const services = servicesOf(database.worker, store.store)
    const { backup } = await takeBackup(services, {
      tenantId: ALPHA,
      backupType: 'manual',
      actor: SYSTEM,
    })
    const { tables } = await loadSummary(services, backup)
    const told: string[] = []

    const digests = await inSnapshot({}, (connection, snapshot) =>
      digestTables(connection, snapshot, {
        maxRowBytes: 1024 ** 3,
        onProgress: ({ table, rowsDone, rowsTotal }) =>
          told.push(`${table} ${rowsDone} ${rowsTotal}`),
      }),
    )

    expect([...digests]).toEqual(
      tables.map((table) => [
        table.name,
        { rows: table.rows, rawSha256: table.parts.map((part) => part.raw_sha256) },
      ]),
    )
    expect(digests.get('shop.entries')?.rawSha256.length).toBeGreaterThan(1)
    expect(told).toContain('shop.entries 64 64')
  })

  test('change with a row, and with its table only', async () => {
    const read = () =>
      inSnapshot({}, (connection, snapshot) =>
        digestTables(connection, snapshot, { maxRowBytes: 1024 ** 3 }),
      )
    const before = await read()
    await database.admin.query(
      `update shop.pockets set balance = balance + 1 where tenant_id = 'alpha'`,
    )

    const after = await read()

    const changed = [...after].filter(([label, digest]) => {
      return digest.rawSha256.join() !== before.get(label)?.rawSha256.join()
    })
    expect(changed.map(([label]) => label)).toEqual(['shop.pockets'])
  })

  test('store nothing, refuse rows that are too large, and stop when told to', async () => {
    const objects = await store.store.list('tenant-backups/')
    const digest = (maxRowBytes: number, signal?: AbortSignal) =>
      inSnapshot({}, (connection, snapshot) =>
        digestTables(connection, snapshot, { maxRowBytes, signal }),
      )

    await digest(1024 ** 3)
    await expect(digest(1_000)).rejects.toMatchObject({ code: 'row_too_large' })
    await expect(digest(1024 ** 3, AbortSignal.abort())).rejects.toMatchObject({
      code: 'backup_cancelled',
    })

    expect(await store.store.list('tenant-backups/')).toEqual(objects)
  })
})
