import { hash } from 'node:crypto'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import type { Store } from '../store/store.ts'
import { checkObject } from './check-object.ts'
import type { RawPart } from './cut-parts.ts'
import type { SummaryPart } from './summary.ts'

const gzipAsync = promisify(gzip)
const GZIP_CHUNK_BYTES = 256 * 1024

export interface WrittenPart extends SummaryPart {
  /** False where the object of an earlier backup holds exactly these bytes. */
  isUploaded: boolean
}

/**
 * Stores one part and proves it stored: read back, size and digest compared. A part with the raw
 * digest of one of the last complete backup is not written again, once that object proved to be
 * unharmed. Gives the part's memory back as soon as it is compressed.
 */
export async function writePart(
  store: Store,
  {
    path,
    part,
    gzipLevel,
    earlier,
    onDamaged,
    signal,
  }: {
    path: string
    part: RawPart
    gzipLevel: number
    /** Parts of the same table in the last complete backup, by raw digest. */
    earlier: ReadonlyMap<string, SummaryPart>
    /** Told of a part of the last backup that is not what it was. */
    onDamaged?: ((error: BackupError) => void) | undefined
    signal: AbortSignal
  },
): Promise<WrittenPart> {
  const { rows } = part
  const rawBytes = part.bytes.length
  const rawSha256 = hash('sha256', part.bytes, 'hex')
  const same = earlier.get(rawSha256)
  if (same?.raw_bytes === rawBytes && (await isIntact(store, same, { onDamaged, signal }))) {
    part.release()
    return { ...same, rows, isUploaded: false }
  }

  const chunkSize = Math.min(rawBytes + 64, GZIP_CHUNK_BYTES)
  const stored = await gzipAsync(part.bytes, { level: gzipLevel, chunkSize })
  part.release()
  const storedSha256 = hash('sha256', stored, 'hex')
  await interruptible(store.put(path, stored, 'application/gzip', signal), signal)
  await checkObject(store, { path, storedBytes: stored.length, storedSha256 }, signal)
  return {
    path,
    rows,
    raw_bytes: rawBytes,
    stored_bytes: stored.length,
    raw_sha256: rawSha256,
    stored_sha256: storedSha256,
    isUploaded: true,
  }
}

/** A damaged object must not be inherited by one backup after the other. */
async function isIntact(
  store: Store,
  part: SummaryPart,
  {
    onDamaged,
    signal,
  }: { onDamaged: ((error: BackupError) => void) | undefined; signal: AbortSignal },
): Promise<boolean> {
  try {
    await checkObject(
      store,
      { path: part.path, storedBytes: part.stored_bytes, storedSha256: part.stored_sha256 },
      signal,
    )
    return true
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    if (error.code !== 'object_missing' && error.code !== 'backup_damaged') throw error
    onDamaged?.(error)
    return false
  }
}
