import { type Command, InvalidArgumentError, Option } from 'commander'
import * as z from 'zod'
import { BackupError } from '../core/errors.ts'
import { findRestore } from '../core/restore/restore-record.ts'
import { addPlanFlags, type PlanFlags, restoreWithPlan } from './restore-with-plan.ts'
import { addCommonFlags, type Runner } from './run-command.ts'
import { type ConnectionFlags, withServices } from './settings.ts'

interface UndoFlags extends ConnectionFlags, PlanFlags {
  tenant: string
  restore: string
  everything?: boolean
  onConflict: 'fail' | 'keep' | 'undo'
}

/** `undo`: takes a restore back, or another undo. */
export function registerUndo(program: Command, run: Runner): void {
  addCommonFlags(
    addPlanFlags(
      program
        .command('undo')
        .description('take back what a restore wrote; what people wrote since stays')
        .requiredOption('--tenant <id>', 'whose restore it was')
        .requiredOption(
          '--restore <id>',
          'the restore, as its answer and the history name it',
          toId,
        )
        .option('--everything', 'back to the safety backup as a whole, changes since included')
        .addOption(
          new Option('--on-conflict <what>', 'rows that somebody changed since the restore')
            .choices(['fail', 'keep', 'undo'])
            .default('fail'),
        ),
    )
      .option('--db-url <url>', "the worker's database URL (SUPABASE_DB_URL)")
      .option('--store <url>', 'where backups live (BACKUP_STORE)'),
  ).action(
    run<UndoFlags>((context, flags) =>
      withServices(flags, context.env, async (services) => {
        const restore = await findRestore(services.tenants.catalog, flags.restore)
        if (restore === undefined || restore.organizationId !== flags.tenant) {
          throw new BackupError(
            'restore_not_found',
            `There is no restore ${flags.restore} of this tenant.`,
          )
        }
        const { organizationId: id, organizationName: name, createdAt } = restore
        return restoreWithPlan(services, context, {
          tenant: { id, name },
          task: {
            kind: 'undo',
            restore_id: flags.restore,
            everything: flags.everything === true,
            on_conflict: flags.onConflict,
            dry_run: flags.dryRun === true,
            plan_hash: flags.planHash ?? null,
            note: flags.note ?? null,
            samples: flags.samples,
          },
          question: `This takes back the restore of ${name ?? id} of ${createdAt.slice(0, 16).replace('T', ' ')} UTC, as shown above.`,
          isConfirmed: flags.yes === true,
        })
      }),
    ),
  )
}

function toId(text: string): string {
  const id = text.toLowerCase()
  if (!z.guid().safeParse(id).success) throw new InvalidArgumentError('It must be a restore’s id.')
  return id
}
