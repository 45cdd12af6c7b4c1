import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from './database/database.ts'
import { BackupError } from './errors.ts'

/**
 * Waits for work, but no longer than until the signal: whatever does not answer (a frozen store, a
 * database behind a dead network) must not keep a backup from being recorded as failed. The work
 * itself goes on unobserved where it can't be stopped.
 */
export async function interruptible<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return work
  work.catch(() => {})
  throwIfInterrupted(signal)
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(interruption(signal))
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** How long an interrupted attempt may take to let go of its session and lock. */
const WIND_DOWN_MS = 5_000

/**
 * Waits for an attempt, no longer than until the signal. An interrupted one is over when its session is closed,
 * so that the tenant is free again: that is waited for a moment.
 */
export async function windDown<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  try {
    return await interruptible(work, signal)
  } catch (error) {
    const isOver = work.then(
      () => {},
      () => {},
    )
    await Promise.race([isOver, sleep(WIND_DOWN_MS, undefined, { ref: false })])
    throw error
  }
}

/** Throws `backup_timed_out` or `backup_cancelled` once the signal has fired. */
export function throwIfInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw interruption(signal)
}

/** What an aborted signal means: `backup_timed_out` for `AbortSignal.timeout`, else `backup_cancelled`. */
function interruption(signal: AbortSignal): BackupError {
  const { reason } = signal
  if (reason instanceof BackupError) return reason
  return reason instanceof DOMException && reason.name === 'TimeoutError'
    ? new BackupError(
        'backup_timed_out',
        'The backup was not done within the time it was given. It is tried again by the next run.',
        { cause: reason },
      )
    : new BackupError('backup_cancelled', 'The backup was cancelled before it was done.', {
        cause: reason,
      })
}

/** A session whose every statement gives up waiting when the signal fires. Copies see the signal themselves. */
export function interruptibleConnection(
  connection: Connection,
  signal: AbortSignal | undefined,
): Connection {
  return {
    query: (sql, params) => interruptible(connection.query(sql, params), signal),
    copyOut: (sql) => connection.copyOut(sql),
    copyIn: (sql) => connection.copyIn(sql),
  }
}

/** The bytes of a stream, until its end or the signal; leaving early destroys the stream. */
export async function* interruptibleBytes(
  stream: Readable,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const chunks = stream[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next: IteratorResult<unknown> = await interruptible(chunks.next(), signal)
      if (next.done === true) return
      yield Buffer.isBuffer(next.value) ? next.value : Buffer.from(String(next.value))
    }
  } finally {
    stream.destroy()
  }
}
