import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import copy from '../../netlify/functions/copy-backups.ts'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getRun from '../../netlify/functions/get-run.ts'
import pause from '../../netlify/functions/pause-tenant.ts'
import drill from '../../netlify/functions/restore-drill-background.ts'
import restoreData from '../../netlify/functions/restore-tenant-data.ts'
import resume from '../../netlify/functions/resume-tenant.ts'
import runJobs from '../../netlify/functions/run-jobs-background.ts'
import scheduledMonitor from '../../netlify/functions/scheduled-backup-monitor.ts'
import scheduledDaily from '../../netlify/functions/scheduled-daily-backup.ts'
import verify from '../../netlify/functions/verify-backups.ts'
import { call, createSite, type Site } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await createSite()
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

const cron = () => ({ token: site.env.CRON_SECRET })
const operator = () => ({ token: site.env.OPERATOR_SECRET })

async function ask<T>(sql: string, params: unknown[] = []): Promise<T[]> {
  return (await site.database.admin.query<T>(sql, params)).rows
}

describe('the daily call', () => {
  test('names the upkeep that follows; the background does it, and get-run tells the cron service', async () => {
    const { status, json } = await call(daily, cron())
    const worked = await call(runJobs, cron())

    expect(status).toBe(200)
    const tasks = json.upkeep.map(({ task }: { task: string }) => task)
    expect(tasks).toEqual(['prune', 'verify', 'drill'])
    expect(worked.json).toEqual({ success: true, settled: 3, left: 0 })
    for (const { task, run_id } of json.upkeep) {
      const { json: answer } = await call(getRun, { ...cron(), body: { run_id } })
      expect(answer.run).toMatchObject({
        kind: task,
        status: 'complete',
        actor: { kind: 'system', label: 'daily run' },
        result: { failed: 0, left: 0 },
      })
    }
    const own = await call(getRun, { ...cron(), body: { run_id: json.run_id } })
    expect(own.json.run.upkeep).toMatchObject(
      tasks.map((task: string) => ({ task, status: 'complete' })),
    )
  })
})

describe('a task of upkeep', () => {
  test.each([
    ['verify-backups', verify, 'verify'],
    ['restore-drill-background', drill, 'drill'],
  ] as const)('%s can be called alone, by cron and operator', async (_, handler, kind) => {
    for (const token of [site.env.CRON_SECRET, site.env.OPERATOR_SECRET]) {
      const { status, json } = await call(handler, { token })

      expect({ status, success: json.success }).toEqual({ status: 200, success: true })
      expect(json.run).toMatchObject({ run_id: json.run_id, kind, status: 'complete' })
    }
    const owner = await call(handler, { token: await site.tokenOf('owner') })
    expect(owner.json.error.code).toBe('not_allowed')
  })

  test('that does not fit the time goes on in the background', async () => {
    await site.database.admin.query(
      `insert into tenantkeep.settings (key, value) values ('time_budget_seconds', '0')`,
    )
    const first = await call(verify, cron())
    const second = await call(verify, operator())
    const worked = await call(runJobs, cron())
    await site.database.admin.query(
      `delete from tenantkeep.settings where key = 'time_budget_seconds'`,
    )

    expect([first.status, second.status]).toEqual([202, 202])
    expect(second.json.run_id).toBe(first.json.run_id)
    expect(worked.json).toEqual({ success: true, settled: 1, left: 0 })
    const { json } = await call(getRun, { ...operator(), body: { run_id: first.json.run_id } })
    expect(json.run).toMatchObject({ kind: 'verify', status: 'complete' })
    const owner = await call(getRun, {
      token: await site.tokenOf('owner'),
      body: { run_id: first.json.run_id },
    })
    expect(owner.status).toBe(404)
  })

  test('copying without a second place says what to set', async () => {
    const { status, json } = await call(copy, cron())

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'not_configured' })
    expect(json.error.message).toMatch(/BACKUP_COPY_STORE/)
  })

  test('a drill is of one tenant where one is named', async () => {
    const [alpha] = site.organizations
    const one = await call(drill, { ...operator(), body: { organization_id: alpha.id } })
    const none = await call(drill, {
      ...operator(),
      body: { organization_id: '00000000-0000-4000-8000-000000000000' },
    })

    expect(one.status).toBe(200)
    expect(one.json.run).toMatchObject({ organization_id: alpha.id, result: { done: 1 } })
    expect(none.json.error.code).toBe('tenant_not_found')
  })

  test('the cron secret sees daily runs and upkeep, and no other run', async () => {
    const manual = await call(daily, {
      ...operator(),
      body: { organization_id: site.organizations[0].id },
    })

    const { status } = await call(getRun, { ...cron(), body: { run_id: manual.json.run_id } })

    expect(status).toBe(404)
  })
})

describe('a tenant', () => {
  test('is paused with a reason and resumed, by operators alone, and the journal has it', async () => {
    const [, beta] = site.organizations
    const organization_id = beta.id
    const paused = await call(pause, {
      ...operator(),
      body: { organization_id, reason: 'Moving house' },
    })
    const again = await call(pause, {
      token: await site.tokenOf('operatorUser'),
      body: { organization_id, reason: 'Still moving' },
    })
    const same = await call(pause, {
      ...operator(),
      body: { organization_id, reason: 'Still moving' },
    })
    const manual = await call(daily, { ...operator(), body: { organization_id } })
    const rehearsed = await call(restoreData, {
      ...operator(),
      body: { backup_id: manual.json.backup_id, dry_run: true },
    })
    const nightly = await call(daily, { ...cron(), body: { idempotency_key: 'paused' } })
    const resumed = await call(resume, { ...operator(), body: { organization_id, note: 'Moved' } })
    const resumedTwice = await call(resume, { ...operator(), body: { organization_id } })

    expect(paused.json).toMatchObject({
      organization_id,
      paused: { reason: 'Moving house', by: 'operator' },
      has_changed: true,
    })
    expect(again.json.paused).toEqual({
      reason: 'Still moving',
      by: 'operatoruser@example.com',
      since: paused.json.paused.since,
    })
    expect(same.json.has_changed).toBe(false)
    expect([manual.status, rehearsed.status]).toEqual([200, 200])
    // It has its backup of the day already, so that nothing is to be skipped.
    expect(nightly.status).toBe(200)
    expect([resumed.json.has_changed, resumedTwice.json.has_changed]).toEqual([true, false])
    expect(resumed.json.paused).toBeNull()
    const journal = await ask(
      `select backup_type as type, status, actor_kind as kind, actor_label as label,
              details - 'paused_at' as details
       from public.backup_logs where backup_type in ('pause', 'resume') order by created_at`,
    )
    expect(journal).toEqual([
      {
        ...{ type: 'pause', status: 'complete', kind: 'operator', label: 'operator' },
        details: { reason: 'Moving house' },
      },
      {
        ...{
          type: 'pause',
          status: 'complete',
          kind: 'operator',
          label: 'operatoruser@example.com',
        },
        details: { reason: 'Still moving', reason_before: 'Moving house' },
      },
      {
        ...{ type: 'resume', status: 'complete', kind: 'operator', label: 'operator' },
        details: { reason: 'Still moving', paused_by: 'operatoruser@example.com', note: 'Moved' },
      },
    ])
  })

  test.each([
    ['cron', 'not_allowed'],
    ['owner', 'not_allowed'],
    ['operator', 'invalid_request'],
  ])('is not paused by %s, or without a reason', async (who, code) => {
    const token =
      who === 'owner'
        ? await site.tokenOf('owner')
        : who === 'cron'
          ? site.env.CRON_SECRET
          : site.env.OPERATOR_SECRET
    const reason = who === 'operator' ? '  ' : 'x'
    const { json } = await call(pause, {
      token,
      body: { organization_id: site.organizations[0].id, reason },
    })

    expect(json.error.code).toBe(code)
    expect(await ask('select from tenantkeep.paused_tenants')).toEqual([])
  })
})

describe("Netlify's clock", () => {
  const calls: {
    method: string | undefined
    url: string | undefined
    authorization: string | undefined
    body: string
  }[] = []
  let status = 200
  const us = createServer((request: IncomingMessage, response) => {
    text(request).then(
      (body) => {
        const { method, url, headers } = request
        calls.push({ method, url, authorization: headers.authorization, body })
        response.writeHead(status).end('{}')
      },
      () => response.destroy(),
    )
  })
  beforeAll(async () => {
    us.listen(0, '127.0.0.1')
    await once(us, 'listening')
  })
  afterAll(() => us.close())
  beforeEach(() => {
    calls.length = 0
    status = 200
    const address = us.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    site.setEnvironment({ NETLIFY_SCHEDULE: 'on', URL: `http://127.0.0.1:${port}` })
  })

  test('calls the daily backup and the monitor as a cron service would', async () => {
    await scheduledDaily()
    await scheduledMonitor()

    const authorization = `Bearer ${site.env.CRON_SECRET}`
    const today = new Date().toISOString().slice(0, 10)
    expect(calls).toEqual([
      {
        ...{ method: 'POST', url: '/.netlify/functions/daily-tenant-backup', authorization },
        body: JSON.stringify({ idempotency_key: `netlify ${today}` }),
      },
      {
        ...{ method: 'POST', url: '/.netlify/functions/backup-monitor', authorization },
        body: '{}',
      },
    ])
  })

  test('does nothing where nobody switched it on', async () => {
    site.setEnvironment({ URL: 'http://127.0.0.1:9' })

    expect((await scheduledDaily()).status).toBe(204)
    expect(calls).toEqual([])
  })

  test('logs an answer that is none it hoped for, and a site it cannot reach', async () => {
    status = 500
    const failed = await scheduledDaily()
    site.setEnvironment({ NETLIFY_SCHEDULE: 'on', URL: 'http://127.0.0.1:9' })
    const unreachable = await scheduledDaily()
    site.setEnvironment({ NETLIFY_SCHEDULE: 'on' })
    const lost = await scheduledDaily()

    expect([failed.status, unreachable.status, lost.status]).toEqual([500, 503, 503])
    const logged = site.logLines.filter((line) => line.includes('"scheduled daily-tenant-backup"'))
    expect(logged.filter((line) => line.includes('"level":"error"'))).toHaveLength(3)
  })
})
