import { Alert, CloseButton, Code, List, Text, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatCount, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import {
  EmptyList,
  ListCard,
  ListSkeleton,
  ListTable,
  Nothing,
  StatusBadge,
} from '../frame/list-parts.tsx'
import shared from '../frame/page.module.css'
import { Time } from '../frame/times.tsx'
import {
  CLASSES,
  describeCondition,
  describeCounts,
  describeMarks,
  needsAttention,
} from './describe-table.ts'
import { type ListedTable, readTables } from './read-tables.ts'
import classes from './tables-list.module.css'

interface TablesListProps {
  services: PageServices
  isNarrow: boolean
  /** Tells screen readers. */
  announce: (text: string) => void
}

/** What every table of the application is to a tenant, those that need attention first. */
export default function TablesList({ services, isNarrow, announce }: TablesListProps) {
  const [typed, setTyped] = useState('')
  const tables = useQuery({
    queryKey: ['tables'],
    queryFn: ({ signal }) => readTables(services, signal),
  })
  const search = typed.trim().toLowerCase()
  const found = (tables.data?.tables ?? [])
    .filter(
      ({ name, class: kind }) => name.toLowerCase().includes(search) || kind.startsWith(search),
    )
    .toSorted((a, b) => Number(needsAttention(b)) - Number(needsAttention(a)))
  const isSearching = search !== '' && tables.data !== undefined
  useEffect(() => {
    if (isSearching) announce(`${formatPlural(found.length, 'table')} found`)
  }, [announce, isSearching, found.length])

  if (tables.data === undefined) {
    return tables.isError ? (
      <ErrorNotice
        error={tables.error}
        what="The tables could not be loaded"
        onRetry={() => tables.refetch()}
      />
    ) : (
      <div role="status" aria-label="Looking at the tables">
        <ListSkeleton isNarrow={isNarrow} />
      </div>
    )
  }
  const { notChecked, changeCommand } = tables.data
  const countedAt = findCommonCount(tables.data.tables)
  return (
    <>
      <div className={classes.tools}>
        <TextInput
          className={classes.search}
          aria-label="Search tables"
          placeholder="Name or class"
          size={isNarrow ? 'md' : 'sm'}
          leftSection={<Icon name="search" />}
          value={typed}
          maxLength={200}
          onChange={(event) => setTyped(event.currentTarget.value)}
          rightSection={
            typed === '' ? null : (
              <CloseButton size="sm" aria-label="Clear the search" onClick={() => setTyped('')} />
            )
          }
        />
        <Text size="sm" c="dimmed">
          {describeCounts(tables.data.tables)}
          {countedAt !== null && (
            <>
              {' '}
              · rows counted <Time value={countedAt} />
            </>
          )}
        </Text>
      </div>
      {notChecked.length > 0 && (
        <Alert
          className={classes.notice}
          color="yellow"
          icon={<Icon name="attention" />}
          title="Not everything could be looked at"
        >
          <Text size="sm">Nothing is known about the following; it may be in order or not.</Text>
          <List size="sm" mt={4} spacing={2}>
            {notChecked.map(({ check, reason }) => (
              <List.Item key={check}>
                {check}: {reason}
              </List.Item>
            ))}
          </List>
        </Alert>
      )}
      {found.length === 0 ? (
        <EmptyList
          title={search === '' ? 'No tables are known' : `No table matches “${typed.trim()}”`}
          text={
            search === ''
              ? 'The command below looks at the database of the application and asks about its tables.'
              : 'Search by a part of the name, or by a class such as child or shared.'
          }
        />
      ) : isNarrow ? (
        <ul className={shared.cards}>
          {found.map((table) => (
            <ListCard key={table.name}>
              <Text fw={600} className={classes.name}>
                {table.name}
              </Text>
              <Text size="sm" c="dimmed">
                {CLASSES[table.class].word}: {CLASSES[table.class].meaning}
              </Text>
              <div className={classes.cardRows}>
                <RowCount table={table} commonCount={countedAt} hasUnit />
              </div>
              <Path table={table} />
              <Marks table={table} />
              <div className={shared.cardState}>
                <Condition table={table} />
              </div>
            </ListCard>
          ))}
        </ul>
      ) : (
        <ListTable
          caption="Tables of the application, those that need attention first"
          head={
            <>
              <th scope="col">Table</th>
              <th scope="col">What it is to a tenant</th>
              <th scope="col" className={shared.number}>
                Rows of all tenants
              </th>
              <th scope="col">What doctor says</th>
            </>
          }
        >
          {found.map((table) => (
            <tr key={table.name}>
              <td className={classes.name}>
                <Text size="sm" fw={600}>
                  {table.name}
                </Text>
                <Marks table={table} />
              </td>
              <td>
                <Text size="sm">
                  {CLASSES[table.class].word}
                  <Text span inherit c="dimmed">
                    {' '}
                    · {CLASSES[table.class].meaning}
                  </Text>
                </Text>
                <Path table={table} />
              </td>
              <td className={shared.number}>
                <RowCount table={table} commonCount={countedAt} />
              </td>
              <td className={shared.stateCell}>
                <Condition table={table} />
              </td>
            </tr>
          ))}
        </ListTable>
      )}
      <Text size="sm" c="dimmed" className={classes.change}>
        What a table is, and its marks, are said in the answers file of the application, and taken
        over by <Code className={classes.command}>{changeCommand}</Code>
      </Text>
    </>
  )
}

function Path({ table: { path } }: { table: ListedTable }) {
  return path === '' ? null : <div className={classes.path}>{path}</div>
}

function Marks({ table }: { table: ListedTable }) {
  const marks = describeMarks(table)
  if (marks.length === 0) return null
  return (
    <ul className={classes.marks}>
      {marks.map((mark) => (
        <Text key={mark} component="li" size="xs" c="dimmed">
          {mark}
        </Text>
      ))}
    </ul>
  )
}

/** When the rows were counted, where that was done at one time for all: said once, and not in each line. */
function findCommonCount(tables: readonly ListedTable[]): Date | null {
  const times = tables.flatMap(({ rows }) => (rows?.countedAt == null ? [] : [rows.countedAt]))
  const [first] = times
  const isCommon = times.every((time) => minuteOf(time) === minuteOf(first ?? time))
  return first !== undefined && isCommon ? first : null
}

const minuteOf = (time: Date) => Math.floor(time.getTime() / 60_000)

function RowCount({
  table: { rows },
  commonCount,
  hasUnit = false,
}: {
  table: ListedTable
  commonCount: Date | null
  /** `12 rows`, where no heading says what it is. */
  hasUnit?: boolean
}) {
  if (rows === null) return hasUnit ? 'Rows not counted' : <Nothing />
  const number = hasUnit ? formatPlural(rows.count, 'row') : formatCount(rows.count)
  if (rows.countedAt === null) return `about ${number}`
  return (
    <>
      {number}
      {commonCount === null && (
        <Text span size="xs" c="dimmed" display="block">
          counted <Time value={rows.countedAt} />
        </Text>
      )}
    </>
  )
}

function Condition({ table }: { table: ListedTable }) {
  const { findings, unreadable } = table
  return (
    <>
      <StatusBadge words={describeCondition(table)} />
      {unreadable !== null && findings.length === 0 && (
        <Text size="xs" c="dimmed" mt={4} className={shared.reason}>
          {unreadable}
        </Text>
      )}
      {findings.length > 0 && (
        <ul className={classes.findings}>
          {findings.map(({ code, message, remedy }) => (
            <li key={`${code} ${message}`}>
              <Text size="xs">{message}</Text>
              <Text size="xs" c="dimmed">
                {remedy}
              </Text>
            </li>
          ))}
        </ul>
      )}
    </>
  )
}
