import { userInfo } from 'node:os'
import type { Command } from 'commander'
import { type UnhookReport, unhookTables } from '../core/tables/unhook.ts'
import { withAdminDatabase } from './admin-database.ts'
import { addCommonFlags, type CommandResult, collect, type Runner } from './run-command.ts'

interface UnhookFlags {
  dbUrl?: string
  table?: string[]
  by?: string
}

/** `unhook`: takes our policies off for a migration of the host. */
export function registerUnhook(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('unhook')
      .description('take the policies off host tables for a migration; backups stop until `hook`')
      .option('--db-url <url>', 'the database as its owner, «postgres» on Supabase (ADMIN_DB_URL)')
      .option('--table <table>', 'only this table (repeatable)', collect)
      .option('--by <who>', 'who is to be named while it lasts; your login on this machine'),
  ).action(
    run<UnhookFlags>(async ({ env }, flags) => {
      const by = flags.by ?? userInfo().username
      const report = await withAdminDatabase(flags, env, (admin) =>
        unhookTables(admin, { tables: flags.table ?? [], by }),
      )
      return describe(report)
    }),
  )
}

function describe(report: UnhookReport): CommandResult {
  const lines = [
    `Unhooked: ${report.unhooked.length} ${report.unhooked.length === 1 ? 'table' : 'tables'}.`,
  ]
  if (report.alongWith.length > 0) {
    lines.push(
      `With them, because their policies look at one of them: ${report.alongWith.join(', ')}.`,
    )
  }
  if (report.already.length > 0) lines.push(`Already off: ${report.already.length} tables.`)
  lines.push('No backup is taken until `tenantkeep hook` (or init) has put the policies back.')
  return {
    document: {
      unhooked: report.unhooked,
      along_with: report.alongWith,
      already_unhooked: report.already,
    },
    text: lines.join('\n'),
  }
}
