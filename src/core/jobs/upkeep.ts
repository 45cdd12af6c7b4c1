import type { Actor } from '../services.ts'

/** What keeps the backups in order night after night, in the order in which it is begun. */
export const UPKEEP_TASKS = ['prune', 'verify', 'copy', 'drill'] as const
export type UpkeepTask = (typeof UPKEEP_TASKS)[number]

/**
 * What a task is told. What is due it works out from the database each time, so that it can be called at
 * any moment, twice at once, or after a death, without doing anything twice.
 */
export interface UpkeepInput {
  actor: Actor
  /** The run that it belongs to, for the journal. */
  runId: string
  /** Nothing new is begun after it. */
  until: Date
  /** One tenant only; of a drill that was asked for. */
  tenantId?: string
  /** Ends the work: this process is about to end, or the task belongs to another now. */
  signal?: AbortSignal
  /** How it stands, for `get-run`; at most one a second is kept. */
  tell?: (progress: object) => void
}

export interface UpkeepReport {
  /** Items done, failed, and still due, one being whatever the task counts in; none counts twice. */
  done: number
  failed: number
  left: number
  /** Items failed that are not due again, so that the turn got further although nothing was done. */
  hasSettledFailures?: boolean
  /**
   * Counts and ids for the run's result and the answer; JSON. Where a run takes several turns, numbers of
   * the same name add up, lists are joined, and of anything else the last turn's stays.
   */
  details: Record<string, unknown>
}
