import { requireTenant } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import { answerPruneNow, answerPrunePreview, PruneInput } from '../../src/http/prune-answers.ts'
import { callUpkeep } from '../../src/http/upkeep-answers.ts'

/**
 * Removes the backups that the retention policies let go (cron, operator), of all tenants or of one. `dry_run`
 * is true unless told: then it says what would go and why, with a `plan_hash` that the real call may give
 * back. 200 done, 202 the background goes on, 500 something failed.
 */
export default handle({
  name: 'prune',
  methods: ['POST'],
  input: PruneInput,
  allow: ['cron', 'operator'],
  async run(call) {
    const { services, caller, input } = call
    const tenantId =
      input.organization_id === undefined
        ? undefined
        : (await requireTenant(services.tenants.catalog, caller, input.organization_id)).id
    if (input.dry_run) return answerPrunePreview(call, tenantId)
    if (input.plan_hash !== undefined) return answerPruneNow(call, tenantId, input.plan_hash)
    return callUpkeep('prune', call, { tenantId })
  },
})
