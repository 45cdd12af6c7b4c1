import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import defaultRows from '../../netlify/functions/default-rows.ts'
import { initialiseProtection } from '../../src/core/tables/initialise-protection.ts'
import { call, createSite, type Site } from '../support/site.ts'

const TEMPLATE = '00000000-0000-4000-8000-0000000000aa'

let site: Site
beforeAll(async () => {
  site = await createSite()
  await site.database.admin.query(`insert into public.organizations values ($1, 'Defaults')`, [
    TEMPLATE,
  ])
  await site.database.admin.query(
    `insert into public.notes (organization_id, body) values ($1, 'Check the valves.')`,
    [TEMPLATE],
  )
  const report = await initialiseProtection(site.database.admin, {
    tenantTable: 'public.organizations',
    tenantColumns: ['organization_id'],
    enableRowSecurity: true,
    acceptDefaults: true,
    document: { version: 1, tables: { 'public.notes': { marks: { seeded: true } } } },
  })
  expect(report.isApplied).toBe(true)
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

const ask = (body: object, token = site.env.OPERATOR_SECRET) => call(defaultRows, { token, body })
const listNotes = () => ask({ action: 'list', table: 'notes' })
const firstNote = async () => (await listNotes()).json.rows[0]

interface JournalRow {
  status: string
  error_code: string | null
  note: string | null
  details: { scope?: object; action?: string; columns?: string[] }
}

/** What the journal has of the defaults, newest last, and empties it. */
const takeJournal = async () => {
  const { rows } = await site.database.admin.query<JournalRow>(
    `with taken as (delete from public.backup_logs where backup_type = 'defaults' returning *)
     select status, error_code, error_message, actor_kind, organization_id, note, details
     from taken order by created_at, id`,
  )
  return rows
}

test('without a template there is nothing to keep', async () => {
  const { status, json } = await ask({ action: 'tables' })
  await site.database.admin.query(
    `insert into tenantkeep.settings (key, value) values ('template_tenant', to_jsonb($1::text))`,
    [TEMPLATE],
  )
  const set = await ask({ action: 'tables' })

  expect([status, json.error.code]).toEqual([503, 'not_configured'])
  expect(set.json.template).toEqual({ organization_id: TEMPLATE, organization_name: 'Defaults' })
  expect(set.json.tables).toMatchObject([{ name: 'notes', rows: 1, unreadable: null }])
})

test('of two who edit one row, the second is answered 409 with both versions, and so is who deletes it', async () => {
  const seen = await firstNote()
  const named = { table: 'notes', key: seen.key, version: seen.version }
  const mine = { body: 'Check the hoses.' }

  const first = await ask({ action: 'save', ...named, values: { body: 'Check all.' }, note: 'one' })
  const second = await ask({ action: 'save', ...named, values: mine, note: 'two' })
  const deleted = await ask({ action: 'delete', ...named })
  const journal = await takeJournal()
  const settled = await ask({
    ...{ action: 'save', table: 'notes', values: mine },
    ...{ key: seen.key, version: second.json.current.version },
  })
  const again = await ask({ action: 'delete', ...named, version: settled.json.row.version })
  const gone = await ask({ action: 'save', ...named, values: mine })

  expect(first.status, JSON.stringify(first.json)).toBe(200)
  expect(second.status).toBe(409)
  expect(second.json).toMatchObject({
    ...{ success: false, error: { code: 'row_changed' }, yours: mine },
    current: { key: seen.key, version: first.json.row.version, values: { body: 'Check all.' } },
  })
  expect(deleted.status).toBe(409)
  expect(deleted.json).toMatchObject({ current: first.json.row, yours: {} })
  expect([settled.status, settled.json.row.values.body]).toEqual([200, mine.body])
  expect([again.status, again.json.row]).toEqual([200, null])
  expect(gone.status).toBe(409)
  expect(gone.json).toMatchObject({ current: null, yours: mine })
  expect(gone.json.error.message).toContain('deleted')
  const refused = { status: 'failed', error_code: 'row_changed', actor_kind: 'operator' }
  expect(journal).toMatchObject([
    { status: 'complete', note: 'one', details: { action: 'update', columns: ['body'] } },
    { ...refused, note: 'two', details: { scope: { action: 'save', table: 'notes', columns: 1 } } },
    { ...refused, note: null, details: { scope: { action: 'delete', table: 'notes' } } },
  ])
  expect(JSON.stringify(journal)).not.toContain('hoses')
})

test('what can’t be a row is refused with all that is wrong, journalled without a value, and changes nothing', async () => {
  const added = await ask({ action: 'insert', table: 'notes', values: { body: 'New.' } })
  const { key, version } = added.json.row
  const save = { action: 'save', table: 'notes', key, version }
  await takeJournal()
  const secret = 'a-value-of-a-row'

  const wrong = await ask({ ...save, values: { colour: secret, organization_id: secret } })
  const refused = [
    await ask({ action: 'insert', table: 'notes', values: { body: null } }),
    await ask({ ...save, key: { id: '1', body: secret }, values: {} }),
    await ask({ ...save, key: { number: '1' }, values: {} }),
    await ask({ action: 'list', table: 'profiles' }),
    await ask({ ...save, table: 'no_such_table', values: {} }),
    await ask({ action: 'burn', table: secret, note: 'to try' }),
    await ask({ ...save, values: { body: { text: secret } }, [secret]: 1, note: 'by mistake' }),
  ]
  const stale = await ask({ ...save, version: 'of another day', values: { body: 'x' } })
  const journal = await takeJournal()

  expect(wrong.json.error.details.columns).toEqual([
    { column: 'colour', reason: 'there is no such column' },
    { column: 'organization_id', reason: 'can’t be edited' },
  ])
  expect(refused.map(({ status, json }) => [status, json.error.code])).toEqual(
    refused.map(() => [400, 'invalid_request']),
  )
  expect(stale.json).toMatchObject({ error: { code: 'row_changed' }, current: added.json.row })
  expect((await listNotes()).json.rows).toEqual([added.json.row])
  // A list is no attempt at anything.
  expect(journal.map(({ error_code, note, details }) => [error_code, note, details.scope])).toEqual(
    [
      ['invalid_request', null, { action: 'save', table: 'notes', columns: 2 }],
      ['invalid_request', null, { action: 'insert', table: 'notes', columns: 1 }],
      ['invalid_request', null, { action: 'save', table: 'notes', columns: 0 }],
      ['invalid_request', null, { action: 'save', table: 'notes', columns: 0 }],
      ['invalid_request', null, { action: 'save', table: 'no_such_table', columns: 0 }],
      ['invalid_request', 'to try', { fields: ['action'], unknown_fields: 0 }],
      ['invalid_request', 'by mistake', { fields: ['values'], unknown_fields: 1 }],
      ['row_changed', null, { action: 'save', table: 'notes', columns: 1 }],
    ],
  )
  expect(JSON.stringify(journal)).not.toContain(secret)
})

test('operators alone keep the defaults', async () => {
  const { key, version } = await firstNote()
  const body = { action: 'delete', table: 'notes', key, version, note: 'sly' }

  const cron = await ask(body, site.env.CRON_SECRET)
  const owner = await ask(body, await site.tokenOf('owner'))
  const nobody = await ask(body, 'no such secret')
  const person = await ask({ action: 'tables' }, await site.tokenOf('operatorUser'))

  expect([cron.status, owner.status, nobody.status, person.status]).toEqual([403, 403, 401, 200])
  const refused = { error_code: 'not_allowed', note: 'sly', organization_id: null }
  expect(await takeJournal()).toMatchObject([
    { ...refused, actor_kind: 'cron', details: { scope: { action: 'delete', table: 'notes' } } },
    { ...refused, actor_kind: 'user' },
  ])
  expect((await listNotes()).json.total).toBe(1)
})

test('a table that can’t be read says why, instead of looking empty', async () => {
  await site.database.admin.query('revoke select on public.notes from tenantkeep_operator')
  const tables = await ask({ action: 'tables' })
  const list = await listNotes()
  await site.database.admin.query('grant select on public.notes to tenantkeep_operator')

  expect(tables.status).toBe(200)
  expect(tables.json.tables).toMatchObject([
    { name: 'notes', rows: null, unreadable: expect.stringContaining('tenantkeep init') },
  ])
  expect(list.json.error.code).toBe('confinement_broken')
  expect(list.json.error.message).toContain('tenantkeep init')
})
