import type { Summary, SummaryContent, SummaryTable } from './summary.ts'

/** What differs between two backups of a tenant, as far as their summaries tell. */
export interface BackupChanges {
  previousBackupId: string
  isSchemaChanged: boolean
  /** Tables whose bytes differ, and those that only one of the two has. */
  tables: ChangedTable[]
}

interface ChangedTable {
  name: string
  /** Null where the table was not in the previous backup. */
  rowsBefore: number | null
  /** Null where the table is not in this one. */
  rowsAfter: number | null
}

/** Compares raw digests and row counts, which needs no row of either. */
export function describeChanges(
  previous: Summary | undefined,
  current: SummaryContent,
): BackupChanges | null {
  if (previous === undefined) return null
  const before = new Map(previous.tables.map((table) => [table.name, table]))
  const after = new Map(current.tables.map((table) => [table.name, table]))
  const names = new Set([...after.keys(), ...before.keys()])
  return {
    previousBackupId: previous.backup_id,
    isSchemaChanged: previous.schema_fingerprint !== current.schema_fingerprint,
    tables: [...names]
      .filter((name) => !isSame(before.get(name), after.get(name)))
      .map((name) => ({
        name,
        rowsBefore: before.get(name)?.rows ?? null,
        rowsAfter: after.get(name)?.rows ?? null,
      })),
  }
}

function isSame(before: SummaryTable | undefined, after: SummaryTable | undefined): boolean {
  if (before === undefined || after === undefined) return false
  return digests(before) === digests(after)
}

function digests(table: SummaryTable): string {
  return table.parts.map((part) => part.raw_sha256).join()
}
