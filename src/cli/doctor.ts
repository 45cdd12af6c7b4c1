import type { Command } from 'commander'
import { parseSigningKeys } from '../core/backup/signature.ts'
import { connectDatabase } from '../core/database/connect-database.ts'
import type { Database } from '../core/database/database.ts'
import { requireSessionMode } from '../core/database/require-session-mode.ts'
import type { Finding, Severity } from '../core/doctor/finding.ts'
import { type Diagnosis, runDoctor } from '../core/doctor/run-doctor.ts'
import { BackupError } from '../core/errors.ts'
import { EXIT } from './exit-status.ts'
import { formatCount, printable } from './format-text.ts'
import { addCommonFlags, type CommandResult, type Runner } from './run-command.ts'
import { type ConnectionFlags, type Environment, openConfiguredStore } from './settings.ts'

/** `doctor`: looks for everything that has changed or rotted since `init`, each with its remedy. */
export function registerDoctor(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('doctor')
      .description('look for what would break a backup or a restore, each with what puts it right')
      .option('--db-url <url>', 'as the worker or as the owner (SUPABASE_DB_URL and ADMIN_DB_URL)')
      .option('--store <url>', 'where backups live (BACKUP_STORE)')
      .option('--orphans', 'list the whole store for objects that no backup names'),
  ).action(
    run<ConnectionFlags & { orphans?: boolean }>(async ({ env, progress }, flags) => {
      const logins = await openLogins(flags, env)
      try {
        const diagnosis = await runDoctor({
          ...logins,
          withOrphans: flags.orphans === true,
          store: orError(() => openConfiguredStore(flags, env)),
          signingKeys: orError(() =>
            parseSigningKeys({
              current: env.BACKUP_SIGNING_KEY,
              previous: env.BACKUP_SIGNING_KEY_PREVIOUS,
            }),
          ),
          onProgress: (check) => progress.say(`Looking at: ${check}`),
        })
        return describe(diagnosis)
      } finally {
        await Promise.all([logins.worker?.close(), logins.admin?.close()])
      }
    }),
  )
}

/** What is missing there is a finding, and keeps nobody from looking at the rest. */
function orError<T>(read: () => T): T | BackupError {
  try {
    return read()
  } catch (error) {
    if (error instanceof BackupError) return error
    throw error
  }
}

/**
 * Opens the URLs that are given and asks the database who each of them is: a flag may be either. Throws
 * `not_configured`, and `database_unavailable` where one of them can't log in.
 */
async function openLogins(
  flags: ConnectionFlags,
  env: Environment,
): Promise<{ worker: Database | null; admin: Database | null }> {
  const given = flags.dbUrl === undefined ? [env.SUPABASE_DB_URL, env.ADMIN_DB_URL] : [flags.dbUrl]
  const urls = [...new Set(given.filter((url) => url !== undefined))].filter((url) => url !== '')
  if (urls.length === 0) {
    throw new BackupError(
      'not_configured',
      'No database is given. Set SUPABASE_DB_URL (the worker) or ADMIN_DB_URL (the owner), or --db-url.',
    )
  }
  const logins: { worker: Database | null; admin: Database | null } = { worker: null, admin: null }
  const opened: Database[] = []
  try {
    for (const url of urls) {
      requireSessionMode(url)
      const database = connectDatabase({
        url,
        dataSessions: 1,
        applicationName: 'tenantkeep doctor',
      })
      opened.push(database)
      const { rows } = await database.query<{ role: string; isOwner: boolean | null }>(
        `select current_user as role,
           (select pg_has_role(n.nspowner, 'usage') from pg_catalog.pg_namespace n where n.nspname = 'tenantkeep') as "isOwner"`,
      )
      if (rows[0]?.role === 'tenantkeep_worker') logins.worker = database
      else if (rows[0]?.isOwner !== false) logins.admin = database
      else {
        throw new BackupError(
          'not_configured',
          `doctor needs the worker's login or the one that ran init; ${rows[0].role} is neither.`,
        )
      }
    }
    return logins
  } catch (error) {
    await Promise.all(opened.map((database) => database.close()))
    throw error
  }
}

const HEADINGS: readonly [Severity, string][] = [
  ['error', 'Errors: backups fail, or are not safe or whole'],
  ['warning', 'Warnings: somebody has to act'],
  ['notice', 'To know'],
]

function describe({ findings, notChecked }: Diagnosis): CommandResult {
  const count = (severity: Severity) =>
    findings.filter((finding) => finding.severity === severity).length
  const isClean = count('error') === 0 && count('warning') === 0
  const groups = HEADINGS.flatMap(([severity, heading]) => {
    const group = findings.filter((finding) => finding.severity === severity)
    return group.length === 0 ? [] : [heading, ...group.flatMap(describeFinding), '']
  })
  const skipped =
    notChecked.length === 0
      ? []
      : [
          'Not checked',
          ...notChecked.map(({ check, reason }) => `  ${check}: ${printable(reason)}`),
          '',
        ]
  const verdict = isClean
    ? 'Nothing is wrong.'
    : `Errors: ${formatCount(count('error'))}; warnings: ${formatCount(count('warning'))}.`
  return {
    status: isClean ? EXIT.done : EXIT.failed,
    document: {
      findings,
      not_checked: notChecked,
      errors: count('error'),
      warnings: count('warning'),
      notices: count('notice'),
    },
    text: [...groups, ...skipped, verdict].join('\n'),
  }
}

function describeFinding({ code, subject, message, remedy }: Finding): string[] {
  return [
    `  ${printable(subject)}: ${printable(message)} (${code})`,
    ...(remedy === 'none' ? [] : [`      ${printable(remedy)}`]),
  ]
}
