import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getRun from '../../netlify/functions/get-run.ts'
import runJobs from '../../netlify/functions/run-jobs-background.ts'
import { call, createSite, type Site } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await createSite()
  // What follows is upkeep.test.ts' business.
  await set('upkeep_after_daily', [])
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

const cron = () => call(daily, { token: site.env.CRON_SECRET })
const background = () => call(runJobs, { token: site.env.CRON_SECRET })
const readRun = async (runId: string) =>
  (await call(getRun, { token: site.env.OPERATOR_SECRET, body: { run_id: runId } })).json.run

async function readBackups() {
  const { rows } = await site.database.admin.query<{ tenant: string; status: string }>(
    `select organization_id as tenant, status from public.tenant_backups
     where backup_type = 'daily_tenant' and backup_date = (now() at time zone 'utc')::date
     order by created_at`,
  )
  return rows
}

async function expectEachOnce(): Promise<void> {
  const backups = await readBackups()
  expect(
    backups
      .filter(({ status }) => status === 'complete')
      .map(({ tenant }) => tenant)
      .sort(),
  ).toEqual(site.organizations.map(({ id }) => id).sort())
}

/** As on a new day, with nothing queued. */
async function forgetToday(): Promise<void> {
  for (const table of [
    'tenantkeep.run_tenants',
    'public.backup_logs',
    'public.tenant_backups',
    'tenantkeep.runs',
    'tenantkeep_jobs.job',
  ]) {
    await site.database.admin.query(`delete from ${table}`)
  }
}

async function set(key: string, value: unknown): Promise<void> {
  await site.database.admin.query(
    `insert into tenantkeep.settings (key, value) values ($1, $2)
     on conflict (key) do update set value = excluded.value`,
    [key, JSON.stringify(value)],
  )
}

describe('the daily call', () => {
  test('backs up every tenant once, however many calls come at the same time', async () => {
    const answers = await Promise.all([cron(), cron(), cron()])

    for (const { status, json } of answers) {
      expect(status).toBe(200)
      expect(json).toMatchObject({
        success: true,
        message: 'Daily tenant backup completed successfully',
        summary: {
          total_tenants: 3,
          successful_tenants: 3,
          failed_tenants: 0,
          pending_tenants: 0,
          skipped_tenants: 0,
        },
        tenants_failed: [],
      })
      // Three organizations, six memberships, fifteen notes.
      expect(json.summary.total_records).toBe(24)
      expect(json.summary.total_size).toMatch(/^\d+\.\d\d MB$/)
    }
    await expectEachOnce()
    expect(await readBackups()).toHaveLength(3)
  })

  test('does nothing twice on one day, and says so', async () => {
    const before = await readBackups()

    const { status, json } = await cron()

    expect(status).toBe(200)
    expect(json.summary).toMatchObject({ successful_tenants: 3, already_complete: 3 })
    expect(await readBackups()).toEqual(before)
  })

  test('closes its run and its journal row', async () => {
    const { json } = await cron()

    const run = await readRun(json.run_id)
    expect(run).toMatchObject({ status: 'complete', kind: 'daily_tenant' })
    expect(run.tenants).toHaveLength(3)
    const { rows } = await site.database.admin.query(
      `select status, error_code from public.backup_logs where run_id = $1 and backup_type = 'run'`,
      [json.run_id],
    )
    expect(rows).toEqual([{ status: 'complete', error_code: null }])
  })

  test('with the key of an earlier call gives its answer', async () => {
    const body = { idempotency_key: '2026-11-21' }
    const token = site.env.CRON_SECRET

    const [first, second] = [await call(daily, { token, body }), await call(daily, { token, body })]

    expect(second?.json).toEqual(first?.json)
  })

  test('leaves the journal as the setup guide queries it', async () => {
    const { rows } = await site.database.admin.query<{ status: string }>(
      `SELECT * FROM backup_logs
       WHERE backup_type = 'daily_tenant'
       ORDER BY created_at DESC
       LIMIT 10;`,
    )

    expect(new Set(rows.map(({ status }) => status))).toEqual(new Set(['complete']))
    expect(rows).toHaveLength(3)
  })
})

describe('a schema that changes', () => {
  test('shows the same night: the new table and the changed one, with what to do', async () => {
    await forgetToday()
    await cron()
    await site.database.admin.query(
      'update public.tenant_backups set backup_date = backup_date - 1',
    )
    await site.database.admin.query('delete from tenantkeep.run_tenants')
    await site.database.admin.query(
      'create table public.brand_new (id int); alter table public.notes add column colour text',
    )

    const { status, json } = await cron()

    await site.database.admin.query(
      'drop table public.brand_new; alter table public.notes drop column colour',
    )
    expect(status).toBe(200)
    expect(json.success).toBe(true)
    expect(json.gaps).toEqual(['public.brand_new'])
    const everybody = site.organizations.map(({ id }) => id)
    expect(json.warnings).toEqual([
      {
        code: 'tables_unclassified',
        message: expect.stringMatching(/public\.brand_new\. Run `tenantkeep init`/),
        organization_ids: expect.arrayContaining(everybody),
      },
      {
        code: 'schema_changed_since_last',
        message: expect.stringMatching(
          /new: public\.brand_new; changed: public\.notes \(columns\)\. Run init again/,
        ),
        organization_ids: expect.arrayContaining(everybody),
      },
    ])
  })
})

describe('a tenant that', () => {
  beforeEach(forgetToday)

  test('is paused is skipped with the reason, once a day in the journal', async () => {
    const [alpha] = site.organizations
    await site.database.admin.query(
      `insert into tenantkeep.paused_tenants (tenant_id, reason, paused_by) values ($1, 'moving house', 'ops')`,
      [alpha.id],
    )

    const [first] = [await cron(), await cron()]

    await site.database.admin.query('delete from tenantkeep.paused_tenants')
    expect(first?.status).toBe(200)
    expect(first?.json.summary).toMatchObject({ total_tenants: 2, skipped_tenants: 1 })
    expect(first?.json.tenants_skipped).toEqual([
      {
        organization_id: alpha.id,
        organization_name: 'Alpha Gases',
        code: 'tenant_paused',
        message: 'Paused by ops: moving house',
      },
    ])
    const { rows } = await site.database.admin.query(
      `select organization_id as tenant, error_code as code from public.backup_logs where status = 'skipped'
       and error_code = 'tenant_paused'`,
    )
    expect(rows).toEqual([{ tenant: alpha.id, code: 'tenant_paused' }])
  })

  test('fails for good is named, and the others are backed up', async () => {
    const [, beta] = site.organizations
    await set('max_row_bytes', 2_000)
    await site.database.admin.query(
      `insert into public.notes (organization_id, body) values ($1, repeat('x', 5000))`,
      [beta.id],
    )

    const { status, json } = await cron()

    await site.database.admin.query(`delete from public.notes where length(body) = 5000`)
    expect(status).toBe(500)
    expect(json).toMatchObject({
      success: false,
      summary: { successful_tenants: 2, failed_tenants: 1, pending_tenants: 0 },
      tenants_failed: [
        { organization_id: beta.id, organization_name: 'Beta Rentals', code: 'row_too_large' },
      ],
    })
    expect(await readRun(json.run_id)).toMatchObject({ status: 'failed' })
    const { rows } = await site.database.admin.query(
      `select organization_id as tenant from backup_logs WHERE status = 'failed' and organization_id is not null`,
    )
    expect(rows).toEqual([{ tenant: beta.id }])
  })

  test('failed for good gets its backup from the next call of that day', async () => {
    const [, beta] = site.organizations
    await site.database.admin.query(
      `insert into public.notes (organization_id, body) values ($1, repeat('x', 5000))`,
      [beta.id],
    )
    await cron()
    await site.database.admin.query(`delete from public.notes where length(body) = 5000`)

    const { status, json } = await cron()

    expect(status).toBe(200)
    expect(json.summary).toMatchObject({ successful_tenants: 3, already_complete: 2 })
    await expectEachOnce()
  })

  test('fails for the moment is tried again by the background', async () => {
    const [, , gamma] = site.organizations
    await set('max_row_bytes', 1_000_000)
    const folder = join(site.folder, 'tenant-backups')
    const blocked = join(folder, gamma.id)
    await mkdir(folder, { recursive: true })
    await rm(blocked, { recursive: true, force: true })
    await writeFile(blocked, '')

    const first = await cron()
    await rm(blocked)
    // The wait before the next attempt is over.
    await site.database.admin.query(
      `update tenantkeep_jobs.job set start_after = now() where state = 'retry'`,
    )
    const worked = await background()

    expect(first.status).toBe(202)
    expect(first.json.summary).toMatchObject({ successful_tenants: 2, pending_tenants: 1 })
    expect(worked.json).toMatchObject({ settled: 1, left: 0 })
    const run = await readRun(first.json.run_id)
    expect(run).toMatchObject({ status: 'complete' })
    expect(run.tenants.map((tenant: { attempts: number }) => tenant.attempts)).toEqual([1, 1, 2])
    await expectEachOnce()
  })
})

describe('what does not fit the time', () => {
  let woken: IncomingMessage[]
  let url: string
  const background202 = createServer((request, response) => {
    woken.push(request)
    response.writeHead(202).end()
  })
  beforeAll(async () => {
    background202.listen(0, '127.0.0.1')
    await once(background202, 'listening')
    const address = background202.address()
    url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
  })
  afterAll(() => background202.close())
  beforeEach(async () => {
    woken = []
    await forgetToday()
    await set('time_budget_seconds', 0)
    site.setEnvironment({ URL: url })
  })
  afterEach(() => set('time_budget_seconds', 20))

  test('is handed over, and the run says when it is done', async () => {
    const { status, json } = await cron()
    const worked = await background()

    expect(status).toBe(202)
    expect(json).toMatchObject({
      success: true,
      summary: { total_tenants: 3, successful_tenants: 0, pending_tenants: 3 },
    })
    expect(
      woken.map(({ url: path, method, headers }) => [method, path, headers.authorization]),
    ).toEqual([
      ['POST', '/.netlify/functions/run-jobs-background', `Bearer ${site.env.CRON_SECRET}`],
    ])
    expect(worked.json).toEqual({ success: true, settled: 3, left: 0 })
    expect(await readRun(json.run_id)).toMatchObject({
      status: 'complete',
      summary: { successful_tenants: 3, pending_tenants: 0 },
    })
    await expectEachOnce()
  })

  test('is done once when the background event is delivered twice', async () => {
    await cron()

    const deliveries = await Promise.all([background(), background()])

    expect(deliveries.map(({ status }) => status)).toEqual([200, 200])
    expect(deliveries.reduce((sum, { json }) => sum + json.settled, 0)).toBe(3)
    await expectEachOnce()
    expect(await readBackups()).toHaveLength(3)
  })

  test('is picked up by the next call where the background could not be woken', async () => {
    site.setEnvironment({ URL: 'http://127.0.0.1:9' })
    const first = await cron()
    await set('time_budget_seconds', 20)

    const second = await cron()

    expect([first.status, second.status]).toEqual([202, 200])
    expect(await readRun(first.json.run_id)).toMatchObject({ status: 'complete' })
    await expectEachOnce()
  })

  test('is done although the caller hung up', async () => {
    await set('time_budget_seconds', 20)
    const gone = new AbortController()
    const answer = daily(
      new Request('https://site.example/', {
        method: 'POST',
        headers: { authorization: `Bearer ${site.env.CRON_SECRET}` },
        signal: gone.signal,
      }),
    )
    gone.abort()

    await answer

    await expectEachOnce()
  })

  test('a tenant that takes long is left to the background, the short ones are done at once', async () => {
    await set('time_budget_seconds', 20)
    await cron()
    await site.database.admin.query(
      `update public.tenant_backups set backup_date = backup_date - 1,
         created_at = completed_at - case when organization_id = $1 then interval '5 minutes' else interval '1 second' end`,
      [site.organizations[0].id],
    )

    const { status, json } = await cron()

    expect(status).toBe(202)
    expect(json.summary).toMatchObject({ successful_tenants: 2, pending_tenants: 1 })
    const run = await readRun(json.run_id)
    expect(run.tenants[0]).toMatchObject({ organization_name: 'Alpha Gases', status: 'pending' })
  })
})
