import { afterAll, beforeAll, expect, test } from 'vitest'
import { DEMO_TABLES } from '../../supabase/demo/plan-rows.ts'
import { createDemoDatabase } from './create-demo-database.ts'

let demo: Awaited<ReturnType<typeof createDemoDatabase>>
beforeAll(async () => {
  demo = await createDemoDatabase({ tenants: 1, rows: 0 })
})
afterAll(() => demo?.drop())

/** Names found by a query over the catalog; `t` is the table, limited to the demonstration's. */
async function find(select: string): Promise<string[]> {
  const { rows } = await demo.admin.query<{ found: string }>(
    `with demo_tables as (
       select oid, relname, relnamespace, relrowsecurity from pg_class
       where relnamespace = 'public'::regnamespace and relname = any ($1)
     ) ${select} order by found`,
    [DEMO_TABLES],
  )
  return rows.map(({ found }) => found)
}

const columnsOfType = (condition: string) =>
  find(`select t.relname || '.' || a.attname as found
        from demo_tables t
        join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
        join pg_type y on y.oid = a.atttypid
        where ${condition}`)

test('the tables are the 24 of the product it was first written for, and one more', async () => {
  const found = await find('select t.relname as found from demo_tables t')

  expect(found).toHaveLength(25)
  expect(found.filter((name) => /[^a-z_]/.test(name))).toEqual(['Price List 2025'])
})

test('row level security is on everywhere', async () => {
  expect(await find('select relname as found from demo_tables t where not relrowsecurity')).toEqual(
    [],
  )
})

test('children without organization_id are there, one of them two steps away', async () => {
  const found = await find(
    `select t.relname as found from demo_tables t
     where t.relname <> 'organizations' and not exists (
       select from pg_attribute where attrelid = t.oid and attname = 'organization_id')`,
  )

  expect(found).toEqual([
    'invoice_line_items',
    'sales_order_items',
    'support_ticket_messages',
    'verified_orders',
  ])
})

test('every direct table has a tenant column that is not null and refers to organizations', async () => {
  const found = await find(
    `select t.relname as found from demo_tables t
     join pg_attribute a on a.attrelid = t.oid and a.attname = 'organization_id'
     where not a.attnotnull or not exists (
       select from pg_constraint c where c.conrelid = t.oid and c.contype = 'f'
         and c.confrelid = 'public.organizations'::regclass and c.conkey = array[a.attnum])`,
  )

  expect(found).toEqual([])
})

test('every foreign key and tenant column leads an index', async () => {
  const found = await find(
    `select c.conname as found from demo_tables t
     join pg_constraint c on c.conrelid = t.oid and c.contype = 'f'
     where not exists (
       select from pg_index i where i.indrelid = t.oid and i.indpred is null
         and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)`,
  )

  expect(found).toEqual([])
})

test('a table refers to itself', async () => {
  const found = await find(
    `select c.conname as found from demo_tables t
     join pg_constraint c on c.conrelid = t.oid and c.confrelid = t.oid and c.contype = 'f'`,
  )

  expect(found).toEqual(['customers_parent_customer_id_fkey'])
})

test('two tables refer to each other', async () => {
  const found = await find(
    `select distinct least(a.conrelid::regclass::text, a.confrelid::regclass::text) || ' and ' ||
       greatest(a.conrelid::regclass::text, a.confrelid::regclass::text) as found
     from demo_tables t
     join pg_constraint a on a.conrelid = t.oid and a.contype = 'f' and a.confrelid <> a.conrelid
     join pg_constraint b on b.conrelid = a.confrelid and b.confrelid = a.conrelid and b.contype = 'f'`,
  )

  expect(found).toEqual(['bottles and rentals'])
})

test('primary keys of several columns are there, and a table without any', async () => {
  const composite = await find(
    `select t.relname as found from demo_tables t
     join pg_constraint c on c.conrelid = t.oid and c.contype = 'p' and cardinality(c.conkey) > 1`,
  )
  const none = await find(
    `select t.relname as found from demo_tables t
     where not exists (select from pg_constraint c where c.conrelid = t.oid and c.contype = 'p')`,
  )
  const references = await find(
    `select c.conname as found from demo_tables t
     join pg_constraint c on c.conrelid = t.oid and c.contype = 'f' and cardinality(c.conkey) > 1`,
  )

  expect(composite).toEqual(['Price List 2025', 'gas_types', 'sales_order_items'])
  expect(none).toEqual(['ownership_values'])
  expect(references).toEqual([
    'bottles_gas_fkey',
    'cylinder_fills_gas_fkey',
    'verified_orders_item_fkey',
  ])
})

test('identity columns of both kinds and generated columns are there', async () => {
  expect(await columnsOfType("a.attidentity = 'a'")).toEqual(['audit_logs.id', 'bottle_scans.id'])
  expect(await columnsOfType("a.attidentity = 'd'")).toEqual(['cylinder_fills.id'])
  expect(await columnsOfType("a.attgenerated = 's'")).toEqual([
    'bottles.next_inspection_on',
    'invoice_line_items.amount',
    'rental_invoices.total_amount',
    'rentals.days',
  ])
})

test('partial unique indexes are there', async () => {
  const found = await find(
    `select i.indexrelid::regclass::text as found from demo_tables t
     join pg_index i on i.indrelid = t.oid and i.indisunique and i.indpred is not null`,
  )

  expect(found).toEqual(['rentals_one_open_per_bottle', 'user_invites_one_open_per_email'])
})

test('an enum and domains are there', async () => {
  expect(await columnsOfType("y.typtype = 'e'")).toEqual(['bottles.status'])
  expect(await columnsOfType("y.typname = 'barcode' and y.typtype = 'd'")).toEqual([
    'bottles.barcode',
  ])
})

test.each([
  ['text[]', 'customers.tags'],
  ['uuid[]', 'deliveries.bottle_ids'],
  ['double precision[]', 'locations.coordinates'],
  ['jsonb', 'customers.contact'],
  ['json', 'locations.opening_hours'],
  ['numeric', 'customers.balance'],
  ['numeric(38,20)', 'invoice_line_items.unit_price'],
  ['bigint', 'bottle_scans.device_serial'],
  ['bytea', 'deliveries.signature'],
  ['interval', 'gas_types.inspection_interval'],
  ['timestamp with time zone', 'rentals.contract_until'],
])('a column of type %s is there', async (type, column) => {
  expect(await columnsOfType(`format_type(a.atttypid, a.atttypmod) = '${type}'`)).toContain(column)
})

test('columns whose names need quoting are there', async () => {
  expect(await columnsOfType("a.attname !~ '^[a-z0-9_]+$' or a.attname = 'order'")).toEqual([
    'Price List 2025.Article No.',
    'Price List 2025.Net Price (€)',
    'Price List 2025.Size "L"',
    'Price List 2025.order',
    'customers.VAT No.',
  ])
})

test('auth.users is referred to', async () => {
  const found = await find(
    `select c.conname as found from demo_tables t
     join pg_constraint c on c.conrelid = t.oid and c.confrelid = 'auth.users'::regclass`,
  )

  expect(found).toEqual(['audit_logs_actor_id_fkey', 'profiles_id_fkey'])
})

test('a change writes the log, and deleting an organization takes everything along', async () => {
  const changed = await demo.admin.query<{ id: string }>(
    `update public.customers set notes = 'changed' where customer_number = 'C-000002' returning id`,
  )
  const logged = await demo.admin.query(
    `select table_name, record_id, action, new_record ->> 'notes' as notes, old_record ->> 'notes' <> 'changed' as "wasOther"
     from public.audit_logs order by id desc limit 1`,
  )
  await demo.admin.query('delete from public.organizations')
  const left = await demo.admin.query<{ rows: string }>(
    `select sum(rows) as rows from (${DEMO_TABLES.map((table) => `select count(*) as rows from public."${table}"`).join(' union all ')}) counts`,
  )

  expect(logged.rows).toEqual([
    {
      table_name: 'customers',
      record_id: changed.rows[0]?.id,
      action: 'update',
      notes: 'changed',
      wasOther: true,
    },
  ])
  expect(left.rows).toEqual([{ rows: '0' }])
})
