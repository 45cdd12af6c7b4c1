import { Readable } from 'node:stream'
import { BackupError } from '../errors.ts'
import { throwIfInterrupted } from '../interruptible.ts'
import type { Actor, Services } from '../services.ts'
import { tenantPrefix } from '../store/object-path.ts'
import { type Backup, type BackupDamage, findBackup } from './backup-record.ts'
import { type ObjectReader, readObject } from './check-object.ts'
import { loadSummary } from './load-summary.ts'
import { damageOf, recordDamage, recordWhole } from './record-damage.ts'
import type { Summary, SummaryPart } from './summary.ts'
import { unpackPart } from './unpack-part.ts'

export interface Verification {
  backup: Backup
  /** Nothing found: every object is there, whole, and what was signed. */
  isIntact: boolean
  /** `object_missing`, `backup_damaged`; with the table whose rows are concerned, null for the summary. */
  findings: BackupDamage[]
  objects: number
  rows: number
  /** Stored bytes read. */
  bytes: number
}

export interface VerifyOptions {
  onProgress?: (progress: { table: string; rowsDone: number; rowsTotal: number }) => void
  /** Called for every piece that the store gave, with its bytes; also of what is damaged or cut off. */
  onRead?: (bytes: number) => void
  /** Parts that were found whole a moment ago, and need not be read again: backups share them. Added to. */
  whole?: Set<string>
  /** For the journal, where something is found. */
  actor?: Actor
  runId?: string | null
  signal?: AbortSignal | undefined
}

/**
 * Reads a complete backup again, object by object: the summary's digest against the catalog, its
 * signature, its numbers against the catalog; then of every part size and digest as stored, that it is
 * one gzip member, size and digest unpacked, framing and rows. Collects everything that is wrong, and
 * notes in the catalog what came of it: whole and when, or damaged and how. Throws `backup_not_found`,
 * `backup_incomplete`, and `store_unavailable` or `bucket_missing`, which say nothing about the backup.
 */
export async function verifyBackup(
  services: Services,
  backupId: string,
  options: VerifyOptions = {},
): Promise<Verification> {
  const { catalog } = services.tenants
  const backup = await findBackup(catalog, backupId)
  if (backup === undefined) {
    throw new BackupError('backup_not_found', `There is no backup ${backupId}.`)
  }
  const result = await readWhole(services, backup, options)
  const { actor, runId = null } = options
  if (result.isIntact) await recordWhole(services, backup.id, { actor, runId })
  else {
    await recordDamage(services, backup, {
      damage: result.certain,
      isRead: true,
      ...(actor === undefined ? {} : { actor }),
      runId,
    })
  }
  return result
}

async function readWhole(
  services: Services,
  backup: Backup,
  { onProgress, onRead, whole, signal }: VerifyOptions,
): Promise<Verification & { certain: BackupDamage[] }> {
  const result = {
    backup,
    isIntact: false,
    findings: [] as BackupDamage[],
    certain: [] as BackupDamage[],
    objects: 0,
    rows: 0,
    bytes: 0,
  }
  const find = (error: unknown, table: string | null, path: string | null) => {
    const finding = describeFinding(error, table, path)
    result.findings.push(finding)
    if (damageOf(error, table) !== null) result.certain.push(finding)
  }
  const reader = countReads(services.store, (bytes) => {
    result.bytes += bytes
    onRead?.(bytes)
  })

  let summary: Summary
  try {
    summary = await loadSummary(
      { store: reader, signingKeys: services.signingKeys },
      backup,
      signal,
    )
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
        if (whole?.has(nameOf(part)) !== true) await verifyPart(reader, part, signal)
        whole?.add(nameOf(part))
        result.objects += 1
        result.rows += part.rows
      } catch (error) {
        find(error, table.name, part.path)
      }
      rowsDone += part.rows
      onProgress?.({ table: table.name, rowsDone, rowsTotal: table.rows })
    }
  }
  result.isIntact = result.findings.length === 0
  return result
}

/** One part after the other: an unpacked part is the most that is in memory at once. */
async function verifyPart(
  reader: ObjectReader,
  part: SummaryPart,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stored = await readObject(
    reader,
    { path: part.path, storedBytes: part.stored_bytes, storedSha256: part.stored_sha256 },
    signal,
  )
  await unpackPart(stored, part)
}

/** Everything that two summaries may say differently of one object. */
function nameOf(part: SummaryPart): string {
  return JSON.stringify(part)
}

function countReads(store: ObjectReader, onBytes: (bytes: number) => void): ObjectReader {
  async function* count(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of stream) {
      onBytes(chunk.length)
      yield chunk
    }
  }
  return {
    get: async (path, signal) =>
      Readable.from(count(await store.get(path, signal)), { objectMode: false }),
  }
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
function describeFinding(error: unknown, table: string | null, path: string | null): BackupDamage {
  if (
    error instanceof BackupError &&
    (error.code === 'object_missing' || error.code === 'backup_damaged')
  ) {
    return { code: error.code, message: error.message, table, path }
  }
  throw error
}
