import { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection, Database, QueryResult } from '../../src/core/database/database.ts'
import { BackupError } from '../../src/core/errors.ts'

export type DatabaseCall = 'query' | 'withConnection' | 'session.query' | 'copyOut' | 'copyIn'

export interface DatabaseFault {
  /** Which call fails, counted from 1 over all kinds, or over `kind` where that is given. */
  call: number
  kind?: DatabaseCall
  /**
   * `error`: nothing happens, and it throws. `after-success`: it happens, and throws (the answer was
   * lost). `hang`: it never answers; `onHang` is called. `cut`: `onCut` is called, which cuts the
   * sessions, then it is tried. `exit`: the process dies at once, before it happens.
   */
  how: 'error' | 'after-success' | 'hang' | 'cut' | 'exit'
  onHang?: () => void
  onCut?: () => Promise<void>
}

/** A database that fails once, on demand, and counts what is asked of it. */
export class FaultyDatabase implements Database {
  readonly calls: { kind: DatabaseCall; sql: string }[] = []
  struck = false
  readonly #database: Database
  fault: DatabaseFault | null

  constructor(database: Database, fault: DatabaseFault | null = null) {
    this.#database = database
    this.fault = fault
  }

  query<Row>(sql: string, params?: readonly unknown[]): Promise<QueryResult<Row>> {
    return this.#run('query', sql, () => this.#database.query<Row>(sql, params))
  }

  withConnection<T>(use: (connection: Connection) => Promise<T>): Promise<T> {
    return this.#run('withConnection', '', () =>
      this.#database.withConnection((connection) => use(this.#wrap(connection))),
    )
  }

  /** The connections stay with whoever opened them. */
  async close(): Promise<void> {}

  #wrap(connection: Connection): Connection {
    return {
      query: <Row>(sql: string, params?: readonly unknown[]) =>
        this.#run('session.query', sql, () => connection.query<Row>(sql, params)),
      copyOut: (sql) => {
        const fault = this.#note('copyOut', sql)
        if (fault === null) return connection.copyOut(sql)
        if (fault.how !== 'hang')
          return Readable.from(failInTheMiddle(connection.copyOut(sql), fault))
        fault.onHang?.()
        return new Readable({ read: () => {} })
      },
      copyIn: (sql) => {
        const fault = this.#note('copyIn', sql)
        if (fault?.how === 'hang') {
          fault.onHang?.()
          return new Writable({ write: () => {} })
        }
        if (fault !== null && fault.how !== 'cut') {
          // What happens on the way to the server: it never learns of the copy.
          return new Writable({ write: (_chunk, _encoding, done) => done(failure(fault)) })
        }
        void fault?.onCut?.()
        return connection.copyIn(sql)
      },
    }
  }

  #note(kind: DatabaseCall, sql: string): DatabaseFault | null {
    this.calls.push({ kind, sql })
    const { fault } = this
    if (fault === null || (fault.kind !== undefined && fault.kind !== kind)) return null
    const count = this.calls.filter((c) => fault.kind === undefined || c.kind === fault.kind).length
    if (count !== fault.call) return null
    this.struck = true
    if (fault.how === 'exit') process.kill(process.pid, 'SIGKILL')
    return fault
  }

  async #run<T>(kind: DatabaseCall, sql: string, act: () => Promise<T>): Promise<T> {
    const fault = this.#note(kind, sql)
    if (fault === null) return act()
    switch (fault.how) {
      case 'after-success':
        await act()
        throw failure(fault)
      case 'hang':
        fault.onHang?.()
        return new Promise<T>(() => {})
      case 'cut':
        await fault.onCut?.()
        await sleep(10)
        return act()
      default:
        throw failure(fault)
    }
  }
}

async function* failInTheMiddle(stream: Readable, fault: DatabaseFault): AsyncGenerator<Buffer> {
  if (fault.how === 'cut') {
    await fault.onCut?.()
    yield* stream
    return
  }
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk)
    yield bytes.subarray(0, Math.ceil(bytes.length / 2))
    break
  }
  throw failure(fault)
}

function failure(fault: DatabaseFault): BackupError {
  return new BackupError('database_unavailable', `The database failed on purpose (${fault.how}).`)
}
