import type { Database } from '../database/database.ts'
import { type CountBudget, countRowsOfNoTenant } from '../tables/count-rows-of-no-tenant.ts'
import { type Measurement, readMeasurements } from '../tables/record-state.ts'
import { type Finding, finding } from './finding.ts'

/**
 * Rows that lead to no tenant, or refer to another tenant's, counted anew and recorded for the summaries.
 * What there is not time for is named with the date of its last count. More than `init` showed is a
 * warning, because nobody has seen those; the others are a notice.
 */
export async function checkRows(database: Database, budget: CountBudget): Promise<Finding[]> {
  const { counted, failed } = await database.withConnection((connection) =>
    countRowsOfNoTenant(connection, budget),
  )
  const unknown = new Set(failed.map(({ table }) => table))
  const measurements = await readMeasurements(database)
  return [
    ...failed.map(({ table, reason }) => describeFailure(table, reason)),
    ...measurements
      .filter((table) => !unknown.has(nameOf(table)))
      .flatMap((table) => describeRows(table, counted.has(nameOf(table)))),
  ]
}

function describeFailure(subject: string, reason: string): Finding {
  return finding('rows_not_countable', {
    subject,
    message: `Its rows can’t be counted past row level security, so the census of a backup would fail: ${reason}.`,
    remedy: 'tenantkeep init as a role that owns the table and has bypassrls',
  })
}

function describeRows(table: Measurement, isFresh: boolean): Finding[] {
  const subject = nameOf(table)
  const found: Finding[] = []
  if (!isFresh) {
    const last = table.measuredAt === null ? 'never' : `last on ${table.measuredAt}`
    found.push(
      finding('rows_not_measured', {
        subject,
        message: `How many of its rows lead to no tenant was not counted now (${last}): there was no time for it, or its rows can be two tenants’.`,
        remedy: 'tenantkeep init --dry-run counts without a limit of time',
      }),
    )
  }
  const lost = table.rowsWithoutTenant ?? 0
  if (lost > 0) {
    const isNew = lost > (table.acceptedWithoutTenant ?? 0)
    const nulls = table.nullTenantRows ?? 0
    found.push(
      finding(isNew ? 'rows_without_tenant_new' : 'rows_without_tenant', {
        subject,
        message: `${lost} of ${table.rows ?? 0} rows lead to no tenant and are in no backup${nulls > 0 ? ` (${nulls} have no value in the tenant’s column)` : ''}${isNew ? `; init showed ${table.acceptedWithoutTenant ?? 'none'}` : ', as init showed'}.`,
        remedy: isNew
          ? 'look at these rows; tenantkeep init shows the path, and takes the number as known'
          : 'none, if they are everybody’s',
      }),
    )
  }
  const torn = table.rowsOfTwoTenants ?? 0
  if (torn > 0) {
    const isNew = torn > (table.acceptedOfTwoTenants ?? 0)
    found.push(
      finding(isNew ? 'rows_of_two_tenants_new' : 'rows_of_two_tenants', {
        subject,
        message: `${torn} rows refer to rows of another tenant than their own. They are in the backup of the tenant that the path names${isNew ? `; init showed ${table.acceptedOfTwoTenants ?? 'none'}` : ', as init showed'}.`,
        remedy: isNew
          ? 'look at these rows; tenantkeep init shows the path, and takes the number as known'
          : 'none, if the path is right',
      }),
    )
  }
  return found
}

function nameOf(table: { schema: string; name: string }): string {
  return `${table.schema}.${table.name}`
}
