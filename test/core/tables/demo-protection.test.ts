import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  initialiseProtection,
  type ProtectionReport,
} from '../../../src/core/tables/initialise-protection.ts'
import { readGaps } from '../../../src/core/tables/read-gaps.ts'
import { readProtectionFaults } from '../../../src/core/tables/read-protection-faults.ts'
import { createDemoUsers } from '../../../supabase/demo/create-demo-users.ts'
import { listDemoPeople } from '../../../supabase/demo/demo-tenants.ts'
import { type DemoReport, generateDemo } from '../../../supabase/demo/generate.ts'
import { installDemo } from '../../../supabase/demo/install-demo.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import {
  countAsOperator,
  deleteAndInsertAgain,
  expectWritesConfined,
  takeCensus,
  tryToEscape,
} from './confinement.ts'

const OPTIONS = { tenantTable: 'public.organizations', tenantColumns: ['organization_id'] }

let database: TestDatabase
let demo: DemoReport
let report: ProtectionReport
let tenants: string[]

beforeAll(async () => {
  database = await createTestDatabase()
  await database.superuser.withConnection((session) => createDemoUsers(session, listDemoPeople()))
  demo = await database.admin.withConnection(async (session) => {
    await installDemo(session)
    return generateDemo(session, { rows: 600 })
  })
  tenants = demo.tenants.map((tenant) => tenant.id)
  report = await initialiseProtection(database.admin, OPTIONS)
})

afterAll(() => database?.drop())

describe('the demonstration under protection', () => {
  it('has a class for every table, and no row without a tenant', () => {
    expect(report).toMatchObject({ isApplied: true, unsettled: [], vanished: [] })
    const paths = Object.fromEntries(report.tables.map((table) => [table.name, table.path]))
    expect(paths).toMatchObject({
      organizations: 'organizations.id',
      customers: 'customers.organization_id',
      invoice_line_items: 'invoice_line_items.invoice_id → rental_invoices.organization_id',
      verified_orders:
        'verified_orders.sales_order_id+line_number → sales_order_items.sales_order_id → sales_orders.organization_id',
      'Price List 2025': 'Price List 2025.organization_id',
    })
    expect(report.tables).toHaveLength(25)
    expect(report.tables.filter((table) => table.rowsWithoutTenant !== 0)).toEqual([])
    expect(report.tables.reduce((sum, table) => sum + table.rows, 0)).toBe(demo.rows)
  })

  it('has no fault and no gap', async () => {
    expect(await readProtectionFaults(database.worker)).toEqual([])
    expect(await readGaps(database.worker)).toEqual([])
  })

  it('shows census and operator the same rows of every table: those that were made for the tenant', async () => {
    for (const tenant of demo.tenants) {
      expect(await takeCensus(database.worker, tenant.id)).toEqual(tenant.tables)
      expect(await countAsOperator(database, tenant.id)).toEqual(tenant.tables)
    }
  })

  it('shows the operator nothing while no tenant is set, or an empty one', async () => {
    for (const tenant of [null, '']) {
      const counts = await countAsOperator(database, tenant)
      expect(new Set(Object.values(counts))).toEqual(new Set([0]))
    }
  })

  it('confines update and delete without a condition to the tenant’s rows', async () => {
    for (const tenant of tenants) {
      await expectWritesConfined(
        database,
        tenant,
        tenants.filter((other) => other !== tenant),
      )
    }
  })

  it('refuses foreign rows, rows of nobody and re-pointed rows in every table', async () => {
    const [tenant = '', neighbour = ''] = tenants
    expect(await tryToEscape(database, tenant, neighbour)).toEqual({ tried: 75, allowed: [] })
  })

  it('takes a whole tenant out and puts it back in the order of ownership, triggers silent', async () => {
    for (const tenant of tenants) expect(await deleteAndInsertAgain(database, tenant)).toEqual([])
  })

  it('stays closed when the host opens every table to everybody', async () => {
    const [tenant = '', neighbour = ''] = tenants
    const before = await takeCensus(database.worker, tenant)
    await database.admin.query(openAll)
    expect(await countAsOperator(database, tenant)).toEqual(before)
    await expectWritesConfined(database, tenant, [neighbour])
    expect((await tryToEscape(database, tenant, neighbour)).allowed).toEqual([])
    await database.admin.query(closeAll)
  })
})

const openAll = `
  do $$
  declare t record;
  begin
    for t in select schemaname, tablename from pg_tables
      where schemaname = 'public' and tablename not in ('tenant_backups', 'backup_logs')
    loop
      execute format('create policy aa_open on %I.%I to public using (true) with check (true)',
        t.schemaname, t.tablename);
    end loop;
  end $$`
const closeAll = openAll
  .replace('create policy', 'drop policy')
  .replace(' to public using (true) with check (true)', '')
