import { createClient, isAuthSessionMissingError } from '@supabase/supabase-js'
import { BackupError } from '../core/errors.ts'
import type { Environment } from './environment.ts'

export interface User {
  id: string
  /** An e-mail address where there is one: what the history shows. */
  label: string
}

const TIMEOUT_MS = 8_000

/** What Auth answers where it has looked, and the token is not good. */
const REFUSALS: ReadonlySet<number> = new Set([401, 403, 404])

/**
 * Asks Supabase Auth whose token this is, rather than trusting what is written in it: a session that was
 * ended counts no longer. Throws `not_signed_in` for a token that is not good (any more),
 * `auth_unavailable` where nobody can say, `not_configured` where users can't sign in at all.
 */
export async function verifyUser(environment: Environment, token: string): Promise<User> {
  const { supabaseUrl, supabasePublishableKey, supabaseSecretKey } = environment
  const key = supabasePublishableKey ?? supabaseSecretKey
  if (supabaseUrl === undefined || key === undefined) {
    throw new BackupError(
      'not_configured',
      'Users can sign in only where SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY are set on this site.',
    )
  }
  const client = createClient(supabaseUrl, key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    global: {
      fetch: (input, init) => fetch(input, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) }),
    },
  })
  const { data, error } = await client.auth.getUser(token)
  if (error === null) return { id: data.user.id, label: data.user.email ?? data.user.id }
  // auth-js gives the answer for a session that was ended a status of its own.
  if (isAuthSessionMissingError(error) || REFUSALS.has(error.status ?? 0)) {
    throw new BackupError('not_signed_in', 'The session has ended or is not known. Sign in again.')
  }
  throw new BackupError(
    'auth_unavailable',
    'Supabase Auth does not answer, so nobody can say who is asking. Try again.',
    { cause: error },
  )
}
