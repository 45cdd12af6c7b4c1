import type { ErrorCode } from '../core/errors.ts'

/** What a command's exit status says; the same for all of them, and part of every help text. */
export const EXIT = {
  done: 0,
  failed: 1,
  couldNotRun: 2,
  answersNeeded: 3,
  refused: 4,
  busy: 5,
} as const

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT]

export const EXIT_HELP = `
Exit status:
  0  done
  1  findings, or it failed on the way
  2  could not run: wrong flags, missing settings, database or store out of reach
  3  answers needed (init has a question, hook left a table off, uninstall, restore or undo had nobody to ask)
  4  refused, because it would not be safe
  5  busy: try again later`

const STATUS_OF: Partial<Record<ErrorCode, ExitStatus>> = {
  invalid_request: EXIT.couldNotRun,
  tenant_not_found: EXIT.couldNotRun,
  backup_not_found: EXIT.couldNotRun,
  run_not_found: EXIT.couldNotRun,
  backup_incomplete: EXIT.couldNotRun,
  restore_not_found: EXIT.couldNotRun,
  archive_unreadable: EXIT.couldNotRun,
  not_configured: EXIT.couldNotRun,
  schema_missing: EXIT.couldNotRun,
  schema_outdated: EXIT.couldNotRun,
  store_unavailable: EXIT.couldNotRun,
  bucket_missing: EXIT.couldNotRun,
  database_unavailable: EXIT.couldNotRun,
  answers_needed: EXIT.answersNeeded,
  not_allowed: EXIT.refused,
  bucket_public: EXIT.refused,
  confinement_broken: EXIT.refused,
  path_refused: EXIT.refused,
  plan_stale: EXIT.refused,
  plan_required: EXIT.refused,
  schema_changed: EXIT.refused,
  restore_blocked: EXIT.refused,
  restore_too_long: EXIT.refused,
  undo_impossible: EXIT.refused,
  seed_conflict: EXIT.refused,
  seed_blocked: EXIT.refused,
  tenant_held: EXIT.refused,
  tenant_forgotten: EXIT.refused,
  prune_unsafe: EXIT.refused,
  row_outside_tenant: EXIT.refused,
  row_changed: EXIT.refused,
  tenant_busy: EXIT.busy,
  tenant_changing: EXIT.busy,
  table_busy: EXIT.busy,
  table_locked: EXIT.busy,
}

/** The exit status for an error; what is not named here failed on the way. */
export function exitStatusOf(code: ErrorCode): ExitStatus {
  return STATUS_OF[code] ?? EXIT.failed
}
