import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  expectAccessible,
  focused,
  type PageBench,
  PHONE,
  see,
  sidewaysScroll,
  signIn,
  startPageBench,
  takeScreenshots,
} from '../support/page.ts'

let bench: PageBench
beforeAll(async () => {
  bench = await startPageBench()
})
afterAll(() => bench?.stop())
afterEach(() => bench.closePages())

const heading = (page: Page, name: string | RegExp) => page.getByRole('heading', { level: 1, name })

test('the demonstration names its logins, and one of them signs in at once', async () => {
  const page = await bench.openPage()

  await expectAccessible(page)
  await takeScreenshots(page, 'sign-in')
  await page.getByRole('button', { name: /^Owner of Prairie Welding & Gas/i }).click()

  await see(heading(page, 'Backups of Prairie Welding & Gas'))
  expect(new URL(page.url()).pathname).toBe('/tenant-backup-restore')
})

test('a wrong password is said beside the form, and the first wrong field has the focus', async () => {
  const page = await bench.openPage({ viewport: PHONE })

  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await see(page.getByText('Enter your e-mail address'))
  expect(await focused(page)).toBe('E-mail address')
  await signIn(page, bench.env.DEMO_OWNER_EMAIL, 'not the password')

  await see(page.getByRole('alert').getByText('E-mail address and password do not match.'))
  expect(await sidewaysScroll(page)).toBe(0)
})

test('a member reads who can help', async () => {
  const page = await bench.openPage({ viewport: PHONE })
  await signIn(page, bench.env.DEMO_MEMBER_EMAIL, bench.env.DEMO_MEMBER_PASSWORD)

  await see(heading(page, "You can't see backups with this account"))
  await see(page.getByRole('heading', { name: 'Who can help' }))
  await see(page.getByRole('main').getByText(bench.env.DEMO_MEMBER_EMAIL))
  expect(await page.getByRole('alert').count()).toBe(0)
  expect(await sidewaysScroll(page)).toBe(0)
  await expectAccessible(page)
  await takeScreenshots(page, 'no-access')
})

test('another organization is not open to an owner, whether there is one or not', async () => {
  const page = await bench.openPage({ search: `?tenant=${bench.env.DEMO_OTHER_TENANT_ID}` })
  await signIn(page, bench.env.DEMO_OWNER_EMAIL, bench.env.DEMO_OWNER_PASSWORD)

  await see(heading(page, 'This organization is not open to you'))
  await expectAccessible(page)
})

test('whose session ends signs in again, and finds the page as it was', async () => {
  const page = await bench.openAsOwner({ search: '?tab=history' })
  const result = page.getByRole('combobox', { name: 'Result' })
  await see(result)

  await endSession(page)
  await result.selectOption('Failed or stopped')
  await see(heading(page, 'Sign in again'))
  expect(await focused(page)).toBe('Sign in again')
  expect(await heading(page, /^Backups of/).isVisible()).toBe(false)
  await takeScreenshots(page, 'session-ended')
  await page.unrouteAll({ behavior: 'ignoreErrors' })
  expect(await page.getByLabel('E-mail address').inputValue()).toBe(bench.env.DEMO_OWNER_EMAIL)
  await signIn(page, bench.env.DEMO_OWNER_EMAIL, bench.env.DEMO_OWNER_PASSWORD)

  await see(heading(page, /^Backups of/))
  // What was refused is asked for again.
  await see(result)
  expect(await result.locator('option:checked').textContent()).toBe('Failed or stopped')
})

test('another person who signs in then starts with nothing of the former', async () => {
  const page = await bench.openAsOwner({ search: '?tab=history' })
  const result = page.getByRole('combobox', { name: 'Result' })
  await see(result)

  await endSession(page)
  await result.selectOption('Failed or stopped')
  await see(heading(page, 'Sign in again'))
  await page.unrouteAll({ behavior: 'ignoreErrors' })
  await signIn(page, bench.env.DEMO_OTHER_OWNER_EMAIL, bench.env.DEMO_OTHER_OWNER_PASSWORD)

  await see(heading(page, 'Backups of Nordlicht Medizingase GmbH'))
  expect(await page.getByText('Prairie').count()).toBe(0)
})

test('an owner whose membership was lost reads who can help, and goes on once it is back', async () => {
  const { DEMO_OTHER_OWNER_EMAIL: email, DEMO_OTHER_OWNER_PASSWORD: password } = bench.env
  const [lost] = await bench.query<{ row: string }>(
    'select to_jsonb(p)::text as row from public.profiles p where email = $1',
    [email],
  )
  await bench.query('delete from public.profiles where email = $1', [email])
  const page = await bench.openPage()
  await signIn(page, email, password)

  await see(heading(page, "You can't see backups with this account"))
  await see(page.getByText('your place itself was lost', { exact: false }))
  await bench.query(
    'insert into public.profiles select * from jsonb_populate_record(null::public.profiles, $1)',
    [lost?.row],
  )
  await page.getByRole('button', { name: 'Try again' }).click()

  await see(heading(page, 'Backups of Nordlicht Medizingase GmbH'))
})

/** The service knows the session no more, and it can't be renewed. */
async function endSession(page: Page): Promise<void> {
  await page.route('**/auth/v1/token?grant_type=refresh_token', (route) =>
    route.fulfill({
      status: 400,
      json: { code: 400, error_code: 'refresh_token_not_found', msg: 'Invalid Refresh Token' },
    }),
  )
  await page.route('**/rest/v1/backup_logs*', (route) =>
    route.fulfill({ status: 401, json: { code: 'PGRST303', message: 'JWT expired' } }),
  )
}
