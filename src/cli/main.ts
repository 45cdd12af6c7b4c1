import { runCommandLine } from './run-command-line.ts'

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // Once only: a second one ends the process at once.
  process.once(signal, () => stop.abort())
}
// Whoever reads our output may stop reading: `tenantkeep list | head`.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

process.exitCode = await runCommandLine(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: stop.signal,
})
