import { Argument, type Command } from 'commander'
import { type Backup, findBackup } from '../core/backup/backup-record.ts'
import { loadSummary } from '../core/backup/load-summary.ts'
import type { Summary } from '../core/backup/summary.ts'
import { BackupError } from '../core/errors.ts'
import { backupDocument, describeConcerns, describeSize, requireStore } from './describe-backup.ts'
import { formatBytes, formatCount, formatTable, printable } from './format-text.ts'
import { addCommonFlags, type Runner, toBackupId } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

/** `show`: one backup, with what its signed summary says of every table. */
export function registerShow(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('show')
      .description('show a backup and its tables, from the signed summary')
      .addArgument(new Argument('<backup>', 'its id').argParser(toBackupId))
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<ConnectionFlags>(({ env, signal }, flags, [id = '']) =>
      withServices(flags, env, async (services) => {
        const backup = await findBackup(services.tenants.catalog, id)
        if (backup === undefined) {
          throw new BackupError('backup_not_found', `There is no backup ${id}.`)
        }
        if (backup.status !== 'complete') return describe(backup, null)
        requireStore(backup, services.store)
        return describe(backup, await loadSummary(services, backup, signal))
      }),
    ),
  )
}

function describe(backup: Backup, summary: Summary | null) {
  return {
    document: { backup: backupDocument(backup), summary },
    text: [
      ...describeBackup(backup),
      ...describeTables(summary),
      ...describeRowsOfNoTenant(summary),
    ].join('\n'),
  }
}

function describeBackup(backup: Backup): string[] {
  const tenant =
    backup.organizationName === null
      ? backup.organizationId
      : `${backup.organizationName} (${backup.organizationId})`
  const facts: [string, string | null][] = [
    ['backup', backup.id],
    ['tenant', tenant],
    ['type', backup.backupType],
    ['status', backup.status],
    ['error', backup.errorCode === null ? null : `${backup.errorMessage} (${backup.errorCode})`],
    ['taken at', backup.takenAt],
    ['verified at', backup.verifiedAt],
    ['by', backup.actorLabel],
    ['holds', backup.totalRecords === null ? null : describeSize(backup)],
    ['summary', backup.summaryPath === null ? null : `${backup.storeUrl}: ${backup.summaryPath}`],
    ['name', backup.name],
    ['note', backup.note],
    ['tags', backup.tags.length === 0 ? null : backup.tags.join(', ')],
    ['pinned', backup.pinReason],
  ]
  const lines = facts.flatMap(([name, value]) =>
    value === null ? [] : [`${name.padEnd(12)}${printable(value)}`],
  )
  return [...lines, ...describeConcerns(backup).map(printable)]
}

function describeTables(summary: Summary | null): string[] {
  if (summary === null) return []
  const rows = summary.tables.map((table) => [
    table.name,
    table.rows,
    formatBytes(table.raw_bytes),
    formatBytes(table.stored_bytes),
    table.parts.length,
  ])
  return ['', formatTable(['table', 'rows', 'as JSON', 'stored', 'parts'], rows)]
}

/** Rows that are in no tenant's backup; counts of whole tables, hence apart from the figures above. */
function describeRowsOfNoTenant(summary: Summary | null): string[] {
  const { tables, not_measured: unknown } = summary?.rows_of_no_tenant ?? {
    tables: [],
    not_measured: [],
  }
  const lines = tables.map(({ name, without_tenant, two_tenants, measured_at }) => {
    const torn =
      two_tenants === null || two_tenants === 0
        ? ''
        : `, ${formatCount(two_tenants)} refer to another tenant's`
    return `  ${printable(name)}: ${formatCount(without_tenant)} lead to no tenant${torn} (counted ${measured_at})`
  })
  if (unknown.length > 0) lines.push(`  never counted: ${unknown.map(printable).join(', ')}`)
  return lines.length === 0
    ? []
    : ['', 'Rows of all tenants together that are in no backup', ...lines]
}
