import { randomUUID } from 'node:crypto'
import type { Context as NetlifyContext } from '@netlify/functions'
import type { Logger } from 'pino'
import type { z } from 'zod'
import { BackupError } from '../core/errors.ts'
import type { Services } from '../core/services.ts'
import type { AttemptType } from '../core/tenants/record-refusal.ts'
import { type Caller, type CallerKind, identify, readCaller } from './authorize.ts'
import { type Environment, readEnvironment } from './environment.ts'
import { readInput } from './read-input.ts'
import { journalRefusedInput } from './refused-input.ts'
import { getLogger, getServices, requireCurrentSchema } from './services.ts'
import { streamAnswer, wantsLines } from './stream-answer.ts'

export interface Call<Input> {
  services: Services
  environment: Environment
  caller: Caller
  input: Input
  /** When the request came in. */
  startedAt: Date
  requestId: string
  /** Tells a caller who streams what is done at this moment; nobody else hears it. */
  tell(progress: object): void
}

export interface Answer {
  status: number
  /** JSON, unless it is a text of another type. */
  body: object | TextBody
}

/** What is no JSON. */
export class TextBody {
  readonly type: string
  readonly text: string

  /** `type` is the media type, with its charset. */
  constructor(type: string, text: string) {
    this.type = type
    this.text = text
  }
}

export interface Endpoint<Input> {
  /** As in its URL. */
  name: string
  methods: readonly ('GET' | 'POST')[]
  /** A strict object: body of a POST, query of a GET. */
  input: z.ZodType<Input>
  allow: readonly CallerKind[]
  /** A token with which this endpoint alone can be called, as the caller `metrics`. */
  ownToken?: (environment: Environment) => string | undefined
  /** `?secret=` counts here where `CRON_SECRET_IN_QUERY=allow`. */
  mayUseSecretInQuery?: boolean
  /** Every attempt is in the journal: as this, also where the input is refused. */
  journal?: AttemptType
  /** With `Accept: application/x-ndjson` it answers line by line, progress first. */
  canStream?: boolean
  run(call: Call<Input>): Promise<Answer>
}

/**
 * Makes a Netlify function of an endpoint: checks method, caller, input and schema, runs it, answers
 * JSON, or line by line where the endpoint can and the caller asks for it. The work is not tied to the
 * request: a client that hangs up cancels nothing. The request's id is Netlify's own, so that our log
 * lines and the platform's can be put side by side.
 */
export function handle<Input>(
  endpoint: Endpoint<Input>,
): (
  request: Request,
  netlify?: Partial<Pick<NetlifyContext, 'requestId' | 'waitUntil'>>,
) => Promise<Response> {
  return async (request, netlify) => {
    const startedAt = new Date()
    const requestId = netlify?.requestId || randomUUID()
    const log = getLogger().child({ request_id: requestId, endpoint: endpoint.name })
    const context = { startedAt, requestId, log, origins: [] }
    const toHeaders = (given: Record<string, string> | undefined) => {
      const headers = new Headers(given)
      for (const [name, value] of Object.entries(SECURITY_HEADERS)) headers.set(name, value)
      allowOrigin(headers, request, context.origins, endpoint)
      headers.set('x-request-id', requestId)
      return headers
    }
    const work = async (tell: (progress: object) => void) => {
      const answer = await answerRequest(endpoint, request, { ...context, tell })
      log.info(
        {
          method: request.method,
          status: answer.status,
          duration_ms: Date.now() - startedAt.getTime(),
        },
        'answered',
      )
      return answer
    }
    if (wantsLines(endpoint, request)) {
      return streamAnswer(work, toHeaders, (done) => netlify?.waitUntil?.(done))
    }
    const { status, body, headers } = await work(() => {})
    if (body === undefined) return new Response(null, { status, headers: toHeaders(headers) })
    if (body instanceof TextBody) {
      const typed = toHeaders(headers)
      typed.set('content-type', body.type)
      return new Response(body.text, { status, headers: typed })
    }
    return Response.json(body, { status, headers: toHeaders(headers) })
  }
}

const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
}

interface Context {
  tell: (progress: object) => void
  startedAt: Date
  requestId: string
  log: Logger
  /** Filled once the environment was read. */
  origins: string[]
  /** Known once the caller said who it is. */
  callerKind?: CallerKind
}

export interface RawAnswer {
  status: number
  body?: object
  headers?: Record<string, string>
}

async function answerRequest<Input>(
  endpoint: Endpoint<Input>,
  request: Request,
  context: Context,
): Promise<RawAnswer> {
  const { requestId, startedAt, log, origins, tell } = context
  try {
    const environment = readEnvironment()
    origins.push(...environment.allowedOrigins)
    if (request.method === 'OPTIONS') {
      return { status: 204, headers: { allow: allowedMethods(endpoint) } }
    }
    requireMethod(endpoint, request)
    const identity = await identify(request, environment, {
      mayUseSecretInQuery: endpoint.mayUseSecretInQuery ?? false,
      ownToken: endpoint.ownToken?.(environment),
    })
    context.callerKind = identity.kind
    const services = getServices(environment)
    const { journal } = endpoint
    const input = await readInput(
      request,
      endpoint.input,
      journal && ((refused) => journalRefusedInput(services, identity, journal, refused)),
    )
    await requireCurrentSchema(services)
    const caller = await readCaller(services.tenants.catalog, identity)
    log.info({ caller: caller.kind, user_id: caller.actor.id }, 'called')
    if (!endpoint.allow.includes(caller.kind)) throw notAllowed(caller.kind)
    return await endpoint.run({
      // Whatever they log is of this request.
      services: { ...services, log },
      ...{ environment, caller, input, startedAt, requestId, tell },
    })
  } catch (error) {
    return answerError(endpoint, error, context)
  }
}

function requireMethod(endpoint: HasMethods & { name: string }, { method }: Request): void {
  if (endpoint.methods.some((allowed) => allowed === method)) return
  throw new BackupError(
    'method_not_allowed',
    `${endpoint.name} takes ${endpoint.methods.join(' or ')} requests.`,
  )
}

function notAllowed(kind: CallerKind): BackupError {
  return new BackupError(
    'not_allowed',
    kind === 'cron'
      ? 'The cron secret starts backups, rehearses restores, and no more. Use OPERATOR_SECRET or sign in.'
      : 'You may not do this.',
  )
}

function answerError(
  endpoint: HasMethods,
  error: unknown,
  { requestId, log, callerKind }: Context,
): RawAnswer {
  const known = error instanceof BackupError
  const { code, message, status, details, canRetry } = known
    ? error
    : new BackupError(
        'internal',
        'Something unexpected went wrong; nothing more is known here. The log of the function has it under the request_id.',
      )
  log[status >= 500 ? 'error' : 'warn']({ code, status, err: error }, 'refused')
  return {
    status,
    body: {
      success: false,
      error: {
        code,
        message:
          // Host and login of the database are for those who run this site.
          code === 'database_unavailable' && callerKind === 'user'
            ? 'The database does not answer at the moment. Try again.'
            : message,
        request_id: requestId,
        ...(details === undefined ? {} : { details }),
      },
    },
    headers: {
      ...(code === 'method_not_allowed' ? { allow: allowedMethods(endpoint) } : {}),
      ...(code === 'not_signed_in' ? { 'www-authenticate': 'Bearer' } : {}),
      ...(status === 503 && canRetry ? { 'retry-after': '30' } : {}),
    },
  }
}

type HasMethods = { methods: readonly string[] }

function allowedMethods({ methods }: HasMethods): string {
  return [...methods, 'OPTIONS'].join(', ')
}

/** Pages of other origins may call only where ALLOWED_ORIGINS names them. */
function allowOrigin(
  headers: Headers,
  request: Request,
  origins: readonly string[],
  endpoint: HasMethods,
): void {
  headers.set('vary', 'origin')
  const origin = request.headers.get('origin')
  if (origin === null || !origins.includes(origin)) return
  headers.set('access-control-allow-origin', origin)
  headers.set('access-control-allow-methods', allowedMethods(endpoint))
  headers.set('access-control-allow-headers', 'authorization, content-type')
  headers.set('access-control-expose-headers', 'x-request-id, retry-after')
  headers.set('access-control-max-age', '600')
}
