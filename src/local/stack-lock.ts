import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isProcess } from './processes.ts'

/** Somebody else works in this folder. */
export class StackIsRunning extends Error {}

/**
 * Makes this process the only stack of the folder; the returned function gives it up. What a killed
 * stack left behind is taken over. Throws `StackIsRunning`.
 */
export async function takeStackLock(folder: string): Promise<() => Promise<void>> {
  const file = join(folder, 'stack.pid')
  for (;;) {
    try {
      await writeFile(file, String(process.pid), { flag: 'wx' })
      return () => rm(file, { force: true })
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    }
    const pid = Number(await readFile(file, 'utf8').catch(() => ''))
    if (pid > 0 && pid !== process.pid && (await isProcess(pid, ['start.ts']))) {
      throw new StackIsRunning(
        `A stack is running already in ${folder} (process ${pid}). Stop it with Ctrl-C where it was started, or: kill ${pid}`,
      )
    }
    await rm(file, { force: true })
  }
}
