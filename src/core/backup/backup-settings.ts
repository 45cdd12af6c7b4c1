import { z } from 'zod'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'

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
export async function readBackupSettings(database: Queryable): Promise<BackupSettings> {
  const { rows } = await database.query<{ settings: unknown }>(
    `select coalesce(jsonb_object_agg(key, value), '{}') as settings from tenantkeep.settings
     where key in ('gzip_level', 'max_row_bytes', 'lock_timeout_ms')`,
  )
  const parsed = BackupSettings.safeParse(rows[0]?.settings ?? {})
  if (parsed.success) return parsed.data
  const names = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
  throw new BackupError(
    'not_configured',
    `The setting ${names} in tenantkeep.settings has a value that can't be used. docs/operations.md lists what it may be.`,
  )
}
