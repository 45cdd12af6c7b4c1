import * as z from 'zod'
import { RestoreOptions } from '../restore/restore-options.ts'

const common = {
  dry_run: z.boolean(),
  /** Of the dry run that was approved. */
  plan_hash: z.string().nullable(),
  note: z.string().nullable(),
  /** Rows to show per table; a dry run's only. */
  samples: z.number().int(),
}

const RestoreTask = z.strictObject({
  kind: z.literal('restore'),
  /** Null where the backup comes from a file. */
  backup_id: z.uuid().nullable(),
  /** What the file says it is; null for a backup of the catalog. */
  file: z.string().nullable(),
  options: RestoreOptions,
  ...common,
})

const UndoTask = z.strictObject({
  kind: z.literal('undo'),
  /** The journal's id of the restore. */
  restore_id: z.uuid(),
  everything: z.boolean(),
  on_conflict: z.enum(['fail', 'keep', 'undo']),
  ...common,
})

/** What a run of a restore or an undo was asked for, as its row keeps it: enough to do it in another process. */
export const RunTask = z.discriminatedUnion('kind', [RestoreTask, UndoTask])
export type RunTask = z.infer<typeof RunTask>

/** The parts of a task that don't change what it would do; two tasks equal without them have one plan. */
export const BESIDE_THE_PLAN = ['dry_run', 'plan_hash', 'note', 'samples']
