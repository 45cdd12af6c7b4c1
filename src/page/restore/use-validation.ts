import { useQueryClient } from '@tanstack/react-query'
import { useCallback, useEffect, useRef, useState } from 'react'
import { type PageServices, RequestFailed } from '../calls/call-function.ts'
import type { Draft } from './restore-choices.ts'
import { type Answer, answerDecision, type Decision } from './restore-decisions.ts'
import { type Errand, type Report, rehearse, type Step } from './run-restore.ts'
import { type Validation, validate } from './validate-restore.ts'

export type ValidationState =
  | { status: 'none' }
  | {
      status: 'running'
      /** The last step that was heard of. */
      step: Step | null
      startedAt: Date
      /** Why it does not get on at the moment. */
      wait: 'busy' | 'line' | null
      /** The plan from before, while another answer is tried. */
      before: Validation | null
    }
  | { status: 'done'; validation: Validation }
  | { status: 'failed'; error: unknown; before: Validation | null }

/** A plan is shown for so long; then it is made again before anybody acts on it. */
export const PLAN_MS = 15 * 60_000

const TOLD_EVERY_MS = 120

/** Rehearses a restore or an undo, asks what has to be decided, and keeps what came of it. */
export function useValidation({
  services,
  isUndo,
  isPartial,
  draft,
  changeDraft,
}: {
  services: PageServices
  isUndo: boolean
  /** About single rows. */
  isPartial: boolean
  draft: Pick<Draft, 'picks' | 'rehearsals'>
  changeDraft: (change: Partial<Pick<Draft, 'picks' | 'rehearsals'>>) => void
}) {
  const queries = useQueryClient()
  const [state, setState] = useState<ValidationState>({ status: 'none' })
  const current = useRef<{ controller: AbortController; toErrand: ToErrand } | null>(null)
  const latest = useRef({ draft, changeDraft })
  useEffect(() => {
    latest.current = { draft, changeDraft }
  })
  useEffect(() => () => current.current?.controller.abort(), [])

  const run = useCallback(
    (toErrand: ToErrand, from: { known: readonly Decision[]; before: Validation | null }) => {
      current.current?.controller.abort()
      const controller = new AbortController()
      const { signal } = controller
      current.current = { controller, toErrand }
      const startedAt = new Date()
      const told: { step: Step | null; wait: 'busy' | 'line' | null } = { step: null, wait: null }
      let timer: ReturnType<typeof setTimeout> | undefined
      const tell = () => {
        timer ??= setTimeout(() => {
          timer = undefined
          if (signal.aborted) return
          setState((now) => (now.status === 'running' ? { ...now, ...told } : now))
        }, TOLD_EVERY_MS)
      }
      setState({ status: 'running', step: null, startedAt, wait: null, before: from.before })
      void validate({
        isUndo,
        isPartial,
        known: from.known,
        picks: latest.current.draft.picks,
        tables: from.before?.report.tables.map(({ name }) => name) ?? [],
        toErrand,
        rehearse: (errand) =>
          rehearseOnce(services, errand, latest, signal, (change) => {
            Object.assign(told, change)
            tell()
          }),
      }).then(
        (validation) => {
          clearTimeout(timer)
          if (!signal.aborted) setState({ status: 'done', validation })
        },
        (error: unknown) => {
          clearTimeout(timer)
          if (signal.aborted) return
          setState({ status: 'failed', error, before: from.before })
          // The frame watches queries: the next that is refused asks the person to sign in.
          if (error instanceof RequestFailed && error.code === 'not_signed_in') {
            void queries.refetchQueries({ type: 'active' })
          }
        },
      )
    },
    [services, queries, isUndo, isPartial],
  )

  return {
    state,
    /** From the beginning. `isAnew` forgets what was rehearsed before. */
    start: useCallback(
      (toErrand: ToErrand, { isAnew }: { isAnew: boolean }) => {
        if (isAnew) {
          latest.current.draft = { ...latest.current.draft, rehearsals: {} }
          latest.current.changeDraft({ rehearsals: {} })
        }
        run(toErrand, { known: [], before: null })
      },
      [run],
    ),
    /** With another answer to one of the decisions. */
    answer: useCallback(
      (before: Validation, id: string, answer: Answer) => {
        const picks = { ...latest.current.draft.picks, [id]: answer }
        latest.current.draft = { ...latest.current.draft, picks }
        latest.current.changeDraft({ picks })
        const toErrand = current.current?.toErrand
        if (toErrand === undefined) return
        run(toErrand, { known: answerDecision(before.decisions, id, answer), before })
      },
      [run],
    ),
    stop: useCallback(() => {
      current.current?.controller.abort()
      setState({ status: 'none' })
    }, []),
  }
}

type ToErrand = (decisions: readonly Decision[], tables: readonly string[]) => Errand | null

interface Latest {
  current: {
    draft: Pick<Draft, 'rehearsals'>
    changeDraft: (change: Partial<Pick<Draft, 'rehearsals'>>) => void
  }
}

/** Goes on with the rehearsal that was begun with exactly this, if there is one; else begins one. */
async function rehearseOnce(
  services: PageServices,
  errand: Errand,
  latest: Latest,
  signal: AbortSignal,
  tell: (change: { step?: Step; wait?: 'busy' | 'line' | null }) => void,
): Promise<Report> {
  const asked = JSON.stringify(errand.body)
  const keep = (begun: { runId: string; at: number } | null) => {
    const { [asked]: _, ...others } = latest.current.draft.rehearsals
    const rehearsals = begun === null ? others : { ...others, [asked]: begun }
    latest.current.draft = { ...latest.current.draft, rehearsals }
    latest.current.changeDraft({ rehearsals })
  }
  const listener = {
    onRun: (runId: string) => keep({ runId, at: Date.now() }),
    onStep: (step: Step) => tell({ step, wait: null }),
    onLine: (isThere: boolean) => tell({ wait: isThere ? null : 'line' }),
    onWait: () => {
      keep(null)
      tell({ wait: 'busy' })
    },
  }
  const begun = latest.current.draft.rehearsals[asked]
  if (begun !== undefined && Date.now() - begun.at < PLAN_MS) {
    try {
      return await rehearse(services, errand, listener, { signal, runId: begun.runId })
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof RequestFailed && error.code === 'not_signed_in') throw error
      // Whatever became of that one: a new one tells.
    }
  }
  try {
    return await rehearse(services, errand, listener, { signal })
  } catch (error) {
    if (!signal.aborted) keep(null)
    throw error
  }
}
