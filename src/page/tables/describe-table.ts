import type { StatusWords } from '../backups/backup-words.ts'
import { formatPlural } from '../frame/format.ts'
import type { ListedTable, TableClass } from './read-tables.ts'

/** What a table is to a tenant, in the words of the glossary. */
export const CLASSES: Record<TableClass, { word: string; meaning: string }> = {
  root: { word: 'root', meaning: 'the tenant’s own row' },
  direct: { word: 'direct', meaning: 'has the tenant’s column' },
  child: { word: 'child', meaning: 'owned through another table' },
  custom: { word: 'custom', meaning: 'by an administrator’s condition' },
  derived: { word: 'derived', meaning: 'computed from other rows' },
  shared: { word: 'shared', meaning: 'everybody’s, in no backup' },
  excluded: { word: 'excluded', meaning: 'in no backup' },
  unclassified: { word: 'unclassified', meaning: 'nobody said whose rows these are' },
}

/** The worst that is to be said of a table. */
export function describeCondition(table: ListedTable): StatusWords {
  if (!table.isThere) return { word: 'Gone', colour: 'red', icon: 'cross' }
  if (table.unreadable !== null) return { word: 'Not readable', colour: 'red', icon: 'cross' }
  if (table.class === 'unclassified') {
    return { word: 'In no backup', colour: 'yellow', icon: 'attention' }
  }
  const worst = table.findings.map(({ severity }) => severity)
  if (worst.includes('error')) return { word: 'Error', colour: 'red', icon: 'cross' }
  if (worst.includes('warning')) return { word: 'Warning', colour: 'yellow', icon: 'attention' }
  return { word: 'In order', colour: 'green', icon: 'check' }
}

/** Whether somebody has to do something about it. */
export function needsAttention(table: ListedTable): boolean {
  return describeCondition(table).colour !== 'green'
}

/** What is special about its rows, one phrase each. */
export function describeMarks({
  marks,
  isWritable,
  hasPrimaryKey,
  class: kind,
}: ListedTable): string[] {
  const isBackedUp = !['shared', 'excluded', 'unclassified'].includes(kind)
  return [
    ...(marks.isSeeded ? ['new tenants start with rows of the template'] : []),
    ...(marks.isHistory ? ['history: newer rows stay after a restore'] : []),
    ...(marks.keepLive.length > 0
      ? [`a restore leaves ${marks.keepLive.join(', ')} as they are`]
      : []),
    ...(marks.masked.length > 0 ? [`never shown: ${marks.masked.join(', ')}`] : []),
    ...(marks.label.length > 0 ? [`known by ${marks.label.join(', ')}`] : []),
    ...(isBackedUp && !isWritable ? ['a restore can’t write it'] : []),
    ...(isBackedUp && !hasPrimaryKey
      ? ['no primary key: rows can’t be told apart one by one']
      : []),
  ]
}

/** `24 tables, 2 need attention`. */
export function describeCounts(tables: readonly ListedTable[]): string {
  const needy = tables.filter(needsAttention).length
  const all = formatPlural(tables.length, 'table')
  if (needy === 0) return `${all}, none needs attention`
  return `${all}, ${needy} ${needy === 1 ? 'needs' : 'need'} attention`
}
