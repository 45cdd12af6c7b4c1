import { runDailyBackup } from '../../src/core/jobs/run-daily-backup.ts'
import { runManualBackup } from '../../src/core/jobs/run-manual-backup.ts'
import { requireTenant } from '../../src/http/authorize.ts'
import {
  answerDaily,
  answerManual,
  DailyInput,
  tenantAskedFor,
} from '../../src/http/daily-answers.ts'
import { handle } from '../../src/http/handle.ts'
import { wakeBackground } from '../../src/http/wake-background.ts'

/**
 * Backs up every active tenant (cron, operator), or one tenant on somebody's wish (`organization_id`; an
 * owner's or admin's own). 200 all done, 202 the background goes on, 500 a tenant failed.
 */
export default handle({
  name: 'daily-tenant-backup',
  methods: ['POST'],
  input: DailyInput,
  allow: ['cron', 'operator', 'user'],
  mayUseSecretInQuery: true,
  async run({ services, environment, caller, input, startedAt }) {
    const time = { startedAt, wake: () => wakeBackground(environment, services.log) }
    const asked = tenantAskedFor(caller, input)
    const common = { actor: caller.actor, idempotencyKey: input.idempotency_key, ...time }
    if (asked === null) return answerDaily(await runDailyBackup(services, common))
    const tenant = await requireTenant(services.tenants.catalog, caller, asked)
    const { name, note, tags } = input
    const wish = { tenantId: tenant.id, tenantName: tenant.name, name, note, tags }
    return answerManual(await runManualBackup(services, { ...common, ...wish }))
  },
})
