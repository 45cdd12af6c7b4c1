import { MantineProvider, SegmentedControl, Skeleton, Tabs, Text, Title } from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'
import {
  QueryClient,
  QueryClientProvider,
  useMutation,
  useQuery,
  useQueryClient,
} from '@tanstack/react-query'
import { useCallback, useMemo, useState } from 'react'
import { BackupList } from './backup-list.tsx'
import { type PageServices, RequestFailed } from './call-function.ts'
import { type BackupRequest, CreateBackupDialog } from './create-backup-dialog.tsx'
import { ErrorNotice } from './error-notice.tsx'
import { describeZone } from './format.ts'
import { HistoryList } from './history-list.tsx'
import { NoAccess } from './no-access.tsx'
import classes from './page.module.css'
import { readState } from './read-backups.ts'
import { readTenant, type Tenant } from './read-tenant.ts'
import { RunPanel } from './run-panel.tsx'
import { findRunning, startBackup } from './start-backup.ts'
import { StateHead, StateHeadSkeleton } from './state-head.tsx'
import { theme } from './theme.ts'
import { UtcTimes } from './times.tsx'
import { useSearchParam } from './use-search-param.ts'

export interface TenantBackupRestoreProps extends PageServices {
  /** The tenant to show. Without it: the one that the signed-in person looks after. */
  organizationId?: string
}

/**
 * The page *Tenant Backup & Restore*: whether a tenant's data is safe, its backups, its history, and
 * the button that takes a backup. Needs somebody signed in on the given client, and shows them no more
 * than row level security and the functions allow.
 */
export function TenantBackupRestore({
  supabase,
  functionsUrl,
  organizationId,
}: TenantBackupRestoreProps) {
  const [queries] = useState(createQueryClient)
  const services = useMemo(() => ({ supabase, functionsUrl }), [supabase, functionsUrl])
  return (
    // Its variables come from style sheets, so that no style is written into the page at run time.
    <MantineProvider theme={theme} defaultColorScheme="auto" withCssVariables={false}>
      <QueryClientProvider client={queries}>
        <main className={classes.page}>
          <TenantLoader services={services} organizationId={organizationId} />
        </main>
      </QueryClientProvider>
    </MantineProvider>
  )
}

function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 15_000,
        networkMode: 'always',
        // The Supabase client tries again by itself; the functions are asked twice.
        retry: (failures, error) =>
          failures < 1 && error instanceof RequestFailed && error.code === 'offline',
      },
      // Never sent later by itself: a backup that nobody waits for any more would surprise.
      mutations: { retry: false, networkMode: 'always' },
    },
  })
}

function TenantLoader({
  services,
  organizationId,
}: {
  services: PageServices
  organizationId: string | undefined
}) {
  const tenant = useQuery({
    queryKey: ['tenant', organizationId],
    queryFn: ({ signal }) => readTenant(services, organizationId, signal),
    staleTime: Number.POSITIVE_INFINITY,
  })
  if (tenant.data !== undefined) {
    return <TenantPage key={tenant.data.id} services={services} tenant={tenant.data} />
  }
  if (tenant.isPending) {
    return (
      <div role="status" aria-label="Loading">
        <Skeleton height={34} width={320} maw="100%" mb="lg" />
        <StateHeadSkeleton />
      </div>
    )
  }
  const code = tenant.error instanceof RequestFailed ? tenant.error.code : undefined
  if (code === 'not_allowed' || code === 'tenant_not_found') return <NoAccess />
  return (
    <ErrorNotice
      error={tenant.error}
      what="The page could not be loaded"
      onRetry={() => tenant.refetch()}
    />
  )
}

/** How often the state is read again: while something runs, and otherwise. */
const BUSY_REFRESH_MS = 4_000
const REFRESH_MS = 60_000

function TenantPage({ services, tenant }: { services: PageServices; tenant: Tenant }) {
  const isNarrow = useMediaQuery('(max-width: 48em)', undefined, { getInitialValueInEffect: false })
  const [tab, setTab] = useSearchParam('tab')
  const [, setPageNumber] = useSearchParam('page')
  const [isDialogOpen, setDialogOpen] = useState(false)
  const [utc, setUtc] = useState(false)
  const [status, announce] = useState('')
  const creation = useBackupCreation(services, tenant.id)

  const state = useQuery({
    queryKey: ['state', tenant.id],
    queryFn: ({ signal }) => readState(services, tenant.id, signal),
    refetchInterval: (query) =>
      query.state.data?.newestAttempt?.status === 'running' ? BUSY_REFRESH_MS : REFRESH_MS,
  })
  const name = tenant.name ?? state.data?.newestAttempt?.tenantName ?? tenant.id
  const runningRun =
    state.data?.newestAttempt?.status === 'running' ? state.data.newestAttempt.runId : null
  const canShowProgress = runningRun !== null && creation.runId === null && !creation.isBusy

  return (
    <UtcTimes value={utc}>
      <p role="status" className={classes.hidden}>
        {status}
      </p>
      <Title order={1} size="h2" mb="lg" className={classes.title}>
        Backups of {name}
      </Title>
      <div className={classes.stack}>
        {state.data !== undefined ? (
          <StateHead
            state={state.data}
            isBusy={creation.isBusy}
            isFollowed={creation.runId !== null || creation.isBusy}
            onCreate={() => setDialogOpen(true)}
            onShowProgress={
              canShowProgress && runningRun !== null ? () => creation.show(runningRun) : undefined
            }
          />
        ) : state.isError ? (
          <ErrorNotice
            error={state.error}
            what="The state could not be loaded"
            onRetry={() => state.refetch()}
          />
        ) : (
          <StateHeadSkeleton />
        )}
        {creation.failure !== null && (
          <ErrorNotice
            error={creation.failure}
            what="The backup was not created"
            onRetry={creation.tryAgain}
          />
        )}
        {(creation.runId !== null || creation.isBusy) && (
          <RunPanel
            services={services}
            tenantId={tenant.id}
            runId={creation.runId}
            askedAt={creation.askedAt}
            onDone={creation.refresh}
            onDismiss={creation.dismiss}
            announce={announce}
          />
        )}
      </div>
      <Tabs
        mt="xl"
        keepMounted={false}
        value={tab === 'history' ? 'history' : 'backups'}
        onChange={(next) => {
          setPageNumber(null, 'replace')
          setTab(next === 'history' ? next : null)
        }}
      >
        <div className={classes.tools}>
          <Tabs.List className={classes.tabs}>
            <Tabs.Tab value="backups">Available backups</Tabs.Tab>
            <Tabs.Tab value="history">History</Tabs.Tab>
          </Tabs.List>
          <ZoneSwitch utc={utc} onChange={setUtc} />
        </div>
        <Tabs.Panel value="backups" className={classes.list}>
          <BackupList services={services} tenantId={tenant.id} isNarrow={isNarrow} />
        </Tabs.Panel>
        <Tabs.Panel value="history" className={classes.list}>
          <HistoryList services={services} tenantId={tenant.id} isNarrow={isNarrow} />
        </Tabs.Panel>
      </Tabs>
      <Text size="xs" c="dimmed" mt="lg" maw="70ch">
        A backup holds the rows of all tables of {name}. Files in Storage, such as uploaded pictures
        and documents, are not part of it.
      </Text>
      <CreateBackupDialog
        tenantName={name}
        isOpen={isDialogOpen}
        onClose={() => setDialogOpen(false)}
        onCreate={(request) => {
          setDialogOpen(false)
          creation.create(request)
        }}
      />
    </UtcTimes>
  )
}

function ZoneSwitch({ utc, onChange }: { utc: boolean; onChange: (utc: boolean) => void }) {
  const zone = describeZone(new Date())
  if (zone === 'UTC') {
    return (
      <Text size="xs" c="dimmed" className={classes.zone}>
        Times: UTC
      </Text>
    )
  }
  return (
    <div className={classes.zone}>
      <Text size="xs" c="dimmed" id="tenantkeep-zone">
        Times
      </Text>
      <SegmentedControl
        size="xs"
        aria-labelledby="tenantkeep-zone"
        value={utc ? 'utc' : 'local'}
        onChange={(value) => onChange(value === 'utc')}
        data={[
          { value: 'local', label: zone },
          { value: 'utc', label: 'UTC' },
        ]}
      />
    </div>
  )
}

/**
 * One backup from the button to its end. The run stands in the address, so that a reload, and whoever
 * opens the address, finds it again. The key makes sure that trying again starts nothing twice.
 */
function useBackupCreation(services: PageServices, tenantId: string) {
  const [runId, setRunId] = useSearchParam('run')
  const [asked, setAsked] = useState<{ request: BackupRequest; key: string; at: Date } | null>(null)
  const queries = useQueryClient()

  const refresh = useCallback(() => {
    for (const key of ['state', 'backups', 'history']) {
      void queries.invalidateQueries({ queryKey: [key, tenantId] })
    }
  }, [queries, tenantId])

  const start = useMutation({
    mutationFn: ({ request, key }: { request: BackupRequest; key: string }) =>
      startBackup(services, { tenantId, ...request, key }),
    onSuccess: (run) => setRunId(run.runId, 'replace'),
    onSettled: refresh,
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

  const create = (request: BackupRequest) => {
    const next = { request, key: crypto.randomUUID(), at: new Date() }
    setRunId(null, 'replace')
    setAsked(next)
    start.mutate(next)
  }
  return {
    runId,
    isBusy: start.isPending,
    /** Null as well where the run itself tells what went wrong. */
    failure: start.isError && runId === null ? start.error : null,
    askedAt: asked?.at ?? new Date(),
    create,
    tryAgain: asked === null ? undefined : () => start.mutate(asked),
    show: (run: string) => setRunId(run),
    dismiss: () => {
      start.reset()
      setRunId(null, 'replace')
    },
    refresh,
  }
}
