import { type ClaimedJob, type JobQueue, TOUCH_EVERY_MS } from './queue.ts'

/**
 * Heartbeats for as long as an attempt lasts; its signal ends the work when the job is another's, the time
 * is over, or the caller wants it to end.
 */
export function keepAlive(
  queue: JobQueue,
  claimed: ClaimedJob,
  { cancelAt, signal }: { cancelAt?: Date | undefined; signal?: AbortSignal | undefined },
) {
  const taken = new AbortController()
  const beat = setInterval(() => {
    queue.touch(claimed).then(
      (isOurs) => {
        if (!isOurs) taken.abort()
      },
      // The database is away for a moment; the next beat will tell.
      () => {},
    )
  }, TOUCH_EVERY_MS)
  const ends = [taken.signal]
  if (cancelAt !== undefined) ends.push(signalAt(cancelAt))
  if (signal !== undefined) ends.push(signal)
  return {
    signal: AbortSignal.any(ends),
    wasTaken: () => taken.signal.aborted,
    [Symbol.dispose]: () => clearInterval(beat),
  }
}

/** A signal that aborts at this moment. */
export function signalAt(moment: Date): AbortSignal {
  return AbortSignal.timeout(Math.max(1, moment.getTime() - Date.now()))
}
