import { escapeIdentifier, escapeLiteral } from 'pg'

/** The one place where names become SQL. Names come from the live catalog, never from a request. */
export function quoteIdentifier(name: string): string {
  return escapeIdentifier(name)
}

/** Quoted and qualified: `"public"."customers"`. */
export function quoteTable(table: { schema: string; name: string }): string {
  return `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.name)}`
}

/** A list of quoted columns; with an alias, each is qualified by it. */
export function quoteColumns(columns: readonly string[], alias?: string): string {
  const prefix = alias === undefined ? '' : `${quoteIdentifier(alias)}.`
  return columns.map((column) => prefix + quoteIdentifier(column)).join(', ')
}

/** A text constant, for what an administrator wrote and a policy must hold; never for a value of a request. */
export function quoteLiteral(text: string): string {
  return escapeLiteral(text)
}
