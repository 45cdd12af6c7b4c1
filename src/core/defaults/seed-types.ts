/** What a seeding is asked for and what it answers; docs/defaults.md has the words. */
import * as z from 'zod'
import type { BackupWarning } from '../backup/backup-record.ts'
import type { RowSample } from '../restore/restore-result.ts'

/**
 * How a row of the template stands with a tenant, by the memory of earlier seedings:
 *
 *   new                the tenant never had it
 *   unchanged          neither side changed since
 *   update             the template changed, the copy did not
 *   edited             the tenant changed its copy, the template is as it was
 *   both_changed       both changed
 *   deleted            the tenant deleted its copy
 *   natural_key_taken  the tenant has a row of its own with the same unique value
 *   declined           it had one, and that was to be kept in place of the copy
 *   skipped            not copied, because a row that it refers to is not
 */
type SeedCase =
  | 'new'
  | 'unchanged'
  | 'update'
  | 'edited'
  | 'both_changed'
  | 'deleted'
  | 'natural_key_taken'
  | 'declined'
  | 'skipped'

const POSSIBLE_DECISIONS: Record<DecidedCase, readonly string[]> = {
  edited: ['keep', 'overwrite'],
  both_changed: ['keep', 'overwrite'],
  deleted: ['keep', 'recreate'],
  natural_key_taken: ['keep', 'adopt', 'overwrite'],
}
type DecidedCase = 'edited' | 'both_changed' | 'deleted' | 'natural_key_taken'

/**
 * What to do with one row, all such rows of a table (`key` null), or all such rows (`table` null). The nearest
 * counts. `keep` leaves the tenant's row as it is, `overwrite` writes the template's values over it, `adopt`
 * takes the tenant's own row for the copy without changing it, `recreate` brings back a deleted copy.
 */
export const SeedDecision = z
  .strictObject({
    case: z.enum(['edited', 'both_changed', 'deleted', 'natural_key_taken']),
    table: z.string().min(1).nullable().default(null),
    /** The primary key of the template's row, by column. */
    key: z.record(z.string(), z.string()).nullable().default(null),
    decision: z.enum(['keep', 'overwrite', 'adopt', 'recreate']),
  })
  .refine(({ key, table }) => key === null || table !== null, 'a key needs its table')
  .refine(
    (decision) => POSSIBLE_DECISIONS[decision.case].includes(decision.decision),
    'this decision does not fit this case',
  )
export type SeedDecision = z.infer<typeof SeedDecision>

/** What changes the plan. All of it is in the plan's hash. */
export const SeedOptions = z.strictObject({
  /** Labels of tables; null for all that are marked as seeded. */
  tables: z.array(z.string().min(1)).min(1).nullable().default(null),
  /** Keys of the template's rows by table label, each an object of the primary key's columns; null for all. */
  rows: z
    .record(z.string(), z.array(z.record(z.string(), z.string())).min(1))
    .refine((tables) => Object.keys(tables).length > 0, 'names no table')
    .nullable()
    .default(null),
  /** Rows to insert beside the template's, by table label; columns that are left out get their default. */
  manual_rows: z
    .record(
      z.string(),
      z
        .array(z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])))
        .min(1),
    )
    .nullable()
    .default(null),
  /**
   * `missing` adds rows that the tenant never had; `update` also brings copies up to date that the tenant left
   * alone; `overwrite` also those that the tenant changed.
   */
  mode: z.enum(['missing', 'update', 'overwrite']).default('missing'),
  decisions: z.array(SeedDecision).default([]),
})
export type SeedOptions = z.infer<typeof SeedOptions>

export interface SeedProgress {
  phase:
    | 'locking'
    | 'reading_template'
    | 'safety_backup'
    | 'planning'
    | 'writing'
    | 'proving'
    | 'finishing'
  /** Null where the phase is about no single table. */
  table: string | null
  rowsDone: number
  rowsTotal: number
}

export interface SeedTableResult {
  /** The table's label. */
  name: string
  /** Rows of the template that the request is about. */
  rowsInTemplate: number
  /** Rows written. */
  inserted: number
  updated: number
  /** The tenant's own rows that count as copies from now on, unchanged. */
  adopted: number
  /** The template's rows by how they stand with the tenant; cases without a row are left out. */
  cases: Partial<Record<SeedCase, number>>
  /** Copies whose template row is gone; they stay. */
  withdrawn: number
  /** Rows of the request. */
  manual: number
  warnings: string[]
  /** Rows that are written, for people to look at; `before` is the tenant's, `after` what it gets. */
  samples: RowSample[]
}

/** A row that nobody decided about; nothing is written while there is one. */
export interface SeedConflict {
  table: string
  case: 'both_changed' | 'natural_key_taken'
  /** Texts of the key of the template's row, and what decisions take: the same by column. */
  key: string[]
  keyColumns: Record<string, string>
  /** Texts of the key of the tenant's row. */
  tenantKey: string[]
  /** What people know the template's row by; null where the registry names nothing. */
  label: string | null
  /** The unique constraint or index; null where none is concerned. */
  constraint: string | null
  /** Columns in which the tenant's row and the template's differ, as the copy would be. Masked ones have no values. */
  columns: { name: string; tenant: string | null; template: string | null; isMasked: boolean }[]
}

/** Why a seeding can't be done as asked, other than for want of a decision. A dry run names all. */
export interface SeedBlocker {
  code: /** A row refers to a row of the template that is not copied. */
    | 'seed_reference_missing'
    /** A unique value of the template's row can't be had twice: nothing in it is the tenant's or made anew. */
    | 'seed_key_shared'
    /** Another tenant's row, or nobody's, has the unique value. */
    | 'key_taken'
    /** The table has no primary key, so its copies could not be remembered. */
    | 'seed_key_missing'
    /** Tables that refer to each other in a circle that no order of writing satisfies. */
    | 'seed_order_impossible'
    /** The database refused rows: a constraint, or a trigger. */
    | 'row_refused'
    /** A row given in the request: see `badRows`. */
    | 'bad_manual_row'
  table: string
  /** The constraint, index or trigger it is about. */
  constraint: string | null
  count: number
  /** Keys of rows of the template, at most twenty. */
  keys: string[][]
  message: string
}

/** One row of the request that can't be inserted, and why. */
export interface BadRow {
  table: string
  /** From 0, in the request's list for this table. */
  index: number
  /** Null where the reason is about no single column. */
  column: string | null
  /** In words; never the value. */
  reason: string
}

export interface SeedResult {
  isDryRun: boolean
  tenantId: string
  templateId: string
  /** Of the journal row. Where there is a safety backup, `undo-restore` takes it as `restore_id`. Null for a dry run. */
  seedId: string | null
  /** Null where nothing of the tenant's is overwritten. */
  safetyBackupId: string | null
  /** Covers keys, contents on both sides, and the options. */
  planHash: string
  tables: SeedTableResult[]
  /** Of a dry run; a real one throws `seed_conflict` instead, with the same as `details.conflicts`. */
  conflicts: SeedConflict[]
  /** How many there are; at most 500 are listed. */
  conflictCount: number
  /** Of a dry run; a real one throws `seed_blocked` instead, with `details.blockers`. */
  blockers: SeedBlocker[]
  /** Of a dry run; a real one throws `seed_blocked` instead, with `details.bad_rows`. */
  badRows: BadRow[]
  warnings: BackupWarning[]
  /** How often the tenant was looked at before nobody wrote in between. */
  looks: number
}
