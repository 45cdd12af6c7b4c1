import * as z from 'zod/mini'
import { callFunction, check, count, type PageServices, time } from '../calls/call-function.ts'

const TableClass = z.enum([
  'root',
  'direct',
  'child',
  'custom',
  'derived',
  'shared',
  'excluded',
  'unclassified',
])
export type TableClass = z.infer<typeof TableClass>

const Severity = z.enum(['error', 'warning', 'notice'])

const ListedTable = z.pipe(
  z.object({
    label: z.string(),
    class: TableClass,
    path: z.string(),
    is_there: z.boolean(),
    is_writable: z.boolean(),
    rows_estimate: z.nullable(count),
    rows_counted: z.nullable(count),
    counted_at: z.nullable(time),
    has_primary_key: z.boolean(),
    unreadable: z.nullable(z.string()),
    marks: z.object({
      history: z.boolean(),
      seeded: z.boolean(),
      keep_live: z.array(z.string()),
      masked: z.array(z.string()),
      label: z.array(z.string()),
    }),
    findings: z.array(
      z.object({ severity: Severity, code: z.string(), message: z.string(), remedy: z.string() }),
    ),
  }),
  z.transform((table) => ({
    name: table.label,
    class: table.class,
    /** How a row leads to its tenant; the condition or the reason where an administrator said so. */
    path: table.path,
    isThere: table.is_there,
    isWritable: table.is_writable,
    hasPrimaryKey: table.has_primary_key,
    /** Of all tenants together; null where nobody knows. */
    rows:
      table.rows_counted !== null
        ? { count: table.rows_counted, countedAt: table.counted_at }
        : table.rows_estimate !== null
          ? { count: table.rows_estimate, countedAt: null }
          : null,
    /** Why no backup can read it; null where one can, or has no business to. */
    unreadable: table.unreadable,
    marks: {
      isHistory: table.marks.history,
      isSeeded: table.marks.seeded,
      keepLive: table.marks.keep_live,
      masked: table.marks.masked,
      label: table.marks.label,
    },
    findings: table.findings,
  })),
)
export type ListedTable = z.infer<typeof ListedTable>

const Tables = z.pipe(
  z.object({
    tables: z.array(ListedTable),
    not_checked: z.array(z.object({ check: z.string(), reason: z.string() })),
    change_command: z.string(),
  }),
  z.transform((answer) => ({
    tables: answer.tables,
    /** What could not be looked at, and why: nothing is known about it. */
    notChecked: answer.not_checked,
    changeCommand: answer.change_command,
  })),
)
export type TableRegistry = z.infer<typeof Tables>

/** What every table of the application is to a tenant, and what is wrong with it. */
export async function readTables(
  services: PageServices,
  signal: AbortSignal,
): Promise<TableRegistry> {
  return check(Tables, await callFunction(services, 'list-tables', {}, signal))
}
