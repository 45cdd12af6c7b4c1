import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import listBackups from '../../netlify/functions/list-backups.ts'
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
  const { rows } = await site.database.admin.query(
    `select * from (
       select to_jsonb(l)::text as line from public.backup_logs l union all
       select to_jsonb(b)::text from public.tenant_backups b union all
       select to_jsonb(t)::text from tenantkeep.run_tenants t union all
       select to_jsonb(r)::text from tenantkeep.runs r union all
       select to_jsonb(j)::text from tenantkeep_jobs.job j
     ) everything where line like '%' || $1 || '%'`,
    [ROW_CANARY],
  )
  expect(rows).toEqual([])
})
