import type { Readable } from 'node:stream'

/** What is known about a stored object without reading it. */
export interface ObjectInfo {
  path: string
  /** Stored bytes. */
  size: number
  /** When the object was written, by the store's clock. */
  writtenAt: Date
}

/** An object that a bucket keeps from being removed: S3 object lock, by retention or by a hold. */
export interface LockedObject {
  path: string
  /** From then on it can be removed; null where nobody can say, as with a hold of the bucket. */
  until: Date | null
}

/** What came of a removal. */
export interface Removal {
  /**
   * What is still there, because the bucket keeps it; everything else is gone. Such an object is still
   * listed and still readable: whoever wants it gone says so to a person, and removes it again then.
   */
  locked: LockedObject[]
}

/**
 * Where backups live. Objects are written once and never changed; the path of an object is built by
 * `object-path.ts` and by nobody else. Every implementation passes `test/core/store/contract.ts`.
 *
 * Transient failures (429, 5xx, time-outs, cut connections) are tried again inside the store, with
 * jitter and a bound; what is thrown is final: `store_unavailable`, `bucket_missing`, `bucket_public`,
 * `object_missing`, `object_exists`, `path_refused`.
 */
export interface Store {
  /** For people and logs: `file:///…` or `supabase://backups`. Holds no secret. */
  readonly url: string

  /** Throws `bucket_missing`, `bucket_public` or `store_unavailable` where backups can't be kept safely. */
  check(): Promise<void>

  /**
   * Writes a new object. An object that is already there with exactly these bytes counts as written
   * (a lost answer may hide a finished upload); with other bytes it is `object_exists`.
   */
  put(path: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void>

  /** Reads an object. Throws `object_missing` before the first byte; the stream errors when cut short. */
  get(path: string, signal?: AbortSignal): Promise<Readable>

  /** Null where there is no such object. */
  stat(path: string): Promise<ObjectInfo | null>

  /**
   * Removes objects with all their versions; those that are already gone count as removed. What the bucket
   * keeps locked is no error: it is in the answer, and the others are removed all the same.
   */
  remove(paths: readonly string[]): Promise<Removal>

  /** Every object below the prefix, at any depth, all pages; fails rather than return a part of them. */
  list(prefix: string): Promise<ObjectInfo[]>
}

/** A store whose objects a browser can fetch by itself for a while. */
export interface SigningStore extends Store {
  /**
   * One URL per path, in the order of the paths, each good for so many seconds for whoever knows it.
   * Throws `object_missing` where one of them is not there.
   */
  signUrls(paths: readonly string[], seconds: number): Promise<string[]>
}

/** Whether a store can give out URLs; a directory can't. */
export function canSignUrls(store: Store): store is SigningStore {
  return 'signUrls' in store
}
