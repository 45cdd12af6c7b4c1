/** What a plan says: its lines, which are hashed and stored, its counts, and samples for people to look at. */
import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import type { Connection, Queryable } from '../database/database.ts'
import { interruptibleBytes } from '../interruptible.ts'
import { RAW_LINES } from '../tables/encode-rows.ts'
import { quoteIdentifier, quoteLiteral } from '../tables/quote-identifier.ts'
import { countActions } from './apply-plan.ts'
import { keyOf, lineOf, type StagedTable } from './diff-table.ts'
import type { RowSample, TableResult } from './restore-result.ts'
import { ACTION, ROW } from './staged-table.ts'

const WRITTEN = `('insert', 'update', 'replace', 'delete', 'release')`
/** Values in samples are for reading; a longer one is cut, and says so. */
const MOST_CHARACTERS = 2000

/** The lines of a plan, made once: they are hashed and, of a real restore, stored. */
const PLAN = 'pg_temp.tenantkeep_plan'
export const CREATE_PLAN = 'create temp table tenantkeep_plan (line text)'

/**
 * Every row that the plan names, one JSON object a line, in an order that depends on the data alone: table,
 * action, key, and the digests of its line before and after. `replace` is told as `update`, which it is to
 * everybody but the database. As `hashPlan` left them.
 */
export function readPlanLines(
  connection: Connection,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  // A temp table that only grew gives its lines in the order in which they came.
  return interruptibleBytes(
    connection.copyOut(`copy (select line from ${PLAN}) to stdout ${RAW_LINES}`),
    signal,
  )
}

function insertPlanLines(table: StagedTable): string {
  const { shared, staged, live } = table
  const digest = (alias: string) => `md5(${lineOf(shared, alias)})`
  const hasKey = shared.primaryKey.length > 0
  return `insert into ${PLAN}
    select json_build_object(
      't', ${quoteLiteral(live.label)}::text,
      'a', case s.${ACTION} when 'replace' then 'update' else s.${ACTION} end,
      'k', case when s.${ACTION} <> 'release' then ${hasKey ? keyOf(shared, 's') : `'[]'::jsonb`} end,
      'b', case when s.${ACTION} = 'delete' then ${digest('s')} when b.${ROW} is not null then ${digest('b')} end,
      'n', case when s.${ACTION} in ('insert', 'update', 'replace') then ${digest('s')} end
    )::text collate "C"
    from ${staged} as s
    left join ${staged} as b on b.${ROW} = s.${ROW} and b.${ACTION} = 'before'
      and s.${ACTION} in ('update', 'replace')
    where s.${ACTION} in ${WRITTEN}
    order by 1`
}

/** Writes the plan down, and hashes it: what it is made for, which columns it compares, and every line. */
export async function hashPlan(
  connection: Connection,
  tables: readonly StagedTable[],
  facts: object,
  signal?: AbortSignal,
): Promise<string> {
  const digest = createHash('sha256')
  digest.update(canonicalize({ facts, tables: tables.map(describeShape) }) ?? '')
  for (const table of tables) await connection.query(insertPlanLines(table))
  for await (const bytes of readPlanLines(connection, signal)) digest.update(bytes)
  return digest.digest('hex')
}

/** How a table's rows are told apart and compared in the plan; an undo compares the same way. */
export function describeShape({ live, shared }: StagedTable): {
  name: string
  primary_key: string[]
  columns: string[]
} {
  return {
    name: live.label,
    primary_key: shared.primaryKey.map((column) => column.name),
    columns: shared.columns.map((column) => column.name),
  }
}

/** The counts of a staged table, as the answer names them. */
export async function countTable(session: Queryable, table: StagedTable): Promise<TableResult> {
  const counts = await countActions(session, table)
  const of = (...actions: string[]) =>
    actions.reduce((sum, action) => sum + (counts[action] ?? 0), 0)
  const { rows } = await session.query<{ equal: string }>(
    `select count(*) as equal from ${table.staged} where ${ACTION} is null`,
  )
  const equal = table.rowsEqual + Number(rows[0]?.equal)
  const updated = of('update', 'replace')
  const skipped = of('skip')
  const deleted = of('delete')
  return {
    name: table.live.label,
    rowsInBackup: table.rowsInBackup,
    rowsLive: table.rowsLive,
    inserted: of('insert'),
    updated,
    deleted,
    unchanged: equal,
    // Live rows that stay as they are although they differ from the backup, or are not in it. Where only some
    // rows were asked for, the others are nobody's concern.
    kept: of('outside') > 0 ? 0 : Math.max(0, table.rowsLive - equal - updated - deleted),
    skipped,
    warnings: [],
    samples: [],
  }
}

/** A few rows that would change, by kind, with the columns that differ. Masked columns show no value. */
export async function sampleRows(
  session: Queryable,
  table: StagedTable,
  limit: number,
): Promise<RowSample[]> {
  const { shared, staged, live } = table
  const columns = shared.columns.map((column) => {
    const name = quoteIdentifier(column.name)
    const isMasked = live.masked.includes(column.name)
    const text = (alias: string) =>
      isMasked
        ? 'null'
        : `case when length(${alias}.${name}::text) > ${MOST_CHARACTERS}
             then left(${alias}.${name}::text, ${MOST_CHARACTERS}) || '…' else ${alias}.${name}::text end`
    const isOther = `(b.${ROW} is null or row(s.${name})::record *<> row(b.${name})::record)`
    return `case when ${isOther} then jsonb_build_array(jsonb_build_object('name', ${quoteLiteral(column.name)}::text,
      'before', case when s.${ACTION} = 'delete' then ${text('s')} else ${text('b')} end,
      'after', case when s.${ACTION} <> 'delete' then ${text('s')} end, 'isMasked', ${isMasked})) else '[]' end`
  })
  if (columns.length === 0) return []
  const labels = live.labelColumns
    .filter((name) => !live.masked.includes(name) && shared.columns.some((c) => c.name === name))
    .map((name) => `s.${quoteIdentifier(name)}::text`)
  const { rows } = await session.query<{ sample: RowSample }>(
    `select jsonb_build_object(
       'kind', case s.${ACTION} when 'replace' then 'update' else s.${ACTION} end,
       'key', ${shared.primaryKey.length > 0 ? keyOf(shared, 's') : `'[]'::jsonb`},
       'label', ${labels.length === 0 ? 'null::text' : `nullif(concat_ws(' ', ${labels.join(', ')}), '')`},
       'columns', ${columns.join(' || ')}) as sample
     from (
       select s.*, row_number() over (
         partition by case s.${ACTION} when 'replace' then 'update' else s.${ACTION} end order by s.${ROW}
       ) as "tenantkeep:n"
       from ${staged} as s where s.${ACTION} in ('insert', 'update', 'replace', 'delete')
     ) as s
     left join ${staged} as b on b.${ROW} = s.${ROW} and b.${ACTION} = 'before'
     where s."tenantkeep:n" <= $1 order by s.${ACTION}, s.${ROW}`,
    [limit],
  )
  return rows.map(({ sample }) => sample)
}
