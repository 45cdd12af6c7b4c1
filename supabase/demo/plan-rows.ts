import type { DemoTenant } from './demo-tenants.ts'

/**
 * `mixed`: every table has its believable share. `flat`: four fifths of the rows are scans, as in the
 * benchmarks, and all other tables shrink in proportion.
 */
export type DemoShape = 'mixed' | 'flat'

interface TableShare {
  /** As few rows as hold every awkward value. */
  least: number
  /** Of a tenant's rows, before its leanings. */
  share: number
  most?: number
}

/** Scans are not here: they take the rows that all others leave over. */
const SHARES: Record<string, TableShare> = {
  organizations: { least: 1, share: 0, most: 1 },
  profiles: { least: 3, share: 0, most: 3 },
  locations: { least: 3, share: 0.002, most: 24 },
  gas_types: { least: 4, share: 0.001, most: 16 },
  customers: { least: 16, share: 0.06 },
  bottles: { least: 6, share: 0.12 },
  rentals: { least: 6, share: 0.11 },
  rental_invoices: { least: 4, share: 0.05 },
  invoice_line_items: { least: 6, share: 0.13 },
  deliveries: { least: 5, share: 0.03 },
  cylinder_fills: { least: 6, share: 0.05 },
  ownership_values: { least: 4, share: 0.02 },
  notifications: { least: 4, share: 0.04 },
  audit_logs: { least: 4, share: 0.07 },
  support_tickets: { least: 2, share: 0.01 },
  support_ticket_messages: { least: 4, share: 0.03 },
  customer_support: { least: 2, share: 0.01 },
  user_invites: { least: 3, share: 0.001, most: 60 },
  organization_join_codes: { least: 2, share: 0.0005, most: 8 },
  sales_orders: { least: 3, share: 0.02 },
  sales_order_items: { least: 4, share: 0.04 },
  verification_requests: { least: 4, share: 0.006 },
  verified_orders: { least: 3, share: 0.006 },
  'Price List 2025': { least: 3, share: 0.004, most: 400 },
}

const SHARED_TABLES = Object.entries(SHARES)
const LEAST_SCANS = 8

/** The demonstration's tables in schema `public`; none refers to one after it by a key that must not be null. */
export const DEMO_TABLES: readonly string[] = [...Object.keys(SHARES), 'bottle_scans']

/** Rows of each table of one tenant. */
export type RowCounts = Readonly<Record<string, number>> & { readonly bottle_scans: number }

/** The fewest rows a tenant can have. */
export const LEAST_ROWS = SHARED_TABLES.reduce((sum, [, { least }]) => sum + least, LEAST_SCANS)

/**
 * Says how many rows of each table a tenant has; together they are `rows`, or `LEAST_ROWS` where that
 * is more.
 */
export function planRows(tenant: DemoTenant, rows: number, shape: DemoShape): RowCounts {
  const spare = Math.max(rows - LEAST_ROWS, 0)
  const scale = shape === 'flat' ? 0.25 : 1
  const counts = SHARED_TABLES.map(([table, { least, share, most = Infinity }]) => {
    const more = Math.round(spare * share * scale * (tenant.leaning[table] ?? 1))
    return [table, Math.min(least + more, most)] as const
  })
  const others = counts.reduce((sum, [, count]) => sum + count, 0)
  return { ...Object.fromEntries(counts), bottle_scans: spare + LEAST_ROWS - others }
}
