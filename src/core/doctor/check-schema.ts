import type { Queryable } from '../database/database.ts'
import { requireSchema } from '../database/require-schema.ts'
import { BackupError } from '../errors.ts'
import { type Finding, finding } from './finding.ts'

/** Our own schema: there, new enough, and with a tenant table. While one of these is found, nothing else can be asked. */
export async function checkSchema(database: Queryable): Promise<Finding[]> {
  try {
    await requireSchema(database)
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    if (error.code !== 'schema_missing' && error.code !== 'schema_outdated') throw error
    return [
      finding(error.code, {
        subject: 'tenantkeep',
        message: error.message,
        // The other way round the database is ahead of this program.
        remedy: error.message.includes('is newer')
          ? 'deploy and use the version that upgraded the database'
          : 'tenantkeep init',
      }),
    ]
  }
  const { rows } = await database.query(`select from tenantkeep.tenant_tables where class = 'root'`)
  if (rows.length > 0) return []
  return [
    finding('nothing_protected', {
      subject: 'tenantkeep.tenant_tables',
      message: 'No table is under protection yet.',
      remedy: 'tenantkeep init --tenant-table … --tenant-column …',
    }),
  ]
}
