import { hash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { GetObjectCommandOutput, S3Client } from '@aws-sdk/client-s3'
import * as z from 'zod'
import { BackupError } from '../errors.ts'
import { holdsBytes } from './holds-bytes.ts'
import { checkPath, checkPrefix } from './object-path.ts'
import { readWhole } from './read-whole.ts'
import { DEFAULT_RETRY, type RetryPolicy, retry } from './retry.ts'
import type { LockedObject, ObjectInfo, Removal, Store } from './store.ts'

/** Where the service is, and who we are there. */
export interface S3Settings {
  /** `https://…` of the service; undefined for AWS itself. */
  endpoint: string | undefined
  region: string
  accessKeyId: string
  secretAccessKey: string
  /** Of credentials that expire. */
  sessionToken: string | undefined
  /** `https://host/bucket/…` instead of `https://bucket.host/…`. */
  forcePathStyle: boolean
}

interface S3StoreOptions {
  retry?: Partial<RetryPolicy>
  /** How long one request may take, and how long a download may stand still, in milliseconds. */
  timeoutMs?: number
  /** Entries per page of a listing; no service gives more than 1,000. */
  pageSize?: number
}

/** One request removes one version, which every service understands; this many at the same time. */
const REMOVE_WIDTH = 8

/** The commands of the client. Loaded when first needed: a process that uses no S3 does not pay for it. */
const loadSdk = () => import('@aws-sdk/client-s3')

/**
 * Backups in a bucket of a service that speaks S3: AWS, R2, Backblaze, MinIO and others. The client of AWS
 * is told to send nothing that only AWS knows: no checksums but Content-MD5, no removal of many at once.
 * Tries again here and not in the client, so that all stores bridge the same time.
 */
export class S3Store implements Store {
  readonly url: string
  /** The service and the account: what its buckets would be lost with. */
  readonly home: string
  readonly #bucket: string
  /** Of every key: empty, or with a slash at its end. */
  readonly #prefix: string
  readonly #settings: S3Settings
  readonly #retry: RetryPolicy
  readonly #timeoutMs: number
  readonly #pageSize: number
  #client: Promise<S3Client> | undefined
  /** Turns false where the service does not know `If-None-Match` on a write. */
  #isConditional = true

  constructor(
    place: { bucket: string; prefix: string },
    settings: S3Settings,
    options: S3StoreOptions = {},
  ) {
    this.url = `s3://${place.bucket}${place.prefix === '' ? '' : `/${place.prefix}`}`
    this.home = `${settings.endpoint ?? 'AWS'}, key ${hash('sha256', settings.accessKeyId, 'hex').slice(0, 8)}`
    this.#bucket = place.bucket
    this.#prefix = place.prefix === '' ? '' : `${place.prefix}/`
    this.#settings = settings
    this.#retry = { ...DEFAULT_RETRY, ...options.retry }
    this.#timeoutMs = options.timeoutMs ?? 60_000
    this.#pageSize = options.pageSize ?? 1_000
  }

  async check(): Promise<void> {
    const { HeadBucketCommand } = await loadSdk()
    await this.#ask('open the bucket', (client, abortSignal) =>
      client.send(new HeadBucketCommand({ Bucket: this.#bucket }), { abortSignal }),
    )
    if (await this.#isPublic()) {
      throw new BackupError(
        'bucket_public',
        `The bucket «${this.#bucket}» is public: anybody could read the backups. Block public access to it, and remove the policy or the access control list that opens it.`,
      )
    }
  }

  async put(path: string, body: Buffer, contentType: string, signal?: AbortSignal): Promise<void> {
    checkPath(path)
    const isWritten = await this.#write(path, body, contentType, signal)
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
    const { GetObjectCommand } = await loadSdk()
    const answer: GetObjectCommandOutput = await this.#ask(
      'read an object',
      (client, abortSignal) =>
        client.send(new GetObjectCommand(this.#object(path)), { abortSignal }),
      { path, signal },
    )
    const download = {
      path,
      service: 'The S3 service',
      promised: answer.ContentLength ?? null,
      stallMs: this.#timeoutMs,
      signal,
    }
    const body = answer.Body?.transformToWebStream() ?? null
    const stream = Readable.from(readWhole(body, download), { objectMode: false })
    // Whoever asked may be gone when the signal comes; nobody's error would end the process.
    return stream.on('error', () => {})
  }

  async stat(path: string): Promise<ObjectInfo | null> {
    checkPath(path)
    const { HeadObjectCommand } = await loadSdk()
    try {
      const answer = await this.#ask(
        'look at an object',
        (client, abortSignal) =>
          client.send(new HeadObjectCommand(this.#object(path)), { abortSignal }),
        { path },
      )
      const info = understand(Info, { size: answer.ContentLength, writtenAt: answer.LastModified })
      return { path, ...info }
    } catch (error) {
      if (error instanceof BackupError && error.code === 'object_missing') return null
      throw error
    }
  }

  async remove(paths: readonly string[]): Promise<Removal> {
    for (const path of paths) checkPath(path)
    const waiting = [...(await this.#findVersions(paths))]
    const locked: LockedObject[] = []
    const work = async () => {
      for (;;) {
        const next = waiting.shift()
        if (next === undefined) return
        const until = await this.#removeVersions(next[0], next[1])
        if (until !== undefined) locked.push({ path: next[0], until })
      }
    }
    await Promise.all(Array.from({ length: REMOVE_WIDTH }, work))
    return { locked: locked.sort((a, b) => (a.path < b.path ? -1 : 1)) }
  }

  async list(prefix: string): Promise<ObjectInfo[]> {
    checkPrefix(prefix)
    const { ListObjectsV2Command } = await loadSdk()
    const found: ObjectInfo[] = []
    let token: string | undefined
    do {
      const page = await this.#ask('list objects', (client, abortSignal) =>
        client.send(
          new ListObjectsV2Command({
            Bucket: this.#bucket,
            Prefix: `${this.#prefix}${prefix}`,
            MaxKeys: this.#pageSize,
            ContinuationToken: token,
          }),
          { abortSignal },
        ),
      )
      for (const entry of page.Contents ?? []) {
        const object = understand(Entry, entry)
        found.push({
          path: object.Key.slice(this.#prefix.length),
          size: object.Size,
          writtenAt: object.LastModified,
        })
      }
      token = page.NextContinuationToken
      if (page.IsTruncated === true && token === undefined) {
        throw new BackupError(
          'store_unavailable',
          'The S3 service ended a listing in the middle. Try again later.',
        )
      }
    } while (token !== undefined)
    return found.sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  /** Writes an object; false where one is there already, whatever its bytes. */
  async #write(
    path: string,
    body: Buffer,
    contentType: string,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const { PutObjectCommand } = await loadSdk()
    if (!this.#isConditional && (await this.stat(path)) !== null) return false
    const object = {
      ...this.#object(path),
      Body: body,
      ContentType: contentType,
      ContentLength: body.length,
      // Proves the bytes on their way, and buckets that lock objects ask for it.
      ContentMD5: hash('md5', body, 'base64'),
      CacheControl: 'no-store',
    }
    try {
      await this.#ask(
        'write an object',
        (client, abortSignal) =>
          client.send(
            new PutObjectCommand(this.#isConditional ? { ...object, IfNoneMatch: '*' } : object),
            { abortSignal },
          ),
        { signal },
      )
      return true
    } catch (error) {
      const { status, name } = meaningOf(causeOf(error))
      if (status === 412) return false
      if (this.#isConditional && (status === 501 || name === 'NotImplemented')) {
        this.#isConditional = false
        return this.#write(path, body, contentType, signal)
      }
      throw error
    }
  }

  /**
   * The versions of each object, markers of removal last. Where they can't be listed, one without a name: the
   * bucket must keep none then, which the removal finds out.
   */
  async #findVersions(paths: readonly string[]): Promise<Map<string, (string | undefined)[]>> {
    const versions = new Map<string, (string | undefined)[]>(paths.map((path) => [path, []]))
    const folders = new Set(paths.map((path) => path.slice(0, path.lastIndexOf('/') + 1)))
    for (const folder of folders) {
      const listed = await this.#listVersions(folder)
      for (const { path, version } of listed ?? []) versions.get(path)?.push(version)
      if (listed !== null) continue
      for (const path of paths) if (path.startsWith(folder)) versions.set(path, [undefined])
    }
    return versions
  }

  /** Null where the service has no versions, or does not say. */
  async #listVersions(folder: string): Promise<{ path: string; version: string }[] | null> {
    const { ListObjectVersionsCommand } = await loadSdk()
    const versions: { path: string; version: string }[] = []
    const markers: { path: string; version: string }[] = []
    let from: { KeyMarker?: string | undefined; VersionIdMarker?: string | undefined } = {}
    for (;;) {
      const page = await this.#ask('list versions of objects', (client, abortSignal) =>
        client.send(
          new ListObjectVersionsCommand({
            Bucket: this.#bucket,
            Prefix: `${this.#prefix}${folder}`,
            MaxKeys: this.#pageSize,
            ...from,
          }),
          { abortSignal },
        ),
      ).catch((error: unknown) => {
        const { status, name } = meaningOf(causeOf(error))
        if ([400, 403, 405, 501].includes(status) || name === 'NotImplemented') return null
        throw error
      })
      if (page === null) return null
      for (const entry of page.Versions ?? []) versions.push(this.#versionOf(entry))
      for (const entry of page.DeleteMarkers ?? []) markers.push(this.#versionOf(entry))
      if (page.IsTruncated !== true) return [...versions, ...markers]
      from = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }
    }
  }

  #versionOf(entry: unknown): { path: string; version: string } {
    const { Key, VersionId } = understand(Version, entry)
    return { path: Key.slice(this.#prefix.length), version: VersionId }
  }

  /** Undefined where all are gone; else until when the last of them is kept, null where nobody can say. */
  async #removeVersions(
    path: string,
    versions: readonly (string | undefined)[],
  ): Promise<Date | null | undefined> {
    let until: Date | null | undefined
    for (const version of versions) {
      const lock = await this.#removeVersion(path, version)
      if (lock === undefined || until === null) continue
      until = lock === null || until === undefined || lock > until ? lock : until
    }
    return until
  }

  async #removeVersion(
    path: string,
    version: string | undefined,
  ): Promise<Date | null | undefined> {
    const { DeleteObjectCommand } = await loadSdk()
    const target = { ...this.#object(path), VersionId: version }
    try {
      const answer = await this.#ask('remove an object', (client, abortSignal) =>
        client.send(new DeleteObjectCommand(target), { abortSignal }),
      )
      if (version === undefined && answer.DeleteMarker === true) {
        throw new BackupError(
          'not_configured',
          `The bucket «${this.#bucket}» keeps versions, and this key may not list them, so what was removed is only hidden. Give it s3:ListBucketVersions and s3:DeleteObjectVersion, and remove again.`,
          { details: { path } },
        )
      }
      return undefined
    } catch (error) {
      const { status } = meaningOf(causeOf(error))
      if (status === 404) return undefined
      // AWS says 403 of a locked version, others 400; only a look at the object tells why.
      const lock = status === 403 || status === 400 ? await this.#readLock(target) : undefined
      if (lock === undefined) throw error
      return lock
    }
  }

  /** Until when a version is locked; null for a hold, undefined where nothing locks it. */
  async #readLock(target: {
    Bucket: string
    Key: string
    VersionId: string | undefined
  }): Promise<Date | null | undefined> {
    const { HeadObjectCommand } = await loadSdk()
    const answer = await this.#ask('look at an object', (client, abortSignal) =>
      client.send(new HeadObjectCommand(target), { abortSignal }),
    )
    if (answer.ObjectLockLegalHoldStatus === 'ON') return null
    return answer.ObjectLockRetainUntilDate
  }

  /**
   * Whether anybody can read the bucket, as far as that can be known: by its policy, its access control
   * list, and by asking without a key. Services that don't answer a question say nothing by it.
   */
  async #isPublic(): Promise<boolean> {
    const { GetBucketAclCommand, GetBucketPolicyStatusCommand, ListObjectsV2Command } =
      await loadSdk()
    const bucket = { Bucket: this.#bucket }
    const client = await this.#connect()
    const stranger = await this.#connectAsStranger()
    const abortSignal = AbortSignal.timeout(this.#timeoutMs)
    const answers = await Promise.all([
      client
        .send(new GetBucketPolicyStatusCommand(bucket), { abortSignal })
        .then((answer) => answer.PolicyStatus?.IsPublic === true)
        .catch(() => false),
      client
        .send(new GetBucketAclCommand(bucket), { abortSignal })
        .then((answer) => (answer.Grants ?? []).some(({ Grantee }) => isEverybody(Grantee?.URI)))
        .catch(() => false),
      stranger
        .send(new ListObjectsV2Command({ ...bucket, MaxKeys: 1 }), { abortSignal })
        .then(() => true)
        .catch(() => false),
    ])
    stranger.destroy()
    return answers.includes(true)
  }

  #object(path: string) {
    return { Bucket: this.#bucket, Key: `${this.#prefix}${path}` }
  }

  #connect(): Promise<S3Client> {
    this.#client ??= this.#makeClient()
    return this.#client
  }

  async #makeClient(): Promise<S3Client> {
    const { accessKeyId, secretAccessKey, sessionToken } = this.#settings
    const { S3Client: Client } = await loadSdk()
    return new Client({
      ...this.#clientOptions(),
      credentials: {
        accessKeyId,
        secretAccessKey,
        ...(sessionToken === undefined ? {} : { sessionToken }),
      },
    })
  }

  async #connectAsStranger(): Promise<S3Client> {
    const { S3Client: Client } = await loadSdk()
    return new Client({
      ...this.#clientOptions(),
      credentials: { accessKeyId: '', secretAccessKey: '' },
      signer: { sign: async (request) => request },
    })
  }

  #clientOptions() {
    const { endpoint, region, forcePathStyle } = this.#settings
    return {
      region,
      forcePathStyle,
      ...(endpoint === undefined ? {} : { endpoint }),
      maxAttempts: 1,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      // Else files of this machine could change what the settings say.
      useArnRegion: false,
      disableMultiregionAccessPoints: true,
    } as const
  }

  /** Runs one request, again where that can help, and returns its answer or throws ours. */
  async #ask<T>(
    what: string,
    run: (client: S3Client, abortSignal: AbortSignal) => Promise<T>,
    { path, signal }: { path?: string; signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    const client = await this.#connect()
    try {
      return await retry(
        async () => {
          const late = AbortSignal.timeout(this.#timeoutMs)
          return run(client, signal === undefined ? late : AbortSignal.any([late, signal]))
        },
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
    const { name, status, isTransient } = meaning
    const cause = new S3Refusal(meaning)
    if (name === 'NoSuchBucket' || (status === 404 && path === undefined)) {
      return new BackupError(
        'bucket_missing',
        `There is no bucket «${this.#bucket}» at this S3 service. Create it, private; or check the store's URL, its endpoint and its region.`,
        { cause },
      )
    }
    if (status === 404) {
      return new BackupError('object_missing', `The object ${path} is not in the store.`, {
        cause,
        details: { path },
      })
    }
    const told = isTransient ? undefined : (REFUSALS[name] ?? REFUSALS[status])
    if (told !== undefined) {
      return new BackupError('not_configured', `The S3 service did not ${what}: ${told}`, { cause })
    }
    const reason = status === 0 ? 'it could not be reached' : `it answered ${name}`
    return new BackupError(
      'store_unavailable',
      `The S3 service did not ${what} (${this.url}): ${reason}. Try again later.`,
      { cause },
    )
  }
}

const Info = z.object({ size: z.int().min(0), writtenAt: z.date() })
const Entry = z.object({ Key: z.string(), Size: z.int().min(0), LastModified: z.date() })
const Version = z.object({ Key: z.string(), VersionId: z.string() })

const WRONG_REGION =
  'the bucket is in another region. Set the region (BACKUP_S3_REGION) and, outside AWS, the endpoint to those of the bucket.'
const WRONG_KEY =
  'the key was refused. Check the access key, its secret and the endpoint (BACKUP_S3_ACCESS_KEY_ID and so on).'

/** What a person can do about an answer that another try will not change; by its name, then by its status. */
const REFUSALS: Record<string | number, string> = {
  AuthorizationHeaderMalformed: WRONG_REGION,
  PermanentRedirect: WRONG_REGION,
  IllegalLocationConstraintException: WRONG_REGION,
  InvalidAccessKeyId: WRONG_KEY,
  SignatureDoesNotMatch: WRONG_KEY,
  ExpiredToken: 'the session token has expired.',
  RequestTimeTooSkewed: 'the clock of this machine is wrong.',
  EntityTooLarge: 'the object exceeds the size limit of the service.',
  301: WRONG_REGION,
  307: WRONG_REGION,
  400: 'the request was refused. Check the endpoint, the region and path style of the store.',
  401: WRONG_KEY,
  403: 'the key may not do that. docs/operations.md lists the rights it needs.',
}

const TRANSIENT_NAMES = new Set([
  'SlowDown',
  'RequestTimeout',
  'ConditionalRequestConflict',
  'OperationAborted',
  'InternalError',
  'ServiceUnavailable',
])

interface Meaning {
  /** The HTTP status; 0 where no answer came, or not all of it. */
  status: number
  /** What the answer called itself; a word of the service, no text of ours or of the caller. */
  name: string
  isTransient: boolean
}

const ServiceError = z.object({
  name: z.string(),
  $metadata: z.object({ httpStatusCode: z.number() }),
})

/** What remains of the client's error: that one holds the request with its key, so it goes no further. */
class S3Refusal extends Error {
  override readonly name = 'S3Refusal'
  readonly meaning: Meaning

  constructor(meaning: Meaning) {
    super(`${meaning.status} ${meaning.name}`)
    this.meaning = meaning
  }
}

function meaningOf(error: unknown): Meaning {
  if (error instanceof S3Refusal) return error.meaning
  const parsed = ServiceError.safeParse(error)
  // An answer of 200 that can't be read was cut off on its way.
  if (!parsed.success || parsed.data.$metadata.httpStatusCode < 300) {
    return { status: 0, name: 'nothing', isTransient: true }
  }
  const status = parsed.data.$metadata.httpStatusCode
  const name = /^\w{1,60}$/.test(parsed.data.name) ? parsed.data.name : String(status)
  return {
    status,
    name,
    isTransient:
      status === 408 ||
      status === 429 ||
      (status >= 500 && status !== 501) ||
      TRANSIENT_NAMES.has(name),
  }
}

function causeOf(error: unknown): unknown {
  return error instanceof BackupError ? error.cause : error
}

function isEverybody(uri: string | undefined): boolean {
  return /\/global\/(AllUsers|AuthenticatedUsers)$/.test(uri ?? '')
}

function understand<T>(schema: z.ZodType<T>, data: unknown): T {
  const parsed = schema.safeParse(data)
  if (parsed.success) return parsed.data
  throw new BackupError(
    'store_unavailable',
    'The S3 service answered something unknown. Is the endpoint that of an S3 service?',
    { cause: parsed.error },
  )
}
