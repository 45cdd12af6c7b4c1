import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import * as z from 'zod'
import {
  expectAccessible,
  focused,
  type PageBench,
  PHONE,
  see,
  sidewaysScroll,
  signIn,
  startPageBench,
  tabTo,
  takeScreenshots,
} from '../support/page.ts'

let bench: PageBench
let tenant: string
/** The backup that the stack took before anything was damaged. */
let backup: string
/** The host application, as the owner uses it. */
let application: SupabaseClient
/** Every row of the tenant, and of its neighbour, as they were then. */
let sound: string
let neighbour: string

beforeAll(async () => {
  bench = await startPageBench()
  tenant = bench.env.DEMO_TENANT_ID
  const [newest] = await bench.query<{ id: string }>(
    `select id from public.tenant_backups
     where organization_id = $1 and status = 'complete' and backup_type = 'daily_tenant'`,
    [tenant],
  )
  backup = newest?.id ?? ''
  application = createClient(bench.env.SUPABASE_URL, bench.env.SUPABASE_PUBLISHABLE_KEY)
  await application.auth.signInWithPassword({
    email: bench.env.DEMO_OWNER_EMAIL,
    password: bench.env.DEMO_OWNER_PASSWORD,
  })
  sound = await photograph(tenant)
  neighbour = await photograph(bench.env.DEMO_OTHER_TENANT_ID)
})
afterAll(async () => {
  await application?.auth.signOut({ scope: 'local' })
  await bench?.stop()
})

let restoresBefore: number
beforeEach(async () => {
  restoresBefore = await countRestores()
})
afterEach(async () => {
  await bench.closePages()
  await makeSound()
  expect(await photograph(bench.env.DEMO_OTHER_TENANT_ID)).toBe(neighbour)
})

/** What the application does: all locations go, which empties links to them, and a customer is renamed. */
async function damage(): Promise<{ id: string; name: string }> {
  await done(application.from('locations').delete().eq('organization_id', tenant))
  const [first] = await bench.query<{ id: string; name: string }>(
    'select id, name from public.customers where organization_id = $1 order by id limit 1',
    [tenant],
  )
  if (first === undefined) throw new Error('The demonstration has no customers.')
  await done(application.from('customers').update({ name: 'Spoiled' }).eq('id', first.id))
  return first
}

test('brings one table back and leaves the others, with nothing to type where nothing is lost', async () => {
  const customer = await damage()
  const damaged = await photograph(tenant)
  const page = await openRestore()

  await see(page.getByRole('heading', { level: 2, name: /^Restore to \d/ }))
  await expectAccessible(page)
  await takeScreenshots(page, 'restore-choose')
  await choose(page, 'Some tables')
  await press(page, 'Validate')
  await see(page.getByText('Tick at least one table.'))
  expect(await photograph(tenant)).toBe(damaged)
  await page.getByRole('checkbox', { name: 'Locations' }).click()
  await press(page, 'Validate')
  await see(page.getByRole('heading', { name: /^\d+ rows come back\./ }))
  await expectAccessible(page)
  await takeScreenshots(page, 'restore-plan')
  await press(page, 'Next: confirm')
  expect(await page.getByLabel(/^Type/).count()).toBe(0)
  await press(page, /^Restore \d+ rows$/)
  await see(page.getByText('Restored', { exact: true }))
  const [locations] = await bench.query<{ rows: number }>(
    'select count(*)::int as rows from public.locations where organization_id = $1',
    [tenant],
  )
  expect(locations?.rows).toBeGreaterThan(0)
  expect(await nameOf(customer.id)).toBe('Spoiled')
  expect(await countRestores()).toBe(restoresBefore + 1)
})

test('brings everything back, once the name is typed, and takes that back again', async () => {
  const customer = await damage()
  const page = await openRestore()
  await choose(page, 'Exactly as in the backup')
  await press(page, 'Validate')
  await press(page, 'Next: confirm')
  await see(page.getByText('lose their present values'))
  await expectAccessible(page)
  await takeScreenshots(page, 'restore-confirm')
  const confirmed = await photograph(tenant)
  await press(page, /^Restore [\d,]+ rows$/)
  await see(page.getByText(/^Type the name as shown: /))
  await expect.poll(() => focused(page)).toContain('to confirm')
  await page.getByLabel(/to confirm$/).fill('  prairie welding & gas ')
  await page.keyboard.press('Enter')
  expect(await photograph(tenant)).toBe(confirmed)
  await page.getByRole('button', { name: /^Restore [\d,]+ rows$/ }).dblclick()
  await see(page.getByText('Restored', { exact: true }))
  await expectAccessible(page)
  await takeScreenshots(page, 'restore-done')
  expect(await nameOf(customer.id)).toBe(customer.name)
  expect(await photograph(tenant)).toBe(sound)
  expect(await countRestores()).toBe(restoresBefore + 1)

  await press(page, 'Undo this restore')
  await see(page.getByRole('heading', { level: 2, name: /^Undo the restore of \d/ }))
  await see(page.getByText(/get back the values from before/))
  await expectAccessible(page)
  await takeScreenshots(page, 'undo')
  await press(page, 'Undo…')
  await see(page.getByRole('dialog'))
  await expect.poll(() => focused(page)).toBe('Cancel')
  await expectAccessible(page)
  await takeScreenshots(page, 'undo-confirm')
  await page.getByRole('dialog').getByRole('button', { name: 'Undo the restore' }).click()
  await see(page.getByText('The restore was undone'))
  expect(await photograph(tenant)).toBe(confirmed)
})

test('asks what to do about people’s access, with the safe answer taken, and plans again for another', async () => {
  await bench.query(`delete from public.profiles where organization_id = $1 and email = $2`, [
    tenant,
    bench.env.DEMO_MEMBER_EMAIL,
  ])
  await deleteCustomers(1)
  const page = await openRestore()
  await press(page, 'Validate')

  await see(page.getByText('1 row would give people or keys access again.'))
  expect(await page.getByRole('radio', { name: /^Do not give access back/ }).isChecked()).toBe(true)
  await expectAccessible(page)
  await takeScreenshots(page, 'restore-decision')
  const withoutAccess = await page.getByRole('table').innerText()
  expect(withoutAccess).not.toContain('Profiles')
  await page.getByRole('radio', { name: /^Give access back/ }).click()
  await see(page.getByRole('rowheader', { name: 'Profiles' }))
  await press(page, 'Next: confirm')
  await see(page.getByText('People or keys get access again'))
  await see(page.getByLabel(/to confirm$/))
})

test('says when the data changed after validation, writes nothing, and validates again', async () => {
  await deleteCustomers(1)
  const page = await openRestore()
  await press(page, 'Validate')
  await press(page, 'Next: confirm')
  await see(page.getByText(/come back\./))
  await deleteCustomers(2)
  const before = await photograph(tenant)

  await press(page, /^Restore \d+ rows?$/)

  await see(page.getByText('Your data changed since validation'))
  await see(page.getByText(/^Before: /))
  await takeScreenshots(page, 'restore-stale')
  expect(await photograph(tenant)).toBe(before)
  await press(page, 'Next: confirm')
  await press(page, /^Restore \d+ rows?$/)
  await see(page.getByText('Restored', { exact: true }))
  expect(await countRestores()).toBe(restoresBefore + 1)
})

test('goes on when the tab is closed in the midst of it, and another tab finds it', async () => {
  await deleteCustomers(2)
  const page = await openRestore()
  await press(page, 'Validate')
  await press(page, 'Next: confirm')
  await press(page, /^Restore \d+ rows?$/)
  await page.waitForURL((url) => url.searchParams.has('run'))
  const address = page.url()
  const other = await page.context().newPage()
  await page.close()

  await other.goto(address)

  await see(other.getByText('Restored', { exact: true }))
  expect(await countRestores()).toBe(restoresBefore + 1)
  await other.reload()
  await see(other.getByText('Restored', { exact: true }))
  expect(await countRestores()).toBe(restoresBefore + 1)
})

test('looks whether it started when the line breaks after the last button, and never starts it twice', async () => {
  await deleteCustomers(2)
  const page = await openRestore()
  await press(page, 'Validate')
  await press(page, 'Next: confirm')
  // It arrives; not a byte of the answer comes back.
  await page.route(
    '**/restore-tenant-data',
    async (route) => {
      await route.fetch()
      await route.abort()
    },
    { times: 1 },
  )

  await press(page, /^Restore \d+ rows?$/)
  await see(page.getByText('Restored', { exact: true }))

  expect(await countRestores()).toBe(restoresBefore + 1)
  // Back leads to the list, not to the button.
  await page.goBack()
  await see(page.getByRole('tab', { name: 'Available backups' }))
})

test('says that it did not start where the line broke before it arrived', async () => {
  await deleteCustomers(1)
  const page = await openRestore()
  await press(page, 'Validate')
  await press(page, 'Next: confirm')
  await page.route('**/restore-tenant-data', (route) => route.abort(), { times: 1 })

  await press(page, /^Restore \d+ rows?$/)

  await see(page.getByText('Checking whether it started', { exact: true }))
  await takeScreenshots(page, 'restore-checking')
  await see(page.getByText('The restore did not start'))
  await expectAccessible(page)
  expect(await countRestores()).toBe(restoresBefore)
  await press(page, 'Back to the plan')
  await press(page, 'Next: confirm')
  await press(page, /^Restore \d+ rows?$/)
  await see(page.getByText('Restored', { exact: true }))
  expect(await countRestores()).toBe(restoresBefore + 1)
})

test('keeps what was chosen while the service is down, and while one is signed out', async () => {
  await deleteCustomers(1)
  const page = await openRestore()
  await choose(page, 'Also undo changes')
  await page.route('**/restore-tenant-data', (route) => route.abort())
  await press(page, 'Validate')
  await see(page.getByText('The service did not answer'))
  await expectAccessible(page)
  await takeScreenshots(page, 'restore-down')
  await page.unroute('**/restore-tenant-data')

  // The session ends: nobody knows its tokens any more.
  const refusal = { success: false, error: { code: 'not_signed_in', message: 'Expired.' } }
  await page.route('**/.netlify/functions/**', (route) =>
    route.fulfill({ status: 401, json: refusal }),
  )
  await page.route('**/auth/v1/token?grant_type=refresh_token', (route) =>
    route.fulfill({
      status: 400,
      headers: { 'access-control-allow-origin': '*' },
      json: { error_code: 'refresh_token_not_found', msg: 'Gone.' },
    }),
  )
  await press(page, 'Try again')
  await see(page.getByRole('heading', { name: 'Sign in' }))
  await page.unrouteAll()
  await signIn(page, bench.env.DEMO_OWNER_EMAIL, bench.env.DEMO_OWNER_PASSWORD)

  await press(page, 'Try again')
  await see(page.getByRole('button', { name: 'Next: confirm' }))
  await press(page, 'Back')
  expect(await page.getByRole('radio', { name: /^Also undo changes/ }).isChecked()).toBe(true)
  expect(await countRestores()).toBe(restoresBefore)
})

test('of what was changed again since, an undo keeps today’s state unless told otherwise', async () => {
  await deleteCustomers(2)
  const page = await openRestore()
  await press(page, 'Validate')
  await press(page, 'Next: confirm')
  await press(page, /^Restore \d+ rows?$/)
  await see(page.getByText('Restored', { exact: true }))
  const gone = await deletedCustomers()
  await done(application.from('customers').update({ notes: 'came back' }).eq('id', gone[0]))

  await press(page, 'Undo this restore')

  await see(page.getByRole('heading', { name: 'Changed since' }))
  expect(await page.getByRole('radio', { name: /^Keep/ }).isChecked()).toBe(true)
  await expectAccessible(page)
  await takeScreenshots(page, 'undo-conflict')
  await page.getByRole('radio', { name: /^Everything, to just before/ }).click()
  await see(page.getByRole('button', { name: 'Undo…' }))
  await press(page, 'Undo…')
  await see(page.getByText('is dropped.'))
  await page.getByRole('dialog').getByRole('button', { name: 'Undo the restore' }).click()
  await see(page.getByText(/^Type the name as shown/))
})

test('an address of a step that nobody came to begins at the beginning', async () => {
  const page = await bench.openAsOwner({
    search: `?view=restore&backup=${backup}&step=confirm`,
  })
  await see(page.getByText('What should come back?'))
  expect(new URL(page.url()).searchParams.get('step')).toBeNull()

  await page.goto(`${bench.env.APP_URL}?view=restore&backup=00000000-0000-4000-8000-000000000000`)
  await see(page.getByText('This backup is not there'))
  await page.goto(`${bench.env.APP_URL}?view=undo&restore=00000000-0000-4000-8000-000000000000`)
  await see(page.getByText('There is no such restore'))
  await expectAccessible(page)
})

test('fits a phone, and every step can be taken by keyboard alone', async () => {
  await deleteCustomers(1)
  const page = await openRestore(PHONE)
  await expect.poll(() => focused(page)).toMatch(/^Restore to/)
  await see(page.getByText('Step 1 of 4: Choose'))
  expect(await sidewaysScroll(page)).toBe(0)
  await tabTo(page, 'Validate')
  await page.keyboard.press('Enter')
  await see(page.getByRole('button', { name: 'Next: confirm' }))
  await expect.poll(() => focused(page)).toMatch(/^Restore to/)
  expect(await sidewaysScroll(page)).toBe(0)
  await tabTo(page, 'Next: confirm')
  await page.keyboard.press('Enter')
  await see(page.getByText('First a safety backup'))
  expect(await sidewaysScroll(page)).toBe(0)
  await tabTo(page, await page.getByRole('button', { name: /^Restore \d/ }).innerText())
  await page.keyboard.press('Enter')
  await see(page.getByText('Restored', { exact: true }))
  expect(await sidewaysScroll(page)).toBe(0)
})

/** A restore is rehearsed several times over; where other tests share the machine that takes a while. */
const PATIENCE_MS = 90_000

async function openRestore(viewport?: { width: number; height: number }): Promise<Page> {
  const search = `?view=restore&backup=${backup}`
  const page = await bench.openAsOwner({ search, ...(viewport === undefined ? {} : { viewport }) })
  page.setDefaultTimeout(PATIENCE_MS)
  await see(page.getByText('What should come back?'))
  return page
}

const press = (page: Page, name: string | RegExp) =>
  page.getByRole('button', { name, exact: true }).click()

const choose = (page: Page, name: string) =>
  page.getByRole('radio', { name: new RegExp(`^${name}`) }).click()

/** The application's answer; what it refuses is a fault of the test. */
async function done(asked: PromiseLike<{ error: { message: string } | null }>): Promise<void> {
  const { error } = await asked
  expect(error).toBeNull()
}

/** Deletes customers as their owner does, the first ones by id. */
async function deleteCustomers(count: number): Promise<void> {
  const customers = await bench.query<{ id: string }>(
    'select id from public.customers where organization_id = $1 order by id limit $2',
    [tenant, count],
  )
  const ids = customers.map(({ id }) => id)
  await done(application.from('customers').delete().in('id', ids))
}

/** Customers of the backup, the first ones by id: those that `deleteCustomers` takes. */
async function deletedCustomers(): Promise<string[]> {
  const customers = await bench.query<{ id: string }>(
    'select id from public.customers where organization_id = $1 order by id limit 2',
    [tenant],
  )
  return customers.map(({ id }) => id)
}

async function nameOf(customer: string): Promise<string | undefined> {
  const [found] = await bench.query<{ name: string }>(
    'select name from public.customers where id = $1',
    [customer],
  )
  return found?.name
}

async function countRestores(): Promise<number> {
  const [found] = await bench.query<{ restores: number }>(
    `select count(*)::int as restores from public.backup_logs
     where organization_id = $1 and backup_type = 'restore'`,
    [tenant],
  )
  return found?.restores ?? 0
}

/** A digest of a tenant's rows, table by table; not of the trail of what happened, which only grows. */
async function photograph(organization: string): Promise<string> {
  const tables = ['profiles', 'locations', 'gas_types', 'customers', 'bottles', 'rentals']
  const more = ['rental_invoices', 'deliveries', 'sales_orders', 'support_tickets']
  const digests = [...tables, ...more].map(
    (table) =>
      `(select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from public.${table} t
        where t.organization_id = $1)`,
  )
  const [found] = await bench.query<{ digest: string }>(
    `select concat_ws(' ', ${digests.join(', ')}) as digest`,
    [organization],
  )
  return found?.digest ?? ''
}

/** The tenant as it was at first, for the next test, by the same function that the page uses. */
async function makeSound(): Promise<void> {
  if ((await photograph(tenant)) === sound) return
  const { data } = await application.auth.getSession()
  const call = async (body: object) => {
    const answer = await fetch(`${bench.env.APP_URL}/.netlify/functions/restore-tenant-data`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${data.session?.access_token}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
    })
    return { status: answer.status, body: await answer.json() }
  }
  const asked = { organization_id: tenant, backup_id: backup, accept_access_changes: true }
  // What a test left behind may still be at work: then it is waited for.
  let rehearsed = await call(asked)
  await expect
    .poll(
      async () => {
        if (rehearsed.status !== 200) rehearsed = await call(asked)
        return rehearsed.status
      },
      { timeout: PATIENCE_MS },
    )
    .toBe(200)
  const { plan } = Answer.parse(rehearsed.body)
  await call({ ...asked, dry_run: false, plan_hash: plan.hash })
  expect(await photograph(tenant)).toBe(sound)
}

const Answer = z.object({ plan: z.object({ hash: z.string() }) })
