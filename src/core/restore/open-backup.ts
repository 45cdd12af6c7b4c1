import type { Backup } from '../backup/backup-record.ts'
import { readObject } from '../backup/check-object.ts'
import { loadSummary } from '../backup/load-summary.ts'
import type { SummaryPart } from '../backup/summary.ts'
import { unpackPart } from '../backup/unpack-part.ts'
import { BackupError } from '../errors.ts'
import type { Services } from '../services.ts'
import { tenantPrefix } from '../store/object-path.ts'
import type { BackupSource } from './backup-source.ts'

/**
 * Opens a complete backup of the catalog for reading: the summary is proven here, each part when it is
 * read. Throws `backup_incomplete`, `object_missing`, `store_unavailable`, and `backup_damaged` also where
 * a part lies outside of the tenant's own folder.
 */
export async function openBackup(
  { store, signingKeys }: Pick<Services, 'store' | 'signingKeys'>,
  backup: Pick<Backup, 'id' | 'organizationId' | 'status' | 'summaryPath' | 'summarySha256'>,
  signal?: AbortSignal,
): Promise<BackupSource> {
  const { signature: _, ...summary } = await loadSummary({ store, signingKeys }, backup, signal)
  const prefix = tenantPrefix(backup.organizationId)
  for (const part of summary.tables.flatMap((table) => table.parts)) {
    if (!part.path.startsWith(prefix)) {
      throw new BackupError('backup_damaged', `The object ${part.path} is of another tenant.`, {
        details: { path: part.path },
      })
    }
  }
  return {
    kind: 'catalog',
    backupId: backup.id,
    takenAt: summary.taken_at,
    summary,
    isPlainJson: false,
    warnings: [],
    readPart: async (part: SummaryPart, partSignal) => {
      const stored = await readObject(
        store,
        { path: part.path, storedBytes: part.stored_bytes, storedSha256: part.stored_sha256 },
        partSignal ?? signal,
      )
      return unpackPart(stored, part)
    },
  }
}
