import { Button, NativeSelect, Text, UnstyledButton } from '@mantine/core'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { type ReactNode, useContext, useState } from 'react'
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
import { Day, Time, UtcTimes } from '../frame/times.tsx'
import { useSearchParam } from '../frame/use-search-param.ts'
import type { ViewProps } from '../frame/view-props.ts'
import { takenAt } from '../state/describe-state.ts'
import { BackupActions } from './backup-actions.tsx'
import { BackupFilterBar } from './backup-filter-bar.tsx'
import list from './backup-list.module.css'
import {
  describeChanges,
  KINDS,
  listChanges,
  listMarks,
  listReasons,
  nameStatus,
} from './backup-words.ts'
import { describeKeeping } from './describe-keeping.ts'
import { type Backup, type BackupOrder, listBackups } from './read-backups.ts'
import { type Keeping, readKeeping } from './read-keeping.ts'
import { toFilters, useListChoices } from './use-list-choices.ts'

interface Sorting {
  order: BackupOrder
  isAscending: boolean
}

interface BackupListProps {
  services: PageServices
  tenantId: string
  isNarrow: boolean
  announce: ViewProps['announce']
  /** What to do first where there is no backup at all. */
  onCreate: () => void
}

/** Every backup of the tenant, a page at a time: a table, or cards where there is no room for one. */
export function BackupList({ services, tenantId, isNarrow, announce, onCreate }: BackupListProps) {
  const utc = useContext(UtcTimes)
  const { choices, isFiltered, choose, clear } = useListChoices()
  const [pageParam, setPageParam] = useSearchParam('page')
  const page = Math.max(1, Number.parseInt(pageParam ?? '1', 10) || 1)
  const { order, isAscending } = choices
  const filters = toFilters(choices, utc)
  const backups = useQuery({
    queryKey: ['backups', tenantId, order, isAscending, filters, page],
    queryFn: ({ signal }) =>
      listBackups(services, { tenantId, order, isAscending, page, filters }, signal),
    placeholderData: keepPreviousData,
  })
  const keeping = useKeeping(services, tenantId, backups.data?.rows)

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
  const { rows, total } = backups.data
  if (total === 0 && !isFiltered) {
    return (
      <EmptyList
        title="No backup yet"
        text="Every backup of this tenant will be listed here: the daily ones, and those that you create."
        action={<Button onClick={onCreate}>Create backup</Button>}
      />
    )
  }
  const sorting = { order, isAscending }
  const sortBy = (next: Sorting) => choose({ sorting: next })
  return (
    <div aria-busy={backups.isPlaceholderData}>
      <BackupFilterBar
        isNarrow={isNarrow}
        choices={choices}
        isFiltered={isFiltered}
        total={total}
        onChoose={choose}
        onClear={clear}
        sort={isNarrow ? <SortSelect sorting={sorting} onSort={sortBy} /> : null}
      />
      {backups.isError && (
        <ErrorNotice
          error={backups.error}
          what="The list could not be brought up to date"
          onRetry={() => backups.refetch()}
        />
      )}
      {total === 0 ? (
        <EmptyList
          title="No backup fits these filters"
          text="Others are there; the filters hide them."
          action={
            <Button variant="default" onClick={clear}>
              Clear filters
            </Button>
          }
        />
      ) : isNarrow ? (
        <BackupCards services={services} backups={rows} keeping={keeping} announce={announce} />
      ) : (
        <BackupTable
          services={services}
          backups={rows}
          keeping={keeping}
          sorting={sorting}
          onSort={sortBy}
          announce={announce}
        />
      )}
      <Pages
        page={page}
        total={total}
        label="Pages of backups"
        onChange={(next) => setPageParam(next === 1 ? null : String(next))}
      />
    </div>
  )
}

/** By a backup's id; undefined while it is read, null where that failed: the list stands without it. */
type KeepingById = ReadonlyMap<string, Keeping> | undefined | null

function useKeeping(
  services: PageServices,
  tenantId: string,
  backups: readonly Backup[] | undefined,
): KeepingById {
  const backupIds = (backups ?? []).flatMap(({ id, status }) => (status === 'complete' ? [id] : []))
  const keeping = useQuery({
    queryKey: ['backups', tenantId, 'keeping', backupIds],
    queryFn: ({ signal }) => readKeeping(services, { tenantId, backupIds }, signal),
    enabled: backupIds.length > 0,
  })
  return keeping.isError ? null : keeping.data
}

interface RowsProps {
  services: PageServices
  backups: Backup[]
  keeping: KeepingById
  announce: ViewProps['announce']
}

function BackupTable({
  services,
  backups,
  keeping,
  sorting,
  onSort,
  announce,
}: RowsProps & { sorting: Sorting; onSort: (sorting: Sorting) => void }) {
  return (
    <ListTable
      caption="Available backups"
      head={
        <>
          <SortableHeader label="Taken" order="taken" sorting={sorting} onSort={onSort} />
          <th scope="col">Kind</th>
          <SortableHeader label="Rows" order="rows" sorting={sorting} onSort={onSort} isNumber />
          <SortableHeader label="Size" order="size" sorting={sorting} onSort={onSort} isNumber />
          <th scope="col">Changed since previous</th>
          <th scope="col">State</th>
          <th scope="col">
            <span className={classes.hidden}>Actions</span>
          </th>
        </>
      }
    >
      {backups.map((backup) => (
        <tr key={backup.id}>
          <td className={list.takenCell}>
            <Text span fw={600} size="sm">
              <Time value={takenAt(backup)} />
            </Text>
            <BackupNote backup={backup} />
          </td>
          <td>{KINDS[backup.type]}</td>
          <td className={classes.number}>
            {backup.totalRecords === null ? <Nothing /> : formatCount(backup.totalRecords)}
          </td>
          <td className={classes.number}>
            <Size backup={backup} />
          </td>
          <td className={list.changesCell}>
            <ChangeText backup={backup} />
          </td>
          <td className={list.stateCell}>
            <BackupBadges backup={backup} />
            <BackupReasons backup={backup} keeping={keeping} />
          </td>
          <td className={list.actionsCell}>
            <BackupActions services={services} backup={backup} announce={announce} />
          </td>
        </tr>
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
    <th
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
    </th>
  )
}

const CARD_SORTINGS: Record<string, Sorting & { label: string }> = {
  newest: { order: 'taken', isAscending: false, label: 'Newest first' },
  oldest: { order: 'taken', isAscending: true, label: 'Oldest first' },
  rows: { order: 'rows', isAscending: false, label: 'Most rows first' },
  size: { order: 'size', isAscending: false, label: 'Largest first' },
}

function SortSelect({
  sorting,
  onSort,
}: {
  sorting: Sorting
  onSort: (sorting: Sorting) => void
}): ReactNode {
  const entries = Object.entries(CARD_SORTINGS)
  const current = entries.find(
    ([, { order, isAscending }]) => order === sorting.order && isAscending === sorting.isAscending,
  )
  return (
    <NativeSelect
      aria-label="Sort"
      size="md"
      value={current?.[0] ?? 'newest'}
      data={entries.map(([value, { label }]) => ({ value, label }))}
      onChange={(event) => {
        const chosen = CARD_SORTINGS[event.currentTarget.value]
        if (chosen !== undefined) {
          onSort({ order: chosen.order, isAscending: chosen.isAscending })
        }
      }}
    />
  )
}

function BackupCards({ services, backups, keeping, announce }: RowsProps) {
  return (
    <ul className={classes.cards}>
      {backups.map((backup) => (
        <ListCard key={backup.id}>
          <div className={list.cardHead}>
            <Text fw={600}>
              <Time value={takenAt(backup)} />
            </Text>
            <BackupBadges backup={backup} />
          </div>
          <Text size="sm" c="dimmed" mt={4}>
            {KINDS[backup.type]}
            {backup.totalRecords !== null && (
              <>
                {' '}
                · {formatPlural(backup.totalRecords, 'row')} · <Size backup={backup} />
              </>
            )}
          </Text>
          {backup.changes !== null && (
            <div className={list.cardChanges}>
              <span>Changed since previous: </span>
              <ChangeText backup={backup} />
            </div>
          )}
          <BackupNote backup={backup} />
          <BackupReasons backup={backup} keeping={keeping} />
          <BackupActions services={services} backup={backup} announce={announce} />
        </ListCard>
      ))}
    </ul>
  )
}

function BackupNote({ backup: { name, note, tags } }: { backup: Backup }) {
  const [isWhole, setWhole] = useState(false)
  if (name === null && note === null && tags.length === 0) return null
  const isLong = note !== null && note.length > LONG_NOTE
  return (
    <div className={list.note}>
      {name !== null && (
        <Text size="sm" fw={500}>
          {name}
        </Text>
      )}
      {note !== null && (
        <Text size="sm" c="dimmed">
          {isLong && !isWhole ? `${note.slice(0, LONG_NOTE - 20).trimEnd()}… ` : note}
          {isLong && (
            <UnstyledButton
              className={list.more}
              aria-expanded={isWhole}
              onClick={() => setWhole(!isWhole)}
            >
              {isWhole ? 'Show less' : 'Show all'}
            </UnstyledButton>
          )}
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

/** Longer notes are cut, so that one of them does not push the next backup off the screen. */
const LONG_NOTE = 160

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
  return (
    <details className={list.changes}>
      <summary>{text}</summary>
      <ul>
        {listChanges(changes).map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    </details>
  )
}

function BackupBadges({ backup }: { backup: Backup }) {
  return (
    <div className={list.badges}>
      {[nameStatus(backup), ...listMarks(backup)].map((words) => (
        <StatusBadge key={words.word} words={words} />
      ))}
    </div>
  )
}

function BackupReasons({ backup, keeping }: { backup: Backup; keeping: KeepingById }) {
  return (
    <>
      {listReasons(backup).map((reason) => (
        <Text key={reason} size="xs" c="dimmed" mt={4} className={list.reason}>
          {reason}
        </Text>
      ))}
      {backup.status === 'complete' && keeping !== null && (
        <KeepText keeping={keeping?.get(backup.id)} />
      )}
    </>
  )
}

/** How long it is kept; opened, why. Takes its line before it is known, so that no row moves. */
function KeepText({ keeping }: { keeping: Keeping | undefined }) {
  if (keeping === undefined) {
    return (
      <Text size="xs" mt={4} aria-hidden="true">
        &nbsp;
      </Text>
    )
  }
  const { keep, isCopied } = keeping
  const { text, until } = describeKeeping(keep)
  return (
    <details className={list.keeping}>
      <summary>
        {text}
        {until !== null && (
          <>
            {' '}
            <Day value={until} />
          </>
        )}
        {isCopied && ' · in a second place, too'}
      </summary>
      <ul>
        {keep.reasons.map(({ message }) => (
          <li key={message}>{message}</li>
        ))}
      </ul>
    </details>
  )
}
