import type { Command } from 'commander'
import { findOrphans, removeOrphans } from '../core/retention/find-orphans.ts'
import { type PrunePreview, previewPrune } from '../core/retention/preview-prune.ts'
import { type PruneReport, pruneBackups } from '../core/retention/prune-backups.ts'
import type { Actor, Services } from '../core/services.ts'
import { askForWord } from './ask-word.ts'
import { EXIT } from './exit-status.ts'
import { formatBytes, formatCount, printable } from './format-text.ts'
import {
  addCommonFlags,
  type CommandContext,
  type CommandResult,
  type Runner,
} from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface PruneFlags extends ConnectionFlags {
  tenant?: string
  dryRun?: boolean
  orphans?: boolean
  yes?: boolean
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }
/** There is nobody who hangs up. */
const WITHOUT_END = new Date(8.64e15)

/** `prune`: removes the backups that the retention policies let go, after showing which. */
export function registerPrune(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('prune')
      .description('remove the backups that no retention rule keeps')
      .option('--tenant <id>', 'of one tenant only')
      .option('--dry-run', 'say what would go, and what is kept why; change nothing')
      .option(
        '--orphans',
        'remove objects that no backup names instead (doctor --orphans lists them)',
      )
      .option('--yes', 'don’t ask')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<PruneFlags>(({ env, progress, signal }, flags) =>
      withServices(flags, env, async (services) => {
        const tenant = flags.tenant === undefined ? {} : { tenantId: flags.tenant }
        if (flags.orphans === true) return pruneOrphans(services, flags, { progress, signal })
        const preview = await previewPrune(services, { ...tenant, signal })
        const lines = describePreview(preview)
        if (flags.dryRun === true) {
          return {
            document: { dry_run: true, ...preview },
            text: lines.join('\n'),
            status: preview.totals.problems > 0 ? EXIT.failed : EXIT.done,
          }
        }
        if (flags.yes !== true && preview.totals.expired > 0) {
          for (const line of lines) progress.say(line)
          await askForWord(QUESTION, 'prune', signal)
        }
        const report = await pruneBackups(services, {
          ...tenant,
          actor: ACTOR,
          runId: null,
          until: WITHOUT_END,
          signal,
          planHash: preview.plan_hash,
        })
        progress.end()
        return describeReport(report, preview)
      }),
    ),
  )
}

/** Looks, asks, removes what is still orphaned then. */
async function pruneOrphans(
  services: Services,
  flags: PruneFlags,
  { progress, signal }: Pick<CommandContext, 'progress' | 'signal'>,
): Promise<CommandResult> {
  const { catalog } = services.tenants
  const tenant = flags.tenant === undefined ? {} : { tenantId: flags.tenant }
  const { orphans, unclear } = await findOrphans({ ...services, catalog }, tenant)
  const lines = [
    ...orphans.map(
      ({ store, tenantId, paths, bytes }) =>
        `${printable(tenantId)}: ${formatCount(paths.length)} objects in ${printable(store)} that no backup names, ${formatBytes(bytes)}`,
    ),
    ...unclear.map(
      ({ folder, reason }) => `${printable(folder)}: left alone. ${printable(reason)}`,
    ),
  ]
  if (flags.dryRun === true || orphans.length === 0) {
    const text = orphans.length === 0 ? [...lines, 'No object is without a backup.'] : lines
    return { document: { dry_run: true, orphans, unclear }, text: text.join('\n') }
  }
  if (flags.yes !== true) {
    for (const line of lines) progress.say(line)
    await askForWord('The objects above are removed, for good.', 'prune', signal)
  }
  const removed = await removeOrphans(services, { ...tenant, actor: ACTOR })
  return {
    document: { dry_run: false, ...removed },
    text: `${formatCount(removed.objects)} objects removed, ${formatBytes(removed.bytes)}.`,
    status: removed.busy.length > 0 ? EXIT.busy : EXIT.done,
  }
}

const QUESTION = 'The backups above are removed from catalog and store, for good.'

function describePreview({ tenants, totals }: PrunePreview): string[] {
  const lines = tenants.flatMap((tenant) => {
    const title = printable(tenant.organization_name ?? tenant.organization_id)
    const reasons = Object.entries(tenant.kept_by_reason)
      .map(([code, count]) => `${code} ${formatCount(count)}`)
      .join(', ')
    const describe = (what: string, backups: typeof tenant.expired) =>
      backups.map(
        ({ backup_id, backup_type, taken_at, reasons: why }) =>
          `    ${what} ${backup_id} ${taken_at.slice(0, 16).replace('T', ' ')} ${backup_type}: ${printable(why.map(({ message }) => message).join(' '))}`,
      )
    return [
      `${title}: ${formatCount(tenant.expired_count)} go, ${formatCount(tenant.kept_count)} stay${reasons === '' ? '' : ` (${reasons})`}`,
      ...(tenant.problem === null ? [] : [`    ${printable(tenant.problem.message)}`]),
      ...describe('goes ', tenant.expired),
      ...describe('stays', tenant.kept ?? []),
    ]
  })
  return [
    ...lines,
    `${formatCount(totals.expired)} backups of ${formatCount(totals.tenants)} tenants would go: ${formatCount(totals.objects)} objects, ${formatBytes(totals.bytes)}. ${formatCount(totals.kept)} stay.`,
  ]
}

function describeReport(
  { details, left, failed }: PruneReport,
  { tenants }: PrunePreview,
): CommandResult {
  const names = new Map(tenants.map((it) => [it.organization_id, it.organization_name]))
  const { pruned, busy, problems, ...sums } = details
  const lines = pruned.flatMap((tenant) => [
    `${printable(names.get(tenant.organization_id) ?? tenant.organization_id)}: ${formatCount(tenant.expired)} backups removed, ${formatCount(tenant.objects)} objects, ${formatBytes(tenant.bytes)}`,
    ...tenant.locked.map(
      ({ store, objects, until }) =>
        `    ${formatCount(objects)} objects are locked in ${printable(store)} ${until === null ? 'without an end' : `until ${until}`}; they go then.`,
    ),
    ...tenant.elsewhere.map(
      ({ store, objects }) =>
        `    ${formatCount(objects)} objects are in ${printable(store)}, which is not set up here.`,
    ),
  ])
  for (const { organization_id, code, message } of [...problems, ...details.failed]) {
    lines.push(`${printable(organization_id)}: ${printable(message)} (${code})`)
  }
  for (const id of busy) lines.push(`${printable(id)}: busy, left for the next time`)
  lines.push(
    `${formatCount(sums.backups)} backups removed: ${formatCount(sums.objects)} objects, ${formatBytes(sums.bytes)}.`,
  )
  return {
    document: { dry_run: false, tenants_left: left, tenants_failed: failed, ...details },
    text: lines.join('\n'),
    status: failed + problems.length > 0 ? EXIT.failed : busy.length > 0 ? EXIT.busy : EXIT.done,
  }
}
