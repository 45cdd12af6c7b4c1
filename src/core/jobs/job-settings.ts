import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { readSettings } from '../database/read-settings.ts'

const JobSettings = z.object({
  /** Backups at the same time in one database, over all processes. */
  max_concurrent_backups: z.number().int().min(1).max(100).default(4),
  /** How long the daily call works by itself before it hands over, in seconds from its start. */
  time_budget_seconds: z.number().min(0).max(55).default(20),
})
export type JobSettings = z.infer<typeof JobSettings>

/** Reads the settings of the job machinery. Throws `not_configured` for a value that makes no sense. */
export function readJobSettings(database: Queryable): Promise<JobSettings> {
  return readSettings(database, JobSettings)
}
