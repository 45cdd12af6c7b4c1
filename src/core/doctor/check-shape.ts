import { findLastOfAll } from '../backup/backup-record.ts'
import { loadSummary } from '../backup/load-summary.ts'
import type { SigningKeys } from '../backup/signature.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { isWithinReach } from '../store/read-with-copy.ts'
import type { Store } from '../store/store.ts'
import {
  describeShapeChanges,
  diffFingerprints,
  digestFingerprints,
  readTableFingerprints,
} from '../tables/read-fingerprint.ts'
import { type Finding, finding } from './finding.ts'

/**
 * Tables that are not as `init` saw them. New columns are in the next backup by themselves; a changed key
 * may mean another path to the tenant, so somebody looks.
 */
export async function checkKnownShape(database: Queryable): Promise<Finding[]> {
  const { rows: known } = await database.query<{
    schema: string
    name: string
    columns: string
    keys: string
    access: string
  }>(
    `select schema_name as schema, table_name as name, columns, keys, access from tenantkeep.known_tables`,
  )
  if (known.length === 0) return []
  const changes = diffFingerprints(known, await readTableFingerprints(database))
  // New tables and tables that are gone have findings of their own.
  return changes
    .filter((change) => change.kind === 'changed')
    .map((change) =>
      finding(change.topics.includes('keys') ? 'keys_changed' : 'shape_changed', {
        subject: change.table,
        message: `Changed since init looked at it: ${change.topics.join(', ')}.`,
        remedy: 'tenantkeep init (it says whether the path to the tenant is another now)',
      }),
    )
}

/** Whether the next backup will carry the warning that the schema has changed; with the tables where the last summary can be read. */
export async function checkShapeSinceBackup(
  database: Queryable,
  given: { store: Store | null; signingKeys: SigningKeys | null },
): Promise<Finding[]> {
  const last = await findLastOfAll(database)
  if (last === undefined) return []
  const live = await readTableFingerprints(database)
  if (last.schemaFingerprint === digestFingerprints(live)) return []
  const { store, signingKeys } = given
  let names = ''
  if (store !== null && signingKeys !== null && isWithinReach(store, last)) {
    try {
      const summary = await loadSummary({ store, signingKeys }, last)
      names = describeShapeChanges(diffFingerprints(summary.host_tables ?? [], live))
    } catch (error) {
      if (!(error instanceof BackupError)) throw error
    }
  }
  return [
    finding('schema_changed_since_backup', {
      subject: 'the host’s schema',
      message: `It is not as it was at the last complete backup${names === '' ? '' : `: ${names}`}. The next one says so too.`,
      remedy: 'tenantkeep init, then a backup',
    }),
  ]
}
