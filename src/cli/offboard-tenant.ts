import type { Command } from 'commander'
import { BackupError } from '../core/errors.ts'
import type { Services } from '../core/services.ts'
import { findTenant } from '../core/tenants/find-tenant.ts'
import { type Offboarding, offboardTenant } from '../core/tenants/offboard-tenant.ts'
import { askForWord } from './ask-word.ts'
import { showSteps } from './describe-restore.ts'
import { EXIT } from './exit-status.ts'
import { formatTable, printable } from './format-text.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  type Runner,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface OffboardFlags extends ConnectionFlags {
  tenant: string
  reason: string
  dryRun?: boolean
  confirmName?: string
  acceptSideEffects?: boolean
  note?: string
}

/** `offboard-tenant`: a last backup, then every row of the tenant goes, all or none. */
export function registerOffboardTenant(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('offboard-tenant')
      .description('remove a tenant after a last backup, from which a restore brings it back')
      .requiredOption('--tenant <id>', 'whom')
      .requiredOption('--reason <text>', 'why; the pin of the last backup says it')
      .option('--dry-run', 'show what would be deleted and delete nothing')
      .option('--confirm-name <name>', 'the tenant’s name (its id where it has none), for scripts')
      .option('--accept-side-effects', 'triggers and rules may act that can’t be silenced')
      .option('--note <text>', 'more, for the history')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<OffboardFlags>((context, flags) =>
      withServices(flags, context.env, (services) => offboard(services, context, flags)),
    ),
  )
}

async function offboard(
  services: Services,
  context: CommandContext,
  flags: OffboardFlags,
): Promise<CommandResult> {
  const tenant = await findTenant(services.tenants.catalog, flags.tenant)
  if (tenant === null) {
    throw new BackupError('tenant_not_found', `There is no tenant ${flags.tenant}.`)
  }
  const name = tenant.name ?? tenant.id
  const act = (isDryRun: boolean, planHash: string | null) =>
    offboardTenant(services, {
      actor: { kind: 'operator', id: null, label: 'command line' },
      tenantId: tenant.id,
      reason: flags.reason,
      isDryRun,
      confirmName: flags.confirmName ?? name,
      planHash,
      acceptSideEffects: flags.acceptSideEffects === true,
      note: flags.note ?? null,
      onProgress: showSteps(context.progress, name),
      signal: context.signal,
    })
  const rehearsal = await act(true, null)
  context.progress.end()
  const told = tell(rehearsal)
  if (flags.dryRun === true) return told
  if (rehearsal.blockers.length > 0) return { ...told, status: EXIT.refused }
  for (const line of told.text.split('\n')) context.progress.say(line)
  if (flags.confirmName === undefined) {
    await askForWord(
      'This deletes every row of the tenant, as shown above, after a last backup.',
      printable(name),
      context.signal,
      '--confirm-name',
    )
  }
  const done = await act(false, rehearsal.planHash)
  context.progress.end()
  return tell(done)
}

function tell(done: Offboarding): CommandResult {
  const { tables, blockers, warnings, isDryRun, backupId, tenantId } = done
  const rows = tables.filter(({ deleted }) => deleted > 0)
  const total = rows.reduce((sum, { deleted }) => sum + deleted, 0)
  const restore = `npm run -s tenantkeep -- restore --tenant ${tenantId} --backup ${backupId} --accept-access-changes`
  return {
    ...(blockers.length === 0 ? {} : { status: EXIT.failed }),
    document: {
      organization_id: tenantId,
      organization_name: done.tenantName,
      dry_run: isDryRun,
      run_id: done.runId,
      backup_id: backupId,
      rows_deleted: total,
      tables,
      plan: { hash: done.planHash, blockers },
      warnings,
      ...(isDryRun ? {} : { restore_command: restore }),
    },
    text: [
      ...formatTable(
        ['table', 'rows'],
        rows.map(({ name, deleted }) => [name, deleted]),
      ).split('\n'),
      ...warnings.map(({ message }) => `Warning: ${message}`),
      ...blockers.map(({ table, message }) => `BLOCKED: ${table}: ${message}`),
      isDryRun
        ? `${total} rows would be deleted. Nothing was written.`
        : `${total} rows were deleted. The last backup is ${backupId}. To bring the tenant back: ${restore}`,
    ]
      .map(printable)
      .join('\n'),
  }
}
