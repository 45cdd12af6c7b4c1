import { buffer } from 'node:stream/consumers'
import { BackupError } from '../errors.ts'
import { type RetryPolicy, retry } from './retry.ts'
import type { Store } from './store.ts'

/** Whether an object is there with exactly these bytes. Reads it only where its size is theirs. */
export async function holdsBytes(
  store: Store,
  path: string,
  body: Buffer,
  policy: RetryPolicy,
  signal?: AbortSignal,
): Promise<boolean> {
  const info = await store.stat(path)
  if (info?.size !== body.length) return false
  const stored = await retry(
    async () => buffer(await store.get(path, signal)),
    isUnavailable,
    // Twice: the request itself is tried again within.
    { ...policy, attempts: 2 },
    signal,
  )
  return stored.equals(body)
}

function isUnavailable(error: unknown): boolean {
  return error instanceof BackupError && error.code === 'store_unavailable'
}
