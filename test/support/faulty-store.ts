import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { BackupError } from '../../src/core/errors.ts'
import type { ObjectInfo, Removal, Store } from '../../src/core/store/store.ts'

export type StoreMethod = 'check' | 'put' | 'get' | 'stat' | 'remove' | 'list'

export interface StoreFault {
  /** Which call fails, counted from 1: over all methods, or over `method` where that is given. */
  call: number
  method?: StoreMethod
  /**
   * `error`: nothing happens, and it throws. `time-out`: the same, after a while. `after-success`: it
   * happens, and throws (the answer was lost). `cut`: a read ends in the middle; elsewhere `error`.
   * `exit`: the process dies at once, before it happens.
   */
  how: 'error' | 'time-out' | 'after-success' | 'cut' | 'exit'
  /** From the named call on every further one fails too: the store is down. */
  stays?: boolean
}

/** A store that fails once, on demand, and counts what is asked of it. */
export class FaultyStore implements Store {
  readonly url: string
  /** Every call in order, with the path or prefix where there is one. */
  readonly calls: { method: StoreMethod; path: string | null }[] = []
  fault: StoreFault | null
  /** Whether the fault has struck. */
  struck = false
  readonly #store: Store

  constructor(store: Store, fault: StoreFault | null = null) {
    this.url = store.url
    this.#store = store
    this.fault = fault
  }

  check(): Promise<void> {
    return this.#run('check', null, () => this.#store.check())
  }

  put(path: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void> {
    return this.#run('put', path, () => this.#store.put(path, body, contentType, signal))
  }

  async get(path: string, signal?: AbortSignal): Promise<Readable> {
    const isCut = this.fault?.how === 'cut'
    const before = this.struck
    const stream = await this.#run('get', path, () => this.#store.get(path, signal))
    return isCut && this.struck && !before ? Readable.from(cutShort(stream)) : stream
  }

  stat(path: string): Promise<ObjectInfo | null> {
    return this.#run('stat', path, () => this.#store.stat(path))
  }

  remove(paths: readonly string[]): Promise<Removal> {
    return this.#run('remove', paths[0] ?? null, () => this.#store.remove(paths))
  }

  list(prefix: string): Promise<ObjectInfo[]> {
    return this.#run('list', prefix, () => this.#store.list(prefix))
  }

  async #run<T>(method: StoreMethod, path: string | null, act: () => Promise<T>): Promise<T> {
    this.calls.push({ method, path })
    const fault = this.#due(method)
    if (fault === null) return act()
    this.struck = true
    if (fault.how === 'exit') process.kill(process.pid, 'SIGKILL')
    if (fault.how === 'cut' && method === 'get') return act()
    // A stream that nobody gets would stay open.
    if (fault.how === 'after-success' && method !== 'get') await act()
    if (fault.how === 'time-out') await sleep(20)
    throw new BackupError('store_unavailable', `The store failed on purpose (${fault.how}).`)
  }

  #due(method: StoreMethod): StoreFault | null {
    const { fault } = this
    if (fault === null || (fault.method !== undefined && fault.method !== method)) return null
    const count = this.calls.filter(
      (call) => fault.method === undefined || call.method === fault.method,
    ).length
    const isDue = fault.stays === true ? count >= fault.call : count === fault.call
    return isDue ? fault : null
  }
}

async function* cutShort(stream: Readable): AsyncGenerator<Buffer> {
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk)
    yield bytes.subarray(0, Math.floor(bytes.length / 2))
    break
  }
  throw new BackupError('store_unavailable', 'The store stopped sending on purpose.')
}
