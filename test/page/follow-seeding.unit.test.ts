import { createClient } from '@supabase/supabase-js'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { PageServices } from '../../src/page/calls/call-function.ts'
import { followSeeding, type SeedNews } from '../../src/page/defaults/read-seeding.ts'

/** What the page does about a seeding whose answer is slow, lost, or a refusal. */

afterEach(() => vi.unstubAllGlobals())

const run = (status: string) => ({
  ...{ run_id: 'R', kind: 'seed', status, plan: { hash: 'H', expires_at: null } },
  ...{ summary: { dry_run: false }, tenants: [] },
})
const refusal = (status: number, code: string, details?: object) =>
  Response.json(
    { success: false, error: { code, message: 'No.', ...(details && { details }) } },
    { status },
  )
const standing = (status: string) => Response.json({ success: true, run: run(status) })
const nowhere = () => refusal(404, 'run_not_found')
const cut = () => {
  throw new TypeError('The line is cut')
}

type Call = [name: string, body: Record<string, unknown>]

/** Follows a seeding; each function answers in turn, and its last answer again and again. */
async function follow(answers: Record<string, (() => Response | Promise<Response>)[]>) {
  const calls: Call[] = []
  const news: SeedNews[] = []
  vi.stubGlobal('fetch', async (url: string, init: { body: string }) => {
    const name = url.slice(url.lastIndexOf('/') + 1)
    calls.push([name, JSON.parse(init.body)])
    const left = answers[name] ?? []
    return (left.length > 1 ? left.shift() : left[0])?.()
  })
  const end = await followSeeding(
    signedIn(),
    { key: 'K', body: { all: true, dry_run: false }, runId: null },
    { tell: (told) => news.push(told), signal: new AbortController().signal, pollMs: 1 },
  )
  return { end, calls, news }
}

function signedIn(): PageServices {
  const supabase = createClient('https://project.example', 'publishable', {
    auth: { persistSession: false, autoRefreshToken: false },
  })
  const user = { id: 'u', app_metadata: {}, user_metadata: {}, aud: '', created_at: '' }
  const session = { access_token: 'token', refresh_token: '', expires_in: 60, user }
  vi.spyOn(supabase.auth, 'getSession').mockResolvedValue({
    data: { session: { ...session, token_type: 'bearer' } },
    error: null,
  })
  return { supabase, functionsUrl: 'https://site.example/functions' }
}

const seedCalls = (calls: readonly Call[]) => calls.filter(([name]) => name === 'seed-defaults')

describe('a seeding is begun once, under its key', () => {
  test('and followed by its run where the call is too short for it', async () => {
    const { end, calls } = await follow({
      'seed-defaults': [() => Response.json({ success: true, ...run('running') }, { status: 202 })],
      'get-run': [() => standing('running'), cut, () => standing('complete')],
    })

    expect(end).toMatchObject({ kind: 'ended', run: { runId: 'R', status: 'complete' } })
    expect(seedCalls(calls)).toEqual([
      ['seed-defaults', { all: true, dry_run: false, idempotency_key: 'K' }],
    ])
  })

  test('and found by its key where the line broke, never sent again', async () => {
    const { end, calls } = await follow({
      'seed-defaults': [cut],
      'get-run': [nowhere, () => standing('running'), () => standing('complete')],
    })

    expect(end).toMatchObject({ kind: 'ended', run: { status: 'complete' } })
    expect(seedCalls(calls)).toHaveLength(1)
    expect(calls.at(-1)).toEqual(['get-run', { run_id: 'R' }])
    expect(calls.find(([name]) => name === 'get-run')?.[1]).toEqual({ idempotency_key: 'K' })
  })

  test('and where it never arrived, that is said', async () => {
    const { end } = await follow({ 'seed-defaults': [cut], 'get-run': [nowhere] })

    expect(end).toMatchObject({ kind: 'refused', error: { code: 'not_started' } })
  })

  test('a refusal before anything began is given as it is', async () => {
    const { end } = await follow({
      'seed-defaults': [() => refusal(409, 'plan_stale')],
      'get-run': [nowhere],
    })

    expect(end).toMatchObject({ kind: 'refused', error: { code: 'plan_stale' } })
  })

  test('and one that takes its time is not mistaken for a run that can’t be read', async () => {
    const asked = Promise.withResolvers<void>()
    const { end } = await follow({
      'seed-defaults': [() => asked.promise.then(() => refusal(403, 'not_allowed'))],
      'get-run': [
        () => {
          asked.resolve()
          return refusal(403, 'not_allowed')
        },
      ],
    })

    expect(end).toMatchObject({ kind: 'refused', error: { code: 'not_allowed' } })
  })

  test('a single tenant that failed is read from its run', async () => {
    const { end } = await follow({
      'seed-defaults': [() => refusal(409, 'seed_conflict', { run_id: 'R' })],
      'get-run': [() => standing('failed')],
    })

    expect(end).toMatchObject({ kind: 'ended', run: { status: 'failed' } })
  })
})
