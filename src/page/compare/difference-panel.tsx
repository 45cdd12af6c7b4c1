import { Button, Loader, Pagination, Skeleton, Text } from '@mantine/core'
import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query'
import { type ReactNode, useEffect, useState } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatCount, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { nameTable } from '../frame/name-table.ts'
import classes from './compare.module.css'
import {
  countRows,
  cursorOf,
  type Direction,
  describeTable,
  whyNotTickable,
} from './describe-comparison.ts'
import { DifferenceCards, DifferenceTable, findTickable } from './difference-rows.tsx'
import {
  type ComparedTable,
  type DifferenceKind,
  type RowQuery,
  readDifferences,
} from './read-comparison.ts'
import { MOST_TICKED } from './ticked-rows.ts'
import type { Tickable, Ticks } from './use-ticks.ts'

/** What every list of rows of a comparison is given. */
export interface PanelContext {
  services: PageServices
  tenantId: string
  runId: string
  tables: readonly ComparedTable[]
  direction: Direction
  sides: { before: ReactNode; after: ReactNode }
  kind: DifferenceKind | null
  search: string
  ticks: Ticks
  onTick: (rows: readonly Tickable[], isTicked: boolean) => void
  isNarrow: boolean
  announce: (text: string) => void
}

const PAGE_SIZE = 25

/** The rows of one table that differ, a page at a time; read when the table is opened. */
export function TableDifferences({
  context,
  table,
}: {
  context: PanelContext
  table: ComparedTable
}) {
  const { direction } = context
  const notes = describeTable(table, direction)
  const why = whyNotTickable(table)
  return (
    <>
      {(notes.length > 0 || why !== null) && (
        <div className={classes.notes}>
          {notes.map((note) => (
            <Note key={note}>{note}</Note>
          ))}
          {why !== null && <Note>{why}</Note>}
        </div>
      )}
      {table.keptRows > 0 ? (
        <Rows
          context={context}
          table={table}
          caption={`Rows of ${nameTable(table.name)} that differ`}
        />
      ) : (
        <Text size="sm" c="dimmed" px="md" py="md">
          There are no rows to show.
        </Text>
      )}
    </>
  )
}

/** Rows of all tables in which something was found. */
export function FoundDifferences({ context }: { context: PanelContext }) {
  return <Rows context={context} table={null} caption={`Rows with «${context.search}»`} />
}

function Note({ children }: { children: ReactNode }) {
  return (
    <div className={classes.note}>
      <span className={classes.noteMark}>
        <Icon name="attention" size={14} />
      </span>
      <span>{children}</span>
    </div>
  )
}

/** Where one is in a list that was filtered in a certain way. */
interface Place {
  scope: string
  page: number
  /** After which rows the second page began, the third, and so on. */
  cursors: readonly number[]
}

function Rows({
  context,
  table,
  caption,
}: {
  context: PanelContext
  table: ComparedTable | null
  caption: string
}) {
  const { services, runId, kind, search, tables, announce } = context
  const query: RowQuery = { runId, table: table?.name ?? null, kind, search }
  // Rows of a whole table are numbered through, so that any page can be opened; of others, the next one.
  const isNumbered = table !== null && kind === null && search === ''
  // A page number means nothing under another filter or search.
  const scope = `${kind} ${search}`
  const [place, setPlace] = useState<Place>({ scope, page: 1, cursors: [] })
  const { page, cursors } = place.scope === scope ? place : { page: 1, cursors: [] }
  const setPage = (next: number) => setPlace({ scope, page: next, cursors: [] })
  const setCursors = (next: readonly number[]) => setPlace({ scope, page: 1, cursors: next })
  const cursor = isNumbered ? cursorOf(tables, table.name, page, PAGE_SIZE) : (cursors.at(-1) ?? 0)
  const found = useQuery({
    queryKey: ['differences', query, cursor],
    queryFn: ({ signal }) =>
      readDifferences(services, { ...query, cursor, limit: PAGE_SIZE }, signal),
    placeholderData: keepPreviousData,
    staleTime: Number.POSITIVE_INFINITY,
  })
  const pageNumber = isNumbered ? page : cursors.length + 1
  const rows = found.data?.rows
  const isCurrent = rows !== undefined && !found.isPlaceholderData
  const shown = rows?.length ?? 0
  useEffect(() => {
    if (isCurrent && (table === null || pageNumber > 1)) {
      announce(
        shown === 0 ? 'Nothing was found.' : `Page ${pageNumber}: ${formatPlural(shown, 'row')}.`,
      )
    }
  }, [isCurrent, pageNumber, shown, table, announce])

  if (rows === undefined) {
    if (found.isError) {
      return (
        <div className={classes.skeletons}>
          <ErrorNotice
            error={found.error}
            what="The rows could not be loaded"
            onRetry={() => found.refetch()}
          />
        </div>
      )
    }
    return <RowsSkeleton isNarrow={context.isNarrow} />
  }
  if (rows.length === 0) {
    return (
      <Text size="sm" c="dimmed" ta="center" className={classes.empty}>
        {search === ''
          ? 'None of the listed rows differ in this way.'
          : `No row that differs holds «${search}».`}
      </Text>
    )
  }

  const byName = new Map(tables.map((each) => [each.name, each]))
  const props = {
    ...context,
    rows,
    tables: byName,
    isMixed: table === null,
    caption,
  }
  const total = findTotal(table, kind, search)
  const first = (pageNumber - 1) * PAGE_SIZE + 1
  const hasMore = found.data?.nextCursor != null
  const isOnePage = pageNumber === 1 && !hasMore
  return (
    <div aria-busy={found.isPlaceholderData}>
      <div className={classes.panelTools}>
        <Text size="sm" c="dimmed">
          {total === null
            ? `Rows ${formatCount(first)}–${formatCount(first + rows.length - 1)}`
            : `Rows ${formatCount(first)}–${formatCount(first + rows.length - 1)} of ${formatCount(total)}`}
          {found.isPlaceholderData && <Loader size={12} ml={8} />}
        </Text>
        <TickTools
          context={context}
          query={query}
          rows={rows}
          total={total}
          isOnePage={isOnePage}
        />
      </div>
      {context.isNarrow ? <DifferenceCards {...props} /> : <DifferenceTable {...props} />}
      {!isOnePage && (
        <div className={classes.pages}>
          {isNumbered ? (
            <Pagination
              total={Math.ceil(table.keptRows / PAGE_SIZE)}
              value={page}
              onChange={setPage}
              size="sm"
              siblings={context.isNarrow ? 0 : 1}
              aria-label={`Pages of ${nameTable(table.name)}`}
              getControlProps={(control) => ({ 'aria-label': `${control} page` })}
              getItemProps={(item) => ({ 'aria-label': `Page ${item}` })}
            />
          ) : (
            <div className={classes.barActions}>
              <Button
                size="xs"
                variant="default"
                disabled={cursors.length === 0}
                onClick={() => setCursors(cursors.slice(0, -1))}
              >
                Previous page
              </Button>
              <Button
                size="xs"
                variant="default"
                disabled={!hasMore || found.isPlaceholderData}
                onClick={() => setCursors([...cursors, found.data?.nextCursor ?? 0])}
              >
                Next page
              </Button>
            </div>
          )}
        </div>
      )}
    </div>
  )
}

/** How many rows there are to page through; null where only the last page tells. */
function findTotal(
  table: ComparedTable | null,
  kind: DifferenceKind | null,
  search: string,
): number | null {
  if (table === null || search !== '') return null
  if (kind === null) return table.keptRows
  return table.isByKey && table.keptRows === countRows(table) ? countRows(table, kind) : null
}

/** Ticks all rows of the list, on whatever page, as long as one restore takes them. */
function TickTools({
  context,
  query,
  rows,
  total,
  isOnePage,
}: {
  context: PanelContext
  query: RowQuery
  rows: Parameters<typeof findTickable>[0]['rows']
  total: number | null
  isOnePage: boolean
}) {
  const { services, tables, onTick, ticks } = context
  const byName = new Map(tables.map((table) => [table.name, table]))
  const onPage = findTickable({ rows, tables: byName })
  const everything = useMutation({
    mutationFn: async () => {
      const all = await readDifferences(services, { ...query, cursor: 0, limit: MOST_TICKED + 1 })
      return findTickable({ rows: all.rows, tables: byName })
    },
    onSuccess: (all) => onTick(all, true),
  })
  if (onPage.length === 0) return null
  const isTooMuch = total !== null && total > MOST_TICKED
  const areAllTicked = isOnePage && onPage.every(({ table, key }) => ticks.has(table, key))
  return (
    <div className={classes.tickTools}>
      {everything.isError && (
        <Text size="sm" c="red" role="alert">
          The rows could not be read.
        </Text>
      )}
      {isTooMuch && (
        <Text size="sm" c="dimmed">
          Up to {formatCount(MOST_TICKED)} rows can be ticked; for more, restore the whole table.
        </Text>
      )}
      {!isOnePage && (
        <Button size="xs" variant="default" onClick={() => onTick(onPage, true)}>
          Tick this page
        </Button>
      )}
      {!isTooMuch && (
        <Button
          size="xs"
          variant="default"
          loading={everything.isPending}
          onClick={() => {
            if (areAllTicked) onTick(onPage, false)
            else if (isOnePage) onTick(onPage, true)
            else everything.mutate()
          }}
        >
          {areAllTicked
            ? 'Clear these'
            : total === null
              ? 'Tick all'
              : `Tick all ${formatCount(total)}`}
        </Button>
      )}
    </div>
  )
}

const SKELETONS = ['a', 'b', 'c', 'd']

function RowsSkeleton({ isNarrow }: { isNarrow: boolean }) {
  return (
    <div className={classes.skeletons} role="status" aria-label="Loading rows">
      {SKELETONS.map((row) => (
        <Skeleton key={row} height={isNarrow ? 96 : 36} radius="sm" />
      ))}
    </div>
  )
}
