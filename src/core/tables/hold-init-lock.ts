import type { Connection } from '../database/database.ts'

const LOCK = `hashtextextended('tenantkeep.init', 0)`

/** One administrator at a time: two at once would each see half of the other's work. */
export async function holdInitLock<T>(connection: Connection, use: () => Promise<T>): Promise<T> {
  await connection.query(`select pg_advisory_lock(${LOCK})`)
  try {
    return await use()
  } finally {
    await connection.query(`select pg_advisory_unlock(${LOCK})`)
  }
}
