import { access } from 'node:fs/promises'
import { type Browser, chromium, type LaunchOptions } from 'playwright-core'

/**
 * Starts a Chromium: the one named by `CHROMIUM_PATH`, else the packaged one (Linux on x64, needs
 * nothing of the machine), else an installed Chromium or Chrome. Throws with what to do where none is.
 */
export async function launchBrowser(): Promise<Browser> {
  const reasons: string[] = []
  for (const { name, find } of CANDIDATES) {
    try {
      const options = await find()
      if (options !== null) return await chromium.launch(options)
    } catch (error) {
      const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
      reasons.push(`${name}: ${reason}`)
    }
  }
  throw new Error(
    `No browser for the browser tests. Install Chromium or Chrome, or set CHROMIUM_PATH to one.\n${reasons.join('\n')}`,
  )
}

const CANDIDATES: { name: string; find: () => Promise<LaunchOptions | null> }[] = [
  { name: 'CHROMIUM_PATH', find: async () => at(process.env.CHROMIUM_PATH) },
  { name: '@sparticuz/chromium', find: findPackaged },
  {
    name: '/usr/bin/chromium',
    find: async () => {
      await access('/usr/bin/chromium')
      return at('/usr/bin/chromium')
    },
  },
  { name: 'Chrome', find: async () => ({ channel: 'chrome' }) },
]

function at(executablePath: string | undefined): LaunchOptions | null {
  if (executablePath === undefined || executablePath === '') return null
  return { executablePath, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] }
}

/** The packaged browser, unpacked where that was not done before; null where there is none for this platform. */
export async function findPackaged(): Promise<LaunchOptions | null> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null
  // Read when the module is loaded: without it the libraries that a bare machine lacks stay packed.
  process.env.AWS_EXECUTION_ENV ??= 'AWS_Lambda_nodejs22.x'
  const { default: packaged } = await import('@sparticuz/chromium')
  // Drawing by an emulated graphics card takes most of a core.
  packaged.setGraphicsMode = false
  return {
    executablePath: await unpackWhereItLasts(() => packaged.executablePath()),
    args: [
      // In one process a second window, or closing one, hangs.
      ...packaged.args.filter((argument) => argument !== '--single-process'),
      '--disable-gpu',
    ],
  }
}

/** The browser is unpacked once for all runs, and not into memory. */
async function unpackWhereItLasts(unpack: () => Promise<string>): Promise<string> {
  const { TMPDIR, TENANTKEEP_LASTING_FOLDER } = process.env
  if (TMPDIR === undefined || TENANTKEEP_LASTING_FOLDER === undefined) return unpack()
  process.env.TMPDIR = TENANTKEEP_LASTING_FOLDER
  try {
    return await unpack()
  } finally {
    process.env.TMPDIR = TMPDIR
  }
}
