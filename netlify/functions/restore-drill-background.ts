import * as z from 'zod'
import { requireTenant } from '../../src/http/authorize.ts'
import { trimmed } from '../../src/http/daily-answers.ts'
import { handle } from '../../src/http/handle.ts'
import { callUpkeep } from '../../src/http/upkeep-answers.ts'

const MINUTE_MS = 60_000

/**
 * Proves that the newest backups of some tenants could be restored, or that of one (`organization_id`), for
 * twelve of the fifteen minutes that the platform gives (cron, operator). The platform answers 202 at once;
 * what came of it stands in the run and in the journal.
 */
export default handle({
  name: 'restore-drill-background',
  methods: ['POST'],
  input: z.strictObject({ organization_id: trimmed(200).optional() }),
  allow: ['cron', 'operator'],
  async run(call) {
    const { services, caller, input } = call
    const tenant =
      input.organization_id === undefined
        ? undefined
        : await requireTenant(services.tenants.catalog, caller, input.organization_id)
    return callUpkeep('drill', call, {
      tenantId: tenant?.id,
      budgetMs: 12 * MINUTE_MS,
      cancelAfterMs: 14.5 * MINUTE_MS,
    })
  },
})
