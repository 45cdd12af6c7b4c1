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
  expect(await sidewaysScroll(page)).toBe(0)
  await expectAccessible(page)
})

test('of two who edit one default nobody overwrites the other unseen, and what is bad is said at its field', async () => {
  const first = await openRow('AR')
  const second = await openRow('AR')
  await takeScreenshots(first, 'default-row')
  await expectAccessible(first)

  await first.getByLabel('density_kg_per_m3').fill('heavy')
  await first.getByLabel('name', { exact: true }).fill('Argon 4.6')
  await first.getByRole('button', { name: 'Save the row' }).click()
  await see(first.getByText(/^This is not a value of the type numeric/))
  expect(await focused(first)).toMatch(/^density_kg_per_m3/)
  await first.getByLabel('density_kg_per_m3').fill('1.784')
  await first.getByRole('button', { name: 'Save the row' }).click()
  await see(first.getByRole('heading', { name: 'Gas types' }))

  await second.getByLabel('name', { exact: true }).fill('Argon, pure')
  await second.getByLabel('un_number').fill('UN1951')
  // The line breaks first: what was typed stays, and is sent again.
  await second.route('**/default-rows', (route) => route.abort(), { times: 1 })
  await second.getByRole('button', { name: 'Save the row' }).click()
  await see(second.getByText('No connection'))
  await second.getByRole('button', { name: 'Save the row' }).click()
  await see(second.getByRole('heading', { name: /^Somebody else changed AR/ }))
  expect(await gas('AR')).toMatchObject({ name: 'Argon 4.6', un_number: 'UN1006' })
  await expectAccessible(second)
  await takeScreenshots(second, 'default-conflict')
  await second.getByRole('button', { name: 'Save these values' }).click()
  await see(second.getByText('Choose one of the two'))
  await second.getByRole('radio', { name: 'Theirs: Argon 4.6' }).click()
  await second.getByRole('button', { name: 'Save these values' }).click()
  await see(second.getByRole('heading', { name: 'Gas types' }))

  expect(await gas('AR')).toMatchObject({ name: 'Argon 4.6', un_number: 'UN1951' })
})

test('tenants are seeded after a rehearsal, a conflict decided, and get exactly what was shown', async () => {
  const tenants = [bench.env.DEMO_TENANT_ID, bench.env.DEMO_OTHER_TENANT_ID]
  const before = await Promise.all(tenants.map(locations))
  const page = await openAsOperator({ search: '?tab=defaults' })
  await takeScreenshots(page, 'defaults')
  await expectAccessible(page)
  await page.getByRole('button', { name: 'Seed tenants…' }).click()
  await page.getByRole('button', { name: 'Rehearse' }).click()
  await see(page.getByText('Tick at least one tenant.'))
  await page.getByText('Prairie Welding & Gas').click()
  await page.getByText('Nordlicht Medizingase GmbH').click()
  await takeScreenshots(page, 'seed-choose')
  await expectAccessible(page)
  await page.getByRole('button', { name: 'Rehearse' }).click()

  await see(page.getByText(/would be added/))
  await takeScreenshots(page, 'seed-rehearse')
  console.log(await page.locator('main').innerText())
})

async function openAsOperator(options?: OpenOptions): Promise<Page> {
  const page = await bench.openPage(options)
  await signIn(page, bench.env.DEMO_OPERATOR_EMAIL, bench.env.DEMO_OPERATOR_PASSWORD)
  return page
}

async function openRow(name: string): Promise<Page> {
  const page = await openAsOperator({ search: '?tab=defaults&table=gas_types' })
  await page.getByLabel('Search rows').fill(name)
  await page.getByRole('button', { name: `${name}, edit this row` }).click()
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

async function locations(tenant: string): Promise<number> {
  const rows = await bench.query('select from public.locations where organization_id = $1', [
    tenant,
  ])
  return rows.length
}
