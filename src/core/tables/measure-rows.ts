/**
 * Counts what the rows of a table say: how many there are, how many no tenant reaches, how many two
 * tenants reach. One query a table, cut off where the table is too large for it.
 */
import type { Queryable } from '../database/database.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { tableName } from './host-table.ts'
import { type ClassifiedTable, edgesOf, type OwnershipEdge, ownerOf } from './ownership.ts'
import { quoteColumns, quoteLiteral, quoteTable } from './quote-identifier.ts'
import {
  describePath,
  fromClause,
  keyTypes,
  type Registry,
  renderReachedExpression,
} from './render-path.ts'

/** How long the rows of one table may be counted. */
const TIMEOUT_MS = 8_000
/** Keys beside the path that are followed to see whether they lead to another tenant. */
const MOST_KEYS = 6

export interface Measurement {
  rows: number
  /** Rows that lead to no tenant; null where an administrator's predicate decides, or it took too long. */
  rowsWithoutTenant: number | null
  /** Rows of which one path leads to a tenant and another one to another; null where that can't be told. */
  rowsOfTwoTenants: number | null
  /** Rows whose tenant column is null; null where there is no such column. */
  nullTenantRows: number | null
  /** The table was too large: `rows` is what the planner thinks, the others are not known. */
  isEstimate: boolean
  /** The foreign keys whose rows belong to another tenant than the path says. */
  disagreeing: string[]
}

/** Measures one table of the registry. Throws `invalid_request` where its path can't be followed at all. */
export async function measureRows(
  connection: Queryable,
  registry: Registry,
  entry: ClassifiedTable,
): Promise<Measurement> {
  const { table, classification } = entry
  const reached = renderReachedExpression(registry, entry, 'owned')
  const column =
    classification.class === 'direct'
      ? table.columns.find(({ name }) => name === classification.tenantColumn)
      : undefined
  const nullable =
    column === undefined || !column.isNullable ? null : quoteColumns([column.name], 'owned')
  const joins: string[] = []
  const others = compareTenants(registry, entry, joins)
  const differs = others.map((other) => `(${other.differs}) is true`)
  const columns = [
    'count(*) as total',
    `count(*) filter (where (${reached ?? 'true'}) is not true) as lost`,
    nullable === null ? 'null as nulls' : `count(*) filter (where ${nullable} is null) as nulls`,
    differs.length === 0
      ? `${reached === null || countsSubtenants(registry) ? 'null' : '0'} as two`
      : `count(*) filter (where ${differs.join(' or ')}) as two`,
    ...differs.map((condition, index) => `coalesce(bool_or(${condition}), false) as d${index}`),
  ]
  try {
    await connection.query(`set statement_timeout = ${TIMEOUT_MS}`)
    const { rows } = await connection.query<Record<string, string | boolean | null>>(
      `select ${columns.join(', ')} ${fromClause(table)} owned ${joins.join(' ')}`,
    )
    const row = rows[0] ?? {}
    return {
      rows: Number(row.total ?? 0),
      rowsWithoutTenant: reached === null ? null : Number(row.lost ?? 0),
      rowsOfTwoTenants: row.two == null ? null : Number(row.two),
      nullTenantRows: row.nulls == null ? null : Number(row.nulls),
      isEstimate: false,
      disagreeing: others.filter((_, index) => row[`d${index}`] === true).map(({ name }) => name),
    }
  } catch (error) {
    if (hasSqlstate(error, 'queryCanceled')) return estimateRows(connection, entry)
    if (!hasSqlstate(error, 'syntaxOrAccess', 'dataException')) throw error
    throw new BackupError(
      'invalid_request',
      `The rows of ${tableName(table)} can't be followed along ${describePath(registry, entry)}: ${(error as Error).message}.`,
      { cause: error },
    )
  } finally {
    await connection.query('reset statement_timeout')
  }
}

async function estimateRows(connection: Queryable, entry: ClassifiedTable): Promise<Measurement> {
  const { rows } = await connection.query<{ estimate: string }>(
    `select coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint as estimate
     from pg_catalog.pg_class c
     where c.oid = $1::regclass or c.oid in (select relid from pg_catalog.pg_partition_tree($1::regclass))`,
    [quoteTable(entry.table)],
  )
  return {
    rows: Number(rows[0]?.estimate ?? 0),
    rowsWithoutTenant: null,
    rowsOfTwoTenants: null,
    nullTenantRows: null,
    isEstimate: true,
    disagreeing: [],
  }
}

/** For each key that is no step of the path: the condition that it leads to another tenant than the path. */
function compareTenants(
  registry: Registry,
  entry: ClassifiedTable,
  joins: string[],
): { name: string; differs: string }[] {
  const { table, classification } = entry
  if (classification.class !== 'direct' && classification.class !== 'child') return []
  // With tenants below counted in, a row may well lead to one tenant and to the one above it.
  if (countsSubtenants(registry)) return []
  const steps = new Set(
    edgesOf(classification)
      .filter((edge) => !edge.isBackward)
      .map((edge) => edge.columns.join()),
  )
  if (classification.class === 'direct') steps.add(classification.tenantColumn)
  const keys = table.foreignKeys.filter(
    (key) =>
      `${key.targetSchema}.${key.targetTable}` !== tableName(table) &&
      !steps.has(key.columns.join()),
  )
  // A list of several steps is itself worth comparing: both columns of a row may be set.
  const stepEdges = edgesOf(classification)
  const edges: { name: string; edge: OwnershipEdge }[] = [
    ...(classification.class === 'direct' || stepEdges.length > 1
      ? stepEdges
          .filter((edge) => edge.condition === null && !edge.isBackward)
          .map((edge) => ({ name: edge.constraintName ?? edge.columns.join('+'), edge }))
      : []),
    ...keys.map((key) => ({
      name: key.name,
      edge: {
        columns: key.columns,
        ownerSchema: key.targetSchema,
        ownerTable: key.targetTable,
        ownerColumns: key.targetColumns,
        constraintName: key.name,
        condition: null,
        isBackward: false,
      },
    })),
  ]
  if (edges.length === 0) return []
  const own: string[] = []
  const path = renderTenant(registry, entry, 'owned', own, 'p')
  if (path === null) return []
  const found: { name: string; differs: string }[] = []
  for (const [index, { name, edge }] of edges.entries()) {
    if (found.length === MOST_KEYS) break
    const mine: string[] = []
    const other = followEdge(registry, entry, edge, 'owned', mine, `k${index}_`)
    if (other === null) continue
    joins.push(...mine)
    found.push({ name, differs: `${other} <> ${path}` })
  }
  if (found.length > 0) joins.unshift(...own)
  return found
}

function countsSubtenants(registry: Registry): boolean {
  return [...registry.values()].some(
    ({ classification }) => classification.class === 'root' && classification.parentColumn !== null,
  )
}

/**
 * The id of the tenant, as text, that a row leads to by its path, with the joins that this needs; null
 * where an administrator's predicate is on the way.
 */
export function renderTenant(
  registry: Registry,
  entry: ClassifiedTable,
  alias: string,
  joins: string[],
  prefix: string,
): string | null {
  const { classification } = entry
  switch (classification.class) {
    case 'root':
      return `${quoteColumns([classification.tenantColumn], alias)}::text`
    case 'direct': {
      const column = quoteColumns([classification.tenantColumn], alias)
      if (classification.otherwise.length === 0) return `${column}::text`
      const rest = renderSteps(registry, entry, alias, joins, prefix)
      return rest === null ? null : `coalesce(${column}::text, ${rest})`
    }
    case 'child':
      return renderSteps(registry, entry, alias, joins, prefix)
    case 'custom':
    case 'shared':
    case 'excluded':
      return null
  }
}

function renderSteps(
  registry: Registry,
  entry: ClassifiedTable,
  alias: string,
  joins: string[],
  prefix: string,
): string | null {
  const cases: string[] = []
  for (const [index, edge] of edgesOf(entry.classification).entries()) {
    const tenant = followEdge(registry, entry, edge, alias, joins, `${prefix}${index}_`)
    if (tenant === null) return null
    const says = edge.columns.map((column) => `${quoteColumns([column], alias)} is not null`)
    if (edge.condition !== null) {
      says.push(
        `${quoteColumns([edge.condition.column], alias)} = ${quoteLiteral(edge.condition.value)}`,
      )
    }
    cases.push(`when ${says.join(' and ')} then ${tenant}`)
  }
  return cases.length === 0 ? null : `case ${cases.join(' ')} end`
}

function followEdge(
  registry: Registry,
  entry: ClassifiedTable,
  edge: OwnershipEdge,
  alias: string,
  joins: string[],
  prefix: string,
): string | null {
  const owner = registry.get(ownerOf(edge))
  if (owner === undefined) return null
  const types = keyTypes(registry, entry.table, edge)
  const pairs = edge.columns.map((column, index) => {
    const key = quoteColumns([edge.ownerColumns[index] ?? ''], prefix)
    return `${key}::${types[index]} = ${quoteColumns([column], alias)}`
  })
  const isNamedOnce = owner.table.uniqueKeys.some((key) =>
    key.every((column) => edge.ownerColumns.includes(column)),
  )
  const before = joins.length
  const relation = fromClause(owner.table).replace(/^from /, '')
  joins.push(
    isNamedOnce
      ? `left join ${relation} "${prefix}" on ${pairs.join(' and ')}`
      : `left join lateral (select "${prefix}".* ${fromClause(owner.table)} "${prefix}" where ${pairs.join(' and ')} limit 1) "${prefix}" on true`,
  )
  const tenant = renderTenant(registry, owner, prefix, joins, prefix)
  if (tenant === null) joins.length = before
  return tenant
}
