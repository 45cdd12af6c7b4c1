import { hash } from 'node:crypto'
import { BackupError } from '../errors.ts'
import type { ObjectReader } from '../store/read-with-copy.ts'
import type { Backup } from './backup-record.ts'
import { readBounded } from './check-object.ts'
import type { SigningKeys } from './signature.ts'
import { parseSummary, type Summary } from './summary.ts'

/** A summary is a few hundred bytes per part; what is larger than this is none. */
export const MAX_SUMMARY_BYTES = 64 * 1024 * 1024

/**
 * Reads the summary of a complete backup and proves it: digest against the catalog, signature, and that
 * it is of this very backup and tenant. Throws `backup_incomplete`, `object_missing`, `backup_damaged`.
 */
export async function loadSummary(
  { store, signingKeys }: { store: ObjectReader; signingKeys: SigningKeys },
  backup: Pick<Backup, 'id' | 'organizationId' | 'status' | 'summaryPath' | 'summarySha256'>,
  signal?: AbortSignal,
): Promise<Summary> {
  const body = await readSummaryBytes(store, backup, signal)
  const summary = parseSummary(body, signingKeys)
  if (summary.backup_id !== backup.id || summary.organization_id !== backup.organizationId) {
    throw new BackupError(
      'backup_damaged',
      `The summary ${backup.summaryPath} is of another backup or tenant.`,
      { details: { path: backup.summaryPath } },
    )
  }
  return summary
}

/** The bytes of a summary, proven to be those that the catalog names. */
export async function readSummaryBytes(
  store: ObjectReader,
  backup: Pick<Backup, 'id' | 'status' | 'summaryPath' | 'summarySha256'>,
  signal?: AbortSignal,
): Promise<Buffer> {
  if (backup.status !== 'complete' || backup.summaryPath === null) {
    throw new BackupError(
      'backup_incomplete',
      `Backup ${backup.id} is ${backup.status}: only complete backups can be read.`,
    )
  }
  const prove = (body: Buffer) => {
    if (hash('sha256', body, 'hex') === backup.summarySha256) return
    throw new BackupError(
      'backup_damaged',
      `The summary ${backup.summaryPath} is not the one that the catalog names: it was changed or replaced.`,
      { details: { path: backup.summaryPath } },
    )
  }
  return readBounded(
    store,
    { path: backup.summaryPath, maxBytes: MAX_SUMMARY_BYTES, prove },
    signal,
  )
}
