import type { TableList } from '../core/tables/list-tables.ts'

/** The registry, as answers have it. It is changed by `init`, so the answer says how. */
export function describeTables({ tables, notChecked }: TableList) {
  return {
    success: true,
    tables: tables.map(
      ({
        isThere,
        isWritable,
        rowsEstimate,
        rowsCounted,
        countedAt,
        hasPrimaryKey,
        marks,
        findings,
        ...table
      }) => ({
        ...table,
        is_there: isThere,
        is_writable: isWritable,
        rows_estimate: rowsEstimate,
        rows_counted: rowsCounted,
        counted_at: countedAt,
        has_primary_key: hasPrimaryKey,
        marks: {
          history: marks.isHistory,
          seeded: marks.isSeeded,
          keep_live: marks.keepLive,
          masked: marks.masked,
          label: marks.label,
        },
        findings: findings.map(({ severity, code, message, remedy }) => ({
          ...{ severity, code, message, remedy },
        })),
      }),
    ),
    not_checked: notChecked,
    /** The registry is changed by `init` and the answers file. */
    change_command: 'npm run -s tenantkeep -- init --answers tenantkeep.json',
  }
}
