import { Alert, Group, Paper, Progress, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { type Ref, useEffect, useRef } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatCount, formatDuration, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import classes from '../frame/page.module.css'
import { useNow } from '../frame/times.tsx'
import { readBackup } from './read-backups.ts'
import { type Run, type RunProgress, readRun } from './start-backup.ts'

interface RunPanelProps {
  services: PageServices
  tenantId: string
  /** Null while the service has not said yet which run it is. */
  runId: string | null
  /** When it was asked for, as long as the run itself is not known. */
  askedAt: Date
  /** How many tables a backup holds, as far as that is known. */
  tableCount: number | null
  onDone: () => void
  onDismiss: () => void
  /** Tells screen readers. */
  announce: (text: string) => void
}

const POLL_MS = 1_000

/** What a backup that was started is doing, read from its run; then how it ended. */
export function RunPanel(props: RunPanelProps) {
  const { services, tenantId, runId, onDone, onDismiss, announce } = props
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => heading.current?.focus(), [])

  const run = useQuery({
    queryKey: ['run', runId],
    queryFn: ({ signal }) => readRun(services, runId ?? '', signal),
    enabled: runId !== null,
    refetchInterval: ({ state }) =>
      state.data === undefined || state.data.status === 'running' ? POLL_MS : false,
  })
  const outcome = run.data?.tenants.find((tenant) => tenant.tenantId === tenantId)
  const backup = useQuery({
    queryKey: ['backup', outcome?.backupId],
    queryFn: ({ signal }) => readBackup(services, outcome?.backupId ?? '', signal),
    enabled: typeof outcome?.backupId === 'string',
  })

  const status = run.data?.status ?? 'running'
  useEffect(() => {
    if (status === 'running') return
    onDone()
    announce(status === 'complete' ? 'The backup is complete.' : 'The backup failed.')
  }, [status, onDone, announce])

  if (run.isError && run.data === undefined) {
    return (
      <ErrorNotice
        error={run.error}
        what="The progress of the backup could not be read"
        onRetry={() => run.refetch()}
      />
    )
  }
  if (status === 'running') {
    return (
      <RunningPanel
        headingRef={heading}
        run={run.data}
        startedAt={run.data?.createdAt ?? props.askedAt}
        isOutOfReach={run.isError}
        tableCount={props.tableCount}
        announce={announce}
      />
    )
  }
  const isComplete = status === 'complete'
  return (
    <Alert
      color={isComplete ? 'green' : 'red'}
      icon={<Icon name={isComplete ? 'check' : 'cross'} />}
      title={isComplete ? 'Backup complete' : 'The backup failed'}
      withCloseButton
      closeButtonLabel="Dismiss"
      onClose={onDismiss}
    >
      {isComplete ? (
        <Text size="sm">
          {backup.data == null
            ? formatPlural(outcome?.totalRecords ?? 0, 'row')
            : describeBackup(backup.data)}
        </Text>
      ) : (
        <>
          <Text size="sm">
            {outcome?.errorMessage ??
              run.data?.tenants[0]?.errorMessage ??
              'No reason was recorded.'}
          </Text>
          <Text size="sm" mt={4}>
            Your data and your earlier backups are as they were.
          </Text>
        </>
      )}
    </Alert>
  )
}

function describeBackup({
  totalRecords,
  totalTables,
  verifiedAt,
  createdAt,
  completedAt,
}: NonNullable<Awaited<ReturnType<typeof readBackup>>>): string {
  const parts = [
    `${formatPlural(totalRecords ?? 0, 'row')} in ${formatPlural(totalTables ?? 0, 'table')}`,
    ...(verifiedAt === null ? [] : ['verified']),
    ...(completedAt === null ? [] : [formatDuration(completedAt.getTime() - createdAt.getTime())]),
  ]
  return `${parts.join(', ')}.`
}

const STEPS: readonly { phase: RunProgress['phase']; label: string }[] = [
  { phase: 'locking', label: 'Get ready' },
  { phase: 'copying', label: 'Copy the tables' },
  { phase: 'proving', label: 'Check that values can be read back' },
  { phase: 'finishing', label: 'Verify' },
]

function describeDetail(run: Run | undefined): string | null {
  if (run === undefined) return null
  if (run.tenants.every(({ status }) => status === 'pending')) return 'waiting for its turn'
  const { table, rowsDone, rowsTotal } = run.progress ?? {}
  if (typeof table !== 'string') return null
  return `${table}: ${formatCount(rowsDone ?? 0)} of ${formatPlural(rowsTotal ?? 0, 'row')}`
}

function Step({
  label,
  place,
  detail,
}: {
  label: string
  place: 'done' | 'now' | 'later'
  detail: string | null
}) {
  const words = { done: 'done', now: 'under way', later: 'to come' }[place]
  return (
    <li
      className={classes.step}
      data-place={place}
      aria-current={place === 'now' ? 'step' : undefined}
    >
      <span className={classes.stepMark}>
        {place === 'done' && <Icon name="check" size={14} />}
      </span>
      <span>
        {label}
        <span className={classes.hidden}> ({words})</span>
        {detail !== null && <span className={classes.stepDetail}>{detail}</span>}
      </span>
    </li>
  )
}

/** How far each table is; the bar counts tables, since rows are known only once a table is reached. */
function TableProgress({
  progress,
  tableCount,
}: {
  progress: RunProgress | null
  tableCount: number | null
}) {
  const tables = progress?.tables ?? []
  const isCopied = progress?.phase === 'proving' || progress?.phase === 'finishing'
  const done = isCopied ? tables.length : Math.max(0, tables.length - 1)
  const total = Math.max(tableCount ?? 0, tables.length)
  const rows = tables.reduce((sum, table) => sum + table.rowsDone, 0)
  return (
    <>
      <Progress
        value={isCopied ? 100 : total === 0 ? 0 : (done / total) * 100}
        size="sm"
        aria-hidden="true"
      />
      <details className={classes.runTables}>
        <summary>
          {formatCount(done)} of {formatPlural(total, 'table')}, {formatPlural(rows, 'row')}
        </summary>
        <ul>
          {tables.map((table) => (
            <li key={table.name}>
              <span>{table.name}</span>
              <span className={classes.number}>
                {formatCount(table.rowsDone)} of {formatPlural(table.rowsTotal, 'row')}
              </span>
            </li>
          ))}
        </ul>
      </details>
    </>
  )
}

const SLOW_MS = 2 * 60_000

function RunningPanel({
  headingRef,
  run,
  startedAt,
  isOutOfReach,
  tableCount,
  announce,
}: {
  headingRef: Ref<HTMLHeadingElement>
  run: Run | undefined
  startedAt: Date
  isOutOfReach: boolean
  tableCount: number | null
  announce: (text: string) => void
}) {
  const now = useNow(1_000)
  const elapsed = Math.max(0, now.getTime() - startedAt.getTime())
  const current = STEPS.findIndex(({ phase }) => phase === (run?.progress?.phase ?? 'locking'))
  const step = STEPS[current]?.label ?? ''
  const spoken = useRef(0)
  useEffect(() => {
    // A progress bar is silent by itself; more often than this would be chatter.
    if (Date.now() - spoken.current < 10_000) return
    spoken.current = Date.now()
    announce(step)
  }, [step, announce])

  return (
    <Paper withBorder className={`${classes.card} ${classes.run}`}>
      <Group justify="space-between" gap="sm" align="flex-start">
        <Group gap={10} wrap="nowrap">
          <span className={classes.spin}>
            <Icon name="running" size={20} />
          </span>
          <Title order={2} size="h4" ref={headingRef} tabIndex={-1} className={classes.focusTarget}>
            Backup in progress
          </Title>
        </Group>
        <Text size="sm" c="dimmed">
          {formatDuration(elapsed)}
        </Text>
      </Group>
      <ol className={classes.steps}>
        {STEPS.map(({ phase, label }, index) => (
          <Step
            key={phase}
            label={label}
            place={index < current ? 'done' : index === current ? 'now' : 'later'}
            detail={index === current ? describeDetail(run) : null}
          />
        ))}
      </ol>
      <TableProgress progress={run?.progress ?? null} tableCount={tableCount} />
      <Text size="sm" c="dimmed" mt={8}>
        {isOutOfReach
          ? 'No connection. The backup goes on; this page catches up by itself.'
          : elapsed > SLOW_MS
            ? 'Still working. Large tables take a while; you can close this page, the backup goes on.'
            : 'You can close this page; the backup goes on.'}
      </Text>
    </Paper>
  )
}
