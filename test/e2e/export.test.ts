import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { parseSigningKeys } from '../../src/core/backup/signature.ts'
import { openArchive } from '../../src/core/restore/open-archive.ts'
import {
  expectAccessible,
  type PageBench,
  see,
  startPageBench,
  takeScreenshots,
} from '../support/page.ts'

let bench: PageBench
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-saved-'))
  bench = await startPageBench()
})

afterAll(async () => {
  await bench?.stop()
  await rm(folder, { recursive: true, force: true })
})

afterEach(() => bench.closePages())

test('saves a backup as one zip that opens with every proof, and loads what makes zips only then', async () => {
  const asked: string[] = []
  const page = await bench.openAsOwner()
  page.on('request', (request) => asked.push(request.url()))
  const dialog = await openDownload(page)
  await expectAccessible(page)
  await takeScreenshots(page, 'download')
  expect(asked.filter((url) => /jszip|make-archive/.test(url))).toEqual([])
  const saved = page.waitForEvent('download', { timeout: 90_000 })

  await downloadButton(dialog).click()

  const download = await saved
  expect(download.suggestedFilename()).toMatch(/^prairie-welding-gas-\d{4}-\d\d-\d\d-\d{6}\.zip$/)
  const file = join(folder, download.suggestedFilename())
  await download.saveAs(file)
  const source = await openArchive({
    file,
    signingKeys: parseSigningKeys({ current: bench.env.BACKUP_SIGNING_KEY }),
    tenantId: bench.env.DEMO_TENANT_ID,
  })
  expect(source).toMatchObject({ kind: 'archive', warnings: [] })
  let rows = 0
  for (const part of source.summary.tables.flatMap((table) => table.parts)) {
    expect(await source.readPart(part)).toHaveLength(part.raw_bytes)
    rows += part.rows
  }
  expect(rows).toBe(source.summary.totals.rows)
  await see(dialog.getByText('The file holds'))
  expect(asked.some((url) => /make-archive/.test(url))).toBe(true)
})

test('says what went wrong, and saves the backup when it is asked again', async () => {
  const page = await bench.openAsOwner()
  const dialog = await openDownload(page)
  await page.route('**/storage/v1/object/sign/**', (route) => route.abort())

  await downloadButton(dialog).click()

  await see(page.getByRole('alert').filter({ hasText: 'No connection' }))
  await page.unroute('**/storage/v1/object/sign/**')
  const saved = page.waitForEvent('download', { timeout: 90_000 })
  await downloadButton(dialog).click()
  await saved
})

/** The dialog that asks before the newest backup is downloaded. */
async function openDownload(page: Page): Promise<Locator> {
  await page
    .getByRole('button', { name: /^More actions for the backup of/ })
    .first()
    .click()
  await page.getByRole('menuitem', { name: 'Download' }).click()
  const dialog = page.getByRole('dialog', { name: 'Download this backup' })
  await see(downloadButton(dialog))
  return dialog
}

const downloadButton = (dialog: Locator) => dialog.getByRole('button', { name: /^Download/ })
