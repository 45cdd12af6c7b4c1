import { createClient } from '@supabase/supabase-js'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ask, findStarted, followRun, rehearse } from '../../src/page/restore/run-restore.ts'

const services = {
  supabase: createClient('http://localhost:1', 'key'),
  functionsUrl: 'http://site.example/functions',
}
const USER = { id: 'u', app_metadata: {}, user_metadata: {}, aud: 'a', created_at: '2026-01-01' }
const SESSION = {
  ...{ access_token: 't', refresh_token: 'r', expires_in: 3600, token_type: 'bearer' as const },
  user: USER,
}
const signal = new AbortController().signal
const errand = { name: 'restore-tenant-data' as const, body: { dry_run: true } }

const REPORT = {
  ...{ success: true, run_id: 'r1', restore_id: null, safety_backup_id: null, warnings: [] },
  tables: {},
  plan: { hash: 'h', expires_at: null, blockers: [], access_changes: [], schema_changes: [] },
}
const RUN_LINE = { type: 'run', run_id: 'r1' }
const STEP_LINE = {
  ...{ type: 'progress', phase: 'writing', table: 'customers', rows_done: 1, rows_total: 2 },
}
const refusal = (code: string) => ({ success: false, error: { code, message: 'm' } })
const runOf = (more: object) => ({
  run: {
    ...{ run_id: 'r1', kind: 'restore', status: 'running', created_at: '2026-11-21T10:00:00Z' },
    ...{ finished_at: null, actor: { label: 'ada' }, dry_run: true, events: [], result: null },
    ...more,
  },
})

let answers: ((signal: AbortSignal) => Response | Promise<Response>)[]
let asked: { name: string; body: unknown }[]

beforeEach(() => {
  vi.useFakeTimers()
  answers = []
  asked = []
  vi.spyOn(services.supabase.auth, 'getSession').mockResolvedValue({
    data: { session: SESSION },
    error: null,
  })
  vi.stubGlobal('fetch', async (url: string, init: { body: string; signal: AbortSignal }) => {
    asked.push({ name: url.split('/').at(-1) ?? '', body: JSON.parse(init.body) })
    const answer = answers.shift()
    if (answer === undefined) throw new TypeError('The network is gone.')
    return answer(init.signal)
  })
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

const lines =
  (...all: object[]) =>
  () =>
    new Response(all.map((line) => `${JSON.stringify(line)}\n`).join(''))
/** Takes what was sent and says nothing, until nobody listens any more. */
const silence = (given: AbortSignal) =>
  new Promise<Response>((_, reject) => given.addEventListener('abort', () => reject(given.reason)))
const json =
  (body: object, status = 200) =>
  () =>
    Response.json(body, { status })

describe('asking', () => {
  test('hears the run, each step, and the result', async () => {
    answers = [lines(RUN_LINE, STEP_LINE, { type: 'result', status: 200, body: REPORT })]
    const heard: unknown[] = []

    const answer = await ask(
      services,
      errand,
      { onRun: (run) => heard.push(run), onStep: (step) => heard.push(step.table) },
      signal,
    )

    expect(answer).toMatchObject({ kind: 'done', report: { planHash: 'h' } })
    expect(heard).toEqual(['r1', 'customers', 'r1'])
  })

  test.each([
    ['a refusal', { type: 'result', status: 409, body: refusal('plan_stale') }, 'refused'],
    [
      'a failure of the service',
      { type: 'result', status: 500, body: refusal('internal') },
      'unknown',
    ],
    ['more to come', { type: 'result', status: 202, body: { run_id: 'r1' } }, 'unknown'],
    ['an answer that is cut off', STEP_LINE, 'unknown'],
  ])('%s', async (_, line, kind) => {
    answers = [lines(RUN_LINE, line)]

    const answer = await ask(services, errand, {}, signal)

    expect(answer.kind).toBe(kind)
  })

  test('the page of a gateway, or no answer, leaves open what became of it', async () => {
    answers = [() => new Response('<html>Bad gateway</html>', { status: 502 })]

    expect(await ask(services, errand, {}, signal)).toMatchObject({ kind: 'unknown', runId: null })
    expect(await ask(services, errand, {}, signal)).toMatchObject({ kind: 'unknown', runId: null })
  })

  test('renews an expired token once', async () => {
    vi.spyOn(services.supabase.auth, 'refreshSession').mockResolvedValue({
      data: { session: SESSION, user: USER },
      error: null,
    })
    const line = lines({ type: 'result', status: 401, body: refusal('not_signed_in') })
    // It carries the status of the refusal.
    const refuse = () => new Response(line().body, { status: 401 })
    answers = [refuse, refuse]

    const answer = await ask(services, errand, {}, signal)

    expect(answer).toMatchObject({ kind: 'refused', error: { code: 'not_signed_in' } })
    expect(asked).toHaveLength(2)
  })
})

test('a run is followed through a broken line to its end, from the event that was heard last', async () => {
  const event = { seq: 4, at: '2026-11-21T10:00:01Z', ...STEP_LINE }
  answers = [
    json(runOf({ events: [event] })),
    () => {
      throw new TypeError('The network is gone.')
    },
    json(runOf({ status: 'complete', finished_at: '2026-11-21T10:00:09Z', result: REPORT })),
  ]
  const told: unknown[] = []

  const following = followRun(
    services,
    'r1',
    { onStep: ({ table }) => told.push(table), onLine: (isThere) => told.push(isThere) },
    signal,
  )
  await vi.runAllTimersAsync()

  expect((await following).status).toBe('complete')
  expect(told).toEqual([true, 'customers', false, true])
  expect(asked.at(-1)?.body).toEqual({ run_id: 'r1', after: 4 })
})

describe('what was started with a key', () => {
  test('is found when it is on record', async () => {
    answers = [json(refusal('run_not_found'), 404), json(runOf({}))]

    const finding = findStarted(services, 'key', {}, signal)
    await vi.runAllTimersAsync()

    expect(await finding).toBe('r1')
    expect(asked[0]).toEqual({ name: 'get-run', body: { idempotency_key: 'key' } })
  })

  test('is asked for again where no answer comes in time', async () => {
    answers = [silence, json(runOf({}))]

    const finding = findStarted(services, 'key', {}, signal)
    await vi.runAllTimersAsync()

    expect(await finding).toBe('r1')
    expect(asked).toHaveLength(2)
  })

  test('did not start, where it never comes', async () => {
    answers = Array.from({ length: 4 }, () => json(refusal('run_not_found'), 404))

    const finding = findStarted(services, 'key', {}, signal)
    await vi.runAllTimersAsync()

    expect(await finding).toBeNull()
  })
})

test('a rehearsal waits for the one that was left, and begins anew', async () => {
  answers = [
    lines(RUN_LINE, { type: 'result', status: 409, body: refusal('tenant_busy') }),
    lines(RUN_LINE, { type: 'result', status: 200, body: REPORT }),
  ]
  const waited = vi.fn()

  const done = rehearse(services, errand, { onWait: waited }, { signal })
  await vi.runAllTimersAsync()

  expect((await done).planHash).toBe('h')
  expect(waited).toHaveBeenCalledOnce()
})
