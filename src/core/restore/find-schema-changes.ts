import type { SummaryContent, SummaryTable } from '../backup/summary.ts'
import type { Column, ProtectedTable } from '../tables/protected-table.ts'
import type { SchemaChange } from './restore-result.ts'

/**
 * What differs between the tables of a backup and those of now, as far as a restore must say so. What
 * loses nothing (a column added, a type widened) is told; what may lose something must be accepted by name.
 */
export function findSchemaChanges(
  summary: Pick<SummaryContent, 'tables'>,
  live: readonly ProtectedTable[],
  { isInScope, isPlainJson }: { isInScope: (label: string) => boolean; isPlainJson: boolean },
): SchemaChange[] {
  const byLabel = new Map(live.map((table) => [table.label, table]))
  const changes: SchemaChange[] = []
  for (const table of summary.tables) {
    if (!isInScope(table.name)) continue
    const now = byLabel.get(table.name)
    if (now !== undefined) changes.push(...compareColumns(table, now, isPlainJson))
    else if (table.rows > 0) changes.push(droppedTable(table))
  }
  const inBackup = new Set(summary.tables.map((table) => table.name))
  for (const table of live) {
    if (inBackup.has(table.label) || !isInScope(table.label)) continue
    changes.push({
      name: `added_table:${table.label}`,
      table: table.label,
      isLossy: false,
      message: `${table.label} is not in the backup, and is left as it is.`,
    })
  }
  return changes
}

/** Names of the columns of one table whose type is another now. */
export function changedTypesOf(changes: readonly SchemaChange[], label: string): Set<string> {
  const prefix = `changed_type:${label}.`
  return new Set(
    changes
      .filter(({ name }) => name.startsWith(prefix))
      .map(({ name }) => name.slice(prefix.length)),
  )
}

function droppedTable(table: SummaryTable): SchemaChange {
  return {
    name: `dropped_table:${table.name}`,
    table: table.name,
    isLossy: true,
    message: `${table.name} is gone (dropped, renamed, or no longer registered): its ${table.rows} rows would not be restored.`,
  }
}

function compareColumns(
  backup: SummaryTable,
  live: ProtectedTable,
  isPlainJson: boolean,
): SchemaChange[] {
  const table = live.label
  const changes: SchemaChange[] = []
  const now = new Map(live.columns.map((column) => [column.name, column]))
  for (const column of backup.columns) {
    const same = now.get(column.name)
    if (same === undefined || same.isGenerated) {
      changes.push({
        name: `dropped_column:${table}.${column.name}`,
        table,
        isLossy: true,
        message: `${table}.${column.name} is gone or computed now (dropped or renamed): its values would not be restored.`,
      })
    } else if (!isPlainJson && same.type !== column.type) {
      const isLossy = !isWider(column.type, same.type)
      changes.push({
        name: `changed_type:${table}.${column.name}`,
        table,
        isLossy,
        message: `${table}.${column.name} was ${column.type} and is ${same.type}${isLossy ? ': values are read as the new type, and the restore is refused where that fails' : ', which holds every value it had'}.`,
      })
    }
  }
  const then = new Set(backup.columns.map((column) => column.name))
  for (const column of live.columns) {
    if (then.has(column.name) || column.isGenerated) continue
    changes.push({
      name: `added_column:${table}.${column.name}`,
      table,
      isLossy: false,
      message: `${table}.${column.name} is newer than the backup: rows that are there keep its value, rows that come back get ${defaultOf(column)}.`,
    })
  }
  return changes
}

function defaultOf(column: Column): string {
  if (column.hasDefault || column.isIdentity) return 'its default'
  return column.isNullable ? 'null' : 'no value, which it does not allow: such rows are refused'
}

const INTEGERS = ['smallint', 'integer', 'bigint', 'numeric']

/** Whether every value of one type, as text, is a value of the other and stays what it is. */
function isWider(from: string, to: string): boolean {
  if (INTEGERS.includes(from) && INTEGERS.includes(to)) {
    return INTEGERS.indexOf(from) < INTEGERS.indexOf(to)
  }
  const [was, is] = [readModifier(from), readModifier(to)]
  const isVarying = (name: string) => name === 'character varying' || name === 'text'
  if (isVarying(was.name) && isVarying(is.name)) {
    return is.sizes.length === 0 || (was.sizes[0] ?? Number.POSITIVE_INFINITY) <= (is.sizes[0] ?? 0)
  }
  if (was.name === 'numeric' && is.name === 'numeric') {
    if (is.sizes.length === 0) return true
    if (was.sizes.length === 0) return false
    const [precision = 0, scale = 0] = was.sizes
    const [newPrecision = 0, newScale = 0] = is.sizes
    return newScale >= scale && newPrecision - newScale >= precision - scale
  }
  return false
}

function readModifier(type: string): { name: string; sizes: number[] } {
  const parts = /^(.*?)\(([\d,]+)\)$/.exec(type)
  if (parts === null) return { name: type, sizes: [] }
  return { name: parts[1] ?? type, sizes: (parts[2] ?? '').split(',').map(Number) }
}
