import * as z from 'zod/mini'
import { type PageServices, RequestFailed, withSession } from './call-function.ts'

const Line = z.union([
  z.looseObject({ type: z.literal('progress') }),
  z.object({ type: z.literal('result'), status: z.number(), body: z.unknown() }),
])

const Refusal = z.object({
  error: z.object({ code: z.string(), message: z.string(), request_id: z.optional(z.string()) }),
})

/**
 * Calls a function that tells what it does while it works, one JSON object a line, and gives its answer.
 * Throws `RequestFailed`: with the service's reason, or `offline` where the line broke. Then the work may
 * go on all the same, and its run tells.
 */
export async function callStreaming(
  { supabase, functionsUrl }: PageServices,
  name: string,
  body: object,
  options: StreamOptions,
): Promise<unknown> {
  return withSession(supabase, (token) => post(`${functionsUrl}/${name}`, token, body, options))
}

interface StreamOptions {
  onProgress: (line: object) => void
  signal?: AbortSignal
}

async function post(
  url: string,
  token: string,
  body: object,
  { onProgress, signal }: StreamOptions,
): Promise<unknown> {
  let requestId: string | undefined
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/x-ndjson',
      },
      body: JSON.stringify(body),
      ...(signal === undefined ? {} : { signal }),
    })
    requestId = answer.headers.get('x-request-id') ?? undefined
    let last = ''
    for await (const text of readLines(answer.body)) {
      last = text
      const line = Line.safeParse(parseLine(text)).data
      if (line?.type === 'progress') onProgress(line)
      if (line?.type === 'result') return orRefuse(line.status, line.body, requestId)
    }
    // What is refused before anything began comes as one plain object.
    if (!answer.ok) return orRefuse(answer.status, parseLine(last), requestId)
  } catch (cause) {
    signal?.throwIfAborted()
    if (cause instanceof RequestFailed) throw cause
    throw new RequestFailed('offline', 'The service did not answer.', { requestId, cause })
  }
  throw new RequestFailed('offline', 'The answer ended before it was complete.', { requestId })
}

function orRefuse(status: number, body: unknown, requestId: string | undefined): unknown {
  if (status < 400) return body
  const refusal = Refusal.safeParse(body)
  if (!refusal.success) {
    const code = status >= 500 ? 'offline' : 'unexpected_answer'
    throw new RequestFailed(code, `The service answered ${status}.`, { requestId })
  }
  const { code, message, request_id: ownId } = refusal.data.error
  throw new RequestFailed(code, message, { requestId: requestId ?? ownId })
}

/** The lines of an answer as they come; the last one also where it is cut off. */
export async function* readLines(body: ReadableStream<Uint8Array> | null): AsyncGenerator<string> {
  if (body === null) return
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      yield* lines.filter((line) => line.trim() !== '')
    }
  } finally {
    // Whoever has the answer, or has left, needs no more of it.
    reader.cancel().catch(() => {})
  }
  if (rest.trim() !== '') yield rest
}

/** What a line says; null for one that is cut off, and for the page of a gateway. */
export function parseLine(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
