import { stat } from 'node:fs/promises'

/**
 * Stands in for Netlify's bundler, in the local stack only. The emulator bundles a function anew each time it
 * is called, which takes longer than most of the calls; what none of its files changed for is as it was.
 */
const original = await import(new URL(import.meta.url).searchParams.get('original'))

export const { listFunction, listFunctions } = original

/** What was made of a function, and what its files were then. */
const made = new Map()

export async function zipFunction(entry, folder, options) {
  const last = made.get(entry)
  if (last !== undefined && (await describeFiles(last.result.inputs)) === last.files) {
    return last.result
  }
  const result = await original.zipFunction(entry, folder, options)
  if (result?.inputs !== undefined) {
    made.set(entry, { result, files: await describeFiles(result.inputs) })
  }
  return result
}

/** When each of the files was written; changes too where one is gone. */
async function describeFiles(paths) {
  const times = await Promise.all(
    paths.map((path) =>
      stat(path).then(
        ({ mtimeMs, size }) => `${mtimeMs}:${size}`,
        () => 'gone',
      ),
    ),
  )
  return times.join()
}
