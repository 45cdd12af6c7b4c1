import type { PageServices } from './call-function.ts'

export function TenantsList(_: {
  services: PageServices
  isNarrow: boolean
  announce: (text: string) => void
  /** Opens the page of a tenant. */
  onOpen: (tenantId: string) => void
}) {
  return null
}
