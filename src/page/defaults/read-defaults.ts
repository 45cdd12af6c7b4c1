import * as z from 'zod/mini'
import { PAGE_SIZE } from '../backups/read-backups.ts'
import {
  callFunction,
  check,
  count,
  type PageServices,
  RequestFailed,
} from '../calls/call-function.ts'
import { nameTenant } from '../frame/name-tenant.ts'

const DefaultColumn = z.pipe(
  z.object({
    name: z.string(),
    type: z.string(),
    is_nullable: z.boolean(),
    is_key: z.boolean(),
    has_default: z.boolean(),
    is_read_only: z.boolean(),
    is_masked: z.boolean(),
    allowed: z.nullable(z.array(z.string())),
    refers_to: z.nullable(z.object({ table: z.string(), column: z.string() })),
  }),
  z.transform((column) => ({
    name: column.name,
    /** As Postgres prints it: `numeric(12,4)`, `text[]`. */
    type: column.type,
    isNullable: column.is_nullable,
    isKey: column.is_key,
    hasDefault: column.has_default,
    /** Computed, the tenant's own id, or masked. */
    isReadOnly: column.is_read_only,
    isMasked: column.is_masked,
    /** Of an enum. */
    allowed: column.allowed,
    refersTo: column.refers_to,
  })),
)
export type DefaultColumn = z.infer<typeof DefaultColumn>

/** By column, as Postgres writes them; null for null. */
const Values = z.record(z.string(), z.nullable(z.string()))
export type Values = z.infer<typeof Values>

export const DefaultRow = z.object({
  key: z.record(z.string(), z.string()),
  version: z.string(),
  label: z.nullable(z.string()),
  values: Values,
})
export type DefaultRow = z.infer<typeof DefaultRow>

const DefaultTable = z.object({
  name: z.string(),
  /** Null where it can't be read. */
  rows: z.nullable(count),
  /** Why; null where it can be read. */
  unreadable: z.nullable(z.string()),
  columns: z.array(DefaultColumn),
})
export type DefaultTable = z.infer<typeof DefaultTable>

const Defaults = z.pipe(
  z.object({
    template: z.object({
      organization_id: z.string(),
      organization_name: z.nullable(z.string()),
    }),
    tables: z.array(DefaultTable),
  }),
  z.transform(({ template, tables }) => ({
    template: {
      id: template.organization_id,
      name: nameTenant(template.organization_id, template.organization_name),
    },
    tables,
  })),
)
export type Defaults = z.infer<typeof Defaults>

const ENDPOINT = 'default-rows'

/** The template tenant and the tables that take part. Throws `RequestFailed`, `not_configured` without a template. */
export async function readDefaults(services: PageServices, signal: AbortSignal): Promise<Defaults> {
  return check(Defaults, await callFunction(services, ENDPOINT, { action: 'tables' }, signal))
}

const DefaultRows = z.object({
  columns: z.array(DefaultColumn),
  rows: z.array(DefaultRow),
  total: count,
})
export type DefaultRows = z.infer<typeof DefaultRows>

/** A page of the rows of one table; pages count from 1. Throws `RequestFailed`. */
export async function readDefaultRows(
  services: PageServices,
  { table, search, page }: { table: string; search: string; page: number },
  signal: AbortSignal,
): Promise<DefaultRows> {
  const body = {
    action: 'list',
    table,
    limit: PAGE_SIZE,
    cursor: (page - 1) * PAGE_SIZE,
    ...(search === '' ? {} : { search }),
  }
  return check(DefaultRows, await callFunction(services, ENDPOINT, body, signal))
}

/** As many as an answer holds: rows to choose one from. */
const MOST_CHOICES = 200

/** The rows that another row may name; null where there are more than anybody wants to choose from. */
export async function readChoices(
  services: PageServices,
  table: string,
  signal: AbortSignal,
): Promise<DefaultRow[] | null> {
  const body = { action: 'list', table, limit: MOST_CHOICES }
  const { rows, total } = check(DefaultRows, await callFunction(services, ENDPOINT, body, signal))
  return total > rows.length ? null : rows
}

/** Saved, with the row as it is now; or somebody else was first, and nothing was written. */
export type RowChange =
  | { isSaved: true; row: DefaultRow | null }
  /** Null where it is gone. */
  | { isSaved: false; current: DefaultRow | null }

export type RowRequest =
  /** The same key adds a row once. */
  | { action: 'insert'; table: string; values: Values; note?: string; idempotency_key: string }
  | {
      action: 'save'
      table: string
      key: Record<string, string>
      version: string
      values: Values
      note?: string
    }
  | { action: 'delete'; table: string; key: Record<string, string>; version: string; note?: string }

/** Adds, saves or deletes a row. Throws `RequestFailed`; see `readBadColumns`. */
export async function changeRow(services: PageServices, request: RowRequest): Promise<RowChange> {
  try {
    const answer = await callFunction(services, ENDPOINT, request)
    const { row } = check(z.object({ row: z.nullable(DefaultRow) }), answer)
    return { isSaved: true, row }
  } catch (error) {
    if (!(error instanceof RequestFailed) || error.code !== 'row_changed') throw error
    const { current } = check(z.object({ current: z.nullable(DefaultRow) }), error.answer)
    return { isSaved: false, current }
  }
}

const BadColumns = z.object({
  error: z.object({
    details: z.object({
      columns: z.array(z.object({ column: z.string(), reason: z.string() })),
    }),
  }),
})

/** Which columns the service refused, and why; empty where it was about no single one. */
export function readBadColumns(error: unknown): Record<string, string> {
  if (!(error instanceof RequestFailed)) return {}
  const { data } = BadColumns.safeParse(error.answer)
  const columns = data?.error.details.columns ?? []
  return Object.fromEntries(columns.map(({ column, reason }) => [column, reason]))
}
