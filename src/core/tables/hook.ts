/**
 * `hook`: puts our policies and grants back after a migration of the host, exactly as init left them. What
 * the migration changed about how rows lead to their tenant is found first; such tables are left off and
 * named, since only init can look again.
 */
import type { Connection, Database } from '../database/database.ts'
import { requireSchema } from '../database/require-schema.ts'
import { BackupError } from '../errors.ts'
import { findPolicyRole, type Protection, runProtection } from './apply-protection.ts'
import { changeTable } from './change-table.ts'
import { chooseTables, type HookedTable, readHookedTables } from './choose-tables.ts'
import { type Drift, findDrift } from './find-drift.ts'
import { holdInitLock } from './hold-init-lock.ts'
import { tableName } from './host-table.ts'
import { quoteTable } from './quote-identifier.ts'
import { readGaps } from './read-gaps.ts'
import { readRoleFaults } from './read-role-faults.ts'

export interface HookReport {
  /** `schema.table`, put back now. */
  hooked: string[]
  /** Left off: the migration changed how their rows lead to a tenant, or init never finished with them. */
  drifted: Drift[]
  /** Still unhooked, and not asked for. */
  stillOff: string[]
  /** Tables that nobody has classified yet. */
  unclassified: string[]
}

/**
 * Puts the policies and grants back on these unhooked tables (all of them, where none is named), one short
 * transaction each; the result must have the digest that it had before. Running it again goes on. Throws
 * `invalid_request`, `table_locked`, `confinement_broken` (our roles).
 */
export async function hookTables(
  admin: Database,
  options: { tables?: readonly string[] } = {},
): Promise<HookReport> {
  return admin.withConnection(async (connection) => {
    await requireSchema(connection)
    return holdInitLock(connection, () => hook(connection, options.tables ?? []))
  })
}

async function hook(connection: Connection, wanted: readonly string[]): Promise<HookReport> {
  await requireConfinedRoles(connection)
  const all = await readHookedTables(connection)
  const chosen = chooseTables(all, wanted).filter((table) => table.isUnhooked)
  const drifted = await findDrift(connection, all)
  const policyRole = await findPolicyRole(connection)
  const hooked: string[] = []
  for (const table of chosen) {
    const name = tableName(table)
    if (drifted.some((drift) => drift.table === name)) continue
    const { policyDigest } = table
    if (policyDigest === null) {
      drifted.push({ table: name, reasons: ['init had not finished with it'] })
      continue
    }
    const protection = await describeProtection(connection, table)
    try {
      await changeTable(connection, table, 'hook', async () => {
        await runProtection(connection, table, protection, policyRole)
        await requireSameDigest(connection, table, policyDigest)
      })
      hooked.push(name)
    } catch (error) {
      if (!(error instanceof Different)) throw error
      drifted.push({ table: name, reasons: [error.message] })
    }
  }
  const stillOff = all
    .filter((table) => table.isUnhooked)
    .map(tableName)
    .filter((name) => !hooked.includes(name) && !drifted.some((drift) => drift.table === name))
  return { hooked, drifted, stillOff, unclassified: await readGaps(connection) }
}

async function requireConfinedRoles(connection: Connection): Promise<void> {
  const faults = await readRoleFaults(connection)
  if (faults.length === 0) return
  throw new BackupError('confinement_broken', `Our roles are not confined: ${faults.join('; ')}.`, {
    details: { faults },
  })
}

async function describeProtection(connection: Connection, table: HookedTable): Promise<Protection> {
  const { rowExpression } = table
  if (rowExpression === null) return { kind: 'shared' }
  const { rows } = await connection.query<{ schema: string }>(
    `select distinct n.nspname as schema
     from pg_catalog.pg_attribute a
     join pg_catalog.pg_type t on t.oid = a.atttypid
     join pg_catalog.pg_namespace n on n.oid = t.typnamespace
     where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped and n.nspname <> 'pg_catalog'
     order by 1`,
    [table.oid],
  )
  return {
    kind: table.isWritable ? 'confined' : 'confined-readonly',
    rowExpression,
    enableRowSecurity: false,
    typeSchemas: rows.map((row) => row.schema),
  }
}

async function requireSameDigest(
  connection: Connection,
  table: HookedTable,
  digest: string,
): Promise<void> {
  const { rows } = await connection.query<{ digest: string }>(
    'select digest from tenantkeep.table_protection($1::regclass)',
    [quoteTable(table)],
  )
  if (rows[0]?.digest === digest) return
  throw new Different(
    'what would confine us is not what init left: row level security was switched off, or a function of ours was changed',
  )
}

/** Rolls the table's transaction back. */
class Different extends Error {}
