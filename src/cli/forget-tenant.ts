import type { Command } from 'commander'
import { describeForget } from '../core/retention/describe-forget.ts'
import { forgetTenant } from '../core/retention/forget-tenant.ts'
import type { Actor } from '../core/services.ts'
import { askForWord } from './ask-word.ts'
import { EXIT } from './exit-status.ts'
import { formatBytes, formatCount, printable } from './format-text.ts'
import { addCommonFlags, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface ForgetFlags extends ConnectionFlags {
  tenant: string
  dryRun?: boolean
  confirmName?: string
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

/** `forget-tenant`: erases every backup of one tenant; its name has to be typed. */
export function registerForgetTenant(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('forget-tenant')
      .description('erase every backup of one tenant, in catalog and every place, for good')
      .requiredOption('--tenant <id>', 'whose backups')
      .option('--dry-run', 'say what would go; change nothing')
      .option('--confirm-name <name>', 'the tenant’s name (its id where it has none), for scripts')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<ForgetFlags>(({ env, progress, signal }, flags) =>
      withServices(flags, env, async (services) => {
        const given = { tenantId: flags.tenant, actor: ACTOR, signal }
        const forget = async (isDryRun: boolean, confirmName: string | null) => {
          const report = await forgetTenant(services, { ...given, isDryRun, confirmName })
          const what = `${printable(report.tenantName ?? report.tenantId)}: ${formatCount(report.backups)} backups, ${formatCount(report.objects)} objects, ${formatBytes(report.bytes)}.`
          const holds = report.holds.map(
            ({ backupId, by, reason }) =>
              `    ${printable(by)} holds ${backupId}: ${printable(reason)}`,
          )
          const document = describeForget(report)
          return { report, document, lines: [what, ...holds, printable(document.message)] }
        }
        const found = await forget(true, null)
        if (flags.dryRun === true) {
          return {
            document: found.document,
            text: found.lines.join('\n'),
            status: found.report.holds.length > 0 ? EXIT.refused : EXIT.done,
          }
        }
        const name = found.report.tenantName ?? found.report.tenantId
        if (flags.confirmName === undefined) {
          for (const line of found.lines) progress.say(line)
          await askForWord('This can’t be undone.', printable(name), signal)
        }
        const done = await forget(false, flags.confirmName ?? name)
        return { document: done.document, text: done.lines.join('\n') }
      }),
    ),
  )
}
