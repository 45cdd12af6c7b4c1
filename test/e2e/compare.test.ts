import type { Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import {
  expectAccessible,
  focused,
  type PageBench,
  PHONE,
  see,
  sidewaysScroll,
  startPageBench,
  tabTo,
  takeScreenshots,
} from '../support/page.ts'

/** More than a page of rows that are missing. */
const DELETED = 30

let bench: PageBench
let tenant: string
/** The backup that the stack took before anything was damaged. */
let backup: string
/** Two customers, as they were called. */
let changed: { id: string; name: string }[]

beforeAll(async () => {
  bench = await startPageBench()
  tenant = bench.env.DEMO_TENANT_ID
  backup = await firstBackup()
  changed = await damage()
})
afterAll(() => bench?.stop())
afterEach(() => bench.closePages())

test('says how many rows are missing, changed and newer, and shows what was and what is', async () => {
  const page = await openComparison()

  await see(page.getByRole('button', { name: new RegExp(`^${DELETED + 1} ?missing`) }))
  await see(page.getByRole('button', { name: /^2 ?changed/ }))
  // The customer that is new, and what the application itself noted of three changes.
  await see(page.getByRole('button', { name: /^4 ?newer/ }))
  expect(await tableNames(page)).toEqual([
    'Notifications',
    'Customers',
    'Ownership values',
    'Audit logs',
  ])
  await expectAccessible(page)
  await takeScreenshots(page, 'compare')

  const rows = await openTable(page, 'Customers')
  const row = rows.filter({ hasText: changed[0]?.id ?? '?' })
  await see(row.getByText('Changed'))
  await see(row.getByRole('cell', { name: changed[0]?.name ?? '?', exact: true }))
  await see(row.getByRole('cell', { name: `${changed[0]?.name} GmbH` }))
  await see(page.getByRole('columnheader', { name: 'Now' }))
  await see(rows.filter({ hasText: 'Nord Gas' }).getByText('no such row'))
  await expectAccessible(page)
  await takeScreenshots(page, 'compare-rows')

  await page.getByRole('button', { name: /^4 ?newer/ }).click()
  expect(await tableNames(page)).toEqual(['Customers', 'Audit logs'])
  await page.getByRole('button', { name: /^4 ?newer/ }).click()
  await page.getByRole('switch', { name: 'Only tables with differences' }).click()
  await see(page.getByText(/^Equal · /))
})

test('shows the rows of a table a page at a time, and computes nothing again for it', async () => {
  const page = await openComparison()
  const before = await countRuns()

  const rows = await openTable(page, 'Notifications')
  await see(page.getByText(`Rows 1–25 of ${DELETED}`))
  expect(await rows.count()).toBe(25)
  await page.getByRole('button', { name: 'Page 2' }).click()

  await see(page.getByText(`Rows 26–${DELETED} of ${DELETED}`))
  expect(await rows.count()).toBe(DELETED - 25)
  await page.getByRole('button', { name: `Tick all ${DELETED}` }).click()
  await see(page.getByText(`${DELETED} rows ticked in 1 table`))
  expect(await countRuns()).toBe(before)
})

test('finds a value in all tables, whatever its case, and says where there is none', async () => {
  const page = await openComparison()
  const search = page.getByRole('searchbox', { name: 'Search the rows that differ' })

  await search.fill(`${changed[0]?.name.toUpperCase()} GMBH`)

  const found = page.getByRole('table', { name: /^Rows with/ })
  await see(found.locator('mark', { hasText: `${changed[0]?.name} GmbH` }))
  await see(found.getByText('Customers'))
  await expectAccessible(page)
  await takeScreenshots(page, 'compare-search')
  await search.fill('no row holds this')
  await see(page.getByText('No row that differs holds «no row holds this».'))
})

test('takes ticked rows to the restore, and keeps them over a reload and the way back', async () => {
  const page = await openComparison()
  await openTable(page, 'Customers')
  const tick = page.getByRole('checkbox', { name: `Tick ${changed[0]?.name} GmbH` })
  await tick.check()
  await see(page.getByText('1 row ticked in 1 table'))
  await expectAccessible(page)
  await takeScreenshots(page, 'compare-ticked')
  const before = await countRuns()

  await page.reload()
  await see(page.getByText('1 row ticked in 1 table'))
  await openTable(page, 'Customers')
  expect(await tick.isChecked()).toBe(true)
  await page.getByRole('button', { name: 'Tick all 3' }).click()
  await page.getByRole('button', { name: 'Restore these 3 rows' }).click()

  await page.waitForURL((url) => url.searchParams.get('view') === 'restore')
  const { searchParams } = new URL(page.url())
  expect([searchParams.get('backup'), searchParams.get('run')]).toEqual([backup, null])
  expect(await readKept(page)).toMatchObject({
    customers: expect.arrayContaining([{ key: { id: changed[0]?.id }, kind: 'changed' }]),
  })
  await page.goBack()
  await see(page.getByText('3 rows ticked in 1 table'))
  expect(await countRuns()).toBe(before)
  await page.getByRole('button', { name: 'Clear', exact: true }).click()
  await page.getByText('3 rows ticked').waitFor({ state: 'hidden' })
  expect(await readKept(page)).toBeNull()
})

test('says why rows of a table without a key can not be ticked', async () => {
  const page = await openComparison()

  const rows = await openTable(page, 'Ownership values')

  await see(
    page.getByText('Rows of this table have no key that tells them apart', { exact: false }),
  )
  expect(await rows.getByRole('checkbox').count()).toBe(0)
})

test('never shows what is masked', async () => {
  await mask('{name}')
  const page = await openComparison()

  const rows = await openTable(page, 'Customers')

  await see(rows.filter({ hasText: changed[1]?.id ?? '?' }).getByText('masked'))
  expect(await page.getByText('GmbH').count()).toBe(0)
  await mask('{}')
})

test('compares with another backup; the way back finds the first comparison again', async () => {
  const page = await openComparison()
  const later = await takeBackup(page)
  await page.reload()
  await see(page.getByRole('button', { name: /missing/ }))
  const before = await countRuns()

  await page.getByLabel('Compared with').selectOption(later)
  await page.waitForURL((url) => url.searchParams.get('with') === later)
  await see(page.getByRole('button', { name: /missing.*in the later backup/ }))
  expect(await countRuns()).toBe(before + 1)
  await page.goBack()
  await see(page.getByRole('button', { name: /missing.*not now/ }))
  expect(await countRuns()).toBe(before + 1)

  await page.goto(`${bench.env.APP_URL}?view=compare&backup=${later}`)
  await see(page.getByText('No differences: live data equals this backup.'))
  await expectAccessible(page)
  await takeScreenshots(page, 'compare-equal')
})

test('shows a comparison that another tab started, and how it ends', async () => {
  const run = await insertRun('running')
  const page = await bench.openAsOwner({ search: `?view=compare&backup=${backup}&run=${run}` })

  await see(page.getByText('Comparing row by row: Customers, 500 of 909 rows'))
  await expectAccessible(page)
  await takeScreenshots(page, 'compare-running')
  await bench.query(
    `update tenantkeep.runs set status = 'failed', finished_at = now(),
       error_code = 'restore_too_long', error_message = 'It took too long.' where id = $1`,
    [run],
  )
  await see(
    page.getByRole('heading', { name: 'All tables at once take longer than this page may' }),
  )
  await page.getByLabel('Customers', { exact: true }).check()
  await expectAccessible(page)
  await takeScreenshots(page, 'compare-too-long')
  await page.getByRole('button', { name: 'Compare 1 table' }).click()

  await see(page.getByText('Only Customers: the other tables were not compared.'))
  await see(page.getByRole('button', { name: /^2 ?changed/ }))
})

test('says that a comparison is no longer kept, and compares again', async () => {
  const run = await insertRun('complete')
  const page = await bench.openAsOwner({ search: `?view=compare&backup=${backup}&run=${run}` })

  await see(page.getByText('This comparison is no longer kept'))
  await page.getByRole('button', { name: 'Compare again' }).last().click()

  await see(page.getByRole('button', { name: /^2 ?changed/ }))
})

test('says that there is no connection, no such backup, and recovers', async () => {
  const page = await bench.openAsOwner({ search: '?view=compare&backup=nothing' })
  await see(page.getByText('There is no such backup of this tenant.'))
  await page.route('**/compare-backups', (route) => route.abort())

  await page.goto(`${bench.env.APP_URL}?view=compare&backup=${backup}`)
  await see(page.getByText('No connection'))
  await page.unroute('**/compare-backups')
  await page.getByRole('button', { name: 'Try again' }).click()

  await see(page.getByRole('button', { name: /^2 ?changed/ }))
})

test('can be used by keyboard alone, on a phone too', async () => {
  const page = await bench.openAsOwner({
    search: `?view=compare&backup=${backup}`,
    viewport: PHONE,
  })
  await see(page.getByRole('button', { name: /^2 ?changed/ }))
  expect(await focused(page)).toBe('Compare')
  await tabTo(page, 'Customers')
  await page.keyboard.press('Enter')
  await see(page.getByRole('list', { name: 'Rows of Customers that differ' }))
  await tabTo(page, `Tick ${changed[0]?.name} GmbH`)
  await page.keyboard.press('Space')
  await see(page.getByText('1 row ticked in 1 table'))
  expect(await sidewaysScroll(page)).toBe(0)
  await expectAccessible(page)
  await tabTo(page, 'Restore this row')
  await page.keyboard.press('Enter')

  await page.waitForURL((url) => url.searchParams.get('view') === 'restore')
})

async function openComparison(): Promise<Page> {
  const page = await bench.openAsOwner({ search: `?view=compare&backup=${backup}` })
  await see(page.getByRole('heading', { level: 2, name: 'Compare' }))
  await see(page.getByRole('button', { name: /^2 ?changed/ }))
  return page
}

const tableNames = async (page: Page) => {
  const names = await page.getByRole('heading', { level: 3 }).locator('button').allInnerTexts()
  return names.map((name) => name.split('\n')[0]?.replace(/ [a-z_]+$/, ''))
}

/** Opens a table of the comparison, and gives its rows. */
async function openTable(page: Page, name: string): Promise<Locator> {
  await page.getByRole('button', { name: new RegExp(`^${name} `) }).click()
  const table = page.getByRole('table', { name: `Rows of ${name} that differ` })
  await see(table)
  return table.locator('tbody')
}

const readKept = (page: Page) =>
  page.evaluate((id) => {
    const kept = sessionStorage.getItem(`tenantkeep:ticked:${id}`)
    return kept === null ? null : JSON.parse(kept)
  }, backup)

/** On a busy machine the first backup of the day goes on in the background. */
async function firstBackup(): Promise<string> {
  const find = async () => {
    const [first] = await bench.query<{ id: string }>(
      `select id from public.tenant_backups where organization_id = $1 and status = 'complete'
       order by created_at limit 1`,
      [tenant],
    )
    if (first === undefined) throw new Error('The stack took no backup.')
    return first.id
  }
  return vi.waitFor(find, { timeout: 120_000, interval: 500 })
}

/** A bad day, past the application. */
async function damage() {
  const renamed = await bench.query<{ id: string; name: string }>(
    `with two as (
       select id, name from public.customers where organization_id = $1 order by customer_number limit 2
     )
     update public.customers c set name = two.name || ' GmbH' from two where c.id = two.id
     returning c.id, two.name`,
    [tenant],
  )
  await bench.query(
    `insert into public.customers (organization_id, customer_number, name) values ($1, 'N-1', 'Nord Gas')`,
    [tenant],
  )
  await bench.query(
    `delete from public.notifications where id in (
       select id from public.notifications where organization_id = $1 order by id limit ${DELETED})`,
    [tenant],
  )
  await bench.query(
    `delete from public.ownership_values where ctid = (
       select ctid from public.ownership_values where organization_id = $1 limit 1)`,
    [tenant],
  )
  return renamed
}

/** As somebody else's tab would have started it: running, or done two days ago. */
async function insertRun(status: 'running' | 'complete'): Promise<string> {
  const [row] = await bench.query<{ id: string }>(
    `insert into tenantkeep.runs
       (kind, status, actor_kind, actor_label, tenant_ids, request, progress, finished_at)
     values ('compare', $2, 'user', 'another tab', array[$1], '{"tables": null}',
       '{"phase": "staging", "table": "customers", "rowsDone": 500, "rowsTotal": 909}',
       case when $2 = 'complete' then now() - interval '2 days' end)
     returning id`,
    [tenant, status],
  )
  return row?.id ?? ''
}

async function mask(columns: string): Promise<void> {
  await bench.query(
    `update tenantkeep.tenant_tables set masked_columns = $1 where table_name = 'customers'`,
    [columns],
  )
}

/** Takes a backup as the person who is signed in on the page. */
async function takeBackup(page: Page): Promise<string> {
  const answer = await page.evaluate(async (organizationId) => {
    const key = Object.keys(localStorage).find((name) => name.endsWith('-auth-token')) ?? ''
    const { access_token: token } = JSON.parse(localStorage.getItem(key) ?? '{}')
    const response = await fetch('/.netlify/functions/daily-tenant-backup', {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ organization_id: organizationId }),
    })
    return response.json()
  }, tenant)
  return answer.backup_id
}

async function countRuns(): Promise<number> {
  const [row] = await bench.query<{ count: number }>(
    `select count(*)::int as count from tenantkeep.runs where kind = 'compare'`,
  )
  return row?.count ?? 0
}
