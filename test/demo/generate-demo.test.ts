import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Queryable } from '../../src/core/database/database.ts'
import { DEMO_TENANTS } from '../../supabase/demo/demo-tenants.ts'
import { type DemoOptions, generateDemo } from '../../supabase/demo/generate.ts'
import { DEMO_TABLES, LEAST_ROWS } from '../../supabase/demo/plan-rows.ts'
import { createTestDatabase } from '../support/database.ts'
import { createDemoDatabase } from './create-demo-database.ts'

let demo: Awaited<ReturnType<typeof createDemoDatabase>>
beforeAll(async () => {
  demo = await createDemoDatabase()
})
afterAll(() => demo?.drop())

describe('sizes', () => {
  test('the default makes five tenants of clearly different size', () => {
    const sizes = demo.report.tenants.map(({ rows }) => rows)

    expect(demo.report.tenants.map(({ id, name }) => ({ id, name }))).toEqual(
      DEMO_TENANTS.map(({ id, name }) => ({ id, name })),
    )
    expect(sizes[0]).toBe(15_000)
    for (const [index, size] of sizes.slice(1).entries())
      expect(size).toBeLessThan((sizes[index] ?? 0) / 2)
    expect(sizes.at(-1)).toBe(LEAST_ROWS)
  })

  test('every table holds as many rows of all tenants as the report says', async () => {
    const promised = DEMO_TABLES.map((table) => ({
      table,
      rows: demo.report.tenants.reduce((sum, { tables }) => sum + (tables[table] ?? 0), 0),
    }))

    const { rows } = await demo.admin.query<{ table: string; rows: string }>(
      DEMO_TABLES.map(
        (table) => `select '${table}' as table, count(*) as rows from public."${table}"`,
      ).join(' union all '),
    )

    expect(rows.map(({ table, rows }) => ({ table, rows: Number(rows) }))).toEqual(promised)
  })
})

describe('the same every time', () => {
  const tiny: DemoOptions = { seed: 7, tenants: 3, rows: 300 }

  test('two runs with the same options give the same rows in every table, another seed does not', async () => {
    const digests = []
    for (const options of [tiny, tiny, { ...tiny, seed: 8 }]) {
      const database = await createDemoDatabase(options)
      digests.push(await digestTables(database.admin))
      await database.drop()
    }
    const [first, again, otherSeed] = digests

    expect(again).toEqual(first)
    const same = DEMO_TABLES.filter((table) => otherSeed?.[table] === first?.[table])
    expect(same).toEqual(['organizations', 'profiles'])
  })

  test('the session has no say in the rows', async () => {
    const usual = await createDemoDatabase(tiny)
    const strange = await createDemoDatabase({ ...tiny, tenants: 1 })
    await strange.admin.query('truncate public.organizations cascade')
    await strange.admin.withConnection(async (session) => {
      await session.query(
        `set timezone = 'America/St_Johns'; set datestyle = 'SQL, DMY';
         set intervalstyle = 'sql_standard'; set extra_float_digits = 0`,
      )
      await generateDemo(session, { ...tiny, tenants: 1 })
    })

    const inBoth = await Promise.all(
      [usual, strange].map((database) => digestTables(database.admin, DEMO_TENANTS[0]?.id)),
    )
    await Promise.all([usual.drop(), strange.drop()])

    expect(inBoth[1]).toEqual(inBoth[0])
  })
})

test('every foreign key holds, although the rows were loaded without triggers', async () => {
  const { rows: keys } = await demo.admin.query<{ name: string; orphans: string }>(
    `select c.conname as name, format(
       'select count(*) as orphans from %s c where %s and not exists (select from %s p where %s)',
       c.conrelid::regclass, string_agg(format('c.%I is not null', a.attname), ' and '),
       c.confrelid::regclass, string_agg(format('p.%I = c.%I', b.attname, a.attname), ' and ')) as orphans
     from pg_constraint c
     cross join lateral unnest(c.conkey, c.confkey) as k (own, theirs)
     join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.own
     join pg_attribute b on b.attrelid = c.confrelid and b.attnum = k.theirs
     where c.contype = 'f' and c.connamespace = 'public'::regnamespace
       and c.conrelid::regclass::text = any ($1)
     group by c.oid`,
    [DEMO_TABLES.map((table) => (table.includes(' ') ? `"${table}"` : table))],
  )
  expect(keys.length).toBeGreaterThan(40)

  const broken = []
  for (const { name, orphans } of keys) {
    const { rows } = await demo.admin.query<{ orphans: string }>(orphans)
    if (rows[0]?.orphans !== '0') broken.push(name)
  }
  expect(broken).toEqual([])
})

test('no row refers to a row of another tenant', async () => {
  const { rows } = await demo.admin.query<{ foreign: string }>(
    `select
       (select count(*) from public.bottle_scans s join public.bottles b on b.id = s.bottle_id
         where b.organization_id <> s.organization_id)
     + (select count(*) from public.rentals r join public.customers c on c.id = r.customer_id
         where c.organization_id <> r.organization_id)
     + (select count(*) from public.customers b join public.customers h on h.id = b.parent_customer_id
         where h.organization_id <> b.organization_id)
     + (select count(*) from public.invoice_line_items l
         join public.rental_invoices i on i.id = l.invoice_id join public.rentals r on r.id = l.rental_id
         where i.organization_id <> r.organization_id)
     + (select count(*) from public.verified_orders v
         join public.sales_orders o on o.id = v.sales_order_id
         join public.verification_requests q on q.id = v.verification_request_id
         where q.organization_id <> o.organization_id) as foreign`,
  )

  expect(rows).toEqual([{ foreign: '0' }])
})

test('the application goes on after the generated numbers', async () => {
  const { rows } = await demo.admin.query<{ isNext: boolean }>(
    `with scan as (
       insert into public.bottle_scans (organization_id, bottle_id, scanned_at, device_serial)
       select organization_id, id, '2025-01-01', 1 from public.bottles limit 1
       returning id
     )
     select scan.id = (select max(id) + 1 from public.bottle_scans) as "isNext" from scan`,
  )

  expect(rows).toEqual([{ isNext: true }])
})

test('people who are not in auth.users are refused, and nothing is left behind', async () => {
  const database = await createDemoDatabase({ tenants: 1, rows: 0 })
  await database.admin.query('truncate public.organizations cascade')

  const attempt = database.admin.withConnection((session) =>
    generateDemo(session, { tenants: 2, rows: 0 }),
  )

  await expect(attempt).rejects.toMatchObject({ code: '23503' })
  const { rows } = await database.admin.query('select from public.organizations')
  expect(rows).toEqual([])
  await database.drop()
})

test('the script makes tables, people and rows, and prints what it made', async () => {
  const database = await createTestDatabase()

  const { stdout } = await promisify(execFile)(process.execPath, [
    'supabase/demo/generate.ts',
    ...['--db-url', database.adminUrl, '--seed', '3', '--tenants', '2', '--json'],
    ...['--rows', '400', '--total-rows', '600', '--shape', 'flat'],
  ])
  const { rows } = await database.admin.query('select name from public.organizations order by name')
  await database.drop()

  expect(JSON.parse(stdout)).toMatchObject({ rows: 600, tenants: [{ rows: 400 }, { rows: 200 }] })
  expect(rows).toEqual([{ name: DEMO_TENANTS[1]?.name }, { name: DEMO_TENANTS[0]?.name }])
})

/**
 * Values that are hard to copy. Each condition must hold for some row of every tenant: `o` is the
 * organization of the row.
 */
const AWKWARD: [what: string, from: string, condition: string][] = [
  ['SQL null in jsonb', 'customers t', 't.contact is null'],
  ['JSON null in jsonb', 'customers t', "t.contact = 'null'"],
  ['numbers of any length in jsonb', 'customers t', "t.contact::text like '%.123456789%'"],
  ['SQL null in json', 'locations t', 't.opening_hours is null'],
  ['JSON null in json', 'locations t', "t.opening_hours::text = 'null'"],
  ['json with a line break', 'locations t', "t.opening_hours::text like e'%\\n%'"],
  ['json with a repeated key', 'sales_orders t', `t.terms::text like '%"net"%"net"%'`],
  ['numeric beyond 15 digits', 'customers t', 't.balance > 1e28 and scale(t.balance) = 21'],
  ['numeric NaN', 'customers t', "t.balance = 'NaN'"],
  ['numeric Infinity', 'customers t', "t.balance = 'Infinity'"],
  ['equal numerics of different scale', 'customers t', "t.balance::text = '100.00'"],
  ['bigint beyond 2^53', 'bottles t', 't.chip_number = 9007199254740993'],
  ['the largest bigint', 'bottle_scans t', 't.device_serial = 9223372036854775807'],
  ['the smallest bigint', 'bottle_scans t', 't.device_serial = -9223372036854775808'],
  ['empty bytea', 'deliveries t', "t.signature = ''"],
  ['bytea with zero and quote bytes', 'deliveries t', "t.signature = '\\x00ff5c2722010a0d'"],
  ['intervals of mixed sign', 'gas_types t', "t.inspection_interval::text like '1 mon -3 days%'"],
  ['timestamptz infinity', 'bottle_scans t', "t.scanned_at = 'infinity'"],
  ['timestamptz -infinity', 'rentals t', "t.contract_until = '-infinity'"],
  [
    'timestamptz with microseconds',
    'bottle_scans t',
    'isfinite(t.scanned_at) and extract(microseconds from t.scanned_at)::bigint % 1000 > 0',
  ],
  ['double precision NaN', 'cylinder_fills t', "t.volume_litres = 'NaN'"],
  ['double precision minus zero', 'cylinder_fills t', "t.volume_litres::text = '-0'"],
  [
    'arrays with nulls, quotes and backslashes',
    'customers t',
    "array_position(t.tags, null) > 0 and 'back\\slash' = any (t.tags)",
  ],
  ['empty arrays', 'customers t', "t.tags = '{}'"],
  ['arrays that do not start at 1', 'customers t', 'array_lower(t.tags, 1) = 5'],
  ['arrays of two dimensions', 'deliveries t', 'array_ndims(t.stops) = 2'],
  [
    'text with quotes and backslashes',
    'customers t',
    `t.notes like '%"quoted"%' and strpos(t.notes, '\\') > 0`,
  ],
  ['text beyond the basic plane', 'customers t', "t.notes like '%🎈%'"],
  ['text with control characters', 'customers t', "t.notes like e'%\\x01\\x02%'"],
  ['empty text', 'customers t', "t.notes = ''"],
  ['text that looks like null', 'customers t', "t.notes = '\\N'"],
  ['an open rental in the cycle', 'bottles t', 't.current_rental_id is not null'],
  ['a branch of a head office', 'customers t', 't.parent_customer_id is not null'],
  ['a generated null', 'rentals t', 't.days is null'],
  ['a generated value', 'rentals t', 't.days is not null'],
  [
    'a line with a rental',
    'invoice_line_items t join public.rental_invoices i on i.id = t.invoice_id',
    't.rental_id is not null',
  ],
  [
    'a line without a rental',
    'invoice_line_items t join public.rental_invoices i on i.id = t.invoice_id',
    't.rental_id is null',
  ],
]

test.each(AWKWARD)('every tenant has %s', async (_, from, condition) => {
  const { rows } = await demo.admin.query<{ name: string }>(
    `select o.name from public.organizations o
     where not exists (select from public.${from} where organization_id = o.id and ${condition})`,
  )

  expect(rows).toEqual([])
})

test('a table without a key holds two equal rows of every tenant', async () => {
  const { rows } = await demo.admin.query(
    `select distinct organization_id from public.ownership_values
     group by ownership_values.* , organization_id having count(*) > 1`,
  )

  expect(rows).toHaveLength(DEMO_TENANTS.length)
})

/** A digest of all rows of each table, or of one tenant's where the table says whose a row is. */
async function digestTables(
  database: Queryable,
  tenantId?: string,
): Promise<Record<string, string>> {
  const digests: Record<string, string> = {}
  for (const table of DEMO_TABLES) {
    const { rows } = await database.query<{ digest: string }>(
      `select md5(coalesce(string_agg(md5(t::text), '' order by md5(t::text)), '')) as digest
       from public."${table}" t
       where $1::text is null
          or coalesce(to_jsonb(t) ->> 'organization_id', to_jsonb(t) ->> 'id') = $1`,
      [tenantId ?? null],
    )
    digests[table] = rows[0]?.digest ?? ''
  }
  return digests
}
