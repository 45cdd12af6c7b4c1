import { createHash, hash } from 'node:crypto'
import { pipeline } from 'node:stream/promises'
import { crc32, createGzip, createInflateRaw } from 'node:zlib'
import * as z from 'zod'
import { checkObject, readBounded } from '../backup/check-object.ts'
import { checkSignature, Signature, sign } from '../backup/signature.ts'
import { BackupError } from '../errors.ts'
import { interruptible, interruptibleBytes, throwIfInterrupted } from '../interruptible.ts'
import type { Services } from '../services.ts'
import { tenantPrefix } from '../store/object-path.ts'

/**
 * The stored plan of a restore: every row that it writes, one JSON object on a line, framed as the parts of a
 * backup are, and as the last element a signed trailer that says what the lines are and proves that none is
 * missing. The trailer stands last so that the lines can be written while they are made. Lines are bytes;
 * nothing here parses them.
 */
const PLAN_FORMAT_VERSION = 1

const count = z.int().nonnegative()

const header = {
  restore_id: z.uuid(),
  organization_id: z.string().min(1),
  /** What was restored; null for an archive or plain files. */
  backup_id: z.uuid().nullable(),
  /** The tenant as it was just before, in full. */
  safety_backup_id: z.uuid(),
  plan_hash: z.string().min(1),
  /** As asked. */
  options: z.record(z.string(), z.unknown()),
  tables: z.array(
    z.strictObject({
      /** The table's label. */
      name: z.string().min(1),
      primary_key: z.array(z.string().min(1)),
      /** Those that the digests in the lines are of. */
      columns: z.array(z.string().min(1)),
      inserted: count,
      updated: count,
      deleted: count,
    }),
  ),
}
const PlanHeader = z.strictObject(header)
export type PlanHeader = z.infer<typeof PlanHeader>

const facts = {
  format_version: z.literal(PLAN_FORMAT_VERSION),
  ...header,
  /** When it was stored, UTC. */
  made_at: z.iso.datetime(),
  /** Lines before this one. */
  lines: count,
  /** Of all bytes before this line. */
  lines_sha256: z.string().regex(/^[0-9a-f]{64}$/),
}
const Facts = z.strictObject(facts)
const Trailer = z.strictObject({ ...facts, signature: Signature })

const MAX_TRAILER_BYTES = 8 * 1024 * 1024
/** Compressed, and hence in memory. */
const MAX_STORED_BYTES = 512 * 1024 * 1024
const MAX_RAW_BYTES = 64 * 1024 ** 3
const GZIP_CHUNK_BYTES = 256 * 1024

const GZIP_HEADER = Buffer.from([0x1f, 0x8b, 0x08, 0x00])
const GZIP_HEADER_BYTES = 10
const GZIP_TRAILER_BYTES = 8

const COMMA = 0x2c
const BRACKET = 0x5b
const BRACE = 0x7b
const NEWLINE = 0x0a
const BLANK = 0x20
const END = Buffer.from('\n]\n')

type PlanServices = Pick<Services, 'store' | 'signingKeys'>

export interface StoredPlan {
  path: string
  /** Of the stored bytes, for the journal. */
  sha256: string
  /** Stored. */
  bytes: number
}

/**
 * Writes a plan, reads it back and compares. `lines` are bytes as a copy gives them: a JSON object and a
 * line feed each, wherever the chunks are cut. What is held in memory is the compressed plan and a chunk. Throws `object_exists` where this path holds another plan, `store_unavailable`, and
 * `internal` for what are no such lines.
 */
export async function storePlan(
  { store, signingKeys }: PlanServices,
  given: {
    path: string
    header: PlanHeader
    lines: AsyncIterable<Buffer>
    signal?: AbortSignal | undefined
  },
): Promise<StoredPlan> {
  const { path, lines, signal } = given
  const document = writeDocument(given.header, lines, signingKeys)
  const chunks: Buffer[] = []
  let size = 0
  try {
    const work = pipeline(
      document,
      createGzip({ level: 1, chunkSize: GZIP_CHUNK_BYTES }),
      async (packed: AsyncIterable<Buffer>) => {
        for await (const chunk of packed) {
          size += chunk.length
          if (size > MAX_STORED_BYTES) throw tooLarge(size)
          chunks.push(chunk)
        }
      },
      signal === undefined ? {} : { signal },
    )
    await interruptible(work, signal)
  } catch (error) {
    throwIfInterrupted(signal)
    throw error
  }
  const stored = Buffer.concat(chunks)
  const sha256 = hash('sha256', stored, 'hex')
  await interruptible(store.put(path, stored, 'application/gzip', signal), signal)
  await checkObject(store, { path, storedBytes: stored.length, storedSha256: sha256 }, signal)
  return { path, sha256, bytes: stored.length }
}

async function* writeDocument(
  given: PlanHeader,
  lines: AsyncIterable<Buffer>,
  signingKeys: PlanServices['signingKeys'],
): AsyncGenerator<Buffer> {
  const digest = createHash('sha256')
  let counted = 0
  let isLineStart = true
  for await (const chunk of lines) {
    if (chunk.length === 0) continue
    const framed = frame(chunk, { isLineStart, isFirst: counted === 0 })
    counted += countNewlines(chunk)
    isLineStart = chunk.at(-1) === NEWLINE
    digest.update(framed)
    yield framed
  }
  if (!isLineStart) throw notALine()
  const content = Facts.parse({
    format_version: PLAN_FORMAT_VERSION,
    ...given,
    made_at: new Date().toISOString(),
    lines: counted,
    lines_sha256: digest.digest('hex'),
  })
  const trailer = JSON.stringify({ ...content, signature: sign(content, signingKeys) })
  const end = Buffer.from(`${counted === 0 ? '[' : ','}${trailer}\n]\n`, 'utf8')
  if (end.length > MAX_TRAILER_BYTES) throw tooLarge(end.length)
  yield end
}

/** A copy with the framing character before each line that begins in it. */
function frame(
  chunk: Buffer,
  { isLineStart, isFirst }: { isLineStart: boolean; isFirst: boolean },
): Buffer {
  const framed = Buffer.allocUnsafe(chunk.length + countNewlines(chunk) + 1)
  let used = 0
  for (let start = 0; start < chunk.length; ) {
    if (start > 0 || isLineStart) {
      if (chunk[start] !== BRACE) throw notALine()
      framed[used] = start === 0 && isFirst ? BRACKET : COMMA
      used += 1
    }
    const newline = chunk.indexOf(NEWLINE, start)
    const end = newline === -1 ? chunk.length : newline + 1
    used += chunk.copy(framed, used, start, end)
    start = end
  }
  return framed.subarray(0, used)
}

export interface RestorePlan {
  header: PlanHeader
  /** Of the stored bytes. */
  sha256: string
  /** When it was stored, UTC. */
  madeAt: string
  lineCount: number
  /**
   * The lines as `copy … from stdin` takes them (`RAW_LINES`): one JSON object each, a blank in place of the
   * framing character, any number of whole lines in a chunk. Can be called again.
   */
  lines(): AsyncGenerator<Buffer>
}

/**
 * Reads a plan and proves it before it gives out a line: the digest that the journal names, one gzip
 * member and nothing after it, the signature, every line there, and that it is of this restore and tenant.
 * Without a journal, digest and restore are left out, and what it says of them is as good as its signature.
 * Throws `object_missing`, `backup_damaged`, `store_unavailable`.
 */
export async function loadPlan(
  { store, signingKeys }: PlanServices,
  given: { path: string; sha256?: string; tenantId: string; restoreId?: string },
  signal?: AbortSignal,
): Promise<RestorePlan> {
  const { path } = given
  if (!path.startsWith(tenantPrefix(given.tenantId))) throw damaged(path, 'is of another tenant')
  const prove = (body: Buffer) => {
    if (given.sha256 === undefined || hash('sha256', body, 'hex') === given.sha256) return
    throw damaged(path, 'is not the one that the journal names: it was changed or replaced')
  }
  const stored = await readBounded(store, { path, maxBytes: MAX_STORED_BYTES, prove }, signal)
  const { digest, newlines, linesBytes, trailer } = await split(stored, path, signal)
  const { signature, ...content } = parseTrailer(trailer, path)
  checkSignature(content, signature, signingKeys, 'plan')
  const { format_version: _, made_at: madeAt, lines: lineCount, lines_sha256, ...found } = content
  if (lines_sha256 !== digest || lineCount !== newlines) {
    throw damaged(path, 'does not hold the lines that its end names')
  }
  const { tenantId, restoreId = found.restore_id } = given
  if (found.organization_id !== tenantId || found.restore_id !== restoreId) {
    throw damaged(path, 'is of another restore or tenant')
  }
  return {
    header: found,
    sha256: hash('sha256', stored, 'hex'),
    madeAt,
    lineCount,
    lines: () => readLines(stored, { path, linesBytes }, signal),
  }
}

/** Unpacks a whole plan, holding no more of it than what can be the trailer. */
async function split(stored: Buffer, path: string, signal: AbortSignal | undefined) {
  const digest = createHash('sha256')
  const held: Buffer[] = []
  let heldBytes = 0
  let rawBytes = 0
  let newlines = 0
  for await (const chunk of unpack(stored, path, signal)) {
    rawBytes += chunk.length
    newlines += countNewlines(chunk)
    held.push(chunk)
    heldBytes += chunk.length
    while (heldBytes - (held[0]?.length ?? 0) >= MAX_TRAILER_BYTES) {
      const first = held.shift() ?? Buffer.alloc(0)
      heldBytes -= first.length
      digest.update(first)
    }
  }
  const tail = Buffer.concat(held)
  const end = tail.length - END.length
  const start = end < 0 ? 0 : tail.lastIndexOf(NEWLINE, end - 1) + 1
  const isFramed =
    end > start && tail.subarray(end).equals(END) && (start > 0 || tail.length === rawBytes)
  if (!isFramed) throw damaged(path, 'does not end as a plan does')
  digest.update(tail.subarray(0, start))
  return {
    digest: digest.digest('hex'),
    newlines: newlines - 2,
    linesBytes: rawBytes - tail.length + start,
    // Without its framing character.
    trailer: tail.subarray(start + 1, end),
  }
}

async function* readLines(
  stored: Buffer,
  { path, linesBytes }: { path: string; linesBytes: number },
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  let left = linesBytes
  let begun: Buffer[] = []
  let isLineStart = true
  for await (const chunk of unpack(stored, path, signal)) {
    if (left === 0) return
    const bytes = chunk.subarray(0, left)
    left -= bytes.length
    if (isLineStart) bytes[0] = BLANK
    for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) {
      if (at + 1 < bytes.length) bytes[at + 1] = BLANK
    }
    const end = bytes.lastIndexOf(NEWLINE) + 1
    isLineStart = end === bytes.length
    if (end > 0) {
      yield Buffer.concat([...begun, bytes.subarray(0, end)])
      begun = []
    }
    if (!isLineStart) begun.push(bytes.subarray(end))
  }
}

/** The raw bytes of exactly one gzip member; a gunzip stream would append a second one without a word. */
async function* unpack(
  stored: Buffer,
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  if (!stored.subarray(0, GZIP_HEADER.length).equals(GZIP_HEADER)) {
    throw damaged(path, 'is not a gzip file of ours')
  }
  const inflate = createInflateRaw({ chunkSize: GZIP_CHUNK_BYTES })
  inflate.end(stored.subarray(GZIP_HEADER_BYTES))
  let checksum = 0
  let size = 0
  try {
    for await (const chunk of interruptibleBytes(inflate, signal)) {
      size += chunk.length
      if (size > MAX_RAW_BYTES) throw damaged(path, 'is too large to be a plan')
      checksum = crc32(chunk, checksum)
      yield chunk
    }
  } catch (error) {
    throwIfInterrupted(signal)
    if (error instanceof BackupError) throw error
    throw new BackupError('backup_damaged', `The plan ${path} can't be unpacked.`, {
      cause: error,
      details: { path },
    })
  }
  const consumed = GZIP_HEADER_BYTES + inflate.bytesWritten + GZIP_TRAILER_BYTES
  if (consumed !== stored.length) throw damaged(path, 'holds more than one gzip member')
  const trailer = stored.subarray(stored.length - GZIP_TRAILER_BYTES)
  if (trailer.readUInt32LE(0) !== checksum || trailer.readUInt32LE(4) !== size % 2 ** 32) {
    throw damaged(path, 'does not unpack to the bytes that were packed')
  }
}

function parseTrailer(bytes: Buffer, path: string): z.infer<typeof Trailer> {
  let document: unknown
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw damaged(path, 'has no readable end')
  }
  const version = z.looseObject({ format_version: z.int() }).safeParse(document)
  if (version.success && version.data.format_version > PLAN_FORMAT_VERSION) {
    throw damaged(
      path,
      `has format version ${version.data.format_version}; this program reads up to ${PLAN_FORMAT_VERSION}`,
    )
  }
  const parsed = Trailer.safeParse(document)
  if (!parsed.success) throw damaged(path, 'has no readable end')
  return parsed.data
}

function countNewlines(bytes: Buffer): number {
  let counted = 0
  for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, at + 1)) counted += 1
  return counted
}

function notALine(): BackupError {
  return new BackupError('internal', 'A row of a plan could not be written as a line of JSON.')
}

function tooLarge(bytes: number): BackupError {
  return new BackupError(
    'internal',
    `The plan of this restore is too large to be stored (${bytes} bytes). Restore fewer tables at a time.`,
  )
}

function damaged(path: string, what: string): BackupError {
  return new BackupError('backup_damaged', `The plan ${path} ${what}.`, { details: { path } })
}
