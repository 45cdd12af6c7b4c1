import { BackupError } from '../errors.ts'
import { throwIfInterrupted } from '../interruptible.ts'
import type { Services } from '../services.ts'
import { tenantPrefix } from '../store/object-path.ts'
import { type Backup, findBackup } from './backup-record.ts'
import { readObject } from './check-object.ts'
import { loadSummary } from './load-summary.ts'
import type { Summary, SummaryPart } from './summary.ts'
import { unpackPart } from './unpack-part.ts'

interface Finding {
  /** `object_missing`, `backup_damaged`. */
  code: string
  message: string
  /** The table whose rows are concerned; null for the summary. */
  table: string | null
  path: string | null
}

export interface Verification {
  backup: Backup
  /** Nothing found: every object is there, whole, and what was signed. */
  isIntact: boolean
  findings: Finding[]
  objects: number
  rows: number
  /** Stored bytes read. */
  bytes: number
}

export interface VerifyOptions {
  onProgress?: (progress: { table: string; rowsDone: number; rowsTotal: number }) => void
  signal?: AbortSignal | undefined
}

/**
 * Reads a complete backup again, object by object: the summary's digest against the catalog, its
 * signature, its numbers against the catalog; then of every part size and digest as stored, that it is
 * one gzip member, size and digest unpacked, framing and rows. Collects everything that is wrong, and
 * notes the time in the catalog when nothing is. Throws `backup_not_found`, `backup_incomplete`, and
 * `store_unavailable`, which says nothing about the backup.
 */
export async function verifyBackup(
  services: Services,
  backupId: string,
  { onProgress, signal }: VerifyOptions = {},
): Promise<Verification> {
  const { catalog } = services.tenants
  const backup = await findBackup(catalog, backupId)
  if (backup === undefined) {
    throw new BackupError('backup_not_found', `There is no backup ${backupId}.`)
  }
  const result: Verification = {
    backup,
    isIntact: false,
    findings: [],
    objects: 0,
    rows: 0,
    bytes: 0,
  }
  const find = (error: unknown, table: string | null, path: string | null) =>
    result.findings.push(describeFinding(error, table, path))

  let summary: Summary
  try {
    summary = await loadSummary(services, backup, signal)
    result.objects += 1
  } catch (error) {
    find(error, null, backup.summaryPath)
    return result
  }
  for (const difference of compareWithCatalog(summary, backup)) {
    find(new BackupError('backup_damaged', difference), null, backup.summaryPath)
  }

  const prefix = tenantPrefix(backup.organizationId)
  for (const table of summary.tables) {
    let rowsDone = 0
    onProgress?.({ table: table.name, rowsDone, rowsTotal: table.rows })
    for (const part of table.parts) {
      throwIfInterrupted(signal)
      try {
        if (!part.path.startsWith(prefix)) throw foreignPath(part)
        await verifyPart(services, part, signal)
        result.objects += 1
        result.rows += part.rows
        result.bytes += part.stored_bytes
      } catch (error) {
        find(error, table.name, part.path)
      }
      rowsDone += part.rows
      onProgress?.({ table: table.name, rowsDone, rowsTotal: table.rows })
    }
  }
  result.isIntact = result.findings.length === 0
  if (result.isIntact) {
    await catalog.query(
      `update public.tenant_backups set verified_at = clock_timestamp()
       where id = $1 and status = 'complete'`,
      [backup.id],
    )
  }
  return result
}

/** One part after the other: an unpacked part is the most that is in memory at once. */
async function verifyPart(
  { store }: Services,
  part: SummaryPart,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stored = await readObject(
    store,
    { path: part.path, storedBytes: part.stored_bytes, storedSha256: part.stored_sha256 },
    signal,
  )
  await unpackPart(stored, part)
}

function compareWithCatalog(summary: Summary, backup: Backup): string[] {
  const { totals } = summary
  const pairs = [
    ['tables', totals.tables, backup.totalTables],
    ['rows', totals.rows, backup.totalRecords],
    ['raw bytes', totals.raw_bytes, backup.rawSize],
    ['format version', summary.format_version, backup.formatVersion],
    ['fingerprint of the schema', summary.schema_fingerprint, backup.schemaFingerprint],
    ['kind', summary.backup_type, backup.backupType],
  ] as const
  return pairs
    .filter(([, signed, recorded]) => signed !== recorded)
    .map(
      ([what, signed, recorded]) =>
        `The catalog says ${recorded} where the signed summary says ${signed} (${what}).`,
    )
}

function foreignPath(part: SummaryPart): BackupError {
  return new BackupError('backup_damaged', `The object ${part.path} is of another tenant.`)
}

/** What is wrong with an object is a finding; that it can't be looked at is not. */
function describeFinding(error: unknown, table: string | null, path: string | null): Finding {
  if (
    error instanceof BackupError &&
    (error.code === 'object_missing' || error.code === 'backup_damaged')
  ) {
    return { code: error.code, message: error.message, table, path }
  }
  throw error
}
