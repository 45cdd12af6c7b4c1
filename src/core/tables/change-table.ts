import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { tableName } from './host-table.ts'

const LOCK_TIMEOUT_MS = 2_000
const TRIES = 5

/**
 * Changes one host table in a short transaction of its own. Such statements lock the table exclusively
 * for a moment, so this gives way rather than make the host wait, and tries again. Throws `table_locked`
 * when the host holds the table for too long; running `command` again goes on there.
 */
export async function changeTable(
  connection: Connection,
  table: { schema: string; name: string },
  command: string,
  change: () => Promise<void>,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await inTransaction(connection, async () => {
        await connection.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`)
        await change()
      })
      return
    } catch (error) {
      if (!hasSqlstate(error, 'lockNotAvailable')) throw error
      if (attempt === TRIES) {
        throw new BackupError(
          'table_locked',
          `${tableName(table)} was in use the whole time and could not be changed. Nothing waits for us; run ${command} again, it goes on where it stopped.`,
          { cause: error },
        )
      }
      await sleep(250 * attempt)
    }
  }
}
