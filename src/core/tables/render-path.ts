/**
 * Turns ownership into SQL. Three texts say the same thing, each where it is fast and allowed:
 *
 *   row expression     what both policies and our own statements ask of a row; owners' keys come from
 *                      key functions, since a subselect on the owner inside a policy is a thousand times
 *                      slower and can end in «infinite recursion detected in policy»
 *   key function body  the keys of the current tenant's rows of one owner, by the whole flattened path
 *   census expression  the flattened path again, with $1 for the tenant, counted past row level security
 */
import type { HostTable } from './host-table.ts'
import { tableName } from './host-table.ts'
import type { Classification, ClassifiedTable, OwnershipEdge } from './ownership.ts'
import { quoteColumns, quoteIdentifier, quoteTable } from './quote-identifier.ts'

/** How the end of a path is compared with the tenant, or the tenants, that are asked about. */
interface TenantTest {
  /** The condition on the column that holds the tenant's id. */
  holds(column: string, type: string): string
  /** What stands for `{tenant}` in an administrator's predicate; null where no one tenant is meant. */
  text: string | null
}

/** Policies see a stable value once per statement, not once per row, because it is a subselect. */
const CURRENT_TENANT: TenantTest = {
  holds: (column, type) => `${column} = (select tenantkeep.current_tenant())::${type}`,
  text: '(select tenantkeep.current_tenant())',
}
const CENSUS_TENANT: TenantTest = {
  holds: (column, type) => `${column} = $1::${type}`,
  text: '$1',
}

/**
 * The types in which an owner's keys are compared with the columns that name them: along a foreign key
 * the key's own, since Postgres compares such pairs anyway; along an edge that a person told us the
 * column's. The cast never stands on the column, where it would cost the index.
 */
export function keyTypes(registry: Registry, table: HostTable, edge: OwnershipEdge): string[] {
  const owner = registry.get(ownerOf(edge))?.table
  return edge.columns.map((column, index) => {
    const ownerColumn = edge.ownerColumns[index]
    const type =
      edge.constraintName === null
        ? typeOf(table, column)
        : ownerColumn !== undefined && owner !== undefined && typeOf(owner, ownerColumn)
    if (typeof type === 'string') return type
    throw new Error(`${tableName(table)}.${column} names a key that is not there.`)
  })
}

function typeOf(table: HostTable, column: string): string | undefined {
  return table.columns.find((candidate) => candidate.name === column)?.type
}

export type Registry = ReadonlyMap<string, ClassifiedTable>

/** `only` keeps the rows of inheriting tables out; a partitioned table has no rows but its leaves'. */
export function fromClause(table: Pick<HostTable, 'schema' | 'name' | 'kind'>): string {
  return `from ${table.kind === 'p' ? '' : 'only '}${quoteTable(table)}`
}

/** The condition of both policies; `keysOf` gives the call of the key function for an edge. */
export function renderRowExpression(
  classification: Classification,
  keysOf: (edge: OwnershipEdge) => string,
): string | null {
  return render(classification, CURRENT_TENANT, null, keysOf)
}

/** The condition that the census counts by. */
export function renderCensusExpression(
  registry: Registry,
  { table, classification }: ClassifiedTable,
): string | null {
  return render(
    classification,
    CENSUS_TENANT,
    null,
    ownersByPath(registry, table, CENSUS_TENANT, 1),
  )
}

/** The body of a key function: an owner's key columns for the current tenant, in the given types. */
export function renderKeys(
  registry: Registry,
  edge: OwnershipEdge,
  types: readonly string[],
): string {
  return selectOwnerKeys(registry, edge, types, CURRENT_TENANT, 1)
}

/** The condition «reached from any tenant»; null where an administrator's predicate is on the path. */
export function renderReachedExpression(
  registry: Registry,
  { table, classification }: ClassifiedTable,
): string | null {
  const root = [...registry.values()].find((entry) => entry.classification.class === 'root')
  if (root === undefined || root.classification.class !== 'root') return null
  const { tenantColumn, tenantType } = root.classification
  const key = `t.${quoteIdentifier(tenantColumn)}`
  const tenants = fromClause(root.table)
  const anyTenant: TenantTest = {
    // As text where the types differ: the id is carried as text, and read as the column's type.
    holds: (column, type) =>
      type === tenantType
        ? `${column} in (select ${key} ${tenants} t)`
        : `${column}::text in (select ${key}::text ${tenants} t)`,
    text: null,
  }
  if (leadsThroughPredicate(registry, classification)) return null
  return render(classification, anyTenant, null, ownersByPath(registry, table, anyTenant, 1))
}

function leadsThroughPredicate(registry: Registry, classification: Classification): boolean {
  if (classification.class === 'custom') return true
  if (classification.class !== 'child') return false
  return classification.edges.some((edge) => {
    const owner = registry.get(ownerOf(edge))
    return owner !== undefined && leadsThroughPredicate(registry, owner.classification)
  })
}

/** How a person reads the path: `sales_order_items.sales_order_id → sales_orders.organization_id`. */
export function describePath(registry: Registry, table: ClassifiedTable): string {
  const { classification } = table
  const own = table.table.name
  switch (classification.class) {
    case 'root':
    case 'direct':
      return `${own}.${classification.tenantColumn}`
    case 'custom':
      return classification.predicate
    case 'child':
      return classification.edges
        .map((edge) => {
          const owner = registry.get(ownerOf(edge))
          const rest = owner === undefined ? edge.ownerTable : describePath(registry, owner)
          return `${own}.${edge.columns.join('+')} → ${rest}`
        })
        .join(', else ')
    case 'shared':
      return ''
    case 'excluded':
      return classification.reason
  }
}

function render(
  classification: Classification,
  tenant: TenantTest,
  alias: string | null,
  ownersOf: (edge: OwnershipEdge) => string,
): string | null {
  switch (classification.class) {
    case 'root':
    case 'direct': {
      const column = quoteColumns([classification.tenantColumn], alias ?? undefined)
      return tenant.holds(column, classification.tenantType)
    }
    case 'custom':
      // A function, because `$` means something in a replacement that is text.
      return `(${classification.predicate.replaceAll('{tenant}', () => tenant.text ?? 'null')})`
    case 'child':
      return renderEdges(classification.edges, alias, ownersOf)
    case 'shared':
    case 'excluded':
      return null
  }
}

/** The next edge counts only where a column of the former is null: a plain «or» would let in rows whose first owner is a neighbour. */
function renderEdges(
  edges: readonly OwnershipEdge[],
  alias: string | null,
  ownersOf: (edge: OwnershipEdge) => string,
): string {
  const [first, ...rest] = edges
  if (first === undefined) return 'false'
  const columns = quoteColumns(first.columns, alias ?? undefined)
  const left = first.columns.length === 1 ? columns : `(${columns})`
  const owned = `${left} in (${ownersOf(first)})`
  if (rest.length === 0) return owned
  const isNull = first.columns
    .map((column) => `${quoteColumns([column], alias ?? undefined)} is null`)
    .join(' or ')
  return `(${owned} or ((${isNull}) and ${renderEdges(rest, alias, ownersOf)}))`
}

function ownersByPath(registry: Registry, table: HostTable, tenant: TenantTest, depth: number) {
  return (edge: OwnershipEdge): string =>
    selectOwnerKeys(registry, edge, keyTypes(registry, table, edge), tenant, depth)
}

function selectOwnerKeys(
  registry: Registry,
  edge: OwnershipEdge,
  types: readonly string[],
  tenant: TenantTest,
  depth: number,
): string {
  const owner = registry.get(ownerOf(edge))
  if (owner === undefined) throw new Error(`The owner ${ownerOf(edge)} is not registered.`)
  // An alias per step keeps the columns of one step from being read as those of another.
  const alias = `owner_${depth}`
  const keys = edge.ownerColumns.map((column, index) => {
    const quoted = quoteColumns([column], alias)
    const type = types[index]
    return type === undefined || type === typeOf(owner.table, column)
      ? quoted
      : `${quoted}::${type}`
  })
  const condition = render(
    owner.classification,
    tenant,
    alias,
    ownersByPath(registry, owner.table, tenant, depth + 1),
  )
  const where = condition === null ? 'false' : condition
  return `select ${keys.join(', ')} ${fromClause(owner.table)} ${quoteIdentifier(alias)} where ${where}`
}

function ownerOf(edge: OwnershipEdge): string {
  return tableName({ schema: edge.ownerSchema, name: edge.ownerTable })
}
