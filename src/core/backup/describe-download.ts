import { BackupError } from '../errors.ts'
import { requireNotForgotten } from '../retention/erasure-marks.ts'
import type { Services } from '../services.ts'
import { placesOf } from '../store/read-with-copy.ts'
import { canSignUrls } from '../store/store.ts'
import {
  describeArchive,
  listEntries,
  nameArchive,
  README_ENTRY,
  requireArchiveSize,
  SUMMARY_ENTRY,
} from './archive.ts'
import type { Backup } from './backup-record.ts'
import { loadSummary } from './load-summary.ts'

/** Uncompressed: a browser holds all of it in memory, and the zip beside it. */
const MAX_BROWSER_BYTES = 400_000_000
/** Long enough for all of that over a slow line, and short enough for a URL that got out. */
const URL_SECONDS = 900

/** What makes an archive: the fields of the answer of `export-backup`. */
interface Download {
  backup_id: string
  file_name: string
  /** Until when the URLs are good, UTC. */
  expires_at: string
  readme: { name: string; text: string }
  summary: { name: string; url: string }
  /** In the order of the summary; each is gzip, and must unpack to exactly these bytes. */
  parts: { name: string; url: string; raw_bytes: number; raw_sha256: string }[]
}

/**
 * Proves the summary of a complete backup and signs a URL for each of its objects, so that a browser can
 * make the same archive as `exportBackup` whatever the limits of a function. Throws `backup_incomplete`,
 * `backup_damaged`, `object_missing`, and `invalid_request` where the store gives out no URLs or the
 * backup is too large for a browser.
 */
export async function describeDownload(
  { store, signingKeys }: Pick<Services, 'store' | 'signingKeys'>,
  backup: Backup,
): Promise<Download> {
  const place = placesOf(store).find(canSignUrls)
  if (place === undefined) {
    throw new BackupError(
      'invalid_request',
      'Backups are kept in a directory or an S3 bucket here, which a browser can not reach. Use the command line: tenantkeep export.',
    )
  }
  await requireNotForgotten({ store, signingKeys }, backup)
  const summary = await loadSummary({ store, signingKeys }, backup)
  requireArchiveSize(
    summary.totals.raw_bytes,
    MAX_BROWSER_BYTES,
    'Use the command line: tenantkeep export.',
  )
  const entries = listEntries(summary)
  const expiresAt = new Date(Date.now() + URL_SECONDS * 1_000).toISOString()
  const [summaryUrl = '', ...urls] = await place.signUrls(
    [backup.summaryPath ?? '', ...entries.map(({ part }) => part.path)],
    URL_SECONDS,
  )
  return {
    backup_id: backup.id,
    file_name: nameArchive(summary),
    expires_at: expiresAt,
    readme: { name: README_ENTRY, text: describeArchive(summary) },
    summary: { name: SUMMARY_ENTRY, url: summaryUrl },
    parts: entries.map(({ name, part }, at) => ({
      name,
      url: urls[at] ?? '',
      raw_bytes: part.raw_bytes,
      raw_sha256: part.raw_sha256,
    })),
  }
}
