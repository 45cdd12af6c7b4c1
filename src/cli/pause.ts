import type { Command } from 'commander'
import type { Actor } from '../core/services.ts'
import { pauseTenant } from '../core/tenants/pause-tenant.ts'
import { describePause } from './describe-pause.ts'
import { addCommonFlags, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface PauseFlags extends ConnectionFlags {
  tenant: string
  reason: string
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

/** `pause`: stops the daily backups of one tenant. */
export function registerPause(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('pause')
      .description('stop the daily backups of one tenant; backups by hand and restores go on')
      .requiredOption('--tenant <id>', 'the tenant')
      .requiredOption('--reason <text>', 'why; it stands in the journal every day')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<PauseFlags>(({ env }, flags) =>
      withServices(flags, env, async (services) => {
        const { tenant: tenantId, reason } = flags
        const outcome = await pauseTenant(services, { tenantId, reason, actor: ACTOR })
        const { hasChanged } = outcome
        return describePause(
          outcome,
          hasChanged ? 'is paused now' : 'was paused for this reason before',
        )
      }),
    ),
  )
}
