import JSZip from 'jszip'
import { RequestFailed } from '../calls/call-function.ts'
import type { Download } from './describe-download.ts'

/** Fetched at the same time: enough to hide the latency, few enough for a slow line. */
const WIDTH = 4

/**
 * Fetches every object of a backup by its URL, unpacks and checks it, and makes the archive in the browser,
 * so that no limit of a function counts. Throws `RequestFailed`: `offline`, or `backup_damaged` where an
 * object is not what the backup says.
 */
export async function makeArchive(
  download: Download,
  { onProgress, signal }: { onProgress?: (done: number) => void; signal?: AbortSignal } = {},
): Promise<Blob> {
  const zip = new JSZip()
  const options = { createFolders: false }
  zip.file(download.readme.name, download.readme.text, options)
  zip.file(download.summary.name, await fetchBytes(download.summary.url, signal), options)
  let done = 0
  for (let start = 0; start < download.parts.length; start += WIDTH) {
    const parts = download.parts.slice(start, start + WIDTH)
    const unpacked = await Promise.all(parts.map((part) => fetchPart(part, signal)))
    for (const [at, part] of parts.entries()) {
      zip.file(part.name, unpacked[at] ?? new Uint8Array(), options)
    }
    done += parts.length
    onProgress?.(done)
  }
  return zip.generateAsync({
    type: 'blob',
    mimeType: 'application/zip',
    compression: 'DEFLATE',
    compressionOptions: { level: 6 },
    streamFiles: true,
  })
}

/** Hands a finished file to the browser, which asks where it should go or puts it with its downloads. */
export function saveFile(file: Blob, name: string): void {
  const url = URL.createObjectURL(file)
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  // Not at once: the browser may not have begun to read it.
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

async function fetchPart(
  part: Download['parts'][number],
  signal: AbortSignal | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const stored = await fetchBytes(part.url, signal)
  const raw = await unpack(stored, part.rawBytes).catch(() => null)
  if (raw === null || (await digest(raw)) !== part.rawSha256) {
    throw new RequestFailed(
      'backup_damaged',
      `${part.name} is not what was backed up. Nothing was saved; tell your administrator.`,
    )
  }
  return raw
}

async function fetchBytes(url: string, signal: AbortSignal | undefined): Promise<ArrayBuffer> {
  try {
    const answer = await fetch(url, signal === undefined ? {} : { signal })
    if (answer.ok) return await answer.arrayBuffer()
  } catch (cause) {
    signal?.throwIfAborted()
    throw new RequestFailed('offline', 'The storage did not answer.', { cause })
  }
  throw new RequestFailed('store_unavailable', 'The storage did not give the file.')
}

/** Unpacks to exactly so many bytes, and stops at the first one too many. */
async function unpack(stored: ArrayBuffer, bytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const raw = new Uint8Array(bytes)
  const reader = new Blob([stored])
    .stream()
    .pipeThrough(new DecompressionStream('gzip'))
    .getReader()
  let used = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    // Throws where it is more than there is room for.
    raw.set(value, used)
    used += value.length
  }
  if (used !== bytes) throw new RangeError('shorter than it should be')
  return raw
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  return [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
