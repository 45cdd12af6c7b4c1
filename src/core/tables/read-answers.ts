/**
 * What a person says about tables: in the answers file, by flags, and in earlier runs, which the registry
 * remembers. Flags win over the file, and the file over what was said before.
 */
import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { HostTable } from './host-table.ts'
import { tableName } from './host-table.ts'
import type { OwnershipEdge } from './ownership.ts'

const EdgeAnswer = z.strictObject({
  columns: z.array(z.string()).min(1),
  /** `schema.table`, or a bare name that only one schema has. */
  owner: z.string(),
  owner_columns: z.array(z.string()).min(1),
  condition: z.strictObject({ column: z.string(), value: z.string() }).optional(),
})
export type EdgeAnswer = z.infer<typeof EdgeAnswer>

const MarksAnswer = z.strictObject({
  history: z.boolean().optional(),
  seeded: z.boolean().optional(),
  keep_live: z.array(z.string()).optional(),
  masked: z.array(z.string()).optional(),
  label: z.array(z.string()).optional(),
})
export type MarksAnswer = z.infer<typeof MarksAnswer>

const marks = MarksAnswer.optional()
const TableAnswer = z.union([
  z.discriminatedUnion('class', [
    z.strictObject({ class: z.literal('shared'), marks }),
    z.strictObject({ class: z.literal('excluded'), reason: z.string().trim().min(1), marks }),
    z.strictObject({
      class: z.literal('custom'),
      predicate: z.string().includes('{tenant}', {
        error: 'the condition must contain {tenant}, which stands for the tenant’s id as text',
      }),
      marks,
    }),
    z.strictObject({
      class: z.literal('direct'),
      column: z.string().optional(),
      otherwise: z.array(EdgeAnswer).optional(),
      marks,
    }),
    z.strictObject({ class: z.literal('child'), edges: z.array(EdgeAnswer).min(1), marks }),
  ]),
  z.strictObject({ class: z.undefined().optional(), marks: MarksAnswer }),
])
export type TableAnswer = z.infer<typeof TableAnswer>

/** The answers file, `tenantkeep.json`: kept in the host's repository, read by every run and by CI. */
export const AnswersDocument = z.strictObject({
  version: z.literal(1),
  tenant_table: z.string().optional(),
  tenant_name_column: z.string().optional(),
  tenant_columns: z.array(z.string()).optional(),
  schemas: z.array(z.string()).optional(),
  enable_rls: z.boolean().optional(),
  subtenants: z.enum(['separate', 'included']).optional(),
  /** The id of the tenant whose rows are what a new tenant starts with. */
  template_tenant: z.string().min(1).max(200).optional(),
  tables: z.record(z.string(), TableAnswer).optional(),
})
export type AnswersDocument = z.infer<typeof AnswersDocument>

/** An answer to a question: what it adds to the answers document. */
export type Answer = Pick<AnswersDocument, 'enable_rls' | 'subtenants' | 'tables'>

/** Reads the text of an answers file. Throws `invalid_request`, naming the place that makes no sense. */
export function parseAnswers(text: string, file: string): AnswersDocument {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new BackupError('invalid_request', `${file} is not JSON.`, { cause })
  }
  const parsed = AnswersDocument.safeParse(json)
  if (parsed.success) return parsed.data
  throw new BackupError(
    'invalid_request',
    `${file} is no answers file: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`,
  )
}

/** The document with an answer added; of a table's marks and class each is replaced where it is said anew. */
export function addAnswer(document: AnswersDocument, answer: Answer): AnswersDocument {
  const tables = { ...document.tables }
  for (const [name, said] of Object.entries(answer.tables ?? {})) {
    tables[name] = joinAnswers(tables[name], said)
  }
  return {
    ...document,
    ...(answer.enable_rls === undefined ? {} : { enable_rls: answer.enable_rls }),
    ...(answer.subtenants === undefined ? {} : { subtenants: answer.subtenants }),
    ...(Object.keys(tables).length === 0 ? {} : { tables }),
  }
}

function joinAnswers(before: TableAnswer | undefined, now: TableAnswer): TableAnswer {
  if (before === undefined) return now
  const joined = { ...before.marks, ...now.marks }
  const said = now.class === undefined ? before : now
  return Object.keys(joined).length === 0 ? said : { ...said, marks: joined }
}

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

export interface KnownAnswers {
  excluded: Map<string, string>
  shared: Set<string>
  custom: Map<string, string>
  owned: Map<string, OwnershipEdge[]>
  direct: Map<string, { column: string; otherwise: OwnershipEdge[] }>
  marks: Map<string, MarksAnswer>
  /** Tables whose class a person said, now or earlier, as `schema.table`. */
  answered: Set<string>
  /** The document with what the flags say added, under the full names of tables. */
  document: AnswersDocument
  /** What the answers name and the host no longer has, a sentence each. */
  notes: string[]
}

/**
 * Joins the answers given now with those of earlier runs, which the registry holds; what is said now
 * wins. Throws `invalid_request` for a column or form that does not exist, naming it; a table that only
 * the answers file still knows is noted.
 */
export async function readAnswers(
  database: Queryable,
  catalog: readonly HostTable[],
  rootName: string,
  given: TableAnswers,
  file: AnswersDocument = { version: 1 },
  tenantColumns: readonly string[] = [],
): Promise<KnownAnswers> {
  const notes: string[] = []
  const tables = new Map<string, TableAnswer>()
  const answered = new Set<string>()
  const add = (name: string, answer: TableAnswer, isSaid: boolean): void => {
    tables.set(name, joinAnswers(tables.get(name), answer))
    if (isSaid && answer.class !== undefined) answered.add(name)
  }

  for (const earlier of await readEarlierAnswers(database)) {
    // What is gone since is asked about again.
    if (!isStillThere(catalog, earlier.name, earlier.answer)) continue
    add(earlier.name, earlier.answer, earlier.isAnswered)
  }
  const named: NonNullable<AnswersDocument['tables']> = {}
  for (const [text, answer] of Object.entries(file.tables ?? {})) {
    const table = catalog.find(
      (candidate) => tableName(candidate) === text || candidate.name === text,
    )
    if (table === undefined) {
      notes.push(`The answers name ${text}, which the schemas looked at do not have.`)
      named[text] = answer
      continue
    }
    const name = tableName(findTable(catalog, text, 'answers'))
    requireNotRoot(name, rootName, 'answers', answer)
    named[name] = answer
    add(name, answer, true)
  }
  for (const [name, answer] of readFlags(catalog, rootName, given)) {
    named[name] = joinAnswers(named[name], answer)
    add(name, answer, true)
  }

  const known: KnownAnswers = {
    excluded: new Map(),
    shared: new Set(),
    custom: new Map(),
    owned: new Map(),
    direct: new Map(),
    marks: new Map(),
    answered,
    document: Object.keys(named).length === 0 ? file : { ...file, tables: named },
    notes,
  }
  for (const [name, answer] of tables) sortIn(known, catalog, name, answer, tenantColumns)
  return known
}

function sortIn(
  known: KnownAnswers,
  catalog: readonly HostTable[],
  name: string,
  answer: TableAnswer,
  tenantColumns: readonly string[],
): void {
  const table = findTable(catalog, name, 'answers')
  if (answer.marks !== undefined) {
    requireColumns(table, [
      ...(answer.marks.keep_live ?? []),
      ...(answer.marks.masked ?? []),
      ...(answer.marks.label ?? []),
    ])
    known.marks.set(name, answer.marks)
  }
  switch (answer.class) {
    case 'excluded':
      known.excluded.set(name, answer.reason)
      break
    case 'shared':
      known.shared.add(name)
      break
    case 'custom':
      known.custom.set(name, answer.predicate)
      break
    case 'child':
      known.owned.set(
        name,
        answer.edges.map((edge) => readEdge(catalog, table, edge)),
      )
      break
    case 'direct': {
      const column =
        answer.column ??
        tenantColumns.find((candidate) => table.columns.some(({ name: own }) => own === candidate))
      if (column === undefined) {
        throw new BackupError(
          'invalid_request',
          `The answer for ${name} must name its tenant column: {"class": "direct", "column": …}.`,
        )
      }
      requireColumns(table, [column])
      known.direct.set(name, {
        column,
        otherwise: (answer.otherwise ?? []).map((edge) => readEdge(catalog, table, edge)),
      })
      break
    }
    case undefined:
      break
  }
}

function requireNotRoot(name: string, rootName: string, flag: string, answer: TableAnswer): void {
  if (name !== rootName || answer.class === undefined) return
  throw new BackupError(
    'invalid_request',
    `${flag}: ${name} is the tenant table itself; nothing else can be said of it.`,
  )
}

function requireColumns(table: HostTable, columns: readonly string[]): void {
  const missing = columns.find((name) => !table.columns.some((column) => column.name === name))
  if (missing === undefined) return
  throw new BackupError(
    'invalid_request',
    `The answer for ${tableName(table)} names the column ${missing}, which it does not have.`,
  )
}

/** An edge as it was told, along the foreign key that says the same where there is one. */
function readEdge(
  catalog: readonly HostTable[],
  table: HostTable,
  told: EdgeAnswer,
): OwnershipEdge {
  const owner = findTable(catalog, told.owner, `the answer for ${tableName(table)}`)
  requireColumns(table, [
    ...told.columns,
    ...(told.condition === undefined ? [] : [told.condition.column]),
  ])
  requireColumns(owner, told.owner_columns)
  if (told.columns.length !== told.owner_columns.length) {
    throw new BackupError(
      'invalid_request',
      `The answer for ${tableName(table)}: both sides of an edge need the same number of columns.`,
    )
  }
  const forward = findKey(table, told.columns, owner, told.owner_columns)
  const backward = findKey(owner, told.owner_columns, table, told.columns)
  return {
    columns: told.columns,
    ownerSchema: owner.schema,
    ownerTable: owner.name,
    ownerColumns: told.owner_columns,
    constraintName: forward ?? backward ?? null,
    condition: told.condition ?? null,
    isBackward: forward === undefined && backward !== undefined,
  }
}

function findKey(
  table: HostTable,
  columns: readonly string[],
  target: HostTable,
  targetColumns: readonly string[],
): string | undefined {
  return table.foreignKeys.find(
    (key) =>
      `${key.targetSchema}.${key.targetTable}` === tableName(target) &&
      key.columns.join() === columns.join() &&
      key.targetColumns.join() === targetColumns.join(),
  )?.name
}

/** How an edge is written in an answer. */
export function toEdgeAnswer(edge: OwnershipEdge): EdgeAnswer {
  return {
    columns: edge.columns,
    owner: `${edge.ownerSchema}.${edge.ownerTable}`,
    owner_columns: edge.ownerColumns,
    ...(edge.condition === null ? {} : { condition: edge.condition }),
  }
}

function isStillThere(catalog: readonly HostTable[], name: string, answer: TableAnswer): boolean {
  const has = (table: string, columns: readonly string[]) => {
    const found = catalog.find((candidate) => tableName(candidate) === table)
    return columns.every((column) => found?.columns.some((own) => own.name === column) === true)
  }
  if (!catalog.some((table) => tableName(table) === name)) return false
  const edges =
    answer.class === 'child'
      ? answer.edges
      : answer.class === 'direct'
        ? (answer.otherwise ?? [])
        : []
  const own = [
    ...edges.flatMap((edge) => [
      ...edge.columns,
      ...(edge.condition === undefined ? [] : [edge.condition.column]),
    ]),
    ...(answer.class === 'direct' && answer.column !== undefined ? [answer.column] : []),
    ...(answer.marks?.keep_live ?? []),
    ...(answer.marks?.masked ?? []),
    ...(answer.marks?.label ?? []),
  ]
  return has(name, own) && edges.every((edge) => has(edge.owner, edge.owner_columns))
}

/** What the flags say, in the form of the answers file. */
function readFlags(
  catalog: readonly HostTable[],
  rootName: string,
  given: TableAnswers,
): Map<string, TableAnswer> {
  const answers = new Map<string, TableAnswer>()
  const flagOf = new Map<string, string>()
  const answerFor = (table: HostTable, flag: string): string => {
    const name = tableName(table)
    requireNotRoot(name, rootName, flag, { class: 'shared' })
    const earlier = flagOf.get(name)
    // Several edges may be told for one table, in the order in which they count.
    if (earlier !== undefined && (earlier !== flag || flag !== '--owned')) {
      throw new BackupError('invalid_request', `${name} is named by more than one flag; keep one.`)
    }
    flagOf.set(name, flag)
    return name
  }

  for (const text of given.shared) {
    answers.set(answerFor(findTable(catalog, text, '--shared'), '--shared'), { class: 'shared' })
  }
  for (const text of given.excluded) {
    const [table, reason] = splitOnce(text, '--exclude', 'table=reason')
    const name = answerFor(findTable(catalog, table, '--exclude'), '--exclude')
    answers.set(name, { class: 'excluded', reason })
  }
  for (const text of given.custom) {
    const [table, predicate] = splitOnce(text, '--custom', 'table=condition')
    if (!predicate.includes('{tenant}')) {
      throw new BackupError(
        'invalid_request',
        `--custom "${text}": the condition must contain {tenant}, which stands for the tenant's id as text; without it every tenant would get the same rows.`,
      )
    }
    const name = answerFor(findTable(catalog, table, '--custom'), '--custom')
    answers.set(name, { class: 'custom', predicate })
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
    const before = answers.get(name)
    const edges = before?.class === 'child' ? before.edges : []
    const edge = {
      columns: child.columns,
      owner: tableName(owner.table),
      owner_columns: owner.columns,
    }
    answers.set(name, { class: 'child', edges: [...edges, edge] })
  }
  return answers
}

const EarlierAnswer = z.object({
  name: z.string(),
  class: z.string(),
  answers: z.array(z.string()),
  tenantColumn: z.string().nullable(),
  reason: z.string().nullable(),
  predicate: z.string().nullable(),
  marks: z.object({
    history: z.boolean(),
    seeded: z.boolean(),
    keep_live: z.array(z.string()),
    masked: z.array(z.string()),
    label: z.array(z.string()),
  }),
  edges: z.array(
    z.object({
      columns: z.array(z.string()),
      owner: z.string(),
      owner_columns: z.array(z.string()),
      condition: z.object({ column: z.string(), value: z.string() }).nullable(),
    }),
  ),
})

// What discovery finds by itself it finds again. What a person said is kept, and so is what was settled as
// nobody's, since that rests on the rows of that day.
const READ_EARLIER_ANSWERS = `
  select
    t.schema_name || '.' || t.table_name as name,
    t.class,
    t.answers,
    t.tenant_column as "tenantColumn",
    t.reason,
    t.predicate,
    jsonb_build_object('history', t.is_history, 'seeded', t.is_seeded, 'keep_live', t.keep_live_columns,
      'masked', t.masked_columns, 'label', t.label_columns) as marks,
    coalesce(jsonb_agg(jsonb_build_object(
      'columns', to_jsonb(o.columns), 'owner', o.owner_schema || '.' || o.owner_table,
      'owner_columns', to_jsonb(o.owner_columns), 'condition', o.condition
    ) order by o.rank) filter (where o.id is not null), '[]') as edges
  from tenantkeep.tenant_tables t
  left join tenantkeep.ownership o
    on o.schema_name = t.schema_name and o.table_name = t.table_name
  where t.class in ('excluded', 'shared', 'custom') or t.answers <> '{}'
  group by t.schema_name, t.table_name`

async function readEarlierAnswers(
  database: Queryable,
): Promise<{ name: string; answer: TableAnswer; isAnswered: boolean }[]> {
  const { rows: installed } = await database.query<{ exists: boolean }>(
    `select to_regclass('tenantkeep.ownership') is not null as exists`,
  )
  if (installed[0]?.exists !== true) return []
  const { rows } = await database.query(READ_EARLIER_ANSWERS)
  return z
    .array(EarlierAnswer)
    .parse(rows)
    .map((row) => {
      const said = (topic: string) => row.answers.includes(topic)
      const earlierMarks: MarksAnswer = {
        ...(said('history') ? { history: row.marks.history } : {}),
        ...(said('seeded') ? { seeded: row.marks.seeded } : {}),
        ...(said('keep_live') ? { keep_live: row.marks.keep_live } : {}),
        ...(said('masked') ? { masked: row.marks.masked } : {}),
        ...(said('label') ? { label: row.marks.label } : {}),
      }
      return {
        name: row.name,
        answer: { ...toTableAnswer(row, said('class')), marks: earlierMarks } as const,
        isAnswered: said('class'),
      }
    })
}

function toTableAnswer(row: z.infer<typeof EarlierAnswer>, isAnswered: boolean): TableAnswer {
  const edges: EdgeAnswer[] = row.edges.map(({ condition, ...edge }) => ({
    ...edge,
    ...(condition === null ? {} : { condition }),
  }))
  if (row.class === 'excluded') return { class: 'excluded', reason: row.reason ?? '' }
  if (row.class === 'shared') return { class: 'shared' }
  if (row.class === 'custom') return { class: 'custom', predicate: row.predicate ?? '' }
  if (!isAnswered) return { marks: {} }
  if (row.class === 'child') return { class: 'child', edges }
  if (row.class === 'direct') {
    return {
      class: 'direct',
      ...(row.tenantColumn === null ? {} : { column: row.tenantColumn }),
      otherwise: edges,
    }
  }
  return { marks: {} }
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
