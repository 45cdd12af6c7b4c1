import { Alert, Button, Code, List, Paper, Text, Title } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { type ReactNode, useEffect, useRef } from 'react'
import { KINDS } from '../backups/backup-words.ts'
import { type PageServices, RequestFailed } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatBytes, formatCount, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { EmptyList, ListCard, ListSkeleton, ListTable } from '../frame/list-parts.tsx'
import shared from '../frame/page.module.css'
import { Day, Time } from '../frame/times.tsx'
import { TypedWord, useTypedWord } from '../frame/typed-word.tsx'
import { describePolicy } from './describe-policy.ts'
import {
  type PolicySource,
  type PreviewedTenant,
  type PrunePreview,
  type PruneResult,
  previewPruning,
  prune,
} from './read-pruning.ts'
import classes from './tenants-list.module.css'

interface PruneViewProps {
  services: PageServices
  isNarrow: boolean
  /** Tells screen readers. */
  announce: (text: string) => void
  onClose: () => void
}

/** What no retention rule keeps any more, of all tenants; and the button that removes just that. */
export default function PruneView({ services, isNarrow, announce, onClose }: PruneViewProps) {
  const queries = useQueryClient()
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => heading.current?.focus(), [])
  const preview = useQuery({
    queryKey: ['pruning'],
    queryFn: ({ signal }) => previewPruning(services, signal),
    // What is shown is what is removed: it is never exchanged under a reader's hands.
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  })
  const removal = useMutation({
    mutationFn: (planHash: string) => prune(services, planHash),
    onSuccess: ({ backups }) => {
      announce(`${formatPlural(backups, 'backup')} removed.`)
      for (const key of ['tenants', 'state', 'backups', 'backup', 'timeline', 'history']) {
        void queries.invalidateQueries({ queryKey: [key] })
      }
    },
    onError: (error) => {
      if (isStale(error)) void preview.refetch()
    },
  })
  const found = preview.data?.totals.expired
  useEffect(() => {
    if (found !== undefined) announce(`${formatPlural(found, 'backup')} would be removed.`)
  }, [announce, found])
  const lookAgain = () => {
    removal.reset()
    void preview.refetch()
  }

  return (
    <section className={classes.pruning} aria-labelledby="tenantkeep-pruning">
      <div>
        <Button
          variant="subtle"
          size="compact-sm"
          leftSection={<Icon name="left" />}
          className={classes.back}
          onClick={onClose}
        >
          Back to the tenants
        </Button>
        <Title
          order={2}
          size="h3"
          id="tenantkeep-pruning"
          ref={heading}
          tabIndex={-1}
          className={shared.focusTarget}
        >
          Pruning
        </Title>
        <Text c="dimmed" size="sm" mt={4} maw="68ch">
          What no retention rule keeps is removed for good, from the list and from the storage.
          Never what is pinned, held or in use, nor the newest good backup of a tenant.
        </Text>
      </div>
      {removal.isError && <Failure error={removal.error} />}
      {removal.isSuccess ? (
        <Done result={removal.data} tenants={preview.data?.tenants ?? []} onAgain={lookAgain} />
      ) : preview.isFetching ? (
        <div role="status" aria-label="Looking at the backups of all tenants">
          <ListSkeleton isNarrow={isNarrow} />
        </div>
      ) : preview.isError ? (
        <ErrorNotice
          error={preview.error}
          what="What would be removed could not be found out"
          onRetry={() => preview.refetch()}
        />
      ) : preview.data === undefined ? null : (
        <>
          <Preview preview={preview.data} isNarrow={isNarrow} />
          {preview.data.totals.expired > 0 && (
            <Confirm
              key={preview.data.planHash}
              count={preview.data.totals.expired}
              isBusy={removal.isPending}
              onConfirm={() => removal.mutate(preview.data.planHash)}
            />
          )}
          <Rules rules={preview.data.rules} />
        </>
      )}
    </section>
  )
}

function isStale(error: unknown): boolean {
  return error instanceof RequestFailed && error.code === 'plan_stale'
}

/** No answer, or none that says what was done. */
const UNKNOWN: readonly string[] = ['offline', 'unexpected_answer']

function Failure({ error }: { error: unknown }) {
  if (isStale(error)) {
    return (
      <Alert
        color="yellow"
        icon={<Icon name="attention" />}
        title="What would go is not what was shown"
        role="alert"
      >
        Something changed meanwhile. Nothing was removed; look at it anew.
      </Alert>
    )
  }
  if (error instanceof RequestFailed && UNKNOWN.includes(error.code)) {
    return (
      <Alert
        color="red"
        icon={<Icon name="cross" />}
        title="It is not known what became of it"
        role="alert"
      >
        Some or all of it may be gone. What was not removed is shown when you look again, and the
        history of each tenant says what was.
      </Alert>
    )
  }
  return <ErrorNotice error={error} what="Nothing was removed" />
}

function Preview({ preview, isNarrow }: { preview: PrunePreview; isNarrow: boolean }) {
  const { totals, tenants } = preview
  const problems = tenants.filter(({ problem }) => problem !== null)
  const going = tenants.filter(({ expired }) => expired.length > 0)
  const isCounted = going.every(({ files }) => files !== null)
  return (
    <>
      {problems.length > 0 && (
        <Alert
          color="yellow"
          icon={<Icon name="attention" />}
          title={`Of ${formatPlural(problems.length, 'tenant')} nothing is removed`}
        >
          <List size="sm" spacing={4}>
            {problems.map(({ id, name, problem }) => (
              <List.Item key={id}>
                {name}: {problem}
              </List.Item>
            ))}
          </List>
        </Alert>
      )}
      {totals.expired === 0 ? (
        <Paper withBorder className={shared.card}>
          <EmptyList
            title="There is nothing to remove"
            text={`A rule, a pin or work under way keeps each of the ${formatPlural(totals.kept, 'backup')} of ${formatPlural(totals.tenants, 'tenant')}.`}
          />
        </Paper>
      ) : (
        <>
          <Text fw={600} size="lg">
            {formatPlural(totals.expired, 'backup')} would go, {formatCount(totals.kept)} stay.{' '}
            {isCounted ? 'That' : 'That at least'} frees {formatBytes(totals.bytes)} in{' '}
            {formatPlural(totals.files, 'file')}.
          </Text>
          {isNarrow ? (
            <ul className={shared.cards}>
              {going.map((tenant) => (
                <ListCard key={tenant.id}>
                  <Text fw={600}>{tenant.name}</Text>
                  <Text size="sm">
                    {formatPlural(tenant.expired.length, 'backup')} would go ·{' '}
                    {formatCount(tenant.keptCount)} stay
                    {tenant.bytes !== null && ` · ${formatBytes(tenant.bytes)}`}
                  </Text>
                  <TenantRules tenant={tenant} />
                  <Expired tenant={tenant} />
                </ListCard>
              ))}
            </ul>
          ) : (
            <div className={classes.framed}>
              <ListTable
                caption="What would be removed, by tenant"
                head={
                  <>
                    <th scope="col">Tenant</th>
                    <th scope="col" className={shared.number}>
                      Would go
                    </th>
                    <th scope="col" className={shared.number}>
                      Stay
                    </th>
                    <th scope="col" className={shared.number}>
                      Frees
                    </th>
                  </>
                }
              >
                {going.map((tenant) => (
                  <tr key={tenant.id}>
                    <td>
                      <Text size="sm" fw={600}>
                        {tenant.name}
                      </Text>
                      <TenantRules tenant={tenant} />
                      <Expired tenant={tenant} />
                    </td>
                    <td className={shared.number}>{formatCount(tenant.expired.length)}</td>
                    <td className={shared.number}>{formatCount(tenant.keptCount)}</td>
                    <td className={shared.number}>
                      {tenant.bytes === null ? 'not counted' : formatBytes(tenant.bytes)}
                    </td>
                  </tr>
                ))}
              </ListTable>
            </div>
          )}
        </>
      )}
    </>
  )
}

const SOURCES: Record<PolicySource, string> = {
  tenant: 'its own rules',
  setting: 'the rules of all',
  default: 'the default rules',
}

function TenantRules({ tenant }: { tenant: PreviewedTenant }) {
  const { departedSince, policy, policySource } = tenant
  return (
    <Text size="xs" c="dimmed" className={shared.reason}>
      {departedSince !== null ? (
        <>
          The application has not known it since <Day value={departedSince} />.
        </>
      ) : (
        policy !== null && `By ${SOURCES[policySource]}: ${describePolicy(policy).join('; ')}.`
      )}
    </Text>
  )
}

function Expired({ tenant: { expired } }: { tenant: PreviewedTenant }) {
  return (
    <details className={classes.expired}>
      <summary>Which, and why</summary>
      <ul>
        {expired.map(({ id, type, takenAt, name, totalSize, why }) => (
          <li key={id}>
            <span>
              <Time value={takenAt} /> · {KINDS[type]} · {formatBytes(totalSize)}
              {name !== null && ` · ${name}`}
            </span>
            <Text size="xs" c="dimmed">
              {why}
            </Text>
          </li>
        ))}
      </ul>
    </details>
  )
}

function Confirm({
  count,
  isBusy,
  onConfirm,
}: {
  count: number
  isBusy: boolean
  onConfirm: () => void
}) {
  const typed = useTypedWord(String(count), 'number')
  return (
    <Paper withBorder className={`${shared.card} ${classes.confirm}`}>
      <Text fw={600}>Remove {formatPlural(count, 'backup')} now?</Text>
      <Text size="sm">
        Exactly what is shown, or nothing. Nobody can bring {count === 1 ? 'it' : 'them'} back.
      </Text>
      <TypedWord {...typed.props} />
      <div>
        <Button
          color="red"
          size="md"
          loading={isBusy}
          onClick={() => {
            if (!isBusy && typed.check()) onConfirm()
          }}
        >
          Remove {formatPlural(count, 'backup')}
        </Button>
      </div>
    </Paper>
  )
}

function Done({
  result,
  tenants,
  onAgain,
}: {
  result: PruneResult
  /** Of the preview, for their names. */
  tenants: readonly PreviewedTenant[]
  onAgain: () => void
}) {
  const nameOf = (tenantId: string) => tenants.find(({ id }) => id === tenantId)?.name ?? tenantId
  const { backups, files, bytes, failed, busy, left, locked, elsewhere } = result
  const notes: ReactNode[] = [
    ...locked.map(({ tenantId, files: count, until }) => (
      <>
        {formatPlural(count, 'file')} of {nameOf(tenantId)} {count === 1 ? 'is' : 'are'} locked in
        the storage
        {until === null ? ' without an end' : null}
        {until !== null && (
          <>
            {' '}
            until <Day value={until} />
          </>
        )}
        , and {count === 1 ? 'goes' : 'go'} then.
      </>
    )),
    ...(elsewhere > 0
      ? [`${formatPlural(elsewhere, 'file')} lie in a storage that is not set up here.`]
      : []),
    ...failed.map(({ tenantId, message }) => `${nameOf(tenantId)}: ${message}`),
    ...(left > 0
      ? [
          `${formatPlural(left, 'tenant')} ${left === 1 ? 'is' : 'are'} left${busy.length > 0 ? ', because somebody works on them or the time was over' : ', because the time was over'}. Look again, or leave them to the next run.`,
        ]
      : []),
  ]
  const isClean = failed.length === 0
  return (
    <>
      <Alert
        color={isClean ? 'green' : 'yellow'}
        icon={<Icon name={isClean ? 'check' : 'attention'} />}
        title={`${formatPlural(backups, 'backup')} removed`}
        role="status"
      >
        <Text size="sm">
          {formatPlural(files, 'file')}, {formatBytes(bytes)}. The history of each tenant says
          which.
        </Text>
        {notes.length > 0 && (
          <List size="sm" mt="xs" spacing={4}>
            {notes.map((note, index) => (
              // Notes have no names of their own, and never change places.
              // biome-ignore lint/suspicious/noArrayIndexKey: see above
              <List.Item key={index}>{note}</List.Item>
            ))}
          </List>
        )}
      </Alert>
      <div>
        <Button variant="default" size="md" onClick={onAgain}>
          Look again
        </Button>
      </div>
    </>
  )
}

function Rules({ rules: { policy, source, problem } }: { rules: PrunePreview['rules'] }) {
  return (
    <Paper withBorder className={`${shared.card} ${classes.rules}`}>
      <Title order={3} size="h4">
        What is kept
      </Title>
      {policy === null ? (
        <Text size="sm">{problem}</Text>
      ) : (
        <>
          <Text size="sm">
            {source === 'default' ? 'Nobody set rules, so by default:' : 'Of every tenant:'}
          </Text>
          <List size="sm" spacing={2}>
            {describePolicy(policy).map((rule) => (
              <List.Item key={rule}>{rule}</List.Item>
            ))}
          </List>
        </>
      )}
      <Text size="sm" c="dimmed">
        Rules of its own for one tenant:{' '}
        <Code className={classes.command}>
          tenantkeep policy set --tenant ID --within-days 30 --monthly 12
        </Code>
        . For all: the setting <Code>retention</Code>.
      </Text>
    </Paper>
  )
}
