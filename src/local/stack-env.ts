import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const FILE = 'stack.env'

/** Writes `stack.env` in one go, for other programs: that it is there says that the stack is ready. */
export async function writeStackEnv(
  folder: string,
  variables: Record<string, string>,
): Promise<string> {
  const file = join(folder, FILE)
  const lines = Object.entries(variables).map(([name, value]) => `${name}="${value}"\n`)
  await writeFile(`${file}.new`, lines.join(''), { mode: 0o600 })
  await rename(`${file}.new`, file)
  return file
}

/** The stack is not ready, or no more. */
export async function removeStackEnv(folder: string): Promise<void> {
  await rm(join(folder, FILE), { force: true })
}
