import type { Logger } from 'pino'
import type { Environment } from './environment.ts'

/** The platform answers at once; the local one only when the work is done, which nobody waits for. */
const TIMEOUT_MS = 2_500

/**
 * Has our own background function work on the queue. Where that fails it is logged, and the next call of
 * the cron service picks up what is left. The address comes from the environment alone: taken from the
 * request, anybody could have the secret sent to a host of theirs.
 */
export async function wakeBackground(environment: Environment, log: Logger): Promise<void> {
  const { siteUrl, cronSecret, operatorSecret } = environment
  const secret = cronSecret ?? operatorSecret
  if (siteUrl === undefined || secret === undefined) {
    log.warn({ code: 'not_configured' }, 'the background was not woken: URL is not set')
    return
  }
  try {
    const response = await fetch(new URL('/.netlify/functions/run-jobs-background', siteUrl), {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}` },
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    await response.body?.cancel()
    if (!response.ok) log.warn({ status: response.status }, 'the background was not woken')
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError') return
    log.warn({ err: error }, 'the background was not woken')
  }
}
