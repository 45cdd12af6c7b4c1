import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { readSettings } from '../database/read-settings.ts'

const hours = z.number().positive().max(8_760)
const share = z.number().gt(0).max(1)

const MonitorSettings = z.strictObject({
  /** How old the newest backup of an active tenant may be. */
  max_age_hours: hours.default(25),
  /** An alarm where all rows together fell by more than this share of what is usual. */
  shrink_share: share.default(0.3),
  /** An alarm where the rows of one table fell by more than this share of what is usual. */
  table_shrink_share: share.default(0.5),
  /** Tenants with fewer rows than this are not judged by `shrink_share`. */
  shrink_min_rows: z.int().min(1).default(100),
  /** Tables with fewer rows than this are not judged by `table_shrink_share`. */
  table_shrink_min_rows: z.int().min(1).default(20),
  drill_max_age_days: z.number().positive().max(3_650).default(7),
  /** How long a due job may wait while nobody works on any. */
  queue_stuck_minutes: z.number().positive().max(10_080).default(60),
  /** How long a run may be open. */
  run_max_hours: hours.default(12),
  /** How long after its completion a backup must be in the second place. */
  copy_max_age_hours: hours.default(25),
  reminder_hours: hours.default(24),
  /** How many tenants have metrics of their own, those that need somebody first. */
  metrics_tenants: z.int().min(0).max(1_000).default(100),
})
export type MonitorSettings = z.infer<typeof MonitorSettings>

/** Reads the setting `monitor`. Throws `not_configured` for a value that makes no sense. */
export async function readMonitorSettings(database: Queryable): Promise<MonitorSettings> {
  const { monitor } = await readSettings(
    database,
    z.object({ monitor: MonitorSettings.prefault({}) }),
  )
  return monitor
}
