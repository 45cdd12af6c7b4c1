import type { BackupWarning } from '../backup/backup-record.ts'

/** What a restore is doing at this moment; one JSON object a line where the caller streams. */
export interface RestoreProgress {
  phase:
    | 'locking'
    | 'comparing'
    | 'safety_backup'
    | 'staging'
    | 'planning'
    | 'writing'
    | 'proving'
    | 'finishing'
  /** Null where the phase is about no single table. */
  table: string | null
  rowsDone: number
  rowsTotal: number
}

/** Why a restore can't be done as asked. A dry run names all of them. */
export interface Blocker {
  code:
    | 'missing_user'
    | 'missing_reference'
    | 'key_taken'
    | 'referenced'
    | 'row_refused'
    | 'row_outside_tenant'
    | 'access_changes'
    | 'schema_changed'
    | 'side_effects'
    | 'read_only_table'
    | 'undo_conflict'
    | 'actor_locked_out'
  table: string
  /** The constraint, index, trigger or schema change it is about. */
  constraint: string | null
  /** How many rows are concerned. */
  count: number
  /** Keys of this tenant's own rows, at most twenty: the texts of the primary key's columns. */
  keys: string[][]
  /** What is wrong and what would settle it, with the option's name. */
  message: string
}

export interface TableResult {
  /** The table's label. */
  name: string
  rowsInBackup: number
  rowsLive: number
  inserted: number
  updated: number
  deleted: number
  unchanged: number
  /** Live rows that the options left as they are: newer or changed ones that were to be kept. */
  kept: number
  /** Rows of the backup passed over: missing or changed ones that were to be kept, or something stood in the way. */
  skipped: number
  warnings: string[]
  samples: RowSample[]
}

/** One row that a restore would change, for people to look at. */
export interface RowSample {
  kind: 'insert' | 'update' | 'delete'
  /** The texts of the primary key's columns; of a table without one, empty. */
  key: string[]
  /** What people know the row by; null where the registry names nothing. */
  label: string | null
  /** Columns that differ (update), or all (insert, delete). Masked columns say only that they differ. */
  columns: { name: string; before: string | null; after: string | null; isMasked: boolean }[]
}

export interface RestoreResult {
  isDryRun: boolean
  /** Of the journal row; null for a dry run. */
  restoreId: string | null
  backupId: string | null
  safetyBackupId: string | null
  /** Covers keys, contents before and after, and the options. */
  planHash: string
  tables: TableResult[]
  blockers: Blocker[]
  warnings: BackupWarning[]
  /** Rows whose return gives somebody access, by table. */
  accessChanges: { table: string; count: number; keys: string[][] }[]
  /** What differs between the schema of the backup and now; those with `isLossy` need acceptance by name. */
  schemaChanges: SchemaChange[]
  /** How often the tenant was looked at before nobody wrote in between. */
  looks: number
}

export interface SchemaChange {
  /** What `accept_schema_changes` takes: `dropped_column:customers.fax`. */
  name: string
  table: string
  isLossy: boolean
  message: string
}
