import { type Command, InvalidArgumentError } from 'commander'
import { BackupError } from '../core/errors.ts'
import { reportRestore } from '../core/jobs/report-restore.ts'
import { restoreCommand } from '../core/jobs/restore-command.ts'
import type { RestoreRun } from '../core/jobs/restore-run.ts'
import type { RunTask } from '../core/jobs/restore-task.ts'
import { type RestoreCall, runRestore } from '../core/jobs/run-restore.ts'
import type { RestoreResult } from '../core/restore/restore-result.ts'
import type { Actor, Services } from '../core/services.ts'
import { askForWord } from './ask-word.ts'
import { changesNothing, describeRestore, showSteps } from './describe-restore.ts'
import { EXIT } from './exit-status.ts'
import { printable } from './format-text.ts'
import type { CommandContext, CommandResult } from './run-command.ts'

const ACTOR: Actor = { kind: 'operator', id: null, label: 'command line' }

export interface PlannedRestore {
  tenant: { id: string; name: string | null }
  task: RunTask
  source?: RestoreCall['source']
  /** What is about to happen, for the person who has to confirm it. */
  question: string
  /** `--yes` */
  isConfirmed: boolean
}

/**
 * Rehearses, shows the plan, and unless only that was asked for has it confirmed and does it, exactly as
 * shown. Throws `restore_blocked`, `plan_stale`, `answers_needed`, `not_allowed` before anything is written.
 */
export async function restoreWithPlan(
  services: Services,
  context: CommandContext,
  planned: PlannedRestore,
): Promise<CommandResult> {
  const { task, tenant, source } = planned
  const run = async (changes: Partial<Pick<RunTask, 'dry_run' | 'plan_hash' | 'samples'>>) => {
    const done = await runRestore(services, {
      actor: ACTOR,
      tenantId: tenant.id,
      tenantName: tenant.name,
      task: { ...task, ...changes },
      needsPlan: true,
      time: null,
      source,
      onProgress: showSteps(context.progress, tenant.name ?? tenant.id),
      signal: context.signal,
    })
    context.progress.end()
    return { run: done, result: resultOf(done) }
  }

  const rehearsal = await run({ dry_run: true, plan_hash: null })
  const { result } = rehearsal
  if (task.dry_run) return tell(rehearsal.run, result)
  if (task.plan_hash !== null && task.plan_hash !== result.planHash) {
    throw new BackupError(
      'plan_stale',
      'The restore would not do what the plan of this hash said. Look at the new plan with --dry-run.',
    )
  }
  if (result.blockers.length > 0) {
    return { ...tell(rehearsal.run, result), status: EXIT.refused }
  }
  if (changesNothing(result)) {
    const told = tell(rehearsal.run, result)
    return { ...told, text: `${told.text}\nThere is nothing to do, and nothing was done.` }
  }
  for (const line of describeRestore(rehearsal.run, result)) context.progress.say(line)
  if (!planned.isConfirmed) {
    await askForWord(planned.question, printable(tenant.name ?? tenant.id), context.signal)
  }
  const done = await run({ dry_run: false, plan_hash: result.planHash, samples: 0 })
  return tell(done.run, done.result)
}

function resultOf(run: RestoreRun): RestoreResult {
  if (run.result !== null) return run.result
  // Somebody else settled this very run meanwhile.
  throw new BackupError(run.error?.code ?? 'internal', run.error?.message ?? 'It has no result.')
}

function tell(run: RestoreRun, result: RestoreResult): CommandResult {
  const { success: _, ...document } = reportRestore(run, null)
  const undo =
    result.restoreId === null ? undefined : restoreCommand(run.tenantId, undoOf(result.restoreId))
  return {
    status: result.blockers.length > 0 ? EXIT.failed : EXIT.done,
    document: { ...document, ...(undo === undefined ? {} : { undo_command: undo }) },
    text: [
      ...describeRestore(run, result),
      ...(result.safetyBackupId === null
        ? []
        : [`The organization as it was before: backup ${result.safetyBackupId}.`]),
      ...(undo === undefined ? [] : [`To take it back: ${undo}`]),
    ]
      .map(printable)
      .join('\n'),
  }
}

function undoOf(restoreId: string): RunTask {
  return {
    kind: 'undo',
    restore_id: restoreId,
    everything: false,
    on_conflict: 'fail',
    dry_run: false,
    plan_hash: null,
    note: null,
    samples: 0,
  }
}

/** What all commands that show a plan and carry it out are told of it. */
export interface PlanFlags {
  dryRun?: boolean
  samples: number
  planHash?: string
  note?: string
  yes?: boolean
}

/** The flags of `PlanFlags`. */
export function addPlanFlags(command: Command): Command {
  return command
    .option('--dry-run', 'show the plan and change nothing')
    .option('--samples <n>', 'with --dry-run: so many differing rows per table', toCount, 0)
    .option('--plan-hash <hash>', 'only if the plan is this one')
    .option('--note <text>', 'why, for the history')
    .option('--yes', 'don’t ask')
}

function toCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 0 || count > 100) {
    throw new InvalidArgumentError('It must be a whole number from 0 to 100.')
  }
  return count
}
