import { createWriteStream } from 'node:fs'
import { open, unlink } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Command, Option } from 'commander'
import { findBackup } from '../core/backup/backup-record.ts'
import { exportBackup } from '../core/backup/export-backup.ts'
import { recordExport } from '../core/backup/record-export.ts'
import { BackupError } from '../core/errors.ts'
import { openArchive } from '../core/restore/open-archive.ts'
import type { Actor, Services } from '../core/services.ts'
import { requireStore } from './describe-backup.ts'
import { formatBytes, formatCount, printable } from './format-text.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  type Runner,
  toBackupId,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface ExportFlags extends ConnectionFlags {
  backup: string
  to: string
}

/** `export`: one zip of a backup, for a person to take away. */
export function registerExport(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('export')
      .description('write a backup to one zip of plain JSON that `restore --from` takes back')
      .addOption(
        new Option('--backup <id>', 'which backup').argParser(toBackupId).makeOptionMandatory(),
      )
      .requiredOption('--to <file>', 'the zip; must not be there yet')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<ExportFlags>((context, flags) =>
      withServices(flags, context.env, (services) => writeArchive(services, context, flags)),
    ),
  )
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

async function writeArchive(
  services: Services,
  { progress, signal }: CommandContext,
  { backup: id, to }: ExportFlags,
): Promise<CommandResult> {
  const { catalog } = services.tenants
  await recordExport(catalog, { backupId: id, actor: ACTOR })
  const backup = await findBackup(catalog, id)
  if (backup === undefined) throw new BackupError('backup_not_found', `There is no backup ${id}.`)
  requireStore(backup, services.store)
  const file = resolve(to)
  const title = `${backup.organizationName ?? backup.organizationId}, ${backup.id}`
  const archive = await exportBackup(services, {
    backup,
    signal,
    onProgress: ({ table: name, rowsDone: done, rowsTotal: total }) =>
      progress.update({ group: title, name, done, total, unit: 'rows' }),
  })
  await createExclusively(file)
  let bytes = 0
  try {
    const target = createWriteStream(file, { flags: 'r+' })
    await pipeline(archive.stream, target, { signal })
    bytes = target.bytesWritten
    // A zip that can't be read again is found out now, not on the day it is needed.
    await prove(services, { file, tenantId: backup.organizationId, signal })
  } catch (error) {
    await unlink(file)
    throw error
  }
  const { tables, rows } = archive.summary.totals
  return {
    document: {
      backup_id: backup.id,
      organization_id: backup.organizationId,
      file,
      bytes,
      tables,
      rows,
    },
    text: [
      `${printable(file)}: ${formatCount(rows)} rows in ${formatCount(tables)} tables, ${formatBytes(bytes)}, read again and whole`,
      'It holds personal data in plain text, masked columns too: keep it accordingly.',
    ].join('\n'),
  }
}

/** Nothing is overwritten, and nobody else can read what comes. */
async function createExclusively(file: string): Promise<void> {
  try {
    await (await open(file, 'wx', 0o600)).close()
  } catch (cause) {
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST'
    throw new BackupError(
      'invalid_request',
      isThere
        ? `${file} is there already; nothing was overwritten. Say another file.`
        : `${file} can't be written. Is its folder there, and may you write to it?`,
      { cause },
    )
  }
}

async function prove(
  { signingKeys }: Services,
  given: { file: string; tenantId: string; signal: AbortSignal },
): Promise<void> {
  const source = await openArchive({ ...given, signingKeys })
  for (const part of source.summary.tables.flatMap((table) => table.parts)) {
    await source.readPart(part)
  }
}
