import { listTenantStates } from '../../src/core/tenants/list-tenant-states.ts'
import { tenantsOf } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import { describeTenants, TenantsInput } from '../../src/http/state-answers.ts'

/** How every tenant stands, failures first, a page at a time; for people only those that they look after. */
export default handle({
  name: 'list-tenants',
  methods: ['GET', 'POST'],
  input: TenantsInput,
  allow: ['operator', 'user'],
  async run({ services, caller, input }) {
    const page = await listTenantStates(services.tenants.catalog, {
      ...input,
      tenantIds: caller.kind === 'user' ? tenantsOf(caller) : undefined,
    })
    return { status: 200, body: describeTenants(caller, page) }
  },
})
