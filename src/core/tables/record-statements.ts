/**
 * Records what `init` would write, as SQL that another session can run. Reads go to the database; writes
 * to our own schema are carried out too, inside a transaction that the caller rolls back, because later
 * statements ask for what earlier ones wrote; writes to the host are only recorded, for they would lock it.
 */
import type { Connection } from '../database/database.ts'
import { quoteLiteral } from './quote-identifier.ts'

export interface Recorder {
  connection: Connection
  /** From now on writes are recorded and not carried out. */
  holdBack(): void
  /** What was recorded so far, one statement after another, in order. */
  statements(): string[]
}

/** Wraps a session on which a transaction has begun. */
export function recordStatements(connection: Connection): Recorder {
  const recorded: string[] = []
  let isHeldBack = false
  return {
    connection: {
      ...connection,
      async query(sql, params) {
        const control = sql.trim().toLowerCase()
        // The caller's transaction goes on: what is a transaction inside it becomes a savepoint.
        if (control === 'begin') return connection.query('savepoint recorded')
        if (control === 'commit') return connection.query('release savepoint recorded')
        if (control === 'rollback') return connection.query('rollback to savepoint recorded')
        if (isRead(sql)) return connection.query(sql, params)
        if (!/^set local /.test(control)) recorded.push(writeOut(sql, params ?? []))
        return isHeldBack ? { rows: [], rowCount: 0 } : connection.query(sql, params)
      },
    },
    holdBack() {
      isHeldBack = true
    },
    statements: () => [...recorded],
  }
}

function isRead(sql: string): boolean {
  const bare = sql.trimStart()
  if (/^(select|show|table|values|reset|lock|explain)\b/i.test(bare)) return true
  return /^with\b/i.test(bare) && !/\b(insert into|update|delete from)\b/i.test(bare)
}

/** The statement with its parameters as constants, which take their types from where they stand. */
function writeOut(sql: string, params: readonly unknown[]): string {
  const text =
    params.length === 0
      ? sql
      : sql.replace(/\$(\d+)/g, (_, index: string) => constantOf(params[Number(index) - 1]))
  return text.trim().replace(/;\s*$/, '')
}

function constantOf(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'boolean') return String(value)
  if (typeof value === 'number') return String(value)
  if (Array.isArray(value)) {
    const parts = value.map((part) => `"${String(part).replace(/["\\]/g, '\\$&')}"`)
    return quoteLiteral(`{${parts.join(',')}}`).trimStart()
  }
  return quoteLiteral(String(value)).trimStart()
}
