import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export interface ChildProcess {
  /** The first line that it printed. */
  line: string
  stop(): Promise<void>
}

/**
 * Runs a module in a process of its own, gives it its options as JSON on stdin (so no secret is seen in the
 * list of processes) and waits for its first line. It ends when the pipe does.
 */
export async function startProcess(module: URL, options: object): Promise<ChildProcess> {
  const child = spawn(process.execPath, [fileURLToPath(module)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors = (errors + chunk).slice(-4000)
  })
  const ended = once(child, 'exit')
  child.stdin.write(`${JSON.stringify(options)}\n`)
  const lines = createInterface(child.stdout)
  const line = await Promise.race([
    once(lines, 'line').then(([text]) => String(text)),
    ended.then(() => {
      throw new Error(`${module.pathname} ended without an answer:\n${errors}`)
    }),
  ])
  return {
    line,
    async stop() {
      child.stdin.end()
      await ended
    },
  }
}
