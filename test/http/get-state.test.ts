import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getState from '../../netlify/functions/get-state.ts'
import listTenants from '../../netlify/functions/list-tenants.ts'
import restoreData from '../../netlify/functions/restore-tenant-data.ts'
import undo from '../../netlify/functions/undo-restore.ts'
import { call, createSite, type Handler, type Site } from '../support/site.ts'

let site: Site
/** Of the first organization, complete. */
let backup: string
beforeAll(async () => {
  site = await createSite()
  site.setEnvironment()
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

const change = (sql: string, params: unknown[] = []) => site.database.admin.query(sql, params)

async function callAsOperator(handler: Handler, body: object) {
  const { status, json } = await call(handler, { token: site.env.OPERATOR_SECRET, body })
  expect(status, JSON.stringify(json)).toBe(200)
  return json
}

const readState = (tenant: 0 | 1 | 2 = 0) =>
  callAsOperator(getState, { organization_id: site.organizations[tenant].id })

const listAll = (body: object = {}) => callAsOperator(listTenants, body)

async function take(): Promise<string> {
  const json = await callAsOperator(daily, {
    organization_id: site.organizations[0].id,
    idempotency_key: randomUUID(),
  })
  return json.backup_id
}

/** A backup as somebody else left it in the catalog, of the first organization. */
async function insertBackup(columns: Record<string, string>): Promise<string> {
  const given = {
    backup_type: `'daily_tenant'`,
    status: `'failed'`,
    created_at: 'now()',
    ...(columns.status === `'running'` ? {} : { error_code: `'internal'`, error_message: `'x'` }),
    ...columns,
  }
  const { rows } = await site.database.admin.query<{ id: string }>(
    `insert into public.tenant_backups
       (organization_id, organization_name, store_url, object_stamp, actor_kind, actor_label,
        ${Object.keys(given).join(', ')})
     values ($1, 'Alpha Gases', 'file:///x', 'x', 'cron', 'cron', ${Object.values(given).join(', ')})
     returning id`,
    [site.organizations[0].id],
  )
  return rows[0]?.id ?? ''
}

test('a tenant without a backup has none, and nothing is expected', async () => {
  expect(await readState()).toMatchObject({
    organization: { id: site.organizations[0].id, name: 'Alpha Gases' },
    viewer: { is_operator: true, label: 'operator', may_choose: true },
    state: { code: 'none', reason: null, since: null },
    ...{ newest_backup: null, newest_attempt: null, next_expected_at: null },
    ...{ last_proven_restore_at: null, running: null, last_restore: null },
    ...{ measured_restore_ms: null, failed_drill: null, newest_good_taken_at: null },
    safety_backup_days: 30,
  })
})

describe('after a backup', () => {
  beforeAll(async () => {
    backup = await take()
  })

  test('its tenant is verified, and what it holds is named', async () => {
    const state = await readState()

    expect(state.state.code).toBe('verified')
    expect(state.newest_backup.backup_id).toBe(backup)
    expect(state.newest_attempt.backup_id).toBe(backup)
    expect(state.tables).toContainEqual({ name: 'notes', class: 'direct', is_history: false })
    expect(state.days).toHaveLength(30)
    expect(state.days.at(-1)).toMatchObject({ complete: 1, failed: 0, missed_at: null })
  })

  test('an owner reads the same, without saying whose', async () => {
    const { json } = await call(getState, { token: await site.tokenOf('owner'), body: {} })

    expect(json).toMatchObject({
      organization: { id: site.organizations[0].id },
      viewer: { is_operator: false, label: 'owner@example.com', may_choose: false },
      newest_backup: { backup_id: backup },
    })
  })

  test('the last drill that went well, and one since that did not, are said', async () => {
    const { id } = site.organizations[0]
    await change(
      `insert into tenantkeep.drills (id, organization_id, backup_id, in_rotation, status, started_at,
         finished_at, findings, rows, bytes, duration_ms)
       values (gen_random_uuid(), $1, $2, true, 'passed', now() - interval '3 days', '2026-11-18T02:00:09Z',
           '[]', 9, 900, 9000),
         (gen_random_uuid(), $1, $2, true, 'failed', now() - interval '2 days', '2026-11-19T02:00:09Z',
           '[{"code": "orphan"}]', 9, 900, 9500)`,
      [id, backup],
    )
    await change(`insert into tenantkeep.settings (key, value) values ('safety_backup_days', '45')`)

    const state = await readState()

    await change('delete from tenantkeep.drills')
    await change(`delete from tenantkeep.settings where key = 'safety_backup_days'`)
    expect(new Date(state.last_proven_restore_at)).toEqual(new Date('2026-11-18T02:00:09Z'))
    expect(state).toMatchObject({
      ...{ measured_restore_ms: 9_000, failed_drill: { backup_id: backup, findings: 1 } },
      safety_backup_days: 45,
    })
    expect(state.newest_good_taken_at).toBe(state.newest_backup.taken_at)
  })

  test('a failed attempt since is said, and counted for operators', async () => {
    const id = await insertBackup({ error_message: `'No space left.'` })

    const { state, newest_attempt, newest_backup } = await readState()
    const { tenants } = await listAll({ search: 'ALPHA' })

    await change('delete from public.tenant_backups where id = $1', [id])
    expect(state).toMatchObject({ code: 'last_failed', reason: 'No space left.' })
    expect(newest_attempt.backup_id).toBe(id)
    expect(newest_backup.backup_id).toBe(backup)
    expect(tenants).toEqual([
      expect.objectContaining({ failures_30_days: 1, state: expect.objectContaining(state) }),
    ])
  })

  test('a safety backup never counts', async () => {
    const id = await insertBackup({ backup_type: `'pre_restore'` })

    const { state, newest_attempt } = await readState()

    await change('delete from public.tenant_backups where id = $1', [id])
    expect(state.code).toBe('verified')
    expect(newest_attempt.backup_id).toBe(backup)
  })

  test('one that says «running» counts as long as its process can be alive', async () => {
    const begun = await insertBackup({ status: `'running'` })
    const starting = await readState()
    await change(
      `update public.tenant_backups set created_at = now() - interval '5 min' where id = $1`,
      [begun],
    )
    const dead = await readState()
    const working = await site.database.worker.withConnection(async (session) => {
      await session.query(
        `select pg_advisory_lock(hashtextextended('tenantkeep.tenant:' || $1, 0))`,
        [site.organizations[0].id],
      )
      return readState()
    })
    const { state: other } = await readState(1)
    await change('delete from public.tenant_backups where id = $1', [begun])

    expect(starting).toMatchObject({ state: { code: 'running' }, running: { kind: 'backup' } })
    expect(dead).toMatchObject({ state: { code: 'verified' }, running: null })
    expect(working.running).toMatchObject({ kind: 'backup', actor_label: 'cron', run_id: null })
    expect(other.code).toBe('none')
  })

  test('a day later it is overdue, and more so than the tenants that never had one', async () => {
    await change(
      `update public.tenant_backups set taken_at = now() - interval '31 hours',
         created_at = now() - interval '31 hours' where id = $1`,
      [backup],
    )

    const { state } = await readState()
    const { tenants, counts } = await listAll()

    await change(
      'update public.tenant_backups set taken_at = now(), created_at = now() where id = $1',
      [backup],
    )
    expect(state.code).toBe('overdue')
    expect(counts).toEqual({ overdue: 1, none: 2 })
    expect(tenants[0]).toMatchObject({ organization_name: 'Alpha Gases', state })
  })

  test('a paused tenant says why and since when, and expects nothing', async () => {
    await change(
      `insert into tenantkeep.paused_tenants (tenant_id, reason, paused_by)
       values ($1, 'contract ended', 'ines')`,
      [site.organizations[0].id],
    )

    const { state, next_expected_at } = await readState()

    await change('delete from tenantkeep.paused_tenants')
    expect(state).toMatchObject({
      code: 'paused',
      reason: 'Paused by ines: contract ended',
      since: expect.any(String),
    })
    expect(next_expected_at).toBeNull()
  })

  test('is damaged once somebody read it in vain, until it is verified again', async () => {
    const asked = { task: { kind: 'restore', backup_id: backup, dry_run: true } }
    const { rows } = await site.database.admin.query<{ id: string }>(
      `insert into tenantkeep.runs (kind, status, finished_at, actor_kind, actor_label, tenant_ids,
         request, error_code, error_message)
       values ('restore', 'failed', now() + interval '1 s', 'system', 'test', array[$1], $2,
         'backup_damaged', 'A part does not match.')
       returning id`,
      [site.organizations[0].id, JSON.stringify(asked)],
    )

    const damaged = await readState()
    await change(
      `update public.tenant_backups set verified_at = now() + interval '2 s' where id = $1`,
      [backup],
    )
    const verified = await readState()

    await change('delete from tenantkeep.runs where id = $1', [rows[0]?.id])
    expect(damaged.state).toMatchObject({ code: 'damaged', reason: 'A part does not match.' })
    expect(verified.state.code).toBe('verified')
  })
})

describe('the next daily backup', () => {
  afterEach(() => change(`delete from tenantkeep.runs where actor_label = 'rhythm'`))

  const insertRun = (at: string) =>
    change(
      `insert into tenantkeep.runs (kind, status, created_at, actor_kind, actor_label, tenant_ids)
       values ('daily_tenant', 'complete', $1, 'cron', 'rhythm', '{}')`,
      [at],
    )

  test('is expected a day after the first run of the last day that had one', async () => {
    const today = new Date().toISOString().slice(0, 10)
    await insertRun(`${today}T00:00:02Z`)
    await insertRun(`${today}T00:00:09Z`)

    const { next_expected_at } = await readState()

    const expected = new Date(Date.parse(`${today}T00:00:02Z`) + 86_400_000)
    expect(new Date(next_expected_at)).toEqual(expected)
  })

  test('is missed on days that had a run before them and no backup', async () => {
    const dayBefore = (days: number) =>
      new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10)
    await insertRun(`${dayBefore(5)}T00:00:01Z`)
    const old = await insertBackup({
      created_at: `now() - interval '4 days'`,
      backup_date: `(now() at time zone 'utc')::date - 4`,
    })

    const { days } = await readState()

    await change('delete from public.tenant_backups where id = $1', [old])
    const missed = days.filter((day: { missed_at: string | null }) => day.missed_at !== null)
    // Before its first backup a tenant misses nothing; today it has one.
    expect(missed.map((day: { day: string }) => day.day)).toEqual([3, 2, 1].map(dayBefore))
    expect(new Date(missed[0].missed_at)).toEqual(new Date(`${dayBefore(3)}T00:00:01Z`))
    expect(days.at(-5)).toMatchObject({ day: dayBefore(4), failed: 1, missed_at: null })
  })
})

test('the last restore says whether it can be undone, as undoing it does', async () => {
  await change(`delete from public.notes where organization_id = $1`, [site.organizations[0].id])
  const restored = await callAsOperator(restoreData, { backup_id: backup, dry_run: false })

  const before = await readState()
  expect(before.last_restore).toMatchObject({
    ...{ restore_id: restored.restore_id, kind: 'restore', actor_label: 'operator' },
    ...{ backup_id: backup, run_id: restored.run_id, can_undo: true, why_not: null },
  })
  expect(Date.parse(before.last_restore.undo_until)).toBeGreaterThan(Date.now() + 29 * 86_400_000)

  await change(
    `update public.tenant_backups set status = 'pruned', pruned_at = now(), prune_reason = 'of old age' where backup_type = 'pre_restore'`,
  )
  const pruned = await readState()
  const refused = await call(undo, {
    token: site.env.OPERATOR_SECRET,
    body: { restore_id: restored.restore_id },
  })

  expect(pruned.last_restore).toMatchObject({
    can_undo: false,
    why_not: refused.json.error.message,
    undo_until: null,
  })
})

describe('the list of tenants', () => {
  test('is paged, and searched by a part of the name or how the id begins', async () => {
    const first = await listAll({ limit: 2 })
    const second = await listAll({ limit: 2, cursor: first.next_cursor })
    const byId = await listAll({ search: site.organizations[2].id.slice(0, 13) })
    const none = await listAll({ search: '%' })

    const names = [...first.tenants, ...second.tenants].map((tenant) => tenant.organization_name)
    expect(names).toEqual(['Beta Rentals', 'Gamma Welding', 'Alpha Gases'])
    expect([first.total, first.next_cursor, second.next_cursor]).toEqual([3, 2, null])
    expect(byId.tenants).toHaveLength(1)
    expect(none).toMatchObject({ total: 0, tenants: [], counts: {} })
  })

  test('has tenants that the application knows no more, as long as there are backups', async () => {
    const { rows } = await site.database.admin.query<{ id: string }>(
      `update public.tenant_backups set organization_id = gen_random_uuid(), organization_name = 'Gone'
       where id = $1 returning organization_id as id`,
      [backup],
    )

    const { tenants } = await listAll({ search: 'gone' })
    const state = await callAsOperator(getState, { organization_id: rows[0]?.id })

    await change(
      `update public.tenant_backups set organization_id = $2, organization_name = 'Alpha Gases' where id = $1`,
      [backup, site.organizations[0].id],
    )
    expect(tenants).toEqual([expect.objectContaining({ organization_id: rows[0]?.id })])
    expect(state.state).toMatchObject({ code: 'paused', since: null })
    expect(state.newest_backup.backup_id).toBe(backup)
  })
})
