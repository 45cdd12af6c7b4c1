import type { Queryable } from '../database/database.ts'
import { sqlstateOf } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import type { Column, ProtectedTable } from '../tables/protected-table.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'

/** Values by column, as JSON; numbers that JavaScript can't hold exactly come as texts. */
export type TenantColumns = Readonly<Record<string, unknown>>

/** What is wrong with one column of the request; never its value. */
export interface BadColumn {
  column: string
  reason: string
}

interface KeySource {
  /** The default as the catalog prints it; null where there is none, and for an identity. */
  expression: string | null
  drawsFromSequence: boolean
}

/**
 * Checks a tenant's own row column by column against the live table: unknown ones, computed ones, missing
 * ones, values that the type does not take. Inside a transaction of the operator. All of them are found.
 */
export async function findBadColumns(
  session: Queryable,
  root: ProtectedTable,
  keyColumn: string,
  columns: TenantColumns,
): Promise<BadColumn[]> {
  const known = new Map(root.columns.map((column) => [column.name, column]))
  const bad: BadColumn[] = []
  for (const [name, value] of Object.entries(columns)) {
    const column = known.get(name)
    const reason =
      column === undefined
        ? `${root.label} has no such column`
        : column.isGenerated
          ? 'computed by the database, so it can’t be given'
          : value === null && !column.isNullable
            ? 'may not be null'
            : await findWrongType(session, root, column, value)
    if (reason !== null) bad.push({ column: name, reason })
  }
  const source = await readKeySource(session, root, keyColumn)
  for (const column of root.columns) {
    if (Object.hasOwn(columns, column.name)) continue
    const comesByItself =
      column.isNullable || column.hasDefault || column.isIdentity || column.isGenerated
    const isKeyToMake = column.name === keyColumn && isMade(source)
    if (!comesByItself && !isKeyToMake) {
      bad.push({
        column: column.name,
        reason: 'needs a value: it may not be null and has no default',
      })
    }
  }
  return bad
}

async function findWrongType(
  session: Queryable,
  root: ProtectedTable,
  { name, type }: Column,
  value: unknown,
): Promise<string | null> {
  await session.query('savepoint tenantkeep_column')
  try {
    await session.query(
      `select p.${quoteIdentifier(name)} from json_populate_record(null::${root.relation}, $1::json) as p`,
      [JSON.stringify({ [name]: value })],
    )
    return null
  } catch (error) {
    const state = sqlstateOf(error) ?? ''
    if (!/^(22|23|0A|P0)/.test(state)) throw error
    await session.query('rollback to savepoint tenantkeep_column')
    return `no value of the type ${type}`
  }
}

/**
 * The id that the tenant will have, as its column writes it: the one that is given, or what its default
 * makes. It must be known beforehand: row level security lets a row in only under the tenant that it names.
 * Throws `invalid_request` where nothing makes one.
 */
export async function computeTenantId(
  session: Queryable,
  root: ProtectedTable,
  keyColumn: string,
  columns: TenantColumns,
): Promise<string> {
  const key = quoteIdentifier(keyColumn)
  const canonical = async (value: unknown) => {
    const { rows } = await session.query<{ id: string | null }>(
      `select p.${key}::text as id from json_populate_record(null::${root.relation}, $1::json) as p`,
      [JSON.stringify({ [keyColumn]: value })],
    )
    return rows[0]?.id ?? null
  }
  if (Object.hasOwn(columns, keyColumn))
    return requireId(await canonical(columns[keyColumn]), keyColumn)
  const source = await readKeySource(session, root, keyColumn)
  if (source.drawsFromSequence) {
    const { rows } = await session.query<{ id: string }>(
      'select next_value::text as id from tenantkeep.next_values($1, $2, $3, 1)',
      [root.schema, root.name, keyColumn],
    )
    return requireId(rows[0]?.id ?? null, keyColumn)
  }
  if (source.expression === null) return requireId(null, keyColumn)
  // The expression is the table's own default, from the catalog.
  const { rows } = await session.query<{ id: string | null }>(
    `select (${source.expression})::text as id`,
  )
  return requireId(await canonical(rows[0]?.id ?? null), keyColumn)
}

function requireId(id: string | null, keyColumn: string): string {
  if (id !== null && id !== '') return id
  throw new BackupError(
    'invalid_request',
    `The column ${keyColumn} makes no id by itself. Give one in columns.`,
  )
}

function isMade({ expression, drawsFromSequence }: KeySource): boolean {
  return expression !== null || drawsFromSequence
}

async function readKeySource(
  session: Queryable,
  root: ProtectedTable,
  keyColumn: string,
): Promise<KeySource> {
  const { rows } = await session.query<KeySource>(
    `select pg_catalog.pg_get_expr(d.adbin, d.adrelid) as expression,
            a.attidentity <> '' or pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~ '^nextval\\(' as "drawsFromSequence"
     from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $3
     left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
     where n.nspname = $1 and c.relname = $2`,
    [root.schema, root.name, keyColumn],
  )
  const { expression, drawsFromSequence } = rows[0] ?? {
    expression: null,
    drawsFromSequence: null,
  }
  return { expression, drawsFromSequence: drawsFromSequence === true }
}
