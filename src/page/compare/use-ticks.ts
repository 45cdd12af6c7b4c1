import { useCallback, useState } from 'react'
import {
  keepTickedRows,
  MOST_TICKED,
  readTicks,
  type TickedRow,
  type TickedRows,
} from './ticked-rows.ts'

/** A row by what a restore knows it by, and the table it is in. */
export interface Tickable extends TickedRow {
  table: string
}

export interface Ticks {
  has: (table: string, key: Record<string, string>) => boolean
  /** Ticks or clears them; false where that would be more than one restore takes. */
  set: (rows: readonly Tickable[], isTicked: boolean) => boolean
  clear: () => void
  rows: TickedRows
  count: number
  tables: number
  /** Whether the browser kept them, so that a reload finds them. */
  isKept: boolean
}

/** The rows of this backup that are ticked, kept for the restore as they are ticked. */
export function useTicks(backupId: string): Ticks {
  const [held, setHeld] = useState(() => ({ backupId, rows: toMaps(readTicks(backupId)) }))
  const [isKept, setKept] = useState(true)
  const rows = held.backupId === backupId ? held.rows : toMaps(readTicks(backupId))
  const count = countTicks(rows)

  const replace = useCallback(
    (next: Held) => {
      setHeld({ backupId, rows: next })
      setKept(keepTickedRows(backupId, toRecord(next)))
    },
    [backupId],
  )
  const set = (changed: readonly Tickable[], isTicked: boolean): boolean => {
    const next = new Map(rows)
    for (const { table, ...row } of changed) {
      const ofTable = new Map(next.get(table))
      if (isTicked) ofTable.set(identify(row.key), row)
      else ofTable.delete(identify(row.key))
      next.set(table, ofTable)
    }
    if (countTicks(next) > MOST_TICKED) return false
    replace(next)
    return true
  }
  return {
    has: (table, key) => rows.get(table)?.has(identify(key)) === true,
    set,
    clear: () => replace(new Map()),
    rows: toRecord(rows),
    count,
    tables: [...rows.values()].filter((ofTable) => ofTable.size > 0).length,
    isKept,
  }
}

type Held = ReadonlyMap<string, ReadonlyMap<string, TickedRow>>

function identify(key: Record<string, string>): string {
  return JSON.stringify(Object.entries(key))
}

function countTicks(rows: Held): number {
  return [...rows.values()].reduce((total, ofTable) => total + ofTable.size, 0)
}

function toMaps(rows: TickedRows): Held {
  return new Map(
    Object.entries(rows).map(([table, list]) => [
      table,
      new Map(list.map((row) => [identify(row.key), row])),
    ]),
  )
}

function toRecord(rows: Held): TickedRows {
  return Object.fromEntries([...rows].map(([table, ofTable]) => [table, [...ofTable.values()]]))
}
