import { readFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  expectAccessible,
  type PageBench,
  PHONE,
  see,
  sidewaysScroll,
  startPageBench,
  tabTo,
  takeScreenshots,
} from '../support/page.ts'

/** One whose name is blank. */
const UNNAMED = 'a0000000-0000-4000-8000-000000000004'

let bench: PageBench
beforeAll(async () => {
  bench = await startPageBench()
  const { DEMO_OTHER_TENANT_ID: late } = bench.env
  await bench.query(
    `update public.tenant_backups set taken_at = now() - interval '31 hours',
       created_at = now() - interval '31 hours' where organization_id = $1`,
    [late],
  )
  await bench.query(`update public.organizations set name = ' ' where id = $1`, [UNNAMED])
  await bench.query(
    `with failed as (
       insert into public.tenant_backups (organization_id, organization_name, backup_type, status,
         store_url, object_stamp, actor_kind, actor_label, error_code, error_message)
       values ($1, 'Nordlicht Medizingase GmbH', 'daily_tenant', 'failed', 'supabase://backups', 'x',
         'cron', 'cron', 'store_unavailable', 'The storage could not be reached.')
       returning *
     )
     insert into public.backup_logs (organization_id, backup_type, status, backup_id, actor_kind,
       actor_label, error_code, error_message, note)
     select organization_id, backup_type, status, id, actor_kind, actor_label, error_code,
       error_message, '=1+1, "typed"' from failed`,
    [late],
  )
})
afterAll(() => bench?.stop())
afterEach(() => bench.closePages())

const heading = (page: Page, name: string) => page.getByRole('heading', { level: 1, name })

test('an operator sees every tenant, what needs attention first', async () => {
  const page = await bench.openAsOperator()

  await see(heading(page, 'All tenants'))
  await see(page.getByRole('table'))
  const rows = page.getByRole('row')
  // The heading, five customers, and the template, which counts in no figure.
  expect(await rows.count()).toBe(7)
  const first = await rows.nth(1).innerText()
  expect(first).toContain('Nordlicht Medizingase GmbH')
  expect(first).toContain('Overdue')
  expect(first).toContain('The storage could not be reached.')
  await see(page.getByText('5 tenants, 1 needs attention'))
  const template = rows.filter({ hasText: 'Template' })
  expect(await template.getByRole('link').getAttribute('href')).toBe(
    `?tenant=${bench.env.DEMO_TEMPLATE_TENANT_ID}`,
  )
  expect(await rows.getByText('Template', { exact: true }).count()).toBe(1)
  await see(page.getByRole('button', { name: `Pause… the backups of ${UNNAMED}` }))
  await expectAccessible(page)
  await takeScreenshots(page, 'tenants')
  await page.getByRole('link', { name: UNNAMED }).click()
  await see(heading(page, `Backups of ${UNNAMED}`))
})

test('searches, opens one by keyboard, reads its backups and history, and comes back', async () => {
  const page = await bench.openAsOperator()
  await see(page.getByRole('table'))

  const search = page.getByRole('textbox', { name: 'Search tenants' })
  await search.fill('no such tenant')
  await see(page.getByText('No tenant matches “no such tenant”'))
  await search.fill('BREWERY')
  await see(page.getByRole('status').getByText('1 tenant found'))
  await tabTo(page, `O'Malley's`)
  await page.keyboard.press('Enter')

  await see(heading(page, `Backups of O'Malley's "CO₂ & Co." Brewery Supply`))
  expect(new URL(page.url()).searchParams.get('tenant')).toMatch(/^a0000000-/)
  // Row level security lets operators read what they can ask the functions for anyway.
  await see(page.getByRole('table').getByText('Verified'))
  await page.getByRole('tab', { name: 'History' }).click()
  await see(page.getByRole('cell', { name: 'Daily backup' }))
  await page.reload()
  await see(heading(page, `Backups of O'Malley's "CO₂ & Co." Brewery Supply`))
  await page.getByRole('tab', { name: 'All tenants' }).click()

  await see(page.getByRole('link', { name: 'Balloon Barn' }))
  await see(heading(page, 'All tenants'))
})

test('reads the same on a phone', async () => {
  const page = await bench.openAsOperator({ viewport: PHONE, colorScheme: 'dark' })

  await see(page.getByRole('link', { name: 'Nordlicht Medizingase GmbH' }))
  expect(await sidewaysScroll(page)).toBe(0)
  await expectAccessible(page)
})

test('the history is filtered, unfolds, and goes into a file for spreadsheets', async () => {
  const { DEMO_OTHER_TENANT_ID: tenantId } = bench.env
  const [failed] = await bench.query<{ count: number }>(
    `select count(*)::int as count from public.backup_logs
     where organization_id = $1 and status in ('failed', 'cancelled')`,
    [tenantId],
  )
  const page = await bench.openAsOperator({ search: `?tenant=${tenantId}&tab=history` })
  await see(page.getByRole('table'))

  await page.getByRole('combobox', { name: 'What happened' }).selectOption('Restores and undos')
  await see(page.getByText('Nothing fits these filters'))
  await page.getByRole('button', { name: 'Clear filters' }).first().click()
  await page.getByRole('combobox', { name: 'Result' }).selectOption('Failed or stopped')
  await see(page.getByText(/^\d+ entr(y|ies)$/))
  const details = page.getByRole('button', { name: /^Details: Daily backup/ }).first()
  await details.focus()
  await page.keyboard.press('Enter')
  await see(page.getByText('store_unavailable'))
  expect(await details.getAttribute('aria-expanded')).toBe('true')
  await expectAccessible(page)
  await takeScreenshots(page, 'history')

  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Export as CSV' }).click(),
  ])
  expect(download.suggestedFilename()).toMatch(/^backup-history-\d{4}-\d\d-\d\d\.csv$/)
  const lines = (await readFile(await download.path(), 'utf8')).split('\r\n')
  expect(lines).toHaveLength((failed?.count ?? 0) + 2)
  expect(lines[1]).toContain(`"'=1+1, ""typed""",The storage could not be reached.`)
})
