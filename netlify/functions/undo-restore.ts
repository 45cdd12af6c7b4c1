import { describeProgress } from '../../src/core/jobs/report-restore.ts'
import { runRestore } from '../../src/core/jobs/run-restore.ts'
import { requireMayRestore, requireTenantOfRestore } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import { answerRestore, toUndoTask, UndoInput } from '../../src/http/restore-answers.ts'
import { wakeBackground } from '../../src/http/wake-background.ts'

/**
 * Takes a restore back: the rows that it wrote, or with `everything` the whole safety backup. `dry_run` is
 * true unless told; answers like `restore-tenant-data`.
 */
export default handle({
  name: 'undo-restore',
  methods: ['POST'],
  input: UndoInput,
  allow: ['cron', 'operator', 'user'],
  canStream: true,
  async run({ services, environment, caller, input, startedAt, tell }) {
    requireMayRestore(caller, environment, input)
    const tenant = await requireTenantOfRestore(services.tenants.catalog, caller, input)
    const run = await runRestore(services, {
      actor: caller.actor,
      tenantId: tenant.id,
      tenantName: tenant.name,
      task: toUndoTask(input),
      idempotencyKey: input.idempotency_key,
      needsPlan: caller.actor.id !== null,
      time: { startedAt, wake: () => wakeBackground(environment, services.log) },
      onRun: (runId) => tell({ type: 'run', run_id: runId }),
      onProgress: (progress) => tell(describeProgress(progress)),
    })
    return answerRestore(run, null)
  },
})
