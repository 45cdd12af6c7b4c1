/** A table of the host application as `pg_catalog` describes it; what discovery reasons about. */
export interface HostTable {
  schema: string
  name: string
  /** `p` is a partitioned table: its rows live in leaves, which are no tables of their own to us. */
  kind: 'r' | 'p'
  hasRowSecurity: boolean
  /** Emptied by a crash, and never on a replica. */
  isUnlogged: boolean
  /** Tables it inherits from, as `schema.table`; each keeps its own rows, and we read `only` the parent. */
  inheritsFrom: string[]
  /** Names of rules that rewrite what is written to it. */
  rules: string[]
  /** Restrictive policies of the host; they begin to bind where row level security is switched on. */
  restrictivePolicies: string[]
  /** The owner, where we are not a member of that role and so may not change the table; else null. */
  foreignOwner: string | null
  columns: HostColumn[]
  /** In key order; empty where there is none. */
  primaryKey: string[]
  /** Columns that no two rows share, now and at every moment: whole, valid, immediate keys and indexes, the primary key too. */
  uniqueKeys: string[][]
  foreignKeys: HostForeignKey[]
}

export interface HostColumn {
  name: string
  /** For a cast in SQL: without modifiers, quoted and schema-qualified unless built in. */
  type: string
  /** The schema of the type, unquoted; null for a built-in one. */
  typeSchema: string | null
  isNullable: boolean
}

export interface HostForeignKey {
  name: string
  columns: string[]
  targetSchema: string
  targetTable: string
  targetColumns: string[]
  cascadesOnDelete: boolean
}

/** `public.customers`: how people name a table on the command line and in answers. */
export function tableName(table: { schema: string; name: string }): string {
  return `${table.schema}.${table.name}`
}
