import type {
  Connection,
  Database,
  Queryable,
  QueryResult,
} from '../../src/core/database/database.ts'

export interface Hook {
  when: 'before' | 'after'
  /** Of the statement's text. */
  statement: RegExp
  /** At which of the statements that match, counted from 1; at each of them where it is not given. */
  nth?: number
  act: () => Promise<void>
}

export interface HookedDatabase extends Database {
  /** Every statement, in order. */
  readonly statements: readonly string[]
  /** How often a hook acted, by its place. */
  readonly acted: readonly number[]
}

/**
 * A database at whose statements somebody else acts: no clock decides who is first. The statement waits until
 * the other has done what it does; what must go on beside it, the hook only starts. A hook that throws makes
 * the statement fail, before it was sent or with its answer lost.
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

  const hookQuery =
    (queryable: Queryable) =>
    async <Row>(sql: string, params?: readonly unknown[]): Promise<QueryResult<Row>> => {
      statements.push(sql)
      await run('before', sql)
      const result = await queryable.query<Row>(sql, params)
      await run('after', sql)
      return result
    }
  const hookConnection = (connection: Connection): Connection => ({
    query: hookQuery(connection),
    copyOut: (sql) => connection.copyOut(sql),
    copyIn: (sql) => connection.copyIn(sql),
  })

  return {
    statements,
    acted,
    query: hookQuery(database),
    withConnection: (use) =>
      database.withConnection((connection) => use(hookConnection(connection))),
    close: async () => {},
  }
}
