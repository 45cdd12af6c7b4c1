import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts')

/** No setting of ours reaches the process by accident. */
const FROM_US = Object.fromEntries(
  ['PATH', 'TZ', 'NODE_COMPILE_CACHE'].map((name) => [name, process.env[name]]),
)

export interface CliResult {
  /** Null where a signal ended it. */
  status: number | null
  stdout: string
  stderr: string
}

/** Runs the command line as people do, in a process of its own, which sees these variables alone. */
export async function runCli(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<CliResult> {
  return startCli(args, env).result
}

/** The same, for what is to be stopped. */
export function startCli(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...FROM_US, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exit = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const result = Promise.all([exit, text(child.stdout), text(child.stderr)]).then(
    ([status, stdout, stderr]): CliResult => ({ status, stdout, stderr }),
  )
  return { child, result }
}
