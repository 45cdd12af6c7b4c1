import { Tabs } from '@mantine/core'
import { lazy, type ReactNode, Suspense } from 'react'
import type { PageServices } from './calls/call-function.ts'
import { ListSkeleton } from './frame/list-parts.tsx'
import classes from './frame/page.module.css'
import { PartBoundary } from './frame/part-boundary.tsx'

const TablesList = lazy(() => import('./tables/tables-list.tsx'))
const DefaultsPanel = lazy(() => import('./defaults/defaults-panel.tsx'))

/** What a tab brings along in the address, gone when another one is chosen. */
export const NO_TAB = { page: null, show: null, table: null, step: null, run: null }

/** The tabs for operators that are about no tenant: their names in the address, and what they are headed. */
export const OPERATOR_TITLES: Record<string, string> = {
  tables: 'Tables of the application',
  defaults: 'Defaults',
}

export function OperatorTabs() {
  return (
    <>
      <Tabs.Tab value="tables">Tables</Tabs.Tab>
      <Tabs.Tab value="defaults">Defaults</Tabs.Tab>
    </>
  )
}

interface PanelsProps {
  services: PageServices
  isNarrow: boolean
  announce: (text: string) => void
}

/** What these tabs show, loaded when one is chosen. */
export function OperatorPanels(props: PanelsProps) {
  return (
    <>
      <Panel value="tables" isNarrow={props.isNarrow}>
        <TablesList {...props} />
      </Panel>
      <Panel value="defaults" isNarrow={props.isNarrow}>
        <DefaultsPanel {...props} />
      </Panel>
    </>
  )
}

function Panel({
  value,
  isNarrow,
  children,
}: {
  value: string
  isNarrow: boolean
  children: ReactNode
}) {
  return (
    <Tabs.Panel value={value} className={classes.list}>
      <PartBoundary>
        <Suspense fallback={<ListSkeleton isNarrow={isNarrow} />}>{children}</Suspense>
      </PartBoundary>
    </Tabs.Panel>
  )
}
