/**
 * Finds out for every table of the host what it is to a tenant, from the catalog and the administrator's
 * answers alone: the tenant's own row (root), rows with a tenant column (direct), rows owned through
 * foreign keys (child). Rows are never guessed at: a table that no rule settles is reported with the
 * flags that would.
 *
 * Paths are found breadth first from the root. An edge leads from a table to an owner that is nearer to
 * the root, so the chosen edges can't form a cycle, whatever the foreign keys do. Among the edges of a
 * table, one whose columns are all not null settles it alone (every row has exactly that owner);
 * cascading keys come first, since such rows die with their owner, then the shorter path.
 */
import type { HostForeignKey, HostTable } from './host-table.ts'
import { tableName } from './host-table.ts'
import type { Classification, ClassifiedTable, OwnershipEdge, UnsettledTable } from './ownership.ts'

export interface DiscoveryOptions {
  root: { schema: string; name: string; key: string }
  /** Names under which tables carry the tenant's id. */
  tenantColumns: readonly string[]
  /** By `schema.table`. */
  excluded: ReadonlyMap<string, string>
  shared: ReadonlySet<string>
  custom: ReadonlyMap<string, string>
  /** Edges the administrator told us, by `schema.table`, in order of rank. */
  owned: ReadonlyMap<string, readonly OwnershipEdge[]>
}

export interface Discovery {
  /** Owners first. */
  classified: ClassifiedTable[]
  unsettled: UnsettledTable[]
}

/** Classifies the tables of a catalog. Pure: reads nothing but its arguments. */
export function discoverOwnership(
  tables: readonly HostTable[],
  options: DiscoveryOptions,
): Discovery {
  const settled = new Map<string, Classification>()
  const distance = new Map<string, number>()
  const rootName = tableName(options.root)

  for (const table of tables) {
    const name = tableName(table)
    const answer = classifyByAnswer(table, name === rootName, options)
    if (answer === null) continue
    settled.set(name, answer)
    if (answer.class === 'root' || answer.class === 'direct' || answer.class === 'custom') {
      distance.set(name, answer.class === 'root' ? 0 : 1)
    }
  }

  const open = tables.filter((table) => !settled.has(tableName(table)))
  settleChildren(open, options, settled, distance)

  const classified = orderByOwnership(tables, settled)
  const unsettled = tables
    .filter((table) => !settled.has(tableName(table)))
    .map((table) => describeUnsettled(table, options))
  return { classified, unsettled }
}

/** What a flag or the table's own columns say; null where its foreign keys must be asked. */
function classifyByAnswer(
  table: HostTable,
  isRoot: boolean,
  options: DiscoveryOptions,
): Classification | null {
  const name = tableName(table)
  if (isRoot) {
    return {
      class: 'root',
      tenantColumn: options.root.key,
      tenantType: typeOf(table, options.root.key),
    }
  }
  const reason = options.excluded.get(name)
  if (reason !== undefined) return { class: 'excluded', reason }
  if (options.shared.has(name)) return { class: 'shared' }
  const predicate = options.custom.get(name)
  if (predicate !== undefined) return { class: 'custom', predicate }
  if (options.owned.has(name)) return null

  const tenantColumn = findTenantColumn(table, options)
  if (tenantColumn === null) return null
  return { class: 'direct', tenantColumn, tenantType: typeOf(table, tenantColumn) }
}

/** A not-null column of a known name, else a not-null foreign key to the tenant's own row. */
function findTenantColumn(table: HostTable, options: DiscoveryOptions): string | null {
  const notNull = table.columns.filter((column) => !column.isNullable).map((column) => column.name)
  const byName = options.tenantColumns.find((name) => notNull.includes(name))
  if (byName !== undefined) return byName
  const byKey = table.foreignKeys.find(
    (key) =>
      key.targetSchema === options.root.schema &&
      key.targetTable === options.root.name &&
      key.targetColumns.length === 1 &&
      key.targetColumns[0] === options.root.key &&
      key.columns.every((column) => notNull.includes(column)),
  )
  return byKey?.columns[0] ?? null
}

function settleChildren(
  open: readonly HostTable[],
  options: DiscoveryOptions,
  settled: Map<string, Classification>,
  distance: Map<string, number>,
): void {
  let remaining = [...open]
  while (remaining.length > 0) {
    // One ring at a time: what is settled in this round owns nothing before the next, so that the
    // distance of a table is its shortest path and no two tables can own each other.
    const ring: { name: string; classification: Classification; distance: number }[] = []
    for (const table of remaining) {
      const edges = chooseEdges(table, options, distance)
      if (edges === null) continue
      const far = Math.max(...edges.map((edge) => distance.get(ownerName(edge)) ?? 0))
      ring.push({
        name: tableName(table),
        classification: { class: 'child', edges },
        distance: far + 1,
      })
    }
    if (ring.length === 0) return
    for (const found of ring) {
      settled.set(found.name, found.classification)
      distance.set(found.name, found.distance)
    }
    remaining = remaining.filter((table) => !settled.has(tableName(table)))
  }
}

function chooseEdges(
  table: HostTable,
  options: DiscoveryOptions,
  distance: ReadonlyMap<string, number>,
): OwnershipEdge[] | null {
  const told = options.owned.get(tableName(table))
  if (told !== undefined) {
    return told.every((edge) => distance.has(ownerName(edge))) ? [...told] : null
  }
  const nullable = new Set(
    table.columns.filter((column) => column.isNullable).map((column) => column.name),
  )
  const best = table.foreignKeys
    .filter((key) => tableName(targetOf(key)) !== tableName(table))
    .filter((key) => distance.has(tableName(targetOf(key))))
    .filter((key) => key.columns.every((column) => !nullable.has(column)))
    .sort(
      (a, b) =>
        Number(b.cascadesOnDelete) - Number(a.cascadesOnDelete) ||
        (distance.get(tableName(targetOf(a))) ?? 0) - (distance.get(tableName(targetOf(b))) ?? 0) ||
        a.name.localeCompare(b.name, 'en'),
    )[0]
  return best === undefined ? null : [edgeAlong(best)]
}

/** Owners first; among tables that may stand side by side, by name, so that the order is the same every time. */
function orderByOwnership(
  tables: readonly HostTable[],
  settled: ReadonlyMap<string, Classification>,
): ClassifiedTable[] {
  const byName = new Map(tables.map((table) => [tableName(table), table]))
  const ordered: ClassifiedTable[] = []
  const placed = new Set<string>()

  const place = (name: string): void => {
    const table = byName.get(name)
    const classification = settled.get(name)
    if (table === undefined || classification === undefined || placed.has(name)) return
    placed.add(name)
    if (classification.class === 'child') {
      for (const edge of classification.edges) place(ownerName(edge))
    }
    ordered.push({ table, classification, position: ordered.length })
  }

  const names = [...settled.keys()].sort((a, b) => a.localeCompare(b, 'en'))
  const root = names.find((name) => settled.get(name)?.class === 'root')
  if (root !== undefined) place(root)
  for (const name of names) if (settled.get(name)?.class === 'direct') place(name)
  for (const name of names) place(name)
  return ordered
}

function describeUnsettled(table: HostTable, options: DiscoveryOptions): UnsettledTable {
  const name = tableName(table)
  const nullableTenantColumn = table.columns.find(
    (column) => column.isNullable && options.tenantColumns.includes(column.name),
  )
  const isNullable = (column: string) =>
    table.columns.some((candidate) => candidate.name === column && candidate.isNullable)
  const key = table.foreignKeys.find(
    (candidate) =>
      tableName(targetOf(candidate)) !== name &&
      !options.excluded.has(tableName(targetOf(candidate))),
  )
  let reason = 'It has no tenant column and no not-null foreign key that leads to a tenant.'
  if (nullableTenantColumn !== undefined) {
    reason = `Its tenant column ${nullableTenantColumn.name} may be null, and a row without a tenant belongs to nobody or to everybody.`
  } else if (options.owned.has(name)) {
    reason = 'The owner given for it with --owned does not lead to a tenant itself.'
  } else if (key?.columns.some(isNullable)) {
    reason = `It hangs on ${key.targetTable} only by ${key.name}, whose columns may be null.`
  } else if (key !== undefined) {
    reason = `It hangs on ${key.targetTable}, which leads to no tenant itself.`
  }
  const flags = [
    `--shared ${name}`,
    `--exclude "${name}=why its rows need no backup"`,
    `--custom "${name}=<condition with {tenant}>"`,
  ]
  flags.unshift(
    key !== undefined
      ? `--owned "${name}.${key.columns}=${tableName(targetOf(key))}.${key.targetColumns}"`
      : `--owned "${name}.<column>=<owner table>.<its key>"`,
  )
  return { schema: table.schema, name: table.name, reason, flags }
}

function typeOf(table: HostTable, column: string): string {
  return table.columns.find((candidate) => candidate.name === column)?.type ?? 'text'
}

function edgeAlong(key: HostForeignKey): OwnershipEdge {
  return {
    columns: key.columns,
    ownerSchema: key.targetSchema,
    ownerTable: key.targetTable,
    ownerColumns: key.targetColumns,
    constraintName: key.name,
  }
}

function targetOf(key: HostForeignKey): { schema: string; name: string } {
  return { schema: key.targetSchema, name: key.targetTable }
}

function ownerName(edge: OwnershipEdge): string {
  return tableName({ schema: edge.ownerSchema, name: edge.ownerTable })
}
