import { createHash } from 'node:crypto'
import { BackupError } from '../errors.ts'
import { interruptible, interruptibleBytes } from '../interruptible.ts'
import { type ObjectReader, readFromPlaces } from '../store/read-with-copy.ts'

/** What an object must be, from a signed summary or from the moment of writing. */
export interface ObjectFacts {
  path: string
  storedBytes: number
  storedSha256: string
}

/**
 * Reads an object to its end and proves size and digest, holding no more than a chunk of it; where a second
 * place is set up, from the one that has it whole. Throws `object_missing`, or `backup_damaged` when it is not what it should be.
 */
export function checkObject(
  store: ObjectReader,
  facts: ObjectFacts,
  signal?: AbortSignal,
): Promise<void> {
  return readFromPlaces(store, async (place) => {
    for await (const _ of readChecked(place, facts, signal)) {
      // Reading is the check.
    }
  })
}

/** The same, keeping the bytes. */
export function readObject(
  store: ObjectReader,
  facts: ObjectFacts,
  signal?: AbortSignal,
): Promise<Buffer> {
  const body = Buffer.allocUnsafeSlow(facts.storedBytes)
  return readFromPlaces(store, async (place) => {
    let used = 0
    for await (const chunk of readChecked(place, facts, signal)) used += chunk.copy(body, used)
    return body
  })
}

/**
 * Reads an object of unknown size and proves it by what `prove` throws. Throws `backup_damaged` beyond
 * `maxBytes`.
 */
export function readBounded(
  store: ObjectReader,
  { path, maxBytes, prove }: { path: string; maxBytes: number; prove?: (body: Buffer) => void },
  signal?: AbortSignal,
): Promise<Buffer> {
  return readFromPlaces(store, async (place) => {
    const stream = await interruptible(place.get(path, signal), signal)
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of interruptibleBytes(stream, signal)) {
      size += chunk.length
      if (size > maxBytes) {
        throw new BackupError(
          'backup_damaged',
          `The object ${path} is too large to be what it should be.`,
          {
            details: { path },
          },
        )
      }
      chunks.push(chunk)
    }
    const body = Buffer.concat(chunks)
    prove?.(body)
    return body
  })
}

/** Stops at the first byte too many, so that an object that was made huge costs nothing. */
async function* readChecked(
  store: ObjectReader,
  { path, storedBytes, storedSha256 }: ObjectFacts,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  const hash = createHash('sha256')
  let size = 0
  const stream = await interruptible(store.get(path, signal), signal)
  for await (const chunk of interruptibleBytes(stream, signal)) {
    size += chunk.length
    if (size > storedBytes) break
    hash.update(chunk)
    yield chunk
  }
  if (size !== storedBytes) {
    throw damaged(
      path,
      size > storedBytes ? 'is longer' : `is shorter (${size} bytes)`,
      `than the ${storedBytes} bytes that were written`,
    )
  }
  if (hash.digest('hex') !== storedSha256)
    throw damaged(path, 'has another SHA-256', 'than what was written')
}

function damaged(path: string, what: string, than: string): BackupError {
  return new BackupError('backup_damaged', `The object ${path} ${what} ${than}.`, {
    details: { path },
  })
}
