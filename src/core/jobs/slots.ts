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

interface Holder {
  users: number
  slots: Promise<Slots>
  close(): void
}

/** One session per database and process, however many calls work in it. */
const holders = new WeakMap<Database, Holder>()

/**
 * Bounds how many backups run at the same time in this database, over all processes. A place is a
 * session lock, so that it frees itself when its process dies; one session holds all places of this
 * process, because sessions are what a pooler has few of.
 */
export async function withSlots<T>(
  database: Database,
  use: (slots: Slots) => Promise<T>,
): Promise<T> {
  const holder = holders.get(database) ?? openHolder(database)
  holder.users += 1
  try {
    return await use(await holder.slots)
  } finally {
    holder.users -= 1
    if (holder.users === 0) {
      forget(database, holder)
      holder.close()
    }
  }
}

function openHolder(database: Database): Holder {
  const opened = Promise.withResolvers<Slots>()
  const closed = Promise.withResolvers<void>()
  const holder: Holder = { users: 0, slots: opened.promise, close: () => closed.resolve() }
  holders.set(database, holder)
  database
    .withConnection(async (connection) => {
      // A broken session has lost its places; whoever comes next opens another.
      opened.resolve(createSlots(connection, () => forget(database, holder)))
      await closed.promise
    })
    .catch((error: unknown) => {
      forget(database, holder)
      opened.reject(error)
    })
  return holder
}

function forget(database: Database, holder: Holder): void {
  if (holders.get(database) === holder) holders.delete(database)
}

function createSlots(connection: Connection, onBroken: () => void): Slots {
  // A session grants its own locks again, so we have to know which ones we hold.
  const held = new Set<number>()
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work)
    last = next.catch(onBroken)
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
        return { release: () => inTurn(() => unlock(place)) }
      }),
  }

  async function unlock(place: number): Promise<void> {
    await connection.query('select pg_advisory_unlock($1::int, $2::int)', [SLOT_CLASS, place])
    held.delete(place)
  }
}
