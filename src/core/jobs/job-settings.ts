import { z } from 'zod'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'

const JobSettings = z.object({
  /** Backups at the same time in one database, over all processes. */
  max_concurrent_backups: z.number().int().min(1).max(100).default(4),
  /** How long the daily call works by itself before it hands over, in seconds from its start. */
  time_budget_seconds: z.number().min(0).max(55).default(20),
})
export type JobSettings = z.infer<typeof JobSettings>

/** Reads the settings of the job machinery. Throws `not_configured` for a value that makes no sense. */
export async function readJobSettings(database: Queryable): Promise<JobSettings> {
  const { rows } = await database.query<{ settings: unknown }>(
    `select coalesce(jsonb_object_agg(key, value), '{}') as settings from tenantkeep.settings
     where key in ('max_concurrent_backups', 'time_budget_seconds')`,
  )
  const parsed = JobSettings.safeParse(rows[0]?.settings ?? {})
  if (parsed.success) return parsed.data
  const names = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
  throw new BackupError(
    'not_configured',
    `The setting ${names} in tenantkeep.settings has a value that can't be used. docs/operations.md lists what it may be.`,
  )
}
