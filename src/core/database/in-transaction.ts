import type { Queryable } from './database.ts'

/** Runs the callback between `begin` and `commit` of this session; whatever it throws rolls back. */
export async function inTransaction<T>(session: Queryable, use: () => Promise<T>): Promise<T> {
  await session.query('begin')
  try {
    const result = await use()
    await session.query('commit')
    return result
  } catch (error) {
    await session.query('rollback')
    throw error
  }
}
