import type { Command } from 'commander'
import { type HookReport, hookTables } from '../core/tables/hook.ts'
import { withAdminDatabase } from './admin-database.ts'
import { EXIT } from './exit-status.ts'
import { addCommonFlags, type CommandResult, collect, type Runner } from './run-command.ts'

interface HookFlags {
  dbUrl?: string
  table?: string[]
}

/** `hook`: puts our policies back after a migration of the host. */
export function registerHook(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('hook')
      .description('put the policies back that `unhook` took off')
      .option('--db-url <url>', 'the database as its owner, «postgres» on Supabase (ADMIN_DB_URL)')
      .option('--table <table>', 'only this table (repeatable)', collect),
  ).action(
    run<HookFlags>(async ({ env }, flags) => {
      const report = await withAdminDatabase(flags, env, (admin) =>
        hookTables(admin, { tables: flags.table ?? [] }),
      )
      return describe(report)
    }),
  )
}

function describe(report: HookReport): CommandResult {
  const { hooked, drifted, stillOff, unclassified } = report
  const lines = [`Put back: ${hooked.length} ${hooked.length === 1 ? 'table' : 'tables'}.`]
  for (const { table, reasons } of drifted) lines.push(`${table}: ${reasons.join('; ')}.`)
  if (drifted.length > 0) {
    lines.push('The migration changed how these lead to their tenant. Run init: it looks again.')
  }
  if (stillOff.length > 0) lines.push(`Still off: ${stillOff.join(', ')}.`)
  if (unclassified.length > 0) {
    lines.push(`In no backup until init has classified them: ${unclassified.join(', ')}.`)
  }
  return {
    status: drifted.length > 0 || unclassified.length > 0 ? EXIT.answersNeeded : EXIT.done,
    document: {
      hooked,
      drifted,
      still_unhooked: stillOff,
      unclassified,
    },
    text: lines.join('\n'),
  }
}
