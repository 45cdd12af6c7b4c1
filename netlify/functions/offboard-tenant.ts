import { BackupError } from '../../src/core/errors.ts'
import { signalAt } from '../../src/core/jobs/keep-alive.ts'
import { describeProgress } from '../../src/core/jobs/report-restore.ts'
import { planCall } from '../../src/core/jobs/run-daily-backup.ts'
import { offboardTenant } from '../../src/core/tenants/offboard-tenant.ts'
import { requireTenant } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import {
  describeOffboarding,
  OffboardInput,
  requireOperator,
} from '../../src/http/tenant-answers.ts'

/**
 * Removes a tenant after a last backup, or rehearses that (`dry_run`, which is true unless told). Restoring
 * that backup brings it back. `Accept: application/x-ndjson` streams progress.
 */
export default handle({
  name: 'offboard-tenant',
  methods: ['POST'],
  input: OffboardInput,
  journal: 'offboard',
  allow: ['cron', 'operator', 'user'],
  canStream: true,
  async run({ services, caller, input, startedAt, tell }) {
    const { catalog } = services.tenants
    await requireOperator(catalog, caller, {
      type: 'offboard',
      note: input.note,
      scope: { organization_id: input.organization_id, dry_run: input.dry_run },
    })
    const tenant = await requireTenant(catalog, caller, input.organization_id)
    const { cancelAt } = await planCall(services, { startedAt })
    const signal = signalAt(cancelAt)
    try {
      const done = await offboardTenant(services, {
        actor: caller.actor,
        tenantId: tenant.id,
        reason: input.reason,
        isDryRun: input.dry_run,
        confirmName: input.confirm_name ?? null,
        planHash: input.plan_hash ?? null,
        acceptSideEffects: input.accept_side_effects,
        note: input.note ?? null,
        idempotencyKey: input.idempotency_key,
        onProgress: (progress) => tell(describeProgress(progress)),
        signal,
      })
      return { status: 200, body: describeOffboarding(done) }
    } catch (error) {
      if (signal.aborted) throw tooLong(error)
      throw error
    }
  },
})

function tooLong(cause: unknown): BackupError {
  return new BackupError(
    'restore_too_long',
    'The organization is too large to be removed in the time of a function. Nothing was deleted. Run `tenantkeep offboard-tenant` on a machine that stays on.',
    { cause },
  )
}
