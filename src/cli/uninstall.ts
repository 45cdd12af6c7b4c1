import type { Command } from 'commander'
import { type UninstallReport, uninstall } from '../core/tables/uninstall.ts'
import { withAdminDatabase } from './admin-database.ts'
import { askForWord } from './ask-word.ts'
import { formatCount } from './format-text.ts'
import { addCommonFlags, type CommandResult, type Runner } from './run-command.ts'

interface UninstallFlags {
  dbUrl?: string
  dropCatalog?: boolean
  yes?: boolean
}

/** `uninstall`: leaves the host as it was, and keeps the backups. */
export function registerUninstall(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('uninstall')
      .description('take everything of ours off the host; the backups in the store stay')
      .option('--db-url <url>', 'the database as its owner, «postgres» on Supabase (ADMIN_DB_URL)')
      .option('--drop-catalog', 'drop public.tenant_backups and public.backup_logs as well')
      .option('--yes', 'don’t ask'),
  ).action(
    run<UninstallFlags>(async ({ env, signal }, flags) => {
      if (flags.yes !== true) await askForWord(QUESTION, 'uninstall', signal)
      const report = await withAdminDatabase(flags, env, (admin) =>
        uninstall(admin, { dropCatalog: flags.dropCatalog === true }),
      )
      return describe(report)
    }),
  )
}

const QUESTION =
  'This takes Tenantkeep out of the database: its policies, grants, schemas (with settings, answers and queue) and roles. No backup is taken from then on. Those in the store stay.'

function describe(report: UninstallReport): CommandResult {
  const lines = [`Taken off: ${report.released.length} tables.`]
  if (report.rowSecurityOff.length > 0) {
    lines.push(`Row level security is off again on: ${report.rowSecurityOff.join(', ')}.`)
  }
  for (const table of report.rowSecurityLeft) {
    lines.push(
      `Row level security stays on on ${table}: the host has policies of its own there since. Where the policy zz_tenantkeep_keep_open is left, it keeps everybody’s view; drop it when it is not wanted.`,
    )
  }
  lines.push(
    report.backupsKept === null
      ? 'The catalog is gone; the objects in the store are not.'
      : `Kept: ${formatCount(report.backupsKept)} backups in public.tenant_backups, with the journal and the objects in the store.`,
  )
  if (report.rolesDropped.length > 0) lines.push(`Dropped: ${report.rolesDropped.join(', ')}.`)
  for (const { role, reason } of report.rolesKept) lines.push(`${role} stays: ${reason}.`)
  return {
    document: {
      released: report.released,
      row_security_off: report.rowSecurityOff,
      row_security_left: report.rowSecurityLeft,
      backups_kept: report.backupsKept,
      roles_dropped: report.rolesDropped,
      roles_kept: report.rolesKept,
    },
    text: lines.join('\n'),
  }
}
