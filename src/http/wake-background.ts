import type { Logger } from 'pino'
import { callOurselves, isTimeout } from './call-ourselves.ts'
import type { Environment } from './environment.ts'

/** The platform answers at once; the local one only when the work is done, which nobody waits for. */
const TIMEOUT_MS = 2_500

/**
 * Has our own background function work on the queue. Where that fails it is logged, and the next call of
 * the cron service picks up what is left.
 */
export async function wakeBackground(environment: Environment, log: Logger): Promise<void> {
  try {
    const status = await callOurselves(environment, 'run-jobs-background', {
      timeoutMs: TIMEOUT_MS,
    })
    if (status >= 300) log.warn({ status }, 'the background was not woken')
  } catch (error) {
    if (!isTimeout(error)) log.warn({ err: error }, 'the background was not woken')
  }
}
