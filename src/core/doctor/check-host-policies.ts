import type { Queryable } from '../database/database.ts'
import { findBindingPolicies } from '../tables/find-binding-policies.ts'
import { tableName } from '../tables/host-table.ts'
import { quoteIdentifier } from '../tables/quote-identifier.ts'
import { type Finding, finding } from './finding.ts'

/** Restrictive policies of the host that bind us too: they hide rows, and then a backup fails with `rows_hidden`. */
export async function checkHostPolicies(database: Queryable): Promise<Finding[]> {
  const { rows: registered } = await database.query<{ schema: string; name: string }>(
    `select schema_name as schema, table_name as name from tenantkeep.tenant_tables
     where class <> 'excluded'`,
  )
  const names = new Set(registered.map(tableName))
  const schemas = [...new Set(registered.map(({ schema }) => schema))]
  const binding = await findBindingPolicies(database, schemas)
  return binding
    .filter((policy) => names.has(tableName(policy)))
    .map((policy) =>
      finding('policy_hides_rows', {
        subject: tableName(policy),
        message: `The restrictive policy ${quoteIdentifier(policy.policy)} binds tenantkeep_operator too: rows that it hides fail the backup.`,
        remedy: policy.remedy,
      }),
    )
}
