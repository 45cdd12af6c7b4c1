import { Button, CloseButton, Text, TextInput, UnstyledButton } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import {
  EmptyList,
  ListCard,
  ListSkeleton,
  ListTable,
  Nothing,
  Pages,
} from '../frame/list-parts.tsx'
import { nameTable, technicalName } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import { useSearchParam } from '../frame/use-search-param.ts'
import { useHeading, ViewHeading } from '../restore/restore-parts.tsx'
import classes from './defaults.module.css'
import { listedColumns, nameRow } from './describe-column.ts'
import type { PanelProps } from './panel-props.ts'
import {
  type DefaultColumn,
  type DefaultRow,
  type DefaultTable,
  readDefaultRows,
} from './read-defaults.ts'
import { BackButton } from './row-form.tsx'

interface RowsViewProps extends PanelProps {
  table: DefaultTable
  template: { id: string; name: string }
  onBack: () => void
  /** Null for a new one. */
  onOpen: (row: DefaultRow | null) => void
}

/** The rows of the template in one table, a page at a time. */
export function RowsView(props: RowsViewProps) {
  const { services, table, template, isNarrow, announce, onBack, onOpen } = props
  const [typed, setTyped] = useState('')
  const [search] = useDebouncedValue(typed.trim(), 300)
  const [pageParam, setPageParam] = useSearchParam('page')
  const page = Math.max(1, Number.parseInt(pageParam ?? '1', 10) || 1)
  const heading = useHeading(`${nameTable(table.name)} – Defaults`, 'rows')
  const rows = useQuery({
    queryKey: ['defaults', 'rows', table.name, search, page],
    queryFn: ({ signal }) => readDefaultRows(services, { table: table.name, search, page }, signal),
    placeholderData: keepPreviousData,
  })
  const found = search === '' || rows.isPlaceholderData ? undefined : rows.data?.total
  useEffect(() => {
    if (found !== undefined) announce(`${formatPlural(found, 'row')} found`)
  }, [announce, found])
  const technical = technicalName(table.name)
  const columns = listedColumns(rows.data?.columns ?? table.columns)

  return (
    <section className={classes.view} aria-labelledby="tenantkeep-rows">
      <BackButton onClick={onBack}>All tables</BackButton>
      <div className={classes.rowsHead}>
        <div>
          <ViewHeading id="tenantkeep-rows" headingRef={heading}>
            {nameTable(table.name)}
          </ViewHeading>
          <Text c="dimmed" size="sm" mt={4}>
            {technical !== null && `${technical} · `}
            {rows.data === undefined
              ? ''
              : search === ''
                ? formatPlural(rows.data.total, 'row')
                : `${formatPlural(rows.data.total, 'row')} found`}
          </Text>
        </div>
        <div className={classes.rowsTools}>
          <TextInput
            className={classes.search ?? ''}
            aria-label="Search rows"
            placeholder="A part of any value"
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
          <Button
            size={isNarrow ? 'md' : 'sm'}
            leftSection={<Icon name="plus" />}
            onClick={() => onOpen(null)}
          >
            Add a row
          </Button>
        </div>
      </div>
      {rows.isError && (
        <ErrorNotice
          error={rows.error}
          what="The rows could not be read, so it is not known whether there are any"
          onRetry={() => rows.refetch()}
        />
      )}
      {rows.data === undefined ? (
        !rows.isError && <ListSkeleton isNarrow={isNarrow} />
      ) : rows.data.rows.length === 0 ? (
        <EmptyList
          title={search === '' ? 'This table has no defaults yet' : `No row holds “${search}”`}
          text={
            search === ''
              ? 'The template tenant has no row in it, so new tenants start without one.'
              : 'Search by a part of any value, upper and lower case alike.'
          }
        />
      ) : (
        <div aria-busy={rows.isPlaceholderData}>
          <Rows
            rows={rows.data.rows}
            columns={columns}
            isNarrow={isNarrow}
            table={table}
            templateId={template.id}
            onOpen={onOpen}
          />
          <Pages
            page={page}
            total={rows.data.total}
            label="Pages of rows"
            onChange={(next) => setPageParam(next === 1 ? null : String(next))}
          />
        </div>
      )}
    </section>
  )
}

interface RowsProps {
  rows: readonly DefaultRow[]
  columns: readonly DefaultColumn[]
  isNarrow: boolean
  table: DefaultTable
  templateId: string
  onOpen: (row: DefaultRow) => void
}

function Rows({ rows, columns, isNarrow, table, templateId, onOpen }: RowsProps) {
  const nameOf = (row: DefaultRow) => nameRow(row, templateId)
  if (isNarrow) {
    return (
      <ul className={shared.cards}>
        {rows.map((row) => (
          <ListCard key={JSON.stringify(row.key)}>
            <OpenRow name={nameOf(row)} onClick={() => onOpen(row)} />
            <dl className={classes.cardValues}>
              {columns.map(({ name }) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>{shorten(row.values[name])}</dd>
                </div>
              ))}
            </dl>
          </ListCard>
        ))}
      </ul>
    )
  }
  return (
    <div className={classes.framed}>
      <ListTable
        caption={`Defaults in ${nameTable(table.name)}`}
        head={
          <>
            <th scope="col">Row</th>
            {columns.map(({ name, type }) => (
              <th key={name} scope="col" className={isNumber(type) ? shared.number : undefined}>
                {name}
              </th>
            ))}
          </>
        }
      >
        {rows.map((row) => (
          <tr key={JSON.stringify(row.key)}>
            <td className={classes.nameCell}>
              <OpenRow name={nameOf(row)} onClick={() => onOpen(row)} />
            </td>
            {columns.map(({ name, type }) => (
              <td key={name} className={isNumber(type) ? shared.number : classes.valueCell}>
                {shorten(row.values[name])}
              </td>
            ))}
          </tr>
        ))}
      </ListTable>
    </div>
  )
}

function OpenRow({ name, onClick }: { name: string; onClick: () => void }) {
  return (
    <UnstyledButton className={classes.open} onClick={onClick}>
      {name}
      <span className={shared.hidden}> (edit this row)</span>
    </UnstyledButton>
  )
}

const isNumber = (type: string) =>
  /^(smallint|integer|bigint|numeric|real|double precision)/.test(type) && !type.endsWith('[]')

/** So many characters of a value say which row it is. */
const MOST_CHARACTERS = 80

function shorten(value: string | null | undefined) {
  if (value === null || value === undefined) return <Nothing />
  if (value.length <= MOST_CHARACTERS) return value
  return <span title={value.slice(0, 500)}>{value.slice(0, MOST_CHARACTERS)}…</span>
}
