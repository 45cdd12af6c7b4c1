import { AsyncLocalStorage } from 'node:async_hooks'
import { Readable } from 'node:stream'
import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import * as z from 'zod'
import { BackupError } from '../errors.ts'
import { holdsBytes } from './holds-bytes.ts'
import { checkPath, checkPrefix } from './object-path.ts'
import { readWhole } from './read-whole.ts'
import { DEFAULT_RETRY, type RetryPolicy, retry } from './retry.ts'
import type { ObjectInfo, Removal, SigningStore } from './store.ts'

export interface SupabaseStoreOptions {
  retry?: Partial<RetryPolicy>
  /** How long one request may take, and how long a download may stand still, in milliseconds. */
  timeoutMs?: number
  /**
   * Entries per page of a listing. A page that is not full is the last one, so this must not exceed
   * what any version of the service gives at once; 100 is its own default.
   */
  pageSize?: number
}

/** The API takes no more paths in one removal. */
const REMOVE_BATCH = 1_000
/** Nor more paths to be signed at once. */
const SIGN_BATCH = 500
/** Folders listed at the same time: enough to hide the latency, few enough not to be slowed down. */
const LIST_WIDTH = 6

/**
 * Backups in a private bucket of Supabase Storage.
 *
 * Storage answers most errors with HTTP 400 and puts the status it means into the body, and tests for
 * an existing object only before an upload begins. So errors are told apart by what the body says, and
 * an upload is always a buffer of known length that can be sent again.
 */
export class SupabaseStore implements SigningStore {
  readonly url: string
  /** The project: what its buckets would be lost with. */
  readonly home: string
  readonly #bucketName: string
  readonly #client: SupabaseClient
  readonly #retry: RetryPolicy
  readonly #timeoutMs: number
  readonly #pageSize: number
  /** supabase-js has no signal for uploads; our fetch finds here what belongs to the call. */
  readonly #call = new AsyncLocalStorage<Call>()

  constructor(
    bucket: string,
    project: { url: string; secretKey: string },
    options: SupabaseStoreOptions = {},
  ) {
    this.url = `supabase://${bucket}`
    this.home = new URL(project.url).origin
    this.#bucketName = bucket
    this.#retry = { ...DEFAULT_RETRY, ...options.retry }
    this.#timeoutMs = options.timeoutMs ?? 60_000
    this.#pageSize = options.pageSize ?? 100
    this.#client = createClient(project.url, project.secretKey, {
      auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
      global: { fetch: (input, init) => this.#fetch(input, init) },
    })
  }

  async check(): Promise<void> {
    const data = await this.#ask('read the bucket', () =>
      this.#client.storage.getBucket(this.#bucketName),
    )
    if (understand(Bucket, data).public) {
      throw new BackupError(
        'bucket_public',
        `The bucket «${this.#bucketName}» is public: anybody could read the backups. Set it to private (Dashboard > Storage > Edit bucket).`,
      )
    }
  }

  async put(path: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void> {
    checkPath(path)
    const isWritten = await this.#ask(
      'write an object',
      async () => {
        const answer = await this.#bucket().upload(path, body, {
          contentType,
          upsert: false,
          // Else a cache in front of the bucket would answer when we read back what is stored.
          cacheControl: '0',
        })
        if (answer.error !== null && meaningOf(answer.error).isDuplicate) {
          return { data: false, error: null }
        }
        return answer.error === null ? { data: true, error: null } : answer
      },
      signal,
    )
    // Our own earlier attempt may have arrived while its answer was lost.
    if (!isWritten && !(await holdsBytes(this, path, body, this.#retry, signal))) {
      throw new BackupError(
        'object_exists',
        `The object ${path} exists with other bytes; nothing was overwritten.`,
        { details: { path } },
      )
    }
  }

  async get(path: string, signal?: AbortSignal): Promise<Readable> {
    checkPath(path)
    const call: Call = { signal, isDownload: true }
    const body = await this.#ask(
      'read an object',
      () => this.#bucket().download(path).asStream(),
      signal,
      call,
      path,
    )
    const download = {
      path,
      service: 'Supabase Storage',
      promised: call.length ?? null,
      stallMs: this.#timeoutMs,
      signal,
    }
    const stream = Readable.from(readWhole(body, download), { objectMode: false })
    // Whoever asked may be gone when the signal comes; nobody's error would end the process.
    return stream.on('error', () => {})
  }

  async stat(path: string): Promise<ObjectInfo | null> {
    checkPath(path)
    try {
      const data = await this.#ask(
        'look at an object',
        () => this.#bucket().info(path),
        undefined,
        undefined,
        path,
      )
      const info = understand(Info, data)
      return { path, size: info.size, writtenAt: info.createdAt }
    } catch (error) {
      if (error instanceof BackupError && error.code === 'object_missing') return null
      throw error
    }
  }

  async remove(paths: readonly string[]): Promise<Removal> {
    for (const path of paths) checkPath(path)
    for (let start = 0; start < paths.length; start += REMOVE_BATCH) {
      const batch = paths.slice(start, start + REMOVE_BATCH)
      await this.#ask('remove objects', () => this.#bucket().remove(batch))
    }
    return { locked: [] }
  }

  async list(prefix: string): Promise<ObjectInfo[]> {
    checkPrefix(prefix)
    const found = new Map<string, ObjectInfo>()
    let folders = [prefix.slice(0, -1)]
    while (folders.length > 0) {
      const listed = await Promise.all(
        folders.slice(0, LIST_WIDTH).map((it) => this.#listFolder(it)),
      )
      folders = folders.slice(LIST_WIDTH)
      for (const level of listed) {
        folders.push(...level.folders)
        for (const object of level.objects) found.set(object.path, object)
      }
    }
    // A bucket that is gone lists as an empty one; who prunes must not believe that.
    if (found.size === 0) await this.check()
    return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  async signUrls(paths: readonly string[], seconds: number): Promise<string[]> {
    for (const path of paths) checkPath(path)
    const urls = new Map<string, string>()
    for (let start = 0; start < paths.length; start += SIGN_BATCH) {
      const batch = paths.slice(start, start + SIGN_BATCH)
      const data = await this.#ask('sign URLs', () =>
        this.#bucket().createSignedUrls(batch, seconds),
      )
      for (const { path, signedUrl } of understand(SignedUrls, data)) {
        if (path !== null && signedUrl !== null) urls.set(path, signedUrl)
      }
    }
    return paths.map((path) => {
      const url = urls.get(path)
      if (url !== undefined) return url
      throw new BackupError('object_missing', `The object ${path} is not in the store.`, {
        details: { path },
      })
    })
  }

  async #listFolder(folder: string): Promise<{ folders: string[]; objects: ObjectInfo[] }> {
    const folders: string[] = []
    const objects: ObjectInfo[] = []
    for (let offset = 0; ; offset += this.#pageSize) {
      const page = await this.#ask('list objects', () =>
        this.#bucket().list(folder, {
          limit: this.#pageSize,
          offset,
          sortBy: { column: 'name', order: 'asc' },
        }),
      )
      const entries = understand(Entries, page)
      for (const entry of entries) {
        const path = `${folder}/${entry.name}`
        if (entry.id === null) folders.push(path)
        else objects.push({ path, size: entry.metadata.size, writtenAt: entry.created_at })
      }
      if (entries.length < this.#pageSize) return { folders, objects }
    }
  }

  #bucket() {
    return this.#client.storage.from(this.#bucketName)
  }

  /** Runs one call of the client, again where that can help, and returns its data or throws ours. */
  async #ask<T>(
    what: string,
    run: () => PromiseLike<Answer<T>>,
    signal?: AbortSignal,
    call: Call = { signal, isDownload: false },
    path?: string,
  ): Promise<T> {
    try {
      return await retry(
        () =>
          this.#call.run(call, async () => {
            const answer = await run()
            if (answer.error !== null) throw answer.error
            return answer.data
          }),
        (error) => meaningOf(error).isTransient,
        this.#retry,
        signal,
      )
    } catch (error) {
      signal?.throwIfAborted()
      throw this.#explain(error, what, path)
    }
  }

  #explain(error: unknown, what: string, path: string | undefined): BackupError {
    const meaning = meaningOf(error)
    if (meaning.isBucketMissing) {
      return new BackupError(
        'bucket_missing',
        `There is no bucket «${this.#bucketName}» in this Supabase project. Create it: Dashboard > Storage > New bucket, name «${this.#bucketName}», private; or check BACKUP_STORE.`,
        { cause: error },
      )
    }
    if (meaning.status === 404 && path !== undefined) {
      return new BackupError('object_missing', `The object ${path} is not in the store.`, {
        cause: error,
        details: { path },
      })
    }
    const told = meaning.isTransient ? undefined : REFUSALS[meaning.status]
    if (told !== undefined) {
      return new BackupError('not_configured', `Supabase Storage did not ${what}: ${told}`, {
        cause: error,
      })
    }
    const reason = meaning.status === 0 ? 'it could not be reached' : `it answered ${meaning.name}`
    return new BackupError(
      'store_unavailable',
      `Supabase Storage did not ${what} (${this.url}): ${reason}. Try again later.`,
      { cause: error },
    )
  }

  async #fetch(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
    const call = this.#call.getStore()
    const late = new AbortController()
    const timer = setTimeout(
      () => late.abort(new DOMException('The request took too long.', 'TimeoutError')),
      this.#timeoutMs,
    )
    const signals = [late.signal, call?.signal, init.signal].filter(
      (it) => it instanceof AbortSignal,
    )
    const request: RequestInit = { ...init, signal: AbortSignal.any(signals), redirect: 'error' }
    if (call?.isDownload !== true) {
      try {
        const response = await fetch(input, request)
        // Read here, so that the limit holds for the whole answer.
        const body = await response.arrayBuffer()
        const hasBody = ![101, 204, 205, 304].includes(response.status)
        return new Response(hasBody ? body : null, response)
      } finally {
        clearTimeout(timer)
      }
    }
    // Compressed on the way, the length would not be that of the bytes which arrive.
    const headers = new Headers(init.headers)
    headers.set('accept-encoding', 'identity')
    const response = await fetch(input, { ...request, headers }).finally(() => clearTimeout(timer))
    call.length = lengthOf(response)
    return response
  }
}

interface Call {
  signal: AbortSignal | undefined
  isDownload: boolean
  /** Bytes that the answer to a download promised; null where it did not. */
  length?: number | null
}

type Answer<T> = { data: T; error: null } | { data: unknown; error: Error }

const Bucket = z.object({ public: z.boolean() })
const Info = z.object({ size: z.coerce.number().int().min(0), createdAt: z.coerce.date() })
const SignedUrls = z.array(z.object({ path: z.string().nullable(), signedUrl: z.url().nullable() }))
const Entries = z.array(
  z.union([
    z.object({ name: z.string(), id: z.null() }),
    z.object({
      name: z.string(),
      id: z.string(),
      created_at: z.coerce.date(),
      metadata: z.object({ size: z.coerce.number().int().min(0) }),
    }),
  ]),
)

/** What a person can do about an answer that another try will not change. */
const REFUSALS: Record<number, string> = {
  400: 'the request was refused. Is SUPABASE_URL the URL of a Supabase project?',
  401: 'the key was refused. Set SUPABASE_SECRET_KEY to a secret key of this project.',
  403: 'the key was refused. Set SUPABASE_SECRET_KEY to a secret key of this project.',
  404: 'there is no Storage at this address. Is SUPABASE_URL the URL of a Supabase project?',
  413: 'the object exceeds the size limit of the bucket or project. Raise it to 50 MB or more (Dashboard > Storage > Settings).',
  415: 'the bucket is limited to other file types. Allow application/gzip and application/json, or all.',
}

const TRANSIENT_CODES = new Set(['SlowDown', 'LockTimeout', 'DatabaseTimeout', 'ResourceLocked'])

interface Meaning {
  /** The status that is meant, which the HTTP status often is not; 0 where no answer came. */
  status: number
  /** What the answer called itself; a word of the service, no text of ours or of the caller. */
  name: string
  isTransient: boolean
  isDuplicate: boolean
  isBucketMissing: boolean
}

const ApiError = z.object({
  message: z.string(),
  status: z.number(),
  statusCode: z.string().optional(),
  code: z.string().optional(),
})

function meaningOf(error: unknown): Meaning {
  const parsed = ApiError.safeParse(error)
  if (!parsed.success) return NO_ANSWER
  const { message, statusCode = '', code } = parsed.data
  const status = /^[1-5]\d\d$/.test(statusCode) ? Number(statusCode) : parsed.data.status
  const word = code ?? statusCode
  const isBadKey = word === 'InvalidJWT' || word === 'InvalidSignature'
  return {
    status: isBadKey ? 401 : status,
    name: /^\w{1,40}$/.test(word) ? word : String(status),
    isTransient: status === 408 || status === 429 || status >= 500 || TRANSIENT_CODES.has(word),
    isDuplicate: status === 409 && /exists|duplicate/i.test(`${word} ${message}`),
    isBucketMissing:
      word === 'NoSuchBucket' || (status === 404 && /bucket not found/i.test(message)),
  }
}

const NO_ANSWER: Meaning = {
  status: 0,
  name: 'nothing',
  isTransient: true,
  isDuplicate: false,
  isBucketMissing: false,
}

function understand<T>(schema: z.ZodType<T>, data: unknown): T {
  const parsed = schema.safeParse(data)
  if (parsed.success) return parsed.data
  throw new BackupError(
    'store_unavailable',
    'Supabase Storage answered something unknown. Is SUPABASE_URL the URL of a Supabase project?',
    { cause: parsed.error },
  )
}

function lengthOf(response: Response): number | null {
  const encoding = response.headers.get('content-encoding') ?? 'identity'
  const length = response.headers.get('content-length')
  return encoding === 'identity' && length !== null && /^\d+$/.test(length) ? Number(length) : null
}
