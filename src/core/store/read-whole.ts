import { BackupError } from '../errors.ts'

export interface Download {
  path: string
  /** Whose bytes they are, as the beginning of a sentence: «Supabase Storage». */
  service: string
  /** Bytes that the answer promised; null where it did not. */
  promised: number | null
  /** How long it may stand still, in milliseconds. */
  stallMs: number
  signal: AbortSignal | undefined
}

/**
 * The bytes of a download; `store_unavailable` where it ends early, goes on too long or stands still. Once
 * the signal is aborted, its reason.
 */
export async function* readWhole(
  body: ReadableStream<Uint8Array> | null,
  { path, service, promised, stallMs, signal }: Download,
): AsyncGenerator<Uint8Array> {
  const reader = (body ?? new Blob([]).stream()).getReader()
  let read = 0
  try {
    for (;;) {
      const chunk = await readInTime(reader, stallMs)
      if (chunk.done) break
      read += chunk.value.length
      yield chunk.value
    }
  } catch (cause) {
    signal?.throwIfAborted()
    throw new BackupError(
      'store_unavailable',
      `${service} stopped sending the object ${path} after ${read} bytes. Try again later.`,
      { cause, details: { path } },
    )
  } finally {
    // Whoever stops reading early must not keep the connection busy.
    await reader.cancel().catch(() => {})
  }
  if (promised !== null && read !== promised) {
    throw new BackupError(
      'store_unavailable',
      `${service} sent ${read} of ${promised} bytes of the object ${path}. Try again later.`,
      { details: { path } },
    )
  }
}

async function readInTime(reader: ReadableStreamDefaultReader<Uint8Array>, limitMs: number) {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no byte arrived in time')), limitMs)
  })
  try {
    return await Promise.race([reader.read(), late])
  } finally {
    clearTimeout(timer)
  }
}
