import * as z from 'zod'
import type {
  DefaultChange,
  DefaultColumn,
  DefaultRow,
  DefaultTable,
  DefaultValues,
} from '../core/defaults/default-rows.ts'
import { BackupError } from '../core/errors.ts'
import { BackupNote, trimmed } from './daily-answers.ts'
import type { Answer } from './handle.ts'

const key = z.record(z.string(), z.string())
/** As Postgres writes and reads them; null for null. */
const values = z.record(z.string(), z.string().nullable())
const table = trimmed(200)
const note = BackupNote.optional()

export const DefaultRowsInput = z.discriminatedUnion('action', [
  z.strictObject({ action: z.literal('tables') }),
  z.strictObject({
    action: z.literal('list'),
    table,
    /** A part of any value. */
    search: trimmed(200).optional(),
    /** `next_cursor` of the page before. */
    cursor: z.int().min(0).default(0),
    limit: z.int().min(1).max(200).default(50),
  }),
  z.strictObject({
    action: z.literal('insert'),
    table,
    values,
    note,
    /** The same key adds a row once, however often it is sent. */
    idempotency_key: trimmed(200).optional(),
  }),
  z.strictObject({ action: z.literal('save'), table, key, version: trimmed(100), values, note }),
  z.strictObject({ action: z.literal('delete'), table, key, version: trimmed(100), note }),
])
export type DefaultRowsInput = z.infer<typeof DefaultRowsInput>

export function describeDefaultTables({
  template,
  tables,
}: {
  template: { id: string; name: string | null }
  tables: readonly DefaultTable[]
}) {
  return {
    success: true,
    template: { organization_id: template.id, organization_name: template.name },
    tables: tables.map(({ name, rows, unreadable, columns }) => ({
      ...{ name, rows, unreadable },
      columns: columns.map(describeColumn),
    })),
  }
}

export function describeDefaultRows(page: {
  rows: readonly DefaultRow[]
  columns: readonly DefaultColumn[]
  total: number
  nextCursor: number | null
}) {
  return {
    success: true,
    columns: page.columns.map(describeColumn),
    rows: page.rows,
    total: page.total,
    next_cursor: page.nextCursor,
  }
}

function describeColumn(column: DefaultColumn) {
  return {
    name: column.name,
    type: column.type,
    is_nullable: column.isNullable,
    is_key: column.isKey,
    has_default: column.hasDefault,
    is_read_only: column.isReadOnly,
    is_masked: column.isMasked,
    allowed: column.allowed,
    refers_to: column.refersTo,
  }
}

/** What the journal says of a refused attempt: no value of a row. */
export function describeAttempt(input: DefaultRowsInput) {
  return {
    note: 'note' in input ? (input.note ?? null) : null,
    scope: {
      action: input.action,
      table: 'table' in input ? input.table : null,
      ...('values' in input ? { columns: Object.keys(input.values).length } : {}),
    },
  }
}

/** Why nothing was written: the row is not the version that was sent. */
export function rowChanged({ row }: DefaultChange): BackupError {
  return new BackupError(
    'row_changed',
    row === null
      ? 'Somebody deleted this row meanwhile. Nothing was written.'
      : 'Somebody changed this row meanwhile. Nothing was written. Compare both versions, and save again with the version of the row as it is now.',
  )
}

/** The row as somebody else left it, beside what was sent. */
export function answerConflict(
  { row }: DefaultChange,
  given: { error: BackupError; sent: DefaultValues; requestId: string },
): Answer {
  const { code, message, status } = given.error
  return {
    status,
    body: {
      success: false,
      error: { code, message, request_id: given.requestId },
      /** Null where the row is gone. */
      current: row,
      yours: given.sent,
    },
  }
}
