import { Alert, Button, Code, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense, useEffect, useRef } from 'react'
import { RequestFailed } from '../calls/call-function.ts'
import { ErrorNotice } from '../frame/error-notice.tsx'
import { Icon } from '../frame/icons.tsx'
import { keep, readKept, useKept } from '../frame/kept-in-tab.ts'
import { ListSkeleton } from '../frame/list-parts.tsx'
import { PartBoundary } from '../frame/part-boundary.tsx'
import { setSearchParams, useSearchParam } from '../frame/use-search-param.ts'
import { useViewerId } from '../frame/use-viewer-id.ts'
import classes from './defaults.module.css'
import { DefaultsList } from './defaults-list.tsx'
import type { PanelProps } from './panel-props.ts'
import { type Defaults, readDefaults } from './read-defaults.ts'
import { hasTyped, RowDraft, RowForm } from './row-form.tsx'
import { RowsView } from './rows-view.tsx'

const SeedView = lazy(() => import('./seed-view.tsx'))

/** What new tenants start with: tables, rows, one row, and seeding the tenants that are there. */
export default function DefaultsPanel(props: PanelProps) {
  const { services, isNarrow } = props
  const viewer = useViewerId(services)
  const defaults = useQuery({
    queryKey: ['defaults', 'tables'],
    queryFn: ({ signal }) => readDefaults(services, signal),
  })
  if (defaults.data !== undefined && viewer !== null) {
    return <Parts {...props} defaults={defaults.data} viewer={viewer} />
  }
  if (!defaults.isError) {
    return (
      <div role="status" aria-label="Looking at the defaults">
        <ListSkeleton isNarrow={isNarrow} />
      </div>
    )
  }
  const { error } = defaults
  const isUnset = error instanceof RequestFailed && error.code === 'not_configured'
  return (
    <div className={classes.view}>
      {isUnset ? (
        <NoTemplate message={error.message} onRetry={() => void defaults.refetch()} />
      ) : (
        <ErrorNotice
          error={error}
          what="The defaults could not be read"
          onRetry={() => defaults.refetch()}
        />
      )}
    </div>
  )
}

function NoTemplate({ message, onRetry }: { message: string; onRetry: () => void }) {
  return (
    <Alert
      color="yellow"
      icon={<Icon name="attention" />}
      title="No tenant holds the defaults"
      role="alert"
    >
      <Text size="sm">
        What a new tenant starts with is kept in a tenant of its own, the template. Make it in the
        application, then say which one it is:
      </Text>
      <Code block className={classes.command} mt="xs">
        tenantkeep init --template-tenant ID
      </Code>
      <Text size="xs" c="dimmed" mt="xs">
        {message}
      </Text>
      <Button size="xs" variant="default" mt="sm" onClick={onRetry}>
        Look again
      </Button>
    </Alert>
  )
}

const TO_LIST = { show: null, table: null, page: null, step: null, run: null }

function Parts(props: PanelProps & { defaults: Defaults; viewer: string }) {
  const { defaults, viewer, announce } = props
  const { template, tables } = defaults
  const [show] = useSearchParam('show')
  const [tableName] = useSearchParam('table')
  const table = tables.find(({ name }) => name === tableName)
  const wasElsewhere = useRef(false)
  const isElsewhere = show !== null || table !== undefined
  useEffect(() => {
    if (isElsewhere) wasElsewhere.current = true
  }, [isElsewhere])
  if (show === 'seed') {
    return (
      <PartBoundary>
        <Suspense fallback={<ListSkeleton isNarrow={props.isNarrow} />}>
          <SeedView {...props} onClose={() => setSearchParams(TO_LIST)} />
        </Suspense>
      </PartBoundary>
    )
  }
  if (table === undefined) {
    return (
      <DefaultsList
        {...props}
        isBack={wasElsewhere.current}
        onOpen={(name) => setSearchParams({ ...TO_LIST, table: name })}
        onSeed={() => setSearchParams({ ...TO_LIST, show: 'seed' })}
      />
    )
  }
  const place = `tenantkeep:default-row:${viewer}`
  const toRows = () => setSearchParams({ show: null })
  if (show === 'row') {
    return (
      <Row
        {...props}
        place={place}
        table={table}
        onDone={(said) => {
          keep(place, null)
          toRows()
          if (said !== null) announce(said)
        }}
        onLost={() => setSearchParams({ show: null }, 'replace')}
      />
    )
  }
  return (
    <RowsView
      {...props}
      key={table.name}
      table={table}
      template={template}
      onBack={() => setSearchParams(TO_LIST)}
      onOpen={(row) => {
        const kept = readKept(place, RowDraft)
        // What was typed and left behind is still there when the same row is opened again.
        const isSame =
          kept?.table === table.name &&
          kept.row?.version === row?.version &&
          JSON.stringify(kept.row?.key) === JSON.stringify(row?.key)
        if (!isSame || !hasTyped(kept)) keep(place, { ...NO_DRAFT, table: table.name, row })
        setSearchParams({ show: 'row' })
      }}
    />
  )
}

function Row(
  props: PanelProps & {
    defaults: Defaults
    place: string
    table: Defaults['tables'][number]
    onDone: (said: string | null) => void
    /** There is no row to edit: another tab, or an old address. */
    onLost: () => void
  },
) {
  const { defaults, place, table, onDone, onLost } = props
  const [draft, setDraft] = useKept(place, RowDraft, NO_DRAFT)
  const isLost = draft.table !== table.name
  useEffect(() => {
    if (isLost) onLost()
  }, [isLost, onLost])
  if (isLost) return null
  return (
    <RowForm
      {...props}
      template={defaults.template}
      tables={defaults.tables.map(({ name }) => name)}
      draft={draft}
      onDraft={setDraft}
      onDone={onDone}
    />
  )
}

const NO_DRAFT: RowDraft = { table: '', row: null, typed: {}, note: '', tried: null }
