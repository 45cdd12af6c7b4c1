import { Group, NativeSelect, Stack, Table, Text, Tooltip, UnstyledButton } from '@mantine/core'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { describeChanges, KINDS, listChanges, nameStatus } from './backup-words.ts'
import type { PageServices } from './call-function.ts'
import { takenAt } from './describe-state.ts'
import { DownloadButton } from './download-button.tsx'
import { ErrorNotice } from './error-notice.tsx'
import { formatBytes, formatCount, formatPlural } from './format.ts'
import { Icon } from './icons.tsx'
import { EmptyList, ListCard, ListSkeleton, ListTable, Pages, StatusBadge } from './list-parts.tsx'
import classes from './page.module.css'
import { type Backup, type BackupOrder, listBackups } from './read-backups.ts'
import { Time } from './times.tsx'
import { useSearchParam } from './use-search-param.ts'

interface Sorting {
  order: BackupOrder
  isAscending: boolean
}

/** Every backup of the tenant, a page at a time: a table, or cards where there is no room for one. */
export function BackupList({
  services,
  tenantId,
  isNarrow,
}: {
  services: PageServices
  tenantId: string
  isNarrow: boolean
}) {
  const [sorting, setSorting] = useState<Sorting>({ order: 'taken', isAscending: false })
  const [pageParam, setPageParam] = useSearchParam('page')
  const page = Math.max(1, Number.parseInt(pageParam ?? '1', 10) || 1)
  const backups = useQuery({
    queryKey: ['backups', tenantId, sorting, page],
    queryFn: ({ signal }) => listBackups(services, { tenantId, ...sorting, page }, signal),
    placeholderData: keepPreviousData,
  })
  const sortBy = (next: Sorting) => {
    setSorting(next)
    setPageParam(null, 'replace')
  }

  if (backups.data === undefined) {
    return backups.isError ? (
      <ErrorNotice
        error={backups.error}
        what="The backups could not be loaded"
        onRetry={() => backups.refetch()}
      />
    ) : (
      <ListSkeleton isNarrow={isNarrow} />
    )
  }
  if (backups.data.total === 0) {
    return (
      <EmptyList
        title="No backup yet"
        text="Every backup of this tenant will be listed here: the daily ones, and those that you create."
      />
    )
  }
  return (
    <div aria-busy={backups.isPlaceholderData}>
      {isNarrow ? (
        <BackupCards
          services={services}
          backups={backups.data.rows}
          sorting={sorting}
          onSort={sortBy}
        />
      ) : (
        <BackupTable
          services={services}
          backups={backups.data.rows}
          sorting={sorting}
          onSort={sortBy}
        />
      )}
      <Pages
        page={page}
        total={backups.data.total}
        label="Pages of backups"
        onChange={(next) => setPageParam(next === 1 ? null : String(next))}
      />
    </div>
  )
}

interface ListProps {
  services: PageServices
  backups: Backup[]
  sorting: Sorting
  onSort: (sorting: Sorting) => void
}

function BackupTable({ services, backups, sorting, onSort }: ListProps) {
  return (
    <ListTable
      caption="Available backups"
      head={
        <>
          <SortableHeader label="Taken" order="taken" sorting={sorting} onSort={onSort} />
          <Table.Th scope="col">Kind</Table.Th>
          <SortableHeader label="Rows" order="rows" sorting={sorting} onSort={onSort} isNumber />
          <SortableHeader label="Size" order="size" sorting={sorting} onSort={onSort} isNumber />
          <Table.Th scope="col">Changed since previous</Table.Th>
          <Table.Th scope="col">State</Table.Th>
        </>
      }
    >
      {backups.map((backup) => (
        <Table.Tr key={backup.id}>
          <Table.Td className={classes.takenCell}>
            <Text span fw={600} size="sm">
              <Time value={takenAt(backup)} />
            </Text>
            <BackupNote backup={backup} />
          </Table.Td>
          <Table.Td>{KINDS[backup.type]}</Table.Td>
          <Table.Td className={classes.number}>
            {backup.totalRecords === null ? <Nothing /> : formatCount(backup.totalRecords)}
          </Table.Td>
          <Table.Td className={classes.number}>
            <Size backup={backup} />
          </Table.Td>
          <Table.Td>
            <ChangeText backup={backup} />
          </Table.Td>
          <Table.Td className={classes.stateCell}>
            <BackupState services={services} backup={backup} />
          </Table.Td>
        </Table.Tr>
      ))}
    </ListTable>
  )
}

function SortableHeader({
  label,
  order,
  sorting,
  onSort,
  isNumber = false,
}: {
  label: string
  order: BackupOrder
  sorting: Sorting
  onSort: (sorting: Sorting) => void
  isNumber?: boolean
}) {
  const isCurrent = sorting.order === order
  const direction = sorting.isAscending ? 'ascending' : 'descending'
  return (
    <Table.Th
      scope="col"
      aria-sort={isCurrent ? direction : 'none'}
      className={isNumber ? classes.number : undefined}
    >
      <UnstyledButton
        className={classes.sort}
        onClick={() => onSort({ order, isAscending: isCurrent && !sorting.isAscending })}
      >
        {label}
        <span className={isCurrent ? classes.sortMark : classes.sortMarkIdle}>
          <Icon size={14} name={isCurrent ? (sorting.isAscending ? 'up' : 'down') : 'unsorted'} />
        </span>
      </UnstyledButton>
    </Table.Th>
  )
}

const CARD_SORTINGS: Record<string, Sorting & { label: string }> = {
  newest: { order: 'taken', isAscending: false, label: 'Newest first' },
  oldest: { order: 'taken', isAscending: true, label: 'Oldest first' },
  rows: { order: 'rows', isAscending: false, label: 'Most rows first' },
  size: { order: 'size', isAscending: false, label: 'Largest first' },
}

function BackupCards({ services, backups, sorting, onSort }: ListProps) {
  const entries = Object.entries(CARD_SORTINGS)
  const current = entries.find(
    ([, { order, isAscending }]) => order === sorting.order && isAscending === sorting.isAscending,
  )
  return (
    <>
      <NativeSelect
        label="Sort"
        size="md"
        mb="sm"
        value={current?.[0] ?? 'newest'}
        data={entries.map(([value, { label }]) => ({ value, label }))}
        onChange={(event) => {
          const chosen = CARD_SORTINGS[event.currentTarget.value]
          if (chosen !== undefined) {
            onSort({ order: chosen.order, isAscending: chosen.isAscending })
          }
        }}
      />
      <ul className={classes.cards}>
        {backups.map((backup) => (
          <ListCard key={backup.id}>
            <Group justify="space-between" gap="xs" wrap="nowrap" align="flex-start">
              <Text fw={600}>
                <Time value={takenAt(backup)} />
              </Text>
              <Text size="sm" c="dimmed">
                {KINDS[backup.type]}
              </Text>
            </Group>
            {backup.totalRecords !== null && (
              <Text size="sm" mt={4}>
                {formatPlural(backup.totalRecords, 'row')} · <Size backup={backup} />
              </Text>
            )}
            {backup.changes !== null && (
              <Text size="sm" c="dimmed">
                Changed since previous: <ChangeText backup={backup} />
              </Text>
            )}
            <BackupNote backup={backup} />
            <div className={classes.cardState}>
              <BackupState services={services} backup={backup} />
            </div>
          </ListCard>
        ))}
      </ul>
    </>
  )
}

function BackupNote({ backup: { name, note, tags } }: { backup: Backup }) {
  if (name === null && note === null && tags.length === 0) return null
  return (
    <div className={classes.note}>
      {name !== null && (
        <Text size="sm" fw={500}>
          {name}
        </Text>
      )}
      {note !== null && (
        <Text size="sm" c="dimmed">
          {note}
        </Text>
      )}
      {tags.length > 0 && (
        <Text size="xs" c="dimmed">
          {tags.map((tag) => `#${tag}`).join(' ')}
        </Text>
      )}
    </div>
  )
}

function Size({ backup: { totalSize, rawSize } }: { backup: Backup }) {
  if (totalSize === null) return <Nothing />
  return (
    <>
      {formatBytes(totalSize)}
      {rawSize !== null && (
        <Text span inherit c="dimmed">
          {' '}
          <span className={classes.hidden}>stored, </span>({formatBytes(rawSize)}
          <span className={classes.hidden}> uncompressed</span>)
        </Text>
      )}
    </>
  )
}

function ChangeText({ backup: { changes } }: { backup: Backup }) {
  const text = describeChanges(changes)
  if (text === null || changes === null) return <Nothing />
  if (changes.tables.length === 0) return <>{text}</>
  const lines = listChanges(changes)
  return (
    <Tooltip
      multiline
      label={
        <>
          {lines.slice(0, 12).map((line) => (
            <div key={line}>{line}</div>
          ))}
          {lines.length > 12 && <div>and {lines.length - 12} more</div>}
        </>
      }
    >
      <span>{text}</span>
    </Tooltip>
  )
}

function BackupState({ services, backup }: { services: PageServices; backup: Backup }) {
  return (
    <Stack gap={4}>
      <Group gap={6}>
        <StatusBadge words={nameStatus(backup)} />
        {backup.pinnedAt !== null && (
          <StatusBadge words={{ word: 'Pinned', colour: 'blue', icon: 'pin' }} />
        )}
        {backup.gaps.length > 0 && (
          <StatusBadge
            words={{
              word: `${formatPlural(backup.gaps.length, 'table')} missing`,
              colour: 'yellow',
              icon: 'attention',
            }}
          />
        )}
      </Group>
      {backup.errorMessage !== null && (
        <Text size="xs" c="dimmed" className={classes.reason}>
          {backup.errorMessage}
        </Text>
      )}
      {backup.pinReason !== null && (
        <Text size="xs" c="dimmed" className={classes.reason}>
          {backup.pinReason}
        </Text>
      )}
      {backup.status === 'complete' && <DownloadButton services={services} backup={backup} />}
    </Stack>
  )
}

/** A value that there is not. */
function Nothing() {
  return (
    <Text span inherit c="dimmed">
      <span aria-hidden="true">—</span>
      <span className={classes.hidden}>none</span>
    </Text>
  )
}
