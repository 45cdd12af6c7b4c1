import { hash } from 'node:crypto'
import { promisify } from 'node:util'
import { crc32, inflateRaw } from 'node:zlib'
import { BackupError } from '../errors.ts'
import type { SummaryPart } from './summary.ts'

const HEADER_BYTES = 10
const TRAILER_BYTES = 8
const NEWLINE = 0x0a
const OPEN = 0x5b
const COMMA = 0x2c
const BLANK = 0x20
/** Memory is taken by such pieces, and for most parts one that is just large enough. */
const INFLATE_CHUNK_BYTES = 1024 * 1024

interface Inflated {
  buffer: Buffer
  engine: { bytesWritten: number }
}

const inflateRawAsync = promisify(
  (stored: Buffer, maxOutputLength: number, done: (error: Error | null, out: Inflated) => void) => {
    // The types don't know that `info` changes what is called back with.
    const onEnd = done as unknown as (error: Error | null, result: Buffer) => void
    // A piece that is filled to its last byte makes zlib take another.
    const chunkSize = Math.min(maxOutputLength + 64, INFLATE_CHUNK_BYTES)
    inflateRaw(stored, { maxOutputLength, info: true, chunkSize }, onEnd)
  },
)

/**
 * Unpacks the stored bytes of a part and proves the raw ones: exactly one gzip member and nothing after
 * it, never a byte more than the signed size, digest, framing, number of rows. Throws `backup_damaged`.
 */
export async function unpackPart(stored: Buffer, part: SummaryPart): Promise<Buffer> {
  // Our own members have the shortest header there is: deflate, no name, no comment, no extra field.
  const isMember =
    stored.length > HEADER_BYTES + TRAILER_BYTES &&
    stored.subarray(0, 4).equals(Buffer.from([0x1f, 0x8b, 0x08, 0x00]))
  if (!isMember) throw damaged(part, 'is not a gzip file of ours')
  const inflated = await inflate(stored.subarray(HEADER_BYTES), part)
  // A gunzip stream would append a second member without a word.
  if (HEADER_BYTES + inflated.engine.bytesWritten + TRAILER_BYTES !== stored.length) {
    throw damaged(part, 'holds more than one gzip member')
  }
  const raw = inflated.buffer
  const trailer = stored.subarray(stored.length - TRAILER_BYTES)
  const isWhole =
    trailer.readUInt32LE(0) === crc32(raw) &&
    trailer.readUInt32LE(4) === raw.length % 2 ** 32 &&
    raw.length === part.raw_bytes
  if (!isWhole) throw damaged(part, 'does not unpack to the bytes that were packed')
  proveRaw(raw, part)
  return raw
}

/** Proves the raw bytes of a part: digest, framing, number of rows. Throws `backup_damaged`. */
export function proveRaw(raw: Buffer, part: SummaryPart): void {
  if (hash('sha256', raw, 'hex') !== part.raw_sha256) {
    throw damaged(part, 'unpacks to bytes with another SHA-256')
  }
  if (countRows(raw) !== part.rows) {
    throw damaged(part, `does not hold the ${part.rows} rows that the summary names`)
  }
}

/**
 * Makes a whole part readable line by line for Postgres, in place: each row's framing character becomes
 * a blank, which JSON allows, and the last line is left out.
 */
export function blankFraming(raw: Buffer): Buffer {
  const rows = raw.subarray(0, raw.length - 2)
  if (raw[1] === NEWLINE) return rows.subarray(0, 0)
  for (let start = 0; start < rows.length; start = raw.indexOf(NEWLINE, start) + 1) {
    rows[start] = BLANK
  }
  return rows
}

/** The rows of a part, or -1 where its lines are not framed as `cut-parts.ts` frames them. */
function countRows(raw: Buffer): number {
  const close = raw.length - 2
  if (raw[0] !== OPEN || raw.toString('latin1', close) !== ']\n') return -1
  if (raw[1] === NEWLINE) return close === 2 ? 0 : -1
  let rows = 0
  for (let start = 0; start < close; start = raw.indexOf(NEWLINE, start) + 1) {
    if (start > 0 && raw[start] !== COMMA) return -1
    rows += 1
  }
  return raw[close - 1] === NEWLINE ? rows : -1
}

async function inflate(deflated: Buffer, part: SummaryPart): Promise<Inflated> {
  try {
    return await inflateRawAsync(deflated, part.raw_bytes)
  } catch (error) {
    throw new BackupError('backup_damaged', `The object ${part.path} can't be unpacked.`, {
      cause: error,
      details: { path: part.path },
    })
  }
}

function damaged(part: SummaryPart, what: string): BackupError {
  return new BackupError('backup_damaged', `The object ${part.path} ${what}.`, {
    details: { path: part.path },
  })
}
