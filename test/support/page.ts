import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import axe from 'axe-core'
import pg from 'pg'
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'
import { expect } from 'vitest'
import * as z from 'zod'
import { launchBrowser } from './browser.ts'
import { type LocalStack, startLocalStack } from './local-stack.ts'

export const DESKTOP = { width: 1440, height: 900 }
export const PHONE = { width: 360, height: 740 }

/** A local stack and a browser for a file of tests. */
export interface PageBench {
  env: LocalStack['env']
  /** A page of a new visitor, at the address of the page. */
  openPage(options?: OpenOptions): Promise<Page>
  /** A page of somebody who has signed in: by the form the first time, with the same session from then on. */
  openAsOwner(options?: OpenOptions): Promise<Page>
  openAsOperator(options?: OpenOptions): Promise<Page>
  /**
   * Closes the pages of a test. Fails where one of them asked another host for something, or complained in
   * the console: a style or script that the policy refused, a key that React misses, an uncaught error.
   */
  closePages(): Promise<void>
  /** Asks the database, with the rights of its owner. */
  query<Row extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<Row[]>
  stop(): Promise<void>
}

export interface OpenOptions {
  viewport?: { width: number; height: number }
  colorScheme?: 'light' | 'dark'
  /** What stands behind the address: `?view=compare&backup=…`. */
  search?: string
}

export async function startPageBench(): Promise<PageBench> {
  const [stack, browser] = await Promise.all([startLocalStack(), launchBrowser()])
  const { env } = stack
  const contexts: BrowserContext[] = []
  let complaints: string[] = []
  /** What the browser keeps of those who have signed in, by e-mail address. */
  const sessions = new Map<string, Session>()
  const open = async (options: OpenOptions, session?: Session) => {
    const { context, page } = await openContext(browser, options, session)
    contexts.push(context)
    watchPage(page, [env.APP_URL, env.SUPABASE_URL], (complaint) => complaints.push(complaint))
    await page.goto(env.APP_URL + (options.search ?? ''))
    return page
  }
  const openPage = async (options: OpenOptions = {}) => {
    const page = await open(options)
    await see(page.getByRole('heading', { name: 'Sign in' }))
    return page
  }
  const openAs = async (email: string, password: string, options: OpenOptions = {}) => {
    const page = await open(options, sessions.get(email))
    const form = page.getByRole('heading', { level: 1, name: 'Sign in' })
    const inside = page
      .getByRole('heading', { level: 1 })
      .and(page.locator(':not(:text-is("Sign in"))'))
    await see(form.or(inside))
    // The first time, and after a test that ended the session.
    if (await form.isVisible()) {
      await signIn(page, email, password)
      await see(inside)
      sessions.set(email, await page.context().storageState())
    }
    return page
  }
  return {
    env,
    openPage,
    openAsOwner: (options) => openAs(env.DEMO_OWNER_EMAIL, env.DEMO_OWNER_PASSWORD, options),
    openAsOperator: (options) =>
      openAs(env.DEMO_OPERATOR_EMAIL, env.DEMO_OPERATOR_PASSWORD, options),
    closePages: async () => {
      await Promise.all(contexts.splice(0).map((context) => context.close()))
      const found = complaints
      complaints = []
      expect(found).toEqual([])
    },
    query: async <Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []) => {
      const client = new pg.Client({ connectionString: env.ADMIN_DB_URL })
      await client.connect()
      try {
        return (await client.query<Row>(sql, values)).rows
      } finally {
        await client.end()
      }
    },
    stop: async () => {
      // A browser that does not close is ended with the process of the tests.
      await Promise.all([Promise.race([browser.close(), sleep(20_000)]), stack.stop()])
    },
  }
}

type Session = Awaited<ReturnType<BrowserContext['storageState']>>

async function openContext(
  browser: Browser,
  { viewport = DESKTOP, colorScheme = 'light' }: OpenOptions,
  session: Session | undefined,
): Promise<{ context: BrowserContext; page: Page }> {
  const context = await browser.newContext({
    viewport,
    colorScheme,
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    reducedMotion: 'reduce',
    acceptDownloads: true,
    ...(session === undefined ? {} : { storageState: session }),
  })
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  return { context, page }
}

function watchPage(page: Page, ownUrls: string[], complain: (complaint: string) => void): void {
  const own = ownUrls.map((url) => new URL(url).host)
  page.on('request', (request) => {
    const { host, protocol } = new URL(request.url())
    if (protocol.startsWith('http') && !own.includes(host)) complain(`asks ${request.url()}`)
  })
  page.on('console', (message) => {
    // What the browser says of a refused or cut request is what some of these tests are about.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      complain(message.text())
    }
  })
  page.on('pageerror', (error) => complain(error.message))
}

/** Fills and sends the form of the sign-in screen. */
export async function signIn(page: Page, email: string, password: string): Promise<void> {
  await page.getByLabel('E-mail address').fill(email)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
}

/** Waits until it is there to be seen. */
export const see = (locator: Locator) => locator.first().waitFor({ state: 'visible' })

/** By how many pixels the page is wider than the window. */
export const sidewaysScroll = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

/** The name of what has the focus: its label, or its text. */
export const focused = (page: Page) =>
  page.evaluate(() => {
    const element = document.activeElement
    const label = element instanceof HTMLInputElement ? element.labels?.[0]?.innerText : undefined
    return label ?? element?.getAttribute('aria-label') ?? element?.textContent ?? ''
  })

/** Presses Tab until what is named so, or begins with it, has the focus. */
export async function tabTo(page: Page, name: string, mostPresses = 120): Promise<void> {
  for (let presses = 0; presses < mostPresses; presses += 1) {
    if ((await focused(page)).startsWith(name)) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`Tab does not lead to «${name}».`)
}

const AxeFindings = z.array(
  z.object({
    id: z.string(),
    impact: z.string().nullable(),
    help: z.string(),
    nodes: z.array(z.object({ html: z.string(), failureSummary: z.string().optional() })),
  }),
)

/**
 * Fails where axe finds something serious or critical in what the page shows, contrast included. The
 * source goes in by the debugger: a script element would be refused by the page's policy.
 */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(axe.source)
  const findings = AxeFindings.parse(
    await page.evaluate(
      "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations)",
    ),
  )
  const serious = findings
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, help, nodes }) => ({
      rule: `${id}: ${help}`,
      where: nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary ?? ''}`),
    }))
  expect(serious).toEqual([])
}

const SCREENSHOTS = join(import.meta.dirname, '..', 'e2e', 'screenshots')

/**
 * Makes `<name>-1440-light.png` and the other three of what the page shows, where `SCREENSHOTS` is set
 * (`npm run screenshots`); leaves the page at the size and colours that it had.
 */
export async function takeScreenshots(page: Page, name: string): Promise<void> {
  if (process.env.SCREENSHOTS === undefined) return
  const before = page.viewportSize()
  const wasDark = await page.evaluate(() => matchMedia('(prefers-color-scheme: dark)').matches)
  for (const viewport of [DESKTOP, PHONE]) {
    await page.setViewportSize(viewport)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      // Two frames: one that lays out anew, one that has been painted.
      await page.evaluate(
        () =>
          new Promise<void>((resolve) =>
            requestAnimationFrame(() => requestAnimationFrame(() => resolve())),
          ),
      )
      await page.screenshot({
        path: join(SCREENSHOTS, `${name}-${viewport.width}-${colorScheme}.png`),
        fullPage: viewport === PHONE,
        animations: 'disabled',
      })
    }
  }
  await page.emulateMedia({ colorScheme: wasDark ? 'dark' : 'light' })
  if (before !== null) await page.setViewportSize(before)
}
