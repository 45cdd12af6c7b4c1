import { buffer } from 'node:stream/consumers'
import { inspect } from 'node:util'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import * as z from 'zod'
import { BackupError } from '../../../src/core/errors.ts'
import { partPath, tenantPrefix } from '../../../src/core/store/object-path.ts'
import { SupabaseStore } from '../../../src/core/store/supabase-store.ts'

const PROJECT = 'http://project.test'
const API = `${PROJECT}/storage/v1`
const KEY = `sb_secret_${'k'.repeat(30)}`
const STAMP = '20261121T020304567Z-1a2b3c4d'
const path = partPath('t1', STAMP, { schema: 'public', name: 'orders' }, 1)
const OBJECT = `${API}/object/backups/${path}`
const INFO = `${API}/object/info/backups/${path}`
const body = Buffer.from('the bytes of a part')

const server = setupServer()
let pauses: number[]
let store: SupabaseStore

beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterAll(() => server.close())
afterEach(() => server.resetHandlers())
beforeEach(() => {
  pauses = []
  store = openStore()
})

function openStore(options: { timeoutMs?: number; pageSize?: number } = {}): SupabaseStore {
  return new SupabaseStore(
    'backups',
    { url: PROJECT, secretKey: KEY },
    {
      ...options,
      retry: {
        attempts: 3,
        random: () => 0.5,
        sleep: async (ms) => {
          pauses.push(ms)
        },
      },
    },
  )
}

/** Errors as hosted Storage sends them: HTTP 400 for nearly all, the real status in the body. */
function failure(statusCode: number, code: string, message: string, status = 400) {
  return HttpResponse.json(
    { statusCode: String(statusCode), code, error: code, message },
    { status },
  )
}

const duplicate = () => failure(409, 'KeyAlreadyExists', 'The resource already exists')
const written = () => HttpResponse.json({ Id: 'id', Key: `backups/${path}` })
const info = (size: number) =>
  HttpResponse.json({ id: 'id', name: path, size, created_at: '2026-11-21T02:03:05.000Z' })

/** Answers one after the other; the last one stays. */
function inTurn(...answers: (() => Response | Promise<Response>)[]) {
  const calls = { count: 0 }
  const resolver = () => {
    const answer = answers[Math.min(calls.count, answers.length - 1)]
    calls.count++
    return answer?.() ?? HttpResponse.error()
  }
  return { calls, resolver }
}

async function errorOf(promise: Promise<unknown>): Promise<BackupError> {
  const error = await promise.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  )
  if (!(error instanceof BackupError)) throw error
  expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(KEY)
  return error
}

describe('writing an object', () => {
  test('sends bytes of known length, and never over what is there', async () => {
    let headers = new Headers()
    let sent = Buffer.alloc(0)
    server.use(
      http.post(OBJECT, async ({ request }) => {
        headers = request.headers
        sent = Buffer.from(await request.arrayBuffer())
        return written()
      }),
    )

    await store.put(path, body, 'application/gzip')

    expect(sent).toEqual(body)
    expect(headers.get('content-length')).toBe(String(body.length))
    expect(headers.get('content-type')).toBe('application/gzip')
    expect(headers.get('x-upsert')).toBe('false')
    expect(headers.get('apikey')).toBe(KEY)
  })

  test('comes through when Storage asks to slow down', async () => {
    const upload = inTurn(() => failure(429, 'SlowDown', 'slow down', 429), written)
    server.use(http.post(OBJECT, upload.resolver))
    await store.put(path, body, 'application/gzip')
    expect(upload.calls.count).toBe(2)
    expect(pauses).toHaveLength(1)
  })

  test.each([
    ['HTTP 500', () => failure(500, 'InternalError', 'no', 500)],
    ['HTTP 502 without JSON', () => new HttpResponse('<html>bad gateway</html>', { status: 502 })],
    ['status 503 inside HTTP 400', () => failure(503, 'DatabaseConnectionLimit', 'no')],
    ['status 544', () => failure(544, 'DatabaseTimeout', 'no', 544)],
    ['a cut connection', () => HttpResponse.error()],
  ])('gives up on %s after a bounded number of tries', async (_, answer) => {
    const upload = inTurn(answer)
    server.use(http.post(OBJECT, upload.resolver))

    const error = await errorOf(store.put(path, body, 'application/gzip'))

    expect(error.code).toBe('store_unavailable')
    expect(error.canRetry).toBe(true)
    expect(upload.calls.count).toBe(3)
    expect(pauses).toEqual([312.5, 625])
  })

  test('gives up on an answer that does not come in time', async () => {
    store = openStore({ timeoutMs: 20 })
    const upload = inTurn(() => new Promise<never>(() => {}))
    server.use(http.post(OBJECT, upload.resolver))
    const error = await errorOf(store.put(path, body, 'application/gzip'))
    expect(error.code).toBe('store_unavailable')
    expect(upload.calls.count).toBe(3)
  })

  test('gives up on an answer that begins and then stands still', async () => {
    store = openStore({ timeoutMs: 20 })
    const endless = () => new HttpResponse(new ReadableStream({ pull() {} }), { status: 200 })
    server.use(http.post(OBJECT, inTurn(endless).resolver))
    const error = await errorOf(store.put(path, body, 'application/gzip'))
    expect(error.code).toBe('store_unavailable')
  })

  test('is done where the answer was lost and the object holds the same bytes', async () => {
    const upload = inTurn(() => HttpResponse.error(), duplicate)
    server.use(
      http.post(OBJECT, upload.resolver),
      http.get(INFO, () => info(body.length)),
      http.get(OBJECT, () => new HttpResponse(body)),
    )
    await expect(store.put(path, body, 'application/gzip')).resolves.toBeUndefined()
    expect(upload.calls.count).toBe(2)
  })

  test('takes a download that broke off for no proof, and compares again', async () => {
    store = openStore({ timeoutMs: 30 })
    const promised = { headers: { 'content-length': '19' } }
    const download = inTurn(
      () => new HttpResponse(body.subarray(0, 3), promised),
      () => new HttpResponse(body, promised),
    )
    server.use(
      http.post(OBJECT, duplicate),
      http.get(INFO, () => info(body.length)),
      http.get(OBJECT, download.resolver),
    )
    await expect(store.put(path, body, 'application/gzip')).resolves.toBeUndefined()
    expect(download.calls.count).toBe(2)
  })

  test('is refused where the object holds other bytes of the same length', async () => {
    server.use(
      http.post(OBJECT, duplicate),
      http.get(INFO, () => info(body.length)),
      http.get(OBJECT, () => new HttpResponse('the bytes of a pars')),
    )
    const error = await errorOf(store.put(path, body, 'application/gzip'))
    expect(error.code).toBe('object_exists')
  })

  test('is refused where the object has another size, without reading it', async () => {
    server.use(
      http.post(OBJECT, duplicate),
      http.get(INFO, () => info(body.length - 1)),
    )
    const error = await errorOf(store.put(path, body, 'application/gzip'))
    expect(error.code).toBe('object_exists')
  })

  test.each([
    ['bucket_missing', /Dashboard > Storage/, failure(404, 'NoSuchBucket', 'Bucket not found')],
    ['bucket_missing', /Dashboard > Storage/, failure(404, 'not_found', 'Bucket not found')],
    ['not_configured', /SUPABASE_SECRET_KEY/, failure(403, 'AccessDenied', 'new row violates …')],
    ['not_configured', /SUPABASE_SECRET_KEY/, failure(400, 'InvalidJWT', 'jwt malformed')],
    ['not_configured', /size limit/, failure(413, 'EntityTooLarge', 'too large')],
    ['not_configured', /file types/, failure(415, 'InvalidMimeType', 'mime type')],
  ])('answers %s with what to do, at once (%s)', async (code, help, answer) => {
    const upload = inTurn(() => answer)
    server.use(http.post(OBJECT, upload.resolver))
    const error = await errorOf(store.put(path, body, 'application/gzip'))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(help)
    expect(upload.calls.count).toBe(1)
  })

  test('stops in the middle when it is told to', async () => {
    const stop = new AbortController()
    const reason = new Error('enough')
    server.use(
      http.post(OBJECT, () => {
        stop.abort(reason)
        return new Promise<never>(() => {})
      }),
    )
    await expect(store.put(path, body, 'application/gzip', stop.signal)).rejects.toBe(reason)
  })
})

describe('reading an object', () => {
  test('gives its bytes', async () => {
    server.use(http.get(OBJECT, () => new HttpResponse(body)))
    expect(await buffer(await store.get(path))).toEqual(body)
  })

  test('fails where fewer bytes arrive than were promised', async () => {
    vi.spyOn(globalThis, 'fetch').mockResolvedValueOnce(
      new Response(body.subarray(0, 7), { headers: { 'content-length': '19' } }),
    )
    const error = await errorOf(buffer(await store.get(path)))
    expect(error.code).toBe('store_unavailable')
    expect(error.message).toContain('7 of 19 bytes')
  })

  test('fails where the connection is cut in the middle', async () => {
    const cut = () =>
      new ReadableStream({
        start(controller) {
          controller.enqueue(new Uint8Array(body.subarray(0, 7)))
        },
        pull(controller) {
          setTimeout(() => controller.error(new TypeError('terminated')), 10)
        },
      })
    vi.spyOn(globalThis, 'fetch').mockResolvedValueOnce(new Response(cut()))
    const error = await errorOf(buffer(await store.get(path)))
    expect(error.code).toBe('store_unavailable')
  })

  test('fails where the bytes stop coming', async () => {
    store = openStore({ timeoutMs: 20 })
    const still = new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(body.subarray(0, 7)))
      },
    })
    server.use(http.get(OBJECT, () => new HttpResponse(still)))
    const error = await errorOf(buffer(await store.get(path)))
    expect(error.message).toContain('after 7 bytes')
  })

  test('waits for a slow reader', async () => {
    store = openStore({ timeoutMs: 30 })
    server.use(http.get(OBJECT, () => new HttpResponse(body)))
    const stream = await store.get(path)
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(await buffer(stream)).toEqual(body)
  })

  test('says object_missing, and bucket_missing where that is the reason', async () => {
    const answer = inTurn(
      () => failure(404, 'NoSuchKey', 'Object not found'),
      () => failure(404, 'NoSuchBucket', 'Bucket not found'),
    )
    server.use(http.get(OBJECT, answer.resolver), http.get(INFO, answer.resolver))
    expect((await errorOf(store.get(path))).code).toBe('object_missing')
    expect((await errorOf(store.stat(path))).code).toBe('bucket_missing')
  })
})

describe('listing', () => {
  const LIST = `${API}/object/list/backups`
  const object = (name: string) => ({
    name,
    id: `id of ${name}`,
    created_at: '2026-11-21T02:03:05.000Z',
    metadata: { size: 5 },
  })
  const folder = (name: string) => ({ name, id: null, created_at: null, metadata: null })

  /** One level with relative names and folder entries, page by page, as the hosted service does. */
  function serve(tree: Record<string, unknown[]>) {
    const asked: string[] = []
    server.use(
      http.post(LIST, async ({ request }) => {
        const ask: unknown = await request.json()
        const { prefix, limit, offset } = ask as { prefix: string; limit: number; offset: number }
        asked.push(`${prefix}@${offset}`)
        return HttpResponse.json((tree[prefix] ?? []).slice(offset, offset + limit))
      }),
    )
    return asked
  }

  test('goes through every page of every folder', async () => {
    store = openStore({ pageSize: 2 })
    const asked = serve({
      'tenant-backups/t1': [folder('2026-11-20'), folder('2026-11-21')],
      'tenant-backups/t1/2026-11-20': [object('a'), object('b'), object('c')],
      'tenant-backups/t1/2026-11-21': [object('d')],
    })

    const listed = await store.list(tenantPrefix('t1'))

    expect(listed.map((it) => it.path.replace('tenant-backups/t1/', ''))).toEqual([
      '2026-11-20/a',
      '2026-11-20/b',
      '2026-11-20/c',
      '2026-11-21/d',
    ])
    expect(asked).toContain('tenant-backups/t1/2026-11-20@2')
  })

  test('fails as a whole where one page fails', async () => {
    store = openStore({ pageSize: 2 })
    const pages = inTurn(
      () => HttpResponse.json([object('a'), object('b')]),
      () => failure(500, 'InternalError', 'no', 500),
    )
    server.use(http.post(LIST, pages.resolver))
    const error = await errorOf(store.list(tenantPrefix('t1')))
    expect(error.code).toBe('store_unavailable')
    expect(pages.calls.count).toBe(4)
  })

  test('does not take a missing bucket for an empty one', async () => {
    serve({})
    server.use(http.get(`${API}/bucket/backups`, () => failure(404, 'NoSuchBucket', 'no')))
    expect((await errorOf(store.list(tenantPrefix('t1')))).code).toBe('bucket_missing')
  })

  test('refuses an answer it does not understand', async () => {
    serve({ 'tenant-backups/t1': [{ name: 'a', id: 'x' }] })
    expect((await errorOf(store.list(tenantPrefix('t1')))).code).toBe('store_unavailable')
  })
})

describe('signing URLs', () => {
  const SIGN = `${API}/object/sign/backups`
  const Paths = z.object({ expiresIn: z.number(), paths: z.array(z.string()) })
  const many = (count: number) =>
    Array.from({ length: count }, (_, at) =>
      partPath('t1', STAMP, { schema: 'public', name: 'orders' }, at + 1),
    )

  test('asks for at most 500 at once, and gives them in the order of the paths', async () => {
    const batches: number[] = []
    server.use(
      http.post(SIGN, async ({ request }) => {
        const { expiresIn, paths } = Paths.parse(await request.json())
        expect(expiresIn).toBe(900)
        batches.push(paths.length)
        const signed = paths.map((it) => ({
          error: null,
          path: it,
          signedURL: `/object/sign/backups/${it}?token=t`,
        }))
        return HttpResponse.json(signed.reverse())
      }),
    )

    const urls = await store.signUrls(many(1_100), 900)

    expect(batches).toEqual([500, 500, 100])
    expect(urls).toEqual(many(1_100).map((it) => `${API}/object/sign/backups/${it}?token=t`))
  })

  test('fails as a whole where one object is missing', async () => {
    server.use(
      http.post(SIGN, () => HttpResponse.json([{ error: 'not there', path, signedURL: null }])),
    )
    expect((await errorOf(store.signUrls([path], 60))).code).toBe('object_missing')
  })

  test('signs no path that is not ours', async () => {
    expect((await errorOf(store.signUrls(['secrets/key.txt'], 60))).code).toBe('path_refused')
  })
})

describe('removing', () => {
  test('goes through the Storage API in batches of at most 1,000', async () => {
    const batches: number[] = []
    server.use(
      http.delete(`${API}/object/backups`, async ({ request }) => {
        const ask: unknown = await request.json()
        batches.push((ask as { prefixes: string[] }).prefixes.length)
        return HttpResponse.json([])
      }),
    )
    const paths = Array.from({ length: 1_001 }, (_, i) =>
      partPath('t1', STAMP, { schema: 'public', name: `t${i}` }, 1),
    )
    await store.remove(paths)
    expect(batches).toEqual([1_000, 1])
  })
})

describe('checking', () => {
  const BUCKET = `${API}/bucket/backups`

  test('passes a private bucket', async () => {
    server.use(http.get(BUCKET, () => HttpResponse.json({ id: 'backups', public: false })))
    await expect(store.check()).resolves.toBeUndefined()
  })

  test('refuses a public bucket and says where to change that', async () => {
    server.use(http.get(BUCKET, () => HttpResponse.json({ id: 'backups', public: true })))
    const error = await errorOf(store.check())
    expect(error.code).toBe('bucket_public')
    expect(error.message).toMatch(/private \(Dashboard > Storage/)
  })

  test('says how to make a bucket that is missing', async () => {
    server.use(http.get(BUCKET, () => failure(404, 'NoSuchBucket', 'Bucket not found')))
    const error = await errorOf(store.check())
    expect(error.code).toBe('bucket_missing')
    expect(error.message).toMatch(/New bucket, name «backups», private/)
  })

  test('says what is wrong where no Supabase answers', async () => {
    server.use(http.get(BUCKET, () => HttpResponse.json({ hello: 'world' })))
    expect((await errorOf(store.check())).message).toMatch(/SUPABASE_URL/)
    server.use(http.get(BUCKET, () => new HttpResponse('nothing here', { status: 404 })))
    expect((await errorOf(store.check())).message).toMatch(/SUPABASE_URL/)
  })

  test('does not follow a redirect, which would carry the key elsewhere', async () => {
    server.use(http.get(BUCKET, () => HttpResponse.redirect('http://elsewhere.test/')))
    expect((await errorOf(store.check())).code).toBe('store_unavailable')
  })
})
