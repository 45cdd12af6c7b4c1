import { connectDatabase } from '../core/database/connect-database.ts'
import type { Database } from '../core/database/database.ts'
import { requireSessionMode } from '../core/database/require-session-mode.ts'
import { BackupError } from '../core/errors.ts'
import type { Environment } from './settings.ts'

/** `--db-url` or `ADMIN_DB_URL`: the owner of the host's tables. Throws `not_configured`. */
export function requireAdminUrl(flags: { dbUrl?: string }, env: Environment): string {
  const url = flags.dbUrl ?? env.ADMIN_DB_URL
  if (url === undefined || url === '') {
    throw new BackupError(
      'not_configured',
      'No database is given. Set --db-url (or ADMIN_DB_URL) to the database URL of its owner, «postgres» on Supabase.',
    )
  }
  requireSessionMode(url)
  return url
}

/** Lends a connection as the owner of the host's tables. Throws `not_configured`. */
export async function withAdminDatabase<T>(
  flags: { dbUrl?: string },
  env: Environment,
  use: (admin: Database) => Promise<T>,
): Promise<T> {
  const url = requireAdminUrl(flags, env)
  const admin = connectDatabase({ url, dataSessions: 1, applicationName: 'tenantkeep cli' })
  try {
    return await use(admin)
  } finally {
    await admin.close()
  }
}
