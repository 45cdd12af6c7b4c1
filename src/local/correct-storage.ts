import * as z from 'zod'

/**
 * Corrects the answers of the emulated Storage where they differ from the hosted service, so that
 * production code is written for the real one only: signed URLs, signing of several paths, the size
 * of an object, which stands beside its own metadata and not inside, and listings, which the hosted
 * service gives one level at a time, with folders that have no id.
 */
export function correctStorage(
  serve: (request: Request) => Promise<Response>,
): (request: Request) => Promise<Response> {
  return async (request) => {
    const { pathname } = new URL(request.url)
    const isInfo = request.method === 'GET' && pathname.startsWith('/storage/v1/object/info/')
    if (isInfo) return describeObject(serve, request)
    if (request.method !== 'POST') return serve(request)
    const list = /^\/storage\/v1\/object\/list\/([^/]+)$/.exec(pathname)
    if (list !== null) return listLevel(serve, request)
    const sign = /^\/storage\/v1\/object\/sign\/([^/]+)(\/.+)?$/.exec(pathname)
    if (sign === null) return serve(request)
    return sign[2] === undefined ? signMany(serve, request) : signOne(serve, request)
  }
}

type Serve = (request: Request) => Promise<Response>

const Described = z.looseObject({ metadata: z.looseObject({ size: z.number() }) })

async function describeObject(serve: Serve, request: Request): Promise<Response> {
  const answer = await serve(request)
  if (!answer.ok) return answer
  const { metadata, ...described } = Described.parse(await answer.json())
  return withBody(answer, { ...described, size: metadata.size, metadata: null })
}

const Signed = z.object({ signedUrl: z.string() })
const SignMany = z.object({ expiresIn: z.number(), paths: z.array(z.string()) })

async function signOne(serve: Serve, request: Request): Promise<Response> {
  const answer = await serve(request)
  if (!answer.ok) return answer
  return withBody(answer, { signedURL: await readSignedUrl(answer) })
}

async function signMany(serve: Serve, request: Request): Promise<Response> {
  const { expiresIn, paths } = SignMany.parse(await request.clone().json())
  const signed = []
  let last: Response | undefined
  for (const path of paths) {
    // Not more than an address needs: the emulator does not read =, which our paths have, from %3D.
    const url = `${request.url}/${encodeURI(path).replaceAll('?', '%3F').replaceAll('#', '%23')}`
    const answer = await serve(withRequestBody(request, { expiresIn }, url))
    signed.push(
      answer.ok
        ? { error: null, path, signedURL: await readSignedUrl(answer) }
        : {
            error: 'Either the object does not exist or you do not have access to it',
            path,
            signedURL: null,
          },
    )
    last = answer
  }
  return last === undefined ? Response.json([]) : withBody(last, signed, 200)
}

async function readSignedUrl(answer: Response): Promise<string> {
  const { signedUrl } = Signed.parse(await answer.json())
  return signedUrl.replace(/^\/storage\/v1/, '')
}

const ListInput = z.object({
  prefix: z.string().default(''),
  limit: z.number().default(100),
  offset: z.number().default(0),
  search: z.string().default(''),
  sortBy: z.object({ column: z.string(), order: z.string() }).partial().optional(),
})
const Listed = z.array(z.looseObject({ name: z.string(), created_at: z.string().nullish() }))
type Entry = z.infer<typeof Listed>[number]

async function listLevel(serve: Serve, request: Request): Promise<Response> {
  const input = ListInput.parse(await request.clone().json())
  const folder = input.prefix.replace(/\/*$/, '/').replace(/^\/+/, '')
  const answer = await serve(
    withRequestBody(request, { prefix: folder, limit: 1_000_000, offset: 0 }, request.url),
  )
  if (!answer.ok) return answer

  const level = new Map<string, Entry>()
  for (const entry of Listed.parse(await answer.json())) {
    if (!entry.name.startsWith(folder)) continue
    const rest = entry.name.slice(folder.length)
    if (!rest.startsWith(input.search)) continue
    const [name = '', ...deeper] = rest.split('/')
    if (deeper.length === 0) level.set(name, { ...entry, name })
    else if (!level.has(name)) level.set(name, { ...FOLDER, name })
  }
  const direction = input.sortBy?.order === 'desc' ? -1 : 1
  const key = (entry: Entry) =>
    input.sortBy?.column === 'created_at' ? (entry.created_at ?? '') : entry.name
  const sorted = [...level.values()].sort((a, b) => (key(a) < key(b) ? -1 : 1) * direction)
  // The hosted service gives no more at once, whatever is asked for.
  const limit = Math.min(input.limit, 1_000)
  return withBody(answer, sorted.slice(input.offset, input.offset + limit))
}

const FOLDER = {
  id: null,
  created_at: null,
  updated_at: null,
  last_accessed_at: null,
  metadata: null,
} as const

function withRequestBody(request: Request, body: unknown, url: string): Request {
  const headers = new Headers(request.headers)
  headers.delete('content-length')
  return new Request(url, { method: 'POST', headers, body: JSON.stringify(body) })
}

function withBody(answer: Response, body: unknown, status = answer.status): Response {
  const headers = new Headers(answer.headers)
  headers.delete('content-length')
  headers.set('content-type', 'application/json')
  return new Response(JSON.stringify(body), { status, headers })
}
