import { join } from 'node:path'
import pg from 'pg'
import type { Browser, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { launchBrowser } from '../support/browser.ts'
import { type LocalStack, startLocalStack } from '../support/local-stack.ts'

const SCREENSHOTS = join(import.meta.dirname, 'screenshots')
const DESKTOP = { width: 1440, height: 900 }
const PHONE = { width: 360, height: 740 }

let stack: LocalStack
let browser: Browser
let closePage: (() => Promise<void>) | undefined
/** What no page may do: asked of other hosts, complained about in the console. */
let foreign: string[] = []
let complaints: string[] = []

beforeAll(async () => {
  ;[stack, browser] = await Promise.all([startLocalStack(), launchBrowser()])
})

afterAll(async () => {
  await browser?.close()
  await stack?.stop()
})

afterEach(async () => {
  await closePage?.()
  closePage = undefined
  expect(foreign).toEqual([])
  expect(complaints).toEqual([])
})

test("shows the owner in one sentence that today's backup is there, and lists it", async () => {
  const page = await openPage()
  await signInAsOwner(page)

  await see(page.getByRole('heading', { level: 1, name: 'Backups of Prairie Welding & Gas' }))
  await see(page.getByRole('heading', { name: /^Backed up (just now|\d+ minutes? ago)$/ }))
  await see(page.getByText('Files in Storage, such as uploaded pictures'))
  const [complete] = await query<{ rows: string }>(
    `select total_records::text as rows from public.tenant_backups
     where organization_id = $1 and backup_type = 'daily_tenant' and status = 'complete'`,
    [stack.env.DEMO_TENANT_ID],
  )
  const rows = Number(complete?.rows).toLocaleString('en-GB')
  const row = backupRows(page).filter({ hasText: 'Daily' })
  expect(await row.innerText()).toContain(rows)
  await see(row.getByText('Verified'))
  expect(new URL(page.url()).pathname).toBe('/tenant-backup-restore')
  await page.screenshot({ path: join(SCREENSHOTS, 'backups-1440.png') })
})

test('creates one backup on a double click, and shows it verified with its name and note', async () => {
  const page = await openPage()
  await signInAsOwner(page)
  const before = await countManual()

  await page.getByRole('button', { name: 'Create backup' }).click()
  const dialog = page.getByRole('dialog', { name: 'Create backup' })
  await dialog.getByLabel('Name').fill('Before the price import')
  await dialog.getByLabel('Note').fill('Prices for 2027 are imported this afternoon.')
  await page.screenshot({ path: join(SCREENSHOTS, 'dialog-1440.png') })
  await dialog.getByRole('button', { name: 'Create backup' }).dblclick()

  await see(page.getByText('Backup complete', { exact: true }))
  await see(page.getByText(/rows in \d+ tables, verified/))
  const row = backupRows(page).filter({ hasText: 'Before the price import' })
  await see(row.getByText('Prices for 2027 are imported this afternoon.'))
  await see(row.getByText('Manual', { exact: true }))
  await see(row.getByText('Verified'))
  expect(await countManual()).toBe(before + 1)
  await page.screenshot({ path: join(SCREENSHOTS, 'created-1440.png') })

  await page.getByRole('button', { name: 'Dismiss' }).click()
  expect(new URL(page.url()).searchParams.get('run')).toBeNull()
})

test('finds a running backup again after a reload, and starts no second one', async () => {
  const page = await openPage()
  await signInAsOwner(page)
  const before = await countManual()

  await page.getByRole('button', { name: 'Create backup' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Create backup' }).click()
  await page.waitForURL((url) => url.searchParams.has('run'))
  await page.reload()

  await see(page.getByText('Backup complete', { exact: true }))
  expect(await countManual()).toBe(before + 1)
})

test('says while one types that a name is too long, and sends nothing', async () => {
  const page = await openPage()
  await signInAsOwner(page)
  const before = await countManual()

  await page.getByRole('button', { name: 'Create backup' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Name').fill('x'.repeat(121))
  await see(dialog.getByText('Name must be 120 characters or fewer; it has 121'))
  await dialog.getByRole('button', { name: 'Create backup' }).click()

  expect(await focused(page)).toContain('Name')
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'hidden' })
  expect(await countManual()).toBe(before)
})

test('tells the history: what was done, by whom, how it ended', async () => {
  const page = await openPage()
  await signInAsOwner(page)

  await page.getByRole('tab', { name: 'History' }).click()
  const entry = page.getByRole('row').filter({ hasText: 'Manual backup' }).first()
  await see(entry.getByText(stack.env.DEMO_OWNER_EMAIL))
  await see(entry.getByText('Done'))
  await see(page.getByRole('row').filter({ hasText: 'Daily backup' }).getByText('cron'))
  await page.screenshot({ path: join(SCREENSHOTS, 'history-1440.png') })

  await page.reload()
  await see(page.getByRole('tab', { name: 'History', selected: true }))
})

test('shows all times in UTC on a wish', async () => {
  const page = await openPage()
  await signInAsOwner(page)

  await see(page.getByText('Europe/Berlin (UTC+', { exact: false }))
  await page.getByText('UTC', { exact: true }).click()
  expect(await backupRows(page).first().innerText()).toContain(' UTC')
})

test('explains to a member who can help, and shows nothing of the backups', async () => {
  const page = await openPage()
  await signIn(page, stack.env.DEMO_MEMBER_EMAIL, stack.env.DEMO_MEMBER_PASSWORD)

  await see(page.getByRole('heading', { name: "You can't see backups with this account" }))
  expect(await page.getByRole('button', { name: 'Create backup' }).count()).toBe(0)
  await page.screenshot({ path: join(SCREENSHOTS, 'member-1440.png') })
  await page.getByRole('button', { name: 'Sign out' }).click()
  await see(page.getByRole('heading', { name: 'Sign in' }))
})

test('says that e-mail address and password do not match, and keeps the address', async () => {
  const page = await openPage()
  await signIn(page, stack.env.DEMO_OWNER_EMAIL, 'not the password')

  await see(page.getByText('E-mail address and password do not match.'))
  expect(await page.getByLabel('E-mail address').inputValue()).toBe(stack.env.DEMO_OWNER_EMAIL)
  await page.screenshot({ path: join(SCREENSHOTS, 'wrong-password-1440.png') })
})

test('says that there is no connection, and starts the backup once when it is tried again', async () => {
  const page = await openPage()
  await signInAsOwner(page)
  const before = await countManual()
  // The first request arrives; only its answer is lost.
  await page.route(
    '**/daily-tenant-backup',
    async (route) => {
      await route.fetch()
      await route.abort()
    },
    { times: 1 },
  )

  await page.getByRole('button', { name: 'Create backup' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Create backup' }).click()
  await Promise.race([
    see(page.getByText('No connection')).then(() =>
      page.getByRole('button', { name: 'Try again' }).click(),
    ),
    // Or the page found the run before the line was cut.
    see(page.getByText('Backup complete', { exact: true })),
  ])

  await see(page.getByText('Backup complete', { exact: true }))
  expect(await countManual()).toBe(before + 1)
})

test('shows what failed when the functions are down, and recovers', async () => {
  const page = await openPage()
  await page.route('**/.netlify/functions/**', (route) => route.abort())
  await signIn(page, stack.env.DEMO_OWNER_EMAIL, stack.env.DEMO_OWNER_PASSWORD)
  await see(page.getByText('No connection'))
  await page.unroute('**/.netlify/functions/**')

  await page.getByRole('button', { name: 'Try again' }).click()

  await see(page.getByRole('heading', { name: 'Backups of Prairie Welding & Gas' }))
})

test('fits a phone without scrolling sideways', async () => {
  const page = await openPage(PHONE)
  expect(await sidewaysScroll(page)).toBe(0)
  await signInAsOwner(page)
  await see(page.getByText('Verified').first())
  expect(await sidewaysScroll(page)).toBe(0)
  await page.screenshot({ path: join(SCREENSHOTS, 'backups-360.png'), fullPage: true })

  await page.getByRole('tab', { name: 'History' }).click()
  await see(page.getByText('Daily backup'))
  expect(await sidewaysScroll(page)).toBe(0)
  await page.screenshot({ path: join(SCREENSHOTS, 'history-360.png'), fullPage: true })

  await page.getByRole('button', { name: 'Create backup' }).click()
  await see(page.getByRole('dialog'))
  expect(await sidewaysScroll(page)).toBe(0)
  await page.screenshot({ path: join(SCREENSHOTS, 'dialog-360.png') })
})

test('can be used by keyboard alone', async () => {
  const page = await openPage()
  await tabTo(page, 'E-mail address')
  await page.keyboard.type(stack.env.DEMO_OWNER_EMAIL)
  await tabTo(page, 'Password')
  await page.keyboard.type(stack.env.DEMO_OWNER_PASSWORD)
  await page.keyboard.press('Enter')
  await see(backupRows(page).first())

  await tabTo(page, 'Available backups')
  await page.keyboard.press('ArrowRight')
  await see(page.getByRole('tab', { name: 'History', selected: true }))
  await page.keyboard.press('ArrowLeft')
  await tabTo(page, 'Rows')
  await page.keyboard.press('Enter')
  await see(
    page.getByRole('columnheader', { name: 'Rows' }).and(page.locator('[aria-sort=descending]')),
  )

  await tabTo(page, 'Create backup')
  await page.keyboard.press('Enter')
  await see(page.getByRole('dialog'))
  await expect.poll(() => focused(page)).toContain('Name')
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'hidden' })
  await expect.poll(() => focused(page)).toBe('Create backup')
})

async function openPage(viewport = DESKTOP): Promise<Page> {
  foreign = []
  complaints = []
  const context = await browser.newContext({
    viewport,
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    reducedMotion: 'reduce',
  })
  closePage = () => context.close()
  const page = await context.newPage()
  page.setDefaultTimeout(30_000)
  const own = [new URL(stack.env.APP_URL).host, new URL(stack.env.SUPABASE_URL).host]
  page.on('request', (request) => {
    const { host, protocol } = new URL(request.url())
    if (protocol.startsWith('http') && !own.includes(host)) foreign.push(request.url())
  })
  page.on('console', (message) => {
    // What the browser says of a refused or cut request is what some of these tests are about.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      complaints.push(message.text())
    }
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(stack.env.APP_URL)
  await see(page.getByRole('heading', { name: 'Sign in' }))
  return page
}

async function signIn(page: Page, email: string, password: string): Promise<void> {
  await page.getByLabel('E-mail address').fill(email)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

async function signInAsOwner(page: Page): Promise<void> {
  await signIn(page, stack.env.DEMO_OWNER_EMAIL, stack.env.DEMO_OWNER_PASSWORD)
  await see(page.getByRole('button', { name: 'Create backup' }))
}

const see = (locator: Locator) => locator.first().waitFor({ state: 'visible' })

const backupRows = (page: Page) =>
  page.getByRole('table', { name: 'Available backups' }).locator('tbody tr')

const sidewaysScroll = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

/** The name of what has the focus: its label, or its text. */
const focused = (page: Page) =>
  page.evaluate(() => {
    const element = document.activeElement
    const label = element instanceof HTMLInputElement ? element.labels?.[0]?.innerText : undefined
    return label ?? element?.getAttribute('aria-label') ?? element?.textContent ?? ''
  })

/** Presses Tab until the named thing has the focus. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let presses = 0; presses < 40; presses += 1) {
    if ((await focused(page)).startsWith(name)) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`Tab does not lead to «${name}».`)
}

async function countManual(): Promise<number> {
  const [row] = await query<{ count: number }>(
    `select count(*)::int as count from public.tenant_backups
     where organization_id = $1 and backup_type = 'manual'`,
    [stack.env.DEMO_TENANT_ID],
  )
  return row?.count ?? 0
}

async function query<Row extends pg.QueryResultRow>(
  sql: string,
  values: unknown[],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: stack.env.ADMIN_DB_URL })
  await client.connect()
  try {
    return (await client.query<Row>(sql, values)).rows
  } finally {
    await client.end()
  }
}
