import { Alert, Badge, Button, Input, Paper, Switch, Text, TextInput, Title } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { useEffect, useId, useMemo, useRef, useState } from 'react'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatCount, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { nameTable } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import { NearTime, Time, UtcTimes } from '../frame/times.tsx'
import { setSearchParams, useSearchParam } from '../frame/use-search-param.ts'
import type { ViewProps } from '../frame/view-props.ts'
import classes from './compare.module.css'
import {
  CompareProgress,
  CompareTotals,
  ComparisonSkeleton,
  TickedBar,
  TooLong,
} from './compare-parts.tsx'
import { CompareWith, describeChoice } from './compare-with.tsx'
import {
  countRows,
  type Direction,
  describeKind,
  describeTotals,
  findDirection,
  isDifferent,
  KINDS,
  sortByLoss,
  sumUp,
} from './describe-comparison.ts'
import { FoundDifferences, type PanelContext, TableDifferences } from './difference-panel.tsx'
import {
  type ComparedTable,
  type CompareRun,
  type Comparison,
  type DifferenceKind,
  readChoice,
} from './read-comparison.ts'
import { MOST_TICKED } from './ticked-rows.ts'
import { useComparison } from './use-comparison.ts'
import { type Tickable, useTicks } from './use-ticks.ts'

/** What differs between a backup and the live data, or another backup; rows can be ticked and restored. */
export default function CompareView(props: ViewProps) {
  const { onClose } = props
  const [backupId] = useSearchParam('backup')
  const [withId] = useSearchParam('with')
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = `Compare · Backups of ${props.tenant.name}`
    heading.current?.focus()
  }, [props.tenant.name])
  return (
    <div className={classes.view}>
      <div className={classes.top}>
        <Button
          variant="subtle"
          size="compact-sm"
          className={classes.back}
          leftSection={<Icon name="left" size={14} />}
          onClick={onClose}
        >
          Back to backups
        </Button>
        <Title order={2} size="h3" ref={heading} tabIndex={-1} className={shared.focusTarget}>
          Compare
        </Title>
      </div>
      <ComparisonOf
        key={`${backupId} ${withId}`}
        {...props}
        backupId={backupId ?? ''}
        withId={withId}
      />
    </div>
  )
}

interface SubjectProps extends ViewProps {
  backupId: string
  withId: string | null
}

const IS_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

function ComparisonOf(props: SubjectProps) {
  const { services, tenant, backupId, withId, announce, onClose } = props
  const isId = IS_ID.test(backupId) && (withId === null || IS_ID.test(withId))
  const backup = useQuery({
    queryKey: ['choice', tenant.id, backupId],
    queryFn: ({ signal }) => readChoice(services, { tenantId: tenant.id, backupId }, signal),
    enabled: isId,
  })
  const isUsable = backup.data?.status === 'complete'
  const { state, begin } = useComparison(
    services,
    { tenantId: tenant.id, backupId, withId },
    isUsable,
  )
  const again = () => begin(null)

  if (!isId || backup.data === null) {
    return <Unusable text="There is no such backup of this tenant." onClose={onClose} />
  }
  if (backup.data === undefined) {
    if (!backup.isError) return <ComparisonSkeleton />
    return (
      <ErrorNotice
        error={backup.error}
        what="The backup could not be loaded"
        onRetry={() => backup.refetch()}
      />
    )
  }
  if (!isUsable) {
    const text =
      backup.data.status === 'pruned'
        ? 'This backup was pruned: its rows are no longer kept.'
        : 'This backup is not complete, so there is nothing to compare.'
    return <Unusable text={text} onClose={onClose} />
  }
  const tooLong = (
    <TooLong
      services={services}
      tenantId={tenant.id}
      backupId={backupId}
      withId={withId}
      onCompare={begin}
    />
  )
  return (
    <>
      <Paper withBorder className={`${shared.card} ${classes.sides}`}>
        <div className={classes.side}>
          <Input.Label component="div">Backup</Input.Label>
          <ChosenBackup choice={backup.data} />
        </div>
        <div className={classes.side}>
          <CompareWith
            services={services}
            tenantId={tenant.id}
            backupId={backupId}
            withId={withId}
            onChange={(next) => setSearchParams({ with: next, run: null })}
          />
        </div>
        <Button variant="default" onClick={again} disabled={state.is === 'running'}>
          Compare again
        </Button>
        {state.is === 'done' && <ReadAt comparison={state.comparison} />}
      </Paper>
      {state.is === 'loading' && <ComparisonSkeleton />}
      {state.is === 'running' && (
        <CompareProgress {...state} announce={announce} onAgain={again} whenSilent={tooLong} />
      )}
      {state.is === 'failed' &&
        (state.isTooLong ? (
          tooLong
        ) : state.isForgotten ? (
          <Forgotten onAgain={again} />
        ) : (
          <ErrorNotice error={state.error} what="The comparison failed" onRetry={again} />
        ))}
      {state.is === 'done' && (
        <ComparisonResult
          key={state.run.runId}
          {...props}
          run={state.run}
          comparison={state.comparison}
          onAgain={again}
        />
      )}
    </>
  )
}

function Forgotten({ onAgain }: { onAgain: () => void }) {
  return (
    <Alert
      color="yellow"
      icon={<Icon name="attention" />}
      title="This comparison is no longer kept"
      role="alert"
    >
      <Text size="sm">
        What differs is kept for a day. Comparing again only reads, and nothing is changed.
      </Text>
      <Button size="xs" variant="default" mt="sm" onClick={onAgain}>
        Compare again
      </Button>
    </Alert>
  )
}

function Unusable({ text, onClose }: { text: string; onClose: () => void }) {
  return (
    <Alert color="yellow" icon={<Icon name="attention" />} title={text} role="alert">
      <Button size="xs" variant="default" onClick={onClose}>
        Choose another backup
      </Button>
    </Alert>
  )
}

function ChosenBackup({ choice }: { choice: Parameters<typeof describeChoice>[0] }) {
  return (
    <UtcTimes.Consumer>
      {(utc) => <span className={classes.sideValue}>{describeChoice(choice, utc)}</span>}
    </UtcTimes.Consumer>
  )
}

function ReadAt({ comparison }: { comparison: Comparison }) {
  if (comparison.otherBackupId !== null) return null
  return (
    <Text size="sm" c="dimmed" className={classes.read}>
      The live data are those of <NearTime value={comparison.otherTakenAt} />; what was written
      since is not in this comparison.
    </Text>
  )
}

function ComparisonResult({
  services,
  tenant,
  isNarrow,
  announce,
  backupId,
  run,
  comparison,
  onAgain,
}: SubjectProps & { run: CompareRun; comparison: Comparison; onAgain: () => void }) {
  const direction = findDirection(comparison)
  const totals = useMemo(() => sumUp(comparison.tables), [comparison])
  const [kind, setKind] = useState<DifferenceKind | null>(null)
  const [onlyDifferent, setOnlyDifferent] = useState(true)
  const [typed, setTyped] = useState('')
  const [debounced] = useDebouncedValue(typed.trim(), 300)
  // Clearing acts at once, so that the tables are back without a wait.
  const search = typed.trim() === '' ? '' : debounced
  const ticks = useTicks(backupId)
  const [isOverLimit, setOverLimit] = useState(false)
  const outcome = describeTotals(totals, direction)
  useEffect(() => announce(outcome), [outcome, announce])

  const onTick = (rows: readonly Tickable[], isTicked: boolean) => {
    const fits = ticks.set(rows, isTicked)
    setOverLimit(!fits)
    if (!fits) announce(`At most ${formatCount(MOST_TICKED)} rows can be ticked.`)
  }
  const restore = () =>
    setSearchParams({ view: 'restore', backup: backupId, with: null, run: null })
  const context: PanelContext = {
    services,
    tenantId: tenant.id,
    runId: run.runId,
    tables: comparison.tables,
    direction,
    sides: {
      before: <Time value={comparison.takenAt} />,
      after: direction === 'live' ? 'Now' : <Time value={comparison.otherTakenAt} />,
    },
    kind,
    search,
    ticks,
    onTick,
    isNarrow,
    announce,
  }
  return (
    <>
      {run.onlyTables !== null && (
        <Alert color="blue" icon={<Icon name="attention" />} role="status">
          <Text size="sm">
            Only {run.onlyTables.map(nameTable).join(', ')}: the other tables were not compared.
          </Text>
          <Button size="xs" variant="default" mt="sm" onClick={onAgain}>
            Compare all tables
          </Button>
        </Alert>
      )}
      {comparison.warnings.map(({ code, message }) => (
        <Alert key={code + message} color="yellow" icon={<Icon name="attention" />}>
          {message}
        </Alert>
      ))}
      {totals.differentTables === 0 ? (
        <Equal comparison={comparison} tenantName={tenant.name} />
      ) : (
        <>
          <CompareTotals totals={totals} direction={direction} kind={kind} onKind={setKind} />
          <div className={classes.tools}>
            <TextInput
              type="search"
              className={classes.search}
              aria-label="Search the rows that differ"
              placeholder="Search a value in the rows that differ"
              maxLength={200}
              leftSection={<Icon name="search" size={15} />}
              value={typed}
              onChange={(event) => setTyped(event.currentTarget.value)}
            />
            {search === '' && (
              <Switch
                label="Only tables with differences"
                checked={onlyDifferent}
                onChange={(event) => setOnlyDifferent(event.currentTarget.checked)}
              />
            )}
          </div>
          {search === '' ? (
            <Tables
              context={context}
              onlyDifferent={onlyDifferent}
              totals={totals}
              onRestore={restore}
            />
          ) : (
            <div className={classes.tables}>
              <FoundDifferences context={context} />
            </div>
          )}
          {totals.keptRows < totals.rows && search !== '' && (
            <Text size="xs" c="dimmed">
              {formatCount(totals.keptRows)} of {formatPlural(totals.rows, 'row')} that differ were
              searched: the first of every table.
            </Text>
          )}
        </>
      )}
      {ticks.count > 0 && (
        <TickedBar
          ticks={ticks}
          isOverLimit={isOverLimit}
          limit={MOST_TICKED}
          onRestore={restore}
        />
      )}
    </>
  )
}

function Equal({ comparison, tenantName }: { comparison: Comparison; tenantName: string }) {
  const rows = comparison.tables.reduce((total, table) => total + table.rowsInOther, 0)
  const isLive = comparison.otherBackupId === null
  return (
    <Paper withBorder className={`${shared.card} ${classes.equal}`}>
      <span className={classes.totalMark} data-colour="green">
        <Icon name="check" size={22} />
      </span>
      <Text fw={600}>
        {isLive
          ? 'No differences: live data equals this backup.'
          : 'No differences: the two backups are equal.'}
      </Text>
      <Text size="sm" c="dimmed">
        {formatPlural(rows, 'row')} of {tenantName} in{' '}
        {formatPlural(comparison.tables.length, 'table')} were compared, value by value.
      </Text>
    </Paper>
  )
}

function Tables({
  context,
  onlyDifferent,
  totals,
  onRestore,
}: {
  onRestore: () => void
  context: PanelContext
  onlyDifferent: boolean
  totals: { differentTables: number; tables: number }
}) {
  const { tables, kind } = context
  const shown = sortByLoss(tables).filter(
    (table) =>
      (isDifferent(table) || !onlyDifferent) && (kind === null || countRows(table, kind) > 0),
  )
  const isOnly = totals.differentTables === 1
  return (
    <>
      <div className={classes.tables}>
        {shown.map((table) =>
          isDifferent(table) ? (
            <TableSection key={table.name} context={context} table={table} isOpenAtFirst={isOnly} />
          ) : (
            <div key={table.name} className={classes.tableHead}>
              <TableName table={table} />
              <Text size="sm" c="dimmed">
                Equal · {formatPlural(table.equal, 'row')}
              </Text>
            </div>
          ),
        )}
      </div>
      <div className={classes.tools}>
        <Text size="sm" c="dimmed">
          {onlyDifferent && kind === null && totals.tables > totals.differentTables
            ? `${formatPlural(totals.tables - totals.differentTables, 'other table')} without differences.`
            : ''}
        </Text>
        <Button variant="default" size="sm" onClick={onRestore}>
          Restore whole tables
        </Button>
      </div>
    </>
  )
}

/** A table that opens; its rows are read when it does. */
function TableSection({
  context,
  table,
  isOpenAtFirst,
}: {
  context: PanelContext
  table: ComparedTable
  isOpenAtFirst: boolean
}) {
  const [isOpen, setOpen] = useState(isOpenAtFirst)
  const panelId = useId()
  return (
    <section>
      <h3 className={classes.tableTitle}>
        <button
          type="button"
          className={`${classes.control} mantine-focus-auto`}
          aria-expanded={isOpen}
          aria-controls={isOpen ? panelId : undefined}
          onClick={() => setOpen(!isOpen)}
        >
          <span className={classes.chevron}>
            <Icon name="down" size={16} />
          </span>
          <TableName table={table} />
          <span className={classes.tableCounts}>
            <TableCounts table={table} direction={context.direction} />
          </span>
        </button>
      </h3>
      {isOpen && (
        <div id={panelId} className={classes.panel}>
          <TableDifferences context={context} table={table} />
        </div>
      )}
    </section>
  )
}

function TableName({ table }: { table: ComparedTable }) {
  return (
    <span className={classes.tableName}>
      <Text span fw={600}>
        {nameTable(table.name)}
      </Text>{' '}
      <Text span size="xs" c="dimmed">
        {table.name}
      </Text>
    </span>
  )
}

function TableCounts({ table, direction }: { table: ComparedTable; direction: Direction }) {
  if (!table.isCompared) {
    return (
      <Badge color="yellow" leftSection={<Icon name="attention" size={13} />}>
        Not compared
      </Badge>
    )
  }
  return KINDS.filter((kind) => table.counts[kind] > 0).map((kind) => {
    const { word, icon, colour } = describeKind(kind, direction)
    return (
      <Badge key={kind} color={colour} leftSection={<Icon name={icon} size={13} />}>
        {formatCount(table.counts[kind])} {word.toLowerCase()}
      </Badge>
    )
  })
}
