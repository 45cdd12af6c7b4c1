import type { Connection, Database, QueryResult } from '../../src/core/database/database.ts'

export interface Hook {
  when: 'before' | 'after'
  /** Of the statement's text. */
  statement: RegExp
  /** At which of the statements that match, counted from 1; at each of them where it is not given. */
  nth?: number
  act: () => Promise<void>
}

export interface HookedDatabase extends Database {
  /** Every statement of its sessions, in order. */
  readonly statements: readonly string[]
  /** How often a hook acted, by its place. */
  readonly acted: readonly number[]
}

/**
 * A database in whose sessions somebody else acts at named statements: no clock decides who is first. The
 * statement waits until the other has done what it does; what must go on beside it, the hook only starts.
 */
export function hookDatabase(database: Database, hooks: readonly Hook[]): HookedDatabase {
  const statements: string[] = []
  const met = hooks.map(() => 0)
  const acted = hooks.map(() => 0)

  const run = async (when: Hook['when'], sql: string) => {
    for (const [index, hook] of hooks.entries()) {
      if (hook.when !== when || !hook.statement.test(sql)) continue
      met[index] = (met[index] ?? 0) + 1
      if (hook.nth !== undefined && met[index] !== hook.nth) continue
      acted[index] = (acted[index] ?? 0) + 1
      await hook.act()
    }
  }

  const hookConnection = (connection: Connection): Connection => ({
    async query<Row>(sql: string, params?: readonly unknown[]): Promise<QueryResult<Row>> {
      statements.push(sql)
      await run('before', sql)
      const result = await connection.query<Row>(sql, params)
      await run('after', sql)
      return result
    },
    copyOut: (sql) => connection.copyOut(sql),
    copyIn: (sql) => connection.copyIn(sql),
  })

  return {
    statements,
    acted,
    query: (sql, params) => database.query(sql, params),
    withConnection: (use) =>
      database.withConnection((connection) => use(hookConnection(connection))),
    close: async () => {},
  }
}
