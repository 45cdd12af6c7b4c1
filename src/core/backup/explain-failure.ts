import { DatabaseError } from 'pg'
import { whyUnavailable } from '../database/connection-errors.ts'
import { hasSqlstate, sqlstateOf } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'

/**
 * What a failed attempt says of itself in catalog, journal and answers. What Postgres said stays in
 * `cause`: its messages may quote values of rows.
 */
export function explainFailure(error: unknown): BackupError {
  if (error instanceof BackupError) return error
  const unavailable = whyUnavailable(error)
  if (unavailable !== undefined) {
    return new BackupError('database_unavailable', `The database can't be used: ${unavailable}`, {
      cause: error,
    })
  }
  if (hasSqlstate(error, 'queryCanceled', 'idleInTransactionTimeout')) {
    return new BackupError(
      'backup_timed_out',
      'The database ended a statement of this backup because it ran too long, or somebody cancelled it. It is tried again by the next run.',
      { cause: error },
    )
  }
  if (hasSqlstate(error, 'lockNotAvailable')) {
    return new BackupError('table_locked', 'A table stayed locked for too long. Try again later.', {
      cause: error,
    })
  }
  if (hasSqlstate(error, 'diskFull', 'outOfMemory', 'tooManyConnections')) {
    return new BackupError(
      'database_unavailable',
      'The database has no memory, disk space or connection left for this backup. Try again later.',
      { cause: error },
    )
  }
  if (hasSqlstate(error, 'undefinedTable', 'undefinedFunction', 'invalidSchemaName')) {
    return new BackupError(
      'schema_missing',
      'The database lacks tables or functions of Tenantkeep. Run `npm run -s tenantkeep -- init`, which installs them.',
      { cause: error },
    )
  }
  const state = error instanceof DatabaseError ? ` (SQLSTATE ${error.code ?? 'unknown'})` : ''
  return new BackupError(
    'internal',
    `The backup failed in a way that was not foreseen${state}. The log of this process has the details.`,
    { cause: error },
  )
}

/** What a backup would say of the same error, in the words of other work: «The restore …», «Nothing was restored.» */
export function explainFailureOf(work: string, done: string, error: unknown): BackupError {
  const { code, message, cause, details } = explainFailure(error)
  const state = sqlstateOf(error)
  const words: Partial<Record<typeof code, string>> = {
    backup_timed_out: `The ${work} was not done within the time it was given, or the database ended one of its statements. Nothing was ${done}.`,
    backup_cancelled: `The ${work} was cancelled before it was done. Nothing was ${done}.`,
    internal: `The ${work} failed in a way that was not foreseen${state === undefined ? '' : ` (SQLSTATE ${state})`}. Nothing was ${done}. The log of this process has the details.`,
  }
  const isOwn = error instanceof BackupError && error.code === 'internal'
  return new BackupError(code, isOwn ? message : (words[code] ?? message), {
    cause,
    ...(details === undefined ? {} : { details }),
  })
}
