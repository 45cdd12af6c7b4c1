import type { Command } from 'commander'
import type { Actor } from '../core/services.ts'
import { resumeTenant } from '../core/tenants/pause-tenant.ts'
import { describePause } from './describe-pause.ts'
import { addCommonFlags, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface ResumeFlags extends ConnectionFlags {
  tenant: string
  note?: string
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

/** `resume`: the daily backups of a paused tenant go on. */
export function registerResume(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('resume')
      .description('let the daily backups of a paused tenant go on')
      .requiredOption('--tenant <id>', 'the tenant')
      .option('--note <text>', 'why, for the journal')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<ResumeFlags>(({ env }, flags) =>
      withServices(flags, env, async (services) => {
        const { tenant: tenantId, note = null } = flags
        const outcome = await resumeTenant(services, { tenantId, note, actor: ACTOR })
        return describePause(outcome, outcome.hasChanged ? 'is active again' : 'was not paused')
      }),
    ),
  )
}
