import { type Command, Option } from 'commander'
import { takeBackup } from '../core/backup/take-backup.ts'
import { BackupError } from '../core/errors.ts'
import type { Actor, Services } from '../core/services.ts'
import { listTenants, type Tenant } from '../core/tenants/list-tenants.ts'
import { backupDocument, describeConcerns, describeSize } from './describe-backup.ts'
import { EXIT, type ExitStatus, exitStatusOf } from './exit-status.ts'
import { printable } from './format-text.ts'
import type { Progress } from './progress.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  collect,
  type Runner,
  readError,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface BackupFlags extends ConnectionFlags {
  tenant?: string[]
  all?: boolean
  daily?: boolean
  note?: string
  tag?: string[]
}

interface Outcome {
  document: Record<string, unknown>
  lines: string[]
  status: ExitStatus
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

/** `backup`: backs up the tenants that are named, or all of them, one after the other. */
export function registerBackup(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('backup')
      .description('back up one tenant, several or all')
      .option('--tenant <id>', 'a tenant (repeatable)', collect)
      .addOption(new Option('--all', 'every active tenant').conflicts('tenant'))
      .option('--daily', 'the backup of the day: a tenant that has it is passed over')
      .option('--note <text>', 'why this backup was taken')
      .option('--tag <word>', 'a word to find it by (repeatable)', collect)
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<BackupFlags>((context, flags) => {
      if (flags.all !== true && flags.tenant === undefined) {
        throw new BackupError(
          'invalid_request',
          'Say whom to back up: --tenant ID (as often as you like) or --all.',
        )
      }
      return withServices(flags, context.env, (services) => backUp(services, context, flags))
    }),
  )
}

async function backUp(
  services: Services,
  context: CommandContext,
  flags: BackupFlags,
): Promise<CommandResult> {
  // Once for all of them, instead of a failed row for every tenant.
  await services.store.check()
  const tenants = await chooseTenants(services, flags)
  const outcomes: Outcome[] = []
  for (const tenant of tenants) {
    if (context.signal.aborted) break
    outcomes.push(await backUpTenant(services, tenant, context, flags))
  }
  const left = tenants.length - outcomes.length
  const statuses = outcomes.map(({ status }) => status).filter((status) => status !== EXIT.done)
  return {
    status: left > 0 ? EXIT.failed : worst(statuses),
    document: {
      backups: outcomes.map(({ document }) => document),
      ...(left > 0 ? { tenants_not_reached: left } : {}),
    },
    text: [
      ...outcomes.flatMap(({ lines }) => lines),
      ...(left > 0 ? [`Stopped: ${left} tenants were not reached.`] : []),
    ].join('\n'),
  }
}

/** Several failures of one kind keep their status; different ones are simply failures. */
function worst(statuses: readonly ExitStatus[]): ExitStatus {
  const [first = EXIT.done] = statuses
  return statuses.every((status) => status === first) ? first : EXIT.failed
}

async function chooseTenants(services: Services, flags: BackupFlags): Promise<Tenant[]> {
  const all = await listTenants(services.tenants.catalog)
  if (flags.all === true) return all
  return [...new Set(flags.tenant)].map((id) => {
    const tenant = all.find((known) => known.id === id)
    if (tenant === undefined) {
      throw new BackupError('tenant_not_found', `There is no tenant ${id}. Nothing was backed up.`)
    }
    // Who names a tenant means it, even one that the nightly run passes over.
    return { ...tenant, skipReason: null }
  })
}

async function backUpTenant(
  services: Services,
  tenant: Tenant,
  { progress, signal }: CommandContext,
  flags: BackupFlags,
): Promise<Outcome> {
  const who = { organization_id: tenant.id, organization_name: tenant.name }
  const title = tenant.name === null ? tenant.id : `${tenant.name} (${tenant.id})`
  if (tenant.skipReason !== null) {
    const document = { ...who, status: 'skipped', reason: tenant.skipReason }
    return {
      document,
      lines: [`${printable(title)}: skipped. ${printable(tenant.skipReason)}`],
      status: EXIT.done,
    }
  }
  progress.say(title)
  try {
    const { status, backup } = await takeBackup(services, {
      tenantId: tenant.id,
      backupType: flags.daily === true ? 'daily_tenant' : 'manual',
      actor: ACTOR,
      note: flags.note ?? null,
      tags: flags.tag ?? [],
      onProgress: showTables(progress, title),
      signal,
    })
    progress.end()
    const what = status === 'skipped' ? 'today’s backup is there already' : 'backed up'
    return {
      document: { ...backupDocument(backup), was_complete: status === 'skipped' },
      lines: [
        `${printable(title)}: ${what}, ${backup.id}. ${describeSize(backup)}.`,
        ...describeConcerns(backup).map((concern) => `    ${printable(concern)}`),
      ],
      status: EXIT.done,
    }
  } catch (error) {
    progress.end()
    const told = readError(error)
    return {
      document: { ...who, status: 'failed', error: told },
      lines: [`${printable(title)}: FAILED. ${printable(told.message)} (${told.code})`],
      status: exitStatusOf(told.code),
    }
  }
}

function showTables(progress: Progress, group: string) {
  return (step: { table: string | null; rowsDone: number; rowsTotal: number }) => {
    if (step.table === null) return
    const { table: name, rowsDone: done, rowsTotal: total } = step
    progress.update({ group, name, done, total, unit: 'rows' })
  }
}
