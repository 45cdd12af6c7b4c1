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
import {
  type Classification,
  type ClassifiedTable,
  edgesOf,
  type OwnershipEdge,
  ownerOf,
  type UnsettledTable,
} from './ownership.ts'

export interface DiscoveryOptions {
  root: {
    schema: string
    name: string
    key: string
    /** Names the tenant above, where a tenant's own tenants count in. */
    parentColumn?: string | null
  }
  /** Names under which tables carry the tenant's id. */
  tenantColumns: readonly string[]
  /** By `schema.table`. */
  excluded: ReadonlyMap<string, string>
  shared: ReadonlySet<string>
  custom: ReadonlyMap<string, string>
  /** Edges the administrator told us, by `schema.table`, in order of rank. */
  owned: ReadonlyMap<string, readonly OwnershipEdge[]>
  /** The tenant column the administrator told us, and the edges that count where it is null. */
  direct?: ReadonlyMap<string, { column: string; otherwise: readonly OwnershipEdge[] }>
  /** Edges for which there is evidence but no foreign key, or one of the owner's own. */
  likely?: ReadonlyMap<string, readonly OwnershipEdge[]>
  /** Classify by what is merely likely too, and say so in `doubts`. */
  propose?: boolean
}

/** Why a classification needs a person's word, or a look at the rows. */
export type Doubt =
  /** Rows without a tenant may be everybody's, and no other path leads to one. */
  | 'nullable_tenant'
  /** Every path is a key that may be null. */
  | 'nullable_keys'
  /** No foreign key says so. */
  | 'likely_edge'

export interface Discovery {
  /** Owners first. */
  classified: ClassifiedTable[]
  unsettled: UnsettledTable[]
  /** By `schema.table`; only where `propose` was asked for. */
  doubts: ReadonlyMap<string, Doubt>
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

  const doubts = new Map<string, Doubt>()
  const search: Search = { tables, options, settled, distance, doubts }
  settleChildren(search)
  if (options.propose === true) {
    while (settleOneDoubt(search)) settleChildren(search)
    for (const [name, doubt] of doubts) if (doubt === 'nullable_keys') addFurtherKeys(search, name)
  }

  const classified = orderByOwnership(tables, settled)
  const unsettled = tables
    .filter((table) => !settled.has(tableName(table)))
    .map((table) => describeUnsettled(table, options))
  return { classified, unsettled, doubts }
}

interface Search {
  tables: readonly HostTable[]
  options: DiscoveryOptions
  settled: Map<string, Classification>
  /** Steps to the tenant, of tables that lead to one. */
  distance: Map<string, number>
  doubts: Map<string, Doubt>
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
      parentColumn: options.root.parentColumn ?? null,
    }
  }
  const reason = options.excluded.get(name)
  if (reason !== undefined) return { class: 'excluded', reason }
  if (options.shared.has(name)) return { class: 'shared' }
  const predicate = options.custom.get(name)
  if (predicate !== undefined) return { class: 'custom', predicate }
  if (options.owned.has(name)) return null
  const told = options.direct?.get(name)
  if (told !== undefined) {
    return told.otherwise.length > 0 ? null : directBy(table, told.column)
  }

  const tenantColumn = findTenantColumn(table, options)
  if (tenantColumn === null) return null
  return directBy(table, tenantColumn)
}

function directBy(
  table: HostTable,
  tenantColumn: string,
  otherwise: readonly OwnershipEdge[] = [],
): Classification {
  return {
    class: 'direct',
    tenantColumn,
    tenantType: typeOf(table, tenantColumn),
    otherwise: [...otherwise],
  }
}

/** A column of a known name, else a foreign key to the tenant's own row; not null, or (asked so) nullable. */
function findTenantColumn(
  table: HostTable,
  options: DiscoveryOptions,
  isNullable = false,
): string | null {
  const candidates = table.columns
    .filter((column) => column.isNullable === isNullable)
    .map((column) => column.name)
  const byName = options.tenantColumns.find((name) => candidates.includes(name))
  if (byName !== undefined) return byName
  const byKey = table.foreignKeys.find(
    (key) =>
      key.targetSchema === options.root.schema &&
      key.targetTable === options.root.name &&
      key.targetColumns.length === 1 &&
      key.targetColumns[0] === options.root.key &&
      key.columns.every((column) => candidates.includes(column)),
  )
  return byKey?.columns[0] ?? null
}

function settleChildren({ tables, options, settled, distance }: Search): void {
  let remaining = tables.filter((table) => !settled.has(tableName(table)))
  while (remaining.length > 0) {
    // One ring at a time: what is settled in this round owns nothing before the next, so that the
    // distance of a table is its shortest path and no two tables can own each other.
    const ring: { name: string; classification: Classification; distance: number }[] = []
    for (const table of remaining) {
      const classification = classifyByKeys(table, options, distance)
      if (classification === null) continue
      const far = edgesOf(classification).map((edge) => distance.get(ownerOf(edge)) ?? 0)
      ring.push({
        name: tableName(table),
        classification,
        distance: classification.class === 'direct' ? 1 : Math.max(...far) + 1,
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

/** What keys that are never null say of a table, or edges that a person told us; null where they say nothing yet. */
function classifyByKeys(
  table: HostTable,
  options: DiscoveryOptions,
  distance: ReadonlyMap<string, number>,
): Classification | null {
  const name = tableName(table)
  const leadOn = (edges: readonly OwnershipEdge[]) =>
    edges.every((edge) => distance.has(ownerOf(edge)))
  const told = options.owned.get(name)
  if (told !== undefined) return leadOn(told) ? { class: 'child', edges: [...told] } : null
  const toldDirect = options.direct?.get(name)
  if (toldDirect !== undefined) {
    return leadOn(toldDirect.otherwise)
      ? directBy(table, toldDirect.column, toldDirect.otherwise)
      : null
  }

  const best = rankKeys(table, distance, false)[0]
  if (best === undefined) return null
  const edge = edgeAlong(best)
  const nullableTenant = findTenantColumn(table, options, true)
  return nullableTenant === null
    ? { class: 'child', edges: [edge] }
    : directBy(table, nullableTenant, [edge])
}

/** Foreign keys to owners, the best first; those that are never null, or those that may be. */
function rankKeys(
  table: HostTable,
  distance: ReadonlyMap<string, number>,
  mayBeNull: boolean,
): HostForeignKey[] {
  const nullable = new Set(
    table.columns.filter((column) => column.isNullable).map((column) => column.name),
  )
  const far = (key: HostForeignKey) => distance.get(tableName(targetOf(key))) ?? 0
  return table.foreignKeys
    .filter((key) => tableName(targetOf(key)) !== tableName(table))
    .filter((key) => distance.has(tableName(targetOf(key))))
    .filter((key) => key.columns.some((column) => nullable.has(column)) === mayBeNull)
    .sort(
      (a, b) =>
        Number(b.cascadesOnDelete) - Number(a.cascadesOnDelete) ||
        far(a) - far(b) ||
        a.name.localeCompare(b.name, 'en'),
    )
}

/**
 * Settles the tables that the best kind of doubtful path leads from, and says whether there were any: a
 * tenant column that may be null, then keys that may be null, then edges without a foreign key.
 */
function settleOneDoubt({ tables, options, settled, distance, doubts }: Search): boolean {
  const open = tables.filter((table) => {
    const name = tableName(table)
    return !settled.has(name) && !options.owned.has(name) && options.direct?.has(name) !== true
  })
  const settle = (
    doubt: Doubt,
    classify: (table: HostTable) => { found: Classification; far: number } | null,
  ): boolean => {
    const ring = open.flatMap((table) => {
      const result = classify(table)
      return result === null ? [] : [{ name: tableName(table), ...result }]
    })
    for (const { name, found, far } of ring) {
      settled.set(name, found)
      distance.set(name, far + 1)
      doubts.set(name, doubt)
    }
    return ring.length > 0
  }
  const byEdges = (edges: OwnershipEdge[]) =>
    edges.length === 0
      ? null
      : {
          found: { class: 'child', edges } satisfies Classification,
          far: Math.max(...edges.map((edge) => distance.get(ownerOf(edge)) ?? 0)),
        }
  // A column that names the tenant's own row is a tenant column, whatever it is called.
  const byLikely = (table: HostTable, edges: OwnershipEdge[]) => {
    const [first, ...rest] = edges
    const isTenant =
      first !== undefined &&
      first.condition === null &&
      first.columns.length === 1 &&
      ownerOf(first) === tableName(options.root) &&
      first.ownerColumns[0] === options.root.key
    return isTenant
      ? { found: directBy(table, first.columns[0] ?? '', rest), far: 0 }
      : byEdges(edges)
  }
  return (
    settle('nullable_tenant', (table) => {
      const column = findTenantColumn(table, options, true)
      return column === null ? null : { found: directBy(table, column), far: 0 }
    }) ||
    settle('nullable_keys', (table) => byEdges(rankKeys(table, distance, true).map(edgeAlong))) ||
    settle('likely_edge', (table) =>
      byLikely(
        table,
        chooseLikely(
          table,
          (options.likely?.get(tableName(table)) ?? []).filter((edge) =>
            distance.has(ownerOf(edge)),
          ),
        ),
      ),
    )
  )
}

/** One edge that says something of every row, else all of them, in their order. */
function chooseLikely(table: HostTable, edges: readonly OwnershipEdge[]): OwnershipEdge[] {
  const always = edges.find(
    (edge) =>
      edge.condition === null &&
      edge.columns.every((name) =>
        table.columns.some((column) => column.name === name && !column.isNullable),
      ),
  )
  return always === undefined ? [...edges] : [always]
}

/** Keys to owners that were found only later, after the former ones, unless the owner hangs on this table. */
function addFurtherKeys({ tables, settled, distance }: Search, name: string): void {
  const table = tables.find((candidate) => tableName(candidate) === name)
  const classification = settled.get(name)
  if (table === undefined || classification?.class !== 'child') return
  const hangsOnIt = (owner: string): boolean =>
    owner === name ||
    edgesOf(settled.get(owner) ?? { class: 'shared' }).some((edge) => hangsOnIt(ownerOf(edge)))
  const known = new Set(classification.edges.map((edge) => edge.constraintName))
  for (const key of rankKeys(table, distance, true)) {
    if (known.has(key.name) || hangsOnIt(tableName(targetOf(key)))) continue
    classification.edges.push(edgeAlong(key))
  }
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
    for (const edge of edgesOf(classification)) place(ownerOf(edge))
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
    condition: null,
    isBackward: false,
  }
}

function targetOf(key: HostForeignKey): { schema: string; name: string } {
  return { schema: key.targetSchema, name: key.targetTable }
}
