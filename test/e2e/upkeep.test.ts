import { setTimeout as sleep } from 'node:timers/promises'
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

/** What the page says of backups that are kept, proven, damaged and removed. */

let bench: PageBench
let tenantId: string
/** Ids: the first daily one and two by hand are 70 days old, the newest is of now. */
let daily: string
let byHand: string[]
let newest: string

beforeAll(async () => {
  bench = await startPageBench()
  tenantId = bench.env.DEMO_TENANT_ID
  const [first] = await bench.query<{ id: string }>(
    `select id from public.tenant_backups where organization_id = $1 and status = 'complete'
     order by created_at limit 1`,
    [tenantId],
  )
  daily = first?.id ?? ''
  const token = await readOwnerToken()
  byHand = [await takeByHand(token, 'Before the move'), await takeByHand(token, null)]
  newest = await takeByHand(token, 'The newest one')
  await bench.query(
    `update public.tenant_backups set created_at = created_at - interval '70 days',
       taken_at = taken_at - interval '70 days', completed_at = completed_at - interval '70 days',
       verified_at = verified_at - interval '70 days', backup_date = backup_date - 70
     where id = any ($1)`,
    [[daily, ...byHand]],
  )
})
afterAll(() => bench?.stop())
afterEach(() => bench.closePages())

test('the owner reads what is proven, held and damaged, and how long each is kept', async () => {
  await bench.query(
    `with drilled as (
       insert into tenantkeep.drills (id, organization_id, backup_id, in_rotation, status, finished_at,
         rows, bytes, duration_ms)
       values (gen_random_uuid(), $1, $2, true, 'passed', now(), 1200, 90000, 42300)
     )
     update public.tenant_backups set proven_at = now() where id = $2`,
    [tenantId, newest],
  )
  await bench.query(
    `update public.tenant_backups set pinned_at = now(), pinned_by = 'ops@example.com',
       pinned_by_kind = 'operator', pin_reason = 'Tax audit of 2026' where id = $1`,
    [daily],
  )
  await markDamaged(byHand[0] ?? '', 'A file of customers is missing.')
  const page = await bench.openAsOwner()

  await see(page.getByText(/^Last proven restorable .+ · restoring took 42 seconds$/))
  const proven = row(page, 'The newest one')
  await see(proven.getByText('Proven', { exact: true }))
  await proven.getByText(/^Kept at least until \d/).click()
  await see(proven.getByText('It is younger than 30 days.'))
  const held = page.getByRole('row').filter({ hasText: 'Held by ops@example.com' })
  await see(held.getByText('Held by ops@example.com: Tax audit of 2026'))
  await see(held.getByText('Kept until an operator lifts the hold'))
  const damaged = row(page, 'Before the move')
  await see(
    damaged.getByText('A file of customers is missing. It is neither compared nor restored.'),
  )
  await expectAccessible(page)
  await takeScreenshots(page, 'upkeep-list')

  const restore = damaged.getByRole('button', { name: /^Restore/ })
  await restore.focus()
  await page.keyboard.press('Enter')
  expect(await restore.getAttribute('aria-disabled')).toBe('true')
  expect(new URL(page.url()).searchParams.has('view')).toBe(false)
  await held.getByRole('button', { name: /^More actions/ }).click()
  await page.getByRole('menuitem', { name: 'Unpin' }).click()
  const dialog = page.getByRole('dialog', { name: 'Unpin this backup' })
  await see(dialog.getByText(/^ops@example.com holds this backup/))
  expect(await dialog.getByRole('button').allInnerTexts()).toEqual(['', 'Close'])
  await expectAccessible(page)
  await takeScreenshots(page, 'held-dialog')
  await page.keyboard.press('Escape')
  await page.getByRole('combobox', { name: 'State' }).selectOption('Damaged')
  await see(page.getByText(/^1 backup/))

  await bench.query(
    `update public.tenant_backups set damaged_at = null, damage = null, pinned_at = null,
       pinned_by = null, pinned_by_kind = null, pin_reason = null where organization_id = $1`,
    [tenantId],
  )
})

test('a damaged newest backup is said at the top, with the one that can be used', async () => {
  await markDamaged(newest, 'The file of invoices is not as it was written.')
  const page = await bench.openAsOwner()

  await see(page.getByRole('heading', { name: 'The newest backup cannot be used' }))
  await see(page.getByText(/The newest good one is of/))
  await expectAccessible(page)
  await takeScreenshots(page, 'damaged')

  await bench.query(
    'update public.tenant_backups set damaged_at = null, damage = null where id = $1',
    [newest],
  )
})

test('an operator pauses a tenant with a reason, its owner reads it, and it is resumed', async () => {
  const page = await bench.openAsOperator()
  await see(page.getByRole('table'))

  await tabTo(page, 'Pause… the backups of Prairie')
  await page.keyboard.press('Enter')
  const dialog = page.getByRole('dialog', { name: /^Pause the backups of Prairie/ })
  await dialog.getByRole('button', { name: 'Pause the backups' }).click()
  await see(dialog.getByText('Say why: the owner reads it, and it is in the history'))
  await dialog.getByLabel('Why?').fill('The contract ended')
  await expectAccessible(page)
  await takeScreenshots(page, 'pause-dialog')
  await dialog.getByRole('button', { name: 'Pause the backups' }).click()
  await dialog.waitFor({ state: 'hidden' })
  await see(page.getByRole('button', { name: /^Resume… the backups of Prairie/ }))

  const owners = await bench.openAsOwner()
  await see(owners.getByRole('heading', { name: 'Backups are paused' }))
  await see(owners.getByText(/: The contract ended\.$/))
  await takeScreenshots(owners, 'paused')

  await page.getByRole('button', { name: /^Resume… the backups of Prairie/ }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Resume the backups' }).click()
  await see(page.getByRole('button', { name: /^Pause… the backups of Prairie/ }))
  await page.getByRole('link', { name: 'Prairie Welding & Gas' }).click()
  await page.getByRole('tab', { name: 'History' }).click()
  await page.getByRole('combobox', { name: 'What happened' }).selectOption('Pauses and rules')
  await see(page.getByText('2 entries'))
  await page.getByRole('button', { name: /^Details: Daily backups resumed/ }).click()
  await see(page.getByText(/^It was paused by .+: “The contract ended”\.$/))
})

test('an operator removes exactly what no rule keeps, after reading which and why', async () => {
  const page = await bench.openAsOperator({ search: '?show=pruning' })

  await see(page.getByText(/^2 backups would go, \d+ stay\./))
  await page.getByText('Which, and why').click()
  await see(page.getByText('No rule of the retention policy keeps it.'))
  await see(page.getByText('everything younger than 30 days', { exact: true }))
  await expectAccessible(page)
  await takeScreenshots(page, 'pruning')
  const remove = page.getByRole('button', { name: 'Remove 2 backups' })
  await remove.click()
  await see(page.getByText('Type the number as shown: 2'))
  expect(await countPruned()).toBe(0)

  // Somebody pins one of them meanwhile: then nothing goes.
  const [kept = '', going = ''] = byHand
  await bench.query(
    `update public.tenant_backups set pinned_at = now(), pinned_by = 'x', pinned_by_kind = 'user',
       pin_reason = 'still needed' where id = $1`,
    [kept],
  )
  await page.getByLabel('Type 2 to confirm').fill('2')
  await remove.click()
  await see(page.getByText('What would go is not what was shown'))
  await see(page.getByText(/^1 backup would go, /))
  expect(await countPruned()).toBe(0)

  await page.getByLabel('Type 1 to confirm').fill('1')
  await page.getByRole('button', { name: 'Remove 1 backup' }).click()
  await see(page.getByText('1 backup removed', { exact: true }))
  await takeScreenshots(page, 'pruned')
  const [pruned] = await bench.query<{ id: string; reason: string }>(
    `select id, prune_reason as reason from public.tenant_backups where status = 'pruned'`,
  )
  expect(pruned).toEqual({ id: going, reason: 'No rule of the retention policy keeps it.' })
  await page.getByRole('button', { name: 'Look again' }).click()
  await see(page.getByText('There is nothing to remove'))
  await page.setViewportSize(PHONE)
  expect(await sidewaysScroll(page)).toBe(0)
  await expectAccessible(page)

  await page.getByRole('button', { name: 'Back to the tenants' }).click()
  await page.getByRole('link', { name: 'Prairie Welding & Gas' }).click()
  await page.getByRole('tab', { name: 'History' }).click()
  await page.getByRole('combobox', { name: 'What happened' }).selectOption('Pruning and erasure')
  await page.getByRole('button', { name: /^Details: Pruning/ }).click()
  await see(page.getByText(/^1 backup removed: \d+ files?, /))
})

const row = (page: Page, text: string) => page.getByRole('row').filter({ hasText: text })

async function markDamaged(id: string, message: string): Promise<void> {
  await bench.query(
    `update public.tenant_backups set damaged_at = now(), checked_at = now(),
       damage = jsonb_build_array(jsonb_build_object(
         'code', 'object_missing', 'message', $2::text, 'table', 'customers', 'path', null))
     where id = $1`,
    [id, message],
  )
}

async function countPruned(): Promise<number> {
  const rows = await bench.query(`select from public.tenant_backups where status = 'pruned'`)
  return rows.length
}

async function readOwnerToken(): Promise<string> {
  const { env } = bench
  const answer = await fetch(`${env.SUPABASE_URL}/auth/v1/token?grant_type=password`, {
    method: 'POST',
    headers: { apikey: env.SUPABASE_PUBLISHABLE_KEY, 'content-type': 'application/json' },
    body: JSON.stringify({ email: env.DEMO_OWNER_EMAIL, password: env.DEMO_OWNER_PASSWORD }),
  })
  const { access_token } = await answer.json()
  return access_token
}

async function takeByHand(token: string, name: string | null): Promise<string> {
  const url = new URL('/.netlify/functions/daily-tenant-backup', bench.env.APP_URL)
  const answer = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ organization_id: tenantId, ...(name === null ? {} : { name }) }),
  })
  const { run_id: runId } = await answer.json()
  // On a busy machine it goes on in the background.
  for (;;) {
    const [taken] = await bench.query<{ id: string }>(
      `select id from public.tenant_backups where run_id = $1 and status <> 'running'`,
      [runId],
    )
    if (taken !== undefined) return taken.id
    await sleep(200)
  }
}
