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
  tabTo,
  takeScreenshots,
} from '../support/page.ts'

let bench: PageBench

beforeAll(async () => {
  bench = await startPageBench()
  await addPastBackups()
})

afterAll(() => bench?.stop())

afterEach(() => bench.closePages())

test("shows the owner in one sentence that today's backup is there, and lists it", async () => {
  const page = await bench.openAsOwner()

  await see(page.getByRole('heading', { level: 1, name: 'Backups of Prairie Welding & Gas' }))
  await see(page.getByRole('heading', { name: /^Backed up (just now|\d+ minutes? ago)$/ }))
  await see(page.getByText('Files in Storage, such as uploaded pictures'))
  const [complete] = await bench.query<{ rows: string }>(
    `select total_records::text as rows from public.tenant_backups
     where organization_id = $1 and status = 'complete' order by created_at desc limit 1`,
    [bench.env.DEMO_TENANT_ID],
  )
  const rows = Number(complete?.rows).toLocaleString('en-GB')
  const row = backupRows(page).filter({ hasText: 'Daily' }).first()
  await see(row)
  expect(await row.innerText()).toContain(rows)
  await see(row.getByText('Verified'))
  expect(new URL(page.url()).pathname).toBe('/tenant-backup-restore')
  await expectAccessible(page)
  await takeScreenshots(page, 'backups')
})

test('creates one backup on a double click, and shows it verified with its name, note and tags', async () => {
  const page = await bench.openAsOwner()
  const before = await countManual()

  await page.getByRole('button', { name: 'Create backup' }).click()
  const dialog = page.getByRole('dialog', { name: 'Create backup' })
  await dialog.getByLabel('Name').fill('Before the price import')
  await dialog.getByLabel('Note').fill('Prices for 2027 are imported this afternoon.')
  await dialog.getByLabel('Tags').pressSequentially('prices,import,')
  await see(dialog.getByText('import', { exact: true }))
  await expectAccessible(page)
  await takeScreenshots(page, 'create-dialog')
  await dialog.getByRole('button', { name: 'Create backup' }).dblclick()

  await see(page.getByText('Backup complete', { exact: true }))
  await see(page.getByText(/rows in \d+ tables, verified/))
  const row = backupRows(page).filter({ hasText: 'Before the price import' })
  await see(row.getByText('Prices for 2027 are imported this afternoon.'))
  await see(row.getByText('#prices #import'))
  await see(row.getByText('Manual', { exact: true }))
  await see(row.getByText('Verified'))
  expect(await countManual()).toBe(before + 1)
  await expectAccessible(page)
  await takeScreenshots(page, 'created')

  await page.getByRole('button', { name: 'Dismiss' }).click()
  expect(new URL(page.url()).searchParams.get('run')).toBeNull()
})

test('finds a running backup again after a reload, and starts no second one', async () => {
  const page = await bench.openAsOwner()
  const before = await countManual()

  await page.getByRole('button', { name: 'Create backup' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Create backup' }).click()
  await page.waitForURL((url) => url.searchParams.has('run'))
  await page.reload()

  await see(page.getByText('Backup complete', { exact: true }))
  expect(await countManual()).toBe(before + 1)
})

test('says while one types that a name is too long or a tag odd, and sends nothing', async () => {
  const page = await bench.openAsOwner()
  const before = await countManual()

  await page.getByRole('button', { name: 'Create backup' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Tags').pressSequentially('a/b,')
  await see(dialog.getByText('A tag may use letters, digits and hyphens'))
  await dialog.getByLabel('Name').fill('x'.repeat(121))
  await see(dialog.getByText('Name must be 120 characters or fewer; it has 121'))
  await takeScreenshots(page, 'create-dialog-errors')
  await dialog.getByRole('button', { name: 'Create backup' }).click()

  expect(await focused(page)).toContain('Name')
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'hidden' })
  expect(await countManual()).toBe(before)
})

test('shows how far each table is while a backup runs', async () => {
  const page = await bench.openAsOwner()
  await page.route('**/get-run', async (route) => {
    const answer = await route.fetch()
    const { run } = await answer.json()
    await route.fulfill({
      json: {
        success: true,
        run: {
          ...run,
          status: 'running',
          tenants: run.tenants.map((tenant: object) => ({ ...tenant, status: 'running' })),
          progress: {
            phase: 'copying',
            table: 'invoices',
            rowsDone: 1_000,
            rowsTotal: 3_400,
            tables: [
              { name: 'customers', rowsDone: 1_200, rowsTotal: 1_200 },
              { name: 'invoices', rowsDone: 1_000, rowsTotal: 3_400 },
            ],
          },
        },
      },
    })
  })

  await page.getByRole('button', { name: 'Create backup' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Create backup' }).click()
  await see(page.getByRole('heading', { name: 'Backup in progress' }))
  await page.getByText(/^1 of \d+ tables, 2,200 rows$/).click()
  await see(page.getByText('1,000 of 3,400 rows', { exact: true }))
  await expectAccessible(page)
  await takeScreenshots(page, 'running')

  await page.unrouteAll({ behavior: 'wait' })
  await see(page.getByText('Backup complete', { exact: true }))
})

test('narrows the list down by text, kind, state and day, and keeps that in the address', async () => {
  const page = await bench.openAsOwner()
  await see(backupRows(page).first())

  await page.getByLabel('Search in names, notes and tags').fill('quarter, "end"')
  await see(page.getByText('No backup fits these filters'))
  await page.getByRole('button', { name: 'Clear filters' }).first().click()
  await page.getByLabel('Search in names, notes and tags').fill('of quarter')
  await expect.poll(() => backupRows(page).count()).toBe(1)
  await see(backupRows(page).getByText('For the auditors'))
  await page.reload()
  await expect.poll(() => backupRows(page).count()).toBe(1)
  await page.getByRole('button', { name: 'Clear filters' }).click()

  await page.getByLabel('State', { exact: true }).selectOption('Failed')
  await expect.poll(() => backupRows(page).count()).toBe(2)
  await see(backupRows(page).getByText('The storage for backups could not be reached.'))
  await page.getByRole('button', { name: 'Clear filters' }).click()

  const day = page.getByRole('button', { name: /pinned$/ })
  await day.click()
  await expect.poll(() => backupRows(page).count()).toBe(1)
  await see(backupRows(page).getByText('End of quarter'))
  expect(await day.getAttribute('aria-pressed')).toBe('true')
  await page.getByRole('button', { name: 'Clear filters' }).click()
  await expect.poll(() => backupRows(page).count()).toBe(25)
})

test('chooses days by a calendar that is loaded when it is asked for', async () => {
  const page = await bench.openAsOwner()
  await page.getByRole('button', { name: 'Taken from – to: Any day' }).click()

  await see(page.getByRole('button', { name: 'Previous month' }))
  await expectAccessible(page)
  const days = page.getByRole('dialog').getByRole('button', { name: /^\d+ \w+ \d{4}$/ })
  await days.first().click()
  await days.last().click()

  await page.waitForURL((url) => url.searchParams.has('days'))
})

test('shows rows and size as a chart when it is asked for', async () => {
  const asked: string[] = []
  const page = await bench.openAsOwner()
  page.on('request', (request) => asked.push(request.url()))
  await see(page.getByText(/^\d+ days have a complete backup · 2 failed/))
  expect(asked.filter((url) => url.includes('chart'))).toEqual([])

  await page.getByRole('button', { name: 'Show chart' }).click()

  await see(page.getByRole('img', { name: /^Chart of \d+ complete backups/ }))
  await see(page.locator('.recharts-bar-rectangle'))
  await expectAccessible(page)
  await takeScreenshots(page, 'chart')
})

test('pins a backup with a reason, and lets it go again', async () => {
  const page = await bench.openAsOwner()
  const row = backupRows(page).filter({ hasText: 'Prices are settled' })

  await row.getByRole('button', { name: /^More actions for the backup of/ }).click()
  await see(page.getByRole('menuitem', { name: 'Download' }))
  await expectAccessible(page)
  await takeScreenshots(page, 'menu')
  await page.getByRole('menuitem', { name: 'Pin' }).click()
  const dialog = page.getByRole('dialog', { name: 'Pin this backup' })
  await dialog.getByRole('button', { name: 'Pin this backup' }).click()
  await see(dialog.getByText('Say why, so that somebody can lift the pin later'))
  await dialog.getByLabel('Why should it be kept?').fill('The auditors ask for it')
  await expectAccessible(page)
  await dialog.getByRole('button', { name: 'Pin this backup' }).click()

  await see(row.getByText('Pinned', { exact: true }))
  await see(row.getByText('The auditors ask for it'))
  await expect.poll(() => focused(page)).toMatch(/^More actions/)

  await page.keyboard.press('Enter')
  await page.getByRole('menuitem', { name: 'Unpin' }).click()
  const question = page.getByRole('dialog', { name: 'Unpin this backup' })
  await see(question.getByText('The auditors ask for it'))
  await expect.poll(() => focused(page)).toBe('Cancel')
  await question.getByRole('button', { name: 'Unpin this backup' }).click()
  await row.getByText('Pinned', { exact: true }).waitFor({ state: 'detached' })
})

test('changes name, note and tags; says in the dialog what went wrong, and keeps what was typed', async () => {
  const page = await bench.openAsOwner()
  const row = backupRows(page).filter({ hasText: 'Prices are settled' })
  await page.route('**/update-backup', (route) => route.abort())

  await row.getByRole('button', { name: /^More actions for the backup of/ }).click()
  await page.getByRole('menuitem', { name: 'Edit note and tags' }).click()
  const dialog = page.getByRole('dialog', { name: 'Edit note and tags' })
  await dialog.getByLabel('Name').fill('After the import')
  await dialog.getByRole('button', { name: 'Save note and tags' }).click()
  await see(dialog.getByText('No connection'))
  expect(await dialog.getByLabel('Name').inputValue()).toBe('After the import')
  await page.unroute('**/update-backup')
  await dialog.getByRole('button', { name: 'Save note and tags' }).click()

  await dialog.waitFor({ state: 'hidden' })
  await see(row.getByText('After the import'))
})

test('shows all times in UTC on a wish', async () => {
  const page = await bench.openAsOwner()

  await see(page.getByText('Europe/Berlin (UTC+', { exact: false }))
  await page.getByText('UTC', { exact: true }).click()
  expect(await backupRows(page).first().innerText()).toContain(' UTC')
})

test('says that there is no connection, and starts the backup once when it is tried again', async () => {
  const page = await bench.openAsOwner()
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
  const page = await bench.openPage()
  await page.route('**/.netlify/functions/**', (route) => route.abort())
  await signIn(page, bench.env.DEMO_OWNER_EMAIL, bench.env.DEMO_OWNER_PASSWORD)
  await see(page.getByText('No connection'))
  await expectAccessible(page)
  await takeScreenshots(page, 'functions-down')
  await page.unroute('**/.netlify/functions/**')

  await page.getByRole('button', { name: 'Try again' }).click()

  await see(page.getByRole('heading', { name: 'Backups of Prairie Welding & Gas' }))
})

test('says that the list could not be loaded when the tables are down, and the state still stands', async () => {
  const page = await bench.openPage()
  await page.route('**/rest/v1/**', (route) => route.fulfill({ status: 503, json: {} }))
  await signIn(page, bench.env.DEMO_OWNER_EMAIL, bench.env.DEMO_OWNER_PASSWORD)
  await see(page.getByRole('heading', { name: /^Backed up/ }))
  await see(page.getByText('The database could not be reached'))
  await takeScreenshots(page, 'tables-down')
  await page.unroute('**/rest/v1/**')

  await page.getByRole('button', { name: 'Try again' }).click()

  await see(backupRows(page).first())
})

test('fits a phone without scrolling sideways', async () => {
  const page = await bench.openAsOwner({ viewport: PHONE })
  await see(page.getByRole('listitem').getByText('Verified').first())
  expect(await sidewaysScroll(page)).toBe(0)
  await page.getByRole('button', { name: 'Filter' }).click()
  await expectAccessible(page)
  expect(await sidewaysScroll(page)).toBe(0)
  await page.getByRole('button', { name: 'Show chart' }).click()
  await see(page.locator('.recharts-bar-rectangle'))
  expect(await sidewaysScroll(page)).toBe(0)

  await page.getByRole('button', { name: 'Create backup' }).click()
  await see(page.getByRole('dialog'))
  expect(await sidewaysScroll(page)).toBe(0)
})

test('is readable in dark colours', async () => {
  const page = await bench.openAsOwner({ colorScheme: 'dark' })
  await see(backupRows(page).first())
  await expectAccessible(page)
  await page.getByRole('button', { name: 'Create backup' }).click()
  await see(page.getByRole('dialog'))
  await expectAccessible(page)
})

test('can be used by keyboard alone', async () => {
  const page = await bench.openPage()
  await tabTo(page, 'E-mail address')
  await page.keyboard.type(bench.env.DEMO_OWNER_EMAIL)
  await tabTo(page, 'Password')
  await page.keyboard.type(bench.env.DEMO_OWNER_PASSWORD)
  await page.keyboard.press('Enter')
  await see(backupRows(page).first())

  await tabTo(page, 'Available backups')
  await page.keyboard.press('ArrowRight')
  await see(page.getByRole('tab', { name: 'History', selected: true }))
  await page.keyboard.press('ArrowLeft')
  await see(backupRows(page).first())
  await page.locator('fieldset button[tabindex="0"]').focus()
  const today = await focused(page)
  await page.keyboard.press('ArrowLeft')
  expect(await focused(page)).not.toBe(today)
  await page.keyboard.press('End')
  expect(await focused(page)).toBe(today)

  await tabTo(page, 'Rows')
  await page.keyboard.press('Enter')
  await see(
    page.getByRole('columnheader', { name: 'Rows' }).and(page.locator('[aria-sort=descending]')),
  )

  await page.getByRole('tab', { name: 'Available backups' }).focus()
  await page.keyboard.press('Shift+Tab')
  expect(await focused(page)).toBe('Create backup')
  await page.keyboard.press('Enter')
  await see(page.getByRole('dialog'))
  await expect.poll(() => focused(page)).toContain('Name')
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'hidden' })
  await expect.poll(() => focused(page)).toBe('Create backup')
})

test('stays quick with 5,000 backups', async () => {
  await bench.query(
    `insert into public.tenant_backups (organization_id, organization_name, backup_type, status,
       created_at, backup_date, store_url, object_stamp, actor_kind, actor_label, error_code, error_message)
     select $1, 'Prairie Welding & Gas', 'manual', 'failed', now() - make_interval(days => 40, mins => i),
       (now() - make_interval(days => 40, mins => i))::date, 'none', 'none', 'system', 'test',
       'backup_cancelled', 'Made by a test.'
     from generate_series(1, 5000) as i`,
    [bench.env.DEMO_TENANT_ID],
  )
  try {
    const page = await bench.openAsOwner()
    await see(page.getByText(/^5,0\d\d backups/))
    expect(await backupRows(page).count()).toBe(25)
    await page.getByRole('button', { name: /^Page 20\d$/ }).click()
    await see(page.getByText(/of 5,0\d\d$/))
    await see(backupRows(page).getByText('Made by a test.'))
  } finally {
    await bench.query(`delete from public.tenant_backups where store_url = 'none'`)
  }
})

const backupRows = (page: Page) =>
  page.getByRole('table', { name: 'Available backups' }).locator('tbody tr')

async function countManual(): Promise<number> {
  const [row] = await bench.query<{ count: number }>(
    `select count(*)::int as count from public.tenant_backups
     where organization_id = $1 and backup_type = 'manual'`,
    [bench.env.DEMO_TENANT_ID],
  )
  return row?.count ?? 0
}

/** A month of backups like today's one, two of them failed, one pinned; nobody opens what they hold. */
async function addPastBackups(): Promise<void> {
  await bench.query(
    `insert into public.tenant_backups (organization_id, organization_name, backup_type, status,
       created_at, taken_at, completed_at, verified_at, backup_date, store_url, object_stamp,
       summary_path, summary_sha256, format_version, total_tables, total_records, raw_size, total_size,
       changes, name, note, tags, pinned_at, pinned_by, pinned_by_kind, pin_reason, actor_kind, actor_label,
       error_code, error_message)
     select b.organization_id, b.organization_name, 'daily_tenant',
       case when is_failed then 'failed' else 'complete' end,
       at, case when not is_failed then at end, at, case when not is_failed then at end,
       (at at time zone 'utc')::date, b.store_url, b.object_stamp,
       case when not is_failed then b.summary_path end, case when not is_failed then b.summary_sha256 end,
       b.format_version, case when not is_failed then b.total_tables end,
       case when not is_failed then b.total_records - i * 40 end,
       case when not is_failed then b.raw_size - i * 9000 end,
       case when not is_failed then b.total_size - i * 2000 end,
       case when not is_failed then
         '{"tables": [{"name": "customers", "rowsBefore": 90, "rowsAfter": 94}]}'::jsonb end,
       case i when 12 then 'End of quarter' end,
       case i when 12 then 'For the auditors' when 3 then 'Prices are settled' end,
       case i when 12 then array['quarter'] else '{}' end,
       case i when 12 then at end, case i when 12 then 'owner' end, case i when 12 then 'user' end,
       case i when 12 then 'State at the end of the quarter' end, 'cron', 'cron',
       case when is_failed then 'store_unavailable' end,
       case when is_failed then 'The storage for backups could not be reached.' end
     from (select * from public.tenant_backups
           where organization_id = $1 and status = 'complete' order by created_at limit 1) b,
       generate_series(1, 28) as i,
       lateral (select now() - make_interval(days => i) as at, i in (4, 17) as is_failed) as past`,
    [bench.env.DEMO_TENANT_ID],
  )
}
