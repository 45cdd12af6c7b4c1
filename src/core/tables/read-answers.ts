import { z } from 'zod'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { DiscoveryOptions } from './discover-ownership.ts'
import type { HostTable } from './host-table.ts'
import { tableName } from './host-table.ts'
import type { OwnershipEdge } from './ownership.ts'

/** What an administrator says about tables, as written on the command line. */
export interface TableAnswers {
  /** `table=reason` */
  excluded: readonly string[]
  /** `table` */
  shared: readonly string[]
  /** `table.column=owner.column`; several columns: `table.a,b=owner.x,y` */
  owned: readonly string[]
  /** `table=condition with {tenant}` */
  custom: readonly string[]
}

type KnownAnswers = Pick<DiscoveryOptions, 'excluded' | 'shared' | 'custom' | 'owned'>

/**
 * Joins the answers given now with those of earlier runs, which the registry holds; what is said now
 * wins. Throws `invalid_request` for a table, column or form that does not exist, naming it.
 */
export async function readAnswers(
  database: Queryable,
  catalog: readonly HostTable[],
  rootName: string,
  given: TableAnswers,
): Promise<KnownAnswers> {
  const excluded = new Map<string, string>()
  const shared = new Set<string>()
  const custom = new Map<string, string>()
  const owned = new Map<string, OwnershipEdge[]>()
  const forget = (name: string): void => {
    excluded.delete(name)
    shared.delete(name)
    custom.delete(name)
    owned.delete(name)
  }

  const columnsOf = new Map(
    catalog.map((table) => [tableName(table), new Set(table.columns.map((column) => column.name))]),
  )
  const stillHas = (table: string, columns: readonly string[]) =>
    columns.every((column) => columnsOf.get(table)?.has(column) === true)
  for (const answer of await readEarlierAnswers(database)) {
    // What is gone since is asked about again.
    if (!columnsOf.has(answer.name)) continue
    const isGone = answer.edges.some(
      (edge) =>
        !stillHas(answer.name, edge.columns) ||
        !stillHas(`${edge.ownerSchema}.${edge.ownerTable}`, edge.ownerColumns),
    )
    if (isGone) continue
    if (answer.class === 'excluded') excluded.set(answer.name, answer.reason ?? '')
    else if (answer.class === 'shared') shared.add(answer.name)
    else if (answer.class === 'custom') custom.set(answer.name, answer.predicate ?? '')
    else owned.set(answer.name, answer.edges)
  }

  const flagOf = new Map<string, string>()
  const answerFor = (table: HostTable, flag: string): string => {
    const name = tableName(table)
    if (name === rootName) {
      throw new BackupError(
        'invalid_request',
        `${flag}: ${name} is the tenant table itself; nothing else can be said of it.`,
      )
    }
    const earlier = flagOf.get(name)
    // Several edges may be told for one table, in the order in which they count.
    if (earlier !== undefined && (earlier !== flag || flag !== '--owned')) {
      throw new BackupError('invalid_request', `${name} is named by more than one flag; keep one.`)
    }
    if (earlier === undefined) forget(name)
    flagOf.set(name, flag)
    return name
  }

  for (const text of given.shared)
    shared.add(answerFor(findTable(catalog, text, '--shared'), '--shared'))
  for (const text of given.excluded) {
    const [table, reason] = splitOnce(text, '--exclude', 'table=reason')
    excluded.set(answerFor(findTable(catalog, table, '--exclude'), '--exclude'), reason)
  }
  for (const text of given.custom) {
    const [table, predicate] = splitOnce(text, '--custom', 'table=condition')
    if (!predicate.includes('{tenant}')) {
      throw new BackupError(
        'invalid_request',
        `--custom "${text}": the condition must contain {tenant}, which stands for the tenant's id as text; without it every tenant would get the same rows.`,
      )
    }
    custom.set(answerFor(findTable(catalog, table, '--custom'), '--custom'), predicate)
  }
  for (const text of given.owned) {
    const [left, right] = splitOnce(text, '--owned', 'table.column=owner.column')
    const child = findColumns(catalog, left)
    const owner = findColumns(catalog, right)
    if (child.columns.length !== owner.columns.length) {
      throw new BackupError(
        'invalid_request',
        `--owned "${text}": both sides need the same number of columns.`,
      )
    }
    const name = answerFor(child.table, '--owned')
    const edges = owned.get(name) ?? []
    edges.push({
      columns: child.columns,
      ownerSchema: owner.table.schema,
      ownerTable: owner.table.name,
      ownerColumns: owner.columns,
      constraintName: null,
      condition: null,
      isBackward: pointsBack(owner.table, owner.columns, child.table, child.columns),
    })
    owned.set(name, edges)
  }
  return { excluded, shared, custom, owned }
}

const EarlierAnswer = z.object({
  name: z.string(),
  class: z.enum(['excluded', 'shared', 'custom', 'child']),
  reason: z.string().nullable(),
  predicate: z.string().nullable(),
  edges: z.array(
    z.object({
      columns: z.array(z.string()),
      ownerSchema: z.string(),
      ownerTable: z.string(),
      ownerColumns: z.array(z.string()),
      constraintName: z.null(),
      condition: z.object({ column: z.string(), value: z.string() }).nullable(),
      isBackward: z.boolean(),
    }),
  ),
})

// Edges along a foreign key are found again by discovery; only those that a person told us are answers.
const READ_EARLIER_ANSWERS = `
  select
    t.schema_name || '.' || t.table_name as name,
    t.class,
    t.reason,
    t.predicate,
    coalesce(jsonb_agg(jsonb_build_object(
      'columns', to_jsonb(o.columns), 'ownerSchema', o.owner_schema, 'ownerTable', o.owner_table,
      'ownerColumns', to_jsonb(o.owner_columns), 'constraintName', null,
      'condition', o.condition, 'isBackward', o.is_backward
    ) order by o.rank) filter (where o.id is not null), '[]') as edges
  from tenantkeep.tenant_tables t
  left join tenantkeep.ownership o
    on o.schema_name = t.schema_name and o.table_name = t.table_name and o.constraint_name is null
  where t.class in ('excluded', 'shared', 'custom') or o.id is not null
  group by t.schema_name, t.table_name`

async function readEarlierAnswers(database: Queryable): Promise<z.infer<typeof EarlierAnswer>[]> {
  const { rows: installed } = await database.query<{ exists: boolean }>(
    `select to_regclass('tenantkeep.ownership') is not null as exists`,
  )
  if (installed[0]?.exists !== true) return []
  const { rows } = await database.query(READ_EARLIER_ANSWERS)
  return z.array(EarlierAnswer).parse(rows)
}

/** Finds `schema.table`, or a bare `table` that only one schema has. Throws `invalid_request`. */
export function findTable(catalog: readonly HostTable[], text: string, flag: string): HostTable {
  const matches = catalog.filter((table) => tableName(table) === text || table.name === text)
  const exact = matches.find((table) => tableName(table) === text)
  const found = exact ?? (matches.length === 1 ? matches[0] : undefined)
  if (found !== undefined) return found
  throw new BackupError(
    'invalid_request',
    matches.length > 1
      ? `${flag}: more than one schema has a table ${text}; write schema.table.`
      : `${flag}: there is no table ${text} in the schemas looked at. Other schemas are added with --schema.`,
  )
}

/** Whether a foreign key of the owner names these columns of the owned table. */
function pointsBack(
  owner: HostTable,
  ownerColumns: readonly string[],
  owned: HostTable,
  columns: readonly string[],
): boolean {
  return owner.foreignKeys.some(
    (key) =>
      `${key.targetSchema}.${key.targetTable}` === tableName(owned) &&
      key.columns.join() === ownerColumns.join() &&
      key.targetColumns.join() === columns.join(),
  )
}

function findColumns(
  catalog: readonly HostTable[],
  text: string,
): { table: HostTable; columns: string[] } {
  // Names may hold dots, so the table is found first and what follows it are the columns.
  const candidates = catalog
    .flatMap((table) => [tableName(table), table.name].map((prefix) => ({ table, prefix })))
    .filter(({ prefix }) => text.startsWith(`${prefix}.`))
    .sort((a, b) => b.prefix.length - a.prefix.length)
  for (const { table, prefix } of candidates) {
    const columns = text.slice(prefix.length + 1).split(',')
    const names = new Set(table.columns.map((column) => column.name))
    if (columns.every((column) => names.has(column))) return { table, columns }
  }
  throw new BackupError(
    'invalid_request',
    `--owned: ${text} is not the column of a table in the schemas looked at. Write table.column, or table.a,b for a key of several columns.`,
  )
}

function splitOnce(text: string, flag: string, form: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 1 || text.slice(at + 1).trim() === '') {
    throw new BackupError('invalid_request', `${flag} "${text}" must have the form "${form}".`)
  }
  return [text.slice(0, at).trim(), text.slice(at + 1).trim()]
}
