import type { SupabaseClient } from '@supabase/supabase-js'
import * as z from 'zod/mini'

/**
 * How the page reads and starts things, with every answer checked before anything else sees it. Lists come
 * from the two public tables under row level security; what acts, and what belongs to a run, goes through
 * the functions with the signed-in person's token.
 */

/** What the page uses of a Supabase client; a whole one of a host fits. */
export type PageClient = Pick<SupabaseClient, 'auth' | 'from'>

export interface PageServices {
  supabase: PageClient
  /** Where the functions answer, without a slash at the end: `/.netlify/functions`. */
  functionsUrl: string
}

/** Why something the page asked for did not come. */
export class RequestFailed extends Error {
  override readonly name = 'RequestFailed'
  /** A code of the service, or `offline` (no answer), `unexpected_answer` (not what we know). */
  readonly code: string
  readonly requestId: string | undefined
  /** All that the service answered, for whoever knows more of it than code and message. */
  readonly answer: unknown

  constructor(
    code: string,
    message: string,
    options: { requestId?: string | undefined; cause?: unknown; answer?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.requestId = options.requestId
    this.answer = options.answer
  }
}

/** As JSON has it, or as Postgres writes it: the emulated API answers `2026-11-20 02:00:04.5+00`. */
export const time = z.pipe(
  z.string(),
  z.transform((text, context) => {
    const date = new Date(text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00'))
    if (!Number.isNaN(date.getTime())) return date
    context.issues.push({ code: 'custom', message: 'is not a time', input: text })
    return z.NEVER
  }),
)
export const count = z.number().check(z.nonnegative())

const Outcome = z.union([z.object({ run_id: z.string() }), z.object({ tenants_failed: count })])

const Refusal = z.object({
  error: z.object({ code: z.string(), message: z.string(), request_id: z.optional(z.string()) }),
})

/**
 * Calls a function as the signed-in person. Throws `RequestFailed`, with `offline` where nothing came back;
 * then what was asked for may have happened all the same.
 */
export async function callFunction(
  { supabase, functionsUrl }: PageServices,
  name: string,
  body: object,
  signal?: AbortSignal,
): Promise<unknown> {
  return withSession(supabase, (token) => post(`${functionsUrl}/${name}`, token, body, signal))
}

/**
 * Does something with the signed-in person's token. Where that is not good any more it is renewed once: who
 * is not let in has started nothing. Throws `not_signed_in` where that does not help.
 */
export async function withSession<Answer>(
  supabase: PageClient,
  act: (token: string) => Promise<Answer>,
): Promise<Answer> {
  const { data } = await supabase.auth.getSession()
  if (data.session === null) throw new RequestFailed('not_signed_in', 'Nobody is signed in.')
  try {
    return await act(data.session.access_token)
  } catch (error) {
    if (!(error instanceof RequestFailed) || error.code !== 'not_signed_in') throw error
    const renewed = await supabase.auth.refreshSession()
    if (renewed.data.session === null) throw error
    return act(renewed.data.session.access_token)
  }
}

async function post(
  url: string,
  token: string,
  body: object,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  let answer: Response
  try {
    answer = await fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify(body),
      ...(signal === undefined ? {} : { signal }),
    })
  } catch (cause) {
    signal?.throwIfAborted()
    throw new RequestFailed('offline', 'The service did not answer.', { cause })
  }
  const content: unknown = await answer.json().catch(() => null)
  // A backup that failed answers like one that did not, with its run: the run says why. So does work on
  // many tenants, with how many of them failed.
  if (answer.ok || Outcome.safeParse(content).success) return content
  const refusal = Refusal.safeParse(content)
  const requestId = answer.headers.get('x-request-id') ?? refusal.data?.error.request_id
  if (refusal.success) {
    throw new RequestFailed(refusal.data.error.code, refusal.data.error.message, {
      requestId,
      answer: content,
    })
  }
  throw new RequestFailed(
    answer.status >= 500 ? 'offline' : 'unexpected_answer',
    `The service answered ${answer.status}.`,
    { requestId },
  )
}

interface TableAnswer {
  data: unknown
  error: { message: string; code?: string } | null
  status: number
}

/** The rows of an answer of the tables, checked. Throws `RequestFailed`. */
export function readRows<T extends z.ZodMiniType>(schema: T, answer: TableAnswer): z.infer<T>[] {
  if (answer.error !== null) {
    // A page beyond the end, because rows went away meanwhile.
    if (answer.error.code === 'PGRST103') return []
    if (answer.status === 401) throw new RequestFailed('not_signed_in', answer.error.message)
    if (answer.status === 0) throw new RequestFailed('offline', answer.error.message)
    throw new RequestFailed('database_unavailable', answer.error.message)
  }
  return check(z.array(schema), answer.data)
}

/** An answer as we know it; throws `RequestFailed` with `unexpected_answer`. */
export function check<T extends z.ZodMiniType>(
  schema: T,
  data: unknown,
  requestId?: string,
): z.infer<T> {
  const parsed = schema.safeParse(data)
  if (parsed.success) return parsed.data
  const where = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ')
  throw new RequestFailed('unexpected_answer', `Not as expected: ${where}`, { requestId })
}
