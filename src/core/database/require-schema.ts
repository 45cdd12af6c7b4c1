import { BackupError } from '../errors.ts'
import type { Queryable } from './database.ts'
import { hasSqlstate } from './sqlstates.ts'

/** The newest migration that this code needs; a test compares it with the files. */
export const NEEDED_MIGRATION = '20261121093400'

/**
 * Makes sure that the database has our schema, as this code knows it: neither older nor newer, since code
 * that is older than the schema knows nothing of what was added for safety. Throws `schema_missing` or
 * `schema_outdated`.
 */
export async function requireSchema(database: Queryable): Promise<void> {
  const newest = await readNewest(database)
  if (newest === null) {
    throw new BackupError(
      'schema_missing',
      'This database has no Tenantkeep schema, or the login may not read it. Run `tenantkeep init`, and set SUPABASE_DB_URL to the login tenantkeep_worker.',
    )
  }
  if (newest < NEEDED_MIGRATION) {
    throw new BackupError(
      'schema_outdated',
      `The Tenantkeep schema of this database is older (${newest}) than the functions need (${NEEDED_MIGRATION}). Run \`tenantkeep init\` again; it upgrades.`,
      { details: { found: newest, needed: NEEDED_MIGRATION } },
    )
  }
  if (newest > NEEDED_MIGRATION) throw codeOutdated(newest)
}

/** The other direction: the database was upgraded by a newer version than the one that runs. */
export function codeOutdated(newest: string): BackupError {
  return new BackupError(
    'schema_outdated',
    `The Tenantkeep schema of this database is newer (${newest}) than this version knows (${NEEDED_MIGRATION}). Deploy the version that upgraded it, and use its command line.`,
    { details: { found: newest, needed: NEEDED_MIGRATION } },
  )
}

async function readNewest(database: Queryable): Promise<string | null> {
  try {
    const { rows } = await database.query<{ newest: string | null }>(
      'select max(version) as newest from tenantkeep.migrations',
    )
    return rows[0]?.newest ?? null
  } catch (error) {
    if (hasSqlstate(error, 'undefinedTable', 'invalidSchemaName', 'insufficientPrivilege')) {
      return null
    }
    throw error
  }
}
