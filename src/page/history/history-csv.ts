import { nameOperation, nameResult } from '../backups/backup-words.ts'
import type { JournalEntry } from './read-journal.ts'

const COLUMNS: Record<string, (entry: JournalEntry) => string | number | null> = {
  'Time (UTC)': ({ createdAt }) => createdAt.toISOString(),
  'Time (local)': ({ createdAt }) => toLocalIso(createdAt),
  What: ({ type }) => nameOperation(type),
  Who: ({ actorLabel }) => actorLabel,
  Result: (entry) => nameResult(entry).word,
  Rows: ({ totalRecords }) => totalRecords,
  Tables: ({ totalTables }) => totalTables,
  'Size in bytes': ({ totalSize }) => totalSize,
  'Duration in seconds': ({ durationMs }) => (durationMs === null ? null : durationMs / 1_000),
  Note: ({ note }) => note,
  Reason: ({ errorMessage }) => errorMessage,
  'Reason code': ({ errorCode }) => errorCode,
  'Backup id': ({ backupId }) => backupId,
  'Run id': ({ runId }) => runId,
  'Entry id': ({ id }) => id,
}

/**
 * The history as a file for spreadsheets: RFC 4180 with a byte order mark, by which Excel knows that it is
 * UTF-8. Notes are typed by people: what a spreadsheet would take for a formula gets an apostrophe before it.
 */
export function toCsv(entries: readonly JournalEntry[]): string {
  const rows = entries.map((entry) => Object.values(COLUMNS).map((read) => writeCell(read(entry))))
  const lines = [Object.keys(COLUMNS).map(writeCell), ...rows].map((cells) => cells.join(','))
  return `\u{FEFF}${lines.join('\r\n')}\r\n`
}

function writeCell(value: string | number | null): string {
  if (value === null) return ''
  if (typeof value === 'number') return String(value)
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** `2026-11-20T03:00:04+01:00`, in the reader's zone. */
function toLocalIso(time: Date): string {
  const offset = -time.getTimezoneOffset()
  const shifted = new Date(time.getTime() + offset * 60_000).toISOString().slice(0, 19)
  const pad = (part: number) => String(part).padStart(2, '0')
  const minutes = Math.abs(offset)
  return `${shifted}${offset < 0 ? '-' : '+'}${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`
}

/** Hands the history to the browser, as a download. */
export function saveCsv(name: string, content: string): void {
  const url = URL.createObjectURL(new Blob([content], { type: 'text/csv;charset=utf-8' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  // Not before the browser has begun to read it.
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
