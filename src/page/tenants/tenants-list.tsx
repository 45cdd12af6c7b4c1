import { Anchor, Badge, Button, CloseButton, Group, Stack, Text, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { lazy, type MouseEvent, type ReactNode, Suspense, useEffect, useState } from 'react'
import type { StatusWords } from '../backups/backup-words.ts'
import type { PageServices } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatBytes, formatCount, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import {
  EmptyList,
  ListCard,
  ListSkeleton,
  ListTable,
  Nothing,
  Pages,
  StatusBadge,
} from '../frame/list-parts.tsx'
import classes from '../frame/page.module.css'
import { Time } from '../frame/times.tsx'
import { useSearchParam } from '../frame/use-search-param.ts'
import type { StateCode } from '../state/read-state.ts'
import { type ListedTenant, listTenants } from './read-tenants.ts'
import parts from './tenants-list.module.css'

const PauseDialog = lazy(() => import('./pause-dialog.tsx'))

const STATES: Record<StateCode, StatusWords> = {
  damaged: { word: 'Damaged', colour: 'red', icon: 'cross' },
  overdue: { word: 'Overdue', colour: 'red', icon: 'cross' },
  last_failed: { word: 'Last one failed', colour: 'yellow', icon: 'attention' },
  none: { word: 'No backup', colour: 'yellow', icon: 'attention' },
  gaps: { word: 'Tables missing', colour: 'yellow', icon: 'attention' },
  unverified: { word: 'Not verified', colour: 'blue', icon: 'running' },
  restoring: { word: 'Restoring', colour: 'blue', icon: 'running' },
  running: { word: 'Running', colour: 'blue', icon: 'running' },
  paused: { word: 'Paused', colour: 'gray', icon: 'nothing' },
  verified: { word: 'Verified', colour: 'green', icon: 'check' },
}

/** States that somebody has to do something about. */
const NEEDY: readonly string[] = ['damaged', 'overdue', 'last_failed', 'none', 'gaps']

type PauseAction = 'pause' | 'resume'

interface PauseQuestion {
  tenant: ListedTenant
  action: PauseAction
  isOpen: boolean
}

interface TenantsListProps {
  services: PageServices
  isNarrow: boolean
  /** Tells screen readers. */
  announce: (text: string) => void
  /** Opens the page of a tenant. */
  onOpen: (tenantId: string) => void
  /** Opens what pruning would remove. */
  onPrune: () => void
}

/** How every tenant stands that the reader may see, those that need attention first. */
export function TenantsList({ services, isNarrow, announce, onOpen, onPrune }: TenantsListProps) {
  const [typed, setTyped] = useState('')
  const [search] = useDebouncedValue(typed.trim(), 300)
  const [pageParam, setPageParam] = useSearchParam('page')
  const page = Math.max(1, Number.parseInt(pageParam ?? '1', 10) || 1)
  const tenants = useQuery({
    queryKey: ['tenants', search, page],
    queryFn: ({ signal }) => listTenants(services, { search, page }, signal),
    placeholderData: keepPreviousData,
    refetchInterval: 60_000,
  })
  const found = search === '' || tenants.isPlaceholderData ? undefined : tenants.data?.total
  // Kept when the dialog closes, so that its words stay while it fades.
  const [question, setQuestion] = useState<PauseQuestion | null>(null)
  const ask = (tenant: ListedTenant, action: PauseAction) =>
    setQuestion({ tenant, action, isOpen: true })
  useEffect(() => {
    if (found !== undefined) announce(`${formatPlural(found, 'tenant')} found`)
  }, [announce, found])

  if (tenants.data === undefined) {
    return tenants.isError ? (
      <ErrorNotice
        error={tenants.error}
        what="The tenants could not be loaded"
        onRetry={() => tenants.refetch()}
      />
    ) : (
      <ListSkeleton isNarrow={isNarrow} />
    )
  }
  const { rows, total, counts, isOperator } = tenants.data
  const pausing = (tenant: ListedTenant) =>
    isOperator ? <PauseButton tenant={tenant} onAsk={ask} /> : null
  return (
    <div aria-busy={tenants.isPlaceholderData}>
      <div className={parts.tools}>
        <TextInput
          className={parts.search}
          aria-label="Search tenants"
          placeholder="Name, or how its id begins"
          size={isNarrow ? 'md' : 'sm'}
          leftSection={<Icon name="search" />}
          value={typed}
          maxLength={200}
          onChange={(event) => {
            setTyped(event.currentTarget.value)
            setPageParam(null, 'replace')
          }}
          rightSection={
            typed === '' ? null : (
              <CloseButton size="sm" aria-label="Clear the search" onClick={() => setTyped('')} />
            )
          }
        />
        <div className={parts.summary}>
          <Text size="sm" c="dimmed">
            {describeCounts(total, counts)}
          </Text>
          {isOperator && (
            <Button size={isNarrow ? 'md' : 'sm'} variant="default" onClick={onPrune}>
              Pruning…
            </Button>
          )}
        </div>
      </div>
      {rows.length === 0 ? (
        <EmptyList
          title={search === '' ? 'No tenants yet' : `No tenant matches “${search}”`}
          text={
            search === ''
              ? 'Every customer of the application will be listed here.'
              : 'Search by a part of the name, or by how the id begins.'
          }
        />
      ) : isNarrow ? (
        <TenantCards tenants={rows} onOpen={onOpen} pausing={pausing} />
      ) : (
        <TenantTable tenants={rows} onOpen={onOpen} pausing={pausing} />
      )}
      <Pages
        page={page}
        total={total}
        label="Pages of tenants"
        onChange={(next) => setPageParam(next === 1 ? null : String(next))}
      />
      {question !== null && (
        <Suspense fallback={null}>
          <PauseDialog
            services={services}
            {...question}
            onClose={() => {
              setQuestion({ ...question, isOpen: false })
              document.querySelector<HTMLElement>(`[data-pauses="${question.tenant.id}"]`)?.focus()
            }}
            announce={announce}
          />
        </Suspense>
      )}
    </div>
  )
}

/** `5 tenants, 1 needs attention`. */
function describeCounts(total: number, counts: Record<string, number>): string {
  const needy = NEEDY.reduce((sum, code) => sum + (counts[code] ?? 0), 0)
  if (total === 0) return ''
  const all = formatPlural(total, 'tenant')
  if (needy === 0) return `${all}, none needs attention`
  return `${all}, ${formatCount(needy)} ${needy === 1 ? 'needs' : 'need'} attention`
}

interface ListProps {
  tenants: ListedTenant[]
  onOpen: (tenantId: string) => void
  /** What pauses or resumes it, for whom that is. */
  pausing: (tenant: ListedTenant) => ReactNode
}

function TenantTable({ tenants, onOpen, pausing }: ListProps) {
  return (
    <ListTable
      caption="Tenants, those that need attention first"
      head={
        <>
          <th scope="col">Tenant</th>
          <th scope="col">State</th>
          <th scope="col">Newest backup</th>
          <th scope="col" className={classes.number}>
            Rows
          </th>
          <th scope="col" className={classes.number}>
            Size
          </th>
          <th scope="col">Last verified</th>
          <th scope="col" className={classes.number}>
            Failed in 30 days
          </th>
          <th scope="col">
            <span className={classes.hidden}>Actions</span>
          </th>
        </>
      }
    >
      {tenants.map((tenant) => (
        <tr key={tenant.id}>
          <td className={parts.nameCell}>
            <TenantLink tenant={tenant} onOpen={onOpen} />
          </td>
          <td className={classes.stateCell}>
            <TenantState tenant={tenant} />
          </td>
          <td className={classes.whenCell}>
            {tenant.newestBackup === null ? (
              <Nothing />
            ) : (
              <Time value={tenant.newestBackup.takenAt} />
            )}
          </td>
          <td className={classes.number}>
            {tenant.newestBackup?.totalRecords == null ? (
              <Nothing />
            ) : (
              formatCount(tenant.newestBackup.totalRecords)
            )}
          </td>
          <td className={classes.number}>
            {tenant.newestBackup?.totalSize == null ? (
              <Nothing />
            ) : (
              formatBytes(tenant.newestBackup.totalSize)
            )}
          </td>
          <td className={classes.whenCell}>
            {tenant.newestBackup?.verifiedAt == null ? (
              <Nothing />
            ) : (
              <Time value={tenant.newestBackup.verifiedAt} />
            )}
          </td>
          <td className={classes.number}>{formatCount(tenant.recentFailures)}</td>
          <td>{pausing(tenant)}</td>
        </tr>
      ))}
    </ListTable>
  )
}

function TenantCards({ tenants, onOpen, pausing }: ListProps) {
  return (
    <ul className={classes.cards}>
      {tenants.map((tenant) => (
        <ListCard key={tenant.id}>
          <TenantLink tenant={tenant} onOpen={onOpen} />
          <Group mt={6} mb={6}>
            <TenantState tenant={tenant} />
          </Group>
          {tenant.newestBackup !== null && (
            <Text size="sm">
              <Time value={tenant.newestBackup.takenAt} />
              {tenant.newestBackup.totalRecords !== null &&
                ` · ${formatPlural(tenant.newestBackup.totalRecords, 'row')}`}
              {tenant.newestBackup.totalSize !== null &&
                ` · ${formatBytes(tenant.newestBackup.totalSize)}`}
            </Text>
          )}
          {tenant.newestBackup?.verifiedAt != null && (
            <Text size="sm" c="dimmed">
              Last verified <Time value={tenant.newestBackup.verifiedAt} />
            </Text>
          )}
          {tenant.recentFailures > 0 && (
            <Text size="sm" c="dimmed">
              {formatPlural(tenant.recentFailures, 'failure')} in 30 days
            </Text>
          )}
          {pausing(tenant)}
        </ListCard>
      ))}
    </ul>
  )
}

/** Asks to pause or to resume the daily backups of a tenant. */
function PauseButton({
  tenant,
  onAsk,
}: {
  tenant: ListedTenant
  onAsk: (tenant: ListedTenant, action: PauseAction) => void
}) {
  const { id, name, state } = tenant
  const action = state.code === 'paused' ? 'resume' : 'pause'
  // Passed over for a reason of the application's own: there is nothing to resume.
  if (action === 'resume' && state.since === null) return null
  return (
    <Button
      size="xs"
      variant="subtle"
      className={parts.pauseButton}
      data-pauses={id}
      onClick={() => onAsk(tenant, action)}
    >
      {action === 'pause' ? 'Pause…' : 'Resume…'}
      <span className={classes.hidden}> the backups of {name}</span>
    </Button>
  )
}

/** A link, so that it can be opened beside this page too; and whether it is the template. */
function TenantLink({ tenant, onOpen }: { tenant: ListedTenant; onOpen: ListProps['onOpen'] }) {
  const open = (event: MouseEvent<HTMLAnchorElement>) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    event.preventDefault()
    onOpen(tenant.id)
  }
  return (
    <>
      <Anchor
        href={`?tenant=${encodeURIComponent(tenant.id)}`}
        onClick={open}
        fw={600}
        size="sm"
        className={parts.name}
      >
        {tenant.name}
      </Anchor>
      {tenant.isTemplate && (
        <div className={parts.template}>
          <Badge color="gray" leftSection={<Icon name="copy" size={13} />}>
            Template
          </Badge>
          <Text span size="xs" c="dimmed">
            holds the defaults, counts in no figure
          </Text>
        </div>
      )}
    </>
  )
}

function TenantState({ tenant: { state } }: { tenant: ListedTenant }) {
  return (
    <Stack gap={4} align="flex-start">
      <StatusBadge words={STATES[state.code]} />
      {state.reason !== null && (
        <Text size="xs" c="dimmed" className={classes.reason}>
          {state.reason}
        </Text>
      )}
    </Stack>
  )
}
