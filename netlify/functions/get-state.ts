import { BackupError } from '../../src/core/errors.ts'
import { readTenantState } from '../../src/core/tenants/read-tenant-state.ts'
import { onlyTenantOf, requireTenant } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import { describeTenant, StateInput } from '../../src/http/state-answers.ts'

/**
 * How a tenant stands: its state in one word, the newest backup, what runs, what was restored last and
 * whether that can be undone, what its backups hold. Of one's own organization, or for operators of any.
 */
export default handle({
  name: 'get-state',
  methods: ['GET', 'POST'],
  input: StateInput,
  allow: ['operator', 'user'],
  async run({ services, caller, input }) {
    const { catalog } = services.tenants
    const asked =
      input.organization_id ?? (caller.kind === 'user' ? onlyTenantOf(caller) : undefined)
    if (asked === undefined) {
      throw new BackupError('invalid_request', 'Say which organization: organization_id.')
    }
    const tenant = await requireTenant(catalog, caller, asked)
    const report = await readTenantState(catalog, tenant.id)
    if (report === null) {
      throw new BackupError('tenant_not_found', 'There is no such organization.')
    }
    return { status: 200, body: describeTenant(caller, tenant, report) }
  },
})
