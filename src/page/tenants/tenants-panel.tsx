import { lazy, Suspense } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { ListSkeleton } from '../frame/list-parts.tsx'
import { PartBoundary } from '../frame/part-boundary.tsx'
import { setSearchParams } from '../frame/use-search-param.ts'

const TenantsList = lazy(() =>
  import('./tenants-list.tsx').then((module) => ({ default: module.TenantsList })),
)

/** The list of tenants, which most visitors never see: it is loaded when it is shown. */
export function TenantsPanel(props: {
  services: PageServices
  isNarrow: boolean
  announce: (text: string) => void
}) {
  return (
    <PartBoundary>
      <Suspense fallback={<ListSkeleton isNarrow={props.isNarrow} />}>
        <TenantsList
          {...props}
          onOpen={(tenantId) => setSearchParams({ tenant: tenantId, tab: null, page: null })}
        />
      </Suspense>
    </PartBoundary>
  )
}
