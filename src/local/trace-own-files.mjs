import { relative } from 'node:path'

/**
 * Stands in for the module tracer of Netlify's bundler, in the local stack only. The original looks through
 * a function for the packages that it uses and copies them, once per function: twenty seconds of work for what
 * lies in `node_modules` beside it anyway. Reading a function's file bundles it, which is all that is needed
 * here. On Netlify the original does its work.
 */
const original = await import(new URL(import.meta.url).searchParams.get('original'))

export const { resolve } = original

export async function nodeFileTrace(files, { base, readFile }) {
  await Promise.all(files.map((file) => readFile(file)))
  const fileList = new Set(files.map((file) => relative(base, file)))
  return { fileList, esmFileList: fileList, reasons: new Map(), warnings: new Set() }
}
