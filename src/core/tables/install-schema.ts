import { readdir, readFile } from 'node:fs/promises'
import type { Connection } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { codeOutdated } from '../database/require-schema.ts'
import { setKeptCatalogAside, takeKeptCatalogBack } from './keep-catalog.ts'
import { requireOwnerRights } from './require-owner-rights.ts'

const MIGRATIONS = new URL('../../../supabase/migrations/', import.meta.url)

/**
 * Installs or upgrades Tenantkeep's own schema on a host, by the history in `tenantkeep.migrations`; the
 * host's own migration history is not touched. (`supabase db push` would refuse to mix the two; it is for
 * the embedded stack.) Every migration records itself, so a database that was pushed to is up to date
 * here too. Each migration is one transaction, and two installers at once take turns. Catalog and journal
 * that an uninstall left behind are taken over. Gives back the versions that were applied. Throws
 * `schema_outdated` where a newer version installed before, `not_configured` where the login lacks a right.
 */
export async function installSchema(connection: Connection): Promise<string[]> {
  await connection.query(`select pg_advisory_lock(hashtextextended('tenantkeep.install', 0))`)
  try {
    const applied = await readApplied(connection)
    const files = (await readdir(MIGRATIONS)).filter((name) => name.endsWith('.sql')).sort()
    const unknown = [...applied].filter((version) => !files.some((f) => versionOf(f) === version))
    const newest = unknown.sort().at(-1)
    if (newest !== undefined) throw codeOutdated(newest)
    const missing = files.filter((name) => !applied.has(versionOf(name)))
    if (missing.length > 0) await requireOwnerRights(connection)
    if (applied.size === 0) await setKeptCatalogAside(connection)
    for (const name of missing) {
      const sql = await readFile(new URL(name, MIGRATIONS), 'utf8')
      await inTransaction(connection, () => connection.query(sql))
    }
    await takeKeptCatalogBack(connection)
    return missing.map(versionOf)
  } finally {
    await connection.query(`select pg_advisory_unlock(hashtextextended('tenantkeep.install', 0))`)
  }
}

/** Whether the database has the registry and what reads it, if perhaps in an older version. */
export async function isInstalled(connection: Connection): Promise<boolean> {
  const { rows } = await connection.query<{ exists: boolean }>(
    `select to_regproc('tenantkeep.table_protection') is not null as exists`,
  )
  return rows[0]?.exists === true
}

function versionOf(file: string): string {
  return file.slice(0, file.indexOf('_'))
}

async function readApplied(connection: Connection): Promise<Set<string>> {
  const { rows: tables } = await connection.query<{ exists: boolean }>(
    `select to_regclass('tenantkeep.migrations') is not null as exists`,
  )
  if (tables[0]?.exists !== true) return new Set()
  const { rows } = await connection.query<{ version: string }>(
    'select version from tenantkeep.migrations',
  )
  return new Set(rows.map((row) => row.version))
}
