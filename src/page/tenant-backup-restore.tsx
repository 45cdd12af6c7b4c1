import { MantineProvider, Skeleton, Tabs, Title } from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'
import { QueryCache, QueryClient, QueryClientProvider, useQuery } from '@tanstack/react-query'
import { useEffect, useMemo, useRef, useState } from 'react'
import { type PageServices, RequestFailed } from './calls/call-function.ts'
import { ErrorNotice } from './frame/error-notice.tsx'
import { NoAccess } from './frame/no-access.tsx'
import classes from './frame/page.module.css'
import { UtcTimes } from './frame/times.tsx'
import { setSearchParams, useSearchParam } from './frame/use-search-param.ts'
import { ZoneSwitch } from './frame/zone-switch.tsx'
import { NO_TAB, OPERATOR_TITLES, OperatorPanels, OperatorTabs } from './operator-panel.tsx'
import { StateHeadSkeleton } from './state/state-head.tsx'
import { TenantPage } from './tenant-page.tsx'
import { readTenant } from './tenants/read-tenant.ts'
import { TenantsPanel } from './tenants/tenants-panel.tsx'
import { theme } from './theme.ts'

export interface TenantBackupRestoreProps extends PageServices {
  /** The tenant to show. Without it: the one in the address, else the one that the person looks after. */
  organizationId?: string
  /** Called when the session has ended, so that the host can ask the person to sign in again. */
  onSignInRequired?: () => void
}

/**
 * The page *Tenant Backup & Restore*: whether a tenant's data is safe, its backups, its history, and what
 * can be done with them. Needs somebody signed in on the given client, and shows them no more than row
 * level security and the functions allow. Keeps where one is in the search parameters of the address.
 */
export function TenantBackupRestore({
  supabase,
  functionsUrl,
  organizationId,
  onSignInRequired,
}: TenantBackupRestoreProps) {
  const askToSignIn = useRef(onSignInRequired)
  useEffect(() => {
    askToSignIn.current = onSignInRequired
  }, [onSignInRequired])
  const [queries] = useState(() => createQueryClient(() => askToSignIn.current?.()))
  useEffect(() => {
    // What was refused while nobody was signed in is asked for again.
    const { data } = supabase.auth.onAuthStateChange((event) => {
      if (event !== 'SIGNED_IN') return
      void queries.refetchQueries({ predicate: ({ state }) => state.status === 'error' })
    })
    return () => data.subscription.unsubscribe()
  }, [supabase, queries])
  const services = useMemo(() => ({ supabase, functionsUrl }), [supabase, functionsUrl])
  return (
    // Its variables come from style sheets, so that no style is written into the page at run time.
    <MantineProvider
      theme={theme}
      defaultColorScheme="auto"
      withCssVariables={false}
      withGlobalClasses={false}
    >
      <QueryClientProvider client={queries}>
        <main className={classes.page}>
          <TenantLoader services={services} organizationId={organizationId} />
        </main>
      </QueryClientProvider>
    </MantineProvider>
  )
}

function createQueryClient(onSignedOut: () => void): QueryClient {
  return new QueryClient({
    queryCache: new QueryCache({
      onError: (error) => {
        if (error instanceof RequestFailed && error.code === 'not_signed_in') onSignedOut()
      },
    }),
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
  const [addressed] = useSearchParam('tenant')
  const tenantId = organizationId ?? addressed ?? undefined
  const tenant = useQuery({
    queryKey: ['tenant', tenantId],
    queryFn: ({ signal }) => readTenant(services, tenantId, signal),
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
  if (code === 'not_allowed' || code === 'tenant_not_found') {
    return (
      <NoAccess
        services={services}
        isNamed={tenantId !== undefined}
        isBusy={tenant.isFetching}
        onRetry={() => void tenant.refetch()}
      />
    )
  }
  if (tenantId === undefined && (code === 'any_tenant' || code === 'invalid_request')) {
    return <ChooseTenant services={services} isOperator={code === 'any_tenant'} />
  }
  return (
    <ErrorNotice
      error={tenant.error}
      what="The page could not be loaded"
      onRetry={() => tenant.refetch()}
    />
  )
}

/** For operators, who have no tenant of their own, and people who look after several. */
function ChooseTenant({ services, isOperator }: { services: PageServices; isOperator: boolean }) {
  const isNarrow = useMediaQuery('(max-width: 48em)', undefined, { getInitialValueInEffect: false })
  const [tab] = useSearchParam('tab')
  const [status, announce] = useState('')
  const [utc, setUtc] = useState(false)
  const shown = isOperator && tab !== null && Object.hasOwn(OPERATOR_TITLES, tab) ? tab : 'tenants'
  const title = OPERATOR_TITLES[shown] ?? (isOperator ? 'All tenants' : 'Your organizations')
  useEffect(() => {
    document.title = title
  }, [title])
  const panel = <TenantsPanel services={services} isNarrow={isNarrow} announce={announce} />
  return (
    <UtcTimes value={utc}>
      <p role="status" className={classes.hidden}>
        {status}
      </p>
      <div className={classes.top}>
        <Title order={1} size="h2" className={classes.title}>
          {title}
        </Title>
        <ZoneSwitch utc={utc} onChange={setUtc} />
      </div>
      {isOperator ? (
        <Tabs
          keepMounted={false}
          value={shown}
          onChange={(next) => setSearchParams({ ...NO_TAB, tab: next === 'tenants' ? null : next })}
        >
          <Tabs.List className={classes.tabs}>
            <Tabs.Tab value="tenants">All tenants</Tabs.Tab>
            <OperatorTabs />
          </Tabs.List>
          <Tabs.Panel value="tenants" className={classes.list}>
            {panel}
          </Tabs.Panel>
          <OperatorPanels services={services} isNarrow={isNarrow} announce={announce} />
        </Tabs>
      ) : (
        <div className={classes.list}>{panel}</div>
      )}
    </UtcTimes>
  )
}
