import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { parseSigningKeys } from '../../src/core/backup/signature.ts'
import { openArchive } from '../../src/core/restore/open-archive.ts'
import { launchBrowser } from '../support/browser.ts'
import { type LocalStack, startLocalStack } from '../support/local-stack.ts'

let stack: LocalStack
let browser: Browser
let context: BrowserContext
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-saved-'))
  ;[stack, browser] = await Promise.all([startLocalStack(), launchBrowser()])
})

afterAll(async () => {
  await browser?.close()
  await stack?.stop()
  await rm(folder, { recursive: true, force: true })
})

beforeEach(async () => {
  context = await browser.newContext({ locale: 'en-GB', acceptDownloads: true })
})

afterEach(() => context.close())

test('saves a backup as one zip that opens with every proof, and loads what makes zips only then', async () => {
  const asked: string[] = []
  context.on('request', (request) => asked.push(request.url()))
  const page = await openAsOwner()
  expect(asked.filter((url) => /jszip|make-archive/.test(url))).toEqual([])
  const saved = page.waitForEvent('download', { timeout: 90_000 })

  await downloadButton(page).click()

  const download = await saved
  expect(download.suggestedFilename()).toMatch(/^prairie-welding-gas-\d{4}-\d\d-\d\d-\d{6}\.zip$/)
  const file = join(folder, download.suggestedFilename())
  await download.saveAs(file)
  const source = await openArchive({
    file,
    signingKeys: parseSigningKeys({ current: stack.env.BACKUP_SIGNING_KEY }),
    tenantId: stack.env.DEMO_TENANT_ID,
  })
  expect(source).toMatchObject({ kind: 'archive', warnings: [] })
  let rows = 0
  for (const part of source.summary.tables.flatMap((table) => table.parts)) {
    expect(await source.readPart(part)).toHaveLength(part.raw_bytes)
    rows += part.rows
  }
  expect(rows).toBe(source.summary.totals.rows)
  await see(page.getByText('The file holds personal data'))
  expect(asked.some((url) => /make-archive/.test(url))).toBe(true)
})

test('says what went wrong, and saves the backup when it is asked again', async () => {
  const page = await openAsOwner()
  await page.route('**/storage/v1/object/sign/**', (route) => route.abort())

  await downloadButton(page).click()

  await see(page.getByRole('alert').filter({ hasText: 'No connection' }))
  await page.unroute('**/storage/v1/object/sign/**')
  const saved = page.waitForEvent('download', { timeout: 90_000 })
  await downloadButton(page).click()
  await saved
})

async function openAsOwner(): Promise<Page> {
  const page = await context.newPage()
  page.setDefaultTimeout(30_000)
  await page.goto(stack.env.APP_URL)
  await page.getByLabel('E-mail address').fill(stack.env.DEMO_OWNER_EMAIL)
  await page.getByLabel('Password', { exact: true }).fill(stack.env.DEMO_OWNER_PASSWORD)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await see(downloadButton(page))
  return page
}

const downloadButton = (page: Page) =>
  page.getByRole('button', { name: /^Download the backup/ }).first()

const see = (locator: Locator) => locator.first().waitFor({ state: 'visible' })
