import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseEnv } from 'node:util'
import * as z from 'zod'
import { findFreePort } from '../../src/local/free-port.ts'
import { copyCheckout } from './copy-checkout.ts'

/** What the tests read of `stack.env`. */
const StackEnv = z.object({
  APP_URL: z.url(),
  SUPABASE_URL: z.url(),
  SUPABASE_PUBLISHABLE_KEY: z.string(),
  ADMIN_DB_URL: z.string(),
  BACKUP_SIGNING_KEY: z.string(),
  DEMO_TENANT_ID: z.string(),
  DEMO_OWNER_EMAIL: z.string(),
  DEMO_OWNER_PASSWORD: z.string(),
  DEMO_MEMBER_EMAIL: z.string(),
  DEMO_MEMBER_PASSWORD: z.string(),
  DEMO_OTHER_TENANT_ID: z.string(),
  DEMO_TEMPLATE_TENANT_ID: z.string(),
  DEMO_OTHER_OWNER_EMAIL: z.string(),
  DEMO_OTHER_OWNER_PASSWORD: z.string(),
  DEMO_OPERATOR_EMAIL: z.string(),
  DEMO_OPERATOR_PASSWORD: z.string(),
})
type StackEnv = z.infer<typeof StackEnv>

export interface LocalStack {
  env: StackEnv
  stop(): Promise<void>
}

const TIMEOUT_MS = 170_000

/**
 * Starts what `npm start` starts, on free ports and in a folder of its own, and waits until it is ready.
 * `TEST_STACK_ENV` names the `stack.env` of one that runs already: quicker while a test is written.
 */
export async function startLocalStack(): Promise<LocalStack> {
  const running = process.env.TEST_STACK_ENV
  if (running !== undefined) {
    const env = StackEnv.parse(parseEnv(await readFile(running, 'utf8')))
    return { env, stop: async () => {} }
  }
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-stack-'))
  // The server's user must get in, where tests run as root; else the data would lie elsewhere.
  await chmod(folder, 0o711)
  const checkout = await copyCheckout()
  const child = spawn(process.execPath, [join('src', 'local', 'start.ts')], {
    cwd: checkout.folder,
    env: {
      ...process.env,
      TENANTKEEP_LOCAL_FOLDER: folder,
      TENANTKEEP_APP_PORT: String(await findFreePort()),
      TENANTKEEP_API_PORT: String(await findFreePort()),
      TENANTKEEP_DB_PORT: String(await findFreePort()),
      // What takes seconds to open file by file is opened a dozen times in a file of tests.
      TENANTKEEP_BUILT_PAGE: 'true',
      // A page shows much or little alike; a restore of little takes less time.
      TENANTKEEP_DEMO_ROWS: '2000',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const stop = async () => {
    const hasEnded = child.exitCode !== null || child.signalCode !== null
    await end(child)
    await rm(folder, { recursive: true, force: true })
    await checkout.remove()
    if (hasEnded)
      throw new Error(`The local stack ended by itself. It said:\n${said.slice(-4_000)}`)
  }
  try {
    return { env: await waitForEnv(child, join(folder, 'stack.env')), stop }
  } catch (cause) {
    await stop().catch(() => {})
    throw new Error(`The local stack did not start. It said:\n${said.slice(-4_000)}`, { cause })
  }
}

/** `stack.env` is written last: that it is there says that the stack is ready. */
async function waitForEnv(child: ChildProcess, file: string): Promise<StackEnv> {
  const giveUpAt = Date.now() + TIMEOUT_MS
  for (;;) {
    const content = await readFile(file, 'utf8').catch(() => null)
    if (content !== null) return StackEnv.parse(parseEnv(content))
    if (child.exitCode !== null) throw new Error(`It ended with status ${child.exitCode}.`)
    if (Date.now() > giveUpAt) throw new Error('It took too long.')
    await sleep(200)
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
}
