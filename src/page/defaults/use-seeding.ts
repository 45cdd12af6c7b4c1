import { useEffect, useState } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { followSeeding, type SeedEnd, type SeedRun } from './read-seeding.ts'

export type SeedState =
  | { kind: 'working'; run: SeedRun | null; isLineThere: boolean; since: Date }
  | SeedEnd
  /** How it stands can't be read. */
  | { kind: 'unreadable'; error: unknown }

const WORKING = { kind: 'working', run: null, isLineThere: true } as const

/**
 * Begins and follows what the key and body, or the run, name; again where one of them, or the count of looks,
 * is another. Null waits.
 */
export function useSeeding(
  services: PageServices,
  job: { key: string; body: string | null; runId: string | null } | null,
  looks = 0,
): SeedState {
  const [state, setState] = useState<SeedState & { of?: string }>({ ...WORKING, since: new Date() })
  const key = job?.key ?? ''
  const body = job?.body ?? null
  const runId = job?.runId ?? null
  const id = `${key} ${runId} ${looks} ${body}`
  const isWaiting = job === null
  useEffect(() => {
    if (isWaiting) return
    const since = new Date()
    const leaving = new AbortController()
    setState({ ...WORKING, since, of: id })
    followSeeding(
      services,
      { key, body: body === null ? null : JSON.parse(body), runId },
      {
        signal: leaving.signal,
        tell: ({ run, isLineThere }) =>
          setState((before) => ({
            kind: 'working',
            run: run ?? (before.kind === 'working' ? before.run : null),
            isLineThere,
            since,
            of: id,
          })),
      },
    ).then(
      (end) => !leaving.signal.aborted && setState({ ...end, of: id }),
      (error) => !leaving.signal.aborted && setState({ kind: 'unreadable', error, of: id }),
    )
    return () => leaving.abort()
  }, [services, id, key, body, runId, isWaiting])
  // What is drawn before the effect must not show how another one ended.
  return state.of === id ? state : { ...WORKING, since: new Date() }
}
