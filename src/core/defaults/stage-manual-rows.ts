/**
 * Rows that the request gives. Every value is checked against the type of its column, one by one, before a row
 * is staged; what constraints and triggers say is found when rows are written. Values are parameters throughout.
 */
import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import type { Queryable } from '../database/database.ts'
import { ACTION, ROW } from '../restore/staged-table.ts'
import type { Column } from '../tables/protected-table.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import type { Template } from './read-template.ts'
import type { BadRow, SeedOptions } from './seed-types.ts'
import { SEEDING, type SeededTable } from './seeding.ts'

/** Its place in the request, of the key under which a given row is known. */
export function manualIndex(key: unknown): number {
  return typeof key === 'object' && key !== null && 'index' in key ? Number(key.index) : 0
}

type ManualRow = NonNullable<SeedOptions['manual_rows']>[string][number]

const VALUES = 'pg_temp.tenantkeep_manual_values'

/** Stages the rows that can be read as rows of their tables; returns all that can't. Called as the operator. */
export async function stageManualRows(
  session: Queryable,
  template: Template,
  given: { rows: NonNullable<SeedOptions['manual_rows']>; tenantId: string },
): Promise<BadRow[]> {
  await session.query(
    `drop table if exists ${VALUES};
     create temp table tenantkeep_manual_values (index int, column_name text, value text, state text, named text)`,
  )
  const badRows: BadRow[] = []
  for (const [label, rows] of Object.entries(given.rows)) {
    const table = template.tables.find(({ live }) => live.label === label)
    if (table === undefined) continue
    const bad = await checkRows(session, template, { table, rows, tenantId: given.tenantId })
    badRows.push(...bad)
    const indexes = new Set(bad.map(({ index }) => index))
    const good = rows.flatMap((row, index) => (indexes.has(index) ? [] : [{ row, index }]))
    await stageRows(session, template, { table, rows: good, tenantId: given.tenantId })
  }
  return badRows
}

async function checkRows(
  session: Queryable,
  { tenantColumns }: Template,
  { table, rows, tenantId }: { table: SeededTable; rows: readonly ManualRow[]; tenantId: string },
): Promise<BadRow[]> {
  const { label } = table.live
  const columns = new Map(table.live.columns.map((column) => [column.name, column]))
  const bad: BadRow[] = []
  const values: { index: number; column_name: string; value: string }[] = []
  for (const [index, row] of rows.entries()) {
    for (const [name, value] of Object.entries(row)) {
      const column = columns.get(name)
      const refuse = (reason: string) => bad.push({ table: label, index, column: name, reason })
      if (column === undefined) refuse('there is no such column')
      else if (column.isGenerated) refuse('the database computes this column')
      else if (tenantColumns.get(label)?.has(name) === true) {
        if (value !== null && String(value) !== tenantId) refuse('names another tenant')
      } else if (value !== null) values.push({ index, column_name: name, value: String(value) })
    }
  }
  await session.query(`truncate ${VALUES}`)
  await session.query(
    `insert into ${VALUES} (index, column_name, value)
     select v.index, v.column_name, v.value
     from jsonb_to_recordset($1::jsonb) as v (index int, column_name text, value text)`,
    [JSON.stringify(values)],
  )
  await session.query(tryValues(table))
  const { rows: refused } = await session.query<{
    index: number
    column: string
    state: string
    named: string | null
  }>(
    `select index, column_name as "column", state, nullif(named, '') as named from ${VALUES}
     where state is not null order by index, column_name`,
  )
  for (const { index, column, state, named } of refused) {
    bad.push({
      table: label,
      index,
      column,
      reason: explainState(state, named, columns.get(column)),
    })
  }
  return bad.sort((a, b) => a.index - b.index)
}

/** Reads each value as its column's type, lengths and domains included, in a subtransaction of its own. */
function tryValues({ live }: SeededTable): string {
  const json = live.columns.filter(({ type }) => type === 'json' || type === 'jsonb')
  const names = json.map(({ name }) => quoteLiteral(name)).join(', ')
  const body = `
    declare
      v record;
      tenantkeep_state text;
      tenantkeep_named text;
    begin
      for v in select ctid as place, column_name, value from ${VALUES} loop
        begin
          perform json_populate_record(null::${live.relation}, ${
            names === ''
              ? ''
              : `case
            when v.column_name in (${names}) then json_build_object(v.column_name, v.value::json) else`
          }
            json_build_object(v.column_name, v.value)${names === '' ? '' : ' end'});
        exception when others then
          get stacked diagnostics tenantkeep_state = returned_sqlstate, tenantkeep_named = constraint_name;
          if tenantkeep_state !~ '^(22|23|42)' then
            raise;
          end if;
          update ${VALUES} set state = tenantkeep_state, named = tenantkeep_named where ctid = v.place;
        end;
      end loop;
    end`
  return `do ${quoteLiteral(body)}`
}

function explainState(state: string, named: string | null, column: Column | undefined): string {
  const type = column?.type ?? 'this type'
  if (state === '22001') return `is too long for ${type}`
  if (state === '22003' || state === '22008') return `is out of range for ${type}`
  if (state.startsWith('23'))
    return named === null ? `is refused by ${type}` : `is refused by ${named}`
  return `is no value of type ${type}`
}

async function stageRows(
  session: Queryable,
  template: Template,
  given: {
    table: SeededTable
    rows: readonly { row: ManualRow; index: number }[]
    tenantId: string
  },
): Promise<void> {
  const { table, rows, tenantId } = given
  const { live, staged } = table
  const own = [...(template.tenantColumns.get(live.label) ?? [])]
  const json = new Set(
    live.columns.filter(({ type }) => type === 'json' || type === 'jsonb').map(({ name }) => name),
  )
  const seen = new Map<string, number>()
  for (const { row, index } of rows) {
    const rowNo = table.nextRow
    table.nextRow += 1
    const filled: Record<string, unknown> = { ...row }
    for (const name of own) {
      if (live.columns.some((c) => c.name === name && !(c.isNullable && row[name] === null))) {
        filled[name] = tenantId
      }
    }
    const names = Object.keys(filled)
    const written = names.map((name) => {
      const key = quoteLiteral(name)
      if (!json.has(name)) return `p.${quoteIdentifier(name)}`
      const type = live.columns.find((column) => column.name === name)?.type ?? 'json'
      return `($1::json ->> ${key})::${type}`
    })
    await session.query(
      `insert into ${staged} (${[...names.map(quoteIdentifier), ROW, ACTION].join(', ')})
       select ${[...written, '$2::bigint', `'insert'`].join(', ')}
       from json_populate_record(null::${staged}, ($1::jsonb${[...json].map((name) => ` - ${quoteLiteral(name)}`).join('')})::json) as p`,
      [JSON.stringify(filled), rowNo],
    )
    await nameTenant(session, template, table, { rowNo, given: new Set(names) })
    await fillDefaults(session, template, table, { rowNo, given: new Set(names) })
    const digest = createHash('sha256')
      .update(canonicalize(row) ?? '')
      .digest('hex')
    const times = (seen.get(digest) ?? 0) + 1
    seen.set(digest, times)
    const key = { manual: digest, ...(times === 1 ? {} : { times }) }
    await session.query(
      `with known as (
         select m.tenant_key from tenantkeep.seeded_rows as m
         where m.tenant_id = (select tenantkeep.current_tenant()) and m.schema_name = $4 and m.table_name = $5
           and m.template_key = $2::jsonb
       ), passed as (
         update ${staged} set ${ACTION} = 'skip' where ${ROW} = $1::bigint and exists (select from known)
       )
       insert into ${SEEDING} (table_no, row_no, template_key, template_digest, is_in_scope, is_manual, verdict)
       select ${table.index}, $1::bigint, $2::jsonb || jsonb_build_object('index', $3::int),
         sha256(convert_to(($2::jsonb)::text, 'UTF8')), true, true,
         case when exists (select from known) then 'unchanged' else 'new' end`,
      [rowNo, JSON.stringify(key), index, live.schema, live.name],
    )
  }
}

/** Whoever refers to the tenant's own row by another column than its id need not say so either. */
async function nameTenant(
  session: Queryable,
  { references, root }: Template,
  { live, staged }: SeededTable,
  { rowNo, given }: { rowNo: number; given: ReadonlySet<string> },
): Promise<void> {
  const set = references
    .filter(({ child, parent }) => child === live.label && parent === root.live.label)
    .flatMap(({ childColumns, parentColumns }) =>
      childColumns.flatMap((name, at) =>
        given.has(name)
          ? []
          : [`${quoteIdentifier(name)} = r.${quoteIdentifier(parentColumns[at] ?? name)}`],
      ),
    )
  if (set.length === 0) return
  await session.query(
    `update ${staged} as s set ${set.join(', ')} from ${root.staged} as r where s.${ROW} = $1::bigint`,
    [rowNo],
  )
}

/** Columns that were left out get what an insert would give them. */
async function fillDefaults(
  session: Queryable,
  { sources }: Template,
  { live, staged }: SeededTable,
  { rowNo, given }: { rowNo: number; given: ReadonlySet<string> },
): Promise<void> {
  const set = sources
    .filter(({ label, column }) => label === live.label && !given.has(column))
    .map(({ column, expression, isSequence }) => {
      const of = [live.schema, live.name, column].map(quoteLiteral).join(', ')
      const value = isSequence
        ? `(select v.next_value from tenantkeep.next_values(${of}, 1) as v)`
        : `(${expression})`
      return `${quoteIdentifier(column)} = ${value}`
    })
  if (set.length === 0) return
  await session.query(`update ${staged} set ${set.join(', ')} where ${ROW} = $1::bigint`, [rowNo])
}
