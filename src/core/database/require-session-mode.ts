import { BackupError } from '../errors.ts'

/**
 * Throws `not_configured` for the pooler's port that would hand one session to several clients. `what` is
 * how the message calls the URL: the name of the setting, where there is one.
 */
export function requireSessionMode(url: string, what = 'The database URL'): void {
  if (!URL.canParse(url) || new URL(url).port !== '6543') return
  throw new BackupError(
    'not_configured',
    `${what} points to the pooler in transaction mode (port 6543), which can mix up sessions. Use port 5432 of the same host: session mode.`,
  )
}
