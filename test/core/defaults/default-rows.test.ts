import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  deleteDefaultRow,
  insertDefaultRow,
  listDefaultTables,
  readDefaultRows,
  saveDefaultRow,
} from '../../../src/core/defaults/default-rows.ts'
import type { Services } from '../../../src/core/services.ts'
import { loadDemoTemplate } from '../../../src/local/load-demo.ts'
import { DEMO_TEMPLATE_TENANT } from '../../../supabase/demo/demo-tenants.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import {
  type OthersPhotograph,
  photographOthers,
  readOwns,
} from '../../support/expect-others-equal.ts'

let database: TestDatabase
let store: TestStore
let services: Services
let others: OthersPhotograph
beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  await loadDemoTemplate(database.adminUrl)
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
  others = await photographOthers(database, DEMO_TEMPLATE_TENANT.id, await readOwns(database))
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

const PRICES = 'Price List 2025'
const input = { actor: SYSTEM, table: PRICES }
const keyOf = (article: string) => ({
  organization_id: DEMO_TEMPLATE_TENANT.id,
  'Article No.': article,
})

async function find(article: string) {
  const { rows } = await readDefaultRows(services, { table: PRICES, offset: 0, limit: 200 })
  const found = rows.find(({ key }) => key['Article No.'] === article)
  if (found === undefined) throw new Error(`There is no ${article}.`)
  return found
}

test('lists the tables that take part, with rows counted and columns described for a form', async () => {
  const { template, tables } = await listDefaultTables(services)

  expect(template.id).toBe(DEMO_TEMPLATE_TENANT.id)
  expect(Object.fromEntries(tables.map(({ name, rows }) => [name, rows]))).toEqual({
    customers: 2,
    gas_types: 8,
    locations: 3,
    'Price List 2025': 12,
    sales_orders: 1,
    sales_order_items: 3,
  })
  const items = tables.find(({ name }) => name === 'sales_order_items')
  expect(items?.columns[0]).toEqual({
    ...{ name: 'sales_order_id', type: 'uuid', isNullable: false, isKey: true, hasDefault: false },
    ...{ isReadOnly: false, isMasked: false, allowed: null },
    refersTo: { table: 'sales_orders', column: 'id' },
  })
})

test('a table that can’t be read says why, and hides no other', async () => {
  await database.admin.query('revoke select on public.locations from tenantkeep_operator')
  const { tables } = await listDefaultTables(services)
  await database.admin.query('grant select on public.locations to tenantkeep_operator')

  const [locations] = tables.filter(({ name }) => name === 'locations')
  expect(locations).toMatchObject({
    rows: null,
    unreadable: expect.stringContaining('tenantkeep init'),
  })
  expect(tables.filter(({ rows }) => rows !== null)).toHaveLength(5)
})

test('pages through the rows, and finds some by a part of a value', async () => {
  const first = await readDefaultRows(services, { table: 'gas_types', offset: 0, limit: 5 })
  const second = await readDefaultRows(services, { table: 'gas_types', offset: 5, limit: 5 })
  const found = await readDefaultRows(services, {
    table: 'gas_types',
    offset: 0,
    limit: 5,
    search: 'ARGON',
  })

  expect([first.rows.length, first.total, first.nextCursor]).toEqual([5, 8, 5])
  expect([second.rows.length, second.nextCursor]).toEqual([3, null])
  expect(found.rows.map(({ key }) => key.code)).toEqual(['AR', 'MIX-18'])
})

test('of two who edit one row the second is shown what the first saved, and nothing is lost', async () => {
  const seen = await find('HE-10')

  const first = await saveDefaultRow(services, {
    ...{ ...input, key: seen.key, version: seen.version, note: 'Helium is dear' },
    values: { 'Net Price (€)': '104.5' },
  })
  const second = await saveDefaultRow(services, {
    ...{ ...input, key: seen.key, version: seen.version },
    values: { 'Net Price (€)': '1', order: '99' },
  })

  expect(first.isSaved).toBe(true)
  expect(second).toEqual({ isSaved: false, row: first.row })
  expect((await find('HE-10')).values['Net Price (€)']).toBe('104.5000')
  const { rows } = await database.admin.query(
    `select organization_id, note, actor_label, details from public.backup_logs where backup_type = 'defaults'`,
  )
  expect(rows).toEqual([
    {
      ...{ organization_id: DEMO_TEMPLATE_TENANT.id, note: 'Helium is dear', actor_label: 'test' },
      details: { table: PRICES, action: 'update', columns: ['Net Price (€)'] },
    },
  ])
})

test('adds a row under the template, changes its key, and deletes it', async () => {
  const added = await insertDefaultRow(services, {
    ...{ ...input, values: { 'Article No.': 'NEW-1', 'Net Price (€)': '3' } },
  })
  const renamed = await saveDefaultRow(services, {
    ...{ ...input, key: added.row?.key ?? {}, version: added.row?.version ?? '' },
    values: { 'Article No.': 'NEW-2' },
  })
  const stale = await deleteDefaultRow(services, {
    ...{ ...input, key: renamed.row?.key ?? {}, version: added.row?.version ?? '' },
  })
  const gone = await deleteDefaultRow(services, {
    ...{ ...input, key: renamed.row?.key ?? {}, version: renamed.row?.version ?? '' },
  })

  expect(added.row?.key).toEqual(keyOf('NEW-1'))
  expect(renamed.row?.key).toEqual(keyOf('NEW-2'))
  expect(stale.isSaved).toBe(false)
  expect(gone).toEqual({ isSaved: true, row: null })
  await expect(find('NEW-2')).rejects.toThrow()
})

test('adds a row once for each key of a request', async () => {
  const yard = { actor: SYSTEM, table: 'locations', values: { name: 'Yard of the retry' } }
  const first = await insertDefaultRow(services, { ...yard, idempotencyKey: 'one' })
  const again = await insertDefaultRow(services, { ...yard, idempotencyKey: 'one' })
  const other = await insertDefaultRow(services, { ...yard, idempotencyKey: 'two' })

  expect(first.row?.label).toBe('Yard of the retry')
  expect(again).toEqual({ isSaved: true, row: null })
  expect(other.row?.key).not.toEqual(first.row?.key)
  const search = { table: 'locations', offset: 0, limit: 5, search: 'of the retry' }
  expect(await readDefaultRows(services, search)).toMatchObject({ total: 2 })
})

test('takes arrays, json and intervals as Postgres writes them, and gives them back the same', async () => {
  const { rows } = await readDefaultRows(services, { table: 'locations', offset: 0, limit: 1 })
  const [yard] = rows
  const text = '{"mon": "07:00",\n "mon": 1.50}'

  const saved = await saveDefaultRow(services, {
    ...{ actor: SYSTEM, table: 'locations', key: yard?.key ?? {}, version: yard?.version ?? '' },
    values: { opening_hours: text, coordinates: '{53.5,NaN}', address: null },
  })

  expect(saved.row?.values).toMatchObject({
    opening_hours: text,
    coordinates: '{53.5,NaN}',
    address: null,
  })
})

test('names every column that is wrong at once, and what the database refuses, without a value', async () => {
  const seen = await find('O2-10')
  const wrong = await saveDefaultRow(services, {
    ...{ ...input, key: seen.key, version: seen.version },
    values: {
      ...{ 'Net Price (€)': 'dear', order: null, colour: 'red' },
      organization_id: 'a0000000-0000-4000-8000-000000000001',
    },
  }).catch((error: unknown) => error)
  const twice = await insertDefaultRow(services, {
    ...{ ...input, values: { 'Article No.': 'O2-10', 'Net Price (€)': '1' } },
  }).catch((error: unknown) => error)
  const elsewhere = await readDefaultRows(services, {
    table: 'bottles',
    offset: 0,
    limit: 1,
  }).catch((error: unknown) => error)

  expect(wrong).toHaveProperty('details.columns', [
    { column: 'Net Price (€)', reason: 'no value of the type numeric(12,4)' },
    { column: 'order', reason: 'may not be null' },
    { column: 'colour', reason: 'there is no such column' },
    { column: 'organization_id', reason: 'can’t be edited' },
  ])
  expect(wrong).toHaveProperty('message', expect.not.stringContaining('dear'))
  expect(twice).toHaveProperty('message', expect.stringContaining('another row has this value'))
  expect(elsewhere).toHaveProperty('message', expect.stringContaining('takes no part'))
  expect(await find('O2-10')).toEqual(seen)
  await others.expectEqual()
})
