/**
 * How people read the name of a table: `sales_order_items` as «Sales order items». A name that somebody
 * already wrote for people (`Price List 2025`) stays as it is.
 */
export function nameTable(name: string): string {
  const own = name.includes('.') ? name.slice(name.indexOf('.') + 1) : name
  if (/[A-Z\s]/.test(own)) return own
  const words = own.replaceAll('_', ' ').trim()
  return words === '' ? name : words.charAt(0).toUpperCase() + words.slice(1)
}

/** What the database calls it, where that is more than the name for people with a small letter; else null. */
export function technicalName(name: string): string | null {
  return nameTable(name).toLowerCase() === name.toLowerCase() ? null : name
}

/** `Customers`, `Customers and Rentals`, `Customers, Rentals and 3 more`. */
export function nameTables(names: readonly string[], most = 3): string {
  const shown = names.slice(0, names.length > most ? most - 1 : most).map(nameTable)
  const more = names.length - shown.length
  if (more > 0) return `${shown.join(', ')} and ${more} more`
  if (shown.length < 2) return shown.join('')
  return `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}`
}
