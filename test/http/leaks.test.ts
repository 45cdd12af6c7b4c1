import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getRun from '../../netlify/functions/get-run.ts'
import listBackups from '../../netlify/functions/list-backups.ts'
import restoreData from '../../netlify/functions/restore-tenant-data.ts'
import { call, createSite, ROW_CANARY, type Site } from '../support/site.ts'

/** `call` looks into every answer and `site.close` into every log line: no secret, no value of a row. */
let site: Site
beforeAll(async () => {
  site = await createSite()
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

test('an error that nobody foresaw is «internal» outside, and traceable inside', async () => {
  const rename = (from: string, to: string) =>
    site.database.admin.query(`alter function tenantkeep.${from}(text, text) rename to ${to}`)
  const token = await site.tokenOf('otherOwner')
  await rename('belongs_to', 'gone')

  const answer = await call(listBackups, {
    token,
    body: { organization_id: site.organizations[0].id },
  })

  await rename('gone', 'belongs_to')
  expect(answer.status).toBe(500)
  expect(answer.json.error).toEqual({
    code: 'internal',
    message: expect.stringContaining('request_id'),
    request_id: answer.headers.get('x-request-id'),
  })
  const line = site.logLines.find(
    (text) => text.includes(answer.json.error.request_id) && text.includes('"err"'),
  )
  expect(line).toContain('"sqlstate":"42883"')
})

test('an error of Postgres that quotes a row stays inside', async () => {
  await site.database.admin.withConnection(async (admin) => {
    await admin.query(
      `create function public.complain(text) returns text language plpgsql immutable
       as $$ begin raise exception 'I saw %', $1; end $$`,
    )
    await admin.query(
      `create policy complains on public.notes as restrictive to public
       using (public.complain(body) is not null)`,
    )
  })

  const answer = await call(daily, { token: site.env.CRON_SECRET })

  await site.database.admin.query('drop policy complains on public.notes')
  expect(answer.status).toBe(500)
  expect(answer.json.summary.failed_tenants).toBe(3)
  await expectNoRowInTables()
})

test('a check that quotes the row it refuses stays inside, of a restore too', async () => {
  const token = site.env.OPERATOR_SECRET
  const [alpha] = site.organizations
  const { json } = await call(daily, { token, body: { organization_id: alpha.id } })
  await site.database.admin.withConnection(async (admin) => {
    await admin.query('delete from public.notes where organization_id = $1', [alpha.id])
    await admin.query(
      `create function public.refuse(text) returns boolean language plpgsql immutable
       as $$ begin raise exception 'I saw %', $1; end $$`,
    )
    await admin.query(
      'alter table public.notes add constraint quotes check (public.refuse(body)) not valid',
    )
  })
  const body = { backup_id: json.backup_id }

  const answers = [
    await call(restoreData, { token, body }),
    await call(restoreData, { token, body: { ...body, dry_run: false } }),
  ]

  const [rehearsed, real] = answers.map((answer) => answer.json)
  await call(getRun, {
    token,
    body: { run_id: rehearsed?.run_id ?? rehearsed?.error.details.run_id },
  })
  await call(getRun, { token, body: { run_id: real?.error.details.run_id } })
  await site.database.admin.query('alter table public.notes drop constraint quotes')
  expect(answers.map(({ json: { success } }) => success)).toEqual([false, false])
  await expectNoRowInTables()
})

/** Catalog, journal, runs and queue. */
async function expectNoRowInTables(): Promise<void> {
  const { rows } = await site.database.admin.query(
    `select * from (
       select to_jsonb(l)::text as line from public.backup_logs l union all
       select to_jsonb(b)::text from public.tenant_backups b union all
       select to_jsonb(t)::text from tenantkeep.run_tenants t union all
       select to_jsonb(r)::text from tenantkeep.runs r union all
       select to_jsonb(e)::text from tenantkeep.run_events e union all
       select to_jsonb(j)::text from tenantkeep_jobs.job j
     ) everything where line like '%' || $1 || '%'`,
    [ROW_CANARY],
  )
  expect(rows).toEqual([])
}
