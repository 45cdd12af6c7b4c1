import { once } from 'node:events'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { BackupError } from '../../../src/core/errors.ts'
import type { Services } from '../../../src/core/services.ts'
import type { AlertMessage } from '../../../src/core/watch/alert-message.ts'
import { announce, announceSoon } from '../../../src/core/watch/announce.ts'
import { monitor } from '../../../src/core/watch/monitor.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { FaultyDatabase } from '../../support/faulty-database.ts'
import { ALPHA, BETA, installSmallHost } from '../../support/small-host.ts'

const HOOK = 'https://hooks.example/T000/canary-webhook'
const PING = 'https://ping.example/canary-ping'

const server = setupServer()
/** What the webhook received, whether or not it said so. */
const received: AlertMessage[] = []
const pings: string[] = []

let database: TestDatabase
let store: TestStore
let services: Services

beforeAll(async () => {
  server.listen({ onUnhandledFrame: 'bypass' })
  database = await createTestDatabase()
  store = await createTestStore()
  services = { ...servicesOf(database.worker, store.store), alertWebhook: new URL(HOOK) }
  await installSmallHost(database)
  await database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('monitor', '{"table_shrink_min_rows": 5}')`,
  )
})
afterAll(async () => {
  server.close()
  await database.drop()
  await store.remove()
})
beforeEach(async () => {
  received.length = 0
  pings.length = 0
  answer(() => new HttpResponse('ok'))
  server.use(
    http.get(`${PING}*`, ({ request }) => {
      pings.push(request.url)
      return new HttpResponse('OK')
    }),
  )
  await database.admin.query('delete from tenantkeep.alerts')
  await database.admin.query(
    'update tenantkeep.watch set claimed_until = null, is_unsure = false, untold_since = null',
  )
  // All is well: a daily run, and a fresh backup of both tenants.
  await database.admin.query(
    `insert into tenantkeep.runs (kind, status, finished_at, actor_kind, actor_label, tenant_ids)
     values ('daily_tenant', 'complete', now(), 'cron', 'cron', '{alpha,beta}')`,
  )
  await backUp(ALPHA)
  await backUp(BETA)
})
afterEach(async () => {
  server.resetHandlers()
  await database.admin.query('delete from public.backup_logs')
  await database.admin.query('delete from public.tenant_backups')
  await database.admin.query('delete from tenantkeep.runs')
  await database.admin.query('delete from tenantkeep.paused_tenants')
})

/** How the webhook answers what it has received. */
function answer(how: () => Response | Promise<Response>): void {
  server.use(
    http.post(HOOK, async ({ request }) => {
      // msw's own type of a body.
      received.push((await request.json()) as unknown as AlertMessage)
      return how()
    }),
  )
}

const backUp = (tenantId: string) =>
  takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })

/** A webhook that takes what it is sent, and hangs up. */
async function startDeafServer(): Promise<{ url: URL } & AsyncDisposable> {
  const deaf = createServer(async (request) => {
    received.push(JSON.parse(await text(request)))
    request.socket.destroy()
  })
  deaf.listen(0, '127.0.0.1')
  await once(deaf, 'listening')
  const address = deaf.address()
  const port = typeof address === 'object' ? address?.port : undefined
  return {
    url: new URL(`http://127.0.0.1:${port}/hook`),
    async [Symbol.asyncDispose]() {
      deaf.close()
      await once(deaf, 'close')
    },
  }
}

/** As if so much time had passed since every backup of the tenant. */
const age = (tenantId: string, hours: number) =>
  database.admin.query(
    `update public.tenant_backups set taken_at = taken_at - $2 * interval '1 hour',
       created_at = created_at - $2 * interval '1 hour', backup_date = backup_date - ($2 / 24)::int
     where organization_id = $1`,
    [tenantId, hours],
  )

const codesOf = ({ problems }: { problems: { code: string }[] }) => problems.map(({ code }) => code)
const eventsOf = (message: AlertMessage | undefined) =>
  message?.tenantkeep.events.map(({ kind, code, tenant_id }) => `${kind} ${code} ${tenant_id}`)

test('where all is well nobody hears anything but the ping', async () => {
  const report = await monitor(services, { pingUrl: new URL(PING) })

  expect(report).toMatchObject({ problems: [], webhook: 'nothing_new', ping: 'sent' })
  expect(report.tenants).toEqual({ total: 2, active: 2, paused: 0 })
  expect([received, pings]).toEqual([[], [PING]])
})

test('a problem is told once, again after a day, and once when it ends; the ping says fail', async () => {
  await age(BETA, 30)

  const first = await monitor(services, { pingUrl: new URL(PING) })
  const second = await monitor(services)
  await database.admin.query(
    `update tenantkeep.alerts set announced_at = announced_at - interval '25 hours'`,
  )
  const nextDay = await monitor(services)
  const sameDay = await monitor(services)
  await backUp(BETA)
  const over = await monitor(services, { pingUrl: new URL(PING) })
  const later = await monitor(services)

  expect([first, second, nextDay, sameDay, over, later].map(({ webhook }) => webhook)).toEqual([
    'sent',
    'nothing_new',
    'sent',
    'nothing_new',
    'sent',
    'nothing_new',
  ])
  expect(codesOf(first)).toEqual(['backup_late'])
  expect(received.map(eventsOf)).toEqual([
    ['opened backup_late beta'],
    ['reminder backup_late beta'],
    ['ended backup_late beta'],
  ])
  expect(received[0]?.text).toContain('The newest backup of Beta Rentals is older than 25 hours')
  expect(pings).toEqual([`${PING}/fail`, PING])
})

test('a paused tenant is listed and not alarmed', async () => {
  await age(BETA, 30)
  await database.admin.query(
    `insert into tenantkeep.paused_tenants (tenant_id, reason, paused_by) values ('beta', 'moved out', 'me')`,
  )

  const report = await monitor(services)

  expect(report.problems).toEqual([])
  expect(report.paused).toMatchObject([{ id: 'beta', skipReason: 'Paused by me: moved out' }])
})

test('rows that vanish show in the very next backup, with their table, though others were added', async () => {
  await database.admin.query(`delete from shop.pockets where tenant_id = 'alpha'`)
  await database.admin.query(
    `insert into shop.events (tenant_id) select 'alpha' from generate_series(1, 100)`,
  )
  await backUp(ALPHA)

  const report = await monitor(services)
  // More backups of the same day don't make it usual.
  for (let i = 0; i < 3; i += 1) await backUp(ALPHA)
  const later = await monitor(services)

  expect(report.problems).toMatchObject([
    { code: 'table_rows_fell', tenantId: 'alpha', table: 'shop.pockets', severity: 'error' },
  ])
  expect(codesOf(later)).toEqual(['table_rows_fell'])
  expect(received.map(eventsOf)).toEqual([['opened table_rows_fell alpha']])
  await database.admin.query(
    `insert into shop.pockets (tenant_id) select 'alpha' from generate_series(1, 20)`,
  )
  await database.admin.query(`delete from shop.events where tenant_id = 'alpha' and body is null`)
})

test('a damaged backup, a stuck queue and an unusable store are said', async () => {
  await database.admin.query(
    `update public.tenant_backups set damaged_at = now(), damage = '[]' where organization_id = 'alpha'`,
  )
  await database.admin.query(
    `insert into tenantkeep.runs (kind, created_at, actor_kind, actor_label, tenant_ids)
     values ('copy', now() - interval '1 day', 'cron', 'cron', '{}')`,
  )
  const isPublic = new BackupError('bucket_public', 'The bucket is public.')
  const open = Object.assign(Object.create(store.store), { check: () => Promise.reject(isPublic) })

  const report = await monitor({ ...services, store: open })

  expect(codesOf(report).sort()).toEqual([
    'backup_damaged',
    'backup_missing',
    'run_stuck',
    'store_unusable',
  ])
})

test('a setting that makes no sense is said, and nobody is told that all is well', async () => {
  await database.admin.query(
    `update tenantkeep.settings set value = '{"max_age_hours": -1}' where key = 'monitor'`,
  )

  const failure = monitor(services, { pingUrl: new URL(PING) })

  await expect(failure).rejects.toMatchObject({
    code: 'not_configured',
    message: expect.stringContaining('monitor.max_age_hours'),
  })
  expect(pings).toEqual([])
  await database.admin.query(
    `update tenantkeep.settings set value = '{"table_shrink_min_rows": 5}' where key = 'monitor'`,
  )
})

describe('a webhook that fails', () => {
  test.each<[string, 'hangs up' | (() => Response | Promise<Response>), boolean]>([
    ['with 500', () => new HttpResponse('no', { status: 500 }), false],
    ['without an answer', 'hangs up', true],
    [
      'by sending us elsewhere',
      () => HttpResponse.redirect('https://elsewhere.example/', 307),
      true,
    ],
  ])(
    '%s is told at the next call, nothing lost, and every event with its first id',
    async (_, how, isUnsure) => {
      let elsewhere = 0
      server.use(
        http.post('https://elsewhere.example/', () => {
          elsewhere += 1
          return new HttpResponse('ok')
        }),
      )
      await age(BETA, 30)
      await using deaf = await startDeafServer()
      if (how !== 'hangs up') answer(how)
      const alertWebhook = how === 'hangs up' ? deaf.url : services.alertWebhook
      const failed = await monitor({ ...services, alertWebhook }, { pingUrl: new URL(PING) })
      answer(() => new HttpResponse('ok'))
      const next = await monitor(services)
      const last = await monitor(services)

      expect([failed, next, last].map(({ webhook }) => webhook)).toEqual([
        'failed',
        'sent',
        'nothing_new',
      ])
      // It can't be told to the one who is deaf; the answer and the ping say it.
      expect(codesOf(failed)).toEqual(['alerts_undelivered', 'backup_late'])
      expect(codesOf(next)).toEqual(['backup_late'])
      expect(pings).toEqual([`${PING}/fail`])
      const ids = received.map((message) => message.tenantkeep.events.map(({ id }) => id))
      expect(ids).toHaveLength(2)
      expect(ids[1]).toEqual(ids[0])
      expect(received.map(({ text }) => text.includes('may have been said before'))).toEqual([
        false,
        isUnsure,
      ])
      expect(elsewhere).toBe(0)
    },
  )

  test('by its silence is given up after a while', async () => {
    await age(BETA, 30)
    answer(() => new Promise<Response>(() => {}))
    await monitor({ ...services, alertWebhook: undefined })

    const outcome = await announce(services, { reminderHours: 24, timeoutMs: 100 })

    expect(outcome).toBe('failed')
    answer(() => new HttpResponse('ok'))
    expect((await monitor(services)).webhook).toBe('sent')
    expect(received).toHaveLength(2)
  })

  test('until the problem is over hears that it came and went', async () => {
    await age(BETA, 30)
    answer(() => new HttpResponse('no', { status: 503 }))
    await monitor(services)
    await backUp(BETA)
    answer(() => new HttpResponse('ok'))

    const report = await monitor(services)

    expect(report.problems).toEqual([])
    expect(received.map(eventsOf)).toEqual([
      ['opened backup_late beta'],
      ['ended backup_late beta'],
    ])
  })

  test('is told by one of several monitors at the same time', async () => {
    await age(BETA, 30)
    answer(async () => {
      await sleep(50)
      return new HttpResponse('ok')
    })

    const reports = await Promise.all([1, 2, 3].map(() => monitor(services)))

    expect(reports.flatMap(({ webhook }) => (webhook === 'sent' ? ['sent'] : []))).toEqual(['sent'])
    expect(received.map(eventsOf)).toEqual([['opened backup_late beta']])
  })

  test('is told in the end, whichever call of the database fails, and never under another id', async () => {
    await age(BETA, 30)
    const probe = new FaultyDatabase(database.worker)
    await monitor({ ...services, tenants: servicesOf(probe, store.store).tenants })
    const faults = probe.calls.flatMap((_, i) =>
      (['error', 'after-success'] as const).map((how) => ({ call: i + 1, how })),
    )
    for (const fault of faults) {
      await database.admin.query('delete from tenantkeep.alerts')
      received.length = 0
      const faulty = new FaultyDatabase(database.worker, fault)
      const broken = { ...services, tenants: servicesOf(faulty, store.store).tenants }
      await monitor(broken).catch(() => {})
      // Whoever died while telling is waited for a minute.
      await database.admin.query('update tenantkeep.watch set claimed_until = now()')

      await monitor(services)

      const ids = new Set(
        received.flatMap(({ tenantkeep: { events } }) => events.map(({ id }) => id)),
      )
      expect(ids.size, JSON.stringify(fault)).toBe(1)
      const { rows } = await database.admin.query(
        'select from tenantkeep.alerts where announced_at is null or ended_at is not null',
      )
      expect(rows, JSON.stringify(fault)).toHaveLength(0)
    }
    expect(faults.length).toBeGreaterThan(10)
  })
})

describe('restores, undos and erasures', () => {
  const journal = (id: string, type: string, status: string, minutesAgo = 1) =>
    database.admin.query(
      `insert into public.backup_logs (id, backup_type, status, completed_at, organization_id, organization_name,
         actor_kind, actor_id, actor_label, error_code, error_message, undo_of, note)
       values ($1, $2, $3, now() - $4 * interval '1 minute', 'alpha', 'Alpha <!channel>', 'user', 'u1',
         'owner@example.com', case when $3 <> 'complete' then 'restore_blocked' end,
         case when $3 <> 'complete' then 'Nothing.' end,
         case when $2 = 'undo' then $1::uuid end, 'canary-note')`,
      [id, type, status, minutesAgo],
    )

  test('are told once, without a name of a person or a note; what runs or is long past is not', async () => {
    const ids = Array.from({ length: 5 }, () => crypto.randomUUID())
    const [failed = '', undone = '', erased = '', running = '', old = ''] = ids
    await journal(failed, 'restore', 'failed')
    await journal(undone, 'undo', 'failed')
    await journal(erased, 'forget', 'complete')
    await journal(running, 'restore', 'running')
    await journal(old, 'forget', 'complete', 8 * 24 * 60)

    await announceSoon(services)
    await announceSoon(services)

    expect(received).toHaveLength(1)
    const [message] = received
    expect(message?.tenantkeep.events.map(({ id }) => id).sort()).toEqual(
      [failed, undone, erased].sort(),
    )
    expect(JSON.stringify(message)).not.toMatch(/owner@example|canary-note/)
    // A name can't call everybody in the channel.
    expect(message?.text).not.toContain('<!channel>')
    expect(message?.text).toContain('Alpha &lt;!channel&gt;')
  })

  test('wait for the next monitor where the webhook is away', async () => {
    await journal(crypto.randomUUID(), 'forget', 'complete')
    answer(() => new HttpResponse('no', { status: 500 }))
    await announceSoon(services)
    answer(() => new HttpResponse('ok'))

    const report = await monitor(services)

    expect(report.webhook).toBe('sent')
    expect(received.map(eventsOf)).toEqual([['forget complete alpha'], ['forget complete alpha']])
  })
})

test('the same few statements, however many tenants there are', async () => {
  const few = new FaultyDatabase(database.worker)
  await monitor({ ...services, tenants: servicesOf(few, store.store).tenants })
  await database.admin.query(
    `insert into shop.tenants select 'more' || i, 'More ' || i from generate_series(1, 300) i`,
  )
  await database.admin.query(
    `insert into tenantkeep.run_tenants (run_id, tenant_id, status, settled_at, error_code, error_message)
     select r.id, t.id, 'failed', now(), 'internal', 'On purpose.'
     from tenantkeep.runs r, shop.tenants t where t.id like 'more%'`,
  )

  const many = new FaultyDatabase(database.worker)
  const report = await monitor({ ...services, tenants: servicesOf(many, store.store).tenants })

  expect(report.problems).toHaveLength(300)
  // One more: that the webhook took it.
  expect(many.calls.length).toBeLessThanOrEqual(few.calls.length + 1)
  const [message] = received
  expect(message?.blocks.length).toBeLessThanOrEqual(50)
  expect(message?.text).toContain('and 275 more (backup_missing: 275)')
  expect(JSON.stringify(message).length).toBeLessThan(1_000_000)
  await database.admin.query('delete from tenantkeep.run_tenants')
  await database.admin.query(`delete from shop.tenants where id like 'more%'`)
})
