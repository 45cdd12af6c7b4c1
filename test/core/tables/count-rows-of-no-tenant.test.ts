import { afterAll, beforeAll, expect, test } from 'vitest'
import { countRowsOfNoTenant } from '../../../src/core/tables/count-rows-of-no-tenant.ts'
import { initialiseProtection } from '../../../src/core/tables/initialise-protection.ts'
import { readMeasurements } from '../../../src/core/tables/record-state.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(
    database,
    `create table shop."odd $1" (
       id int primary key, "account $1" bigint not null references shop.accounts (id)
     );
     insert into shop."odd $1" select id, id from shop.accounts;`,
  )
  const report = await initialiseProtection(database.admin, {
    tenantTable: 'shop.tenants',
    tenantColumns: ['tenant_id'],
    schemas: ['shop'],
    answers: {
      custom: [`shop.events=tenant_id = {tenant} and body ->> 'n' <> '2' and '$1' <> 'x'`],
    },
    enableRowSecurity: true,
  })
  if (!report.isApplied) throw new Error('init did not end')
})
afterAll(() => database?.drop())

const count = (budget = { perTable: 10_000, inAll: 60_000 }) =>
  database.worker.withConnection((connection) => countRowsOfNoTenant(connection, budget))

test('counts what no tenant reaches, whatever the names and literals of the path look like', async () => {
  const { counted, failed } = await count()

  expect(failed).toEqual([])
  expect(counted.size).toBe(6)
  const measured = await readMeasurements(database.worker)
  const found = measured.map((table) => [table.name, table.rows, table.rowsWithoutTenant])
  expect(found).toEqual([
    ['accounts', 40, 0],
    ['entries', 120, 0],
    ['events', 18, 6],
    ['odd $1', 40, 0],
    ['pockets', 40, 0],
    ['tenants', 2, 0],
  ])
})

test('goes on where a short time ended, with the oldest count first', async () => {
  await database.admin.query(
    `update tenantkeep.table_measurements set measured_at = '2026-01-01' where table_name = 'pockets'`,
  )
  const { counted } = await count({ perTable: 10_000, inAll: 0.0001 })
  expect([...counted]).toEqual([])
  await count()
  const measured = await readMeasurements(database.worker)
  expect(measured.every(({ measuredAt }) => (measuredAt ?? '') > '2026-01-02')).toBe(true)
})

test('is the worker’s to ask and nobody else’s, and gives no row', async () => {
  const { rows } = await database.admin.query<{ mayAsk: boolean; others: boolean }>(
    `select has_function_privilege('tenantkeep_worker', f, 'execute') as "mayAsk",
       has_function_privilege('tenantkeep_operator', f, 'execute')
         or has_function_privilege('authenticated', f, 'execute') as others
     from (values ('tenantkeep.measure_table(text, text)'::regprocedure)) as v (f)`,
  )
  expect(rows).toEqual([{ mayAsk: true, others: false }])
  const { rows: none } = await database.worker.query(
    `select * from tenantkeep.measure_table('public', 'tenant_backups')`,
  )
  expect(none).toEqual([])
})
