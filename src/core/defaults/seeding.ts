/** What a seeding keeps in temp tables of its session, and how its parts call the tables of the host. */
import type { Queryable } from '../database/database.ts'
import type { StagedTable } from '../restore/diff-table.ts'
import { lineOf } from '../restore/diff-table.ts'
import type { ProtectedTable } from '../tables/protected-table.ts'

/**
 * A table that takes part. Its rows are staged twice under the same numbers: as the template has them
 * (`template`), and as the tenant gets them or has them (`staged`, with the actions of `staged-table.ts`).
 */
export interface SeededTable extends StagedTable {
  /** `pg_temp.…`; columns as a staged table. Its rows have the action `insert`. */
  template: string
  rowsInTemplate: number
  /** Asked for; the others are here because rows refer to their copies. */
  isInScope: boolean
}

/**
 * A row for each row of the template: its key and digest, what the memory says of its copy, and what comes of
 * it (`verdict` is a `SeedCase`, or `outside` for what was not asked for). The digests `now_…` are of the
 * columns that the memory's digests are of; null where one of these columns is gone.
 */
export const SEEDING = 'pg_temp.tenantkeep_seeding'
export const CREATE_SEEDING = `create temp table tenantkeep_seeding (
  table_no int, row_no bigint, template_key jsonb, template_digest bytea, is_in_scope boolean, is_manual boolean,
  tenant_key jsonb, shape_id int, then_template bytea, then_copy bytea, is_declined boolean,
  now_template bytea, now_copy bytea, verdict text, decision text, constraint_name text, held_by jsonb)`

/** Rows of the template that refer to what is not copied, by the place of the reference in the list. */
export const MISSING = 'pg_temp.tenantkeep_missing'
export const CREATE_MISSING =
  'create temp table tenantkeep_missing (table_no int, row_no bigint, reference_no int)'

/** What the request decided, nearest first. */
export const DECISIONS = 'pg_temp.tenantkeep_decisions'
export const CREATE_DECISIONS =
  'create temp table tenantkeep_decisions (of_case text, table_no int, key jsonb, decision text)'

export function templateName(index: number): string {
  return `pg_temp.tenantkeep_template_${index}`
}

/** SHA-256 of a row's line over some of its columns, all of them unless told. */
export function digestOf(
  table: ProtectedTable,
  alias: string,
  columns?: ReadonlySet<string>,
): string {
  const some =
    columns === undefined
      ? table
      : { ...table, columns: table.columns.filter((column) => columns.has(column.name)) }
  return `sha256(convert_to(${lineOf(some, alias)}, 'UTF8'))`
}

/** Fewer rows are joined faster than they are measured, however badly. */
const WORTH_MEASURING = 40

/**
 * Takes statistics of a temp table, which are as temporary: without any, joins are planned for a few rows, and
 * cost the square of those that are there.
 */
export function measure(
  { rowsInTemplate }: SeededTable,
  name: string,
  columns: readonly string[],
): string[] {
  return rowsInTemplate < WORTH_MEASURING ? [] : [`analyze ${name} (${columns.join(', ')})`]
}

/** Statements without parameters, in one round trip. */
export async function runAll(session: Queryable, statements: readonly string[]): Promise<void> {
  if (statements.length > 0) await session.query(statements.join(';\n'))
}
