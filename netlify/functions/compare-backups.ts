import { readCompareRun } from '../../src/core/compare/comparison-record.ts'
import { runComparison } from '../../src/core/compare/run-comparison.ts'
import { BackupError } from '../../src/core/errors.ts'
import { signalAt } from '../../src/core/jobs/keep-alive.ts'
import { describeProgress } from '../../src/core/jobs/report-restore.ts'
import { planCall } from '../../src/core/jobs/run-daily-backup.ts'
import { answerComparison, answerPage, CompareInput } from '../../src/http/compare-answers.ts'
import { handle } from '../../src/http/handle.ts'
import { requireTenantToRestore } from '../../src/http/restore-answers.ts'

/**
 * Compares a backup with the live rows or with another backup, table by table; with `run_id` gives the rows
 * that differ, a page at a time, for a day. `Accept: application/x-ndjson` streams progress.
 */
export default handle({
  name: 'compare-backups',
  methods: ['GET', 'POST'],
  input: CompareInput,
  allow: ['operator', 'user'],
  canStream: true,
  async run({ services, caller, input, startedAt, tell }) {
    const { catalog } = services.tenants
    if (input.run_id !== undefined) {
      return answerPage(catalog, caller, { ...input, run_id: input.run_id })
    }
    const tenant = await requireTenantToRestore(catalog, caller, input)
    const { cancelAt } = await planCall(services, { startedAt })
    const signal = signalAt(cancelAt)
    try {
      const { runId } = await runComparison(services, {
        tenantId: tenant.id,
        tenantName: tenant.name,
        backup: { backupId: input.backup_id, backupDate: input.backup_date },
        against: input.with ?? 'live',
        tables: input.tables ?? null,
        actor: caller.actor,
        onProgress: (progress, runId) => tell({ run_id: runId, ...describeProgress(progress) }),
        signal,
      })
      return answerComparison(await readCompareRun(catalog, runId))
    } catch (error) {
      if (signal.aborted) throw tooLong(error)
      throw error
    }
  },
})

function tooLong(cause: unknown): BackupError {
  return new BackupError(
    'restore_too_long',
    'The comparison did not fit the time of a function. Compare fewer tables at once (tables), or run `tenantkeep compare` on a machine that stays on.',
    { cause },
  )
}
