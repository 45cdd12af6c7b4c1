import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { BackupError } from '../errors.ts'
import { toBackupError } from './connection-errors.ts'
import type { Connection, Database, QueryResult } from './database.ts'
import { encryptConnection } from './encrypt-connection.ts'
import { pinSession, type SessionKind } from './session.ts'

export interface DatabaseOptions {
  /** `postgres://user:password@host:port/database`, in session mode. */
  url: string
  /** How many data sessions may be lent at once; the next caller waits. */
  dataSessions?: number
  /** What `pg_stat_activity` shows. */
  applicationName?: string
}

const CONTROL_SESSIONS = 2
const CONNECT_TIMEOUT_MS = 15_000
const CLOSE_TIMEOUT_MS = 1_000

/**
 * Opens a database lazily: nothing is connected before the first statement. Every value arrives as
 * Postgres text, except bool, int2, int4, json, jsonb and text[], which lose nothing in JavaScript.
 * Throws `not_configured` for a URL that is none, and later `database_unavailable` for whatever keeps
 * us from talking to the server; errors of statements pass through as Postgres reported them.
 */
export function connectDatabase({
  url,
  dataSessions = 4,
  applicationName = 'tenantkeep',
}: DatabaseOptions): Database {
  const target = describeTarget(url)
  const control = createPool(url, 'control', CONTROL_SESSIONS, applicationName)
  const data = createPool(url, 'data', dataSessions, applicationName)

  return {
    async query<Row>(sql: string, params?: readonly unknown[]) {
      try {
        const client = await control.connect()
        try {
          const result = await runQuery<Row>(client, sql, params)
          client.release(client.getTransactionStatus() !== 'I')
          return result
        } catch (error) {
          client.release(true)
          throw error
        }
      } catch (error) {
        throw toBackupError(error, target)
      }
    },

    async withConnection(use) {
      try {
        const client = await leaseClient(data)
        try {
          const lent = lendClient(client)
          const result = await use(lent.connection)
          lent.requireQuiet()
          await cleanSession(client)
          client.release()
          return result
        } catch (error) {
          await closeSession(client)
          throw error
        }
      } catch (error) {
        throw toBackupError(error, target)
      }
    },

    async close() {
      await Promise.all([control.end(), data.end()])
    },
  }
}

/** Where the URL points, for messages: no password. */
function describeTarget(url: string): string {
  // The error of `new URL` carries its input, the password included.
  if (!URL.canParse(url) || !/^postgres(ql)?:$/.test(new URL(url).protocol)) {
    throw new BackupError(
      'not_configured',
      'The database URL cannot be read. It looks like postgres://user:password@host:5432/database, with special characters in the password percent-encoded.',
    )
  }
  const { hostname, port, pathname, username } = new URL(url)
  return `${hostname || 'localhost'}:${port || '5432'}${pathname} as ${decodeURIComponent(username) || 'the default user'}`
}

/** Limits the time of connecting, but not the wait for a free session, which the pool's own option does. */
class TimedClient extends pg.Client {
  constructor(config?: string | pg.ClientConfig) {
    super(
      typeof config === 'object'
        ? { ...config, connectionTimeoutMillis: CONNECT_TIMEOUT_MS }
        : config,
    )
  }
}

function createPool(url: string, kind: SessionKind, max: number, applicationName: string): pg.Pool {
  const pool = new pg.Pool({
    Client: TimedClient,
    connectionString: encryptConnection(url),
    max,
    application_name: applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
    allowExitOnIdle: true,
    types: { getTypeParser },
    onConnect: (client) => {
      // A session that dies while nobody runs a statement on it must not end the process.
      client.on('error', () => {})
      return pinSession({ query: (sql, params) => runQuery(client, sql, params) }, kind)
    },
  })
  pool.on('error', () => {})
  return pool
}

const LOSSLESS_TYPES = new Set<number>([
  pg.types.builtins.BOOL,
  pg.types.builtins.INT2,
  pg.types.builtins.INT4,
  pg.types.builtins.JSON,
  pg.types.builtins.JSONB,
  1009, // text[]
])

const getTypeParser: typeof pg.types.getTypeParser = (
  oid: number,
  format?: 'text' | 'binary',
  // biome-ignore lint/suspicious/noExplicitAny: the driver's own signature
): any =>
  LOSSLESS_TYPES.has(oid)
    ? pg.types.getTypeParser(oid, format === 'binary' ? 'text' : format)
    : (text: string) => text

async function runQuery<Row>(
  client: pg.ClientBase,
  sql: string,
  params?: readonly unknown[],
): Promise<QueryResult<Row>> {
  // Without parameters the simple protocol takes several statements; the driver then answers an array.
  const answer: pg.QueryResult | pg.QueryResult[] =
    params === undefined || params.length === 0
      ? await client.query(sql)
      : await client.query(sql, [...params])
  const last = Array.isArray(answer) ? answer.at(-1) : answer
  return { rows: last?.rows ?? [], rowCount: last?.rowCount ?? 0 }
}

/**
 * Takes a session of the pool and clears it. A frozen function or a restarted server leaves dead
 * sessions behind: those are thrown away and the next is tried, a fresh one at the latest.
 */
async function leaseClient(pool: pg.Pool): Promise<pg.PoolClient> {
  for (;;) {
    const idle = pool.idleCount
    const client = await pool.connect()
    try {
      await cleanSession(client)
      return client
    } catch (error) {
      client.release(true)
      if (idle === 0) throw error
    }
  }
}

/**
 * Ends a session whose work failed. The server closes the connection when its locks are let go, so whoever
 * tries again at once does not find them held by nobody.
 */
async function closeSession(client: pg.PoolClient): Promise<void> {
  const isGone = client.connection.stream.destroyed
  const isClosed = new Promise<void>((resolve) => client.once('end', resolve))
  client.release(true)
  if (isGone) return
  await Promise.race([isClosed, sleep(CLOSE_TIMEOUT_MS, undefined, { ref: false })])
}

/** Temp objects could stand in for real ones, session locks would outlive their work. */
async function cleanSession(client: pg.PoolClient): Promise<void> {
  await client.query('reset role; discard temp; select pg_advisory_unlock_all()')
}

/**
 * What the callback gets. A copy owns the wire until the server says it is ready: the next statement
 * waits for that, and a copy that its user gave up ends the session, since the rest of its bytes would
 * be taken for the next answer.
 */
function lendClient(client: pg.PoolClient): { connection: Connection; requireQuiet: () => void } {
  let copy: { isDone: () => boolean; settled: Promise<void> } | undefined

  const requireNoCopy = () => {
    if (copy !== undefined && !copy.isDone()) {
      throw new BackupError('internal', 'A statement was sent while a copy was under way.')
    }
  }

  const startCopy = <Stream extends Readable | Writable>(
    stream: Stream,
    isThrough: () => boolean,
  ): Stream => {
    requireNoCopy()
    const settled = new Promise<void>((resolve) => {
      const settle = () => {
        client.off('drain', settle)
        client.off('end', settle)
        resolve()
      }
      client.once('drain', settle)
      client.once('end', settle)
    })
    let isRefused = false
    const isDone = () => isRefused || isThrough()
    copy = { isDone, settled }
    stream.on('error', (error) => {
      // The driver reports what the server said without closing the stream; destroyed already means
      // that the reader gave up.
      if (stream.destroyed) return
      isRefused = true
      stream.destroy(error)
    })
    stream.once('close', () => {
      if (!isDone()) client.connection.stream.destroy()
    })
    return stream
  }

  return {
    connection: {
      async query(sql, params) {
        requireNoCopy()
        await copy?.settled
        copy = undefined
        return runQuery(client, sql, params)
      },
      copyOut(sql) {
        const stream = client.query(copyTo(sql))
        return startCopy(stream, () => stream.readableEnded)
      },
      copyIn(sql) {
        const stream = client.query(copyFrom(sql))
        // A copy in closes only when the server has answered, to its end or to its failure.
        return startCopy(stream, () => stream.writableFinished || stream.closed)
      },
    },
    requireQuiet() {
      const isCopying = copy !== undefined && !copy.isDone()
      if (isCopying || client.getTransactionStatus() !== 'I') {
        throw new BackupError(
          'internal',
          'A database session was handed back in the middle of its work; what it had not committed is rolled back.',
        )
      }
    },
  }
}
