import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { performUpkeep } from './perform-upkeep.ts'
import { withQueue } from './queue.ts'
import { type CallTime, planCall } from './run-daily-backup.ts'
import type { UpkeepTask } from './upkeep.ts'
import { findUpkeepRun, openUpkeepRun, queueUpkeep, type UpkeepRun } from './upkeep-run.ts'

export interface UpkeepCall extends CallTime {
  actor: Actor
  /** One tenant only, known to exist. */
  tenantId?: string | undefined
  /** How the task stands, for whoever waits. */
  tell?: ((progress: object) => void) | undefined
  /** Breaks off what is under way; the queue goes on with it. */
  signal?: AbortSignal | undefined
}

/**
 * Does a task of upkeep: by itself while the budget lasts, the rest by the queue; then the run that is given
 * back is still `running`. A run of the same task that is open already is joined. Throws `not_configured`
 * and `database_unavailable`; whatever else goes wrong stands in the run.
 */
export async function startUpkeep(
  services: Services,
  task: UpkeepTask,
  { actor, tenantId, tell, signal, ...time }: UpkeepCall,
): Promise<UpkeepRun> {
  const database = services.tenants.catalog
  const { until, cancelAt } = await planCall(services, time)
  const opened = await openUpkeepRun(database, { task, actor, tenantId })
  let run = opened
  await withQueue(database, async (queue) => {
    await queue.supervise()
    await queueUpkeep(queue, opened)
    while (run.status === 'running' && Date.now() < until.getTime()) {
      const claimed = await queue.claimUpkeep(task)
      // Somebody else works on it, or it waits for another attempt.
      if (claimed === null) break
      await performUpkeep(services, queue, claimed, { until, cancelAt, signal, tell })
      run = (await findUpkeepRun(database, opened.runId)) ?? run
    }
  })
  const settled = await findUpkeepRun(database, opened.runId)
  if (settled === undefined) throw new BackupError('internal', 'The run is gone. Try again.')
  if (settled.status === 'running') await time.wake()
  return settled
}
