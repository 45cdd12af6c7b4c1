import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadSummary } from '../../../src/core/backup/load-summary.ts'
import { openSnapshot } from '../../../src/core/backup/read-snapshot.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import type { Connection, Database } from '../../../src/core/database/database.ts'
import type { Services } from '../../../src/core/services.ts'
import type { ProtectedTable } from '../../../src/core/tables/protected-table.ts'
import { readProtectedTables } from '../../../src/core/tables/read-protected-tables.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { readRows } from '../../support/load-from-file.ts'

let database: TestDatabase
let store: TestStore
let services: Services
let tenants: string[]
let tables: ProtectedTable[]
beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  const { rows } = await database.worker.query<{ id: string }>(
    'select tenant_id as id from tenantkeep.list_tenants() order by 1',
  )
  tenants = rows.map((row) => row.id)
  tables = await readProtectedTables(database.worker)
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

/** A tenant's rows as the owner sees them, past row level security. */
async function readOwnRows(table: ProtectedTable, tenantId: string): Promise<string[]> {
  const { rows: census } = await database.admin.query<{ expression: string }>(
    `select census_expression as expression from tenantkeep.tenant_tables
     where schema_name = $1 and table_name = $2`,
    [table.schema, table.name],
  )
  const condition = census[0]?.expression ?? 'false'
  const { rows } = await database.admin.query<{ row: string }>(
    `select row_to_json(t)::jsonb::text as row from ${table.relation} t where ${condition} order by 1`,
    [tenantId],
  )
  return rows.map((row) => row.row)
}

test('the backup of a tenant holds its rows and no row of another, in every table', async () => {
  const counted = new Map<string, number>()
  for (const tenantId of tenants) {
    const { backup } = await takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })
    const summary = await loadSummary(services, backup)
    expect(summary.tables.map((table) => table.name)).toEqual(tables.map((table) => table.label))
    for (const table of tables) {
      const rows = await readRows(store.folder, summary, table.label)
      const column = table.columns.find((candidate) => candidate.name === 'organization_id')
      if (column !== undefined) {
        expect(new Set(rows.map((row) => row.organization_id)).size).toBeLessThanOrEqual(1)
        expect(rows.filter((row) => row.organization_id !== tenantId)).toEqual([])
      }
      expect(rows.length).toBe((await readOwnRows(table, tenantId)).length)
      counted.set(table.label, (counted.get(table.label) ?? 0) + rows.length)
    }
  }
  // Together the backups hold every row that has an owner: nothing fell between two tenants.
  for (const table of tables) {
    const { rows } = await database.admin.query<{ count: number }>(
      `select count(*)::int as count from ${table.relation}`,
    )
    expect(counted.get(table.label), table.label).toBeLessThanOrEqual(rows[0]?.count ?? 0)
    if (table.class === 'root') expect(counted.get(table.label)).toBe(rows[0]?.count)
  }
})

test('the worker reads no table of the host, with or without a tenant', async () => {
  for (const table of tables) {
    await expect(database.worker.query(`select 1 from ${table.relation}`)).rejects.toThrow(
      /permission denied/,
    )
    await expect(
      database.worker.query(
        `select set_config('tenantkeep.tenant', '${tenants[0]}', false);
         select 1 from ${table.relation}`,
      ),
    ).rejects.toThrow(/permission denied/)
  }
})

test('as the operator without a tenant there is not a single row', async () => {
  await database.worker.withConnection(async (session) => {
    await session.query('begin; set local role tenantkeep_operator')
    for (const table of tables) {
      const { rows } = await session.query(`select 1 from ${table.relation} limit 1`)
      expect(rows, table.label).toEqual([])
    }
    await session.query('rollback')
  })
})

async function withSnapshot(use: (session: Connection) => Promise<void>): Promise<void> {
  await database.worker.withConnection(async (session) => {
    await openSnapshot(session, { tenantId: tenants[0] ?? '', lockTimeoutMs: 1000 })
    await use(session)
    await session.query('rollback')
  })
}

test('in the transaction of a backup nothing can be written', async () => {
  await withSnapshot(async (session) => {
    for (const table of tables) {
      await session.query('savepoint s')
      await expect(session.query(`delete from ${table.relation}`)).rejects.toThrow(/read-only/)
      await session.query('rollback to s')
    }
    await expect(session.query('create temp table t (n int)')).rejects.toThrow(/read-only/)
    await session.query('rollback to s')
    await expect(session.query('set transaction read write')).rejects.toThrow()
  })
})

test('in the transaction of a backup only the tenant is seen, whatever is asked', async () => {
  await withSnapshot(async (session) => {
    for (const table of tables) {
      const { rows } = await session.query<{ count: number }>(
        `select count(*)::int as count from ${table.relation}`,
      )
      expect(rows[0]?.count, table.label).toBe((await readOwnRows(table, tenants[0] ?? '')).length)
    }
  })
})

test('a host policy to public using (true) opens nothing', async () => {
  const before = new Map<string, number>()
  const { backup } = await takeBackup(services, {
    tenantId: tenants[1] ?? '',
    backupType: 'manual',
    actor: SYSTEM,
  })
  for (const table of (await loadSummary(services, backup)).tables)
    before.set(table.name, table.rows)

  for (const table of tables) {
    await database.admin.query(`create policy aaa_open on ${table.relation} to public using (true)`)
  }
  const opened = await takeBackup(services, {
    tenantId: tenants[1] ?? '',
    backupType: 'manual',
    actor: SYSTEM,
  })
  const { tables: after } = await loadSummary(services, opened.backup)
  expect(new Map(after.map((table) => [table.name, table.rows]))).toEqual(before)
  expect(opened.backup.changes?.tables).toEqual([])
  for (const table of tables)
    await database.admin.query(`drop policy aaa_open on ${table.relation}`)
})

/** What somebody may do to our protection between two nights. */
const DAMAGES: [string, string][] = [
  ['row level security switched off', 'alter table customers disable row level security'],
  ['the restrictive policy dropped', 'drop policy zz_tenantkeep_only on customers'],
  ['the policy widened', 'alter policy zz_tenantkeep_only on customers using (true)'],
]
test.each(DAMAGES)('%s: nothing is read, and the table is named', async (_, damage) => {
  const saved = await database.admin.query<{ using: string; check: string }>(
    `select pg_get_expr(polqual, polrelid) as using, pg_get_expr(polwithcheck, polrelid) as check
     from pg_policy where polrelid = 'customers'::regclass and polname = 'zz_tenantkeep_only'`,
  )
  await database.admin.query(damage)
  const calls: string[] = []
  await expect(
    takeBackup(services, {
      tenantId: tenants[0] ?? '',
      backupType: 'manual',
      actor: SYSTEM,
      onProgress: ({ phase }) => calls.push(phase),
    }),
  ).rejects.toMatchObject({
    code: 'confinement_broken',
    message: expect.stringMatching(/customers/),
  })
  expect(calls).not.toContain('copying')

  const { using, check } = saved.rows[0] ?? { using: 'false', check: 'false' }
  await database.admin.query(
    `alter table customers enable row level security;
     drop policy if exists zz_tenantkeep_only on customers;
     create policy zz_tenantkeep_only on customers as restrictive to tenantkeep_scope
       using (${using}) with check (${check})`,
  )
})

// The membership itself belongs to the whole cluster, which other test files use at the same time.
test('an operator that is not confined is noticed before anything is read', async () => {
  const asked: string[] = []
  const unconfined: Database = {
    ...database.worker,
    withConnection: (use) =>
      database.worker.withConnection((session) =>
        use({
          ...session,
          query: (sql, params) => {
            asked.push(sql)
            return session.query(
              sql.replace("pg_has_role('tenantkeep_operator'", "pg_has_role('tenantkeep_worker'"),
              params,
            )
          },
          copyOut: (sql) => {
            asked.push(sql)
            return session.copyOut(sql)
          },
        }),
      ),
  }
  await expect(
    takeBackup(servicesOf(unconfined, store.store), {
      tenantId: tenants[0] ?? '',
      backupType: 'manual',
      actor: SYSTEM,
    }),
  ).rejects.toMatchObject({ code: 'confinement_broken' })
  expect(asked.at(-1)).toContain('pg_has_role')
  expect(asked.filter((sql) => sql.startsWith('copy'))).toEqual([])
})
