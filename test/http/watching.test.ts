import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import metrics from '../../netlify/functions/backup-metrics.ts'
import monitor from '../../netlify/functions/backup-monitor.ts'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import listBackups from '../../netlify/functions/list-backups.ts'
import { METRICS, METRICS_PREFIX } from '../../src/core/watch/collect-metrics.ts'
import { runCli } from '../support/run-cli.ts'
import { call, createSite, type Site } from '../support/site.ts'

const TOKEN = 'canary-metrics-token'
const WATCHED = { METRICS_TOKEN: TOKEN, ALERT_WEBHOOK_URL: 'https://hooks.example/canary' }

const server = setupServer()
let site: Site
beforeAll(async () => {
  site = await createSite()
  server.listen({ onUnhandledFrame: 'bypass' })
  server.use(http.post('https://hooks.example/canary', () => new HttpResponse('ok')))
})
afterAll(async () => {
  server.close()
  await site.close()
})
beforeEach(() => site.setEnvironment(WATCHED))

const scrape = async (token: string) => {
  const response = await metrics(
    new Request('https://site.example/.netlify/functions/backup-metrics', {
      headers: { authorization: `Bearer ${token}` },
    }),
  )
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    text: await response.text(),
  }
}

/** Values by name and labels: `tenantkeep_jobs{state="active"}` to 0. */
function valuesOf(text: string): Map<string, number> {
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    samples.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1).replace('+Inf', 'Infinity'))]
    }),
  )
}

test('the monitor answers 503 with what to do while tenants have no backup, then 200; by GET and POST', async () => {
  const before = await call(monitor, { token: site.env.CRON_SECRET, method: 'GET' })
  await call(daily, { token: site.env.CRON_SECRET })
  const after = await call(monitor, { token: site.env.OPERATOR_SECRET })

  expect(before.status).toBe(503)
  expect(before.json).toMatchObject({ success: false, webhook: 'sent', tenants: { active: 3 } })
  expect(before.json.problems.map((found: { code: string }) => found.code)).toEqual([
    'daily_run_missing',
    'backup_missing',
    'backup_missing',
    'backup_missing',
  ])
  expect(before.json.problems[1]).toEqual({
    key: expect.any(String),
    code: 'backup_missing',
    severity: 'error',
    organization_id: site.organizations[0].id,
    organization_name: 'Alpha Gases',
    table: null,
    since: null,
    message: expect.stringContaining('Alpha Gases has no backup'),
    remedy: expect.any(String),
  })
  expect(after.status).toBe(200)
  expect(after.json).toMatchObject({ success: true, problems: [], webhook: 'sent', ping: null })
})

test('the command line says the same, and ends with 1 where something is wrong', async () => {
  const env = { ...site.env }
  const well = await runCli(['monitor'], env)
  await site.database.admin.query(`update public.tenant_backups set gaps = '{public.new}'`)
  const unwell = await runCli(['monitor', '--json'], env)
  const told = await runCli(['monitor'], env)

  await site.database.admin.query(`update public.tenant_backups set gaps = '{}'`)
  expect([well.status, unwell.status]).toEqual([0, 1])
  expect(well.stdout).toContain('All 3 active tenants are backed up.')
  expect(JSON.parse(unwell.stdout)).toMatchObject({
    success: false,
    webhook: 'not_configured',
    problems: [{ code: 'table_unclassified', table: 'public.new' }],
  })
  expect(told.stdout).toContain('error: The table public.new is in no backup')
})

test('metrics are text for Prometheus, every one of them described, values from the database', async () => {
  const { status, type, text } = await scrape(TOKEN)

  expect([status, type]).toEqual([200, expect.stringMatching(/^text\/plain; version=0\.0\.4/)])
  const described = [...text.matchAll(/^# HELP (\S+) /gm)].map(([, name]) => name)
  expect(described.sort()).toEqual(
    Object.keys(METRICS)
      .map((name) => METRICS_PREFIX + name)
      .sort(),
  )
  const values = valuesOf(text)
  const alpha = `{tenant="${site.organizations[0].id}",name="Alpha Gases"}`
  expect(values.get('tenantkeep_tenants{state="active"}')).toBe(3)
  expect(values.get(`tenantkeep_backup_rows${alpha}`)).toBe(9)
  expect(values.get(`tenantkeep_backup_age_seconds${alpha}`)).toBeLessThan(600)
  expect(values.get('tenantkeep_protected_rows')).toBeGreaterThan(20)
  expect(values.get('tenantkeep_backups_24h{status="complete"}')).toBe(3)
  // The tasks that follow a daily run.
  const { rows: jobs } = await site.database.admin.query(
    `select from tenantkeep_jobs.job where state = 'created'`,
  )
  expect(values.get('tenantkeep_jobs{state="waiting"}')).toBe(jobs.length)
  expect(values.has('tenantkeep_last_drill_success_age_seconds')).toBe(false)
})

test('the token of the metrics opens them and nothing else; cron and owners may not read them', async () => {
  const owner = await site.tokenOf('owner')

  const scrapes = [
    await scrape(TOKEN),
    await scrape(site.env.OPERATOR_SECRET),
    await scrape(site.env.CRON_SECRET),
    await scrape(owner),
    await scrape('wrong'),
  ]
  const others = [
    await call(listBackups, { token: TOKEN }),
    await call(monitor, { token: TOKEN }),
    await call(monitor, { token: owner }),
    await call(monitor),
  ]
  site.setEnvironment()
  const closed = await scrape(TOKEN)
  site.setEnvironment({ METRICS_TOKEN: site.env.CRON_SECRET })
  const same = await scrape(site.env.CRON_SECRET)

  expect(scrapes.map(({ status }) => status)).toEqual([200, 200, 403, 403, 401])
  expect(others.map(({ status }) => status)).toEqual([401, 401, 403, 401])
  expect([closed.status, same.status]).toEqual([401, 503])
})

test('beyond the setting tenants are in the totals only, those with problems first', async () => {
  const [, beta] = site.organizations
  await site.database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('monitor', '{"metrics_tenants": 1}')`,
  )
  await site.database.admin.query(
    `update public.tenant_backups set damaged_at = now(), damage = '[]' where organization_id = $1`,
    [beta.id],
  )

  const { text } = await scrape(TOKEN)

  const values = valuesOf(text)
  const tenants = [...values.keys()].filter((key) =>
    key.startsWith('tenantkeep_backup_age_seconds'),
  )
  expect(tenants).toEqual([
    `tenantkeep_backup_age_seconds{tenant="${beta.id}",name="Beta Rentals"}`,
  ])
  expect(values.get('tenantkeep_tenants_left_out')).toBe(2)
  expect(values.get('tenantkeep_problems{code="backup_damaged",severity="error"}')).toBe(1)
  expect(values.get('tenantkeep_oldest_backup_age_seconds')).toBe(Number.POSITIVE_INFINITY)
})

test('an address in the clear is refused, and not repeated', async () => {
  site.setEnvironment({ ALERT_WEBHOOK_URL: 'http://hooks.example/canary-password' })
  const refused = await call(monitor, { token: site.env.CRON_SECRET })

  site.setEnvironment({ VITE_HOOK: WATCHED.ALERT_WEBHOOK_URL, ...WATCHED })
  const published = await call(monitor, { token: site.env.CRON_SECRET })

  vi.stubEnv('VITE_HOOK', undefined)
  expect([refused, published].map(({ json }) => json.error.code)).toEqual([
    'not_configured',
    'not_configured',
  ])
  expect(refused.json.error.message).toContain('ALERT_WEBHOOK_URL')
})
