import { describeForget } from '../../src/core/retention/describe-forget.ts'
import { forgetTenant } from '../../src/core/retention/forget-tenant.ts'
import { requireTenant } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import { ForgetInput } from '../../src/http/prune-answers.ts'

/**
 * Erases every backup of one tenant, in catalog and every place (operators). `dry_run` is true unless told;
 * the real call needs the tenant's name, typed, as `confirm_name`. A call that was too short goes on with the
 * next `prune`, or with the same call again.
 */
export default handle({
  name: 'forget-tenant',
  methods: ['POST'],
  input: ForgetInput,
  allow: ['operator'],
  async run({ services, caller, input }) {
    const { id } = await requireTenant(services.tenants.catalog, caller, input.organization_id)
    const report = await forgetTenant(services, {
      tenantId: id,
      confirmName: input.confirm_name ?? null,
      isDryRun: input.dry_run,
      actor: caller.actor,
    })
    return { status: 200, body: { success: true, ...describeForget(report) } }
  },
})
