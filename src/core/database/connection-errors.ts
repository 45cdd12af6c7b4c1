import { DatabaseError } from 'pg'
import { BackupError } from '../errors.ts'
import { hasSqlstate } from './sqlstates.ts'

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
])

/** What pg says, without any code, about a socket that went away. */
const LOST_CONNECTION =
  /connection terminated|timeout expired|connection error and is not queryable|client was closed|does not support SSL|cannot use a pool after/i

/**
 * Turns whatever means «we can't talk to this server» into `database_unavailable`; every other error
 * stays what it is. `target` is host, port, database and user, and no password.
 */
export function toBackupError(error: unknown, target: string): unknown {
  const reason = error instanceof BackupError ? undefined : whyUnavailable(error)
  if (reason === undefined) return error
  return new BackupError(
    'database_unavailable',
    `The database at ${target} can't be used: ${reason}`,
    { cause: error },
  )
}

/** Why an error means that we can't talk to the server; undefined where it means something else. */
export function whyUnavailable(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  if (error instanceof DatabaseError) {
    if (hasSqlstate(error, 'invalidAuthorization')) {
      return `it refused the login (${error.code}). Check user name and password in the database URL.`
    }
    if (hasSqlstate(error, 'invalidCatalogName')) {
      return `it has no such database (${error.code}). Check the name at the end of the database URL.`
    }
    if (hasSqlstate(error, 'tooManyConnections')) {
      return `it has no free connection (${error.code}). Try again later, or lower the number of workers.`
    }
    // FATAL is how Postgres and its poolers say that this session is over, whatever the state.
    const isOver =
      error.severity === 'FATAL' ||
      error.severity === 'PANIC' ||
      hasSqlstate(error, 'connectionException', 'adminShutdown', 'crashShutdown')
    return isOver ? `it ended the session (${error.code}). Try again.` : undefined
  }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  if (code !== undefined && UNREACHABLE.has(code)) {
    return `it can't be reached (${code}). Check host and port in the database URL, and that the server is running.`
  }
  if (code?.startsWith('ERR_TLS') || code?.includes('CERT')) {
    return `its certificate was not accepted (${code}). Check sslmode in the database URL.`
  }
  if (LOST_CONNECTION.test(error.message)) return 'the connection was lost. Try again.'
  return undefined
}
