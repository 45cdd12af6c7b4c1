import type { Measurement } from '../tables/record-state.ts'
import type { SummaryContent } from './summary.ts'

/**
 * What is in nobody's backup, for the summary. The counts are of the whole table, so they are not this
 * tenant's figures and stand apart from its totals; counting them means reading every table as a whole, so
 * a backup repeats the last measurement with its date instead of making one.
 */
export function describeRowsOfNoTenant(
  measurements: readonly Measurement[],
): NonNullable<SummaryContent['rows_of_no_tenant']> {
  const tables = measurements.flatMap((table) => {
    const { measuredAt, rowsWithoutTenant, nullTenantRows, rowsOfTwoTenants } = table
    if (measuredAt === null || rowsWithoutTenant === null) return []
    if (rowsWithoutTenant === 0 && (nullTenantRows ?? 0) === 0 && (rowsOfTwoTenants ?? 0) === 0) {
      return []
    }
    return [
      {
        name: labelOf(table),
        measured_at: measuredAt,
        without_tenant: rowsWithoutTenant,
        null_tenant: nullTenantRows,
        two_tenants: rowsOfTwoTenants,
      },
    ]
  })
  const unmeasured = measurements.filter(
    (table) => table.measuredAt === null || table.rowsWithoutTenant === null,
  )
  return { tables, not_measured: unmeasured.map(labelOf) }
}

function labelOf(table: { schema: string; name: string }): string {
  return table.schema === 'public' ? table.name : `${table.schema}.${table.name}`
}
