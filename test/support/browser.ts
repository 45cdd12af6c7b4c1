import { existsSync } from 'node:fs'
import { type Browser, chromium, type LaunchOptions } from 'playwright-core'

/**
 * Starts a headless Chromium, from whatever this machine has: `CHROMIUM_PATH`, the one that comes with
 * the packages (Linux x64, brings the system libraries that a bare machine lacks), an installed one.
 * Throws with the remedy where there is none.
 */
export async function launchBrowser(): Promise<Browser> {
  const failures: string[] = []
  for (const { name, options } of await listCandidates()) {
    try {
      return await chromium.launch({ headless: true, ...options })
    } catch (error) {
      const [reason] = (error instanceof Error ? error.message : String(error)).split('\n')
      failures.push(`${name}: ${reason}`)
    }
  }
  throw new Error(
    `No browser could be started. Install Chromium or Chrome, or set CHROMIUM_PATH to one.\n${failures.join('\n')}`,
  )
}

interface Candidate {
  name: string
  options: LaunchOptions
}

async function listCandidates(): Promise<Candidate[]> {
  const candidates: Candidate[] = []
  // Root has no sandbox to give; the tests open nothing but our own page.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  const { CHROMIUM_PATH: given } = process.env
  if (given !== undefined && given !== '') {
    return [{ name: 'CHROMIUM_PATH', options: { executablePath: given, args } }]
  }
  if (process.platform === 'linux' && process.arch === 'x64') {
    candidates.push(await unpackBundled())
  }
  for (const path of ['/usr/bin/chromium', '/usr/bin/chromium-browser']) {
    if (existsSync(path)) candidates.push({ name: path, options: { executablePath: path, args } })
  }
  candidates.push({ name: 'Google Chrome', options: { channel: 'chrome', args } })
  return candidates
}

async function unpackBundled(): Promise<Candidate> {
  // Has the package unpack libraries such as libnss3 too; read while it is loaded.
  process.env.AWS_EXECUTION_ENV ??= 'AWS_Lambda_nodejs22.x'
  const { default: bundled } = await import('@sparticuz/chromium')
  return {
    name: '@sparticuz/chromium',
    options: { executablePath: await bundled.executablePath(), args: bundled.args },
  }
}
