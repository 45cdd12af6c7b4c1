import { setTimeout as sleepFor } from 'node:timers/promises'

export interface RetryPolicy {
  /** How often the operation is tried in all. */
  attempts: number
  /** Longest pause after the first failure, in milliseconds; doubles with every further one. */
  baseMs: number
  /** Longest pause at all, in milliseconds. */
  maxMs: number
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** From 0 (included) to 1 (not included). */
  random(): number
}

/** Five attempts within about eight seconds: longer outages are for the job queue to bridge. */
export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 5,
  baseMs: 500,
  maxMs: 4_000,
  sleep: (ms, signal) => sleepFor(ms, undefined, signal === undefined ? {} : { signal }),
  random: Math.random,
}

/**
 * Runs the operation again while it fails in a way that `isTransient` knows to pass, with pauses of
 * random length so that many workers do not come back all at once. Throws the last error; once the
 * signal is aborted, its reason.
 */
export async function retry<T>(
  operation: (attempt: number) => Promise<T>,
  isTransient: (error: unknown) => boolean,
  policy: RetryPolicy,
  signal?: AbortSignal,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    try {
      return await operation(attempt)
    } catch (error) {
      signal?.throwIfAborted()
      if (attempt >= policy.attempts || !isTransient(error)) throw error
    }
    const longest = Math.min(policy.maxMs, policy.baseMs * 2 ** (attempt - 1))
    // Never quite zero: a server that just said «slow down» means it.
    const pause = longest * (0.25 + 0.75 * policy.random())
    try {
      await policy.sleep(pause, signal)
    } catch (error) {
      signal?.throwIfAborted()
      throw error
    }
  }
}
