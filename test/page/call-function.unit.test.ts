import { AuthError, createClient } from '@supabase/supabase-js'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { callFunction, type PageServices } from '../../src/page/calls/call-function.ts'

const refused = () =>
  Response.json(
    { success: false, error: { code: 'not_signed_in', message: 'The session has ended.' } },
    { status: 401 },
  )
const done = () => Response.json({ success: true })

const USER = { id: 'u', app_metadata: {}, user_metadata: {}, aud: '', created_at: '' }
const session = (token: string) => ({
  ...{ access_token: token, refresh_token: '', expires_in: 60, user: USER },
  token_type: 'bearer' as const,
})

/** Tokens that the functions were called with. */
let tokens: (string | null)[] = []

/** Somebody with an old token, for whom Auth gives a new one, or does not. */
function signedIn({ isRenewed }: { isRenewed: boolean }): PageServices {
  const supabase = createClient('https://project.example', 'publishable', {
    auth: { persistSession: false, autoRefreshToken: false },
  })
  vi.spyOn(supabase.auth, 'getSession').mockResolvedValue({
    data: { session: session('old') },
    error: null,
  })
  vi.spyOn(supabase.auth, 'refreshSession').mockResolvedValue(
    isRenewed
      ? { data: { session: session('new'), user: USER }, error: null }
      : { data: { session: null, user: null }, error: new AuthError('Unknown refresh token') },
  )
  return { supabase, functionsUrl: 'https://site.example/functions' }
}

beforeEach(() => {
  tokens = []
})
afterEach(() => vi.unstubAllGlobals())

function answer(...answers: (() => Response)[]): void {
  vi.stubGlobal('fetch', async (_url: string, init: RequestInit) => {
    tokens.push(new Headers(init.headers).get('authorization'))
    return (answers.length > 1 ? answers.shift() : answers[0])?.()
  })
}

test('a token that is not good any more is renewed once, and the call repeated with it', async () => {
  answer(refused, done)

  await expect(callFunction(signedIn({ isRenewed: true }), 'get-state', {})).resolves.toEqual({
    success: true,
  })
  expect(tokens).toEqual(['Bearer old', 'Bearer new'])
})

test('where it can not be renewed, the refusal stays', async () => {
  answer(refused)

  await expect(callFunction(signedIn({ isRenewed: false }), 'get-state', {})).rejects.toMatchObject(
    { code: 'not_signed_in' },
  )
  expect(tokens).toEqual(['Bearer old'])
})

test('who is refused with the new token too is not asked a third time', async () => {
  answer(refused)

  await expect(callFunction(signedIn({ isRenewed: true }), 'get-state', {})).rejects.toMatchObject({
    code: 'not_signed_in',
  })
  expect(tokens).toHaveLength(2)
})

test.each([
  ['a server that is down', () => new Response('bad gateway', { status: 502 }), 'offline'],
  [
    'a refusal for another reason',
    () =>
      Response.json(
        { success: false, error: { code: 'tenant_busy', message: 'Wait.' } },
        { status: 409 },
      ),
    'tenant_busy',
  ],
])('%s is not asked twice', async (_, response, code) => {
  answer(response)

  await expect(callFunction(signedIn({ isRenewed: true }), 'get-state', {})).rejects.toMatchObject({
    code,
  })
  expect(tokens).toHaveLength(1)
})
