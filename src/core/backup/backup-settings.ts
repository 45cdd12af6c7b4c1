import * as z from 'zod'
import type { Queryable } from '../database/database.ts'
import { readSettings } from '../database/read-settings.ts'

const BackupSettings = z.object({
  gzip_level: z.int().min(1).max(9).default(1),
  /** A row larger than this, as JSON, is refused: it has to pass through memory as a whole. */
  max_row_bytes: z
    .int()
    .min(1024)
    .max(1024 ** 3)
    .default(256 * 1024 * 1024),
  /** How long a backup waits for a table that somebody rewrites or truncates. */
  lock_timeout_ms: z.int().min(1).max(600_000).default(15_000),
})
export type BackupSettings = z.infer<typeof BackupSettings>

/** Reads the settings of taking backups. Throws `not_configured` for a value that makes no sense. */
export function readBackupSettings(database: Queryable): Promise<BackupSettings> {
  return readSettings(database, BackupSettings)
}
