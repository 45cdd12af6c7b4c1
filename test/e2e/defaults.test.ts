import pg from 'pg'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  expectAccessible,
  focused,
  type PageBench,
  PHONE,
  see,
  sidewaysScroll,
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
  const page = await bench.openAsOperator({ search: '?tab=tables' })

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
  const codes = before.gases.filter(({ tenant }) => tenant === env.DEMO_TEMPLATE_TENANT_ID)
  const own = before.gases.filter(
    ({ tenant, code }) => chosen.includes(tenant) && codes.some((gas) => gas.code === code),
  ).length
  const page = await bench.openAsOperator({ search: '?tab=defaults' })
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
  await see(page.getByText(`${own} rows need a decision first`))
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
  // All 29 rows to each of the two, but for those that they have.
  await see(page.getByText(`${58 - own} rows would be added, 2 rows would be overwritten.`))
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

test('a default is added once and deleted, what refuses it is said, and a version brings all of it back', async () => {
  const before = await photographTemplate()
  const page = await bench.openAsOperator({ search: '?tab=defaults' })
  await page.getByRole('button', { name: 'Create a version…' }).click()
  const dialog = page.getByRole('dialog', { name: 'Create version' })
  await dialog.getByLabel('Note').fill('Before the noble gases')
  await dialog.getByRole('button', { name: 'Create version' }).click()
  await see(page.getByText('Backup complete', { exact: true }))
  await expectAccessible(page)
  await takeScreenshots(page, 'defaults-version')

  await page.getByRole('button', { name: 'Gas types (show its rows)' }).click()
  await page.getByRole('button', { name: 'Add a row' }).click()
  await page.getByRole('button', { name: 'Add the row' }).click()
  await see(page.getByText('This needs a value'))
  const code = page.getByRole('textbox', { name: /^code/ })
  expect(await code.evaluate((field) => field === document.activeElement)).toBe(true)
  await code.fill('XE')
  await page.getByRole('textbox', { name: /^name/ }).fill('Xenon')
  await page.getByLabel('density_kg_per_m3').fill('5.894')
  await page.getByLabel('Why? (optional)').fill('Asked for by two customers')
  const [operator] = await bench.query<{ user_id: string; label: string }>(
    'delete from tenantkeep.operators returning user_id, label',
  )
  await page.getByRole('button', { name: 'Add the row' }).click()
  await see(page.getByText('You have no right to do this'))
  await expectAccessible(page)
  await takeScreenshots(page, 'default-refused')
  await makeOperator(operator)
  // It arrives and is done; only the answer is lost.
  await page.route(
    '**/default-rows',
    async (route) => {
      await route.fetch()
      await route.abort()
    },
    { times: 1 },
  )
  await page.getByRole('button', { name: 'Add the row' }).click()
  await see(page.getByText('No connection'))
  await page.getByRole('button', { name: 'Add the row' }).click()
  await see(page.getByRole('button', { name: 'Xenon (edit this row)' }))
  expect(await gas('XE')).toMatchObject({ name: 'Xenon' })

  await bench.query(
    `insert into public.bottles (organization_id, barcode, gas_code, capacity_litres)
     values ($1, 'TEMPLATE-1', 'XE', 10)`,
    [bench.env.DEMO_TEMPLATE_TENANT_ID],
  )
  await page.getByRole('button', { name: 'Xenon (edit this row)' }).click()
  await page.getByLabel('Why? (optional)').fill('Nobody bought it')
  await page.getByRole('button', { name: 'Delete…' }).click()
  await expectAccessible(page)
  await takeScreenshots(page, 'default-delete')
  await page.getByRole('button', { name: 'Delete the row' }).click()
  await see(page.getByText('The row was not deleted'))
  await see(page.getByText(/rows of bottles refer to it/))
  expect(await page.getByLabel('Why? (optional)').inputValue()).toBe('Nobody bought it')
  await takeScreenshots(page, 'default-delete-refused')
  await bench.query(`delete from public.bottles where organization_id = $1`, [
    bench.env.DEMO_TEMPLATE_TENANT_ID,
  ])
  await page.getByRole('button', { name: 'Delete…' }).click()
  await page.getByRole('button', { name: 'Delete the row' }).click()
  await see(page.getByRole('heading', { name: 'Gas types', exact: true }))
  await page.getByRole('button', { name: 'Helium (edit this row)' }).click()
  await page.getByRole('button', { name: 'Delete…' }).click()
  await page.getByRole('button', { name: 'Delete the row' }).click()
  await see(page.getByText('7 rows', { exact: false }))
  expect(await readJournal()).toEqual([
    { action: 'insert', note: 'Asked for by two customers' },
    { action: 'delete', note: 'Nobody bought it' },
    { action: 'delete', note: null },
  ])

  await page.getByRole('button', { name: 'All tables' }).click()
  await page.getByRole('link', { name: 'the page of the template' }).click()
  const version = page.getByRole('row').filter({ hasText: 'Before the noble gases' }).first()
  await version.getByRole('button', { name: /^Compare/ }).click()
  await see(page.getByRole('button', { name: /^1 ?missing/ }))
  await page.goBack()
  await version.getByRole('button', { name: /^Restore/ }).click()
  await page.getByRole('button', { name: 'Validate', exact: true }).click()
  await page.getByRole('button', { name: 'Next: confirm' }).click()
  await page.getByRole('button', { name: /^Restore \d+ rows?$/ }).click()
  await see(page.getByText('Restored', { exact: true }))
  expect(await photographTemplate()).toBe(before)
})

test('without a template it says what to do; of several tenants one that fails is named and tried again', async () => {
  const { env } = bench
  const tenantOf = (number: number) => `a0000000-0000-4000-8000-00000000000${number}`
  const [late, failing, other] = [tenantOf(3), tenantOf(4), tenantOf(5)]
  const before = await readDefaults()
  await bench.query(`delete from tenantkeep.settings where key = 'template_tenant'`)
  const page = await bench.openAsOperator({ search: '?tab=defaults' })
  await see(page.getByText('No tenant holds the defaults'))
  await expectAccessible(page)
  await takeScreenshots(page, 'defaults-none')
  await bench.query(
    `insert into tenantkeep.settings (key, value) values ('template_tenant', to_jsonb($1::text))`,
    [env.DEMO_TEMPLATE_TENANT_ID],
  )
  await page.getByRole('button', { name: 'Look again' }).click()
  await page.getByRole('button', { name: 'Seed tenants…' }).click()
  for (const name of ["O'Malley", '札幌ガス容器', 'Balloon Barn']) {
    await page.getByLabel(name).check()
  }
  await page.getByLabel('All 6 tables of the defaults').uncheck()
  await page.getByLabel('Locations', { exact: true }).check()
  const switches = await holdSeeding({ late, failing })
  await page.getByRole('button', { name: 'Rehearse' }).click()
  await see(page.getByText('9 rows would be added.'))
  await page.getByRole('button', { name: 'Next: confirm' }).click()
  await page.getByLabel('Why? (optional)').fill('Yards for everybody')
  await switches.on()
  await page.getByRole('button', { name: 'Seed 3 tenants' }).click()
  await see(page.getByText(/ of 3 tenants, 1 failed$/))
  await see(page.getByRole('listitem').filter({ hasText: '札幌ガス容器' }))
  await expectAccessible(page)
  await takeScreenshots(page, 'seed-progress')
  await switches.off()
  await see(page.getByText('2 of 3 tenants seeded, 1 failed'))
  await expectAccessible(page)
  await takeScreenshots(page, 'seed-failed')
  await page.getByRole('button', { name: 'Rehearse the failed ones again' }).click()
  await page.getByRole('button', { name: 'Next: confirm' }).click()
  await page.getByRole('button', { name: 'Seed 札幌ガス容器' }).click()
  await see(page.getByText('1 tenant seeded', { exact: true }))

  expect(countNew(before.locations, (await readDefaults()).locations)).toEqual(
    Object.fromEntries([late, failing, other].map((tenant) => [tenant, 3])),
  )
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

async function openRow(name: string): Promise<Page> {
  const page = await bench.openAsOperator({ search: '?tab=defaults&table=gas_types' })
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

async function makeOperator(operator: { user_id: string; label: string } | undefined) {
  await bench.query('insert into tenantkeep.operators (user_id, label) values ($1, $2)', [
    operator?.user_id,
    operator?.label,
  ])
}

/** All gas types of the template, with everything that is in them. */
async function photographTemplate(): Promise<string> {
  const rows = await bench.query<{ row: string }>(
    `select g::text as row from public.gas_types g where organization_id = $1 order by code`,
    [bench.env.DEMO_TEMPLATE_TENANT_ID],
  )
  return JSON.stringify(rows)
}

/** What was done to gas types by hand, in its order. */
function readJournal() {
  return bench.query(
    `select details ->> 'action' as action, note from public.backup_logs
     where backup_type = 'defaults' and details ->> 'action' <> 'update' order by created_at`,
  )
}

/**
 * While it is on, locations can't be written to one tenant, and another waits until it is off: two locks that
 * a trigger asks for, so that nothing depends on how fast anybody is.
 */
async function holdSeeding({ late, failing }: { late: string; failing: string }) {
  await bench.query(
    `create function public.hold_seeding() returns trigger language plpgsql as $$
     begin
       if new.organization_id = '${failing}' and not pg_try_advisory_xact_lock_shared(4712) then
         raise exception 'no more yards';
       end if;
       while new.organization_id = '${late}' and not pg_try_advisory_xact_lock_shared(4711) loop
         perform pg_sleep(0.05);
       end loop;
       return new;
     end $$;
     create trigger hold_seeding before insert on public.locations
       for each row execute function public.hold_seeding()`,
  )
  const client = new pg.Client({ connectionString: bench.env.ADMIN_DB_URL })
  await client.connect()
  return {
    on: () => client.query('select pg_advisory_lock(4711), pg_advisory_lock(4712)'),
    off: () => client.end(),
  }
}
