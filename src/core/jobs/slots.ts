import type { Connection, Database } from '../database/database.ts'

/** Advisory locks of this class are the places for backups that run at the same time: «tkbs». */
const SLOT_CLASS = 0x746b6273

export interface Slot {
  release(): Promise<void>
}

export interface Slots {
  /** Takes one of `limit` places in the whole database, or null where all are taken. */
  take(limit: number): Promise<Slot | null>
}

/**
 * Bounds how many backups run at the same time in this database, over all processes. A place is a
 * session lock, so that it frees itself when its process dies; one session holds all places of this
 * process, because sessions are what a pooler has few of.
 */
export function withSlots<T>(database: Database, use: (slots: Slots) => Promise<T>): Promise<T> {
  return database.withConnection((connection) => use(createSlots(connection)))
}

function createSlots(connection: Connection): Slots {
  // A session grants its own locks again, so we have to know which ones we hold.
  const held = new Set<number>()
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work, work)
    last = next.catch(() => {})
    return next
  }

  return {
    take: (limit) =>
      inTurn(async () => {
        const { rows } = await connection.query<{ place: number }>(
          `select place from generate_series(1, $2::int) as place
           where place <> all ($3::int[]) and pg_try_advisory_lock($1::int, place) limit 1`,
          [SLOT_CLASS, limit, [...held]],
        )
        const place = rows[0]?.place
        if (place === undefined) return null
        held.add(place)
        return {
          release: () =>
            inTurn(async () => {
              await connection.query('select pg_advisory_unlock($1::int, $2::int)', [
                SLOT_CLASS,
                place,
              ])
              held.delete(place)
            }),
        }
      }),
  }
}
