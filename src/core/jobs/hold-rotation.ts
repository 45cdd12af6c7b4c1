import type { Database } from '../database/database.ts'
import type { UpkeepReport, UpkeepTask } from './upkeep.ts'

/**
 * Goes round while nobody else does the same: what is due is counted and chosen by one at a time. Where
 * another is at it, the report says so and nothing is left to do. The lock ends with the session, or with the
 * process.
 */
export function holdRotation(
  catalog: Database,
  task: UpkeepTask,
  goRound: () => Promise<UpkeepReport>,
): Promise<UpkeepReport> {
  return catalog.withConnection(async (connection) => {
    const { rows } = await connection.query<{ locked: boolean }>(
      `select pg_try_advisory_lock(hashtextextended('tenantkeep.rotation:' || $1, 0)) as locked`,
      [task],
    )
    if (rows[0]?.locked !== true) {
      return { done: 0, failed: 0, left: 0, details: { is_busy: true } }
    }
    return goRound()
  })
}
