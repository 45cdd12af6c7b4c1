import { type Command, InvalidArgumentError, Option } from 'commander'
import * as z from 'zod'
import type { Backup } from '../core/backup/backup-record.ts'
import { type ListBackupsInput, listBackups } from '../core/backup/list-backups.ts'
import { backupDocument } from './describe-backup.ts'
import { formatBytes, formatTable } from './format-text.ts'
import { addCommonFlags, collect, type Runner, toBackupId } from './run-command.ts'
import { type ConnectionFlags, withDatabase } from './settings.ts'

interface ListFlags extends ConnectionFlags {
  tenant?: string
  status?: Backup['status'][]
  type?: Backup['backupType'][]
  from?: string
  to?: string
  limit: number
  after?: string
}

const STATUSES = ['running', 'complete', 'failed', 'cancelled', 'pruned'] as const
const TYPES = ['daily_tenant', 'manual', 'pre_restore'] as const

/** `list`: the backups that the catalog knows, newest first. */
export function registerList(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('list')
      .description('list backups, newest first')
      .option('--tenant <id>', 'of one tenant')
      .addOption(choice('--status <status>', 'in this state (repeatable)', STATUSES))
      .addOption(choice('--type <type>', 'of this kind (repeatable)', TYPES))
      .option('--from <day>', 'from this day on, UTC: 2026-11-21', toDay)
      .option('--to <day>', 'up to this day, UTC, included', toDay)
      .option('--limit <n>', 'how many, at most 500', toLimit, 50)
      .option('--after <backup>', 'go on after this one', toBackupId)
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)"),
  ).action(
    run<ListFlags>(({ env }, flags) =>
      withDatabase(flags, env, async (database) => {
        const { backups, nextCursor } = await listBackups(database, toInput(flags))
        return {
          document: { backups: backups.map(backupDocument), next_cursor: nextCursor },
          text: describe(backups, nextCursor),
        }
      }),
    ),
  )
}

function toInput(flags: ListFlags): ListBackupsInput {
  return {
    limit: flags.limit,
    ...(flags.tenant === undefined ? {} : { tenantId: flags.tenant }),
    ...(flags.status === undefined ? {} : { statuses: flags.status }),
    ...(flags.type === undefined ? {} : { backupTypes: flags.type }),
    ...(flags.from === undefined ? {} : { fromDate: flags.from }),
    ...(flags.to === undefined ? {} : { toDate: flags.to }),
    ...(flags.after === undefined ? {} : { cursor: flags.after }),
  }
}

function describe(backups: readonly Backup[], nextCursor: string | null): string {
  if (backups.length === 0) return 'No backups.'
  const rows = backups.map((backup) => [
    backup.id,
    backup.organizationName ?? backup.organizationId,
    backup.backupType,
    backup.status,
    (backup.takenAt ?? backup.createdAt).slice(0, 19).replace('T', ' '),
    backup.totalRecords ?? '',
    backup.totalSize === null ? '' : formatBytes(backup.totalSize),
    [
      ...(backup.damagedAt === null ? [] : ['(damaged)']),
      ...(backup.pinnedAt === null ? [] : ['(pinned)']),
      ...backup.tags,
      backup.errorCode ?? '',
    ]
      .join(' ')
      .trim(),
  ])
  const table = formatTable(
    ['backup', 'tenant', 'type', 'status', 'taken at (UTC)', 'rows', 'stored', ''],
    rows,
  )
  return nextCursor === null ? table : `${table}\nThere are more: --after ${nextCursor}`
}

function choice(flags: string, description: string, choices: readonly string[]): Option {
  return new Option(flags, `${description}: ${choices.join(', ')}`).argParser(
    (value: string, before: string[] | undefined) => {
      if (!choices.includes(value)) {
        throw new InvalidArgumentError(`Allowed are ${choices.join(', ')}.`)
      }
      return collect(value, before)
    },
  )
}

function toDay(text: string): string {
  if (!z.iso.date().safeParse(text).success) {
    throw new InvalidArgumentError('It must be a day like 2026-11-21.')
  }
  return text
}

function toLimit(text: string): number {
  const limit = Number(text)
  if (!Number.isInteger(limit) || limit < 1 || limit > 500) {
    throw new InvalidArgumentError('It must be a whole number from 1 to 500.')
  }
  return limit
}
