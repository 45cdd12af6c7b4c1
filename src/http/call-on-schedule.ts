import { callOurselves, isTimeout } from './call-ourselves.ts'
import { readEnvironment } from './environment.ts'
import { getLogger } from './services.ts'

/** The platform ends a scheduled function after 30 s. */
const TIMEOUT_MS = 25_000

/**
 * Makes a function for Netlify's own clock: it calls one of our endpoints as a cron service would, and does
 * nothing else. It does nothing at all unless `NETLIFY_SCHEDULE=on`. Nobody can call it from outside where it
 * is published, and whoever can (in a local server) gets nothing done that the clock would not do.
 */
export function callOnSchedule(
  name: string,
  toBody: (now: Date) => object,
): () => Promise<Response> {
  return async () => {
    const log = getLogger().child({ endpoint: `scheduled ${name}` })
    try {
      const environment = readEnvironment()
      if (!environment.isScheduled) return new Response(null, { status: 204 })
      const body = toBody(new Date())
      const status = await callOurselves(environment, name, { body, timeoutMs: TIMEOUT_MS })
      log[status < 300 ? 'info' : 'error']({ status }, 'called on schedule')
      return new Response(null, { status })
    } catch (error) {
      // It goes on without anybody who waits for it.
      if (isTimeout(error)) return new Response(null, { status: 202 })
      log.error({ err: error }, 'not called on schedule')
      return new Response(null, { status: 503 })
    }
  }
}
