import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  expectAccessible,
  focused,
  type OpenOptions,
  type PageBench,
  PHONE,
  see,
  sidewaysScroll,
  signIn,
  startPageBench,
  takeScreenshots,
} from '../support/page.ts'

/** What operators do about tables and defaults on the page. */

let bench: PageBench
beforeAll(async () => {
  bench = await startPageBench()
  await bench.query(
    `update public.gas_types set name = 'Argon', un_number = 'UN1006'
     where organization_id = $1 and code = 'AR'`,
    [bench.env.DEMO_TEMPLATE_TENANT_ID],
  )
})
afterAll(() => bench?.stop())
afterEach(() => bench.closePages())

test('the registry says what every table is and what is wrong, and how it is changed', async () => {
  const page = await openAsOperator({ search: '?tab=tables' })

  await see(page.getByRole('row').filter({ hasText: 'sales_order_items' }))
  await see(page.getByText(/^\d+ tables, /))
  await see(page.getByText('new tenants start with rows of the template'))
  await expectAccessible(page)
  await takeScreenshots(page, 'tables')
  await page.getByLabel('Search tables').fill('gas_types')
  await see(page.getByText(/^\d tables? found$/))
  await page.setViewportSize(PHONE)
  await page.getByRole('table').waitFor({ state: 'detached' })
  expect(await sidewaysScroll(page)).toBe(0)
  await expectAccessible(page)
})

test('of two who edit one default nobody overwrites the other unseen, and what is bad is said at its field', async () => {
  const first = await openRow('Argon')
  const second = await openRow('Argon')
  await takeScreenshots(first, 'default-row')
  await expectAccessible(first)

  await first.getByLabel('density_kg_per_m3').fill('heavy')
  await first.getByRole('textbox', { name: 'name', exact: true }).fill('Argon 4.6')
  await first.getByRole('button', { name: 'Save the row' }).click()
  await see(first.getByText(/^This is not a value of the type numeric/))
  expect(await focused(first)).toMatch(/^density_kg_per_m3/)
  await first.getByLabel('density_kg_per_m3').fill('1.784')
  await first.getByRole('button', { name: 'Save the row' }).click()
  await see(first.getByRole('heading', { name: 'Gas types', exact: true }))

  await second.getByRole('textbox', { name: 'name', exact: true }).fill('Argon, pure')
  await second.getByRole('textbox', { name: 'un_number' }).fill('UN1951')
  // The line breaks first: what was typed stays, and is sent again.
  await second.route('**/default-rows', (route) => route.abort(), { times: 1 })
  await second.getByRole('button', { name: 'Save the row' }).click()
  await see(second.getByText('No connection'))
  await second.getByRole('button', { name: 'Save the row' }).click()
  await see(second.getByRole('heading', { name: /^Somebody else changed Argon/ }))
  expect(await gas('AR')).toMatchObject({ name: 'Argon 4.6', un_number: 'UN1006' })
  await expectAccessible(second)
  await takeScreenshots(second, 'default-conflict')
  await second.getByRole('button', { name: 'Save these values' }).click()
  await see(second.getByText('Choose one of the two'))
  await second.getByRole('radio', { name: 'Theirs: Argon 4.6' }).click()
  await second.getByRole('button', { name: 'Save these values' }).click()
  await see(second.getByRole('heading', { name: 'Gas types', exact: true }))

  expect(await gas('AR')).toMatchObject({ name: 'Argon 4.6', un_number: 'UN1951' })
})

test('two tenants are seeded as rehearsed and decided, and nobody else is touched', async () => {
  const { env } = bench
  const chosen = [env.DEMO_TENANT_ID, env.DEMO_OTHER_TENANT_ID]
  const before = await readDefaults()
  const page = await openAsOperator({ search: '?tab=defaults' })
  await see(page.getByRole('button', { name: 'Gas types (show its rows)' }))
  await expectAccessible(page)
  await takeScreenshots(page, 'defaults')
  await page.getByRole('button', { name: 'Seed tenants…' }).click()
  await page.getByRole('button', { name: 'Rehearse' }).click()
  await see(page.getByText('Tick at least one tenant.'))
  await page.getByLabel('Prairie Welding & Gas').check()
  await page.getByLabel('Nordlicht Medizingase GmbH').check()
  await expectAccessible(page)
  await takeScreenshots(page, 'seed-choose')
  await page.getByRole('button', { name: 'Rehearse' }).click()
  await see(page.getByText(/^14 rows need a decision first/))
  expect(await focused(page)).toBe('Seed tenants with the defaults')

  // One answer for all of them, another for one.
  await page.getByRole('button', { name: 'Rehearse with these decisions' }).click()
  await see(page.getByText('Choose one of these, here or row by row'))
  await page.getByRole('radio', { name: /^Leave the tenant’s own row/ }).click()
  await page.getByText('Row by row').click()
  await page.getByLabel(/^Decision about Argon(?! with)/).selectOption('overwrite')
  await expectAccessible(page)
  await takeScreenshots(page, 'seed-decide')
  await page.getByRole('button', { name: 'Rehearse with these decisions' }).click()
  await see(page.getByText('44 rows would be added, 2 rows would be overwritten.'))
  await page.getByRole('button', { name: 'Back', exact: true }).click()
  expect(await page.getByLabel('Nordlicht Medizingase GmbH').isChecked()).toBe(true)
  await page.getByRole('button', { name: 'Rehearse' }).click()
  await page.getByRole('button', { name: 'Next: confirm' }).click()
  await see(page.getByText('2 rows lose their present values.'))
  await page.getByLabel('Why? (optional)').fill('Argon for everybody')
  await page.getByRole('button', { name: 'Seed 2 tenants' }).click()
  await see(page.getByText('Type the number as shown: 2'))
  await expectAccessible(page)
  await takeScreenshots(page, 'seed-confirm')
  expect(await readDefaults()).toEqual(before)
  await page.getByLabel('Type 2 to confirm').fill('2')
  await page.getByRole('button', { name: 'Seed 2 tenants' }).click()

  await see(page.getByText('2 tenants seeded', { exact: true }))
  await expectAccessible(page)
  await takeScreenshots(page, 'seed-done')
  const after = await readDefaults()
  const [argon] = before.gases.filter(isOf(env.DEMO_TEMPLATE_TENANT_ID, 'AR'))
  const argonOf = (tenant: string): Gas => ({ code: '', name: '', ...argon, tenant })
  expect(after.gases).toEqual(
    [
      ...before.gases.map((gas) =>
        chosen.some((tenant) => isOf(tenant, 'AR')(gas)) ? argonOf(gas.tenant) : gas,
      ),
      ...after.gases.filter((gas) => !before.gases.some(isOf(gas.tenant, gas.code))),
    ].toSorted(byTenantAndCode),
  )
  expect(countNew(before.locations, after.locations)).toEqual(
    Object.fromEntries(chosen.map((tenant) => [tenant, 3])),
  )
  await page.reload()
  await see(page.getByText('2 tenants seeded', { exact: true }))
  await page.setViewportSize(PHONE)
  await see(page.getByText('Step 4 of 4: Seed'))
  expect(await sidewaysScroll(page)).toBe(0)
  await page.getByRole('link', { name: 'Undo this seeding of Prairie Welding & Gas' }).click()
  await see(page.getByRole('heading', { name: /^Undo the seeding of/ }))
})

interface Gas {
  tenant: string
  code: string
  name: string
}

const isOf = (tenant: string, code: string) => (gas: Gas) =>
  gas.tenant === tenant && gas.code === code

/** Gas types of everybody, and how many locations each has. */
async function readDefaults(): Promise<{ gases: Gas[]; locations: Record<string, number> }> {
  const gases = await bench.query<Gas & Record<string, string>>(
    `select organization_id::text as tenant, code, name, un_number, density_kg_per_m3::text as density
     from public.gas_types`,
  )
  const locations = await bench.query<{ tenant: string; count: number }>(
    `select organization_id::text as tenant, count(*)::int as count from public.locations group by 1`,
  )
  return {
    gases: gases.toSorted(byTenantAndCode),
    locations: Object.fromEntries(locations.map(({ tenant, count }) => [tenant, count])),
  }
}

const byTenantAndCode = (a: Gas, b: Gas) =>
  `${a.tenant} ${a.code}` < `${b.tenant} ${b.code}` ? -1 : 1

function countNew(before: Record<string, number>, after: Record<string, number>) {
  return Object.fromEntries(
    Object.entries(after).flatMap(([tenant, count]) => {
      const more = count - (before[tenant] ?? 0)
      return more === 0 ? [] : [[tenant, more]]
    }),
  )
}

async function openAsOperator(options?: OpenOptions): Promise<Page> {
  const page = await bench.openPage(options)
  await signIn(page, bench.env.DEMO_OPERATOR_EMAIL, bench.env.DEMO_OPERATOR_PASSWORD)
  return page
}

async function openRow(name: string): Promise<Page> {
  const page = await openAsOperator({ search: '?tab=defaults&table=gas_types' })
  await page.getByLabel('Search rows').fill(name)
  await page.getByRole('button', { name: `${name} (edit this row)` }).click()
  await see(page.getByRole('heading', { name: new RegExp(`^${name} in`) }))
  return page
}

async function gas(code: string) {
  const [row] = await bench.query(
    'select name, un_number from public.gas_types where organization_id = $1 and code = $2',
    [bench.env.DEMO_TEMPLATE_TENANT_ID, code],
  )
  return row
}
