/**
 * Reads the rows of the template into temp tables, in one frozen picture, confined to the template. While its
 * rows can be read the database lets nothing be written but temp tables: whatever our code does wrong, the
 * template stays as it is.
 */
import * as z from 'zod'
import { openSnapshot, requireCensus, type Snapshot } from '../backup/read-snapshot.ts'
import type { Connection, Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { asWorker } from '../restore/as-worker.ts'
import { keyOf } from '../restore/diff-table.ts'
import { type Constraints, readConstraints } from '../restore/read-constraints.ts'
import { createStagedTable, readFunctionOwner } from '../restore/stage-table.ts'
import { ACTION, ROW, stagedName } from '../restore/staged-table.ts'
import { writtenColumns } from '../tables/encode-rows.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import { findRenewedColumns, type ValueSource } from './find-renewed-columns.ts'
import { type Reference, readReferences } from './read-references.ts'
import type { SeedBlocker, SeedOptions } from './seed-types.ts'
import {
  CREATE_DECISIONS,
  CREATE_MISSING,
  CREATE_SEEDING,
  DECISIONS,
  digestOf,
  MISSING,
  measure,
  runAll,
  SEEDING,
  type SeededTable,
  templateName,
} from './seeding.ts'

export interface Template {
  id: string
  /** Of all tables; the tenant is looked at only where it is the same then. */
  fingerprint: string
  constraints: Constraints
  references: Reference[]
  /** In the order of ownership: tables with rows of the template, or of the request, and the tenant's own. */
  tables: SeededTable[]
  root: SeededTable
  sources: ValueSource[]
  renewed: ReadonlyMap<string, ReadonlySet<string>>
  tenantColumns: ReadonlyMap<string, ReadonlySet<string>>
  blockers: SeedBlocker[]
  warnings: { code: string; message: string }[]
}

interface Registry {
  /** Labels with the mark. */
  seeded: Set<string>
  /** Labels of which the tenant was seeded with rows before. */
  remembered: Set<string>
  tenantColumns: Map<string, Set<string>>
  sources: ValueSource[]
}

/** Called outside of a transaction; leaves none. Throws `invalid_request` and what a snapshot can throw. */
export async function readTemplate(
  connection: Connection,
  given: {
    templateId: string
    tenantId: string
    options: SeedOptions
    lockTimeoutMs: number
  },
): Promise<Template> {
  const { templateId, tenantId, options } = given
  const snapshot = await openSnapshot(connection, {
    tenantId: templateId,
    lockTimeoutMs: given.lockTimeoutMs,
    isReadOnly: false,
  })
  const { constraints, references, registry, functionOwner } = await asWorker(
    connection,
    async () => {
      const constraints = await readConstraints(connection)
      return {
        constraints,
        references: await readReferences(connection, constraints.foreignKeys),
        registry: await readRegistry(connection, tenantId, snapshot),
        functionOwner: await readFunctionOwner(connection),
      }
    },
  )
  requireKnown(options, snapshot, registry)
  const blockers: SeedBlocker[] = []
  const warnings: Template['warnings'] = []
  const tables = snapshot.tables.flatMap((live, index) => {
    const isAsked = isInScope(options, live.label) && registry.seeded.has(live.label)
    const isManual = Object.hasOwn(options.manual_rows ?? {}, live.label)
    const rows = registry.seeded.has(live.label) || registry.remembered.has(live.label)
    const rowsInTemplate =
      rows && live.class !== 'root' ? (snapshot.census.get(live.label) ?? 0) : 0
    if (live.class !== 'root' && !isManual && rowsInTemplate === 0) return []
    if (rowsInTemplate > 0 && isAsked && !live.isWritable) {
      warnings.push({
        code: 'seed_read_only',
        message: `${live.label} is left out: nothing says for certain whose its rows are, so Tenantkeep only reads it.`,
      })
    }
    if (live.class !== 'root' && !live.isWritable) return []
    if (rowsInTemplate > 0 && live.primaryKey.length === 0) {
      if (isAsked) blockers.push(noKey(live.label, rowsInTemplate))
      if (!isManual) return []
    }
    return [
      seededTable(live, index, {
        rowsInTemplate:
          live.class === 'root' ? 1 : live.primaryKey.length === 0 ? 0 : rowsInTemplate,
        isInScope: isAsked,
      }),
    ]
  })
  const root = tables.find(({ live }) => live.class === 'root')
  if (root === undefined) throw new BackupError('registry_changed', 'There is no tenant table.')
  const renewed = findRenewedColumns({
    labels: tables.filter((table) => table !== root).map(({ live }) => live.label),
    uniqueKeys: constraints.uniqueKeys,
    references,
    sources: registry.sources,
    tenantColumns: registry.tenantColumns,
    rootLabel: root.live.label,
  })
  const template: Template = {
    id: templateId,
    fingerprint: snapshot.fingerprint,
    constraints,
    references,
    tables,
    root,
    sources: registry.sources,
    renewed,
    tenantColumns: registry.tenantColumns,
    blockers,
    warnings,
  }
  await stageTemplate(connection, template, snapshot, functionOwner)
  await loadRequest(connection, template, options)
  await findMissing(connection, template, snapshot)
  await connection.query('commit')
  return template
}

function seededTable(
  live: ProtectedTable,
  index: number,
  given: Pick<SeededTable, 'rowsInTemplate' | 'isInScope'>,
): SeededTable {
  return {
    ...given,
    live,
    shared: { ...live, columns: writtenColumns(live) },
    staged: stagedName(index),
    template: templateName(index),
    index,
    rowsInBackup: given.rowsInTemplate,
    rowsLive: 0,
    rowsEqual: 0,
    nextRow: given.rowsInTemplate + 1,
  }
}

/** Out of every tenant's reach. */
const NO_TENANT = `select set_config('tenantkeep.tenant', '', true)`
/** Until the end of the transaction, only temp tables that exist by then can be written. */
const READ_ONLY = 'set transaction read only'

async function stageTemplate(
  connection: Connection,
  { id, tables, references }: Template,
  snapshot: Snapshot,
  functionOwner: string,
): Promise<void> {
  const filled = tables.filter(({ rowsInTemplate }) => rowsInTemplate > 0)
  const bare = (name: string) => name.replace('pg_temp.', '')
  await runAll(connection, [
    NO_TENANT,
    CREATE_SEEDING,
    CREATE_MISSING,
    CREATE_DECISIONS,
    ...filled.map(({ live, template }) => createStagedTable(live, bare(template))),
    `grant select on ${filled.map(({ template }) => template).join(', ')} to ${quoteIdentifier(functionOwner)}`,
    READ_ONLY,
    `select set_config('tenantkeep.tenant', ${quoteLiteral(id)}, true)`,
  ])
  await runAll(
    connection,
    filled.flatMap((table) => {
      const { live, shared, template, index } = table
      const columns = live.columns.map((column) => quoteIdentifier(column.name)).join(', ')
      const order = live.primaryKey.map(({ name }) => quoteIdentifier(name)).join(', ')
      return [
        `insert into ${template} (${columns}, ${ROW}, ${ACTION})
         select ${columns}, row_number() over (order by ${order === '' ? 'null' : order}), 'insert'
         ${live.from} where ${live.rowExpression}`,
        ...measure(table, template, joinedColumns(table, references)),
        ...(live.class === 'root'
          ? []
          : [
              `insert into ${SEEDING} (table_no, row_no, template_key, template_digest, is_in_scope, is_manual)
               select ${index}, t.${ROW}, ${keyOf(shared, 't')}, ${digestOf(shared, 't')}, ${table.isInScope}, false
               from ${template} as t`,
            ]),
      ]
    }),
  )
  const counts = filled.map(
    ({ template, index }) => `select ${index} as index, count(*) as count from ${template}`,
  )
  const { rows } = await connection.query<{ index: number; count: string }>(
    counts.join(' union all '),
  )
  for (const { index, count } of rows) {
    const table = snapshot.tables[index]
    if (table !== undefined) requireCensus(snapshot, table, Number(count))
  }
  await connection.query(`analyze ${SEEDING} (table_no, row_no, template_key)`)
}

/** By which rows of the template are found: their numbers, keys, and both ends of references. */
function joinedColumns({ live }: SeededTable, references: readonly Reference[]): string[] {
  const names = [
    ...live.primaryKey.map(({ name }) => name),
    ...references.flatMap(({ child, childColumns, parent, parentColumns }) => [
      ...(child === live.label ? childColumns : []),
      ...(parent === live.label ? parentColumns : []),
    ]),
  ]
  return [ROW, ...[...new Set(names)].map(quoteIdentifier)]
}

/** Which rows were asked for, and what was decided: keys are read as the columns' own types. */
async function loadRequest(
  connection: Connection,
  { tables }: Template,
  { rows, decisions }: SeedOptions,
): Promise<void> {
  const find = (label: string) =>
    tables.find(({ live, rowsInTemplate }) => live.label === label && rowsInTemplate > 0)
  for (const table of tables) {
    const { label } = table.live
    if (rows === null || !Object.hasOwn(rows, label)) continue
    const keys = rows[label] ?? []
    const texts = await readKeyTexts(connection, table, keys)
    const { rowCount } = await connection.query(
      `update ${SEEDING} set is_in_scope = (template_key in (select jsonb_array_elements($1::jsonb)))
       where table_no = ${table.index}`,
      [JSON.stringify(texts)],
    )
    const { rows: found } = await connection.query<{ count: string }>(
      `select count(*) as count from ${SEEDING} where table_no = ${table.index} and is_in_scope`,
    )
    if (rowCount > 0 && Number(found[0]?.count) === new Set(texts.map(canonical)).size) continue
    throw new BackupError(
      'invalid_request',
      `Rows that were named are not among the template's rows of ${label}. Check their keys.`,
      { details: { table: label } },
    )
  }
  for (const decision of decisions) {
    const table = decision.table === null ? undefined : find(decision.table)
    if (decision.table !== null && table === undefined) continue
    const [text] =
      table === undefined || decision.key === null
        ? [null]
        : await readKeyTexts(connection, table, [decision.key])
    await connection.query(
      `insert into ${DECISIONS} (of_case, table_no, key, decision) values ($1, $2, $3::jsonb, $4)`,
      [
        decision.case,
        table?.index ?? null,
        text === null ? null : JSON.stringify(text),
        decision.decision,
      ],
    )
  }
}

const canonical = (text: unknown) => JSON.stringify(text)

/** Keys as the template's rows have them: arrays of the texts of their columns. */
async function readKeyTexts(
  session: Queryable,
  { live, template, rowsInTemplate }: SeededTable,
  keys: readonly Record<string, string>[],
): Promise<unknown[]> {
  const names = live.primaryKey.map((column) => column.name)
  const isWhole = (key: Record<string, string>) =>
    Object.keys(key).length === names.length && names.every((name) => Object.hasOwn(key, name))
  if (rowsInTemplate === 0 || !keys.every(isWhole)) {
    throw new BackupError(
      'invalid_request',
      rowsInTemplate === 0
        ? `The template has no rows of ${live.label}.`
        : `Rows of ${live.label} are named by their primary key: ${names.join(', ')}.`,
    )
  }
  const texts = names.map((name) => `p.${quoteIdentifier(name)}::text`)
  try {
    const { rows } = await session.query<{ key: unknown }>(
      `select jsonb_build_array(${texts.join(', ')}) as key
       from json_populate_recordset(null::${template}, $1::json) as p`,
      [JSON.stringify(keys)],
    )
    return rows.map(({ key }) => key)
  } catch (cause) {
    throw new BackupError(
      'invalid_request',
      `A key given for ${live.label} is none that its columns can hold.`,
      { cause },
    )
  }
}

/**
 * References of the template's rows that lead to rows of its own which nobody copies, or to another tenant's.
 * What leads to a row of nobody's (a global one in a table of tenants) stays as it is.
 */
async function findMissing(
  connection: Connection,
  { references, tables, root }: Template,
  snapshot: Snapshot,
): Promise<void> {
  const filled = new Map(
    tables
      .filter(({ rowsInTemplate, live }) => rowsInTemplate > 0 && live.class !== 'root')
      .map((table) => [table.live.label, table]),
  )
  const liveOf = new Map(snapshot.tables.map((table) => [table.label, table]))
  const asked = references.flatMap((reference, referenceNo) => {
    const child = filled.get(reference.child)
    const parent = liveOf.get(reference.parent)
    if (child === undefined || parent === undefined) return []
    const own = `exists (select from ${parentRows(parent)} where ${matches(reference, 't', 'p')})`
    const given = isGiven(reference, 't')
    const isCopied = filled.has(reference.parent) || reference.parent === root.live.label
    return [
      `select ${referenceNo} as no, ${isCopied} as "isCopied",
         count(*) filter (where not g.is_own) as outside, count(*) filter (where g.is_own) as own
       from (select ${own} as is_own from ${child.template} as t where ${given} offset 0) as g`,
    ]
  })
  if (asked.length === 0) return
  const { rows } = await connection.query<{
    no: number
    isCopied: boolean
    outside: string
    own: string
  }>(asked.join(' union all '))
  for (const { no, isCopied, outside, own } of rows) {
    const reference = references[no]
    const child = filled.get(reference?.child ?? '')
    const parent = liveOf.get(reference?.parent ?? '')
    if (reference === undefined || child === undefined || parent === undefined) continue
    if (!isCopied && Number(own) > 0) {
      await connection.query(
        `insert into ${MISSING} select ${child.index}, t.${ROW}, ${no} from ${child.template} as t
         where ${isGiven(reference, 't')}
           and exists (select from ${parentRows(parent)} where ${matches(reference, 't', 'p')})`,
      )
    }
    if (Number(outside) === 0 || reference.oid === null) continue
    const { rows: owned } = await asWorker(connection, () =>
      connection.query<{ row_no: string }>(
        'select tenantkeep.find_owned_parents($1::oid, $2::regclass) as row_no',
        [reference.oid, child.template],
      ),
    )
    await connection.query(
      `insert into ${MISSING} select ${child.index}, t.${ROW}, ${no} from ${child.template} as t
       where ${isGiven(reference, 't')} and t.${ROW} = any ($1::bigint[])
         and not exists (select from ${parentRows(parent)} where ${matches(reference, 't', 'p')})`,
      [owned.map(({ row_no }) => row_no)],
    )
  }
}

function parentRows({ from, name, rowExpression }: ProtectedTable): string {
  const alias = quoteIdentifier(name)
  return `(select ${alias}.* ${from} where ${rowExpression}) as p`
}

/** Whether a row refers to anything by a reference. */
export function isGiven({ childColumns, condition }: Reference, alias: string): string {
  // The planner knows how many rows that leaves, and not what a function says.
  const given = childColumns
    .map((name) => `${alias}.${quoteIdentifier(name)} is not null`)
    .join(' and ')
  if (condition === null) return `(${given})`
  return `(${given} and ${alias}.${quoteIdentifier(condition.column)}::text = ${quoteLiteral(condition.value)})`
}

/** Whether the row of one alias refers to that of the other. By text where the two may be of different types. */
export function matches(reference: Reference, child: string, parent: string): string {
  const cast = reference.oid === null ? '::text' : ''
  return reference.childColumns
    .map((name, index) => {
      const other = reference.parentColumns[index] ?? name
      return `${child}.${quoteIdentifier(name)}${cast} = ${parent}.${quoteIdentifier(other)}${cast}`
    })
    .join(' and ')
}

const Rows = z.object({
  seeded: z.array(z.string()),
  remembered: z.array(z.string()),
  tenantColumns: z.array(z.object({ label: z.string(), column: z.string() })),
  sources: z.array(
    z.object({
      label: z.string(),
      column: z.string(),
      expression: z.string().nullable(),
      isSequence: z.boolean(),
    }),
  ),
})

const LABEL = (schema: string, table: string) =>
  `case ${schema} when 'public' then ${table}::text else ${schema} || '.' || ${table} end`

const READ_REGISTRY = `
  select
    (select coalesce(jsonb_agg(${LABEL('t.schema_name', 't.table_name')}), '[]')
     from tenantkeep.tenant_tables t where t.is_seeded) as seeded,
    (select coalesce(jsonb_agg(distinct ${LABEL('r.schema_name', 'r.table_name')}), '[]')
     from tenantkeep.seeded_rows r where r.tenant_id = $1) as remembered,
    (select coalesce(jsonb_agg(jsonb_build_object('label', ${LABEL('t.schema_name', 't.table_name')}, 'column', a.attname)), '[]')
     from tenantkeep.tenant_tables t
     join pg_catalog.pg_namespace n on n.nspname = t.schema_name
     join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
     join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where a.attname = t.tenant_column or (
       t.class in ('direct', 'child', 'custom') and a.attgenerated = '' and a.attname in (
         select jsonb_array_elements_text(s.value) from tenantkeep.settings s where s.key = 'tenant_columns')
       and pg_catalog.format_type(a.atttypid, -1) = (
         select r.tenant_type from tenantkeep.tenant_tables r where r.class = 'root'))
    ) as "tenantColumns",
    (select coalesce(jsonb_agg(jsonb_build_object(
       'label', ${LABEL('t.schema_name', 't.table_name')}, 'column', a.attname,
       'expression', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
       'isSequence', a.attidentity <> '' or pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~ '^nextval\\(''[^'']*''::regclass\\)$')), '[]')
     from tenantkeep.tenant_tables t
     join pg_catalog.pg_namespace n on n.nspname = t.schema_name
     join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
     join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       and a.attgenerated = '' and (a.atthasdef or a.attidentity <> '')
     left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
     where t.class in ('direct', 'child', 'custom')) as sources`

async function readRegistry(
  session: Queryable,
  tenantId: string,
  { tables }: Snapshot,
): Promise<Registry> {
  const { rows } = await session.query(READ_REGISTRY, [tenantId])
  const read = Rows.parse(rows[0])
  const tenantColumns = new Map<string, Set<string>>(tables.map(({ label }) => [label, new Set()]))
  for (const { label, column } of read.tenantColumns) tenantColumns.get(label)?.add(column)
  return {
    seeded: new Set(read.seeded),
    remembered: new Set(read.remembered),
    tenantColumns,
    sources: read.sources,
  }
}

function isInScope({ tables, rows }: SeedOptions, label: string): boolean {
  if (rows !== null && Object.hasOwn(rows, label)) return true
  if (tables !== null) return tables.includes(label)
  return rows === null
}

function requireKnown(options: SeedOptions, { tables }: Snapshot, { seeded }: Registry): void {
  const writable = new Set(
    tables.filter((t) => t.class !== 'root' && t.isWritable).map(({ label }) => label),
  )
  const asked = [
    ...(options.tables ?? []),
    ...Object.keys(options.rows ?? {}),
    ...options.decisions.flatMap(({ table }) => table ?? []),
  ]
  const unmarked = [...new Set(asked)].filter((label) => !seeded.has(label))
  if (unmarked.length > 0) {
    throw new BackupError(
      'invalid_request',
      `No such table is marked as seeded: ${unmarked.join(', ')}. Mark it in the answers file (seeded) and run \`tenantkeep init\` again.`,
      { details: { tables: unmarked } },
    )
  }
  const unknown = Object.keys(options.manual_rows ?? {}).filter((label) => !writable.has(label))
  if (unknown.length > 0) {
    throw new BackupError(
      'invalid_request',
      `Rows are given for ${unknown.join(', ')}, which is no table of tenants that Tenantkeep may write.`,
      { details: { tables: unknown } },
    )
  }
}

function noKey(label: string, count: number): SeedBlocker {
  return {
    code: 'seed_key_missing',
    table: label,
    constraint: null,
    count,
    keys: [],
    message: `${label} has no primary key, so nobody could tell which row is whose copy. Give it one, or take its mark away.`,
  }
}
