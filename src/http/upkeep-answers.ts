import { startUpkeep } from '../core/jobs/start-upkeep.ts'
import type { UpkeepTask } from '../core/jobs/upkeep.ts'
import { describeUpkeepRun, type UpkeepRun } from '../core/jobs/upkeep-run.ts'
import type { Answer, Call } from './handle.ts'
import { wakeBackground } from './wake-background.ts'

/** Does a task of upkeep as the daily call does backups: within its time, the rest in the background. */
export async function callUpkeep(
  task: UpkeepTask,
  { services, environment, caller, startedAt }: Call<unknown>,
  more: { tenantId?: string | undefined; budgetMs?: number; cancelAfterMs?: number } = {},
): Promise<Answer> {
  const run = await startUpkeep(services, task, {
    actor: caller.actor,
    startedAt,
    wake: () => wakeBackground(environment, services.log),
    ...more,
  })
  return answerUpkeep(run)
}

/** 200 done, 202 the background goes on, 500 something failed. */
function answerUpkeep(run: UpkeepRun): Answer {
  const { status, error } = run
  const { done = 0, failed = 0, left = 0 } = run.report ?? {}
  return {
    status: { complete: 200, running: 202, failed: 500 }[status],
    body: {
      success: status !== 'failed',
      message: {
        complete:
          left === 0 ? 'Everything that was due is done.' : `${done} done; ${left} are left.`,
        running: 'It goes on in the background. get-run tells how it stands.',
        failed: error?.message ?? `${failed} failed.`,
      }[status],
      run_id: run.runId,
      run: describeUpkeepRun(run),
    },
  }
}
