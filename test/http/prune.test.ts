import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import forget from '../../netlify/functions/forget-tenant.ts'
import prune from '../../netlify/functions/prune.ts'
import update from '../../netlify/functions/update-backup.ts'
import { ageBackup } from '../support/aged-backups.ts'
import { call, createSite, type Site } from '../support/site.ts'

let site: Site
let old: string
beforeAll(async () => {
  site = await createSite()
  site.setEnvironment()
  old = await backUp()
  await ageBackup(site.database, old, 45)
  await backUp()
  await site.database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('retention', '{"within_days": 30}')`,
  )
})
afterAll(() => site?.close())
beforeEach(() => site.setEnvironment())

async function backUp(): Promise<string> {
  const { json } = await call(daily, {
    token: site.env.OPERATOR_SECRET,
    body: { organization_id: site.organizations[0].id },
  })
  return json.backup_id
}

const statusOf = async (id: string) => {
  const { rows } = await site.database.admin.query<{ status: string }>(
    'select status from public.tenant_backups where id = $1',
    [id],
  )
  return rows[0]?.status
}

test('nobody but cron and operators prunes, nobody but operators forgets, and a dry run is what they get unless told', async () => {
  const [organization] = site.organizations
  const operators = { cron: site.env.CRON_SECRET, operator: site.env.OPERATOR_SECRET }
  const statuses = async (handler: typeof prune, body: object) => {
    const callers = {
      ...operators,
      owner: await site.tokenOf('owner'),
      stranger: await site.tokenOf('stranger'),
    }
    const answers = Object.entries(callers).map(async ([name, token]) => {
      const { status } = await call(handler, { token, body })
      return [name, status] as const
    })
    return Object.fromEntries(await Promise.all(answers))
  }

  expect(await statuses(prune, {})).toEqual({ cron: 200, operator: 200, owner: 403, stranger: 403 })
  expect(await statuses(forget, { organization_id: organization.id })).toEqual({
    cron: 403,
    operator: 200,
    owner: 403,
    stranger: 403,
  })
  expect((await call(prune, { body: {} })).status).toBe(401)
  expect(await statusOf(old)).toBe('complete')
})

test('a dry run names what would go with its reasons, and the real call does that, once', async () => {
  const [organization] = site.organizations
  const token = site.env.CRON_SECRET
  const { json: looked } = await call(prune, { token, body: { organization_id: organization.id } })

  expect(looked).toMatchObject({
    success: true,
    dry_run: true,
    totals: { tenants: 1, kept: 1, expired: 1, problems: 0 },
  })
  const [tenant] = looked.tenants
  expect(tenant).toMatchObject({
    organization_id: organization.id,
    policy: { within_days: 30 },
    policy_from: 'setting',
    expired: [{ backup_id: old, reasons: [{ code: 'past_policy' }] }],
  })
  expect(tenant.kept[0].reasons.map((it: { code: string }) => it.code)).toEqual([
    'today',
    'newest_good',
    'within_days',
  ])

  const stale = await call(prune, { token, body: { dry_run: false, plan_hash: 'a'.repeat(64) } })
  expect(stale.status).toBe(409)
  expect(stale.json.error.code).toBe('plan_stale')
  const { status, json } = await call(prune, {
    token,
    body: { organization_id: organization.id, dry_run: false, plan_hash: looked.plan_hash },
  })
  expect(status).toBe(200)
  expect(json).toMatchObject({
    success: true,
    backups: 1,
    objects: tenant.objects,
    bytes: tenant.bytes,
  })
  expect(await statusOf(old)).toBe('pruned')
})

test('for all tenants it is a task of upkeep with a run', async () => {
  const another = await backUp()
  await backUp()
  await ageBackup(site.database, another, 45)

  const { status, json } = await call(prune, {
    token: site.env.CRON_SECRET,
    body: { dry_run: false },
  })

  expect(status).toBe(200)
  expect(json).toMatchObject({ success: true, run: { kind: 'prune', status: 'complete' } })
  expect(json.run.result.details).toMatchObject({ backups: 1, busy: [], failed: [] })
  expect(await statusOf(another)).toBe('pruned')
})

test('an operator forgets a tenant by its name; a hold stands in the way, and an owner can’t lift it', async () => {
  const [organization] = site.organizations
  const kept = await backUp()
  const token = site.env.OPERATOR_SECRET
  const hold = { backup_id: kept, pin: { reason: 'lawsuit' } }
  await call(update, { token, body: hold })
  const body = { organization_id: organization.id, dry_run: false, confirm_name: organization.name }

  const held = await call(forget, { token, body })
  expect(held.status).toBe(409)
  expect(held.json.error.code).toBe('tenant_held')
  const lifted = await call(update, {
    token: await site.tokenOf('owner'),
    body: { backup_id: kept, pin: null },
  })
  expect(lifted.status).toBe(403)
  await call(update, { token, body: { backup_id: kept, pin: null } })
  const misnamed = await call(forget, { token, body: { ...body, confirm_name: 'Somebody' } })
  expect(misnamed.status).toBe(403)
  expect(await statusOf(kept)).toBe('complete')

  const { status, json } = await call(forget, { token, body })

  expect(status).toBe(200)
  expect(json).toMatchObject({ success: true, dry_run: false, is_in_host: true, locked: [] })
  expect(json.message).toEqual(expect.stringMatching(/next backup begins anew/))
  expect(await statusOf(kept)).toBe('pruned')
})
