/** How a column's value is written into a line and read back; docs/format.md has the table. */
type ColumnEncoding =
  /** A built-in scalar whose JSON form loses nothing: `to_json(x)`. */
  | 'scalar'
  /** jsonb: nested as its own text; an SQL null leaves the key out, a JSON null is `null`. */
  | 'jsonb'
  /** json: its text in a string, since it may hold raw line breaks. */
  | 'json'
  /** Everything else: Postgres text in a string, by the cast `::text`, which uses the output function. */
  | 'text'
  /** The same by way of `concat`, where a cast to text exists that is not the output function. */
  | 'output'

/** A column as the live catalog has it now. */
export interface Column {
  name: string
  /** As `format_type` prints it, with modifiers: `numeric(20,4)`, `public.gas_grade`. */
  type: string
  encoding: ColumnEncoding
  isNullable: boolean
  /** Computed by the database: neither written into a backup nor restored. */
  isGenerated: boolean
  isIdentity: boolean
  /** `generated always as identity`: can be inserted, never updated. */
  isIdentityAlways: boolean
  /** A default or a generation expression. */
  hasDefault: boolean
  /** Its type is a domain. */
  isDomain: boolean
}

interface PrimaryKeyColumn {
  name: string
  /** Ordered `collate "C"`, so that equal data gives equal bytes on every server. */
  isText: boolean
}

/** A table whose rows belong to tenants, joined from the registry and the live catalog. */
export interface ProtectedTable {
  schema: string
  name: string
  /** `name` in public, `schema.name` elsewhere: how summaries, paths and answers call it. */
  label: string
  /** Quoted and qualified, for SQL: `"public"."customers"`. */
  relation: string
  /** `from only x`, or `from x` for a partitioned table, whose rows live in its leaves. */
  from: string
  class: 'root' | 'direct' | 'child' | 'custom'
  /** Order of ownership, owners first. */
  position: number
  /** Which rows are the current tenant's; from the registry, the same text that both policies have. */
  rowExpression: string
  /** False where we may only read: grants and policies are for `select` alone. */
  isWritable: boolean
  /** A restore keeps rows that are newer than the backup. */
  isHistory: boolean
  /** Columns that keep their live value in a restore, so that nobody's rights rise by it. */
  keepLive: string[]
  /** Columns that comparing does not show. */
  masked: string[]
  /** Columns that people know a row by. */
  labelColumns: string[]
  /** All columns in attribute order, generated ones too. */
  columns: Column[]
  /** Empty where the table has no primary key. */
  primaryKey: PrimaryKeyColumn[]
}
