import { Button, Group, NativeSelect, Stack, Text } from '@mantine/core'
import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query'
import { Fragment, type ReactNode, useContext, useId, useState } from 'react'
import { nameOperation, nameResult } from '../backups/backup-words.ts'
import { startOfDay } from '../backups/use-list-choices.ts'
import type { PageServices } from '../calls/call-function.ts'
import { DateRange, type Days } from '../frame/date-range.tsx'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatBytes, formatDuration, formatPlural, formatTime, toDay } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import {
  EmptyList,
  ListCard,
  ListSkeleton,
  ListTable,
  Pages,
  StatusBadge,
} from '../frame/list-parts.tsx'
import shared from '../frame/page.module.css'
import { Time, UtcTimes } from '../frame/times.tsx'
import { useSearchParam } from '../frame/use-search-param.ts'
import { HistoryDetails } from './history-details.tsx'
import classes from './history-list.module.css'
import {
  type HistoryFilters,
  type JournalEntry,
  listHistory,
  type OperationGroup,
  type ResultGroup,
  readWholeHistory,
} from './read-journal.ts'

interface Choices {
  what: OperationGroup | null
  result: ResultGroup | null
  days: Days | null
}

const NO_CHOICES: Choices = { what: null, result: null, days: null }

/** Everything that was done to the tenant's backups: when, what, by whom, how it ended. */
export function HistoryList({
  services,
  tenantId,
  isNarrow,
}: {
  services: PageServices
  tenantId: string
  isNarrow: boolean
}) {
  const utc = useContext(UtcTimes)
  const [choices, setChoices] = useState(NO_CHOICES)
  const [pageParam, setPageParam] = useSearchParam('page')
  const page = Math.max(1, Number.parseInt(pageParam ?? '1', 10) || 1)
  const filters = toFilters(choices, utc)
  const isFiltered = Object.values(choices).some((choice) => choice !== null)
  const history = useQuery({
    queryKey: ['history', tenantId, page, filters],
    queryFn: ({ signal }) => listHistory(services, { tenantId, page, filters }, signal),
    placeholderData: keepPreviousData,
  })
  const choose = (changes: Partial<Choices>) => {
    setChoices({ ...choices, ...changes })
    setPageParam(null, 'replace')
  }

  if (history.data === undefined) {
    return history.isError ? (
      <ErrorNotice
        error={history.error}
        what="The history could not be loaded"
        onRetry={() => history.refetch()}
      />
    ) : (
      <ListSkeleton isNarrow={isNarrow} />
    )
  }
  const { rows, total } = history.data
  if (total === 0 && !isFiltered) {
    return (
      <EmptyList
        title="Nothing has happened yet"
        text="Every backup, restore and undo will be listed here, with who started it and how it ended."
      />
    )
  }
  return (
    <div aria-busy={history.isPlaceholderData}>
      <search className={classes.tools}>
        <FilterFields
          isNarrow={isNarrow}
          choices={choices}
          onChoose={choose}
          onClear={isFiltered ? () => choose(NO_CHOICES) : undefined}
        />
        <Export
          services={services}
          tenantId={tenantId}
          filters={filters}
          total={total}
          isNarrow={isNarrow}
        />
      </search>
      {history.isError && (
        <ErrorNotice
          error={history.error}
          what="The list could not be brought up to date"
          onRetry={() => history.refetch()}
        />
      )}
      {total === 0 ? (
        <EmptyList
          title="Nothing fits these filters"
          text="Other things have happened; the filters hide them."
          action={
            <Button variant="default" onClick={() => choose(NO_CHOICES)}>
              Clear filters
            </Button>
          }
        />
      ) : isNarrow ? (
        <HistoryCards services={services} entries={rows} />
      ) : (
        <HistoryTable services={services} entries={rows} />
      )}
      <Pages
        page={page}
        total={total}
        label="Pages of the history"
        onChange={(next) => setPageParam(next === 1 ? null : String(next))}
      />
    </div>
  )
}

/** The days as a reader in this zone means them. */
function toFilters({ what, result, days }: Choices, utc: boolean): HistoryFilters {
  return {
    what,
    result,
    from: days === null ? null : startOfDay(days.first, utc, 0),
    before: days === null ? null : startOfDay(days.last, utc, 1),
  }
}

const WHAT_CHOICES: Record<OperationGroup, string> = {
  backups: 'Backups',
  restores: 'Restores and undos',
  safety: 'Safety backups',
  changes: 'Notes, tags and pins',
  pruning: 'Pruning and erasure',
  proofs: 'Verification and drills',
  copies: 'Copies',
  rules: 'Pauses and rules',
  defaults: 'Defaults and seedings',
}

const RESULT_CHOICES: Record<ResultGroup, string> = {
  done: 'Done',
  failed: 'Failed or stopped',
  skipped: 'Skipped',
  running: 'Running',
}

function FilterFields({
  isNarrow,
  choices,
  onChoose,
  onClear,
}: {
  isNarrow: boolean
  choices: Choices
  onChoose: (changes: Partial<Choices>) => void
  onClear: (() => void) | undefined
}) {
  const size = isNarrow ? 'md' : 'sm'
  return (
    <>
      <NativeSelect
        size={size}
        aria-label="What happened"
        value={choices.what ?? ''}
        data={listChoices('Everything', WHAT_CHOICES)}
        onChange={(event) => onChoose({ what: findChoice(WHAT_CHOICES, event) })}
      />
      <NativeSelect
        size={size}
        aria-label="Result"
        value={choices.result ?? ''}
        data={listChoices('Any result', RESULT_CHOICES)}
        onChange={(event) => onChoose({ result: findChoice(RESULT_CHOICES, event) })}
      />
      <DateRange
        className={classes.dates}
        size={size}
        label="From – to"
        placeholder="Any day"
        value={choices.days}
        onChange={(days) => onChoose({ days })}
      />
      {onClear !== undefined && (
        <Button size={size} variant="subtle" onClick={onClear}>
          Clear filters
        </Button>
      )}
    </>
  )
}

function listChoices(all: string, choices: Record<string, string>) {
  const listed = Object.entries(choices).map(([value, label]) => ({ value, label }))
  return [{ value: '', label: all }, ...listed]
}

function findChoice<Choice extends string>(
  choices: Record<Choice, string>,
  { currentTarget }: { currentTarget: { value: string } },
): Choice | null {
  const isChoice = (name: string): name is Choice => Object.hasOwn(choices, name)
  return isChoice(currentTarget.value) ? currentTarget.value : null
}

/** How much there is, and all of it as a file. */
function Export({
  services,
  tenantId,
  filters,
  total,
  isNarrow,
}: {
  services: PageServices
  tenantId: string
  filters: HistoryFilters
  total: number
  isNarrow: boolean
}) {
  const save = useMutation({
    mutationFn: async () => {
      const [{ toCsv, saveCsv }, entries] = await Promise.all([
        import('./history-csv.ts'),
        readWholeHistory(services, { tenantId, filters }, AbortSignal.timeout(120_000)),
      ])
      saveCsv(`backup-history-${toDay(new Date(), false)}.csv`, toCsv(entries))
    },
  })
  return (
    <div className={classes.export}>
      <Text size="sm" c="dimmed" role="status">
        {formatPlural(total, 'entry', { plural: 'entries' })}
      </Text>
      {total > 0 && (
        <Button
          size={isNarrow ? 'md' : 'sm'}
          variant="default"
          leftSection={<Icon name="download" />}
          loading={save.isPending}
          onClick={() => save.mutate()}
        >
          Export as CSV
        </Button>
      )}
      {save.isError && (
        <div className={classes.exportFailure}>
          <ErrorNotice
            error={save.error}
            what="The history could not be exported"
            onRetry={() => save.mutate()}
          />
        </div>
      )}
    </div>
  )
}

interface EntriesProps {
  services: PageServices
  entries: JournalEntry[]
}

function HistoryTable({ services, entries }: EntriesProps) {
  return (
    <ListTable
      caption="History"
      head={
        <>
          <th scope="col">When</th>
          <th scope="col">What</th>
          <th scope="col">Who</th>
          <th scope="col">Result</th>
          <th scope="col" className={shared.number}>
            Took
          </th>
          <th scope="col">
            <span className={shared.hidden}>Details</span>
          </th>
        </>
      }
    >
      {entries.map((entry) => (
        <Unfolding key={entry.id} entry={entry}>
          {({ button, isOpen, panelId }) => (
            <>
              <tr className={isOpen ? classes.opened : undefined}>
                <td className={shared.whenCell}>
                  <Time value={entry.createdAt} />
                </td>
                <td className={classes.what}>
                  <Text size="sm" fw={600}>
                    {nameOperation(entry.type)}
                  </Text>
                  <EntryNote entry={entry} />
                </td>
                <td className={shared.who}>{entry.actorLabel}</td>
                <td className={shared.stateCell}>
                  <EntryResult entry={entry} />
                </td>
                <td className={shared.number}>
                  {entry.durationMs === null ? '' : formatDuration(entry.durationMs)}
                </td>
                <td className={classes.buttonCell}>{button}</td>
              </tr>
              {isOpen && (
                <tr className={classes.unfolded}>
                  <td colSpan={6} id={panelId} className={classes.panel}>
                    <HistoryDetails services={services} entry={entry} />
                  </td>
                </tr>
              )}
            </>
          )}
        </Unfolding>
      ))}
    </ListTable>
  )
}

function HistoryCards({ services, entries }: EntriesProps) {
  return (
    <ul className={shared.cards}>
      {entries.map((entry) => (
        <ListCard key={entry.id}>
          <Unfolding entry={entry}>
            {({ button, isOpen, panelId }) => (
              <>
                <Group justify="space-between" gap="xs">
                  <Text fw={600}>{nameOperation(entry.type)}</Text>
                  <Text size="sm" c="dimmed">
                    <Time value={entry.createdAt} />
                  </Text>
                </Group>
                <Text size="sm" c="dimmed" className={shared.who} mb={8}>
                  {entry.actorLabel}
                  {entry.durationMs !== null && ` · ${formatDuration(entry.durationMs)}`}
                </Text>
                <EntryNote entry={entry} />
                <EntryResult entry={entry} />
                <div className={classes.cardButton}>{button}</div>
                {isOpen && (
                  <div id={panelId} className={classes.panel}>
                    <HistoryDetails services={services} entry={entry} />
                  </div>
                )}
              </>
            )}
          </Unfolding>
        </ListCard>
      ))}
    </ul>
  )
}

/** What has a button by which more of it comes to be seen. */
function Unfolding({
  entry,
  children,
}: {
  entry: JournalEntry
  children: (parts: { button: ReactNode; isOpen: boolean; panelId: string }) => ReactNode
}) {
  const [isOpen, setOpen] = useState(false)
  const utc = useContext(UtcTimes)
  const panelId = useId()
  const button = (
    <Button
      size="xs"
      variant="subtle"
      className={classes.unfold}
      aria-expanded={isOpen}
      aria-controls={isOpen ? panelId : undefined}
      aria-label={`Details: ${nameOperation(entry.type)}, ${formatTime(entry.createdAt, { utc })}`}
      rightSection={<Icon name={isOpen ? 'up' : 'down'} size={14} />}
      onClick={() => setOpen(!isOpen)}
    >
      Details
    </Button>
  )
  return <Fragment>{children({ button, isOpen, panelId })}</Fragment>
}

function EntryNote({ entry: { note } }: { entry: JournalEntry }) {
  if (note === null) return null
  return (
    <Text size="sm" c="dimmed" className={classes.note}>
      {note}
    </Text>
  )
}

const REMOVALS: readonly string[] = ['prune', 'forget']

function EntryResult({ entry }: { entry: JournalEntry }) {
  return (
    <Stack gap={4}>
      <Group gap="xs">
        <StatusBadge words={nameResult(entry)} />
        {entry.status === 'complete' && REMOVALS.includes(entry.type) && (
          <Text size="sm" c="dimmed">
            {formatBytes(entry.totalSize ?? 0)} freed
          </Text>
        )}
        {entry.status === 'complete' && entry.totalRecords !== null && (
          <Text size="sm" c="dimmed">
            {formatPlural(entry.totalRecords, 'row')}
            {entry.totalTables !== null && ` in ${formatPlural(entry.totalTables, 'table')}`}
            {entry.totalSize !== null && `, ${formatBytes(entry.totalSize)}`}
          </Text>
        )}
      </Group>
      {entry.errorMessage !== null && (
        <Text size="xs" c="dimmed" className={shared.reason}>
          {entry.errorMessage}
        </Text>
      )}
    </Stack>
  )
}
