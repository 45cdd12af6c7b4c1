import type { Readable } from 'node:stream'
import { BackupError } from '../../src/core/errors.ts'
import type { ObjectInfo, Removal, Store } from '../../src/core/store/store.ts'

/**
 * A store that has lost the table files of every backup but the one being taken, and kept the summaries: so
 * nothing can be taken over from the last backup, as if every part had changed since.
 */
export class ForgetfulStore implements Store {
  readonly url: string
  readonly #store: Store
  readonly #written = new Set<string>()

  constructor(store: Store) {
    this.url = store.url
    this.#store = store
  }

  check(): Promise<void> {
    return this.#store.check()
  }

  async put(path: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void> {
    await this.#store.put(path, body, contentType, signal)
    this.#written.add(path)
  }

  async get(path: string, signal?: AbortSignal): Promise<Readable> {
    if (path.endsWith('.json.gz') && !this.#written.has(path)) {
      throw new BackupError('object_missing', `The object ${path} was forgotten on purpose.`)
    }
    return this.#store.get(path, signal)
  }

  stat(path: string): Promise<ObjectInfo | null> {
    return this.#store.stat(path)
  }

  remove(paths: readonly string[]): Promise<Removal> {
    return this.#store.remove(paths)
  }

  list(prefix: string): Promise<ObjectInfo[]> {
    return this.#store.list(prefix)
  }
}
