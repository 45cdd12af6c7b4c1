import type { Command } from 'commander'
import { parseSecretUrl } from '../core/watch/call-url.ts'
import { describeMonitor } from '../core/watch/describe-monitor.ts'
import type { Problem } from '../core/watch/find-problems.ts'
import { type MonitorReport, monitor } from '../core/watch/monitor.ts'
import { EXIT } from './exit-status.ts'
import { formatCount, printable } from './format-text.ts'
import { addCommonFlags, type CommandResult, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

/** `monitor`: says what is wrong with anybody's backups, and tells the webhook and the ping where they are set. */
export function registerMonitor(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('monitor')
      .description('say what is wrong with the backups, and send the alerts')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<ConnectionFlags>(({ env }, flags) => {
      const pingUrl = parseSecretUrl('MONITOR_PING_URL', env.MONITOR_PING_URL)
      return withServices(flags, env, async (services) =>
        describe(await monitor(services, { pingUrl })),
      )
    }),
  )
}

function describe(report: MonitorReport): CommandResult {
  const { problems, paused, tenants } = report
  const document = describeMonitor(report)
  return {
    status: problems.length === 0 ? EXIT.done : EXIT.failed,
    document,
    text: [
      ...problems.flatMap(describeProblem),
      ...(problems.length === 0 ? [] : ['']),
      ...paused.map(
        ({ id, name, skipReason }) =>
          `Not watched: ${printable(name ?? id)}. ${printable(skipReason ?? '')}`,
      ),
      `${printable(document.message)} Tenants: ${formatCount(tenants.total)}; paused: ${formatCount(tenants.paused)}.`,
    ].join('\n'),
  }
}

function describeProblem({ severity, code, message, since, remedy }: Problem): string[] {
  const time = since === null ? '' : `, since ${since}`
  return [`${severity}: ${printable(message)} (${code}${time})`, `    ${printable(remedy)}`]
}
