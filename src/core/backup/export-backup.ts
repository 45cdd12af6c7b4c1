import { PassThrough, Readable } from 'node:stream'
import JSZip from 'jszip'
import { throwIfInterrupted } from '../interruptible.ts'
import { openBackup } from '../restore/open-backup.ts'
import type { Services } from '../services.ts'
import {
  describeArchive,
  listEntries,
  MAX_ARCHIVE_BYTES,
  nameArchive,
  README_ENTRY,
  requireArchiveSize,
  SUMMARY_ENTRY,
} from './archive.ts'
import type { Backup } from './backup-record.ts'
import { readSummaryBytes } from './load-summary.ts'
import type { SummaryContent } from './summary.ts'

export interface ExportInput {
  backup: Backup
  /** Rows of the whole backup that were written so far. */
  onProgress?: (progress: { table: string; rowsDone: number; rowsTotal: number }) => void
  signal?: AbortSignal | undefined
}

export interface Archive {
  /** A name for the file. */
  fileName: string
  summary: SummaryContent
  /** The zip. Errors where a part turns out to be missing or damaged, so that no archive is half of one. */
  stream: Readable
}

const SLICE_BYTES = 64 * 1024

/**
 * Makes one zip of a complete backup: every part proven against the signed summary and uncompressed, the
 * summary as it is, and a page that says what it is. One part is in memory at a time. Throws
 * `backup_incomplete`, `backup_damaged`, `object_missing`, and `invalid_request` where it would become
 * too large.
 */
export async function exportBackup(
  services: Services,
  { backup, onProgress, signal }: ExportInput,
): Promise<Archive> {
  const source = await openBackup(services, backup, signal)
  const { summary } = source
  // What gzip made of it is about what a zip will make of it.
  requireArchiveSize(
    summary.totals.stored_bytes,
    MAX_ARCHIVE_BYTES,
    'Copy the objects that its summary names instead; docs/format.md has their paths.',
  )
  const zip = new JSZip()
  const options = { date: new Date(summary.taken_at), createFolders: false }
  zip.file(README_ENTRY, describeArchive(summary), options)
  zip.file(SUMMARY_ENTRY, await readSummaryBytes(services.store, backup, signal), options)

  const ids = { phase: 'export', backupId: backup.id, tenantId: summary.organization_id }
  const startedAt = Date.now()
  services.log.info(ids, 'export begins')
  const stream = new PassThrough()
  stream.once('close', () => {
    services.log.info(
      { ...ids, rows: rowsDone, duration_ms: Date.now() - startedAt },
      'export ends',
    )
  })
  const fail = (error: unknown) =>
    stream.destroy(error instanceof Error ? error : new Error('A part could not be read.'))
  const tableOf = new Map(
    summary.tables.flatMap((table) => table.parts.map((part) => [part, table.name] as const)),
  )
  let rowsDone = 0
  for (const { name, part } of listEntries(summary)) {
    // Begins when the zip comes to it: nothing is read ahead.
    async function* readSlices(): AsyncGenerator<Buffer> {
      try {
        throwIfInterrupted(signal)
        const raw = await source.readPart(part, signal)
        for (let at = 0; at < raw.length; at += SLICE_BYTES) {
          yield raw.subarray(at, at + SLICE_BYTES)
        }
        rowsDone += part.rows
        onProgress?.({
          table: tableOf.get(part) ?? '',
          rowsDone,
          rowsTotal: summary.totals.rows,
        })
      } catch (error) {
        // Said here, because jszip forgets the error of a stream that it holds back at that moment.
        fail(error)
      }
    }
    zip.file(name, Readable.from(readSlices(), { objectMode: false }), { ...options, binary: true })
  }
  zip
    .generateNodeStream({
      streamFiles: true,
      compression: 'DEFLATE',
      compressionOptions: { level: 6 },
    })
    .on('error', fail)
    .pipe(stream)
  return { fileName: nameArchive(summary), summary, stream }
}
