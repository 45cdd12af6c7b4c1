import { formatCount, formatPlural } from '../frame/format.ts'
import type { IconName } from '../frame/icons.tsx'
import { nameTable } from '../frame/name-table.ts'
import type {
  ColumnDifference,
  ComparedTable,
  CompareStep,
  Comparison,
  DifferenceKind,
  RowDifference,
} from './read-comparison.ts'
import type { TickedRows } from './ticked-rows.ts'

/** What a comparison says, in words for the owner of a tenant; and what its counts add up to. */

export const KINDS = [
  'only_in_backup',
  'changed',
  'only_in_other',
] as const satisfies DifferenceKind[]

/** How the other side lies to the backup: rows are «missing» and «newer» only where it is the later one. */
export type Direction = 'live' | 'later' | 'earlier'

export interface KindWords {
  /** On the mark of a row. */
  word: string
  /** What it means, as half a sentence. */
  meaning: string
  icon: IconName
  colour: string
}

/** Says what a difference is called; word, icon and colour together, so that none has to do alone. */
export function describeKind(kind: DifferenceKind, direction: Direction): KindWords {
  const there = { live: 'now', later: 'in the later backup', earlier: 'in the earlier backup' }
  const isEarlier = direction === 'earlier'
  switch (kind) {
    case 'only_in_backup':
      return {
        word: isEarlier ? 'Only here' : 'Missing',
        meaning: `in this backup, not ${there[direction]}`,
        icon: 'nothing',
        colour: 'red',
      }
    case 'changed':
      return {
        word: 'Changed',
        meaning: `other values ${there[direction]}`,
        icon: 'changed',
        colour: 'yellow',
      }
    case 'only_in_other':
      return {
        word: isEarlier ? 'Only there' : 'Newer',
        meaning: `${direction === 'live' ? 'there now' : there[direction]}, not in this backup`,
        icon: 'plus',
        colour: 'blue',
      }
  }
}

/** Where the other side lies to the backup. */
export function findDirection(comparison: Comparison): Direction {
  if (comparison.otherBackupId === null) return 'live'
  return comparison.otherTakenAt < comparison.takenAt ? 'earlier' : 'later'
}

/** How many rows differ, of all kinds or of one. */
export function countRows(table: ComparedTable, kind: DifferenceKind | null = null): number {
  if (kind !== null) return table.counts[kind]
  return KINDS.reduce((total, each) => total + table.counts[each], 0)
}

/** Whether rows of a table differ, or nobody can say. */
export function isDifferent(table: ComparedTable): boolean {
  return !table.isCompared || countRows(table) > 0
}

/** What lost most comes first, then what was added to, then what is equal; as before among equals. */
export function sortByLoss(tables: readonly ComparedTable[]): ComparedTable[] {
  const loss = (table: ComparedTable) => table.counts.only_in_backup + table.counts.changed
  return tables.toSorted(
    (one, other) =>
      Number(other.isCompared === false) - Number(one.isCompared === false) ||
      loss(other) - loss(one) ||
      other.counts.only_in_other - one.counts.only_in_other,
  )
}

export interface Totals {
  byKind: Record<DifferenceKind, number>
  rows: number
  keptRows: number
  differentTables: number
  tables: number
}

/** The sums over all tables. */
export function sumUp(tables: readonly ComparedTable[]): Totals {
  const sum = (of: (table: ComparedTable) => number) =>
    tables.reduce((total, table) => total + of(table), 0)
  return {
    byKind: {
      only_in_backup: sum((table) => table.counts.only_in_backup),
      changed: sum((table) => table.counts.changed),
      only_in_other: sum((table) => table.counts.only_in_other),
    },
    rows: sum((table) => countRows(table)),
    keptRows: sum((table) => table.keptRows),
    differentTables: tables.filter(isDifferent).length,
    tables: tables.length,
  }
}

/** `31 missing, 8 changed and 4 newer rows in 3 tables.`; for screen readers when it is done. */
export function describeTotals(totals: Totals, direction: Direction): string {
  if (totals.differentTables === 0) return 'No differences.'
  const parts = KINDS.filter((kind) => totals.byKind[kind] > 0).map(
    (kind) =>
      `${formatCount(totals.byKind[kind])} ${describeKind(kind, direction).word.toLowerCase()}`,
  )
  const where = formatPlural(totals.differentTables, 'table')
  return parts.length === 0
    ? `${where} can't be compared.`
    : `Rows that differ: ${parts.join(', ')}; in ${where}.`
}

/** What one must know beside the figures of a table, a sentence each. */
export function describeTable(table: ComparedTable, direction: Direction): string[] {
  const other = direction === 'live' ? 'the live data' : 'the other backup'
  const columns = (names: readonly string[]) =>
    `${names.length === 1 ? 'the column' : 'the columns'} ${names.join(', ')}`
  const notes: string[] = []
  if (table.presence === 'backup') {
    notes.push(
      `The whole table is gone from ${other}: its ${formatPlural(table.rowsInBackup, 'row')} can't be listed one by one here.`,
    )
  }
  if (table.presence === 'other') {
    notes.push(
      `The table is not in this backup: its ${formatPlural(table.rowsInOther, 'row')} can't be listed one by one here.`,
    )
  }
  if (!table.isCompared) {
    notes.push(
      table.presence === 'dropped'
        ? 'The two backups differ in this table, but the database has it no more, so its rows can no longer be read.'
        : `This table has no column in common with ${other}, so it can't be compared.`,
    )
  }
  if (table.columnsOnlyInBackup.length > 0) {
    notes.push(`Only this backup has ${columns(table.columnsOnlyInBackup)}.`)
  }
  if (table.columnsOnlyInOther.length > 0) {
    notes.push(`Only ${other} has ${columns(table.columnsOnlyInOther)}.`)
  }
  if (table.columnsNotCompared.length > 0) {
    notes.push(
      `Not compared, because the database no longer has them: ${columns(table.columnsNotCompared)}.`,
    )
  }
  if (table.isByText) {
    notes.push(
      'Some columns have another type now, so their values were compared as they are written.',
    )
  }
  const entries = countRows(table)
  if (table.keptRows > 0 && table.keptRows < entries && table.isByKey) {
    notes.push(
      `The first ${formatCount(table.keptRows)} of ${formatPlural(entries, 'row')} that differ are listed and searched; all of them are counted. To get back more than these, restore the whole table.`,
    )
  }
  return notes
}

/** Why rows of this table can't be restored one by one; null where they can. */
export function whyNotTickable(table: ComparedTable): string | null {
  if (table.keptRows === 0) return null
  if (!table.isByKey || table.keyColumns.length === 0) {
    return 'Rows of this table have no key that tells them apart, so they can’t be ticked one by one. Restore the whole table instead.'
  }
  return null
}

/** What a restore knows this row by; null where it can't be told: no key, or one that is masked. */
export function keyOf(
  row: RowDifference,
  table: ComparedTable | undefined,
): Record<string, string> | null {
  if (table === undefined || !table.isByKey || table.keyColumns.length === 0) return null
  const entries: [string, string][] = []
  for (const [index, name] of table.keyColumns.entries()) {
    const value = row.key[index]
    if (value === undefined || value === null) return null
    entries.push([name, value])
  }
  return Object.fromEntries(entries)
}

/**
 * The columns of a row worth looking at: of a row that only one side has, not its key, which stands beside
 * it, nor the tenant, which is that of all of them. What was searched for comes first.
 */
export function findShownColumns(
  row: RowDifference,
  table: ComparedTable | undefined,
  { tenantId, search }: { tenantId: string; search: string },
): ColumnDifference[] {
  if (row.kind === 'changed') return row.columns
  const isFound = ({ before, after }: ColumnDifference) =>
    search !== '' && `${before ?? after}`.toLowerCase().includes(search.toLowerCase())
  return row.columns
    .filter(
      ({ name, before, after }) =>
        table?.keyColumns.includes(name) !== true && before !== tenantId && after !== tenantId,
    )
    .toSorted((one, other) => Number(isFound(other)) - Number(isFound(one)))
}

const INSTANT = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)([+-]\d\d(?::\d\d)?)$/

/** The instant that a value is, as Postgres writes it; null where it is something else. */
export function readInstant(text: string): Date | null {
  const [, day, time, zone] = INSTANT.exec(text) ?? []
  if (day === undefined || zone === undefined) return null
  const instant = new Date(`${day}T${time}${zone.length === 3 ? `${zone}:00` : zone}`)
  return Number.isNaN(instant.getTime()) ? null : instant
}

/** After which number the rows of a page of a table begin: all rows are numbered through, table by table. */
export function cursorOf(
  tables: readonly ComparedTable[],
  name: string,
  page: number,
  pageSize: number,
): number {
  let before = 0
  for (const table of tables) {
    if (table.name === name) break
    before += table.keptRows
  }
  return before + (page - 1) * pageSize
}

const STEPS: Record<string, string> = {
  locking: 'Getting ready',
  comparing: 'Looking which tables differ',
  staging: 'Comparing row by row',
}

/** `Comparing row by row: Invoices, 500 of 1,200 rows`. */
export function describeStep(step: CompareStep | null): string {
  const words = STEPS[step?.phase ?? 'locking'] ?? 'Comparing'
  if (step === null || step.table === null) return words
  const rows =
    step.rowsTotal > 0
      ? `, ${formatCount(Math.min(step.rowsDone, step.rowsTotal))} of ${formatPlural(step.rowsTotal, 'row')}`
      : ''
  return `${words}: ${nameTable(step.table)}${rows}`
}

/** `3 rows ticked in 1 table`. */
export function describeTicked(rows: number, tables: number): string {
  return `${formatPlural(rows, 'row')} ticked in ${formatPlural(tables, 'table')}`
}

/** That ticked rows which the backup does not have would go; null where there are none. */
export function describeRemoved(rows: TickedRows): string | null {
  const newer = Object.values(rows)
    .flat()
    .filter(({ kind }) => kind === 'only_in_other').length
  if (newer === 0) return null
  return newer === 1
    ? '1 of them is not in this backup: restoring removes it.'
    : `${formatCount(newer)} of them are not in this backup: restoring removes them.`
}

/** Pieces of a text, those that match the search marked; upper and lower case are alike. */
export function findMatches(text: string, search: string): { text: string; isMatch: boolean }[] {
  const sought = search.toLowerCase()
  const lower = text.toLowerCase()
  // Letters whose lower case is longer would shift every place behind them.
  if (sought === '' || lower.length !== text.length) return [{ text, isMatch: false }]
  const pieces: { text: string; isMatch: boolean }[] = []
  let from = 0
  for (let at = lower.indexOf(sought); at >= 0; at = lower.indexOf(sought, from)) {
    if (at > from) pieces.push({ text: text.slice(from, at), isMatch: false })
    pieces.push({ text: text.slice(at, at + sought.length), isMatch: true })
    from = at + sought.length
  }
  if (from < text.length || pieces.length === 0)
    pieces.push({ text: text.slice(from), isMatch: false })
  return pieces
}
