import { readFile, stat } from 'node:fs/promises'
import JSZip from 'jszip'
import { listEntries, MAX_ARCHIVE_BYTES, SUMMARY_ENTRY } from '../backup/archive.ts'
import type { BackupWarning } from '../backup/backup-record.ts'
import type { SigningKeys } from '../backup/signature.ts'
import {
  parseForeignSummary,
  parseSummary,
  type SummaryContent,
  type SummaryPart,
} from '../backup/summary.ts'
import { proveRaw } from '../backup/unpack-part.ts'
import { BackupError } from '../errors.ts'
import { interruptible, throwIfInterrupted } from '../interruptible.ts'
import { tenantPrefix } from '../store/object-path.ts'
import type { BackupSource } from './backup-source.ts'

const MAX_SUMMARY_BYTES = 64 * 1024 * 1024
/** The largest row that the settings allow; where nobody signed the sizes, something else must bound them. */
const MAX_PART_BYTES = 1024 ** 3

export interface OpenArchiveInput {
  /** The path of the zip. */
  file: string
  signingKeys: SigningKeys
  /** Whose archive it must be. */
  tenantId: string
  /** Takes a summary that no key of ours signed, with a warning. One of ours that does not fit never. */
  mayBeUnsigned?: boolean | undefined
  signal?: AbortSignal | undefined
}

/**
 * Opens an exported archive. Only the summary decides what is read: its signature is proven here, each part
 * against its size and digest when it is read, never a byte more than was signed, and nothing is written to
 * disk, so that names inside the zip have no say. The zip itself is in memory as long as the source is.
 * Throws `archive_unreadable` for what is no archive of this tenant, `backup_damaged` for one that was
 * changed.
 */
export async function openArchive(input: OpenArchiveInput): Promise<BackupSource> {
  const { file, signingKeys, tenantId, mayBeUnsigned = false, signal } = input
  const zip = await loadZip(file, signal)
  const body = await readEntry(zip, SUMMARY_ENTRY, MAX_SUMMARY_BYTES, signal)
  const { summary, isProven } = readSummary(body, signingKeys, mayBeUnsigned)
  if (summary.organization_id !== tenantId) {
    throw new BackupError('archive_unreadable', 'The archive is of another tenant.')
  }
  const names = new Map(requireEntries(zip, summary).map(({ name, part }) => [part.path, name]))
  return {
    kind: isProven ? 'archive' : 'unsigned',
    // Its summary names one, but this database need not know it.
    backupId: null,
    takenAt: summary.taken_at,
    summary,
    isPlainJson: false,
    warnings: isProven ? [] : [UNSIGNED],
    readPart: async (part, partSignal) => {
      const name = names.get(part.path)
      if (name === undefined) throw missing(part.path)
      const raw = await readEntry(zip, name, part.raw_bytes, partSignal ?? signal)
      if (raw.length !== part.raw_bytes) {
        throw damaged(
          name,
          `is shorter (${raw.length} bytes) than the ${part.raw_bytes} bytes signed`,
        )
      }
      proveRaw(raw, part)
      return raw
    },
  }
}

const UNSIGNED: BackupWarning = {
  code: 'unsigned',
  message:
    'No key of this installation signed the archive: its files are those that its summary names, but nothing proves that the summary is the one that was written.',
}

async function loadZip(file: string, signal: AbortSignal | undefined): Promise<JSZip> {
  try {
    const { size } = await stat(file)
    if (size > MAX_ARCHIVE_BYTES) {
      throw new BackupError(
        'archive_unreadable',
        `The archive has ${Math.ceil(size / 1_000_000)} MB; it is read into memory, so no more than ${MAX_ARCHIVE_BYTES / 1_000_000} MB are taken.`,
      )
    }
    const bytes = await readFile(file, signal === undefined ? {} : { signal })
    // Without its own check of sums, which would unpack everything: ours stop in time.
    return await interruptible(JSZip.loadAsync(bytes, { checkCRC32: false }), signal)
  } catch (error) {
    throwIfInterrupted(signal)
    if (error instanceof BackupError) throw error
    throw new BackupError(
      'archive_unreadable',
      `${file} can't be read as a zip: it is not there, no zip, encrypted, or was cut short.`,
      { cause: error },
    )
  }
}

function readSummary(
  body: Buffer,
  keys: SigningKeys,
  mayBeUnsigned: boolean,
): { summary: SummaryContent; isProven: boolean } {
  if (mayBeUnsigned) return parseForeignSummary(body, keys)
  const { signature: _, ...summary } = parseSummary(body, keys)
  return { summary, isProven: true }
}

/** The entries of all parts, each of which must be there and of this tenant. */
function requireEntries(
  zip: JSZip,
  summary: SummaryContent,
): { name: string; part: SummaryPart }[] {
  const entries = listEntries(summary)
  const prefix = tenantPrefix(summary.organization_id)
  for (const { name, part } of entries) {
    if (!part.path.startsWith(prefix)) {
      throw damaged(name, 'stands for an object of another tenant')
    }
    if (part.raw_bytes > MAX_PART_BYTES) throw damaged(name, 'is larger than a part can be')
    if (zip.file(name) === null) throw missing(name)
  }
  return entries
}

/** Unpacks an entry as a stream, and stops at the first byte too many: a bomb costs nothing. */
async function readEntry(
  zip: JSZip,
  name: string,
  maxBytes: number,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const entry = zip.file(name)
  if (entry === null) throw missing(name)
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  let size = 0
  const stream = entry.nodeStream('nodebuffer')
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size > maxBytes) {
      stream.pause()
      reject(damaged(name, `is longer than the ${maxBytes} bytes it may have`))
    } else {
      chunks.push(chunk)
    }
  })
  stream.on('error', (cause) =>
    reject(
      new BackupError('backup_damaged', `${name} in the archive can't be unpacked.`, { cause }),
    ),
  )
  stream.on('end', () => resolve(Buffer.concat(chunks)))
  try {
    return await interruptible(promise, signal)
  } finally {
    stream.pause()
  }
}

function missing(name: string): BackupError {
  return new BackupError('archive_unreadable', `The archive has no ${name}, which belongs to it.`, {
    details: { entry: name },
  })
}

function damaged(name: string, what: string): BackupError {
  return new BackupError('backup_damaged', `${name} in the archive ${what}.`, {
    details: { entry: name },
  })
}
