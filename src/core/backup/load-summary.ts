import { hash } from 'node:crypto'
import { BackupError } from '../errors.ts'
import { interruptible, interruptibleBytes } from '../interruptible.ts'
import type { Store } from '../store/store.ts'
import type { Backup } from './backup-record.ts'
import type { SigningKeys } from './signature.ts'
import { parseSummary, type Summary } from './summary.ts'

/** A summary is a few hundred bytes per part; what is larger than this is none. */
const MAX_SUMMARY_BYTES = 64 * 1024 * 1024

/**
 * Reads the summary of a complete backup and proves it: digest against the catalog, signature, and that
 * it is of this very backup and tenant. Throws `backup_incomplete`, `object_missing`, `backup_damaged`.
 */
export async function loadSummary(
  { store, signingKeys }: { store: Store; signingKeys: SigningKeys },
  backup: Pick<Backup, 'id' | 'organizationId' | 'status' | 'summaryPath' | 'summarySha256'>,
  signal?: AbortSignal,
): Promise<Summary> {
  if (backup.status !== 'complete' || backup.summaryPath === null) {
    throw new BackupError(
      'backup_incomplete',
      `Backup ${backup.id} is ${backup.status}: only complete backups can be read.`,
    )
  }
  const body = await readBounded(store, backup.summaryPath, signal)
  if (hash('sha256', body, 'hex') !== backup.summarySha256) {
    throw new BackupError(
      'backup_damaged',
      `The summary ${backup.summaryPath} is not the one that the catalog names: it was changed or replaced.`,
      { details: { path: backup.summaryPath } },
    )
  }
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

async function readBounded(store: Store, path: string, signal?: AbortSignal): Promise<Buffer> {
  const stream = await interruptible(store.get(path, signal), signal)
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of interruptibleBytes(stream, signal)) {
    size += chunk.length
    if (size > MAX_SUMMARY_BYTES) {
      throw new BackupError('backup_damaged', `The summary ${path} is too large to be one.`, {
        details: { path },
      })
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
