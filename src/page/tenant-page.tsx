import { Skeleton, Tabs, Text, Title } from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense, useEffect, useRef, useState } from 'react'
import { BackupList } from './backups/backup-list.tsx'
import { CreateBackupDialog, usePreloadedOverlays } from './backups/load-overlays.ts'
import { RunPanel } from './backups/run-panel.tsx'
import { useBackupCreation } from './backups/use-backup-creation.ts'
import type { PageServices } from './calls/call-function.ts'
import { ErrorNotice } from './frame/error-notice.tsx'
import { ListSkeleton } from './frame/list-parts.tsx'
import classes from './frame/page.module.css'
import { PartBoundary } from './frame/part-boundary.tsx'
import { UtcTimes } from './frame/times.tsx'
import { setSearchParams, useSearchParam } from './frame/use-search-param.ts'
import type { ViewProps } from './frame/view-props.ts'
import { ZoneSwitch } from './frame/zone-switch.tsx'
import { NO_TAB, OPERATOR_TITLES, OperatorPanels, OperatorTabs } from './operator-panel.tsx'
import { readState, type State } from './state/read-state.ts'
import { RestoreNotice } from './state/restore-notice.tsx'
import { StateHead, StateHeadSkeleton } from './state/state-head.tsx'
import type { Tenant } from './tenants/read-tenant.ts'
import { TenantsPanel } from './tenants/tenants-panel.tsx'
import { Timeline } from './timeline/timeline.tsx'

const HistoryList = lazy(() =>
  import('./history/history-list.tsx').then((module) => ({ default: module.HistoryList })),
)

/** Tabs that are about no tenant, by their titles; who may see which is said where they are shown. */
const TITLES: Record<string, string> = {
  tenants: 'All tenants',
  ...OPERATOR_TITLES,
}

/** What is opened from a row or a notice, has an address of its own, and is loaded then. */
const VIEWS = {
  compare: lazy(() => import('./compare/compare-view.tsx')),
  restore: lazy(() => import('./restore/restore-view.tsx')),
  undo: lazy(() => import('./restore/undo-view.tsx')),
}

const NO_VIEW = { view: null, backup: null, with: null, run: null, restore: null, step: null }

/** The page of one tenant: the list with everything around it, or one of the views. */
export function TenantPage({ services, tenant }: { services: PageServices; tenant: Tenant }) {
  const isNarrow = useMediaQuery('(max-width: 48em)', undefined, { getInitialValueInEffect: false })
  const [view] = useSearchParam('view')
  const [tab] = useSearchParam('tab')
  const [utc, setUtc] = useState(false)
  const [status, announce] = useState('')
  const heading = useRef<HTMLHeadingElement>(null)
  const View = isViewName(view) ? VIEWS[view] : null
  const ownTitle = View === null && tab !== null ? TITLES[tab] : undefined
  const title = ownTitle ?? `Backups of ${tenant.name}`

  useEffect(() => {
    // Chosen from a list that is gone now, which had the focus.
    const isChosen = new URLSearchParams(window.location.search).has('tenant')
    if (isChosen && document.activeElement === document.body) heading.current?.focus()
  }, [])

  const wasView = useRef(View !== null)
  useEffect(() => {
    if (View === null) document.title = title
    // Each view takes the focus itself when it comes; back in the list it must not be lost.
    if (View === null && wasView.current) heading.current?.focus()
    wasView.current = View !== null
  }, [View, title])

  return (
    <UtcTimes value={utc}>
      <p role="status" className={classes.hidden}>
        {status}
      </p>
      <div className={classes.top}>
        <Title
          order={1}
          size="h2"
          ref={heading}
          tabIndex={-1}
          className={`${classes.title} ${classes.focusTarget}`}
        >
          {title}
        </Title>
        <ZoneSwitch utc={utc} onChange={setUtc} />
      </div>
      {View === null ? (
        <Overview services={services} tenant={tenant} isNarrow={isNarrow} announce={announce} />
      ) : (
        <PartBoundary key={view}>
          <Suspense fallback={<ViewSkeleton />}>
            <View
              services={services}
              tenant={tenant}
              isNarrow={isNarrow}
              announce={announce}
              onClose={() => setSearchParams(NO_VIEW)}
            />
          </Suspense>
        </PartBoundary>
      )}
    </UtcTimes>
  )
}

function isViewName(view: string | null): view is keyof typeof VIEWS {
  return view !== null && Object.hasOwn(VIEWS, view)
}

function ViewSkeleton() {
  return (
    <div role="status" aria-label="Loading">
      <Skeleton height={28} width={280} maw="100%" mb="lg" />
      <Skeleton height={320} radius="md" />
    </div>
  )
}

const isTenantTab = (tab: string | null) => tab === 'backups' || tab === 'history'

/** How to show the progress of what runs; undefined where nobody can follow it here. */
function findProgress(
  running: State['running'],
  showBackup: (runId: string) => void,
): (() => void) | undefined {
  const runId = running?.runId ?? null
  if (running === null || runId === null) return undefined
  if (running.kind === 'backup') return () => showBackup(runId)
  return () => setSearchParams({ view: running.kind, run: runId })
}

/** How often the state is read again: while something runs, and otherwise. */
const BUSY_REFRESH_MS = 4_000
const REFRESH_MS = 60_000

function Overview({
  services,
  tenant,
  isNarrow,
  announce,
}: {
  services: PageServices
  tenant: Tenant
  isNarrow: boolean
  announce: ViewProps['announce']
}) {
  const [tab] = useSearchParam('tab')
  const [dialog, setDialog] = useState<'never' | 'open' | 'closed'>('never')
  // A dialog that is loaded open does not know what had the focus before it.
  const opener = useRef<Element | null>(null)
  const openDialog = () => {
    opener.current = document.activeElement
    setDialog('open')
  }
  const closeDialog = () => {
    setDialog('closed')
    if (opener.current instanceof HTMLElement) opener.current.focus()
  }
  usePreloadedOverlays()
  const creation = useBackupCreation(services, tenant.id)

  const state = useQuery({
    queryKey: ['state', tenant.id],
    queryFn: ({ signal }) => readState(services, tenant.id, signal),
    refetchInterval: (query) => (query.state.data?.running == null ? REFRESH_MS : BUSY_REFRESH_MS),
  })
  const isFollowed = creation.runId !== null || creation.isBusy
  const viewer = state.data?.viewer
  const mayChoose = viewer?.mayChoose === true
  const mayOperate = viewer?.isOperator === true
  const isAllowed =
    tab === 'history' ||
    (tab === 'tenants' && mayChoose) ||
    (mayOperate && tab !== null && Object.hasOwn(OPERATOR_TITLES, tab))
  const shown = isAllowed ? tab : 'backups'
  const isOfTenant = isTenantTab(shown)

  return (
    <>
      {isOfTenant && (
        <div className={classes.stack}>
          {state.data !== undefined ? (
            <>
              <StateHead
                state={state.data}
                isBusy={creation.isBusy}
                staleSince={state.isError ? new Date(state.dataUpdatedAt) : null}
                onCreate={openDialog}
                onShowProgress={
                  isFollowed ? undefined : findProgress(state.data.running, creation.show)
                }
              />
              {state.data.lastRestore !== null && (
                <RestoreNotice restore={state.data.lastRestore} />
              )}
            </>
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
          {isFollowed && (
            <RunPanel
              services={services}
              tenantId={tenant.id}
              runId={creation.runId}
              askedAt={creation.askedAt}
              tableCount={state.data?.tables.length ?? null}
              onDone={creation.refresh}
              onDismiss={creation.dismiss}
              announce={announce}
            />
          )}
        </div>
      )}
      <Tabs
        mt={isOfTenant ? 'xl' : 0}
        keepMounted={false}
        value={shown}
        onChange={(next) =>
          setSearchParams({
            ...NO_TAB,
            // A backup that is followed is followed on each tab of its tenant.
            ...(isOfTenant && isTenantTab(next) ? { run: creation.runId } : {}),
            tab: next === 'backups' ? null : next,
          })
        }
      >
        <Tabs.List className={classes.tabs}>
          <Tabs.Tab value="backups">Available backups</Tabs.Tab>
          <Tabs.Tab value="history">History</Tabs.Tab>
          {mayChoose && (
            <Tabs.Tab value="tenants">
              {viewer.isOperator ? 'All tenants' : 'Your organizations'}
            </Tabs.Tab>
          )}
          {mayOperate && <OperatorTabs />}
        </Tabs.List>
        <Tabs.Panel value="backups" className={classes.panel}>
          <Timeline
            services={services}
            tenantId={tenant.id}
            missedAt={(state.data?.days ?? []).flatMap(({ missedAt }) => missedAt ?? [])}
            isNarrow={isNarrow}
          />
          <div className={classes.list}>
            <BackupList
              services={services}
              tenantId={tenant.id}
              isNarrow={isNarrow}
              announce={announce}
              onCreate={openDialog}
            />
          </div>
        </Tabs.Panel>
        <Tabs.Panel value="history" className={classes.list}>
          <PartBoundary>
            <Suspense fallback={<ListSkeleton isNarrow={isNarrow} />}>
              <HistoryList services={services} tenantId={tenant.id} isNarrow={isNarrow} />
            </Suspense>
          </PartBoundary>
        </Tabs.Panel>
        {mayChoose && (
          <Tabs.Panel value="tenants" className={classes.list}>
            <TenantsPanel services={services} isNarrow={isNarrow} announce={announce} />
          </Tabs.Panel>
        )}
        {mayOperate && (
          <OperatorPanels services={services} isNarrow={isNarrow} announce={announce} />
        )}
      </Tabs>
      {isOfTenant && (
        <Text size="xs" c="dimmed" mt="lg" maw="70ch">
          A backup holds the rows of all tables of {tenant.name}. Files in Storage, such as uploaded
          pictures and documents, are not part of it.
        </Text>
      )}
      {dialog !== 'never' && (
        <PartBoundary>
          <Suspense fallback={null}>
            <CreateBackupDialog
              tenantName={tenant.name}
              isOpen={dialog === 'open'}
              onClose={closeDialog}
              onCreate={(request) => {
                setDialog('closed')
                creation.create(request)
              }}
            />
          </Suspense>
        </PartBoundary>
      )}
    </>
  )
}
