import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { readMeasurements } from './record-state.ts'

export interface CountBudget {
  /** Milliseconds for one table. */
  perTable: number
  /** Milliseconds for all of them. */
  inAll: number
}

export interface CountOutcome {
  /** `schema.table` of those that were counted and recorded. */
  counted: Set<string>
  /** Tables whose counting failed, with what Postgres said: the census of a backup would fail likewise. */
  failed: { table: string; reason: string }[]
}

/**
 * Counts, over all tenants, rows that lead to none, have no tenant in the tenant's column, or refer to
 * another tenant's rows, and records the counts with their date. Tables for which there is not time, or
 * whose rows may be two tenants', keep their last count.
 */
export async function countRowsOfNoTenant(
  connection: Connection,
  budget: CountBudget,
): Promise<CountOutcome> {
  const outcome: CountOutcome = { counted: new Set(), failed: [] }
  const deadline = performance.now() + budget.inAll
  // Those whose last count is oldest come first, so that a short time reaches all of them in turn.
  const measurements = await readMeasurements(connection)
  const tables = measurements.toSorted((a, b) =>
    (a.measuredAt ?? '').localeCompare(b.measuredAt ?? ''),
  )
  for (const table of tables) {
    const left = Math.min(budget.perTable, deadline - performance.now())
    if (left < 1) break
    const name = `${table.schema}.${table.name}`
    try {
      if (await count(connection, table, left)) outcome.counted.add(name)
    } catch (error) {
      outcome.failed.push({ table: name, reason: (error as Error).message })
    }
  }
  return outcome
}

/** False where the table can't be counted this way, or not in the time. */
async function count(
  connection: Connection,
  { schema, name }: { schema: string; name: string },
  milliseconds: number,
): Promise<boolean> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { rows } = await inTransaction(connection, async () => {
        await connection.query(`set local statement_timeout = ${Math.ceil(milliseconds)}`)
        return connection.query('select from tenantkeep.measure_table($1, $2)', [schema, name])
      })
      return rows.length > 0
    } catch (error) {
      if (hasSqlstate(error, 'queryCanceled', 'lockNotAvailable')) return false
      // Two of us at once, on the row that both write.
      const isPassing = hasSqlstate(error, 'serializationFailure', 'deadlockDetected')
      if (!isPassing || attempt === 3) throw error
      await sleep(50)
    }
  }
}
