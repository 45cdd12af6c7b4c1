import type { Command } from 'commander'
import {
  LOST_WITH_THE_CATALOG,
  type RebuildReport,
  rebuildCatalog,
} from '../core/backup/rebuild-catalog.ts'
import type { Actor } from '../core/services.ts'
import { EXIT } from './exit-status.ts'
import { formatCount, printable } from './format-text.ts'
import { addCommonFlags, type CommandResult, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface RebuildFlags extends ConnectionFlags {
  tenant?: string
  dryRun?: boolean
}

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

/** `rebuild-catalog`: takes into the catalog what only the stores know. */
export function registerRebuildCatalog(program: Command, run: Runner): void {
  addCommonFlags(
    program
      .command('rebuild-catalog')
      .description('after the loss of the database: make the catalog anew from the summaries')
      .option('--tenant <id>', 'only this tenant’s backups')
      .option('--dry-run', 'say what would be taken in; change nothing')
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<RebuildFlags>(({ env, progress, signal }, flags) =>
      withServices(flags, env, async (services) => {
        const isDryRun = flags.dryRun === true
        const report = await rebuildCatalog(services, {
          actor: ACTOR,
          isDryRun,
          tenantId: flags.tenant,
          signal,
          onProgress: ({ done, total }) =>
            progress.update({ group: 'rebuild', name: 'summaries', done, total, unit: 'read' }),
        })
        return describe(report, isDryRun)
      }),
    ),
  )
}

function describe(report: RebuildReport, isDryRun: boolean): CommandResult {
  const { rebuilt, restores, known, forgotten, refused, closed } = report
  const tenants = new Set(rebuilt.map(({ organizationId }) => organizationId)).size
  const lines = [
    `${isDryRun ? 'Would take in' : 'Took in'} ${formatCount(rebuilt.length)} backups of ${formatCount(tenants)} tenants, and ${formatCount(restores)} restores that can be undone.`,
    `${formatCount(known)} were known already. ${formatCount(forgotten)} are of forgotten tenants and stay out.`,
    ...refused.map(
      ({ store, path, message, code }) =>
        `NOT taken in: ${printable(`${store}: ${path}`)}. ${printable(message)} (${code})`,
    ),
    ...closed.map(
      ({ store, message, code }) =>
        `NOT looked at: ${printable(store)}. ${printable(message)} (${code})`,
    ),
    ...(rebuilt.length === 0
      ? []
      : ['Lost with the catalog:', ...LOST_WITH_THE_CATALOG.map((it) => `    ${it}`)]),
  ]
  return {
    status: refused.length + closed.length > 0 ? EXIT.failed : EXIT.done,
    document: {
      dry_run: isDryRun,
      rebuilt: rebuilt.map(({ backupId, organizationId, takenAt, store }) => ({
        backup_id: backupId,
        organization_id: organizationId,
        taken_at: takenAt,
        store,
      })),
      restores,
      known,
      forgotten,
      refused,
      not_looked_at: closed,
      lost: rebuilt.length === 0 ? [] : LOST_WITH_THE_CATALOG,
    },
    text: lines.join('\n'),
  }
}
