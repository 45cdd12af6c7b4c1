import { describeProgress } from '../../src/core/jobs/report-restore.ts'
import { runRestore } from '../../src/core/jobs/run-restore.ts'
import { chooseBackup } from '../../src/core/restore/choose-backup.ts'
import { requireMayRestore } from '../../src/http/authorize.ts'
import { handle } from '../../src/http/handle.ts'
import {
  answerRestore,
  RestoreInput,
  requireTenantToRestore,
  toRestoreTask,
} from '../../src/http/restore-answers.ts'
import { wakeBackground } from '../../src/http/wake-background.ts'

/**
 * Brings a tenant back to a backup, or rehearses that (`dry_run`, which is true unless told). 200 done, 202 it
 * goes on in the background; `Accept: application/x-ndjson` streams progress.
 */
export default handle({
  name: 'restore-tenant-data',
  methods: ['POST'],
  input: RestoreInput,
  allow: ['cron', 'operator', 'user'],
  canStream: true,
  async run({ services, environment, caller, input, startedAt, tell }) {
    const { catalog } = services.tenants
    requireMayRestore(caller, environment, input)
    const tenant = await requireTenantToRestore(catalog, caller, input)
    const { backup_id: backupId, backup_date: backupDate } = input
    const backup = await chooseBackup(catalog, tenant.id, { backupId, backupDate })
    const run = await runRestore(services, {
      actor: caller.actor,
      tenantId: tenant.id,
      tenantName: tenant.name,
      task: toRestoreTask(input, backup),
      idempotencyKey: input.idempotency_key,
      needsPlan: caller.actor.id !== null,
      time: { startedAt, wake: () => wakeBackground(environment, services.log) },
      onRun: (runId) => tell({ type: 'run', run_id: runId }),
      onProgress: (progress) => tell(describeProgress(progress)),
    })
    return answerRestore(run, backup)
  },
})
