import type { Command } from 'commander'
import type { Actor } from '../core/services.ts'
import { type PausedTenant, pauseTenant, resumeTenant } from '../core/tenants/pause-tenant.ts'
import { printable } from './format-text.ts'
import { addCommonFlags, type CommandResult, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface PauseFlags extends ConnectionFlags {
  tenant: string
  reason: string
}

interface ResumeFlags extends ConnectionFlags {
  tenant: string
  note?: string
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

/** `pause` and `resume`: the daily backups of one tenant. */
export function registerPause(program: Command, run: Runner): void {
  const addFlags = (command: Command) =>
    addCommonFlags(
      command
        .requiredOption('--tenant <id>', 'the tenant')
        .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
        .option('--store <url>', 'where backups live (BACKUP_STORE)'),
    )

  addFlags(
    program
      .command('pause')
      .description('stop the daily backups of one tenant; backups by hand and restores go on')
      .requiredOption('--reason <text>', 'why; it stands in the journal every day'),
  ).action(
    run<PauseFlags>(({ env }, flags) =>
      withServices(flags, env, async (services) => {
        const { tenant: tenantId, reason } = flags
        const outcome = await pauseTenant(services, { tenantId, reason, actor: ACTOR })
        const { hasChanged } = outcome
        return describe(outcome, hasChanged ? 'is paused now' : 'was paused for this reason before')
      }),
    ),
  )
  addFlags(
    program
      .command('resume')
      .description('let the daily backups of a paused tenant go on')
      .option('--note <text>', 'why, for the journal'),
  ).action(
    run<ResumeFlags>(({ env }, flags) =>
      withServices(flags, env, async (services) => {
        const { tenant: tenantId, note = null } = flags
        const outcome = await resumeTenant(services, { tenantId, note, actor: ACTOR })
        return describe(outcome, outcome.hasChanged ? 'is active again' : 'was not paused')
      }),
    ),
  )
}

function describe(outcome: PausedTenant, what: string): CommandResult {
  const { tenantId, tenantName, pause, hasChanged } = outcome
  const title = tenantName === null ? tenantId : `${tenantName} (${tenantId})`
  return {
    document: {
      organization_id: tenantId,
      organization_name: tenantName,
      paused: pause,
      has_changed: hasChanged,
    },
    text: `${printable(title)} ${what}.`,
  }
}
