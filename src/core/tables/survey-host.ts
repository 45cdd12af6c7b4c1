/**
 * Looks at a host before anything is written: classifies its tables from the catalog, measures what their
 * rows say, looks for evidence where the catalog says nothing, and makes questions of what is left.
 */
import type { Queryable } from '../database/database.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { type Discovery, type DiscoveryOptions, discoverOwnership } from './discover-ownership.ts'
import { findBackward, findEvidence, readUsage, type Usage } from './find-evidence.ts'
import {
  type DoubtfulTable,
  groupQuestions,
  type Obstacle,
  type OpenTable,
  type Question,
} from './group-questions.ts'
import { type HostTable, tableName } from './host-table.ts'
import { type Measurement, measureRows } from './measure-rows.ts'
import { type ClassifiedTable, edgesOf, type OwnershipEdge, ownerOf } from './ownership.ts'
import { quoteTable } from './quote-identifier.ts'
import type { KnownAnswers } from './read-answers.ts'
import { describePath, fromClause, type Registry, renderCensusExpression } from './render-path.ts'
import {
  findFollowers,
  followAnswers,
  isBookkeeping,
  isLogLike,
  isLookup,
  isReferredTo,
} from './settle-tables.ts'

/** How often newly found owners are looked at for what they may own in turn. */
const ROUNDS = 4
const COUNT_TIMEOUT_MS = 6_000

export interface Survey {
  discovery: Discovery
  registry: Registry
  measured: ReadonlyMap<string, Measurement>
  /** Tables that nothing settles, as the questions have them. */
  open: readonly OpenTable[]
  questions: Question[]
}

/** What one run of `init` has measured already; the answers to questions don't change it. */
export interface SurveyMemory {
  measured: Map<string, Measurement>
  usage: Map<string, Usage | null>
  rows: Map<string, number>
}

export interface SurveyInput {
  catalog: readonly HostTable[]
  root: NonNullable<DiscoveryOptions['root']>
  tenantColumns: readonly string[]
  answers: KnownAnswers
  /** The root's key to itself, while nobody said whether tenants below count in. */
  openParentColumn: string | null
  obstaclesOf(classified: readonly ClassifiedTable[]): Obstacle[]
}

/** Surveys the host. Writes nothing. Throws `invalid_request` where a path that was told can't be followed. */
export async function surveyHost(
  connection: Queryable,
  input: SurveyInput,
  memory: SurveyMemory,
): Promise<Survey> {
  const { catalog, answers } = input
  const shared = new Set(answers.shared)
  const excluded = new Map(answers.excluded)
  const likely = new Map<string, OwnershipEdge[]>()
  const sentences = new Map<string, string[]>()
  const discover = () =>
    discoverOwnership(catalog, {
      root: input.root,
      tenantColumns: input.tenantColumns,
      custom: answers.custom,
      owned: answers.owned,
      direct: answers.direct,
      shared,
      excluded,
      likely,
      propose: true,
    })

  let discovery = discover()
  for (let round = 0; round < ROUNDS && discovery.unsettled.length > 0; round += 1) {
    const registry = registryOf(discovery)
    const open = openTables(catalog, discovery)
    let isChanged = false
    for (const table of open) {
      const name = tableName(table)
      if (answers.owned.has(name) || answers.direct.has(name)) continue
      if (isBookkeeping(table, catalog)) {
        excluded.set(name, 'the records of a migration tool')
        isChanged = true
        continue
      }
      if (isReferredTo(registry, table)) {
        const usage = await remember(memory.usage, name, () =>
          readUsage(connection, registry, table),
        )
        if (isLookup(usage)) {
          shared.add(name)
          isChanged = true
          continue
        }
        const backward = await weighBackward(connection, registry, table, usage, memory)
        if (backward !== null) {
          likely.set(name, [backward])
          sentences.set(name, [describeBackward(table, backward, usage)])
          isChanged = true
          continue
        }
      }
      const evidence = await findEvidence(connection, registry, table, catalog)
      if (evidence.likely.length === 0) continue
      likely.set(name, evidence.likely)
      sentences.set(name, evidence.sentences)
      isChanged = true
    }
    for (const [name, followed] of followAnswers(open, { shared, excluded })) {
      if (likely.has(name) || shared.has(name) || excluded.has(name)) continue
      if (followed.class === 'shared') shared.add(name)
      else excluded.set(name, followed.reason)
      isChanged = true
    }
    if (!isChanged) break
    discovery = discover()
  }

  const registry = registryOf(discovery)
  const measured = new Map<string, Measurement>()
  for (const entry of registry.values()) {
    const key = `${tableName(entry.table)} ${renderCensusExpression(registry, entry)}`
    measured.set(
      tableName(entry.table),
      await remember(memory.measured, key, () => measureRows(connection, registry, entry)),
    )
  }
  const open = await describeOpen(connection, registry, openTables(catalog, discovery), memory)
  const questions = groupQuestions({
    parentColumn: input.openParentColumn,
    rootTable: tableName(input.root),
    doubtful: findDoubtful(registry, discovery, measured, sentences, answers),
    open,
    obstacles: input.obstaclesOf(discovery.classified),
  })
  return { discovery, registry, measured, open, questions }
}

function registryOf(discovery: Discovery): Registry {
  return new Map(discovery.classified.map((entry) => [tableName(entry.table), entry]))
}

function openTables(catalog: readonly HostTable[], discovery: Discovery): HostTable[] {
  const names = new Set(discovery.unsettled.map(tableName))
  return catalog.filter((table) => names.has(tableName(table)))
}

async function remember<T>(
  memory: Map<string, T>,
  key: string,
  read: () => Promise<T>,
): Promise<T> {
  const known = memory.get(key)
  if (known !== undefined) return known
  const value = await read()
  memory.set(key, value)
  return value
}

/**
 * Whether an owner's row names a row of this table as its own: always where no two rows can name the
 * same, else only where many do and none is named by two tenants. A handful of rows proves nothing.
 */
async function weighBackward(
  connection: Queryable,
  registry: Registry,
  table: HostTable,
  usage: Usage | null,
  memory: SurveyMemory,
): Promise<OwnershipEdge | null> {
  const edge = findBackward(registry, table)
  if (edge === null || (usage?.shared ?? 0) > 0) return null
  const owner = registry.get(ownerOf(edge))
  const isUnique = owner?.table.uniqueKeys.some((key) =>
    key.every((column) => edge.ownerColumns.includes(column)),
  )
  if (isUnique === true) return edge
  const root = [...registry.values()].find((entry) => entry.classification.class === 'root')
  if (root === undefined || usage === null) return null
  const tenants = await countRows(connection, root.table, memory)
  const rows = await countRows(connection, table, memory)
  return usage.used > tenants * 2 && usage.used * 2 >= rows ? edge : null
}

function describeBackward(table: HostTable, edge: OwnershipEdge, usage: Usage | null): string {
  const used = usage === null ? '' : `; ${usage.used} of its rows are named, none by two tenants`
  return `${ownerOf(edge)}.${edge.ownerColumns.join('+')} names rows of ${tableName(table)}${used}.`
}

/** All rows of a table, or what the planner thinks where counting takes too long. */
async function countRows(
  connection: Queryable,
  table: HostTable,
  memory: SurveyMemory,
): Promise<number> {
  return remember(memory.rows, tableName(table), async () => {
    try {
      await connection.query(`set statement_timeout = ${COUNT_TIMEOUT_MS}`)
      const { rows } = await connection.query<{ count: string }>(
        `select count(*) as count ${fromClause(table)}`,
      )
      return Number(rows[0]?.count ?? 0)
    } catch (error) {
      if (!hasSqlstate(error, 'queryCanceled')) throw error
      const { rows } = await connection.query<{ count: string }>(
        `select greatest(c.reltuples, 0)::bigint as count from pg_catalog.pg_class c where c.oid = $1::regclass`,
        [quoteTable(table)],
      )
      return Number(rows[0]?.count ?? 0)
    } finally {
      await connection.query('reset statement_timeout')
    }
  })
}

async function describeOpen(
  connection: Queryable,
  registry: Registry,
  open: readonly HostTable[],
  memory: SurveyMemory,
): Promise<OpenTable[]> {
  const followers = findFollowers(open)
  const described: OpenTable[] = []
  for (const table of open) {
    described.push({
      table,
      rows: await countRows(connection, table, memory),
      isReferredTo: isReferredTo(registry, table),
      isLogLike: isLogLike(table),
      follows: followers.get(tableName(table)) ?? null,
    })
  }
  return described
}

/** Tables whose path needs a person's word: not those that only hang on such a table. */
function findDoubtful(
  registry: Registry,
  discovery: Discovery,
  measured: ReadonlyMap<string, Measurement>,
  sentences: ReadonlyMap<string, string[]>,
  answers: KnownAnswers,
): DoubtfulTable[] {
  const root = [...registry.values()].find((entry) => entry.classification.class === 'root')
  const hasTenants = root !== undefined && (measured.get(tableName(root.table))?.rows ?? 0) > 0
  const found: DoubtfulTable[] = []
  for (const entry of registry.values()) {
    const name = tableName(entry.table)
    const rows = measured.get(name)
    if (rows === undefined || answers.answered.has(name)) continue
    const doubt = discovery.doubts.get(name) ?? null
    const isUnreached =
      hasTenants &&
      rows.rows > 0 &&
      rows.rowsWithoutTenant === rows.rows &&
      entry.classification.class === 'direct' &&
      entry.classification.otherwise.length === 0
    const isTorn = (rows.rowsOfTwoTenants ?? 0) > 0 && !hangsOnDoubt(registry, discovery, entry)
    const isAsked = doubt === 'nullable_tenant' ? isUnreached : doubt !== null
    if (!isAsked && !isUnreached && !isTorn) continue
    found.push({
      entry,
      doubt,
      measured: rows,
      path: describePath(registry, entry),
      sentences: sentences.get(name) ?? [],
    })
  }
  return found
}

function hangsOnDoubt(registry: Registry, discovery: Discovery, entry: ClassifiedTable): boolean {
  return edgesOf(entry.classification).some((edge) => {
    const owner = registry.get(ownerOf(edge))
    const doubt = discovery.doubts.get(ownerOf(edge))
    return (
      (doubt !== undefined && doubt !== 'nullable_tenant') ||
      (owner !== undefined && hangsOnDoubt(registry, discovery, owner))
    )
  })
}
