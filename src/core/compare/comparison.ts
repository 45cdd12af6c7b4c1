/**
 * What a comparison says: a backup against the live rows or another backup. «Backup» is the first side,
 * «other» the second; read as before and after.
 */
export interface Comparison {
  backupId: string | null
  /** When the backup was taken; UTC. */
  takenAt: string
  otherBackupId: string | null
  /** When the other side was read or taken; UTC. */
  otherTakenAt: string
  /** No row differs in the columns that both sides have, and no table that only one side has holds rows. */
  isEqual: boolean
  tables: TableComparison[]
  warnings: { code: string; message: string }[]
}

export interface TableComparison {
  /** The table's label. */
  name: string
  /** `dropped`: both backups have it, the database has it no more. */
  presence: 'both' | 'backup' | 'other' | 'dropped'
  /**
   * False for a dropped table whose contents differ, and for one without a column in common: there is
   * nothing to read or to compare them with.
   */
  isCompared: boolean
  rowsInBackup: number
  rowsInOther: number
  onlyInBackup: number
  onlyInOther: number
  changed: number
  equal: number
  /** How many of the differing rows were kept to be looked at. */
  keptRows: number
  /** False where rows have no key in common: they are told apart by their contents, none counts as changed. */
  isByKey: boolean
  /** The key that rows are told apart by, in the order of a row's `key`; empty without one, and where no row was looked at. */
  keyColumns: string[]
  /** Values are compared as texts, because the backup's can't be read as the columns' types of now. */
  isByText: boolean
  columnsOnlyInBackup: string[]
  columnsOnlyInOther: string[]
  /** Columns that both backups have and the database has no more. */
  columnsNotCompared: string[]
}

export type DifferenceKind = 'only_in_backup' | 'only_in_other' | 'changed'

/** A row that differs, for people to look at. */
export interface RowDifference {
  /** Its place among all rows of the comparison. */
  number: number
  table: string
  kind: DifferenceKind
  /** Texts of the key's columns, null where one is masked; empty without a key. */
  key: (string | null)[]
  /** What people know the row by; null where the registry names nothing. */
  label: string | null
  /** How many equal rows it stands for, in a table without a key. */
  times: number
  columns: ColumnDifference[]
}

/** Columns that differ; of a row that only one side has, all that are not null. */
interface ColumnDifference {
  name: string
  /** As Postgres writes the value; null also where the column is masked. */
  before: string | null
  after: string | null
  is_masked: boolean
  /** A text was longer than what is kept of it. */
  is_cut: boolean
}
