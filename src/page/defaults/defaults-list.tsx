import { Alert, Anchor, Button, Code, List, Text, UnstyledButton } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { type MouseEvent, Suspense, useEffect, useRef, useState } from 'react'
import { CreateBackupDialog } from '../backups/load-overlays.ts'
import { RunPanel } from '../backups/run-panel.tsx'
import { useBackupCreation } from '../backups/use-backup-creation.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { formatCount, formatPlural } from '../frame/format.ts'
import { Icon } from '../frame/icons.tsx'
import { EmptyList, ListTable, StatusBadge } from '../frame/list-parts.tsx'
import { nameTable, technicalName } from '../frame/name-table.ts'
import shared from '../frame/page.module.css'
import { PartBoundary } from '../frame/part-boundary.tsx'
import { setSearchParams } from '../frame/use-search-param.ts'
import { ViewHeading } from '../restore/restore-parts.tsx'
import { type ListedTable, readTables } from '../tables/read-tables.ts'
import classes from './defaults.module.css'
import type { PanelProps } from './panel-props.ts'
import type { Defaults } from './read-defaults.ts'

interface DefaultsListProps extends PanelProps {
  defaults: Defaults
  onOpen: (table: string) => void
  onSeed: () => void
  /** One came back from a row or a seeding; a tab that was only chosen keeps the focus. */
  isBack: boolean
}

/** The tables of the template with their rows; its versions; the way to seed. */
export function DefaultsList(props: DefaultsListProps) {
  const { services, defaults, isNarrow, onOpen, onSeed, isBack } = props
  const { template, tables } = defaults
  const rows = tables.reduce((sum, table) => sum + (table.rows ?? 0), 0)
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    document.title = 'Defaults'
    if (isBack) heading.current?.focus()
  }, [isBack])
  const size = isNarrow ? 'md' : 'sm'
  const registry = useQuery({
    queryKey: ['tables'],
    queryFn: ({ signal }) => readTables(services, signal),
  })
  const missing = (registry.data?.tables ?? []).filter(
    ({ name, marks }) => marks.isSeeded && !tables.some((table) => table.name === name),
  )
  return (
    <section className={classes.view} aria-labelledby="tenantkeep-defaults">
      <div className={classes.rowsHead}>
        <div>
          <ViewHeading id="tenantkeep-defaults" headingRef={heading}>
            What new tenants start with
          </ViewHeading>
          <Text c="dimmed" size="sm" mt={4} maw="68ch">
            {formatPlural(rows, 'row')} in {formatPlural(tables.length, 'table')}, kept in the
            template tenant{' '}
            <Text span inherit fw={600} c="var(--mantine-color-text)">
              {template.name}
            </Text>
            . Nobody works in it, and it counts in no figure.
          </Text>
        </div>
        <Button size={size} onClick={onSeed} disabled={tables.length === 0}>
          Seed tenants…
        </Button>
      </div>
      {missing.length > 0 && <NotReadable tables={missing} />}
      {registry.isError && (
        <ErrorNotice
          error={registry.error}
          what="Whether tables are missing here could not be found out"
          onRetry={() => registry.refetch()}
        />
      )}
      {tables.length === 0 ? (
        <EmptyList
          title="No table takes part"
          text="A table takes part once the answers file of the application marks it as seeded, with a primary key, and init has run."
          action={<Code>{'"marks": { "seeded": true }'}</Code>}
        />
      ) : (
        <div className={`${classes.framed} ${classes.tables}`}>
          <ListTable
            caption="Tables that take part in the defaults"
            head={
              <>
                <th scope="col">Table</th>
                <th scope="col" className={shared.number}>
                  Rows
                </th>
              </>
            }
          >
            {tables.map((table) => (
              <tr key={table.name}>
                <td className={classes.nameCell}>
                  <UnstyledButton className={classes.open} onClick={() => onOpen(table.name)}>
                    {nameTable(table.name)}
                    <span className={shared.hidden}> (show its rows)</span>
                  </UnstyledButton>
                  {technicalName(table.name) !== null && (
                    <span className={classes.technical}>{table.name}</span>
                  )}
                </td>
                {table.rows === null ? (
                  <td className={classes.notReadable}>
                    <StatusBadge words={{ word: 'Not readable', colour: 'red', icon: 'cross' }} />
                    <Text size="xs" c="dimmed" mt={4}>
                      {table.unreadable}
                    </Text>
                  </td>
                ) : (
                  <td className={shared.number}>{formatCount(table.rows)}</td>
                )}
              </tr>
            ))}
          </ListTable>
        </div>
      )}
      <Versions {...props} />
    </section>
  )
}

/** Marked, and yet not here: never left out in silence. */
function NotReadable({ tables }: { tables: readonly ListedTable[] }) {
  return (
    <Alert
      color="red"
      icon={<Icon name="cross" />}
      title={`${formatPlural(tables.length, 'table')} could not be read`}
      role="alert"
    >
      <Text size="sm">
        The answers file marks {tables.length === 1 ? 'it' : 'them'} as seeded. What is in{' '}
        {tables.length === 1 ? 'it' : 'them'} is not known here, and is not seeded:
      </Text>
      <List size="sm" mt={4} spacing={2}>
        {tables.map((table) => (
          <List.Item key={table.name}>
            {nameTable(table.name)}: {whyNot(table)}
          </List.Item>
        ))}
      </List>
    </Alert>
  )
}

function whyNot({ isThere, unreadable, hasPrimaryKey, isWritable, class: kind }: ListedTable) {
  if (!isThere) return 'it is no longer in the database'
  if (unreadable !== null) return unreadable
  if (!hasPrimaryKey)
    return 'it has no primary key, so nobody could say which row is a copy of which'
  if (!isWritable) return 'tenantkeep may only read it'
  return `it is ${kind}, and only rows of tenants can be seeded`
}

/** The backups of the template are the versions of the defaults: looked at, compared and restored where all are. */
function Versions({ services, defaults: { template }, isNarrow, announce }: DefaultsListProps) {
  const [dialog, setDialog] = useState<'never' | 'open' | 'closed'>('never')
  const creation = useBackupCreation(services, template.id)
  const size = isNarrow ? 'md' : 'sm'
  const page = { tenant: template.id, tab: null, table: null, show: null, page: null, run: null }
  const open = (event: MouseEvent<HTMLAnchorElement>) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    event.preventDefault()
    setSearchParams(page)
  }
  return (
    <div className={classes.versionsBox}>
      <div>
        <Text fw={600}>Versions</Text>
        <Text size="sm" c="dimmed" maw="68ch">
          Every backup of the template is a version. On{' '}
          <Anchor
            href={`?tenant=${encodeURIComponent(template.id)}`}
            inherit
            underline="always"
            onClick={open}
          >
            the page of the template
          </Anchor>{' '}
          they have their notes, and are compared with today and restored.
        </Text>
      </div>
      <Button variant="default" size={size} onClick={() => setDialog('open')}>
        Create a version…
      </Button>
      {creation.failure !== null && (
        <ErrorNotice
          error={creation.failure}
          what="The version was not created"
          onRetry={creation.tryAgain}
        />
      )}
      {(creation.runId !== null || creation.isBusy) && (
        <div className={classes.versionRun}>
          <RunPanel
            services={services}
            tenantId={template.id}
            runId={creation.runId}
            askedAt={creation.askedAt}
            tableCount={null}
            onDone={creation.refresh}
            onDismiss={creation.dismiss}
            announce={announce}
          />
        </div>
      )}
      {dialog !== 'never' && (
        <PartBoundary>
          <Suspense fallback={null}>
            <CreateBackupDialog
              tenantName={template.name}
              word="version"
              isOpen={dialog === 'open'}
              onClose={() => setDialog('closed')}
              onCreate={(request) => {
                setDialog('closed')
                creation.create(request)
              }}
            />
          </Suspense>
        </PartBoundary>
      )}
    </div>
  )
}
