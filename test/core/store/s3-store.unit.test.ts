import { hash } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { inspect } from 'node:util'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { BackupError } from '../../../src/core/errors.ts'
import { partPath, tenantPrefix } from '../../../src/core/store/object-path.ts'
import { S3Store } from '../../../src/core/store/s3-store.ts'
import { type S3Server, startS3Server } from '../../support/s3-server.ts'
import { describeStore } from './contract.ts'

const STAMP = '20261121T020304567Z-1a2b3c4d'
const path = partPath('t1', STAMP, { schema: 'public', name: 'orders' }, 1)
const other = partPath('t1', STAMP, { schema: 'public', name: 'others' }, 1)
const body = Buffer.from('the bytes of a part')
const TYPE = 'application/gzip'

function openAt(
  server: Pick<S3Server, 'url' | 'accessKeyId' | 'secretAccessKey' | 'region'>,
  bucket: string,
  options: { prefix?: string; pageSize?: number; timeoutMs?: number } = {},
): S3Store {
  const { prefix = 'here', ...rest } = options
  return new S3Store(
    { bucket, prefix },
    {
      endpoint: server.url,
      region: server.region,
      accessKeyId: server.accessKeyId,
      secretAccessKey: server.secretAccessKey,
      sessionToken: undefined,
      forcePathStyle: true,
    },
    { ...rest, retry: { attempts: 3, random: () => 0.5, sleep: async () => {} } },
  )
}

describe.each([
  ['S3', {}, ''],
  ['S3 below a prefix, with versions and locks', { isVersioned: true, lockMs: 0 }, 'a/b'],
  ['S3 without conditional writes', { conditionalWrites: 'refuses' }, 'a'],
] as const)('%s', (name, bucket, prefix) => {
  describeStore(name, async () => {
    const server = await startS3Server({ buckets: { backups: bucket } })
    return {
      store: openAt(server, 'backups', { prefix, pageSize: 5 }),
      overwrite: async (object, bytes) =>
        server.overwrite('backups', prefix === '' ? object : `${prefix}/${object}`, bytes),
      close: () => server.close(),
    }
  })
})

describe('an S3 store at a service', () => {
  let server: S3Server

  beforeAll(async () => {
    server = await startS3Server({
      buckets: {
        plain: {},
        locked: { isVersioned: true, lockMs: 3_600_000 },
        versions: { isVersioned: true },
        secretive: { isVersioned: true, hidesVersions: true },
        policy: { openBy: 'policy' },
        acl: { openBy: 'acl' },
        listing: { openBy: 'listing' },
      },
    })
  })
  afterAll(() => server.close())

  test.each(['policy', 'acl', 'listing'])('refuses a bucket opened by %s', async (bucket) => {
    await expect(openAt(server, bucket).check()).rejects.toMatchObject({ code: 'bucket_public' })
  })

  test('names a bucket that is not there, and the key that is refused', async () => {
    await expect(openAt(server, 'nowhere').check()).rejects.toMatchObject({
      code: 'bucket_missing',
    })
    await expect(openAt(server, 'nowhere').list('tenant-backups/')).rejects.toMatchObject({
      code: 'bucket_missing',
    })
    const secret = 'not-the-secret-access-key'
    for (const wrong of [
      { ...server, secretAccessKey: secret },
      { ...server, accessKeyId: 'AKNOBODY', secretAccessKey: secret },
      { ...server, region: 'us-east-1' },
    ]) {
      const error: unknown = await openAt(wrong, 'plain')
        .get(path)
        .catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'not_configured' })
      const told = inspect(error, { depth: 12, showHidden: true })
      expect(told).not.toContain(secret)
      expect(told).not.toContain('AWS4-HMAC')
      expect(told).not.toContain('AKNOBODY')
    }
  })

  test('says until when objects are locked, leaves them readable, and removes them then', async () => {
    const store = openAt(server, 'locked', { pageSize: 2 })
    const free = openAt(server, 'versions')
    await store.put(path, body, TYPE)
    await store.put(other, body, TYPE)
    await free.put(path, body, TYPE)

    const { locked } = await store.remove([path, other])

    expect(locked.map((it) => it.path)).toEqual([path, other].sort())
    const until = locked[0]?.until?.getTime() ?? 0
    expect(Math.abs(until - Date.now() - 3_600_000)).toBeLessThan(60_000)
    expect(await buffer(await store.get(path))).toEqual(body)
    expect(await store.list(tenantPrefix('t1'))).toHaveLength(2)
    expect(await free.remove([path])).toEqual({ locked: [] })

    server.endLocks('locked')
    server.hold('locked', true)
    expect((await store.remove([path])).locked).toEqual([{ path, until: null }])
    server.hold('locked', false)
    expect(await store.remove([path, other])).toEqual({ locked: [] })
    expect(server.countVersions('locked')).toBe(0)
  })

  test('leaves no version of what it removes, also of what somebody hid', async () => {
    const store = openAt(server, 'versions', { pageSize: 2 })
    await store.put(path, body, TYPE)
    await fetchSigned(server, 'versions', `here/${path}`)
    expect(await store.stat(path)).toBeNull()

    await store.remove([path])

    expect(server.countVersions('versions')).toBe(0)
  })

  test('does not take hidden for removed where it may not see versions', async () => {
    const store = openAt(server, 'secretive')
    await store.put(path, body, TYPE)
    await expect(store.remove([path])).rejects.toMatchObject({
      code: 'not_configured',
      message: expect.stringContaining('s3:ListBucketVersions'),
    })
    expect(server.countVersions('secretive')).toBe(2)
  })

  test('tells the size and the time of what it lists', async () => {
    const store = openAt(server, 'plain', { prefix: '' })
    await store.put(path, body, TYPE)
    const [object] = await store.list(tenantPrefix('t1'))
    expect(object).toMatchObject({ path, size: body.length })
    expect(object?.writtenAt).toBeInstanceOf(Date)
  })
})

/** Hides an object as a plain removal in a bucket with versions does. */
async function fetchSigned(server: S3Server, bucket: string, key: string): Promise<void> {
  const { DeleteObjectCommand, S3Client } = await import('@aws-sdk/client-s3')
  const { accessKeyId, secretAccessKey, region } = server
  const client = new S3Client({
    endpoint: server.url,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  })
  await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }))
  client.destroy()
}

describe('an S3 store whose service fails', () => {
  const place = {
    url: 'http://s3.test',
    accessKeyId: 'AKTEST',
    secretAccessKey: `secret${'k'.repeat(30)}`,
    region: 'us-east-1',
  }
  const OBJECT = `http://s3.test/backups/here/${path}`
  const BUCKET = 'http://s3.test/backups'
  const server = setupServer()
  let store: S3Store
  let inTurnCount = 0

  beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
  afterAll(() => server.close())
  afterEach(() => server.resetHandlers())
  beforeEach(() => {
    store = openAt(place, 'backups', { pageSize: 2, timeoutMs: 800 })
    inTurnCount = 0
  })

  const failure = (status: number, code: string) => () =>
    new HttpResponse(`<Error><Code>${code}</Code><Message>no</Message></Error>`, {
      status,
      headers: { 'content-type': 'application/xml' },
    })
  const cut = () => HttpResponse.error()
  const written = () => new HttpResponse(null, { headers: { etag: '"x"' } })
  const present = () =>
    new HttpResponse(body, {
      headers: {
        'content-length': String(body.length),
        'last-modified': 'Sat, 21 Nov 2026 02:03:05 GMT',
      },
    })

  /** Answers one after the other; the last one stays. */
  function inTurn(...answers: (() => Response)[]) {
    return vi.fn(() => answers[Math.min(inTurnCount++, answers.length - 1)]?.() ?? cut())
  }

  test.each([
    ['429', failure(429, 'TooManyRequests')],
    ['503 SlowDown', failure(503, 'SlowDown')],
    ['500', failure(500, 'InternalError')],
    ['a request that took too long', failure(400, 'RequestTimeout')],
    ['two writers at once', failure(409, 'ConditionalRequestConflict')],
    ['a cut connection', cut],
  ])('writes again after %s', async (_, fail) => {
    const answers = inTurn(fail, fail, written)
    server.use(http.put(OBJECT, answers))
    await store.put(path, body, TYPE)
    expect(answers).toHaveBeenCalledTimes(3)
  })

  test('takes its own upload for written whose answer was lost', async () => {
    server.use(
      http.put(OBJECT, inTurn(cut, failure(412, 'PreconditionFailed'))),
      http.head(OBJECT, present),
      http.get(OBJECT, present),
    )
    await expect(store.put(path, body, TYPE)).resolves.toBeUndefined()
  })

  test('sends what proves the bytes and refuses to overwrite', async () => {
    const headers: Headers[] = []
    server.use(
      http.put(OBJECT, ({ request }) => {
        headers.push(request.headers)
        return written()
      }),
    )
    await store.put(path, body, TYPE)
    expect(headers[0]?.get('if-none-match')).toBe('*')
    expect(headers[0]?.get('content-md5')).toBe(hash('md5', body, 'base64'))
    expect(headers[0]?.get('content-length')).toBe(String(body.length))
    expect([...(headers[0]?.keys() ?? [])].filter((it) => it.includes('checksum'))).toEqual([])
  })

  test.each([
    ['503 SlowDown', failure(503, 'SlowDown'), 'store_unavailable', 3],
    ['a cut connection', cut, 'store_unavailable', 3],
    ['another region', failure(301, 'PermanentRedirect'), 'not_configured', 1],
    ['a missing right', failure(403, 'AccessDenied'), 'not_configured', 1],
    ['no bucket', failure(404, 'NoSuchBucket'), 'bucket_missing', 1],
    ['no object', failure(404, 'NoSuchKey'), 'object_missing', 1],
  ])('gives up reading after %s', async (_, fail, code, calls) => {
    const answers = inTurn(fail)
    server.use(http.get(OBJECT, answers))
    const error: unknown = await store.get(path).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(BackupError)
    expect(error).toMatchObject({ code })
    expect(answers).toHaveBeenCalledTimes(calls)
    expect(inspect(error, { depth: 12, showHidden: true })).not.toContain(place.secretAccessKey)
  })

  test('errors where a download is cut short', async () => {
    server.use(
      http.get(
        OBJECT,
        () =>
          new HttpResponse(body.subarray(0, 5), {
            headers: { 'content-length': String(body.length) },
          }),
      ),
    )
    await expect(store.get(path).then(buffer)).rejects.toMatchObject({ code: 'store_unavailable' })
  })

  test('fails rather than list a part', async () => {
    const page = (more: string) => () =>
      new HttpResponse(
        `<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated>${more}<Contents><Key>here/${path}</Key><LastModified>2026-11-21T02:03:05.000Z</LastModified><Size>5</Size></Contents></ListBucketResult>`,
        { headers: { 'content-type': 'application/xml' } },
      )
    const half = () => new HttpResponse('<?xml version="1.0"?><ListBucketResult><IsTrunc')
    for (const answers of [
      inTurn(page('<NextContinuationToken>a</NextContinuationToken>'), failure(503, 'SlowDown')),
      inTurn(page('')),
      inTurn(page('<NextContinuationToken>a</NextContinuationToken>'), half),
    ]) {
      inTurnCount = 0
      server.use(http.get(BUCKET, answers))
      await expect(store.list(tenantPrefix('t1'))).rejects.toMatchObject({
        code: 'store_unavailable',
      })
    }
  })

  test('asks the host of the bucket where path style is off', async () => {
    const virtual = new S3Store(
      { bucket: 'backups', prefix: '' },
      {
        endpoint: place.url,
        region: place.region,
        accessKeyId: place.accessKeyId,
        secretAccessKey: place.secretAccessKey,
        sessionToken: 'token',
        forcePathStyle: false,
      },
    )
    const seen = vi.fn(({ request }: { request: Request }) => {
      expect(request.headers.get('x-amz-security-token')).toBe('token')
      return present()
    })
    server.use(http.head(`http://backups.s3.test/${path}`, seen))
    expect(await virtual.stat(path)).toMatchObject({ size: body.length })
    expect(seen).toHaveBeenCalledOnce()
  })
})
