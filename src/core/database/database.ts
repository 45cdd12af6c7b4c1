import type { Readable, Writable } from 'node:stream'

export interface QueryResult<Row> {
  rows: Row[]
  /** Rows affected or returned, as Postgres counts them. */
  rowCount: number
}

/** Anything that runs one statement. Values are parameters, never text of the statement. */
export interface Queryable {
  query<Row = Record<string, unknown>>(
    sql: string,
    params?: readonly unknown[],
  ): Promise<QueryResult<Row>>
}

/**
 * One session, lent to a callback. Statements run one after another. The session is pinned to the
 * settings of `session.ts`, and starts and ends without temp objects.
 */
export interface Connection extends Queryable {
  /** Bytes of `copy (…) to stdout`, with backpressure; errors of the server surface on the stream. */
  copyOut(sql: string): Readable
  /** `copy … from stdin`; resolves on `finish`. */
  copyIn(sql: string): Writable
}

/**
 * A Postgres database in session mode (port 5432 of the pooler; never the transaction pooler).
 * `query` runs short control statements, each its own transaction, on a small pool of their own, so
 * that a journal entry never waits for the data sessions.
 */
export interface Database extends Queryable {
  /** Lends a session for as long as the callback runs; a session that saw an error is thrown away. */
  withConnection<T>(use: (connection: Connection) => Promise<T>): Promise<T>
  close(): Promise<void>
}
