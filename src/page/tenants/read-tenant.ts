import * as z from 'zod/mini'
import { callFunction, check, type PageServices, RequestFailed } from '../calls/call-function.ts'
import { nameTenant } from '../frame/name-tenant.ts'

const Tenant = z.pipe(
  z.object({ id: z.string(), name: z.nullable(z.string()) }),
  z.transform(({ id, name }) => ({ id, name: nameTenant(id, name) })),
)
export type Tenant = z.infer<typeof Tenant>

/**
 * The tenant that the page is about: the given one, or the only one that the signed-in person looks
 * after. Throws `RequestFailed` with `not_allowed` for members without rights, `tenant_not_found`,
 * `invalid_request` for people who have to say which, `any_tenant` for operators who have to.
 */
export async function readTenant(
  services: PageServices,
  tenantId: string | undefined,
  signal: AbortSignal,
): Promise<Tenant> {
  const answer = await callFunction(
    services,
    'list-backups',
    { limit: 1, ...(tenantId === undefined ? {} : { organization_id: tenantId }) },
    signal,
  )
  const { organization } = check(z.object({ organization: z.nullable(Tenant) }), answer)
  if (organization === null) {
    throw new RequestFailed('any_tenant', 'It was not said which organization to show.')
  }
  return organization
}
