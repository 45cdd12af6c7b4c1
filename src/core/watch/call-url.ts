import { BackupError } from '../errors.ts'

/** What became of a call to an address of somebody else's. */
export interface CallOutcome {
  isTaken: boolean
  /** The request may have arrived although no answer came. */
  isUnsure: boolean
  /** Null where no answer came. */
  status: number | null
}

/**
 * Calls an address that is a secret, and says nothing of it: no redirect is followed, since it would hand on
 * what was meant for this place alone, and an error of the network, which may quote the address, stays here.
 */
export async function callUrl(
  url: URL,
  { body, timeoutMs }: { body?: object; timeoutMs: number },
): Promise<CallOutcome> {
  try {
    const response = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
      ...(body === undefined
        ? {}
        : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    })
    await response.body?.cancel().catch(() => {})
    return { isTaken: response.ok, isUnsure: false, status: response.status }
  } catch {
    return { isTaken: false, isUnsure: true, status: null }
  }
}

/**
 * An address that is a secret, since whoever knows it can write there; undefined where none is set. Throws
 * `not_configured` for what is no address, or would be called in the clear.
 */
export function parseSecretUrl(name: string, value: string | undefined): URL | undefined {
  if (value === undefined || value.trim() === '') return undefined
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (url?.protocol === 'https:') return url
  throw new BackupError('not_configured', `${name} must be a URL that begins with https://.`)
}
