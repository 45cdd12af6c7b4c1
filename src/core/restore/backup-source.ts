import type { SummaryContent, SummaryPart } from '../backup/summary.ts'

/**
 * Where a restore reads from: a backup of the catalog, an exported archive, or plain files of an earlier
 * tool; or nothing at all, when a tenant leaves. Whatever it is, `summary` was proven as far as it can be before anybody gets this.
 */
export interface BackupSource {
  kind: 'catalog' | 'archive' | 'unsigned' | 'nothing'
  /** The catalog's id, where there is one. */
  backupId: string | null
  /** UTC; as the summary says, or the date of plain files. */
  takenAt: string
  summary: SummaryContent
  /** Values are ordinary JSON (arrays as arrays, json nested) instead of our encodings, and nothing says their types. */
  isPlainJson: boolean
  /** What could not be checked, for the answer. */
  warnings: { code: string; message: string }[]
  /**
   * The raw bytes of a part: framed lines as cut-parts.ts writes them, proven against the summary. Throws
   * `object_missing`, `backup_damaged`, `store_unavailable`.
   */
  readPart(part: SummaryPart, signal?: AbortSignal): Promise<Buffer>
}
