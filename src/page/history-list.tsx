import { Group, Stack, Table, Text } from '@mantine/core'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { nameOperation, nameResult } from './backup-words.ts'
import type { PageServices } from './call-function.ts'
import { ErrorNotice } from './error-notice.tsx'
import { formatBytes, formatDuration, formatPlural } from './format.ts'
import { EmptyList, ListCard, ListSkeleton, ListTable, Pages, StatusBadge } from './list-parts.tsx'
import classes from './page.module.css'
import { type JournalEntry, listHistory } from './read-journal.ts'
import { Time } from './times.tsx'
import { useSearchParam } from './use-search-param.ts'

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
  const [pageParam, setPageParam] = useSearchParam('page')
  const page = Math.max(1, Number.parseInt(pageParam ?? '1', 10) || 1)
  const history = useQuery({
    queryKey: ['history', tenantId, page],
    queryFn: ({ signal }) => listHistory(services, { tenantId, page }, signal),
    placeholderData: keepPreviousData,
  })

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
  if (history.data.total === 0) {
    return (
      <EmptyList
        title="Nothing has happened yet"
        text="Every backup will be listed here, with who started it and how it ended."
      />
    )
  }
  return (
    <div aria-busy={history.isPlaceholderData}>
      {isNarrow ? (
        <HistoryCards entries={history.data.rows} />
      ) : (
        <HistoryTable entries={history.data.rows} />
      )}
      <Pages
        page={page}
        total={history.data.total}
        label="Pages of the history"
        onChange={(next) => setPageParam(next === 1 ? null : String(next))}
      />
    </div>
  )
}

function HistoryTable({ entries }: { entries: JournalEntry[] }) {
  return (
    <ListTable
      caption="History"
      head={
        <>
          <Table.Th scope="col">When</Table.Th>
          <Table.Th scope="col">What</Table.Th>
          <Table.Th scope="col">Who</Table.Th>
          <Table.Th scope="col">Result</Table.Th>
          <Table.Th scope="col" className={classes.number}>
            Took
          </Table.Th>
        </>
      }
    >
      {entries.map((entry) => (
        <Table.Tr key={entry.id}>
          <Table.Td className={classes.whenCell}>
            <Time value={entry.createdAt} />
          </Table.Td>
          <Table.Td>{nameOperation(entry.type)}</Table.Td>
          <Table.Td className={classes.who}>{entry.actorLabel}</Table.Td>
          <Table.Td className={classes.stateCell}>
            <EntryResult entry={entry} />
          </Table.Td>
          <Table.Td className={classes.number}>
            {entry.durationMs === null ? '' : formatDuration(entry.durationMs)}
          </Table.Td>
        </Table.Tr>
      ))}
    </ListTable>
  )
}

function HistoryCards({ entries }: { entries: JournalEntry[] }) {
  return (
    <ul className={classes.cards}>
      {entries.map((entry) => (
        <ListCard key={entry.id}>
          <Group justify="space-between" gap="xs">
            <Text fw={600}>{nameOperation(entry.type)}</Text>
            <Text size="sm" c="dimmed">
              <Time value={entry.createdAt} />
            </Text>
          </Group>
          <Text size="sm" c="dimmed" className={classes.who} mb={8}>
            {entry.actorLabel}
            {entry.durationMs !== null && ` · ${formatDuration(entry.durationMs)}`}
          </Text>
          <EntryResult entry={entry} />
        </ListCard>
      ))}
    </ul>
  )
}

function EntryResult({ entry }: { entry: JournalEntry }) {
  return (
    <Stack gap={4}>
      <Group gap="xs">
        <StatusBadge words={nameResult(entry)} />
        {entry.status === 'complete' && entry.totalRecords !== null && (
          <Text size="sm" c="dimmed">
            {formatPlural(entry.totalRecords, 'row')}
            {entry.totalTables !== null && ` in ${formatPlural(entry.totalTables, 'table')}`}
            {entry.totalSize !== null && `, ${formatBytes(entry.totalSize)}`}
          </Text>
        )}
      </Group>
      {entry.errorMessage !== null && (
        <Text size="xs" c="dimmed" className={classes.reason}>
          {entry.errorMessage}
        </Text>
      )}
    </Stack>
  )
}
