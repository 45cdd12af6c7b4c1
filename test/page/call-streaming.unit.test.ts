import { createClient } from '@supabase/supabase-js'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { callStreaming } from '../../src/page/calls/call-streaming.ts'

const supabase = createClient('https://project.example', 'publishable', {
  auth: { persistSession: false, autoRefreshToken: false },
})
beforeEach(() => {
  const user = { id: 'u', app_metadata: {}, user_metadata: {}, aud: '', created_at: '' }
  const tokens = { access_token: 'token', refresh_token: '', expires_in: 60 }
  vi.spyOn(supabase.auth, 'getSession').mockResolvedValue({
    data: { session: { ...tokens, token_type: 'bearer', user } },
    error: null,
  })
})
afterEach(() => vi.unstubAllGlobals())

/** Calls a function that answers with these pieces, and gives what was told and what came back. */
async function call(pieces: string[], { status = 200 } = {}) {
  vi.stubGlobal('fetch', async () => {
    const encoder = new TextEncoder()
    const body = new ReadableStream({
      start(controller) {
        for (const piece of pieces) controller.enqueue(encoder.encode(piece))
        controller.close()
      },
    })
    return new Response(body, { status, headers: { 'x-request-id': 'r1' } })
  })
  const told: object[] = []
  const answer = callStreaming(
    { supabase, functionsUrl: '' },
    'compare-backups',
    {},
    {
      onProgress: (line) => told.push(line),
    },
  )
  return { told, answer: await answer.catch((error: unknown) => error) }
}

describe('an answer in lines', () => {
  test('tells each step and gives the result, however it is cut', async () => {
    const { told, answer } = await call([
      '{"type":"progress","phase":"locking"}\n{"type":"prog',
      'ress","phase":"staging","table":"Gr',
      'öße"}\n\n{"type":"result","status":200,"body":{"success":true}}\n',
    ])

    expect(told).toMatchObject([{ phase: 'locking' }, { phase: 'staging', table: 'Größe' }])
    expect(answer).toEqual({ success: true })
  })

  test('that ends in a refusal throws it, with the request', async () => {
    const { answer } = await call([
      '{"type":"result","status":409,"body":{"error":{"code":"restore_too_long","message":"Too long"}}}',
    ])

    expect(answer).toMatchObject({ code: 'restore_too_long', message: 'Too long', requestId: 'r1' })
  })

  test('that is refused before it begins throws the reason', async () => {
    const { answer } = await call(['{"error":{"code":"not_allowed","message":"No"}}'], {
      status: 403,
    })

    expect(answer).toMatchObject({ code: 'not_allowed' })
  })

  test('that breaks off says only that there is no connection', async () => {
    const { told, answer } = await call(['{"type":"progress","phase":"locking"}\n{"type":"res'])

    expect(told).toHaveLength(1)
    expect(answer).toMatchObject({ code: 'offline' })
  })

  test('that is no line at all is no connection where a gateway speaks, else not what is known', async () => {
    expect((await call(['<html>'], { status: 502 })).answer).toMatchObject({ code: 'offline' })
    expect((await call(['<html>'], { status: 404 })).answer).toMatchObject({
      code: 'unexpected_answer',
    })
  })
})
