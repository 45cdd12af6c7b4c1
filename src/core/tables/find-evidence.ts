/**
 * Looks for owners of tables that no foreign key settles. Names say where to look, values say whether it
 * is so: a column is evidence when what it holds is found among the keys of tenants' rows. A bare `id`,
 * or a column that other tables refer to, is none: such a table is an owner, or nobody's.
 *
 * Values never leave the database; what comes back is counts. The one exception are the types of a
 * type-and-id pair, and of those only what is the name of a table.
 */
import type { Queryable } from '../database/database.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import type { HostColumn, HostForeignKey, HostTable } from './host-table.ts'
import { tableName } from './host-table.ts'
import { renderTenant } from './measure-rows.ts'
import type { OwnershipEdge } from './ownership.ts'
import { snakeOf, wordsOf } from './propose-marks.ts'
import { quoteColumns, quoteIdentifier } from './quote-identifier.ts'
import { fromClause, type Registry } from './render-path.ts'

/** Distinct values of a column that are looked up among keys. */
const SAMPLE = 200
/** Longer than `init` waits for a lock, so that a table in use is told from one that is too large. */
const TIMEOUT_MS = 6_000
/** Owners that one column is compared with, where its name names none. */
const MOST_OWNERS = 80

export interface Evidence {
  /** Edges for which there is evidence, the best first. */
  likely: OwnershipEdge[]
  /** A sentence for each. */
  sentences: string[]
}

/** How the rows of a table are used by rows of tenants. */
export interface Usage {
  /** Rows that some tenant's row refers to. */
  used: number
  /** Of these, rows that two tenants or more refer to. */
  shared: number
}

interface Candidate {
  column: HostColumn
  owner: HostTable
  key: HostColumn
  isNamed: boolean
}

/** Foreign keys of tenants' tables to this one. */
export function inboundKeys(
  registry: Registry,
  table: HostTable,
): { owner: HostTable; key: HostForeignKey }[] {
  return [...registry.values()]
    .filter(({ classification }) => /^(root|direct|child)$/.test(classification.class))
    .flatMap(({ table: owner }) =>
      owner.foreignKeys
        .filter((key) => `${key.targetSchema}.${key.targetTable}` === tableName(table))
        .map((key) => ({ owner, key })),
    )
    .filter(({ owner }) => tableName(owner) !== tableName(table))
}

/** Edges that names and values suggest for a table of which nothing else is known. */
export async function findEvidence(
  connection: Queryable,
  registry: Registry,
  table: HostTable,
  catalog: readonly HostTable[],
): Promise<Evidence> {
  const evidence: Evidence = { likely: [], sentences: [] }
  const pairs = findTypePairs(table)
  for (const pair of pairs) await addTypePair(connection, registry, table, pair, evidence)
  const taken = new Set(pairs.map((pair) => pair.id.name))
  for (const column of table.columns) {
    if (taken.has(column.name) || !mayName(table, column, catalog)) continue
    await addColumn(connection, registry, table, column, catalog, evidence)
  }
  return evidence
}

/** Whether a column could name an owner at all. */
function mayName(table: HostTable, column: HostColumn, catalog: readonly HostTable[]): boolean {
  if (kindOf(column.type) === null || column.name.toLowerCase() === 'id') return false
  const known = new Set(catalog.map(tableName))
  const leadsInside = table.foreignKeys.some(
    (key) =>
      key.columns.includes(column.name) && known.has(`${key.targetSchema}.${key.targetTable}`),
  )
  if (leadsInside) return false
  return !catalog.some((other) =>
    other.foreignKeys.some(
      (key) =>
        `${key.targetSchema}.${key.targetTable}` === tableName(table) &&
        key.targetColumns.includes(column.name),
    ),
  )
}

type Kind = 'uuid' | 'text' | 'number'

function kindOf(type: string): Kind | null {
  if (type === 'uuid') return 'uuid'
  if (/^(text|character varying|character|varchar|bpchar)$/.test(type)) return 'text'
  return /^(smallint|integer|bigint|int[248])$/.test(type) ? 'number' : null
}

/** Pure: the owners whose keys a column may hold; those that its name names first. */
export function findCandidates(
  registry: Registry,
  column: HostColumn,
  catalog: readonly HostTable[],
  table?: HostTable,
): Candidate[] {
  const kind = kindOf(column.type)
  if (kind === null) return []
  const own = table === undefined ? null : targetOf(table, column.name)
  const elsewhere = new Set(
    catalog.flatMap((table) =>
      table.foreignKeys
        .filter((key) => key.columns.length === 1 && key.columns[0] === column.name)
        .map((key) => `${key.targetSchema}.${key.targetTable}`),
    ),
  )
  const candidates: Candidate[] = []
  for (const { table: owner, classification } of registry.values()) {
    if (!/^(root|direct|child)$/.test(classification.class)) continue
    const [name, ...more] = owner.primaryKey
    const key = owner.columns.find((candidate) => candidate.name === name)
    if (key === undefined || more.length > 0) continue
    const keyKind = kindOf(key.type)
    const isNamed =
      elsewhere.has(tableName(owner)) ||
      namesTable(column.name, owner.name) ||
      // Both name the same row of a table that we don't look at, such as a login of the platform.
      (own !== null && own === targetOf(owner, key.name))
    // Numbers and short texts are found among anybody's keys: there a name must agree.
    const isTelling = kind === 'uuid' ? keyKind === 'uuid' : kind === 'text' && keyKind === 'uuid'
    const fits = keyKind === kind || (kind === 'text' && keyKind !== null)
    if (isTelling || (isNamed && fits)) candidates.push({ column, owner, key, isNamed })
  }
  return candidates.sort((a, b) => Number(b.isNamed) - Number(a.isNamed)).slice(0, MOST_OWNERS)
}

function targetOf(table: HostTable, column: string): string | null {
  const key = table.foreignKeys.find(({ columns }) => columns.length === 1 && columns[0] === column)
  return key === undefined
    ? null
    : `${key.targetSchema}.${key.targetTable}.${key.targetColumns.join()}`
}

/** Whether `customer_id`, `customerId` or `customer_uuid` is named after the table `customers`. Pure. */
export function namesTable(column: string, table: string): boolean {
  const match = /^(.+)_(?:id|uuid|key|ref)$/.exec(snakeOf(column))
  if (match === null) return false
  const wanted = singularOf(match[1] ?? '')
  const name = singularOf(snakeOf(table))
  return name === wanted || singularOf(wordsOf(table).at(-1) ?? '') === wanted
}

function singularOf(name: string): string {
  if (/(s|x|z|ch|sh)es$/.test(name)) return name.slice(0, -2)
  if (name.endsWith('ies')) return `${name.slice(0, -3)}y`
  return name.endsWith('s') && !name.endsWith('ss') ? name.slice(0, -1) : name
}

async function addColumn(
  connection: Queryable,
  registry: Registry,
  table: HostTable,
  column: HostColumn,
  catalog: readonly HostTable[],
  evidence: Evidence,
): Promise<void> {
  const candidates = findCandidates(registry, column, catalog, table)
  if (candidates.length === 0) return
  const found = await countHits(connection, table, column, candidates, null)
  if (found === null) return
  const best = candidates
    .map((candidate, index) => ({ candidate, hits: found.hits[index] ?? 0 }))
    .filter(({ candidate, hits }) =>
      // An empty table has nothing but its names to say.
      found.values === 0 ? candidate.isNamed : hits * 2 >= found.values,
    )
    .sort((a, b) => b.hits - a.hits || Number(b.candidate.isNamed) - Number(a.candidate.isNamed))[0]
  if (best === undefined) return
  const { owner, key } = best.candidate
  evidence.likely.push(edgeTo(owner, key, column, null))
  evidence.sentences.push(
    found.values === 0
      ? `${tableName(table)}.${column.name} is named after ${tableName(owner)}; there are no values to look at.`
      : `${tableName(table)}.${column.name}: ${best.hits} of ${found.values} distinct values are keys of ${tableName(owner)}.`,
  )
}

function edgeTo(
  owner: HostTable,
  key: HostColumn,
  column: HostColumn,
  condition: OwnershipEdge['condition'],
): OwnershipEdge {
  return {
    columns: [column.name],
    ownerSchema: owner.schema,
    ownerTable: owner.name,
    ownerColumns: [key.name],
    constraintName: null,
    condition,
    isBackward: false,
  }
}

/** How many distinct values of a sample are keys of each candidate; null where that took too long. */
async function countHits(
  connection: Queryable,
  table: HostTable,
  column: HostColumn,
  candidates: readonly Candidate[],
  onlyOf: { type: HostColumn; value: string } | null,
): Promise<{ values: number; hits: number[] } | null> {
  const name = quoteIdentifier(column.name)
  const isText = kindOf(column.type) === 'text'
  const counts = candidates.map(({ owner, key }, index) => {
    const keyKind = kindOf(key.type)
    // The value takes the type of the key, so that the key's index serves.
    const readable =
      !isText || keyKind === 'text'
        ? 'true'
        : keyKind === 'uuid'
          ? `v ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'`
          : `v ~ '^[0-9]{1,9}$'`
    const value = `case when ${readable} then v end::${key.type}`
    const named = `o.${quoteIdentifier(key.name)}`
    // The path will compare as the column's type: what only reads alike, such as upper case, is no hit.
    const alike = isText && keyKind !== 'text' ? ` and ${named}::text = v` : ''
    return `count(*) filter (where exists (select ${fromClause(owner)} o where ${named} = ${value}${alike})) as h${index}`
  })
  try {
    await connection.query(`set statement_timeout = ${TIMEOUT_MS}`)
    const { rows } = await connection.query<Record<string, string>>(
      `with first_rows as materialized (
         select ${name} as v ${fromClause(table)} where ${name} is not null ${onlyOf === null ? '' : `and ${quoteIdentifier(onlyOf.type.name)}::text = $1`} limit 5000
       ), sample as materialized (select distinct v from first_rows limit ${SAMPLE})
       select count(*) as values, ${counts.join(', ')} from sample`,
      onlyOf === null ? [] : [onlyOf.value],
    )
    const row = rows[0] ?? {}
    return {
      values: Number(row.values ?? 0),
      hits: candidates.map((_, index) => Number(row[`h${index}`] ?? 0)),
    }
  } catch (error) {
    if (hasSqlstate(error, 'queryCanceled', 'undefinedFunction', 'dataException')) return null
    throw error
  } finally {
    await connection.query('reset statement_timeout')
  }
}

interface TypePair {
  type: HostColumn
  id: HostColumn
}

/** Pure: columns such as `subject_type` and `subject_id`. */
export function findTypePairs(table: HostTable): TypePair[] {
  return table.columns.flatMap((type) => {
    const stem = /^(.+)_(?:type|kind|class)$/.exec(snakeOf(type.name))?.[1]
    if (stem === undefined || kindOf(type.type) === 'number') return []
    const id = table.columns.find(
      (column) => snakeOf(column.name) === `${stem}_id` && kindOf(column.type) !== null,
    )
    const hasKey = table.foreignKeys.some(
      (key) => id !== undefined && key.columns.includes(id.name),
    )
    return id === undefined || hasKey ? [] : [{ type, id }]
  })
}

/** Pure: the table that a type such as `Invoice`, `invoices` or `App\Models\Invoice` means. */
export function findTypeOwner(registry: Registry, type: string): HostTable | null {
  const bare = type.split(/[\\/.:]+/).at(-1) ?? ''
  const wanted = singularOf(snakeOf(bare))
  if (wanted === '') return null
  const owners = [...registry.values()].filter(
    ({ table, classification }) =>
      /^(root|direct|child)$/.test(classification.class) &&
      table.primaryKey.length === 1 &&
      singularOf(snakeOf(table.name)) === wanted,
  )
  return owners.length === 1 ? (owners[0]?.table ?? null) : null
}

async function addTypePair(
  connection: Queryable,
  registry: Registry,
  table: HostTable,
  { type, id }: TypePair,
  evidence: Evidence,
): Promise<void> {
  const { rows } = await connection.query<{ type: string }>(
    `select distinct s.v::text as type from (
       select ${quoteIdentifier(type.name)} as v ${fromClause(table)} where ${quoteIdentifier(type.name)} is not null limit 20000
     ) s order by 1 limit 40`,
  )
  let unknown = 0
  for (const { type: value } of rows) {
    const owner = findTypeOwner(registry, value)
    const key = owner?.columns.find((column) => column.name === owner.primaryKey[0])
    if (owner === null || key === undefined) {
      unknown += 1
      continue
    }
    const found = await countHits(
      connection,
      table,
      id,
      [{ column: id, owner, key, isNamed: true }],
      { type, value },
    )
    const hits = found?.hits[0] ?? 0
    if (found === null || hits * 2 < found.values) continue
    evidence.likely.push(edgeTo(owner, key, id, { column: type.name, value }))
    evidence.sentences.push(
      `${tableName(table)}.${id.name} where ${type.name} is ${value}: ${hits} of ${found.values} distinct values are keys of ${tableName(owner)}.`,
    )
  }
  if (unknown > 0 && rows.length > unknown) {
    evidence.sentences.push(
      `${tableName(table)}.${type.name} has ${unknown} more values that name no table of tenants; such rows are not reached.`,
    )
  }
}

/** How the rows of a table are used by rows of tenants; null where nobody refers to it, or it took too long. */
export async function readUsage(
  connection: Queryable,
  registry: Registry,
  table: HostTable,
): Promise<Usage | null> {
  const uses = inboundKeys(registry, table)
    .slice(0, 8)
    .flatMap(({ owner, key }, index) => {
      const entry = registry.get(tableName(owner))
      const joins: string[] = []
      const tenant =
        entry === undefined ? null : renderTenant(registry, entry, 'o', joins, `u${index}_`)
      if (tenant === null) return []
      const isSet = key.columns.map((column) => `${quoteColumns([column], 'o')} is not null`)
      return [
        `select row(${quoteColumns(key.columns, 'o')})::text as used, ${tenant} as tenant ${fromClause(owner)} o ${joins.join(' ')} where ${isSet.join(' and ')}`,
      ]
    })
  if (uses.length === 0) return null
  try {
    await connection.query(`set statement_timeout = ${TIMEOUT_MS}`)
    const { rows } = await connection.query<{ used: string; shared: string }>(
      `select count(*) as used, count(*) filter (where tenants > 1) as shared
       from (select count(distinct tenant) as tenants from (${uses.join(' union all ')}) u
             where tenant is not null group by used) g`,
    )
    return { used: Number(rows[0]?.used ?? 0), shared: Number(rows[0]?.shared ?? 0) }
  } catch (error) {
    if (hasSqlstate(error, 'queryCanceled')) return null
    throw error
  } finally {
    await connection.query('reset statement_timeout')
  }
}

/**
 * Pure: the edge against a foreign key of an owner, where the owner's row names the owned row. Of several
 * the one that can be written, because its columns are unique.
 */
export function findBackward(registry: Registry, table: HostTable): OwnershipEdge | null {
  const edges = inboundKeys(registry, table)
    .map(({ owner, key }) => ({
      isUnique: owner.uniqueKeys.some((unique) =>
        unique.every((column) => key.columns.includes(column)),
      ),
      edge: {
        columns: key.targetColumns,
        ownerSchema: owner.schema,
        ownerTable: owner.name,
        ownerColumns: key.columns,
        constraintName: key.name,
        condition: null,
        isBackward: true,
      },
    }))
    .sort((a, b) => Number(b.isUnique) - Number(a.isUnique))
  return edges[0]?.edge ?? null
}
