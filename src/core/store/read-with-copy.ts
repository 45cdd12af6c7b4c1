import type { Readable } from 'node:stream'
import { BackupError } from '../errors.ts'
import type { LockedObject, ObjectInfo, Removal, Store } from './store.ts'

/** All that reading needs of a store. */
export type ObjectReader = Pick<Store, 'get'>

/** How long a place that could not be reached is asked last, in milliseconds. */
const OUTAGE_MS = 60_000

/**
 * Two places with the same objects, read as one: what the first can't give, the copy is asked for. Writes
 * go to the first alone (`placesOf` names the places for whoever writes to the copy on purpose); removals
 * go to both, so that nothing removed is left elsewhere.
 */
export class StoreWithCopy implements Store {
  readonly url: string
  readonly first: Store
  readonly copy: Store
  readonly #now: () => number
  /** Places that could not be reached, by their URL: why, and until when they are asked last. */
  readonly #outages = new Map<string, { error: BackupError; until: number }>()

  constructor(first: Store, copy: Store, now: () => number = Date.now) {
    this.url = first.url
    this.first = first
    this.copy = copy
    this.#now = now
  }

  /** Passes where either place can keep backups; throws what is wrong with the first. */
  async check(): Promise<void> {
    try {
      await this.first.check()
    } catch (error) {
      if (!(error instanceof BackupError)) throw error
      await this.copy.check().catch(() => {
        throw error
      })
    }
  }

  put(path: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void> {
    return this.first.put(path, body, contentType, signal)
  }

  get(path: string, signal?: AbortSignal): Promise<Readable> {
    return this.tryPlaces((place) => place.get(path, signal))
  }

  async stat(path: string): Promise<ObjectInfo | null> {
    let found: ObjectInfo | null = null
    await this.tryPlaces(async (place) => {
      found = await place.stat(path)
      if (found === null) throw new BackupError('object_missing', 'Not here.')
    }).catch((error: unknown) => {
      if (!(error instanceof BackupError && error.code === 'object_missing')) throw error
    })
    return found
  }

  async remove(paths: readonly string[]): Promise<Removal> {
    const locked: LockedObject[] = []
    for (const place of [this.first, this.copy]) locked.push(...(await place.remove(paths)).locked)
    return { locked }
  }

  /** What is in either place; where it is in both, as the newer of them has it. */
  async list(prefix: string): Promise<ObjectInfo[]> {
    const found = new Map<string, ObjectInfo>()
    for (const place of [this.first, this.copy]) {
      for (const object of await place.list(prefix)) {
        const known = found.get(object.path)
        if (known === undefined || known.writtenAt < object.writtenAt) {
          found.set(object.path, object)
        }
      }
    }
    return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  /**
   * Reads from the first place that can give it. A place that is down is asked last for a while, so that
   * not every object of a restore waits for it. Where none can, throws what says most: that a place is
   * down, for it may have the object; else what the first place said.
   */
  async tryPlaces<T>(read: (place: Store) => Promise<T>): Promise<T> {
    const errors: BackupError[] = []
    for (const place of this.#inOrder()) {
      try {
        return await read(place)
      } catch (error) {
        if (!(error instanceof BackupError) || !ELSEWHERE.has(error.code)) throw error
        this.#noteOutage(place, error)
        errors.push(error)
      }
    }
    throw errors.find((error) => error.code === 'store_unavailable') ?? errors[0]
  }

  /**
   * The first place that can keep backups, and what is wrong with the first one of all; the first one itself
   * where neither can.
   */
  async choosePlace(): Promise<ChosenPlace> {
    let trouble: BackupError | undefined
    for (const place of [this.first, this.copy]) {
      const known = this.#outageOf(place)
      if (known !== undefined && place === this.first) {
        trouble = known
        continue
      }
      try {
        await place.check()
        return { place, trouble }
      } catch (error) {
        if (!(error instanceof BackupError)) throw error
        this.#noteOutage(place, error)
        trouble ??= error
      }
    }
    return { place: this.first, trouble }
  }

  #inOrder(): Store[] {
    const isDown = (place: Store) => this.#outageOf(place) !== undefined
    return [this.first, this.copy].sort((a, b) => Number(isDown(a)) - Number(isDown(b)))
  }

  #noteOutage(place: Store, error: BackupError): void {
    if (error.code !== 'store_unavailable') return
    this.#outages.set(place.url, { error, until: this.#now() + OUTAGE_MS })
  }

  #outageOf(place: Store): BackupError | undefined {
    const outage = this.#outages.get(place.url)
    return outage !== undefined && outage.until > this.#now() ? outage.error : undefined
  }
}

interface ChosenPlace {
  place: Store
  trouble: BackupError | undefined
}

/** Where a backup can be made now; as `StoreWithCopy.choosePlace`. */
export async function choosePlace(store: Store): Promise<ChosenPlace> {
  if (store instanceof StoreWithCopy) return store.choosePlace()
  try {
    await store.check()
    return { place: store, trouble: undefined }
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    return { place: store, trouble: error }
  }
}

/** Failures after which the object may still be whole in the other place. */
const ELSEWHERE = new Set([
  'object_missing',
  'backup_damaged',
  'store_unavailable',
  'bucket_missing',
  'not_configured',
])

/** The places behind a store, the first one first; a store without a copy is its own only place. */
export function placesOf(store: Store): [Store, ...Store[]] {
  return store instanceof StoreWithCopy ? [store.first, store.copy] : [store]
}

/**
 * Reads and proves something in one place after the other, until it is whole in one: whoever knows the
 * digest of an object can tell a damaged one from a whole one, which the store itself can't.
 */
export function readFromPlaces<Place extends ObjectReader, T>(
  store: Place,
  read: (place: Place | Store) => Promise<T>,
): Promise<T> {
  return store instanceof StoreWithCopy ? store.tryPlaces(read) : read(store)
}

/** Whether a backup is in one of the places that this process knows. */
export function isWithinReach(
  store: Store,
  backup: { storeUrl: string; copiedTo: readonly string[] },
): boolean {
  return placesOf(store).some(({ url }) => url === backup.storeUrl || backup.copiedTo.includes(url))
}
