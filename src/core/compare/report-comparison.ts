import type { Comparison, RowDifference, TableComparison } from './comparison.ts'

/** A comparison as answers and `--json` have it. */
export function reportComparison(comparison: Comparison) {
  const { tables } = comparison
  const sum = (field: 'onlyInBackup' | 'onlyInOther' | 'changed' | 'equal' | 'keptRows') =>
    tables.reduce((total, table) => total + table[field], 0)
  return {
    message: describeOutcome(comparison),
    is_equal: comparison.isEqual,
    backup: { backup_id: comparison.backupId, taken_at: comparison.takenAt },
    /** The live rows where it has no id. */
    with: { backup_id: comparison.otherBackupId, taken_at: comparison.otherTakenAt },
    summary: {
      tables: tables.length,
      different_tables: tables.filter(isDifferent).length,
      only_in_backup: sum('onlyInBackup'),
      only_in_other: sum('onlyInOther'),
      changed: sum('changed'),
      equal: sum('equal'),
      kept_rows: sum('keptRows'),
    },
    tables: tables.map(reportTable),
    warnings: comparison.warnings,
  }
}

function reportTable(table: TableComparison) {
  return {
    name: table.name,
    presence: table.presence,
    is_compared: table.isCompared,
    rows_in_backup: table.rowsInBackup,
    rows_in_other: table.rowsInOther,
    only_in_backup: table.onlyInBackup,
    only_in_other: table.onlyInOther,
    changed: table.changed,
    equal: table.equal,
    kept_rows: table.keptRows,
    is_by_key: table.isByKey,
    key_columns: table.keyColumns,
    is_by_text: table.isByText,
    columns_only_in_backup: table.columnsOnlyInBackup,
    columns_only_in_other: table.columnsOnlyInOther,
    columns_not_compared: table.columnsNotCompared,
  }
}

/** A row that differs, as answers and `--json` have it. */
export function reportDifference({ number: _, ...row }: RowDifference) {
  return row
}

/** Whether rows of a table differ, or can't be told. */
export function isDifferent(table: TableComparison): boolean {
  return !table.isCompared || table.onlyInBackup + table.onlyInOther + table.changed > 0
}

function describeOutcome({ isEqual, tables }: Comparison): string {
  if (isEqual) return 'Every row is equal.'
  const different = tables.filter(isDifferent)
  const rows = different.reduce(
    (total, table) => total + table.onlyInBackup + table.onlyInOther + table.changed,
    0,
  )
  const where = different.length === 1 ? 'one table' : `${different.length} tables`
  return `${rows === 1 ? 'One row differs' : `${rows} rows differ`} in ${where}.`
}

/** What a person must know beside the figures of a table: one sentence each. */
export function describeTable(table: TableComparison): string[] {
  const { name } = table
  const columns = (names: readonly string[]) =>
    `${names.length === 1 ? 'the column' : 'the columns'} ${names.join(', ')}`
  return [
    ...(table.presence === 'backup' ? [`${name} is in the backup only.`] : []),
    ...(table.presence === 'other' ? [`${name} is not in the backup.`] : []),
    ...(table.presence === 'dropped' && !table.isCompared
      ? [`${name} differs, and was dropped since: its rows can’t be read any more.`]
      : []),
    ...(table.presence === 'both' && !table.isCompared
      ? [`${name} has no column in common with the backup, and can’t be compared.`]
      : []),
    ...(table.columnsOnlyInBackup.length > 0
      ? [`${name}: only the backup has ${columns(table.columnsOnlyInBackup)}.`]
      : []),
    ...(table.columnsOnlyInOther.length > 0
      ? [`${name}: the backup does not have ${columns(table.columnsOnlyInOther)}.`]
      : []),
    ...(table.columnsNotCompared.length > 0
      ? [`${name}: not compared, because dropped since: ${columns(table.columnsNotCompared)}.`]
      : []),
    ...(table.isByText
      ? [
          `${name}: values of the backup can’t be read as the types of now; they were compared as texts.`,
        ]
      : []),
    ...(table.isByKey || !isDifferent(table)
      ? []
      : [`${name}: rows have no key in common; a changed row counts once on either side.`]),
  ]
}
