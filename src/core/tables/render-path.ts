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
import {
  type Classification,
  type ClassifiedTable,
  edgesOf,
  type OwnershipEdge,
  ownerOf,
} from './ownership.ts'
import { quoteColumns, quoteIdentifier, quoteLiteral, quoteTable } from './quote-identifier.ts'

/** How the end of a path is compared with the tenant, or the tenants, that are asked about. */
interface TenantTest {
  /** The condition on a column that holds a tenant's id. */
  holds(column: string, type: string): string
  /** The same for the one tenant asked about, its own tenants left out. */
  isItself(column: string, type: string): string
  /** What stands for `{tenant}` in an administrator's predicate; null where no one tenant is meant. */
  text: string | null
}

/** The tenant, and where its own tenants count in, these too; set by `writeRegistry`. */
const CURRENT_TENANTS = 'tenantkeep.current_tenants()'

function currentTenant(registry: Registry): TenantTest {
  // Policies see a stable value once per statement, not once per row, because it is a subselect.
  const isItself = (column: string, type: string) =>
    `${column} = (select tenantkeep.current_tenant())::${type}`
  const hasSubtenants = findRoot(registry)?.parentColumn != null
  return {
    isItself,
    holds: hasSubtenants
      ? (column, type) => `${column} in (select tenant::${type} from ${CURRENT_TENANTS} tenant)`
      : isItself,
    text: '(select tenantkeep.current_tenant())',
  }
}

function censusTenant(registry: Registry): TenantTest {
  const isItself = (column: string, type: string) => `${column} = $1::${type}`
  const set = renderTenantSet(registry, '$1')
  return {
    isItself,
    holds:
      set === null
        ? isItself
        : (column, type) => `${column} in (select tenant.id::${type} from (${set}) tenant)`,
    text: '$1',
  }
}

/** The body of `tenantkeep.current_tenants()`; null where every tenant stands alone. */
export function renderCurrentTenants(registry: Registry): string | null {
  const set = renderTenantSet(registry, '(select tenantkeep.current_tenant())')
  return set === null ? null : `select tenant.id::text from (${set}) tenant`
}

/** The tenant itself, whether or not its row exists, and every tenant below it; `union` ends a circle. */
function renderTenantSet(registry: Registry, tenant: string): string | null {
  const root = findRoot(registry)
  if (root === undefined || root.parentColumn === null) return null
  const key = quoteColumns([root.tenantColumn], 'below')
  const parent = quoteColumns([root.parentColumn], 'below')
  return (
    `with recursive tenants (id) as (select ${tenant}::${root.tenantType} union ` +
    `select ${key} ${fromClause(root.table)} below join tenants on ${parent} = tenants.id) select id from tenants`
  )
}

function findRoot(registry: Registry) {
  for (const { table, classification } of registry.values()) {
    if (classification.class === 'root') return { table, ...classification }
  }
  return undefined
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
  registry: Registry,
  { classification }: ClassifiedTable,
  keysOf: (edge: OwnershipEdge) => string,
): string | null {
  return render(classification, currentTenant(registry), null, keysOf)
}

/** The condition that the census counts by. */
export function renderCensusExpression(
  registry: Registry,
  { table, classification }: ClassifiedTable,
): string | null {
  const tenant = censusTenant(registry)
  return render(classification, tenant, null, ownersByPath(registry, table, tenant, 1))
}

/** The body of a key function: an owner's key columns for the current tenant, in the given types. */
export function renderKeys(
  registry: Registry,
  edge: OwnershipEdge,
  types: readonly string[],
): string {
  return selectOwnerKeys(registry, edge, types, currentTenant(registry), 1)
}

/** The condition «reached from any tenant» on a row, or on this alias of one; null where an administrator's predicate is on the path. */
export function renderReachedExpression(
  registry: Registry,
  { table, classification }: ClassifiedTable,
  alias: string | null = null,
): string | null {
  const root = findRoot(registry)
  if (root === undefined) return null
  const { tenantColumn, tenantType } = root
  const key = `t.${quoteIdentifier(tenantColumn)}`
  const tenants = fromClause(root.table)
  // As text where the types differ: the id is carried as text, and read as the column's type.
  const holds = (column: string, type: string) =>
    type === tenantType
      ? `${column} in (select ${key} ${tenants} t)`
      : `${column}::text in (select ${key}::text ${tenants} t)`
  if (leadsThroughPredicate(registry, classification)) return null
  const anyTenant: TenantTest = { holds, isItself: holds, text: null }
  return render(classification, anyTenant, alias, ownersByPath(registry, table, anyTenant, 1))
}

function leadsThroughPredicate(registry: Registry, classification: Classification): boolean {
  if (classification.class === 'custom') return true
  return edgesOf(classification).some((edge) => {
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
      return classification.parentColumn === null
        ? `${own}.${classification.tenantColumn}`
        : `${own}.${classification.tenantColumn}, and below it by ${classification.parentColumn}`
    case 'custom':
      return classification.predicate
    case 'direct':
    case 'child': {
      const column =
        classification.class === 'direct' ? [`${own}.${classification.tenantColumn}`] : []
      const edges = edgesOf(classification).map((edge) => describeEdge(registry, own, edge))
      return [...column, ...edges].join(', else ')
    }
    case 'shared':
      return ''
    case 'excluded':
      return classification.reason
  }
}

function describeEdge(registry: Registry, own: string, edge: OwnershipEdge): string {
  const owner = registry.get(ownerOf(edge))
  const rest = owner === undefined ? edge.ownerTable : describePath(registry, owner)
  const when =
    edge.condition === null ? '' : ` (${edge.condition.column} = ${edge.condition.value})`
  const from = `${own}.${edge.columns.join('+')}${when}`
  if (!edge.isBackward) return `${from} → ${rest}`
  return `${from} ← ${edge.ownerTable}.${edge.ownerColumns.join('+')}: ${rest}`
}

function render(
  classification: Classification,
  tenant: TenantTest,
  alias: string | null,
  ownersOf: (edge: OwnershipEdge) => string,
): string | null {
  const qualify = (column: string) => quoteColumns([column], alias ?? undefined)
  switch (classification.class) {
    case 'root': {
      const { tenantColumn, tenantType, parentColumn } = classification
      if (parentColumn === null) return tenant.holds(qualify(tenantColumn), tenantType)
      // By the tenant above it, so that a tenant's own tenants can be inserted.
      const isItself = tenant.isItself(qualify(tenantColumn), tenantType)
      return `(${isItself} or ${tenant.holds(qualify(parentColumn), tenantType)})`
    }
    case 'direct': {
      const column = qualify(classification.tenantColumn)
      const holds = tenant.holds(column, classification.tenantType)
      if (classification.otherwise.length === 0) return holds
      return `(${holds} or (${column} is null and ${renderEdges(classification.otherwise, alias, ownersOf)}))`
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

/** The next edge counts only where the former ones say nothing: a plain «or» would let in rows whose first owner is a neighbour. */
function renderEdges(
  edges: readonly OwnershipEdge[],
  alias: string | null,
  ownersOf: (edge: OwnershipEdge) => string,
): string {
  const [first, ...rest] = edges
  if (first === undefined) return 'false'
  const qualify = (column: string) => quoteColumns([column], alias ?? undefined)
  const columns = quoteColumns(first.columns, alias ?? undefined)
  const left = first.columns.length === 1 ? columns : `(${columns})`
  const condition =
    first.condition === null
      ? null
      : `${qualify(first.condition.column)} = ${quoteLiteral(first.condition.value)}`
  const named = `${left} in (${ownersOf(first)})`
  const owned = condition === null ? named : `(${condition} and ${named})`
  if (rest.length === 0) return owned
  const saysNothing = first.columns.map((column) => `${qualify(column)} is null`)
  if (condition !== null) saysNothing.push(`(${condition}) is not true`)
  return `(${owned} or ((${saysNothing.join(' or ')}) and ${renderEdges(rest, alias, ownersOf)}))`
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
