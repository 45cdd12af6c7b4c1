/**
 * The writes of a seeding, as the operator confined to the tenant. The application's own triggers and foreign
 * keys act as they do when the application inserts rows; where the setting silences them, what they would have
 * watched over is proven as after a restore.
 */
import { DatabaseError } from 'pg'
import type { Queryable } from '../database/database.ts'
import { sqlstateOf } from '../database/sqlstates.ts'
import { applyPlan, type RefusedRows } from '../restore/apply-plan.ts'
import { equalKey, keyOf, liveRows } from '../restore/diff-table.ts'
import { proveRestore } from '../restore/prove-restore.ts'
import { ACTION, ROW, TABLEOID } from '../restore/staged-table.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import type { CopyLook } from './look-at-copies.ts'
import { orderTables } from './order-tables.ts'
import type { Reference } from './read-references.ts'
import { isGiven, type Template } from './read-template.ts'
import type { BadRow, SeedBlocker } from './seed-types.ts'
import { digestOf, runAll, SEEDING, type SeededTable } from './seeding.ts'
import { manualIndex } from './stage-manual-rows.ts'

export interface WriteResult {
  blockers: SeedBlocker[]
  badRows: BadRow[]
  warnings: { table: string; message: string }[]
}

export interface WriteOptions {
  look: CopyLook
  tenantId: string
  seedId: string
  firesTriggers: boolean
  isDryRun: boolean
  isLast: boolean
  lockTimeoutMs: number
  onTable: (label: string, rowsDone: number, rowsTotal: number) => void
}

/** Writes and proves; returns what the database refused, row by row. Throws what speaks of other sessions. */
export async function writeCopies(session: Queryable, options: WriteOptions): Promise<WriteResult> {
  const { look, firesTriggers } = options
  const { template } = look
  const labels = look.written.map(({ live }) => live.label)
  const byLabel = new Map(look.written.map((table) => [table.live.label, table]))
  const nullable = (reference: Reference) => nullableColumns(reference, byLabel, template)
  const order = firesTriggers
    ? orderTables(labels, template.references, nullable)
    : { labels, later: [], impossible: [] }
  const result: WriteResult = { blockers: [], badRows: [], warnings: [] }
  if (order.impossible.length > 0) {
    result.blockers.push(noOrder(order.impossible))
    return result
  }
  const later = order.later.flatMap((reference, at) => {
    const child = byLabel.get(reference.child)
    return child === undefined
      ? []
      : [{ reference, child, held: `pg_temp.tenantkeep_later_${at}`, columns: nullable(reference) }]
  })
  await runAll(session, [
    ...(firesTriggers ? ['set constraints all deferred'] : []),
    ...later.flatMap(({ reference, child, held, columns }) => [
      `create temp table ${held.replace('pg_temp.', '')} as
         select ${ROW}, ${columns.map(quoteIdentifier).join(', ')} from ${child.staged} as s
         where s.${ACTION} = 'insert' and ${isGiven(reference, 's')}`,
      `update ${child.staged} as s set ${columns.map((name) => `${quoteIdentifier(name)} = null`).join(', ')}
       from ${held} as h where h.${ROW} = s.${ROW} and s.${ACTION} = 'insert'`,
    ]),
  ])
  const refused = await applyPlan(session, {
    tables: order.labels.flatMap((label) => byLabel.get(label) ?? []),
    edges: template.constraints.edges,
    tenantId: options.tenantId,
    restoreId: options.seedId,
    isLast: options.isLast,
    onTable: options.onTable,
  })
  for (const rows of refused) await describeRefused(session, rows, template, firesTriggers, result)
  if (result.blockers.length > 0 || result.badRows.length > 0) return result
  for (const { child, held, columns } of later) {
    const values = columns.map((name) => `${quoteIdentifier(name)} = h.${quoteIdentifier(name)}`)
    await runAll(session, [
      `update ${child.staged} as s set ${values.join(', ')}
       from ${held} as h where h.${ROW} = s.${ROW} and s.${ACTION} = 'insert'`,
      `update ${child.live.from.replace(/^from /, '')} as t set ${values.join(', ')}
       from ${held} as h, ${child.staged} as s
       where h.${ROW} = s.${ROW} and s.${ACTION} = 'insert' and ${equalKey(child.shared, 't', 's')}`,
      `drop table ${held}`,
    ])
  }
  if (firesTriggers) await checkDeferred(session, result)
  else await proveSilent(session, options, result)
  return result
}

/** What waits until the commit is asked for now, while we can still say what it was. */
async function checkDeferred(session: Queryable, result: WriteResult): Promise<void> {
  await session.query('savepoint tenantkeep_deferred')
  try {
    await session.query('set constraints all immediate')
  } catch (error) {
    if (!/^(22|23|42501|P0)/.test(sqlstateOf(error) ?? '')) throw error
    await session.query('rollback to savepoint tenantkeep_deferred')
    const table = error instanceof DatabaseError ? (error.table ?? '') : ''
    const constraint = error instanceof DatabaseError ? (error.constraint ?? null) : null
    result.blockers.push({
      code: 'row_refused',
      table,
      constraint,
      count: 1,
      keys: [],
      message: `Rows are refused at the end by ${constraint ?? `the database (${sqlstateOf(error)})`}, which waits until all are written.`,
    })
  }
}

async function proveSilent(
  session: Queryable,
  { look, isDryRun, lockTimeoutMs }: WriteOptions,
  result: WriteResult,
): Promise<void> {
  const proof = await proveRestore(session, {
    tables: new Map(look.written.map((table) => [table.live.label, table])),
    constraints: look.template.constraints,
    isDryRun,
    lockTimeoutMs,
  })
  result.warnings.push(...proof.warnings)
  for (const { table, constraint, count, message } of proof.blockers) {
    result.blockers.push({ code: 'row_refused', table, constraint, count, keys: [], message })
  }
}

async function describeRefused(
  session: Queryable,
  { table, constraint, state, isWithin, rows }: RefusedRows,
  { constraints }: Template,
  firesTriggers: boolean,
  result: WriteResult,
): Promise<void> {
  const { label } = table.live
  const { rows: known } = await session.query<{
    row_no: string
    key: unknown
    is_manual: boolean
  }>(
    `select x.row_no, x.template_key as key, x.is_manual from ${SEEDING} as x
     where x.table_no = ${table.index} and x.row_no = any ($1::bigint[]) order by x.row_no`,
    [rows],
  )
  const by =
    constraint ??
    (state === '42501' && !isWithin ? 'row level security' : `the database (${state})`)
  const trigger =
    isWithin && firesTriggers ? ', in one of its triggers or a function that it calls' : ''
  const isForbidden = state === '42501' && isWithin
  for (const row of known) {
    if (!row.is_manual) continue
    const isColumn = table.live.columns.some(({ name }) => name === constraint)
    result.badRows.push({
      table: label,
      index: manualIndex(row.key),
      column: isColumn ? constraint : null,
      reason: isColumn ? 'must have a value' : `refused by ${by}${trigger}`,
    })
  }
  const copies = known.filter((row) => !row.is_manual)
  if (copies.length === 0) return
  const foreignKey = constraints.foreignKeys.find(
    (key) => key.name === constraint && key.childLabel === label,
  )
  result.blockers.push({
    code: 'row_refused',
    table: label,
    constraint,
    count: copies.length,
    keys: copies
      .slice(0, 20)
      .map(({ key }) => (Array.isArray(key) ? key.map((text) => String(text)) : [])),
    message: isForbidden
      ? `${copies.length} rows of ${label} are refused${trigger}: the role tenantkeep_operator, which writes them without a signed-in user, may not do what it does. Make its function security definer, or set seed_fires_triggers to false.`
      : foreignKey !== undefined
        ? `${copies.length} rows of ${label} refer to rows of ${foreignKey.parentName} that are not there (${constraint}).`
        : state === '42501'
          ? `${copies.length} rows of ${label} would not belong to this tenant: nothing that is there or copied owns them.`
          : `${copies.length} rows of ${label} are refused by ${by}${trigger}.`,
  })
}

function nullableColumns(
  { child, childColumns }: Reference,
  tables: ReadonlyMap<string, SeededTable>,
  { tenantColumns }: Template,
): string[] {
  const table = tables.get(child)
  if (table === undefined) return []
  const key = new Set(table.live.primaryKey.map(({ name }) => name))
  return table.live.columns
    .filter(
      ({ name, isNullable, isGenerated }) =>
        childColumns.includes(name) &&
        isNullable &&
        !isGenerated &&
        !key.has(name) &&
        tenantColumns.get(child)?.has(name) !== true,
    )
    .map(({ name }) => name)
}

function noOrder(labels: readonly string[]): SeedBlocker {
  return {
    code: 'seed_order_impossible',
    table: labels.join(', '),
    constraint: null,
    count: labels.length,
    keys: [],
    message: `${labels.join(', ')} refer to each other in a circle whose foreign keys can neither be deferred nor be null for a moment, so no order of writing satisfies the database. Make one of them deferrable, or set seed_fires_triggers to false.`,
  }
}

/** Staged rows with what triggers made of them. */
export async function readBack(session: Queryable, tables: readonly SeededTable[]): Promise<void> {
  await runAll(
    session,
    tables.map(({ live, shared, staged }) => {
      const set = live.columns.map(
        ({ name }) => `${quoteIdentifier(name)} = live.${quoteIdentifier(name)}`,
      )
      return `update ${staged} as s set ${set.join(', ')} from ${liveRows(live)}
        where s.${ACTION} in ('insert', 'update') and ${equalKey(shared, 's', 'live')}`
    }),
  )
}

/**
 * Remembers each copy with what it and its original are like now. Last, when triggers have done what they do.
 * Returns labels of tables where copies are not found by the keys that they were written with.
 */
export async function rememberCopies(
  session: Queryable,
  given: {
    look: CopyLook
    shapes: ReadonlyMap<string, number>
    seedId: string
    runId: string | null
  },
): Promise<string[]> {
  const { look, shapes } = given
  const remembered = look.template.tables.flatMap((table) => {
    const shape = shapes.get(table.live.label)
    return table.live.class === 'root' || shape === undefined
      ? []
      : [rememberTable(table, { shape, ...given })]
  })
  await runAll(session, remembered)
  await session.query(
    `update tenantkeep.seeded_rows as m set deleted_seen_at = coalesce(m.deleted_seen_at, now())
     from ${SEEDING} as x
     join (values ${look.template.tables
       .map(
         ({ index, live }) =>
           `(${index}, ${quoteLiteral(live.schema)}, ${quoteLiteral(live.name)})`,
       )
       .join(', ')}) as t (table_no, schema_name, table_name) on t.table_no = x.table_no
     where x.verdict = 'deleted' and x.decision is distinct from 'recreate' and m.deleted_seen_at is null
       and m.tenant_id = (select tenantkeep.current_tenant()) and m.schema_name = t.schema_name
       and m.table_name = t.table_name and m.template_key = x.template_key`,
  )
  return findLost(session, look.written)
}

function rememberTable(
  { live, shared, staged, index }: SeededTable,
  { shape, seedId, runId }: { shape: number; seedId: string; runId: string | null },
): string {
  const isWritten = `s.${ACTION} in ('insert', 'update')`
  const isKept = `x.verdict = 'both_changed' and x.decision = 'keep'`
  const isDeclined = `x.verdict = 'natural_key_taken' and x.decision = 'keep'`
  return `insert into tenantkeep.seeded_rows as m (tenant_id, schema_name, table_name, template_key, tenant_key,
       shape_id, template_digest, copy_digest, is_declined, seed_id, run_id)
     select (select tenantkeep.current_tenant()), ${quoteLiteral(live.schema)}, ${quoteLiteral(live.name)},
       ${storedKey('x')}, case when ${isDeclined} then x.held_by else ${keyOf(shared, 's')} end,
       case when ${isKept} and x.now_template is not null then x.shape_id else ${shape} end,
       case when ${isKept} then coalesce(x.now_template, x.template_digest) else x.template_digest end,
       -- What is declined, or can't be compared with what it was, never counts as untouched.
       case when ${isKept} then case when x.now_template is null then ''::bytea else x.then_copy end
         when ${isDeclined} then ''::bytea else ${digestOf(shared, 'live')} end,
       ${isDeclined}, ${quoteLiteral(seedId)}::uuid, ${runId === null ? 'null' : quoteLiteral(runId)}::uuid
     from ${SEEDING} as x
     join ${staged} as s on s.${ROW} = x.row_no and s.${ACTION} in ('insert', 'update', 'same', 'skip')
     left join ${liveRows(live)} on ${equalKey(shared, 's', 'live')}
     where x.table_no = ${index} and (
       ${isWritten}
       or x.verdict = 'natural_key_taken' and x.decision is not null
       or x.verdict = 'unchanged' and not x.is_manual and (x.shape_id <> ${shape}
         or x.now_template is distinct from x.then_template or x.now_copy is distinct from x.then_copy)
       or ${isKept})
       and (live.${TABLEOID} is not null or x.decision = 'keep')
     on conflict (tenant_id, schema_name, table_name, template_key) do update set
       tenant_key = excluded.tenant_key, shape_id = excluded.shape_id,
       template_digest = excluded.template_digest, copy_digest = excluded.copy_digest,
       is_declined = excluded.is_declined, seed_id = excluded.seed_id, run_id = excluded.run_id,
       seeded_at = now(), deleted_seen_at = null`
}

/** Labels of tables with rows that are not there under the keys that they were written with. */
async function findLost(session: Queryable, tables: readonly SeededTable[]): Promise<string[]> {
  if (tables.length === 0) return []
  const some = tables.map(
    ({ live, shared, staged }) =>
      `select ${quoteLiteral(live.label)} as label where exists (
         select from ${staged} as s left join ${liveRows(live)} on ${equalKey(shared, 's', 'live')}
         where s.${ACTION} in ('insert', 'update') and live.${TABLEOID} is null)`,
  )
  const { rows } = await session.query<{ label: string }>(some.join(' union all '))
  return rows.map(({ label }) => label)
}

/** A row of the request is known by its content, wherever it stood. */
function storedKey(alias: string): string {
  return `case when ${alias}.is_manual then ${alias}.template_key - 'index' else ${alias}.template_key end`
}
