/** What a seeding says of each table and of each row that nobody decided about. */
import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { sampleRows } from '../restore/describe-plan.ts'
import { ACTION, ROW } from '../restore/staged-table.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import { type CopyLook, isOpen } from './look-at-copies.ts'
import type { SeedConflict, SeedOptions, SeedTableResult } from './seed-types.ts'
import { SEEDING, type SeededTable } from './seeding.ts'

const MOST_CONFLICTS = 500
const MOST_CHARACTERS = 2000

/** Reads them in the caller's transaction, as the operator. */
export async function readConflicts(
  session: Queryable,
  { template, conflictCount }: CopyLook,
  mode: SeedOptions['mode'],
): Promise<SeedConflict[]> {
  if (conflictCount === 0) return []
  const conflicts: SeedConflict[] = []
  for (const table of template.tables) {
    if (table.rowsInTemplate === 0 || table === template.root) continue
    const left = MOST_CONFLICTS - conflicts.length
    if (left === 0) break
    conflicts.push(...(await readTable(session, table, mode, left)))
  }
  return conflicts
}

async function readTable(
  session: Queryable,
  table: SeededTable,
  mode: SeedOptions['mode'],
  limit: number,
): Promise<SeedConflict[]> {
  const { live, shared, staged, template, index } = table
  const text = (alias: string, name: string) =>
    `case when length(${alias}.${name}::text) > ${MOST_CHARACTERS}
       then left(${alias}.${name}::text, ${MOST_CHARACTERS}) || '…' else ${alias}.${name}::text end`
  const columns = shared.columns.map((column) => {
    const name = quoteIdentifier(column.name)
    const isMasked = live.masked.includes(column.name)
    return `case when b.${ROW} is not null and row(s.${name})::record *<> row(b.${name})::record
      then jsonb_build_array(jsonb_build_object('name', ${quoteLiteral(column.name)}::text,
        'tenant', ${isMasked ? 'null' : text('b', name)}, 'template', ${isMasked ? 'null' : text('s', name)},
        'isMasked', ${isMasked})) else '[]' end`
  })
  const labels = live.labelColumns
    .filter((name) => !live.masked.includes(name) && shared.columns.some((c) => c.name === name))
    .map((name) => `t.${quoteIdentifier(name)}::text`)
  const { rows } = await session.query<{ conflict: SeedConflict }>(
    `select jsonb_build_object(
       'table', ${quoteLiteral(live.label)}::text, 'case', x.verdict, 'key', x.template_key,
       'keyColumns', jsonb_object(array[${live.primaryKey.map(({ name }) => quoteLiteral(name)).join(', ')}]::text[],
         array(select jsonb_array_elements_text(x.template_key))),
       'tenantKey', coalesce(x.held_by, x.tenant_key),
       'label', ${labels.length === 0 ? 'null::text' : `nullif(concat_ws(' ', ${labels.join(', ')}), '')`},
       'constraint', x.constraint_name, 'columns', ${columns.join(' || ')}) as conflict
     from ${SEEDING} as x
     join ${template} as t on t.${ROW} = x.row_no
     join ${staged} as s on s.${ROW} = x.row_no and s.${ACTION} not in ('before', 'unused')
     left join ${staged} as b on b.${ROW} = x.row_no and b.${ACTION} = 'before'
     where x.table_no = ${index} and not x.is_manual and ${isOpen(mode)}
     order by x.row_no limit $1`,
    [limit],
  )
  return rows.map(({ conflict }) => conflict)
}

const Counts = z.array(
  z.object({
    index: z.number(),
    verdict: z.string(),
    action: z.string(),
    decision: z.string().nullable(),
    is_manual: z.boolean(),
    is_in_scope: z.boolean(),
    count: z.string().transform(Number),
  }),
)

/** The counts by table, and samples of the rows that are written. */
export async function describeTables(
  session: Queryable,
  { template, written }: CopyLook,
  sampleLimit: number,
): Promise<SeedTableResult[]> {
  const tables = template.tables.filter((table) => table !== template.root)
  if (tables.length === 0) return []
  const actions = tables.map(
    ({ index, staged }) =>
      `select ${index} as index, s.${ROW} as row_no, s.${ACTION} as action from ${staged} as s
       where s.${ACTION} not in ('before', 'unused')`,
  )
  const { rows } = await session.query(
    `select a.index, x.verdict, a.action, x.decision, x.is_manual, x.is_in_scope, count(*) as count
     from (${actions.join(' union all ')}) as a
     join ${SEEDING} as x on x.table_no = a.index and x.row_no = a.row_no
     where x.is_in_scope
     group by 1, 2, 3, 4, 5, 6`,
  )
  const counts = Counts.parse(rows)
  const { rows: gone } = await session.query<{ index: number; count: string }>(
    `select t.index, count(*) as count
     from (values ${tables
       .map(
         ({ index, live }) =>
           `(${index}, ${quoteLiteral(live.schema)}, ${quoteLiteral(live.name)})`,
       )
       .join(', ')}) as t (index, schema_name, table_name)
     join tenantkeep.seeded_rows as m on m.tenant_id = (select tenantkeep.current_tenant())
       and m.schema_name = t.schema_name and m.table_name = t.table_name
     where jsonb_typeof(m.template_key) = 'array' and not exists (
       select from ${SEEDING} as x where x.table_no = t.index and x.template_key = m.template_key)
     group by 1`,
  )
  const results: SeedTableResult[] = []
  for (const table of tables) {
    const own = counts.filter(({ index }) => index === table.index)
    if (!table.isInScope && own.length === 0) continue
    const sum = (filter: (count: (typeof own)[number]) => boolean) =>
      own.filter(filter).reduce((total, { count }) => total + count, 0)
    const cases: Record<string, number> = {}
    for (const { verdict, count, is_manual } of own) {
      if (!is_manual) cases[verdict] = (cases[verdict] ?? 0) + count
    }
    results.push({
      name: table.live.label,
      rowsInTemplate: sum(({ is_manual }) => !is_manual),
      inserted: sum(({ action }) => action === 'insert'),
      updated: sum(({ action }) => action === 'update'),
      adopted: sum(
        ({ verdict, action, decision }) =>
          verdict === 'natural_key_taken' && action === 'same' && decision === 'adopt',
      ),
      cases,
      withdrawn: Number(gone.find(({ index }) => index === table.index)?.count ?? 0),
      manual: sum(({ is_manual }) => is_manual),
      warnings: [],
      samples:
        sampleLimit > 0 && written.includes(table)
          ? await sampleRows(session, table, sampleLimit)
          : [],
    })
  }
  return results
}
