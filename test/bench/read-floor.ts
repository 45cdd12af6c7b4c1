import type { Database } from '../../src/core/database/database.ts'
import { readProtectedTables } from '../../src/core/tables/read-protected-tables.ts'

/**
 * The least that reading a tenant can cost: `copy (select *)` of the same rows, by the same role, under the
 * same policies, in one transaction, thrown away as they come. Returns the bytes read.
 */
export async function readFloor(worker: Database, tenantId: string): Promise<number> {
  return worker.withConnection(async (connection) => {
    const tables = await readProtectedTables(connection)
    await connection.query('begin isolation level repeatable read read only')
    await connection.query('set local role tenantkeep_operator')
    await connection.query(`select set_config('tenantkeep.tenant', $1, true)`, [tenantId])
    let bytes = 0
    for (const { from, rowExpression } of tables) {
      const rows = connection.copyOut(`copy (select * ${from} where ${rowExpression}) to stdout`)
      for await (const chunk of rows) bytes += Buffer.isBuffer(chunk) ? chunk.length : 0
    }
    await connection.query('commit')
    return bytes
  })
}
