import { createHash, createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'

/**
 * An S3 service for tests, as far as a store of backups asks anything of one, in memory. What can be
 * installed from the registry does less where it matters: s3rver and its descendants know neither
 * conditional writes nor versions nor object lock, and fauxqs checks no signature. Signatures of version 4
 * are checked over the bytes as they came in; the client is AWS's own, so the two can't agree on a mistake.
 */

interface BucketOptions {
  /** Keeps every version, as object lock demands. */
  isVersioned?: boolean
  /** New versions can't be removed for so long. */
  lockMs?: number
  /** How anybody is let in. */
  openBy?: 'policy' | 'acl' | 'listing'
  /** `refuses`: answers 501 to a conditional write. */
  conditionalWrites?: 'knows' | 'refuses'
  /** The key may not list versions. */
  hidesVersions?: boolean
}

interface S3ServerOptions {
  buckets: Record<string, BucketOptions>
  accessKeyId?: string
  secretAccessKey?: string
  region?: string
}

interface Version {
  id: string
  /** Null: a marker that hides what is below it. */
  body: Buffer | null
  writtenAt: Date
  lockedUntil: Date | null
  isHeld: boolean
}

interface Bucket extends BucketOptions {
  /** By key, oldest version first. */
  objects: Map<string, Version[]>
}

export interface S3Server {
  url: string
  accessKeyId: string
  secretAccessKey: string
  region: string
  /** Method, path and query of every request, in order. */
  requests: string[]
  /** Writes past all rules, as a faulty disk would. */
  overwrite(bucket: string, key: string, body: Buffer): void
  /** How many versions and markers a bucket holds below a prefix. */
  countVersions(bucket: string, prefix?: string): number
  /** Puts every object of a bucket under a legal hold, or takes it off. */
  hold(bucket: string, isHeld: boolean): void
  /** Lets every retention of a bucket end. */
  endLocks(bucket: string): void
  /** Everything in a bucket is gone, or the bucket itself. */
  drop(bucket: string): void
  close(): Promise<void>
}

class S3Error extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string) {
    super(code)
    this.status = status
    this.code = code
  }
}

export async function startS3Server(options: S3ServerOptions): Promise<S3Server> {
  const accessKeyId = options.accessKeyId ?? `AK${randomBytes(8).toString('hex').toUpperCase()}`
  const secretAccessKey = options.secretAccessKey ?? randomBytes(20).toString('base64url')
  const region = options.region ?? 'eu-central-1'
  const buckets = new Map<string, Bucket>(
    Object.entries(options.buckets).map(([name, given]) => [
      name,
      { ...given, objects: new Map() },
    ]),
  )
  const requests: string[] = []

  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`)
    respond(request, response).catch((error: unknown) => {
      const { status, code } = error instanceof S3Error ? error : new S3Error(500, 'InternalError')
      const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>no</Message></Error>`
      response.writeHead(status, { 'content-type': 'application/xml' })
      response.end(request.method === 'HEAD' ? '' : body)
    })
  })

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://s3')
    const [, bucketName = '', ...segments] = url.pathname.split('/')
    const key = segments.map(decodeURIComponent).join('/')
    const body = await buffer(request)
    const isSigned = checkSignature(request, url, body, { accessKeyId, secretAccessKey, region })
    const bucket = buckets.get(bucketName)
    if (!isSigned && !(bucket?.openBy === 'listing' && key === '' && request.method === 'GET')) {
      throw new S3Error(403, 'AccessDenied')
    }
    if (bucket === undefined) throw new S3Error(404, 'NoSuchBucket')
    if (key === '') respondForBucket(request, response, url.searchParams, bucket)
    else respondForObject(request, response, url.searchParams, bucket, key, body)
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const find = (name: string): Bucket => {
    const bucket = buckets.get(name)
    if (bucket === undefined) throw new Error(`There is no bucket ${name}.`)
    return bucket
  }
  const allVersions = (name: string) => [...find(name).objects.values()].flat()
  return {
    url: `http://127.0.0.1:${port}`,
    accessKeyId,
    secretAccessKey,
    region,
    requests,
    overwrite(name, key, body) {
      find(name).objects.set(key, [newVersion(body, {})])
    },
    countVersions: (name, prefix = '') =>
      [...find(name).objects]
        .filter(([key]) => key.startsWith(prefix))
        .reduce((count, [, versions]) => count + versions.length, 0),
    hold(name, isHeld) {
      for (const version of allVersions(name)) version.isHeld = isHeld
    },
    endLocks(name) {
      for (const version of allVersions(name)) version.lockedUntil = null
    },
    drop(name) {
      buckets.delete(name)
    },
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error === undefined ? resolve() : reject(error)))
        server.closeAllConnections()
      }),
  }
}

function respondForBucket(
  request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
  bucket: Bucket,
): void {
  if (request.method === 'HEAD') {
    response.writeHead(200).end()
    return
  }
  if (query.has('policyStatus')) {
    const isPublic = bucket.openBy === 'policy'
    answer(response, `<PolicyStatus><IsPublic>${isPublic}</IsPublic></PolicyStatus>`)
  } else if (query.has('acl')) {
    const group = 'http://acs.amazonaws.com/groups/global/AllUsers'
    const grant = `<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group"><URI>${group}</URI></Grantee><Permission>READ</Permission></Grant>`
    const grants = bucket.openBy === 'acl' ? grant : ''
    answer(
      response,
      `<AccessControlPolicy><AccessControlList>${grants}</AccessControlList></AccessControlPolicy>`,
    )
  } else if (query.has('versions')) {
    listVersions(response, query, bucket)
  } else if (query.get('list-type') === '2') {
    listObjects(response, query, bucket)
  } else {
    throw new S3Error(501, 'NotImplemented')
  }
}

function listObjects(response: ServerResponse, query: URLSearchParams, bucket: Bucket): void {
  const all = [...bucket.objects]
    .map(([key, versions]) => ({ key, version: versions.at(-1) }))
    .filter(({ key, version }) => version?.body != null && key.startsWith(prefixOf(query)))
    .sort(byKey)
  const after = query.get('continuation-token')
  const rest =
    after === null ? all : all.filter(({ key }) => key > Buffer.from(after, 'hex').toString())
  const page = rest.slice(0, pageSizeOf(query))
  const next = rest.length > page.length ? page.at(-1)?.key : undefined
  const contents = page.map(
    ({ key, version }) =>
      `<Contents><Key>${escapeText(key)}</Key><LastModified>${version?.writtenAt.toISOString()}</LastModified><ETag>&quot;x&quot;</ETag><Size>${version?.body?.length}</Size><StorageClass>STANDARD</StorageClass></Contents>`,
  )
  answer(
    response,
    `<ListBucketResult><KeyCount>${page.length}</KeyCount><IsTruncated>${next !== undefined}</IsTruncated>${
      next === undefined
        ? ''
        : `<NextContinuationToken>${Buffer.from(next).toString('hex')}</NextContinuationToken>`
    }${contents.join('')}</ListBucketResult>`,
  )
}

function listVersions(response: ServerResponse, query: URLSearchParams, bucket: Bucket): void {
  if (bucket.hidesVersions === true) throw new S3Error(403, 'AccessDenied')
  const all = [...bucket.objects]
    .filter(([key]) => key.startsWith(prefixOf(query)))
    .map(([key, versions]) => ({ key, versions }))
    .sort(byKey)
    .flatMap(({ key, versions }) => [...versions].reverse().map((version) => ({ key, version })))
  const from = query.get('key-marker')
  const start =
    from === null
      ? 0
      : all.findIndex(
          ({ key, version }) => key === from && version.id === query.get('version-id-marker'),
        ) + 1
  const page = all.slice(start, start + pageSizeOf(query))
  const last = page.at(-1)
  const isTruncated = start + page.length < all.length
  const entries = page.map(({ key, version }) => {
    const tag = version.body === null ? 'DeleteMarker' : 'Version'
    const id = bucket.isVersioned === true ? version.id : 'null'
    return `<${tag}><Key>${escapeText(key)}</Key><VersionId>${id}</VersionId><Size>${version.body?.length ?? 0}</Size></${tag}>`
  })
  const next =
    isTruncated && last !== undefined
      ? `<NextKeyMarker>${escapeText(last.key)}</NextKeyMarker><NextVersionIdMarker>${last.version.id}</NextVersionIdMarker>`
      : ''
  answer(
    response,
    `<ListVersionsResult><IsTruncated>${isTruncated}</IsTruncated>${next}${entries.join('')}</ListVersionsResult>`,
  )
}

function respondForObject(
  request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
  bucket: Bucket,
  key: string,
  body: Buffer,
): void {
  const { method } = request
  if (method === 'PUT') putObject(request, response, bucket, key, body)
  else if (method === 'GET' || method === 'HEAD') getObject(request, response, query, bucket, key)
  else if (method === 'DELETE') deleteObject(response, query, bucket, key)
  else throw new S3Error(405, 'MethodNotAllowed')
}

function putObject(
  request: IncomingMessage,
  response: ServerResponse,
  bucket: Bucket,
  key: string,
  body: Buffer,
): void {
  const versions = bucket.objects.get(key) ?? []
  if (request.headers['if-none-match'] !== undefined) {
    if (bucket.conditionalWrites === 'refuses') throw new S3Error(501, 'NotImplemented')
    if (versions.at(-1)?.body != null) throw new S3Error(412, 'PreconditionFailed')
  }
  const md5 = request.headers['content-md5']
  if (md5 !== undefined && md5 !== hash('md5', body, 'base64')) throw new S3Error(400, 'BadDigest')
  if (bucket.lockMs !== undefined && md5 === undefined) throw new S3Error(400, 'InvalidRequest')
  const version = newVersion(body, bucket)
  bucket.objects.set(key, bucket.isVersioned === true ? [...versions, version] : [version])
  response.writeHead(200, { etag: '"x"' }).end()
}

function getObject(
  request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
  bucket: Bucket,
  key: string,
): void {
  const versions = bucket.objects.get(key) ?? []
  const id = query.get('versionId')
  const version =
    id === null || id === 'null' ? versions.at(-1) : versions.find((it) => it.id === id)
  if (version?.body == null) throw new S3Error(404, 'NoSuchKey')
  response.writeHead(200, {
    'content-length': version.body.length,
    'last-modified': version.writtenAt.toUTCString(),
    ...(version.lockedUntil === null
      ? {}
      : {
          'x-amz-object-lock-mode': 'COMPLIANCE',
          'x-amz-object-lock-retain-until-date': version.lockedUntil.toISOString(),
        }),
    ...(version.isHeld ? { 'x-amz-object-lock-legal-hold': 'ON' } : {}),
  })
  response.end(request.method === 'HEAD' ? undefined : version.body)
}

function deleteObject(
  response: ServerResponse,
  query: URLSearchParams,
  bucket: Bucket,
  key: string,
): void {
  const versions = bucket.objects.get(key) ?? []
  const id = query.get('versionId')
  if (bucket.isVersioned !== true) {
    bucket.objects.delete(key)
    response.writeHead(204).end()
    return
  }
  if (id === null) {
    const marker = { ...newVersion(Buffer.alloc(0), {}), body: null }
    bucket.objects.set(key, [...versions, marker])
    response.writeHead(204, { 'x-amz-delete-marker': 'true', 'x-amz-version-id': marker.id }).end()
    return
  }
  const version = versions.find((it) => it.id === id)
  const isLocked =
    version?.isHeld === true || (version?.lockedUntil ?? new Date(0)).getTime() > Date.now()
  if (isLocked) throw new S3Error(403, 'AccessDenied')
  const left = versions.filter((it) => it.id !== id)
  if (left.length === 0) bucket.objects.delete(key)
  else bucket.objects.set(key, left)
  response.writeHead(204).end()
}

function newVersion(body: Buffer, { lockMs }: BucketOptions): Version {
  return {
    id: randomBytes(12).toString('base64url'),
    body,
    writtenAt: new Date(),
    lockedUntil: lockMs === undefined ? null : new Date(Date.now() + lockMs),
    isHeld: false,
  }
}

function answer(response: ServerResponse, document: string): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n${document}`
  response.writeHead(200, {
    'content-type': 'application/xml',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}

function prefixOf(query: URLSearchParams): string {
  return query.get('prefix') ?? ''
}

function pageSizeOf(query: URLSearchParams): number {
  return Math.min(Number(query.get('max-keys') ?? 1_000), 1_000)
}

function byKey(a: { key: string }, b: { key: string }): number {
  return Buffer.compare(Buffer.from(a.key), Buffer.from(b.key))
}

function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
}

/** False for a request without any signature; throws for a wrong one. */
function checkSignature(
  request: IncomingMessage,
  url: URL,
  body: Buffer,
  expected: { accessKeyId: string; secretAccessKey: string; region: string },
): boolean {
  const header = request.headers.authorization
  if (header === undefined) return false
  const parts =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      header,
    )
  if (parts === null) throw new S3Error(400, 'AuthorizationHeaderMalformed')
  const [, accessKeyId = '', day = '', region = '', names = '', signature = ''] = parts
  if (accessKeyId !== expected.accessKeyId) throw new S3Error(403, 'InvalidAccessKeyId')
  if (region !== expected.region) throw new S3Error(400, 'AuthorizationHeaderMalformed')
  const at = String(request.headers['x-amz-date'])
  const sentAt = Date.parse(
    at.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'),
  )
  if (!(Math.abs(Date.now() - sentAt) < 900_000)) throw new S3Error(403, 'RequestTimeTooSkewed')
  const digest = String(request.headers['x-amz-content-sha256'])
  if (digest !== 'UNSIGNED-PAYLOAD' && digest !== createHash('sha256').update(body).digest('hex')) {
    throw new S3Error(400, 'XAmzContentSHA256Mismatch')
  }
  const query = [...url.searchParams]
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .sort((a, b) => (a.join('=') < b.join('=') ? -1 : 1))
    .map((pair) => pair.join('='))
  const canonical = [
    request.method,
    url.pathname,
    query.join('&'),
    ...names.split(';').map((name) => `${name}:${String(request.headers[name] ?? '').trim()}`),
    '',
    names,
    digest,
  ].join('\n')
  const scope = `${day}/${region}/s3/aws4_request`
  const toSign = `AWS4-HMAC-SHA256\n${at}\n${scope}\n${createHash('sha256').update(canonical).digest('hex')}`
  const key = [day, region, 's3', 'aws4_request'].reduce<Buffer>(
    (secret, part) => createHmac('sha256', secret).update(part).digest(),
    Buffer.from(`AWS4${expected.secretAccessKey}`),
  )
  const proper = createHmac('sha256', key).update(toSign).digest()
  if (!timingSafeEqual(proper, Buffer.from(signature, 'hex'))) {
    throw new S3Error(403, 'SignatureDoesNotMatch')
  }
  return true
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
