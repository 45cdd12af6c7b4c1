import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useCallback, useEffect, useRef, useState } from 'react'
import { type PageServices, RequestFailed } from '../calls/call-function.ts'
import { setSearchParams, useSearchParam } from '../frame/use-search-param.ts'
import {
  type CompareRequest,
  type CompareRun,
  type CompareStep,
  type Comparison,
  readComparison,
  startComparison,
} from './read-comparison.ts'

export type ComparisonState =
  | { is: 'loading' }
  | {
      is: 'running'
      step: CompareStep | null
      startedAt: Date
      /** When the work was last heard of; null while its own answer tells. */
      heardAt: Date | null
      isOutOfReach: boolean
    }
  | { is: 'failed'; error: unknown; isTooLong: boolean; isForgotten: boolean }
  | { is: 'done'; run: CompareRun; comparison: Comparison }

/** After this many milliseconds a comparison that somebody else's tab started is asked about again. */
const POLL_MS = 1_500

const TOO_LONG = new Set(['restore_too_long', 'backup_timed_out', 'backup_cancelled'])

/**
 * A comparison that is started when the view opens, and found again by the run in the address. While its
 * own answer streams, that tells how far it is; when the line breaks, the run does.
 */
export function useComparison(
  services: PageServices,
  { tenantId, backupId, withId }: Omit<CompareRequest, 'tables'>,
  isReady: boolean,
) {
  const queries = useQueryClient()
  const [runId] = useSearchParam('run')
  const [told, setTold] = useState<{ step: CompareStep | null; startedAt: Date }>()
  const reading = useRef<AbortController>(undefined)
  const startedFor = useRef<string>(undefined)
  const subject = `${backupId} ${withId ?? 'live'}`

  const start = useMutation({
    mutationFn: ({ tables, signal }: { tables: string[] | null; signal: AbortSignal }) =>
      startComparison(
        services,
        { tenantId, backupId, withId, tables },
        {
          signal,
          onStep: (step, run) => {
            if (signal.aborted) return
            setTold((before) => ({ step, startedAt: before?.startedAt ?? new Date() }))
            setSearchParams({ run }, 'replace')
          },
        },
      ),
    onSuccess: (run, { signal }) => {
      if (signal.aborted) return
      queries.setQueryData(['comparison', run.runId], run)
      setSearchParams({ run: run.runId }, 'replace')
    },
  })

  const { mutate } = start
  const begin = useCallback(
    (tables: string[] | null) => {
      reading.current?.abort()
      const controller = new AbortController()
      reading.current = controller
      startedFor.current = subject
      setTold({ step: null, startedAt: new Date() })
      setSearchParams({ run: null }, 'replace')
      mutate({ tables, signal: controller.signal })
    },
    [mutate, subject],
  )

  const known = useQuery({
    queryKey: ['comparison', runId],
    queryFn: ({ signal }) => readComparison(services, runId ?? '', signal),
    enabled: runId !== null && !start.isPending,
    staleTime: Number.POSITIVE_INFINITY,
    refetchOnWindowFocus: false,
    refetchInterval: ({ state }) => (state.data?.status === 'running' ? POLL_MS : false),
  })

  const compared = known.data?.comparison
  const isOfOthers =
    compared != null && (compared.backupId !== backupId || compared.otherBackupId !== withId)
  const mustStart = isReady && startedFor.current !== subject && (runId === null || isOfOthers)
  useEffect(() => {
    if (mustStart) begin(null)
  }, [mustStart, begin])
  useEffect(
    () => () => {
      reading.current?.abort()
      startedFor.current = undefined
    },
    [],
  )

  return { state: findState(), begin, runId }

  function findState(): ComparisonState {
    if (start.isPending || mustStart) {
      return {
        is: 'running',
        step: told?.step ?? null,
        startedAt: told?.startedAt ?? new Date(),
        heardAt: null,
        isOutOfReach: false,
      }
    }
    const isOwnFailure = start.isError && startedFor.current === subject
    const isLineBroken = start.error instanceof RequestFailed && start.error.code === 'offline'
    if (isOwnFailure && !(isLineBroken && runId !== null)) return toFailure(start.error)
    if (known.data?.status === 'running') {
      return {
        is: 'running',
        step: known.data.step,
        startedAt: known.data.createdAt,
        heardAt: known.data.heardAt,
        isOutOfReach: known.isError,
      }
    }
    if (known.data?.comparison != null) {
      return { is: 'done', run: known.data, comparison: known.data.comparison }
    }
    if (known.data?.error != null) return toFailure(known.data.error)
    if (known.isError) return toFailure(known.error)
    return { is: 'loading' }
  }
}

function toFailure(error: unknown): ComparisonState {
  const code = error instanceof RequestFailed ? error.code : ''
  return {
    is: 'failed',
    error,
    isTooLong: TOO_LONG.has(code),
    isForgotten: code === 'run_not_found',
  }
}
