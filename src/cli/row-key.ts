import * as z from 'zod'
import { BackupError } from '../core/errors.ts'

const Key = z.record(z.string(), z.string())

/**
 * Reads `--row`: `table:column=value`, with `,` between several columns of a key; a value that holds a comma,
 * or a column that holds an equals sign, is written as JSON: `table:{"column":"value"}`. Throws
 * `invalid_request`.
 */
export function toRowKey(text: string): { table: string; key: Record<string, string> } {
  const colon = text.indexOf(':')
  const table = text.slice(0, colon)
  const rest = text.slice(colon + 1)
  const key = colon < 1 ? null : rest.startsWith('{') ? readJson(rest) : readPairs(rest)
  if (key === null) {
    throw new BackupError(
      'invalid_request',
      '--row must be like orders:id=17, order_items:order_id=17,line=2 or orders:{"id":"17"}.',
    )
  }
  return { table, key }
}

function readPairs(text: string): Record<string, string> | null {
  const pairs = text.split(',').map((pair) => {
    const equals = pair.indexOf('=')
    return [pair.slice(0, Math.max(0, equals)), pair.slice(equals + 1)] as const
  })
  return pairs.some(([column]) => column === '') ? null : Object.fromEntries(pairs)
}

function readJson(text: string): Record<string, string> | null {
  try {
    return Key.parse(JSON.parse(text))
  } catch {
    return null
  }
}
