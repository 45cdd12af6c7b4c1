import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import * as z from 'zod'
import { readBackupSettings } from '../core/backup/backup-settings.ts'
import { BackupError } from '../core/errors.ts'
import type { BackupSource } from '../core/restore/backup-source.ts'
import { chooseBackup } from '../core/restore/choose-backup.ts'
import { openArchive } from '../core/restore/open-archive.ts'
import { openPlainFiles } from '../core/restore/open-plain-files.ts'
import type { RestoreOptions } from '../core/restore/restore-options.ts'
import type { Services } from '../core/services.ts'
import { readProtectedTables } from '../core/tables/read-protected-tables.ts'
import { findTenant } from '../core/tenants/find-tenant.ts'
import { requireStore } from './describe-backup.ts'
import { addPlanFlags, type PlanFlags, restoreWithPlan } from './restore-with-plan.ts'
import { toRowKey } from './row-key.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  collect,
  type Runner,
  toBackupId,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface RestoreFlags extends ConnectionFlags, PlanFlags {
  tenant: string
  backup?: string
  date?: string
  from?: string
  unsigned?: boolean
  table?: string[]
  row?: string[]
  missing: RestoreOptions['missing']
  changed: RestoreOptions['changed']
  newer: RestoreOptions['newer']
  history: RestoreOptions['history']
  onMissingUser: RestoreOptions['on_missing_user']
  onMissingReference: RestoreOptions['on_missing_reference']
  onTaken: 'fail' | 'skip' | 'keep-live'
  onReferenced: RestoreOptions['on_referenced']
  acceptAccessChanges?: boolean
  acceptSchemaChange?: string[]
  acceptSideEffects?: boolean
}

/** `restore`: brings one tenant back to a backup, after showing what that changes. */
export function registerRestore(program: Command, run: Runner): void {
  addCommonFlags(
    addPlanFlags(
      program
        .command('restore')
        .description('bring one tenant back to a backup: shows the plan, asks, and does it')
        .requiredOption('--tenant <id>', 'whom')
        .addOption(new Option('--backup <id>', 'the backup').argParser(toBackupId))
        .option('--date <day>', 'the newest backup of this day, UTC: 2026-11-21', toDay)
        .option('--from <path>', 'an exported zip, or with --unsigned a folder of plain files')
        .option('--unsigned', 'with --from: take files that nothing proves')
        .option('--table <name>', 'only this table (repeatable)', collect)
        .option('--row <table:column=value>', 'only this row, by its key (repeatable)', collect)
        .addOption(keepOrRestore('--missing <what>', 'rows that are gone since', 'restore'))
        .addOption(keepOrRestore('--changed <what>', 'rows that changed since', 'restore'))
        .addOption(
          keepOrRestore('--newer <what>', 'rows that came since; restore removes', 'restore'),
        )
        .addOption(keepOrRestore('--history <what>', 'newer rows of history tables', 'keep'))
        .addOption(
          new Option('--on-missing-user <what>', 'rows that point at a user who is gone')
            .choices(['fail', 'skip', 'null'])
            .default('fail'),
        )
        .addOption(
          new Option('--on-missing-reference <what>', 'rows that point at a row that is gone')
            .choices(['fail', 'skip', 'null', 'restore'])
            .default('fail'),
        )
        .addOption(
          new Option('--on-taken <what>', 'rows whose key or unique value another row has')
            .choices(['fail', 'skip', 'keep-live'])
            .default('fail'),
        )
        .addOption(
          new Option('--on-referenced <what>', 'newer rows that others refer to')
            .choices(['fail', 'keep'])
            .default('fail'),
        )
        .option('--accept-access-changes', 'rows may come back that give somebody access')
        .option(
          '--accept-schema-change <name>',
          'this change of the schema may lose something (repeatable)',
          collect,
        )
        .option('--accept-side-effects', 'triggers and rules may act that can’t be silenced'),
    )
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<RestoreFlags>((context, flags) => {
      requireOneSource(flags)
      const options = toOptions(flags)
      return withServices(flags, context.env, (services) =>
        restore(services, context, flags, options),
      )
    }),
  )
}

/** Throws `invalid_request` where nothing, or too much, says what to restore from. */
function requireOneSource({ backup, date, from, unsigned }: RestoreFlags): void {
  if (from === undefined && unsigned === true) {
    throw new BackupError('invalid_request', '--unsigned is about a file: give --from too.')
  }
  if (from === undefined && backup === undefined && date === undefined) {
    throw new BackupError(
      'invalid_request',
      'Say what to restore from: --backup ID, --date DAY, or --from FILE.',
    )
  }
  if (from !== undefined && backup !== undefined) {
    throw new BackupError('invalid_request', 'Give --backup or --from, not both.')
  }
}

async function restore(
  services: Services,
  context: CommandContext,
  flags: RestoreFlags,
  options: RestoreOptions,
): Promise<CommandResult> {
  const chosen =
    flags.from === undefined
      ? await chooseFromCatalog(services, flags)
      : await openFile(services, flags, flags.from, context.signal)
  const { tenant } = chosen
  return restoreWithPlan(services, context, {
    tenant,
    source: chosen.source,
    task: {
      kind: 'restore',
      backup_id: chosen.backupId,
      file: chosen.file,
      options,
      dry_run: flags.dryRun === true,
      plan_hash: flags.planHash ?? null,
      note: flags.note ?? null,
      samples: flags.samples,
    },
    question: `This brings ${tenant.name ?? tenant.id} back to the backup of ${chosen.takenAt.slice(0, 16).replace('T', ' ')} UTC, as shown above. The organization as it is now is saved first.`,
    isConfirmed: flags.yes === true,
  })
}

interface Chosen {
  tenant: { id: string; name: string | null }
  backupId: string | null
  file: string | null
  takenAt: string
  source?: BackupSource
}

async function chooseFromCatalog(services: Services, flags: RestoreFlags): Promise<Chosen> {
  const { catalog } = services.tenants
  const tenant = await findTenant(catalog, flags.tenant)
  if (tenant === null) {
    throw new BackupError('tenant_not_found', `There is no tenant ${flags.tenant}.`)
  }
  const backup = await chooseBackup(catalog, tenant.id, {
    backupId: flags.backup,
    backupDate: flags.date,
  })
  requireStore(backup, services.store)
  return {
    tenant,
    backupId: backup.id,
    file: null,
    takenAt: backup.takenAt ?? backup.createdAt,
  }
}

/** A zip of ours, or a folder of plain files; the tenant need not be known to this database any more. */
async function openFile(
  { tenants, signingKeys }: Services,
  flags: RestoreFlags,
  path: string,
  signal: AbortSignal,
): Promise<Chosen> {
  const mayBeUnsigned = flags.unsigned === true
  const isFolder = await isDirectory(path)
  if (isFolder && !mayBeUnsigned) {
    throw new BackupError(
      'invalid_request',
      `${path} is a folder of plain files, which nothing proves: nobody can tell whether they were changed. Say --unsigned to take them all the same.`,
    )
  }
  const source = isFolder
    ? await openPlainFiles({
        folder: path,
        tenantId: flags.tenant,
        date: flags.date,
        liveTables: await readProtectedTables(tenants.catalog),
        maxRowBytes: (await readBackupSettings(tenants.catalog)).max_row_bytes,
        signal,
      })
    : await openArchive({ file: path, signingKeys, tenantId: flags.tenant, mayBeUnsigned, signal })
  const { organization_id: id, organization_name: name } = source.summary
  return {
    tenant: (await findTenant(tenants.catalog, flags.tenant)) ?? { id, name },
    backupId: null,
    file: `${basename(path)}, ${source.takenAt}`,
    takenAt: source.takenAt,
    source,
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (cause) {
    throw new BackupError('invalid_request', `--from: ${path} cannot be read.`, { cause })
  }
}

function toOptions(flags: RestoreFlags): RestoreOptions {
  return {
    tables: flags.table ?? null,
    rows: toRows(flags.row),
    missing: flags.missing,
    changed: flags.changed,
    newer: flags.newer,
    history: flags.history,
    on_missing_user: flags.onMissingUser,
    on_missing_reference: flags.onMissingReference,
    on_taken: flags.onTaken === 'keep-live' ? 'keep_live' : flags.onTaken,
    on_referenced: flags.onReferenced,
    accept_access_changes: flags.acceptAccessChanges === true,
    accept_schema_changes: flags.acceptSchemaChange ?? [],
    accept_side_effects: flags.acceptSideEffects === true,
  }
}

/** Keys by table, as options have them. */
function toRows(given: readonly string[] | undefined): RestoreOptions['rows'] {
  if (given === undefined) return null
  const byTable = Map.groupBy(given.map(toRowKey), ({ table }) => table)
  return Object.fromEntries(
    [...byTable].map(([table, rows]) => [table, rows.map(({ key }) => key)]),
  )
}

function keepOrRestore(flags: string, description: string, byDefault: 'restore' | 'keep'): Option {
  return new Option(flags, description).choices(['restore', 'keep']).default(byDefault)
}

function toDay(text: string): string {
  if (!z.iso.date().safeParse(text).success) {
    throw new InvalidArgumentError('It must be a day like 2026-11-21.')
  }
  return text
}
