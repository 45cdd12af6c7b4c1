import type { RawAnswer } from './handle.ts'

const LINES = 'application/x-ndjson'

/** Whether this caller wants one JSON object a line, from an endpoint that can. */
export function wantsLines(endpoint: { canStream?: boolean }, request: Request): boolean {
  const accepted = request.headers.get('accept') ?? ''
  return endpoint.canStream === true && request.method === 'POST' && accepted.includes(LINES)
}

/**
 * Answers line by line: `{"type":"progress",…}` as it comes, and last `{"type":"result","status",…,"body"}`.
 * What is refused before anything began has its own HTTP status; once the first line is out that is 200, and
 * the last line tells. Who stops reading misses the rest, and the work goes on.
 */
export async function streamAnswer(
  work: (tell: (progress: object) => void) => Promise<RawAnswer>,
  toHeaders: (given: Record<string, string> | undefined) => Headers,
  keepAlive: (done: Promise<unknown>) => void,
): Promise<Response> {
  const encoder = new TextEncoder()
  const first = Promise.withResolvers<void>()
  const waiting: Uint8Array[] = []
  let reader: ReadableStreamDefaultController<Uint8Array> | undefined
  let isOver = false
  let hasHungUp = false

  const write = (line: object) => {
    const bytes = encoder.encode(`${JSON.stringify(line)}\n`)
    if (hasHungUp) return
    if (reader === undefined) waiting.push(bytes)
    else reader.enqueue(bytes)
  }
  const tell = (progress: object) => {
    write({ type: 'progress', ...progress })
    first.resolve()
  }
  const answered = work(tell).then((answer) => {
    write({ type: 'result', status: answer.status, body: answer.body ?? {} })
    isOver = true
    if (!hasHungUp) reader?.close()
    return answer
  })
  // The platform may end a process whose client is gone; it is asked not to.
  keepAlive(answered)

  const early = await Promise.race([answered, first.promise])
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      reader = controller
      for (const bytes of waiting) controller.enqueue(bytes)
      if (isOver) controller.close()
    },
    cancel() {
      hasHungUp = true
    },
  })
  const headers = toHeaders(early?.headers)
  headers.set('content-type', LINES)
  return new Response(stream, { status: early?.status ?? 200, headers })
}
