import { lazy, Suspense } from 'react'
import type { PageServices } from '../calls/call-function.ts'
import { ListSkeleton } from '../frame/list-parts.tsx'
import { PartBoundary } from '../frame/part-boundary.tsx'
import { setSearchParams, useSearchParam } from '../frame/use-search-param.ts'

const TenantsList = lazy(() =>
  import('./tenants-list.tsx').then((module) => ({ default: module.TenantsList })),
)
const PruneView = lazy(() => import('./prune-view.tsx'))

const pageOf = (tenant: string) => ({ tenant, tab: null, page: null, show: null })

/** The list of tenants and the pruning of their backups, which most visitors never see: loaded when shown. */
export function TenantsPanel(props: {
  services: PageServices
  isNarrow: boolean
  announce: (text: string) => void
}) {
  const [shown, show] = useSearchParam('show')
  return (
    <PartBoundary key={shown}>
      <Suspense fallback={<ListSkeleton isNarrow={props.isNarrow} />}>
        {shown === 'pruning' ? (
          <PruneView {...props} onClose={() => show(null)} />
        ) : (
          <TenantsList
            {...props}
            onOpen={(tenantId) => setSearchParams(pageOf(tenantId))}
            onPrune={() => setSearchParams({ show: 'pruning', page: null })}
          />
        )}
      </Suspense>
    </PartBoundary>
  )
}
