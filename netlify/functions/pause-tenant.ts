import { pauseTenant } from '../../src/core/tenants/pause-tenant.ts'
import { requireTenant } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import { answerPause, PauseInput } from '../../src/http/pause-answers.ts'

/** Stops the daily backups of a tenant, for a reason; operators only. Backups by hand and restores go on. */
export default handle({
  name: 'pause-tenant',
  methods: ['POST'],
  input: PauseInput,
  allow: ['operator'],
  async run({ services, caller, input }) {
    const { id: tenantId } = await requireTenant(
      services.tenants.catalog,
      caller,
      input.organization_id,
    )
    const { reason } = input
    return answerPause(await pauseTenant(services, { tenantId, reason, actor: caller.actor }))
  },
})
