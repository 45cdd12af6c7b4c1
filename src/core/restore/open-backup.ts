import type { Backup } from '../backup/backup-record.ts'
import { readObject } from '../backup/check-object.ts'
import { loadSummary } from '../backup/load-summary.ts'
import { noteDamage } from '../backup/record-damage.ts'
import type { Summary, SummaryPart } from '../backup/summary.ts'
import { unpackPart } from '../backup/unpack-part.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import { requireNotForgotten } from '../retention/erasure-marks.ts'
import type { Services } from '../services.ts'
import { tenantPrefix } from '../store/object-path.ts'
import type { BackupSource } from './backup-source.ts'

type OpenedBackup = Pick<
  Backup,
  | 'id'
  | 'organizationId'
  | 'status'
  | 'backupType'
  | 'backupDate'
  | 'takenAt'
  | 'storeUrl'
  | 'copiedTo'
  | 'summaryPath'
  | 'summarySha256'
>

/**
 * Opens a complete backup of the catalog for reading: the summary is proven here, each part when it is
 * read. What turns out to be missing or damaged is noted in the catalog, so that nobody else begins with it.
 * Throws `backup_incomplete`, `tenant_forgotten`, `object_missing`, `store_unavailable`, and `backup_damaged` also where a part
 * lies outside of the tenant's own folder.
 */
export async function openBackup(
  services: Services,
  backup: OpenedBackup,
  signal?: AbortSignal,
): Promise<BackupSource> {
  const { store } = services
  await interruptible(requireNotForgotten(services, backup), signal)
  const summary = await openSummary(services, backup, signal)
  const tables = new Map(
    summary.tables.flatMap(({ name, parts }) => parts.map(({ path }) => [path, name] as const)),
  )
  return {
    kind: 'catalog',
    backupId: backup.id,
    takenAt: summary.taken_at,
    summary,
    isPlainJson: false,
    warnings: await interruptible(warnOfDamagedOnes(services.tenants.catalog, backup), signal),
    readPart: async (part: SummaryPart, partSignal) => {
      try {
        const stored = await readObject(
          store,
          { path: part.path, storedBytes: part.stored_bytes, storedSha256: part.stored_sha256 },
          partSignal ?? signal,
        )
        return await unpackPart(stored, part)
      } catch (error) {
        await noteDamage(services, backup, error, tables.get(part.path) ?? null)
        throw error
      }
    },
  }
}

async function openSummary(
  services: Services,
  backup: OpenedBackup,
  signal: AbortSignal | undefined,
): Promise<Omit<Summary, 'signature'>> {
  try {
    const { signature: _, ...summary } = await loadSummary(services, backup, signal)
    const prefix = tenantPrefix(backup.organizationId)
    for (const part of summary.tables.flatMap((table) => table.parts)) {
      if (!part.path.startsWith(prefix)) {
        throw new BackupError('backup_damaged', `The object ${part.path} is of another tenant.`, {
          details: { path: part.path },
        })
      }
    }
    return summary
  } catch (error) {
    await noteDamage(services, backup, error, null)
    throw error
  }
}

/** Whoever asked for a day gets its newest backup that is whole, and hears of those that are not. */
async function warnOfDamagedOnes(
  catalog: Queryable,
  { id, organizationId, backupType, backupDate, takenAt }: OpenedBackup,
): Promise<BackupSource['warnings']> {
  if (backupType === 'pre_restore') return []
  const { rows } = await catalog.query<{ id: string }>(
    `select b.id from public.tenant_backups b
     where b.organization_id = $1 and b.id <> $2 and b.backup_date = $3 and b.taken_at > $4
       and b.status = 'complete' and b.backup_type <> 'pre_restore' and b.damaged_at is not null
     order by b.taken_at desc`,
    [organizationId, id, backupDate, takenAt],
  )
  return rows.map((newer) => ({
    code: 'newer_backup_damaged',
    message: `There is a newer backup of ${backupDate} (${newer.id}), but it is damaged. This is the newest of that day that is whole.`,
  }))
}
