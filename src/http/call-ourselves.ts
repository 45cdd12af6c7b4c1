import { BackupError } from '../core/errors.ts'
import type { Environment } from './environment.ts'

/**
 * Calls a function of this site with the secret of the cron service, and gives the answer's status. The
 * address comes from the environment alone: taken from the request, anybody could have the secret sent to a
 * host of theirs. Throws `not_configured`, and what `fetch` throws.
 */
export async function callOurselves(
  { siteUrl, cronSecret, operatorSecret }: Environment,
  name: string,
  { body, timeoutMs }: { body?: object; timeoutMs: number },
): Promise<number> {
  const secret = cronSecret ?? operatorSecret
  if (siteUrl === undefined || secret === undefined) {
    throw new BackupError('not_configured', 'URL and CRON_SECRET must be set on this site.')
  }
  const response = await fetch(new URL(`/.netlify/functions/${name}`, siteUrl), {
    method: 'POST',
    headers: {
      authorization: `Bearer ${secret}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
  })
  await response.body?.cancel()
  return response.status
}

/** Whether only the wait for an answer ended; what was called goes on. */
export function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError'
}
