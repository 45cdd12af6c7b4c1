import * as z from 'zod'

/**
 * What a restore does where there is a choice. Every default is the safe one: the exact state of the backup,
 * and a refusal wherever that would cost something that the request did not name.
 */
export const RestoreOptions = z.strictObject({
  /** Labels of tables; null for all. */
  tables: z.array(z.string().min(1)).min(1).nullable().default(null),
  /** Keys of rows by table label, each an object of the primary key's columns; null for all rows. */
  rows: z
    .record(z.string(), z.array(z.record(z.string(), z.string())).min(1))
    .refine((tables) => Object.keys(tables).length > 0, 'names no table')
    .nullable()
    .default(null),
  /** Rows that the backup has and the tenant has no more. */
  missing: z.enum(['restore', 'keep']).default('restore'),
  /** Rows that differ. */
  changed: z.enum(['restore', 'keep']).default('restore'),
  /** Rows that the backup does not have: `restore` removes them. */
  newer: z.enum(['restore', 'keep']).default('restore'),
  /** The same for tables marked as history, whose newer rows are the trail of what happened. */
  history: z.enum(['keep', 'restore']).default('keep'),
  /** A row points at a user (`auth.users`) that is gone. */
  on_missing_user: z.enum(['fail', 'skip', 'null']).default('fail'),
  /** A row points at another row that is neither there nor restored; `restore` takes it from the backup along. */
  on_missing_reference: z.enum(['fail', 'skip', 'null', 'restore']).default('fail'),
  /** A key or unique value is held by another's row, or by a row that stays. */
  on_taken: z.enum(['fail', 'skip', 'keep_live']).default('fail'),
  /** A newer row that should go is referred to by rows that stay. */
  on_referenced: z.enum(['fail', 'keep']).default('fail'),
  /** Rows may come back that give somebody access. */
  accept_access_changes: z.boolean().default(false),
  /** Changes of the schema since the backup that may lose something, by the names that the plan gives them. */
  accept_schema_changes: z.array(z.string()).default([]),
  /** `enable always` triggers and rules act while rows are written. */
  accept_side_effects: z.boolean().default(false),
})
export type RestoreOptions = z.infer<typeof RestoreOptions>

/** The default of every choice: the whole tenant, exactly as it was. */
export const DEFAULT_OPTIONS: RestoreOptions = RestoreOptions.parse({})
