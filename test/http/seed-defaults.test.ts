import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import createTenant from '../../netlify/functions/create-tenant.ts'
import getRun from '../../netlify/functions/get-run.ts'
import listTables from '../../netlify/functions/list-tables.ts'
import listTenants from '../../netlify/functions/list-tenants.ts'
import offboard from '../../netlify/functions/offboard-tenant.ts'
import seedDefaults from '../../netlify/functions/seed-defaults.ts'
import { readOpenSeedConflicts } from '../../src/core/defaults/read-open-conflicts.ts'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { call, createSite, type Handler, type Site } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await createSite()
  site.setEnvironment()
  await site.database.admin.query('alter table public.notes add column topic text')
  await site.database.admin.query(
    'create unique index notes_topic on public.notes (organization_id, topic)',
  )
  await site.database.admin.query(`insert into public.organizations values ($1, 'Defaults')`, [
    TEMPLATE,
  ])
  await site.database.admin.query(
    `insert into public.notes (organization_id, body, topic)
     values ($1, 'Check the valves.', 'valves'), ($1, 'Call before delivery.', 'delivery')`,
    [TEMPLATE],
  )
  const report = await initialiseProtection(site.database.admin, {
    tenantTable: 'public.organizations',
    tenantColumns: ['organization_id'],
    templateTenant: TEMPLATE,
    enableRowSecurity: true,
    acceptDefaults: true,
    document: { version: 1, tables: { 'public.notes': { marks: { seeded: true } } } },
  })
  expect(report.isApplied).toBe(true)
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

const TEMPLATE = '00000000-0000-4000-8000-0000000000aa'

const ask = (handler: Handler, body: object, token = site.env.OPERATOR_SECRET) =>
  call(handler, { token, body })

const topicsOf = async (tenant: string) => {
  const { rows } = await site.database.admin.query<{ topic: string }>(
    'select topic from public.notes where organization_id = $1 and topic is not null order by 1',
    [tenant],
  )
  return rows.map(({ topic }) => topic)
}
const journal = async (type: string) => {
  const { rows } = await site.database.admin.query(
    `select status, error_code, actor_kind, organization_id, note, details -> 'scope' as scope
     from public.backup_logs where backup_type = $1 order by created_at, id`,
    [type],
  )
  return rows
}

test('the template is listed as one, and counts in no figure', async () => {
  const { json } = await ask(listTenants, {})

  expect(json.total).toBe(3)
  const templates = json.tenants.filter((tenant: { is_template: boolean }) => tenant.is_template)
  expect(templates).toMatchObject([{ organization_id: TEMPLATE, organization_name: 'Defaults' }])
})

describe('seed-defaults', () => {
  test('rehearses unless told, seeds as approved, and the second time there is nothing to do', async () => {
    const [{ id }] = site.organizations
    const dry = await ask(seedDefaults, { organization_ids: [id] })
    const { hash } = dry.json.plan
    const key = randomUUID()
    const real = { organization_ids: [id], dry_run: false, plan_hash: hash, idempotency_key: key }

    const done = await ask(seedDefaults, real)
    const repeated = await ask(seedDefaults, real)
    const again = await ask(seedDefaults, { organization_ids: [id] })

    expect(dry.status, JSON.stringify(dry.json)).toBe(200)
    expect(dry.json.summary).toMatchObject({ dry_run: true, rows_inserted: 2, conflicts: 0 })
    expect(done.status, JSON.stringify(done.json)).toBe(200)
    expect(done.json.summary).toMatchObject({ dry_run: false, rows_inserted: 2 })
    expect(repeated.json.run_id).toBe(done.json.run_id)
    expect(again.json.summary.rows_inserted).toBe(0)
    expect(await topicsOf(id)).toEqual(['delivery', 'valves'])
    const run = await ask(getRun, { run_id: done.json.run_id })
    expect(run.json.run).toMatchObject({ kind: 'seed', status: 'complete' })
    expect(run.json.run.events.length).toBeGreaterThan(0)
  })

  test('a row of the tenant with the same natural key is a conflict, until somebody decides', async () => {
    const [, { id }] = site.organizations
    await site.database.admin.query(
      `insert into public.notes (organization_id, body, topic) values ($1, 'Ours.', 'valves')`,
      [id],
    )
    const dry = await ask(seedDefaults, { organization_ids: [id] })

    const refused = await ask(seedDefaults, { organization_ids: [id], dry_run: false })
    const open = await readOpenSeedConflicts(site.database.worker)
    const decided = await ask(seedDefaults, {
      ...{ organization_ids: [id], dry_run: false, note: 'theirs stays' },
      decisions: [{ case: 'natural_key_taken', table: 'notes', decision: 'keep' }],
    })

    expect(dry.json).toMatchObject({ success: false, summary: { conflicts: 1 } })
    expect(dry.json.tenants[0].result.conflicts[0]).toMatchObject({
      ...{ table: 'notes', case: 'natural_key_taken', constraint: 'notes_topic' },
    })
    expect(refused.status).toBe(409)
    expect(refused.json.error).toMatchObject({ code: 'seed_conflict' })
    expect(refused.json.error.details.conflicts).toMatchObject([
      { table: 'notes', key_columns: expect.anything(), columns: expect.arrayContaining(['body']) },
    ])
    expect(open).toMatchObject([{ tenantId: id, conflicts: 1 }])
    expect(await readOpenSeedConflicts(site.database.worker)).toEqual([])
    expect(decided.status, JSON.stringify(decided.json)).toBe(200)
    expect(await topicsOf(id)).toEqual(['delivery', 'valves'])
  })

  test('the cron secret rehearses without seeing values, and seeds nothing; a person needs a plan', async () => {
    const [, , { id }] = site.organizations
    await site.database.admin.query(
      `insert into public.notes (organization_id, body, topic) values ($1, 'canary of a row', 'valves')`,
      [id],
    )
    const cron = site.env.CRON_SECRET
    const rehearsal = await ask(seedDefaults, { organization_ids: [id] }, cron)
    const real = await ask(
      seedDefaults,
      { organization_ids: [id], dry_run: false, note: 'sly' },
      cron,
    )
    const owner = await ask(
      seedDefaults,
      { organization_ids: [id], dry_run: false },
      await site.tokenOf('owner'),
    )
    const person = await ask(
      seedDefaults,
      { organization_ids: [id], dry_run: false },
      await site.tokenOf('operatorUser'),
    )

    expect(rehearsal.status).toBe(200)
    expect(JSON.stringify(rehearsal.json)).not.toContain('canary')
    expect(rehearsal.json.summary.conflicts).toBe(1)
    expect([real.status, real.json.error.code]).toEqual([403, 'not_allowed'])
    expect([owner.status, owner.json.error.code]).toEqual([403, 'not_allowed'])
    expect([person.status, person.json.error.code]).toEqual([409, 'plan_required'])
    const refused = (await journal('seed_defaults')).filter(({ scope }) => scope !== null)
    expect(refused).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          ...{ status: 'failed', error_code: 'not_allowed', actor_kind: 'cron', note: 'sly' },
          ...{ organization_id: null, scope: expect.objectContaining({ organization_ids: [id] }) },
        }),
        expect.objectContaining({ error_code: 'not_allowed', actor_kind: 'user' }),
        expect.objectContaining({ error_code: 'plan_required', actor_kind: 'operator' }),
      ]),
    )
    await site.database.admin.query(`delete from public.notes where body = 'canary of a row'`)
  })

  test('many go through the queue, and one that fails is named and stops no other', async () => {
    const [{ id: first }, { id: second }, { id: third }] = site.organizations
    await site.database.admin.query(
      `insert into public.notes (organization_id, body, topic) values ($1, 'New default.', 'gloves')`,
      [TEMPLATE],
    )
    await site.database.admin.query(
      `insert into public.notes (organization_id, body, topic) values ($1, 'Ours.', 'gloves')`,
      [second],
    )

    const done = await ask(seedDefaults, { all: true, dry_run: false })

    expect(done.status, JSON.stringify(done.json)).toBe(409)
    expect(done.json.summary).toMatchObject({
      total_tenants: 3,
      successful_tenants: 2,
      failed_tenants: 1,
    })
    expect(
      done.json.tenants.find((tenant: { status: string }) => tenant.status === 'failed'),
    ).toMatchObject({ organization_id: second, error: { code: 'seed_conflict' } })
    expect(await topicsOf(first)).toEqual(['delivery', 'gloves', 'valves'])
    expect(await topicsOf(third)).toEqual(['delivery', 'gloves', 'valves'])
    const run = await ask(getRun, { run_id: done.json.run_id })
    expect(
      run.json.run.events.filter((event: { type: string }) => event.type === 'tenant'),
    ).toHaveLength(3)
  })

  test('names tenants that are not there, and never seeds the template', async () => {
    const unknown = await ask(seedDefaults, { organization_ids: [randomUUID()] })
    const template = await ask(seedDefaults, { organization_ids: [TEMPLATE] })
    const nobody = await ask(seedDefaults, { note: 'to whom?' })

    expect(unknown.json.error.code).toBe('tenant_not_found')
    expect(template.json.error.code).toBe('invalid_request')
    expect(nobody.json.error.code).toBe('invalid_request')
    expect((await journal('seed_defaults')).at(-1)).toMatchObject({
      ...{ error_code: 'invalid_request', actor_kind: 'operator', note: 'to whom?' },
      scope: { fields: ['organization_ids'], unknown_fields: 0 },
    })
  })

  test('input that makes no sense is in the journal by the names of our fields alone', async () => {
    const row = 'canary of a refused row'
    const owner = await site.tokenOf('owner')
    const before = (await journal('seed_defaults')).length
    await ask(seedDefaults, { manual_rows: { notes: [row] }, mode: row, [row]: row, note: [row] })
    await call(seedDefaults, { token: owner, text: `{"note": "${row}` })
    await call(seedDefaults, { token: 'no such secret', body: { mode: row } })
    await ask(createTenant, { columns: row, dry_run: row, note: 'for Delta' })
    await ask(offboard, { organization_id: 7, reason: ['gone'] }, site.env.CRON_SECRET)

    const seeded = (await journal('seed_defaults')).slice(before)
    const created = (await journal('create_tenant')).slice(-1)
    const gone = (await journal('offboard')).slice(-1)
    expect(seeded).toMatchObject([
      {
        ...{ status: 'failed', error_code: 'invalid_request', actor_kind: 'operator', note: null },
        scope: { fields: ['manual_rows', 'mode', 'note'], unknown_fields: 1 },
      },
      { actor_kind: 'user', note: null, scope: { fields: [], unknown_fields: 0 } },
    ])
    expect(created).toMatchObject([
      { note: 'for Delta', scope: { fields: ['columns', 'dry_run'], unknown_fields: 0 } },
    ])
    expect(gone).toMatchObject([
      { actor_kind: 'cron', scope: { fields: ['organization_id', 'reason'], unknown_fields: 0 } },
    ])
    const { rows } = await site.database.admin.query(
      'select from public.backup_logs l where l::text like $1',
      [`%${row}%`],
    )
    expect(rows).toEqual([])
  })
})

describe('create-tenant and offboard-tenant', () => {
  test('a tenant comes with its defaults, once, and goes after a last backup', async () => {
    const id = randomUUID()
    const body = { columns: { id, name: 'Delta Gas' }, idempotency_key: id, note: 'contract 17' }

    const made = await ask(createTenant, body)
    const again = await ask(createTenant, body)

    expect(made.status, JSON.stringify(made.json)).toBe(200)
    expect(made.json).toMatchObject({
      success: true,
      organization_id: id,
      organization_name: 'Delta Gas',
    })
    expect(again.json.organization_id).toBe(id)
    expect(await topicsOf(id)).toEqual(['delivery', 'gloves', 'valves'])

    const dry = await ask(offboard, { organization_id: id, reason: 'gone' })
    const unconfirmed = await ask(offboard, { organization_id: id, reason: 'gone', dry_run: false })
    const gone = await ask(offboard, {
      ...{ organization_id: id, reason: 'gone', dry_run: false, confirm_name: 'Delta Gas' },
      plan_hash: dry.json.plan.hash,
    })

    expect(dry.json.summary).toEqual({ total_tables: 2, rows_deleted: 4 })
    expect(unconfirmed.json.error.code).toBe('invalid_request')
    expect(gone.status, JSON.stringify(gone.json)).toBe(200)
    expect(await topicsOf(id)).toEqual([])
    const named = async (type: string) =>
      (await journal(type)).filter(
        ({ note, organization_id: of }) => of === id || note === body.note,
      )
    expect((await named('create_tenant')).map(({ status }) => status)).toEqual(['complete'])
    expect((await named('offboard')).map(({ status }) => status)).toEqual(['failed', 'complete'])
  })

  test('nobody but operators may, and the attempt is in the journal', async () => {
    const owner = await site.tokenOf('owner')
    const made = await ask(createTenant, { columns: { name: 'Mine' } }, owner)
    const gone = await ask(
      offboard,
      { organization_id: site.organizations[0].id, reason: 'x', dry_run: false },
      site.env.CRON_SECRET,
    )

    expect([made.status, gone.status]).toEqual([403, 403])
    expect((await journal('create_tenant')).at(-1)).toMatchObject({
      error_code: 'not_allowed',
      actor_kind: 'user',
    })
    expect((await journal('offboard')).at(-1)).toMatchObject({
      error_code: 'not_allowed',
      actor_kind: 'cron',
    })
  })
})

test('operators see the registry, and why a table can’t be read', async () => {
  await site.database.admin.query('revoke select on public.notes from tenantkeep_operator')
  await site.database.admin.query('create table public.leftovers (id int)')

  const { json } = await ask(listTables, {})
  const owner = await ask(listTables, {}, await site.tokenOf('owner'))

  const found = (name: string) =>
    json.tables.find((table: { label: string }) => table.label === name)
  expect(found('organizations')).toMatchObject({
    class: 'root',
    path: 'organizations.id',
    unreadable: null,
  })
  expect(found('notes')).toMatchObject({
    class: 'direct',
    path: 'notes.organization_id',
    marks: { seeded: true },
  })
  expect(found('notes').unreadable).toEqual(expect.stringContaining('tenantkeep_operator'))
  expect(found('leftovers')).toMatchObject({ class: 'unclassified' })
  expect(found('leftovers').findings[0]).toMatchObject({ code: 'table_unclassified' })
  expect(owner.status).toBe(403)
})
