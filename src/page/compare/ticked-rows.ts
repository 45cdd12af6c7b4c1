import * as z from 'zod/mini'

/**
 * Rows that a person ticked in a comparison, for a restore of just these. They lie in the tab's session
 * storage: a reload keeps them, a closed tab forgets them, and no address or server ever has them.
 */

const TickedRow = z.object({
  /** The primary key's columns with their values as texts. */
  key: z.record(z.string(), z.string()),
  kind: z.enum(['only_in_backup', 'only_in_other', 'changed']),
})
export type TickedRow = z.infer<typeof TickedRow>

/** By the table's name; no table without a row. */
export type TickedRows = Record<string, TickedRow[]>

const Kept = z.record(z.string(), z.array(TickedRow))

/** So many rows fit one restore; for more there is the whole table. */
export const MOST_TICKED = 5_000

const placeOf = (backupId: string) => `tenantkeep:ticked:${backupId}`

/** Keys of the rows ticked in a comparison of this backup, by table; null where there are none. */
export function readTickedRows(backupId: string): Record<string, Record<string, string>[]> | null {
  const ticked = readTicks(backupId)
  const entries = Object.entries(ticked).map(([table, rows]) => [table, rows.map(({ key }) => key)])
  return entries.length === 0 ? null : Object.fromEntries(entries)
}

/** The same with what each row's difference was. */
export function readTicks(backupId: string): TickedRows {
  try {
    const kept = Kept.safeParse(JSON.parse(sessionStorage.getItem(placeOf(backupId)) ?? '{}'))
    return kept.success ? dropEmpty(kept.data) : {}
  } catch {
    // A browser that keeps nothing, or something that is not ours.
    return {}
  }
}

/** Keeps them for the restore of this backup; null forgets them. False where the browser refuses. */
export function keepTickedRows(backupId: string, rows: TickedRows | null): boolean {
  try {
    const kept = dropEmpty(rows ?? {})
    if (Object.keys(kept).length === 0) sessionStorage.removeItem(placeOf(backupId))
    else sessionStorage.setItem(placeOf(backupId), JSON.stringify(kept))
    return true
  } catch {
    return false
  }
}

function dropEmpty(rows: TickedRows): TickedRows {
  return Object.fromEntries(Object.entries(rows).filter(([, list]) => list.length > 0))
}
