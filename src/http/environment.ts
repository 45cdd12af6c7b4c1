import * as z from 'zod'
import { requireSessionMode } from '../core/database/require-session-mode.ts'
import { BackupError } from '../core/errors.ts'
import type { StoreSettings } from '../core/store/open-store.ts'
import { readCopySettings, readCredentials } from '../core/store/store-settings.ts'
import { parseSecretUrl } from '../core/watch/call-url.ts'

const text = z
  .string()
  .trim()
  .optional()
  .transform((value) => (value === '' ? undefined : value))
const allow = text.transform((value) => value === 'allow')

const Variables = z.object({
  SUPABASE_URL: text,
  VITE_SUPABASE_URL: text,
  SUPABASE_SECRET_KEY: text,
  SUPABASE_SERVICE_ROLE_KEY: text,
  SUPABASE_PUBLISHABLE_KEY: text,
  SUPABASE_ANON_KEY: text,
  VITE_SUPABASE_PUBLISHABLE_KEY: text,
  VITE_SUPABASE_ANON_KEY: text,
  SUPABASE_DB_URL: text,
  CRON_SECRET: text,
  CRON_SECRET_IN_QUERY: allow,
  CRON_SECRET_MAY_RESTORE: allow,
  OPERATOR_SECRET: text,
  BACKUP_SIGNING_KEY: text,
  BACKUP_SIGNING_KEY_PREVIOUS: text,
  BACKUP_STORE: text,
  ALLOWED_ORIGINS: text,
  ALERT_WEBHOOK_URL: text,
  MONITOR_PING_URL: text,
  METRICS_TOKEN: text,
  NETLIFY_SCHEDULE: text.transform((value) => value === 'on'),
  URL: text,
})

/** What the functions are told from outside, checked. A value that is not set is undefined. */
export interface Environment {
  supabaseUrl: string | undefined
  supabaseSecretKey: string | undefined
  supabasePublishableKey: string | undefined
  /** The worker's login, in session mode. */
  databaseUrl: string
  cronSecret: string | undefined
  /** `?secret=` counts on the daily backup, for cron services that can't send a header. */
  mayUseSecretInQuery: boolean
  /** The cron secret restores for real, as in older setups; otherwise it only rehearses. */
  mayCronRestore: boolean
  operatorSecret: string | undefined
  signingKey: string | undefined
  previousSigningKey: string | undefined
  store: StoreSettings
  /** Where copies of all backups go. */
  copyStore: StoreSettings | undefined
  allowedOrigins: string[]
  /** Who hears of problems; a secret. */
  alertWebhook: URL | undefined
  /** Who notices when the monitor does not run; a secret. */
  monitorPing: URL | undefined
  /** What reads the metrics, and no more. */
  metricsToken: string | undefined
  /** Netlify's own clock fires the daily backup and the monitor. */
  isScheduled: boolean
  /** Where this site itself is reached, for calling our own functions. */
  siteUrl: string | undefined
}

/**
 * Reads the environment; nothing else does. Throws `not_configured`, naming the setting and what to do
 * with it, never a value.
 */
export function readEnvironment(
  given: Record<string, string | undefined> = process.env,
): Environment {
  const all = Variables.parse(given)
  const supabaseSecretKey = all.SUPABASE_SECRET_KEY ?? all.SUPABASE_SERVICE_ROLE_KEY
  const { CRON_SECRET: cronSecret, OPERATOR_SECRET: operatorSecret } = all
  const credentials = readCredentials(given)
  const copyStore = readCopySettings(given)
  refuseSecretsForBrowsers(given, [
    supabaseSecretKey,
    credentials.s3?.secretAccessKey,
    copyStore?.supabaseSecretKey,
    copyStore?.s3?.secretAccessKey,
    cronSecret,
    operatorSecret,
    all.SUPABASE_DB_URL,
    all.BACKUP_SIGNING_KEY,
    all.BACKUP_SIGNING_KEY_PREVIOUS,
    all.ALERT_WEBHOOK_URL,
    all.MONITOR_PING_URL,
    all.METRICS_TOKEN,
  ])
  if (cronSecret !== undefined && cronSecret === operatorSecret) {
    throw notConfigured(
      'CRON_SECRET and OPERATOR_SECRET are the same. The cron service must not be able to do what an operator can: give them different values.',
    )
  }
  if (
    all.METRICS_TOKEN !== undefined &&
    (all.METRICS_TOKEN === cronSecret || all.METRICS_TOKEN === operatorSecret)
  ) {
    throw notConfigured(
      'METRICS_TOKEN is one of the other secrets. Whoever reads the metrics must not be able to do more: give it a value of its own.',
    )
  }
  return {
    supabaseUrl: all.SUPABASE_URL ?? all.VITE_SUPABASE_URL,
    supabaseSecretKey,
    supabasePublishableKey:
      all.SUPABASE_PUBLISHABLE_KEY ??
      all.SUPABASE_ANON_KEY ??
      all.VITE_SUPABASE_PUBLISHABLE_KEY ??
      all.VITE_SUPABASE_ANON_KEY,
    databaseUrl: requireDatabaseUrl(all.SUPABASE_DB_URL),
    cronSecret,
    mayUseSecretInQuery: all.CRON_SECRET_IN_QUERY,
    mayCronRestore: all.CRON_SECRET_MAY_RESTORE,
    operatorSecret,
    signingKey: all.BACKUP_SIGNING_KEY,
    previousSigningKey: all.BACKUP_SIGNING_KEY_PREVIOUS,
    store: { ...credentials, url: all.BACKUP_STORE ?? 'supabase://backups' },
    copyStore,
    allowedOrigins: readOrigins(all.ALLOWED_ORIGINS),
    alertWebhook: parseSecretUrl('ALERT_WEBHOOK_URL', all.ALERT_WEBHOOK_URL),
    monitorPing: parseSecretUrl('MONITOR_PING_URL', all.MONITOR_PING_URL),
    metricsToken: all.METRICS_TOKEN,
    isScheduled: all.NETLIFY_SCHEDULE,
    siteUrl: all.URL,
  }
}

/** Vite puts every `VITE_…` variable into the page, where the whole world reads it. */
function refuseSecretsForBrowsers(
  given: Record<string, string | undefined>,
  secrets: readonly (string | undefined)[],
): void {
  const values = new Set(secrets.filter((secret) => secret !== undefined))
  for (const [name, value] of Object.entries(given)) {
    if (!name.startsWith('VITE_') || value === undefined) continue
    const trimmed = value.trim()
    const isSecret =
      values.has(trimmed) ||
      trimmed.startsWith('sb_secret_') ||
      readRole(trimmed) === 'service_role' ||
      (trimmed !== '' && /SECRET|SERVICE_ROLE|SIGNING_KEY|DB_URL/.test(name))
    if (isSecret) {
      throw notConfigured(
        `${name} holds a secret, and variables that begin with VITE_ are published with the page. Remove it, rebuild, and replace the secret wherever it is used.`,
      )
    }
  }
}

/** The role in a key of the older kind, which is a JWT; undefined for anything else. */
function readRole(key: string): unknown {
  const payload = key.split('.')[1]
  if (payload === undefined) return undefined
  try {
    const claims = z
      .object({ role: z.string() })
      .safeParse(JSON.parse(Buffer.from(payload, 'base64url').toString()))
    return claims.data?.role
  } catch {
    return undefined
  }
}

function requireDatabaseUrl(url: string | undefined): string {
  if (url === undefined) {
    throw notConfigured(
      'SUPABASE_DB_URL is not set. `tenantkeep init --worker-url-out FILE` writes the URL of the login tenantkeep_worker.',
    )
  }
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    throw notConfigured(
      'SUPABASE_DB_URL is not a database URL. It looks like postgres://user:password@host:5432/database, with special characters in the password percent-encoded.',
    )
  }
  requireSessionMode(url, 'SUPABASE_DB_URL')
  return url
}

function readOrigins(list: string | undefined): string[] {
  const origins = (list ?? '').split(/[\s,]+/).filter((origin) => origin !== '')
  for (const origin of origins) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw notConfigured(
        'ALLOWED_ORIGINS must be a list of origins like https://app.example.com, separated by commas, without paths.',
      )
    }
  }
  return origins
}

function notConfigured(message: string): BackupError {
  return new BackupError('not_configured', message)
}
