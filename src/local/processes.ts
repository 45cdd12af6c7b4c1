import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** Sends a signal, or only asks (0); whether the process is there. */
export function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch {
    return false
  }
}

/** Whether this process runs with all these words in its command line: numbers are given out again. */
export async function isProcess(pid: number, words: readonly string[]): Promise<boolean> {
  if (!signalProcess(pid, 0)) return false
  const commandLine =
    (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined)) ??
    (await promisify(execFile)('ps', ['-o', 'args=', '-p', String(pid)]).then(
      ({ stdout }) => stdout,
      () => '',
    ))
  return words.every((word) => commandLine.includes(word))
}
