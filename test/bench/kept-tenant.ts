import { connectDatabase } from '../../src/core/database/connect-database.ts'
import type { Connection } from '../../src/core/database/database.ts'
import { writtenColumns } from '../../src/core/tables/encode-rows.ts'
import type { ProtectedTable } from '../../src/core/tables/protected-table.ts'
import { quoteIdentifier } from '../../src/core/tables/quote-identifier.ts'
import { readProtectedTables } from '../../src/core/tables/read-protected-tables.ts'

/**
 * A tenant that is damaged and brought back over and over. What it was is kept in a schema beside it, so
 * that no way of bringing it back is trusted, and none has to be exact for the next one to begin
 * from the same rows.
 */
export interface KeptTenant {
  /** Owners first. */
  tables: readonly ProtectedTable[]
  /** Spoils, removes and adds 1 % of the rows; returns how many. */
  damage(): Promise<number>
  /** Removes every row, the tenant's own included. */
  erase(): Promise<void>
  /** Throws where the tenant's rows are not what they were. */
  requireWhole(): Promise<void>
  /** Puts back what was kept, whatever is there now. */
  putBack(): Promise<void>
  /** Vacuums, so that nothing measured next pays for what was measured before. */
  settle(): Promise<void>
  close(): Promise<void>
}

const KEPT = 'bench_kept'

/** A column of most tables that a bad import could have spoiled: in no key, named by no foreign key. */
const SPOILED: Record<string, string> = {
  bottle_scans: `note = 'spoiled'`,
  bottles: 'capacity_litres = capacity_litres + 1',
  customers: `notes = 'spoiled'`,
  cylinder_fills: 'purity = 0.5',
  deliveries: `time_window = '3 hours'`,
  invoice_line_items: `description = 'spoiled'`,
  notifications: `title = 'spoiled'`,
  rental_invoices: `payment = '{"spoiled": true}'`,
  rentals: 'daily_rate = 1',
  sales_order_items: 'quantity = quantity + 1',
  support_ticket_messages: `body = 'spoiled'`,
}
/** Tables that nobody refers to: rows may go without taking others along. */
const LOST = ['bottle_scans', 'cylinder_fills', 'invoice_line_items', 'notifications', 'deliveries']
/** One row of so many. */
const SPOILED_OF = 200
const LOST_OF = 400
const ADDED_OF = 320

export async function keepTenant(superuserUrl: string, tenantId: string): Promise<KeptTenant> {
  const database = connectDatabase({ url: superuserUrl, dataSessions: 1 })
  /** One transaction that sees the tenant, in which no trigger fires. */
  const change = <T>(work: (session: Connection) => Promise<T>): Promise<T> =>
    database.withConnection(async (session) => {
      await session.query('begin')
      await session.query('set local session_replication_role = replica')
      await session.query(`select set_config('tenantkeep.tenant', $1, true)`, [tenantId])
      const result = await work(session)
      await session.query('commit')
      return result
    })
  try {
    const tables = await database.withConnection(readProtectedTables)
    await change((session) => keep(session, tables))
    const whole = await change((session) => digestTables(session, tables))
    return {
      tables,
      damage: () => change((session) => damage(session, tables, tenantId)),
      erase: () => change((session) => erase(session, tables)),
      requireWhole: async () => {
        const now = await change((session) => digestTables(session, tables))
        const others = tables.filter(({ label }) => now.get(label) !== whole.get(label))
        if (others.length === 0) return
        throw new Error(
          `The tenant is not as it was: ${others
            .map(({ label }) => `${label} ${whole.get(label)} is ${now.get(label)}`)
            .join(', ')}.`,
        )
      },
      putBack: () =>
        change(async (session) => {
          await erase(session, tables)
          for (const [index, table] of tables.entries()) {
            const columns = writtenColumns(table).map(({ name }) => quoteIdentifier(name))
            await session.query(
              `insert into ${table.relation} (${columns}) overriding system value
               select ${columns} from ${KEPT}.table_${index}`,
            )
          }
        }),
      settle: () =>
        database.withConnection(async (session) => {
          for (const { relation } of tables) await session.query(`vacuum ${relation}`)
        }),
      close: async () => {
        await database.query(`drop schema if exists ${KEPT} cascade`)
        await database.close()
      },
    }
  } catch (error) {
    await database.close()
    throw error
  }
}

async function keep(session: Connection, tables: readonly ProtectedTable[]): Promise<void> {
  await session.query(`drop schema if exists ${KEPT} cascade; create schema ${KEPT}`)
  for (const [index, { from, rowExpression }] of tables.entries()) {
    await session.query(
      `create table ${KEPT}.table_${index} as select * ${from} where ${rowExpression}`,
    )
  }
}

/** Per table the number of rows and a sum over their texts. */
async function digestTables(
  session: Connection,
  tables: readonly ProtectedTable[],
): Promise<Map<string, string>> {
  const digests = new Map<string, string>()
  for (const { name, label, from, rowExpression } of tables) {
    const { rows } = await session.query<{ digest: string }>(
      `select concat_ws(' rows ', count(*), sum(hashtextextended(${quoteIdentifier(name)}::text, 0))) as digest
       ${from} where ${rowExpression}`,
    )
    digests.set(label, rows[0]?.digest ?? '')
  }
  return digests
}

/** Always the same rows, told apart by where they lie in the hash of their own text. */
async function damage(
  session: Connection,
  tables: readonly ProtectedTable[],
  tenantId: string,
): Promise<number> {
  let changed = 0
  for (const { name, label, relation, rowExpression } of tables) {
    const place = `hashtext(${quoteIdentifier(name)}::text) & 2147483647`
    if (LOST.includes(label)) {
      changed += await count(
        session,
        `delete from ${relation} where ${rowExpression} and (${place}) % ${LOST_OF} = 1`,
      )
    }
    const spoiled = SPOILED[label]
    if (spoiled !== undefined) {
      changed += await count(
        session,
        `update ${relation} set ${spoiled} where ${rowExpression} and (${place}) % ${SPOILED_OF} = 0`,
      )
    }
  }
  const added = await session.query(
    `insert into public.bottle_scans (organization_id, bottle_id, scanned_at, action, device_serial, note)
     select organization_id, bottle_id, now(), 'seen', device_serial, 'newer than the backup'
     from public.bottle_scans
     where organization_id = $1 and (hashint8(id) & 2147483647) % ${ADDED_OF} = 0`,
    [tenantId],
  )
  return changed + added.rowCount
}

async function erase(session: Connection, tables: readonly ProtectedTable[]): Promise<void> {
  for (const { relation, rowExpression } of tables.toReversed()) {
    await session.query(`delete from ${relation} where ${rowExpression}`)
  }
}

async function count(session: Connection, statement: string): Promise<number> {
  return (await session.query(statement)).rowCount
}
