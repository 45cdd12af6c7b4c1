import { pino } from 'pino'
import { parseSigningKeys } from '../core/backup/signature.ts'
import { connectDatabase } from '../core/database/connect-database.ts'
import type { Database } from '../core/database/database.ts'
import { requireSchema } from '../core/database/require-schema.ts'
import { requireSessionMode } from '../core/database/require-session-mode.ts'
import { BackupError } from '../core/errors.ts'
import { createLogger } from '../core/log.ts'
import type { Services } from '../core/services.ts'
import { openStore, openStores } from '../core/store/open-store.ts'
import type { Store } from '../core/store/store.ts'
import { readCopySettings, readCredentials } from '../core/store/store-settings.ts'
import { locateInShared } from '../core/tenants/locate-tenant.ts'
import { parseSecretUrl } from '../core/watch/call-url.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Flags that several commands share; each wins over its variable. */
export interface ConnectionFlags {
  dbUrl?: string
  store?: string
}

/** `--db-url` or `SUPABASE_DB_URL`: the login of the worker. Throws `not_configured`. */
function openDatabase(
  flags: ConnectionFlags,
  env: Environment,
  options: { dataSessions?: number } = {},
): Database {
  const url = flags.dbUrl ?? env.SUPABASE_DB_URL
  if (url === undefined || url === '') {
    throw new BackupError(
      'not_configured',
      'No database is given. Set SUPABASE_DB_URL (or --db-url) to the URL that init wrote for the worker.',
    )
  }
  requireSessionMode(url)
  return connectDatabase({ ...options, url, applicationName: 'tenantkeep cli' })
}

/** The bucket that the setup guide tells people to make. */
const DEFAULT_STORE = 'supabase://backups'

/**
 * `--store` or `BACKUP_STORE`, and behind it `BACKUP_COPY_STORE` unless that is the one named: then the copies
 * are read by themselves, with their own credentials. Throws `not_configured`.
 */
export function openConfiguredStore(flags: ConnectionFlags, env: Environment): Store {
  const credentials = readCredentials(env)
  const copy = readCopySettings(env)
  if (copy !== undefined && flags.store === copy.url) return openStore(copy)
  const isSupabase = credentials.supabaseUrl !== undefined
  const url = flags.store ?? (env.BACKUP_STORE || (isSupabase ? DEFAULT_STORE : undefined))
  if (url === undefined || url === '') {
    throw new BackupError(
      'not_configured',
      'No store is given. Set BACKUP_STORE (or --store) to supabase://a-bucket, s3://a-bucket or file:///a/folder.',
    )
  }
  return openStores({ ...credentials, url }, copy)
}

/**
 * Lends everything that the core needs, and closes it afterwards. The log goes to stderr as lines of
 * JSON; `LOG_LEVEL` says how much of it.
 */
export async function withServices<T>(
  flags: ConnectionFlags,
  env: Environment,
  use: (services: Services) => Promise<T>,
  options: { logLevel?: string; dataSessions?: number } = {},
): Promise<T> {
  const signingKeys = parseSigningKeys({
    current: env.BACKUP_SIGNING_KEY,
    previous: env.BACKUP_SIGNING_KEY_PREVIOUS,
  })
  const store = openConfiguredStore(flags, env)
  const log = createLogger({
    level: readLogLevel(env) ?? options.logLevel ?? 'silent',
    destination: pino.destination({ dest: 2, sync: true }),
  })
  const alertWebhook = parseSecretUrl('ALERT_WEBHOOK_URL', env.ALERT_WEBHOOK_URL)
  const tenants = locateInShared(openDatabase(flags, env, options))
  try {
    await requireSchema(tenants.catalog)
    return await use({ tenants, store, signingKeys, log, alertWebhook })
  } finally {
    await tenants.close()
  }
}

function readLogLevel(env: Environment): string | undefined {
  const level = env.LOG_LEVEL
  if (level === undefined || level === '') return undefined
  if (level === 'silent' || level in pino.levels.values) return level
  throw new BackupError(
    'not_configured',
    `LOG_LEVEL must be one of ${Object.keys(pino.levels.values).join(', ')} or silent.`,
  )
}

/** Lends the database alone. */
export async function withDatabase<T>(
  flags: ConnectionFlags,
  env: Environment,
  use: (database: Database) => Promise<T>,
): Promise<T> {
  const database = openDatabase(flags, env)
  try {
    await requireSchema(database)
    return await use(database)
  } finally {
    await database.close()
  }
}
