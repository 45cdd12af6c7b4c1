import { type Command, InvalidArgumentError } from 'commander'
import { workJobs } from '../core/jobs/work-jobs.ts'
import { addCommonFlags, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface WorkerFlags extends ConnectionFlags {
  concurrency: number
  once?: boolean
}

/** `worker`: does what is queued, for as long as it is left running. */
export function registerWorker(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('worker')
      .description(
        'do queued backups, restores and upkeep until it is stopped; run as many side by side as you like',
      )
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)')
      .option('--concurrency <n>', 'backups at the same time in this process', toCount, 2)
      .option('--once', 'end as soon as the queue is empty'),
  ).action(
    run<WorkerFlags>(async ({ env, progress, signal }, flags) => {
      const options = {
        logLevel: 'info',
        // One more holds the places in which backups of this process run; two are for upkeep beside them.
        dataSessions: flags.concurrency + 3,
      }
      return withServices(
        flags,
        env,
        async (services) => {
          await services.store.check()
          const { concurrency } = flags
          progress.say(
            `Working on what is queued, up to ${concurrency} backups at a time and one task of upkeep.`,
          )
          const report = await workJobs(services, {
            concurrency,
            signal,
            // With an end in sight it ends as soon as the queue is empty.
            ...(flags.once === true ? { until: new Date(8.64e15) } : {}),
          })
          return {
            document: { settled: report.settled, left: report.left },
            text: `Settled ${report.settled} jobs; ${report.left} are left.`,
          }
        },
        options,
      )
    }),
  )
}

function toCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1 || count > 50) {
    throw new InvalidArgumentError('It must be a whole number from 1 to 50.')
  }
  return count
}
