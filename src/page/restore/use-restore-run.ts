import { useEffect, useRef, useState } from 'react'
import { type PageServices, RequestFailed } from '../calls/call-function.ts'
import {
  ask,
  type Errand,
  findStarted,
  followRun,
  type Listener,
  type RestoreRun,
  readRestoreRun,
  type Step,
} from './run-restore.ts'

/** The press of the last button: what is asked, under a key that never does it twice. */
export interface Launch {
  key: string
  errand: Errand
}

export type RunState =
  /** Pressed, and not on record yet. */
  | { kind: 'starting' }
  /** The line broke before the service said that it began: it is looked for, never started again. */
  | { kind: 'checking' }
  | { kind: 'running'; run: RestoreRun | null }
  | { kind: 'complete'; run: RestoreRun }
  /** It began and came to nothing. */
  | { kind: 'failed'; error: RequestFailed }
  /** It never began: refused, or (null) the line broke before it was asked. */
  | { kind: 'not_started'; error: RequestFailed | null }
  /** How it stands can't be read. */
  | { kind: 'unreadable'; error: unknown }

export interface FollowedRun {
  state: RunState
  step: Step | null
  /** What is known of each table, in the order in which they were heard of. */
  tables: ReadonlyMap<string, Step>
  isLineThere: boolean
  startedAt: Date
  /** When anything was heard of it. */
  heardAt: Date
}

const TOLD_EVERY_MS = 120

/**
 * Sends what was pressed, once, and follows it to its end; or follows a run by its id; or looks for one that
 * was started with a key by a page that is gone. Leaving the page cancels nothing.
 */
export function useRestoreRun(
  services: PageServices,
  asked: { launch: Launch | null; key: string | null; runId: string | null },
  on: { run: (runId: string) => void; end: (state: RunState) => void },
): FollowedRun & { again: () => void } {
  const [tries, setTries] = useState(0)
  const [followed, setFollowed] = useState<FollowedRun>(() => ({
    state: firstState(asked),
    step: null,
    tables: new Map(),
    isLineThere: true,
    startedAt: new Date(),
    heardAt: new Date(),
  }))
  const latest = useRef({ asked, on })
  useEffect(() => {
    latest.current = { asked, on }
  })
  const sent = useRef<string | null>(null)
  // The run's id comes into the address while its launch is followed: that is no other run.
  const subject = asked.launch?.key ?? asked.key ?? asked.runId

  // biome-ignore lint/correctness/useExhaustiveDependencies: `tries` and `subject` begin it anew.
  useEffect(() => {
    const controller = new AbortController()
    const { signal } = controller
    const tables = new Map<string, Step>()
    let change: Partial<FollowedRun> = {}
    let timer: ReturnType<typeof setTimeout> | undefined
    const flush = () => {
      clearTimeout(timer)
      timer = undefined
      const now = change
      change = {}
      if (!signal.aborted) setFollowed((known) => ({ ...known, ...now }))
    }
    const tell = (news: Partial<FollowedRun>) => {
      change = { ...change, ...news }
      timer ??= setTimeout(flush, TOLD_EVERY_MS)
    }
    const setRunState = (state: RunState) => {
      change = { ...change, state }
      flush()
    }
    const listener: Listener = {
      onRun: (runId) => {
        if (signal.aborted) return
        setRunState({ kind: 'running', run: null })
        latest.current.on.run(runId)
      },
      onStep: (step) => {
        if (step.table !== null) tables.set(step.table, step)
        tell({ step, tables: new Map(tables), isLineThere: true, heardAt: new Date() })
      },
      onLine: (isLineThere) =>
        tell(isLineThere ? { isLineThere, heardAt: new Date() } : { isLineThere }),
      onFound: (run) => {
        if (run.status === 'running') {
          tell({ state: { kind: 'running', run }, startedAt: run.createdAt })
        }
      },
    }
    setRunState(firstState(latest.current.asked))
    void follow(services, latest.current.asked, { listener, setRunState, sent, signal }).then(
      (state) => {
        if (signal.aborted) return
        setRunState(state)
        latest.current.on.end(state)
      },
      (error: unknown) => {
        if (signal.aborted) return
        setRunState({ kind: 'unreadable', error })
        latest.current.on.end({ kind: 'unreadable', error })
      },
    )
    return () => {
      controller.abort()
      clearTimeout(timer)
    }
  }, [services, subject, tries])

  return { ...followed, again: () => setTries((count) => count + 1) }
}

function firstState({ launch, runId }: { launch: Launch | null; runId: string | null }): RunState {
  if (runId !== null) return { kind: 'running', run: null }
  return { kind: launch === null ? 'checking' : 'starting' }
}

async function follow(
  services: PageServices,
  { launch, key, runId }: { launch: Launch | null; key: string | null; runId: string | null },
  {
    listener,
    setRunState,
    sent,
    signal,
  }: {
    listener: Listener
    setRunState: (state: RunState) => void
    sent: { current: string | null }
    signal: AbortSignal
  },
): Promise<RunState> {
  let begun = runId
  if (begun === null && launch !== null && sent.current !== launch.key) {
    sent.current = launch.key
    // Not ended with the view: who leaves in the midst of it must not cut off what was pressed.
    const answer = await ask(services, launch.errand, listener, new AbortController().signal)
    if (answer.kind === 'done') begun = answer.report.runId
    else if (answer.kind === 'unknown') begun = answer.runId
    else {
      begun = await runOf(services, launch.key, signal)
      if (begun === null) return { kind: 'not_started', error: answer.error }
    }
  }
  const known = launch?.key ?? key
  if (begun === null && known !== null) {
    setRunState({ kind: 'checking' })
    begun = await findStarted(services, known, listener, signal)
    if (begun === null) return { kind: 'not_started', error: null }
  }
  if (begun === null) return { kind: 'not_started', error: null }
  listener.onRun?.(begun)
  const run = await followRun(services, begun, listener, signal)
  // A rehearsal has nothing to show here; its result is a plan, not something done.
  if (run.isDryRun) throw new RequestFailed('run_not_found', 'This run is a rehearsal.')
  if (run.status === 'complete' && run.result !== null) return { kind: 'complete', run }
  return {
    kind: 'failed',
    error: new RequestFailed(
      run.error?.code ?? 'internal',
      run.error?.message ?? 'No reason was recorded.',
    ),
  }
}

/** Whether what was refused had begun: an error may end a run that is on record. */
async function runOf(
  services: PageServices,
  key: string,
  signal: AbortSignal,
): Promise<string | null> {
  try {
    return (await readRestoreRun(services, { key }, signal)).runId
  } catch {
    signal.throwIfAborted()
    return null
  }
}
