/**
 * Stands in for the module tracer of Netlify's bundler, in the local stack only. The original follows
 * every package that a function uses and copies it, once per function: twenty seconds of work for what
 * lies in `node_modules` beside it anyway. On Netlify the original does its work.
 */
const original = await import(new URL(import.meta.url).searchParams.get('original'))

export const { resolve } = original

export const nodeFileTrace = (files, options) =>
  original.nodeFileTrace(files, {
    ...options,
    ignore: (path) => path.startsWith('node_modules/') || options.ignore(path),
  })
