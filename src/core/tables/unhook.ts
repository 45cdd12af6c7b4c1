/**
 * `unhook`: takes our policies off host tables, so that a migration of the host can change or drop the
 * columns that they use. The grants go with them, so nothing stands open meanwhile: the operator can't
 * read such a table at all, and every backup ends with `confinement_broken` until `hook` or `init`.
 */
import type { Connection, Database } from '../database/database.ts'
import { requireSchema } from '../database/require-schema.ts'
import { findPolicyRole, runProtection } from './apply-protection.ts'
import { changeTable } from './change-table.ts'
import { chooseTables, type HookedTable, readHookedTables } from './choose-tables.ts'
import { holdInitLock } from './hold-init-lock.ts'
import { tableName } from './host-table.ts'

export interface UnhookReport {
  /** `schema.table`, taken off now. */
  unhooked: string[]
  /** Those of them that were not asked for: their policies look at one that was. */
  alongWith: string[]
  /** Were off already. */
  already: string[]
}

/**
 * Takes the policies and grants off these tables (all, where none is named), one short transaction each,
 * and records who did. Running it again goes on. Throws `invalid_request`, `table_locked`.
 */
export async function unhookTables(
  admin: Database,
  options: { tables?: readonly string[]; by: string },
): Promise<UnhookReport> {
  return admin.withConnection(async (connection) => {
    await requireSchema(connection)
    return holdInitLock(connection, () => unhook(connection, options.tables ?? [], options.by))
  })
}

async function unhook(
  connection: Connection,
  wanted: readonly string[],
  by: string,
): Promise<UnhookReport> {
  const all = (await readHookedTables(connection)).filter((table) => table.oid !== null)
  const chosen = chooseTables(all, wanted)
  const along = await findLookingAt(connection, all, chosen)
  const policyRole = await findPolicyRole(connection)
  const report: UnhookReport = { unhooked: [], alongWith: [], already: [] }
  for (const table of [...chosen, ...along]) {
    const name = tableName(table)
    if (table.isUnhooked) {
      report.already.push(name)
      continue
    }
    await changeTable(connection, table, 'unhook', async () => {
      await runProtection(connection, table, { kind: 'none' }, policyRole)
      await connection.query(
        `insert into tenantkeep.unhooked_tables (schema_name, table_name, policy_digest, unhooked_by)
         values ($1, $2, $3, $4)`,
        [table.schema, table.name, table.policyDigest, by],
      )
    })
    report.unhooked.push(name)
    if (along.includes(table)) report.alongWith.push(name)
  }
  return report
}

/** Other tables whose policies of ours name a chosen one, as an administrator's condition may. */
async function findLookingAt(
  connection: Connection,
  all: readonly HookedTable[],
  chosen: readonly HookedTable[],
): Promise<HookedTable[]> {
  const { rows } = await connection.query<{ oid: string }>(
    `select distinct p.polrelid::text as oid
     from pg_catalog.pg_policy p
     join pg_catalog.pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.oid
     where p.polname like 'zz\\_tenantkeep\\_%'
       and d.refclassid = 'pg_class'::regclass and d.refobjid = any ($1::oid[])`,
    [chosen.map((table) => table.oid)],
  )
  const found = new Set(rows.map((row) => row.oid))
  return all.filter(
    (table) => table.oid !== null && found.has(table.oid) && !chosen.includes(table),
  )
}
