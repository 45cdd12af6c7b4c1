import { AuthClient } from '@supabase/auth-js'
import { PostgrestClient } from '@supabase/postgrest-js'
import type { PageClient } from './calls/call-function.ts'

/**
 * The two parts of supabase-js that the page uses, put together as `createClient` does it: the whole would
 * double what a visitor loads. Sessions are kept where supabase-js keeps them.
 */
export function createPageClient(url: string, publishableKey: string): PageClient {
  const auth = new AuthClient({
    url: new URL('auth/v1', withSlash(url)).href,
    headers: { apikey: publishableKey },
    storageKey: `sb-${new URL(url).hostname.split('.')[0]}-auth-token`,
    persistSession: true,
    autoRefreshToken: true,
    detectSessionInUrl: true,
  })
  const rest = new PostgrestClient(new URL('rest/v1', withSlash(url)).href, {
    fetch: async (input, init) => {
      const { data } = await auth.getSession()
      const headers = new Headers(init?.headers)
      headers.set('apikey', publishableKey)
      headers.set('authorization', `Bearer ${data.session?.access_token ?? publishableKey}`)
      return fetch(input, { ...init, headers })
    },
  })
  return { auth, from: rest.from.bind(rest) }
}

function withSlash(url: string): string {
  return url.endsWith('/') ? url : `${url}/`
}
