import { expect, test } from 'vitest'
import { launchBrowser } from '../support/browser.ts'

test('a browser starts on this machine with nothing installed but the packages', async () => {
  const browser = await launchBrowser()
  const page = await browser.newPage()

  await page.setContent('<h1>Grüße</h1><script>document.title = String(6 * 7)</script>')

  const seen = { heading: await page.textContent('h1'), title: await page.title() }
  await browser.close()
  expect(seen).toEqual({ heading: 'Grüße', title: '42' })
})
