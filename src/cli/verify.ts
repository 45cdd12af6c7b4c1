import { Argument, type Command, Option } from 'commander'
import { type Backup, findBackup } from '../core/backup/backup-record.ts'
import { listBackups } from '../core/backup/list-backups.ts'
import { type Verification, verifyBackup } from '../core/backup/verify-backup.ts'
import { BackupError } from '../core/errors.ts'
import type { Services } from '../core/services.ts'
import { isWithinReach } from '../core/store/read-with-copy.ts'
import { requireStore } from './describe-backup.ts'
import { EXIT, type ExitStatus, exitStatusOf } from './exit-status.ts'
import { formatBytes, formatCount, printable } from './format-text.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  type Runner,
  readError,
  toBackupId,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface VerifyFlags extends ConnectionFlags {
  all?: boolean
  tenant?: string
}

interface Outcome {
  document: Record<string, unknown>
  lines: string[]
  status: ExitStatus
}

/** `verify`: reads backups again, every byte of them, and says what is wrong. */
export function registerVerify(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('verify')
      .description('read backups again: every object, digest, size, row count and signature')
      .addArgument(new Argument('[backup...]', 'their ids').argParser(toBackupIds))
      .addOption(new Option('--all', 'every complete backup in this store'))
      .option('--tenant <id>', 'with --all: of one tenant')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<VerifyFlags>((context, flags, ids) => {
      if ((flags.all === true) === ids.length > 0) {
        throw new BackupError('invalid_request', 'Name the backups to verify, or say --all.')
      }
      return withServices(flags, context.env, (services) => verify(services, context, flags, ids))
    }),
  )
}

async function verify(
  services: Services,
  context: CommandContext,
  flags: VerifyFlags,
  ids: readonly string[],
): Promise<CommandResult> {
  await services.store.check()
  const outcomes: Outcome[] = []
  const elsewhere: Backup[] = []
  const backups = flags.all === true ? listComplete(services, flags) : findNamed(services, ids)
  for await (const backup of backups) {
    if (context.signal.aborted) {
      throw new BackupError('backup_cancelled', 'Stopped before every backup was verified.')
    }
    if (flags.all === true && !isWithinReach(services.store, backup)) elsewhere.push(backup)
    else outcomes.push(await verifyOne(services, backup, context))
  }
  const intact = outcomes.filter(({ status }) => status === EXIT.done).length
  const summary = `${formatCount(intact)} of ${formatCount(outcomes.length)} backups are intact.`
  return {
    status: worst(outcomes),
    document: {
      backups: outcomes.map(({ document }) => document),
      in_another_store: elsewhere.map(({ id, storeUrl }) => ({
        backup_id: id,
        store_url: storeUrl,
      })),
    },
    text: [
      ...outcomes.flatMap(({ lines }) => lines),
      summary,
      ...(elsewhere.length === 0
        ? []
        : [`NOT verified: ${formatCount(elsewhere.length)} backups in another store than this.`]),
    ].join('\n'),
  }
}

/** A damaged backup is the worst that can be said; that one could not be looked at comes second. */
function worst(outcomes: readonly Outcome[]): ExitStatus {
  const statuses = outcomes.map(({ status }) => status)
  if (statuses.includes(EXIT.failed)) return EXIT.failed
  return statuses.find((status) => status !== EXIT.done) ?? EXIT.done
}

async function* listComplete(services: Services, flags: VerifyFlags): AsyncGenerator<Backup> {
  let cursor: string | undefined
  do {
    const page = await listBackups(services.tenants.catalog, {
      statuses: ['complete'],
      limit: 500,
      ...(flags.tenant === undefined ? {} : { tenantId: flags.tenant }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    yield* page.backups
    cursor = page.nextCursor ?? undefined
  } while (cursor !== undefined)
}

async function* findNamed(services: Services, ids: readonly string[]): AsyncGenerator<Backup> {
  const backups: Backup[] = []
  // All of them first: a wrong id is said before hours of reading, not after.
  for (const id of new Set(ids)) {
    const backup = await findBackup(services.tenants.catalog, id)
    if (backup === undefined) {
      throw new BackupError('backup_not_found', `There is no backup ${id}.`)
    }
    requireStore(backup, services.store)
    backups.push(backup)
  }
  yield* backups
}

async function verifyOne(
  services: Services,
  backup: Backup,
  { progress, signal }: CommandContext,
): Promise<Outcome> {
  const title = `${backup.organizationName ?? backup.organizationId}, ${backup.id}`
  progress.say(title)
  try {
    const verification = await verifyBackup(services, backup.id, {
      signal,
      onProgress: ({ table: name, rowsDone: done, rowsTotal: total }) =>
        progress.update({ group: title, name, done, total, unit: 'rows' }),
    })
    return describe(title, verification)
  } catch (error) {
    const told = readError(error)
    return {
      document: { backup_id: backup.id, is_intact: null, error: told },
      lines: [
        `${printable(title)}: could not be verified. ${printable(told.message)} (${told.code})`,
      ],
      status: exitStatusOf(told.code),
    }
  } finally {
    progress.end()
  }
}

function describe(title: string, verification: Verification): Outcome {
  const { backup, isIntact, isUsable, wholeIn, findings, objects, rows, bytes } = verification
  const verdict = isIntact
    ? 'intact'
    : isUsable
      ? 'damaged in one place, and whole elsewhere'
      : 'DAMAGED'
  const read = `${formatCount(objects)} objects, ${formatCount(rows)} rows, ${formatBytes(bytes)}`
  return {
    document: {
      backup_id: backup.id,
      organization_id: backup.organizationId,
      is_intact: isIntact,
      is_usable: isUsable,
      whole_in: wholeIn,
      objects,
      rows,
      bytes,
      findings,
    },
    lines: [
      `${printable(title)}: ${verdict} (${read})`,
      ...findings.map(({ code, message }) => `    ${printable(message)} (${code})`),
    ],
    status: isIntact ? EXIT.done : EXIT.failed,
  }
}

function toBackupIds(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), toBackupId(value)]
}
