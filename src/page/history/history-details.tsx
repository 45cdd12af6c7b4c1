import { Button, List, Skeleton, Table, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Fragment } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatBytes, formatCount, formatPlural } from '../frame/format.ts'
import { nameTable } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import { Time } from '../frame/times.tsx'
import { setSearchParams } from '../frame/use-search-param.ts'
import { describePolicy } from '../tenants/describe-policy.ts'
import classes from './history-list.module.css'
import { type EntryDetails, type JournalEntry, readEntryDetails } from './read-journal.ts'

/** What an entry of the history says beyond its row; read when it is opened. */
export function HistoryDetails({
  services,
  entry,
}: {
  services: PageServices
  entry: JournalEntry
}) {
  const details = useQuery({
    queryKey: ['history-entry', entry.id, entry.status],
    queryFn: ({ signal }) => readEntryDetails(services, entry.id, signal),
  })
  if (details.isError) {
    return (
      <ErrorNotice
        error={details.error}
        what="The details could not be loaded"
        onRetry={() => details.refetch()}
      />
    )
  }
  if (details.data === undefined) return <Skeleton height={60} aria-hidden="true" />
  return (
    <div className={classes.details}>
      {details.data !== null && <Facts entry={entry} found={details.data} />}
      <dl className={classes.ids}>
        {listIds(entry).map(([name, id]) => (
          <Fragment key={name}>
            <dt>{name}</dt>
            <dd>{id}</dd>
          </Fragment>
        ))}
      </dl>
    </div>
  )
}

/** What whoever is asked for help needs. */
function listIds(entry: JournalEntry): [string, string][] {
  const ids: [string, string | null][] = [
    ['Entry', entry.id],
    ['Backup', entry.backupId],
    ['Run', entry.runId],
    ['Reason', entry.errorCode],
  ]
  return ids.flatMap(([name, id]) => (id === null ? [] : [[name, id]]))
}

function Facts({ entry, found }: { entry: JournalEntry; found: EntryDetails }) {
  const { details } = found
  const isRestore = entry.type === 'restore' || entry.type === 'undo'
  const gaps = details.gaps ?? []
  const warnings = details.warnings ?? []
  return (
    <>
      {details.source !== undefined && (
        <Text size="sm">
          {entry.type === 'undo' ? 'Back to how it was on ' : 'To the state of '}
          <Time value={details.source.takenAt} />.
        </Text>
      )}
      {details.tables !== undefined && (
        <WrittenTables tables={details.tables} isSeeding={entry.type === 'seed_defaults'} />
      )}
      {details.changed !== undefined && <Text size="sm">{describeChange(details)}</Text>}
      <Upkeep entry={entry} details={details} />
      {gaps.length > 0 && (
        <Text size="sm">
          Not part of it, because nobody has decided what is to happen with{' '}
          {gaps.length === 1 ? 'this table' : 'these tables'}: {gaps.join(', ')}.
        </Text>
      )}
      {warnings.length > 0 && (
        <List size="sm">
          {warnings.map(({ message }) => (
            <List.Item key={message}>{message}</List.Item>
          ))}
        </List>
      )}
      {isRestore && entry.status === 'complete' && (
        <div className={classes.actions}>
          {entry.runId !== null && (
            <Button size="xs" variant="default" onClick={() => openResult(entry, found)}>
              See result
            </Button>
          )}
          {(entry.totalRecords ?? 0) > 0 && (
            <Button
              size="xs"
              variant="default"
              onClick={() => setSearchParams({ view: 'undo', restore: entry.id, page: null })}
            >
              {entry.type === 'restore' ? 'Undo this restore' : 'Take the undo back'}
            </Button>
          )}
        </div>
      )}
      {entry.type === 'seed_defaults' &&
        entry.status === 'complete' &&
        found.safetyBackupId !== null && (
          <div className={classes.actions}>
            <Button
              size="xs"
              variant="default"
              onClick={() => setSearchParams({ view: 'undo', restore: entry.id, page: null })}
            >
              Undo this seeding
            </Button>
          </div>
        )}
    </>
  )
}

/** What was removed, found, paused or set. */
function Upkeep({ entry, details }: { entry: JournalEntry; details: EntryDetails['details'] }) {
  const { backups, objects, bytes, objects_left: left = 0, policy } = details
  const found = [...(details.damage ?? []), ...(details.findings ?? [])].map(
    ({ message }) => message,
  )
  return (
    <>
      {backups !== undefined && (
        <Text size="sm">
          {formatPlural(backups, 'backup')} removed: {formatPlural(objects ?? 0, 'file')},{' '}
          {formatBytes(bytes ?? 0)}.
          {left > 0 &&
            ` ${formatPlural(left, 'file')} can’t be removed yet, because a store keeps them locked; they go later.`}
        </Text>
      )}
      {entry.type === 'copy' && entry.status === 'complete' && objects !== undefined && (
        <Text size="sm">
          {formatPlural(objects, 'file')}, {formatBytes(bytes ?? 0)}, each read back there
          {details.store !== undefined && (
            <>
              : <span className={classes.store}>{details.store}</span>
            </>
          )}
        </Text>
      )}
      {found.length > 0 && (
        <List size="sm">
          {[...new Set(found)].map((message) => (
            <List.Item key={message}>{message}</List.Item>
          ))}
        </List>
      )}
      {entry.type === 'drill' && entry.status === 'complete' && (
        <Text size="sm">
          It was loaded on trial, and every row, key and reference was in order. Live data was not
          touched.
        </Text>
      )}
      {details.was_damaged_at !== undefined && (
        <Text size="sm">
          It is whole again. It was marked damaged on <Time value={details.was_damaged_at} />.
        </Text>
      )}
      {entry.type === 'pause' && <Text size="sm">{describePause(details)}</Text>}
      {entry.type === 'resume' && (
        <Text size="sm">
          It was paused
          {details.paused_by !== undefined && ` by ${details.paused_by}`}
          {details.paused_at !== undefined && (
            <>
              {' '}
              on <Time value={details.paused_at} />
            </>
          )}
          {details.reason === undefined ? '.' : `: “${details.reason}”.`}
          {details.note !== undefined && ` ${details.note}`}
        </Text>
      )}
      {policy !== undefined && (
        <Text size="sm">
          {policy === null
            ? 'The rules of all other tenants hold for this one again.'
            : `Kept from then on: ${describePolicy(policy).join('; ')}.`}
        </Text>
      )}
    </>
  )
}

function describePause({ reason, reason_before: before }: EntryDetails['details']): string {
  return before === undefined ? `“${reason}”` : `“${reason}”; before, the reason was “${before}”`
}

function openResult(entry: JournalEntry, { undoOf }: EntryDetails): void {
  setSearchParams(
    entry.type === 'undo'
      ? { view: 'undo', restore: undoOf, run: entry.runId, page: null }
      : { view: 'restore', backup: entry.backupId, run: entry.runId, page: null },
  )
}

function WrittenTables({
  tables,
  isSeeding,
}: {
  tables: NonNullable<EntryDetails['details']['tables']>
  isSeeding: boolean
}) {
  const written = tables.filter(
    ({ inserted, updated, deleted }) => inserted + updated + deleted > 0,
  )
  const untouched = tables.length - written.length
  return (
    <>
      {written.length > 0 && (
        <Table verticalSpacing={4} horizontalSpacing="sm" className={classes.written}>
          <caption className={shared.hidden}>What was written, table by table</caption>
          <Table.Thead>
            <Table.Tr>
              <Table.Th scope="col">Table</Table.Th>
              <Table.Th scope="col" className={shared.number}>
                {isSeeding ? 'Added' : 'Came back'}
              </Table.Th>
              <Table.Th scope="col" className={shared.number}>
                {isSeeding ? 'Overwritten' : 'Put back'}
              </Table.Th>
              <Table.Th scope="col" className={shared.number}>
                Removed
              </Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {written.map(({ name, inserted, updated, deleted }) => (
              <Table.Tr key={name}>
                <Table.Td>{nameTable(name)}</Table.Td>
                <Table.Td className={shared.number}>{formatCount(inserted)}</Table.Td>
                <Table.Td className={shared.number}>{formatCount(updated)}</Table.Td>
                <Table.Td className={shared.number}>{formatCount(deleted)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      {untouched > 0 && (
        <Text size="sm" c="dimmed">
          {written.length === 0
            ? 'Nothing was written: the data matched already.'
            : `${formatPlural(untouched, 'other table')} matched already.`}
        </Text>
      )}
    </>
  )
}

function describeChange({ changed = [], pin_reason }: EntryDetails['details']): string {
  const others = changed.filter((field) => field !== 'pin')
  const parts = others.length === 0 ? [] : [`Changed: ${others.join(', ')}.`]
  if (changed.includes('pin')) {
    parts.push(pin_reason == null ? 'Unpinned.' : `Pinned: ${pin_reason}`)
  }
  return parts.join(' ')
}
