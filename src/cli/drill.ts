import { type Command, Option } from 'commander'
import { type Backup, findBackup } from '../core/backup/backup-record.ts'
import { BackupError } from '../core/errors.ts'
import { type DrillProgress, drillBackup } from '../core/restore/drill-backup.ts'
import type { Drill } from '../core/restore/drill-record.ts'
import { drillTenant, findNextToDrill } from '../core/restore/run-drills.ts'
import type { Actor, Services } from '../core/services.ts'
import { requireStore } from './describe-backup.ts'
import { EXIT } from './exit-status.ts'
import { formatBytes, formatCount, printable } from './format-text.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  type Runner,
  toBackupId,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface DrillFlags extends ConnectionFlags {
  tenant?: string
  backup?: string
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

/** `drill`: tries whether a backup could be restored now, and changes nothing. */
export function registerDrill(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('drill')
      .description(
        'try whether a backup could be restored: load it aside, check everything, change nothing',
      )
      .option(
        '--tenant <id>',
        'the newest good backup of this tenant; without it, of whose turn it is',
      )
      .addOption(
        new Option('--backup <id>', 'this backup').argParser(toBackupId).conflicts('tenant'),
      )
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<DrillFlags>((context, flags) =>
      withServices(flags, context.env, (services) => drill(services, context, flags)),
    ),
  )
}

async function drill(
  services: Services,
  { progress, signal }: CommandContext,
  flags: DrillFlags,
): Promise<CommandResult> {
  await services.store.check()
  const input = {
    actor: ACTOR,
    signal,
    onProgress: ({ phase, table: name, rowsDone: done, rowsTotal: total }: DrillProgress) =>
      progress.update({ group: phase, name, done, total, unit: 'rows' }),
  }
  const done =
    flags.tenant === undefined
      ? await drillBackup(services, { ...input, backup: await chooseBackup(services, flags) })
      : await drillTenant(services, { ...input, tenantId: flags.tenant })
  progress.end()
  return describe(done)
}

async function chooseBackup(services: Services, flags: DrillFlags): Promise<Backup> {
  if (flags.backup === undefined) {
    const next = await findNextToDrill(services)
    if (next !== undefined) return next
    throw new BackupError('backup_not_found', 'No active tenant has a good backup in this store.')
  }
  const backup = await findBackup(services.tenants.catalog, flags.backup)
  if (backup === undefined) {
    throw new BackupError('backup_not_found', `There is no backup ${flags.backup}.`)
  }
  requireStore(backup, services.store)
  return backup
}

function describe(drill: Drill): CommandResult {
  const { organizationId, backupId, status, findings, warnings, rows, bytes, durationMs, phases } =
    drill
  const isClean = status === 'passed'
  const what = isClean ? 'could be restored as it is' : 'could NOT be restored as it is'
  const size = `${formatCount(rows ?? 0)} rows, ${formatBytes(bytes ?? 0)} stored`
  const seconds = ((durationMs ?? 0) / 1_000).toFixed(1)
  return {
    status: isClean ? EXIT.done : EXIT.failed,
    document: {
      drill_id: drill.id,
      organization_id: organizationId,
      backup_id: backupId,
      status,
      findings,
      warnings,
      rows,
      bytes,
      duration_ms: durationMs,
      phases_ms: phases,
    },
    text: [
      `${printable(organizationId)}, backup ${backupId}: ${what}. ${size}, tried in ${seconds} s.`,
      ...findings.map(({ code, message }) => `    ${printable(message)} (${code})`),
      ...warnings.map(({ message }) => `    Note: ${printable(message)}`),
    ].join('\n'),
  }
}
