import { afterEach, describe, expect, test } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { compareBackups } from '../../../src/core/compare/compare-backups.ts'
import type { Comparison } from '../../../src/core/compare/comparison.ts'
import { startCompareRun } from '../../../src/core/compare/comparison-record.ts'
import type { BackupSource } from '../../../src/core/restore/backup-source.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { runScript } from '../../../src/local/hosted-shape.ts'
import { RESTORED_SCHEMAS } from '../../odd-schemas/restored-schemas.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { BUILT_IN_TYPES } from '../../support/built-in-types.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { protect } from '../../support/restore-trial.ts'
import { ALPHA, installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let store: TestStore
afterEach(async () => {
  await database?.drop()
  await store?.remove()
})

/** Every table is read from the backup and compared row by row, though its digest says that it is equal. */
async function compareAll(tenantId: string, change = 'select'): Promise<Comparison> {
  store = await createTestStore()
  const services = servicesOf(database.worker, store.store)
  const { backup } = await takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })
  const runId = await startCompareRun(database.worker, {
    actor: SYSTEM,
    tenantId,
    tenantName: null,
    request: { backup_id: backup.id, with_backup_id: null, tables: null },
  })
  const source = await openBackup(services, backup)
  await database.admin.query(change)
  return compareBackups(services, {
    tenantId,
    source: withoutDigests(source),
    against: 'live',
    maxRows: 100_000,
    runId,
  })
}

function withoutDigests(source: BackupSource): BackupSource {
  const tables = source.summary.tables.map((table) => ({
    ...table,
    parts: table.parts.map((part) => ({ ...part, raw_sha256: '' })),
  }))
  const parts = new Map(
    source.summary.tables.flatMap((table) => table.parts).map((part) => [part.path, part]),
  )
  return {
    ...source,
    summary: { ...source.summary, tables },
    readPart: (part, signal) => source.readPart(parts.get(part.path) ?? part, signal),
  }
}

/** No difference where there is none, and no table passed over or read as texts. */
function expectEqual(comparison: Comparison): void {
  expect(comparison.isEqual).toBe(true)
  expect(
    comparison.tables.filter(
      ({ isCompared, isByText, equal, rowsInBackup, rowsInOther }) =>
        !isCompared || isByText || equal !== rowsInBackup || equal !== rowsInOther,
    ),
  ).toEqual([])
  expect(comparison.tables.some(({ rowsInBackup }) => rowsInBackup > 0)).toBe(true)
}

describe('rows that nobody touched are equal, read and compared one by one', () => {
  test.each(RESTORED_SCHEMAS.map((schema) => [schema.shape, schema] as const))(
    'of %s',
    async (_, { sql, options, tenants }) => {
      database = await createTestDatabase()
      await runScript(database.adminUrl, sql)
      await protect(database, options)

      expectEqual(await compareAll(tenants[0]))
    },
  )

  test('of the demonstration', async () => {
    database = await createTestDatabase({ template: 'demo' })
    const { rows } = await database.superuser.query<{ id: string }>(
      `select o.id::text as id from public.organizations o
       order by (select count(*) from public.customers c where c.organization_id = o.id) limit 1`,
    )

    expectEqual(await compareAll(rows[0]?.id ?? ''))
  })

  test('of every built-in type, with a key and without', async () => {
    await installAllTypes()

    expectEqual(await compareAll(ALPHA))
  })
})

test('every built-in type can be shown', async () => {
  await installAllTypes()

  const { tables } = await compareAll(ALPHA, 'truncate shop.keyed, shop.keyless')

  const gone = tables.filter(({ onlyInBackup }) => onlyInBackup > 0)
  expect(gone.map(({ name }) => name)).toEqual(['shop.keyed', 'shop.keyless'])
  const { rows } = await database.superuser.query<{ shown: number; inserted: number }>(
    `select (select count(distinct c ->> 'name')::int from tenantkeep.comparison_rows, jsonb_array_elements(columns) c
       where table_name = 'shop.keyed' and c ->> 'before' is not null and c ->> 'name' like 'c%') as shown,
       (select count(*)::int from information_schema.columns
        where table_schema = 'shop' and table_name = 'keyed' and column_name like 'c%') as inserted`,
  )
  expect(rows[0]?.shown).toBe(rows[0]?.inserted)
})

/** Two tables with a column of every type, and a row for every value. */
async function installAllTypes(): Promise<void> {
  database = await createTestDatabase()
  const types = Object.entries(BUILT_IN_TYPES).map(
    ([name, samples]) => [name === 'char' ? '"char"' : name, samples] as const,
  )
  const columns = types.map(([name], i) => `c${i} ${name}`).join(', ')
  const inserts = types.flatMap(([name, { values }], i) =>
    ['keyed', 'keyless'].flatMap((table) =>
      values.map(
        (value) =>
          `insert into shop.${table} (tenant_id, c${i}) values ('alpha', '${value.replaceAll("'", "''")}'::${name});`,
      ),
    ),
  )
  await installSmallHost(
    database,
    `create table shop.keyed (id int generated always as identity primary key,
         tenant_id text not null references shop.tenants (id), ${columns});
       create table shop.keyless (tenant_id text not null references shop.tenants (id), ${columns});
       ${inserts.join('\n')}`,
  )
}
