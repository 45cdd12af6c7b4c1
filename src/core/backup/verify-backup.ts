import { Readable } from 'node:stream'
import { BackupError } from '../errors.ts'
import { throwIfInterrupted } from '../interruptible.ts'
import { logPhase } from '../log.ts'
import type { Actor, Services } from '../services.ts'
import { tenantPrefix } from '../store/object-path.ts'
import { type ObjectReader, placesOf } from '../store/read-with-copy.ts'
import { type Backup, type BackupDamage, findBackup } from './backup-record.ts'
import { readObject } from './check-object.ts'
import { loadSummary } from './load-summary.ts'
import { damageOf, recordDamage, recordPlace, recordWhole } from './record-damage.ts'
import type { Summary, SummaryPart } from './summary.ts'
import { unpackPart } from './unpack-part.ts'

export interface Verification {
  backup: Backup
  /** Nothing found: in every place that has it, every object is there, whole, and what was signed. */
  isIntact: boolean
  /** It can be restored: whole in one of its places, or in all of them together. */
  isUsable: boolean
  /** The places that it is whole in, by their URLs. */
  wholeIn: string[]
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
  /** What was found whole a moment ago, and need not be read again: backups share parts. Added to. */
  whole?: Set<string>
  /** For the journal, where something is found. */
  actor?: Actor
  runId?: string | null
  signal?: AbortSignal | undefined
}

/**
 * Reads a complete backup again, object by object: the summary's digest against the catalog, its
 * signature, its numbers against the catalog; then of every part size and digest as stored, that it is
 * one gzip member, size and digest unpacked, framing and rows. All that in each place that it is in. Collects
 * everything that is wrong, and notes in the catalog what came of it: whole and when, or damaged and how, or
 * damaged in which place, for the next round of copies to put right. Throws `backup_not_found`,
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
  const result = await logPhase(
    services.log,
    'verify',
    { backupId, tenantId: backup.organizationId, runId: options.runId },
    () => readPlaces(services, backup, options),
    ({ objects, rows, bytes, findings }) => ({
      ...{ objects, rows, bytes, findings: findings.length },
    }),
  )
  const { actor, runId = null } = options
  const finder = { ...(actor === undefined ? {} : { actor }), runId }
  if (result.isUsable) {
    await recordWhole(services, backup.id, finder)
    for (const { url, certain } of result.places) {
      await recordPlace(services, backup, { url, damage: certain, ...finder })
    }
  } else {
    const [first] = result.places
    await recordDamage(services, backup, {
      damage: first?.certain ?? [],
      isRead: true,
      ...finder,
    })
  }
  return result
}

interface PlaceReading extends Pick<Verification, 'findings' | 'objects' | 'rows' | 'bytes'> {
  url: string
  /** Of the findings, those that are the backup's and not the reader's. */
  certain: BackupDamage[]
}

/** Each place by itself, as what is damaged in one is hidden by the other; then together, where no one is whole. */
async function readPlaces(
  services: Services,
  backup: Backup,
  options: VerifyOptions,
): Promise<Verification & { places: PlaceReading[] }> {
  const inUse = placesOf(services.store).filter(
    ({ url }) => url === backup.storeUrl || backup.copiedTo.includes(url),
  )
  const places: PlaceReading[] = []
  const closed: BackupError[] = []
  for (const place of inUse.length === 0 ? [services.store] : inUse) {
    try {
      places.push(await readWhole({ ...services, store: place }, backup, options))
    } catch (error) {
      // Says nothing of the backup in this place, and may say nothing of the other.
      if (!(error instanceof BackupError) || inUse.length < 2) throw error
      throwIfInterrupted(options.signal)
      closed.push(error)
    }
  }
  const isKnown = places.some(({ findings }) => findings.length === 0)
  if (closed[0] !== undefined && !isKnown) throw closed[0]
  const wholeIn = places.filter(({ findings }) => findings.length === 0).map(({ url }) => url)
  let isUsable = wholeIn.length > 0
  if (!isUsable && places.length > 1) {
    const together = await readWhole(services, backup, options)
    isUsable = together.findings.length === 0
    places[0] = { ...(places[0] ?? together), bytes: (places[0]?.bytes ?? 0) + together.bytes }
  }
  const [first] = places
  return {
    backup,
    isIntact: wholeIn.length === Math.max(inUse.length, 1),
    isUsable,
    wholeIn,
    findings: [
      ...places.flatMap(({ url, findings }) =>
        inUse.length < 2
          ? findings
          : findings.map((found) => ({ ...found, message: `${found.message} (in ${url})` })),
      ),
      ...closed.map(({ code, message }) => ({ code, message, table: null, path: null })),
    ],
    objects: first?.objects ?? 0,
    rows: first?.rows ?? 0,
    bytes: places.reduce((sum, { bytes }) => sum + bytes, 0),
    places,
  }
}

async function readWhole(
  services: Services,
  backup: Backup,
  { onProgress, onRead, whole, signal }: VerifyOptions,
): Promise<PlaceReading> {
  const { url } = services.store
  const result: PlaceReading = {
    url,
    findings: [],
    certain: [],
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
        const name = JSON.stringify([url, part])
        if (whole?.has(name) !== true) await verifyPart(reader, part, signal)
        whole?.add(name)
        result.objects += 1
        result.rows += part.rows
      } catch (error) {
        find(error, table.name, part.path)
      }
      rowsDone += part.rows
      onProgress?.({ table: table.name, rowsDone, rowsTotal: table.rows })
    }
  }
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
