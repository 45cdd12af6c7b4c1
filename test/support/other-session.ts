import pg from 'pg'
import { expect } from 'vitest'
import type { TestDatabase } from './database.ts'

/** Somebody else's session on the host: the application, with all its triggers and constraints on. */
export interface OtherSession {
  /** Rejects with what Postgres says. */
  run(sql: string): Promise<pg.QueryResult>
  /** The SQLSTATE that a statement ends with; `00000` where it succeeds. */
  stateOf(sql: string): Promise<string>
  /** Starts a statement and resolves once it waits for one of our sessions; the answer is its SQLSTATE. */
  startBlocked(sql: string): Promise<{ ended: Promise<string> }>
  /** Resolves once one of our sessions waits for this one. */
  waitUntilItBlocks(): Promise<void>
  close(): Promise<void>
}

const WAIT = { timeout: 20_000, interval: 5 }

/** As the owner of the tables, whom no policy binds. Close it in the test. */
export async function openOtherSession(database: TestDatabase): Promise<OtherSession> {
  const client = new pg.Client({ connectionString: database.adminUrl, application_name: 'other' })
  client.on('error', () => {})
  await client.connect()
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  const pid = rows[0]?.pid

  const stateOf = (sql: string) =>
    client.query(sql).then(
      () => '00000',
      (error: unknown) => (error instanceof pg.DatabaseError ? String(error.code) : String(error)),
    )
  const count = async (sql: string) => (await database.superuser.query(sql, [pid])).rowCount

  return {
    run: (sql) => client.query(sql),
    stateOf,
    async startBlocked(sql) {
      const ended = stateOf(sql)
      await expect
        .poll(
          () =>
            count(`select from pg_stat_activity a
              where a.usename = 'tenantkeep_worker' and a.pid = any (pg_blocking_pids($1))`),
          WAIT,
        )
        .toBe(1)
      return { ended }
    },
    async waitUntilItBlocks() {
      await expect
        .poll(
          () =>
            count(`select from pg_stat_activity a
              where a.usename = 'tenantkeep_worker' and $1 = any (pg_blocking_pids(a.pid))`),
          WAIT,
        )
        .toBe(1)
    },
    close: () => client.end(),
  }
}
