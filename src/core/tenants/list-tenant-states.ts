import type { Queryable } from '../database/database.ts'
import { decideState, type StateCode, type TenantState } from './decide-state.ts'
import { readTenantFacts, type TenantFacts } from './read-tenant-facts.ts'

interface ListedTenant
  extends Pick<TenantFacts, 'id' | 'name' | 'isTemplate' | 'newestBackup' | 'recentFailures'> {
  state: TenantState
}

export interface TenantPage {
  /** What needs somebody first; the template tenant, which is no customer, ends the first page. */
  tenants: ListedTenant[]
  /** How many the search found, on all pages; the template tenant is not counted. */
  total: number
  /** How many of these are in which state. */
  counts: Partial<Record<StateCode, number>>
  /** Null on the last page. */
  nextCursor: number | null
}

/** What needs somebody comes first. */
const ORDER: readonly StateCode[] = [
  'damaged',
  'overdue',
  'last_failed',
  'none',
  'gaps',
  'unverified',
  'restoring',
  'running',
  'paused',
  'verified',
]

/**
 * Lists how every tenant stands, or each of those that are given, a page at a time. All of them are looked
 * at for each page, since only then is it known which come first.
 */
export async function listTenantStates(
  catalog: Queryable,
  {
    tenantIds,
    search,
    cursor = 0,
    limit = 50,
  }: {
    tenantIds?: readonly string[] | undefined
    /** Part of the name, or the beginning of the id. */
    search?: string | undefined
    cursor?: number | undefined
    limit?: number | undefined
  },
): Promise<TenantPage> {
  const facts = await readTenantFacts(catalog, tenantIds)
  const found = facts
    .filter((tenant) => isFound(tenant, search))
    .map((tenant): ListedTenant => ({ ...tenant, state: decideState(tenant) }))
    .sort(
      (a, b) =>
        ORDER.indexOf(a.state.code) - ORDER.indexOf(b.state.code) ||
        b.recentFailures - a.recentFailures,
    )
  const counts: TenantPage['counts'] = {}
  const customers = found.filter((tenant) => !tenant.isTemplate)
  for (const { state } of customers) counts[state.code] = (counts[state.code] ?? 0) + 1
  const end = cursor + limit
  return {
    tenants: [
      ...customers.slice(cursor, end),
      ...(cursor === 0 ? found.filter((tenant) => tenant.isTemplate) : []),
    ],
    total: customers.length,
    counts,
    nextCursor: end < customers.length ? end : null,
  }
}

function isFound({ id, name }: TenantFacts, search: string | undefined): boolean {
  if (search === undefined) return true
  const wanted = search.toLowerCase()
  return (name ?? '').toLowerCase().includes(wanted) || id.toLowerCase().startsWith(wanted)
}
