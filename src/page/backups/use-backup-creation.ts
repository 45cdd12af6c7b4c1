import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useCallback, useRef, useState } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { useSearchParam } from '../frame/use-search-param.ts'
import { type BackupRequest, findRunning, startBackup } from './start-backup.ts'

/**
 * One backup from the button to its end. The run stands in the address, so that a reload, and whoever
 * opens the address, finds it again. The key makes sure that trying again starts nothing twice.
 */
export function useBackupCreation(services: PageServices, tenantId: string) {
  const [runId, setRunId] = useSearchParam('run')
  const [asked, setAsked] = useState<{ request: BackupRequest; key: string; at: Date } | null>(null)
  const queries = useQueryClient()
  // A second click arrives before anything is drawn anew.
  const isStarting = useRef(false)

  const refresh = useCallback(() => {
    for (const key of ['state', 'backups', 'timeline', 'history']) {
      void queries.invalidateQueries({ queryKey: [key, tenantId] })
    }
  }, [queries, tenantId])

  const start = useMutation({
    mutationFn: ({ request, key }: { request: BackupRequest; key: string }) =>
      startBackup(services, { tenantId, ...request, key }),
    onSuccess: (run) => setRunId(run.runId, 'replace'),
    onSettled: () => {
      isStarting.current = false
      refresh()
    },
  })

  // While the call waits for its answer, the run is already in the catalog.
  useQuery({
    queryKey: ['running', tenantId, asked?.key],
    queryFn: async ({ signal }) => {
      const found = await findRunning(services, tenantId, signal)
      if (found !== null) {
        setRunId(found, 'replace')
        refresh()
      }
      return found
    },
    enabled: start.isPending && runId === null,
    refetchInterval: 800,
  })

  const begin = (asked: { request: BackupRequest; key: string }) => {
    if (isStarting.current) return
    isStarting.current = true
    start.mutate(asked)
  }
  const create = (request: BackupRequest) => {
    if (isStarting.current) return
    const next = { request, key: crypto.randomUUID(), at: new Date() }
    setRunId(null, 'replace')
    setAsked(next)
    begin(next)
  }
  return {
    runId,
    isBusy: start.isPending,
    /** Null as well where the run itself tells what went wrong. */
    failure: start.isError && runId === null ? start.error : null,
    askedAt: asked?.at ?? new Date(),
    create,
    tryAgain: asked === null ? undefined : () => begin(asked),
    show: (run: string) => setRunId(run),
    dismiss: () => {
      start.reset()
      setRunId(null, 'replace')
    },
    refresh,
  }
}
