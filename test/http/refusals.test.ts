import { once } from 'node:events'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createClient } from '@supabase/supabase-js'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getRun from '../../netlify/functions/get-run.ts'
import listBackups from '../../netlify/functions/list-backups.ts'
import restoreData from '../../netlify/functions/restore-tenant-data.ts'
import runJobs from '../../netlify/functions/run-jobs-background.ts'
import undo from '../../netlify/functions/undo-restore.ts'
import updateBackup from '../../netlify/functions/update-backup.ts'
import { type CallOptions, call, createSite, type Handler, type Site } from '../support/site.ts'

const server = setupServer()

let site: Site
beforeAll(async () => {
  site = await createSite()
  server.listen({ onUnhandledFrame: 'bypass' })
})
afterAll(async () => {
  server.close()
  await site.close()
})
beforeEach(() => site.setEnvironment())
afterEach(() => server.resetHandlers())

/** Everything that a refused call could have left. */
async function countTraces(): Promise<object> {
  const { rows } = await site.database.admin.query(
    `select (select count(*) from public.tenant_backups)::int as backups,
            (select count(*) from public.backup_logs)::int as journal,
            (select count(*) from tenantkeep.runs)::int as runs,
            (select count(*) from tenantkeep.run_tenants)::int as outcomes,
            (select count(*) from tenantkeep_jobs.job)::int as jobs`,
  )
  return rows[0] ?? {}
}

const FOLDER = join(import.meta.dirname, '../../netlify/functions')

/** Every function that somebody calls; Netlify's clock calls the others, and nobody else. */
const EVERY = await Promise.all(
  (await readdir(FOLDER))
    .filter((file) => !file.startsWith('scheduled-'))
    .map(async (file): Promise<[string, Handler]> => {
      const module: { default: Handler } = await import(join(FOLDER, file))
      return [file, module.default]
    }),
)

/** Where nobody listens. */
async function closedPort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  return typeof address === 'object' && address !== null ? address.port : 1
}

/** As on a new day. */
async function forgetBackups(): Promise<void> {
  for (const table of ['tenantkeep.run_tenants', 'public.backup_logs', 'public.tenant_backups']) {
    await site.database.admin.query(`delete from ${table}`)
  }
  await rm(site.folder, { recursive: true, force: true })
}

interface Refusal {
  name: string
  handler: Handler
  options: () => CallOptions | Promise<CallOptions>
  env?: Record<string, string | undefined>
  status: number
  code: string
  /** What helps: a part of the message. */
  message: RegExp
}

const cron = () => ({ token: site.env.CRON_SECRET })
const operator = () => ({ token: site.env.OPERATOR_SECRET })
const ID = '00000000-0000-4000-8000-000000000000'

const REFUSALS: Refusal[] = [
  {
    name: 'a secret that is not set lets nobody in',
    handler: daily,
    options: () => ({ token: 'anything' }),
    env: { CRON_SECRET: undefined },
    ...{ status: 503, code: 'not_configured', message: /CRON_SECRET is not set/ },
  },
  {
    name: 'an empty secret lets nobody in',
    handler: daily,
    options: () => ({ headers: { authorization: 'Bearer ' } }),
    env: { CRON_SECRET: '', OPERATOR_SECRET: '' },
    ...{ status: 401, code: 'not_signed_in', message: /Authorization: Bearer/ },
  },
  {
    name: 'another scheme than Bearer is no secret',
    handler: daily,
    options: () => ({ headers: { authorization: `Basic ${site.env.CRON_SECRET}` } }),
    ...{ status: 401, code: 'not_signed_in', message: /Bearer/ },
  },
  {
    name: 'half a secret is no secret',
    handler: daily,
    options: () => ({ token: site.env.CRON_SECRET.slice(0, -1) }),
    ...{ status: 401, code: 'not_signed_in', message: /not the one/ },
  },
  {
    name: 'a secret in the query is refused',
    handler: daily,
    options: () => ({ query: { secret: site.env.CRON_SECRET } }),
    ...{ status: 400, code: 'secret_in_query', message: /CRON_SECRET_IN_QUERY=allow/ },
  },
  {
    name: 'a secret in the query is refused beside a header too',
    handler: daily,
    options: () => ({ ...cron(), query: { secret: site.env.CRON_SECRET } }),
    ...{ status: 400, code: 'secret_in_query', message: /Replace the secret/ },
  },
  {
    name: 'a secret in the query counts on no other function, even where it is allowed',
    handler: runJobs,
    options: () => ({ query: { secret: site.env.CRON_SECRET } }),
    env: { CRON_SECRET_IN_QUERY: 'allow' },
    ...{ status: 400, code: 'secret_in_query', message: /Authorization/ },
  },
  {
    name: "the operator's secret never counts in the query",
    handler: daily,
    options: () => ({ query: { secret: site.env.OPERATOR_SECRET } }),
    env: { CRON_SECRET_IN_QUERY: 'allow' },
    ...{ status: 401, code: 'not_signed_in', message: /not the one/ },
  },
  {
    name: 'a wrong secret in the query is refused where the query is allowed',
    handler: daily,
    options: () => ({ query: { secret: 'wrong' } }),
    env: { CRON_SECRET_IN_QUERY: 'allow' },
    ...{ status: 401, code: 'not_signed_in', message: /not the one/ },
  },
  {
    name: 'malformed JSON is named',
    handler: daily,
    options: () => ({ ...cron(), text: '{"organization_id": ' }),
    ...{ status: 400, code: 'invalid_request', message: /not valid JSON/ },
  },
  {
    name: 'a body that is no JSON by its type is refused',
    handler: daily,
    options: () => ({ ...cron(), text: '{}', headers: { 'content-type': 'text/plain' } }),
    ...{ status: 400, code: 'invalid_request', message: /application\/json/ },
  },
  {
    name: 'a body that is no object is refused',
    handler: daily,
    options: () => ({ ...cron(), text: '[]' }),
    ...{ status: 400, code: 'invalid_request', message: /object/ },
  },
  {
    name: 'unknown fields are named',
    handler: daily,
    options: () => ({ ...cron(), body: { organisation_id: ID, dry: true } }),
    ...{ status: 400, code: 'invalid_request', message: /organisation_id, dry/ },
  },
  {
    name: 'an endless body is refused',
    handler: daily,
    options: () => ({ ...cron(), body: { note: 'x'.repeat(1_100_000) } }),
    ...{ status: 400, code: 'invalid_request', message: /too long/ },
  },
  {
    name: 'a note without an organization is refused',
    handler: daily,
    options: () => ({ ...cron(), body: { note: 'before the move' } }),
    ...{ status: 400, code: 'invalid_request', message: /organization_id/ },
  },
  {
    name: 'a note with a NUL is refused',
    handler: daily,
    options: () => ({ ...operator(), body: { organization_id: ID, note: 'a\0b' } }),
    ...{ status: 400, code: 'invalid_request', message: /note/ },
  },
  {
    name: 'a tag with half a character is refused',
    handler: daily,
    options: () => ({
      ...operator(),
      text: `{"organization_id": "${ID}", "tags": ["\\ud800"]}`,
    }),
    ...{ status: 400, code: 'invalid_request', message: /tags/ },
  },
  {
    name: 'an organization id with a NUL is refused',
    handler: listBackups,
    options: () => ({ ...operator(), body: { organization_id: '\0' } }),
    ...{ status: 400, code: 'invalid_request', message: /organization_id/ },
  },
  {
    name: 'a malformed organization is named by its type',
    handler: daily,
    options: () => ({ ...operator(), body: { organization_id: '../../etc' } }),
    ...{ status: 400, code: 'invalid_request', message: /organization_id is not a uuid/ },
  },
  {
    name: 'an organization that is none is not found',
    handler: daily,
    options: () => ({ ...operator(), body: { organization_id: ID } }),
    ...{ status: 404, code: 'tenant_not_found', message: /no such organization/ },
  },
  {
    name: 'a malformed run is named',
    handler: getRun,
    options: () => ({ ...operator(), method: 'GET', query: { run_id: '17' } }),
    ...{ status: 400, code: 'invalid_request', message: /run_id/ },
  },
  {
    name: 'a run that is none is not found',
    handler: getRun,
    options: () => ({ ...operator(), body: { run_id: ID } }),
    ...{ status: 404, code: 'run_not_found', message: /no such run/ },
  },
  {
    name: 'a limit beyond the largest is named',
    handler: listBackups,
    options: () => ({ ...operator(), method: 'GET', query: { limit: '5000' } }),
    ...{ status: 400, code: 'invalid_request', message: /limit/ },
  },
  {
    name: 'a state that is none is named',
    handler: listBackups,
    options: () => ({ ...operator(), body: { status: ['done'] } }),
    ...{ status: 400, code: 'invalid_request', message: /status/ },
  },
  {
    name: 'a change of nothing is refused',
    handler: updateBackup,
    options: () => ({ ...operator(), body: { backup_id: ID } }),
    ...{ status: 400, code: 'invalid_request', message: /at least one/ },
  },
  {
    name: 'a pin without a reason is refused',
    handler: updateBackup,
    options: () => ({ ...operator(), body: { backup_id: ID, pin: { reason: ' ' } } }),
    ...{ status: 400, code: 'invalid_request', message: /pin\.reason/ },
  },
  {
    name: 'a backup that is none is not found',
    handler: updateBackup,
    options: () => ({ ...operator(), body: { backup_id: ID, note: 'x' } }),
    ...{ status: 404, code: 'backup_not_found', message: /no such backup/ },
  },
  {
    name: 'a restore of nobody in particular is refused',
    handler: restoreData,
    options: () => ({ ...operator(), body: { backup_date: '2026-11-21' } }),
    ...{ status: 400, code: 'invalid_request', message: /organization_id/ },
  },
  {
    name: 'a restore from nothing in particular is refused',
    handler: restoreData,
    options: () => ({ ...operator(), body: { organization_id: site.organizations[0].id } }),
    ...{ status: 400, code: 'invalid_request', message: /backup_id or backup_date/ },
  },
  {
    name: 'a restore with a choice that is none is named',
    handler: restoreData,
    options: () => ({ ...operator(), body: { backup_id: ID, on_taken: 'overwrite' } }),
    ...{ status: 400, code: 'invalid_request', message: /on_taken/ },
  },
  {
    name: 'a restore to a day that is none is named',
    handler: restoreData,
    options: () => ({ ...operator(), body: { backup_date: '2026-02-30' } }),
    ...{ status: 400, code: 'invalid_request', message: /backup_date/ },
  },
  {
    name: 'a restore from a tenant without a backup says so',
    handler: restoreData,
    options: () => ({
      ...operator(),
      body: { organization_id: site.organizations[0].id, backup_date: '2026-11-21' },
    }),
    ...{ status: 404, code: 'backup_not_found', message: /no complete backup/ },
  },
  {
    name: 'an undo of a restore that is none is not found',
    handler: undo,
    options: () => ({ ...operator(), body: { restore_id: ID } }),
    ...{ status: 404, code: 'restore_not_found', message: /no such restore/ },
  },
  {
    name: 'a database that is not set is named',
    handler: daily,
    options: cron,
    env: { SUPABASE_DB_URL: undefined },
    ...{ status: 503, code: 'not_configured', message: /SUPABASE_DB_URL is not set/ },
  },
  {
    name: 'the pooler in transaction mode is refused',
    handler: daily,
    options: cron,
    env: { SUPABASE_DB_URL: 'postgres://w:p@pooler.example:6543/postgres' },
    ...{ status: 503, code: 'not_configured', message: /5432/ },
  },
  {
    name: 'a signing key that is not set is named',
    handler: daily,
    options: cron,
    env: { BACKUP_SIGNING_KEY: undefined },
    ...{ status: 503, code: 'not_configured', message: /BACKUP_SIGNING_KEY/ },
  },
  {
    name: 'a secret that is published with the page stops everything',
    handler: daily,
    options: cron,
    env: { VITE_SUPABASE_SERVICE_ROLE_KEY: 'x' },
    ...{ status: 503, code: 'not_configured', message: /VITE_SUPABASE_SERVICE_ROLE_KEY/ },
  },
  {
    name: 'a store of an unknown kind is named',
    handler: daily,
    options: cron,
    env: { BACKUP_STORE: 'ftp://somewhere' },
    ...{ status: 400, code: 'invalid_request', message: /BACKUP_STORE/ },
  },
]

describe('a refusal leaves nothing half done', () => {
  test.each(REFUSALS)('$name', async ({ handler, options, env, status, code, message }) => {
    site.setEnvironment(env)
    const before = await countTraces()

    const answer = await call(handler, await options())

    expect({ status: answer.status, code: answer.json.error.code }).toEqual({ status, code })
    expect(answer.json.error.message).toMatch(message)
    expect(answer.json.success).toBe(false)
    expect(answer.json.error.request_id).toBe(answer.headers.get('x-request-id'))
    expect(await countTraces()).toEqual(before)
  })
})

describe.each(EVERY)('%s', (_, handler) => {
  test.each(['PUT', 'DELETE', 'PATCH'])('refuses %s', async (method) => {
    const answer = await call(handler, { ...operator(), method })

    expect(answer.status).toBe(405)
    expect(answer.json.error.code).toBe('method_not_allowed')
    expect(answer.headers.get('allow')).toMatch(/(GET|POST), OPTIONS$/)
  })

  test('is kept by nobody and read by no other page', async () => {
    const answer = await call(handler, {
      ...operator(),
      headers: { origin: 'https://evil.example' },
    })

    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
  })

  test('may be called by the pages that ALLOWED_ORIGINS names', async () => {
    site.setEnvironment({ ALLOWED_ORIGINS: 'https://app.example.com' })

    const answer = await call(handler, {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example.com' },
    })

    expect(answer.status).toBe(204)
    expect(answer.headers.get('access-control-allow-origin')).toBe('https://app.example.com')
    expect(answer.headers.get('access-control-allow-headers')).toContain('authorization')
  })
})

test('a GET of the daily call does nothing', async () => {
  const before = await countTraces()

  const answer = await call(daily, { ...cron(), method: 'GET' })

  expect(answer.status).toBe(405)
  expect(await countTraces()).toEqual(before)
})

describe('when Supabase Auth', () => {
  const ask = async () => call(listBackups, { token: await site.tokenOf('owner'), method: 'GET' })

  test.each([
    ['answers 500', () => HttpResponse.json({ message: 'x' }, { status: 500 })],
    ['answers 503 with HTML', () => HttpResponse.html('<h1>down</h1>', { status: 503 })],
    ['answers 429', () => HttpResponse.json({ message: 'slow down' }, { status: 429 })],
  ])('%s, a user is asked to try again', async (_, answer) => {
    await site.tokenOf('owner')
    server.use(http.get(`${site.env.SUPABASE_URL}/auth/v1/user`, answer))

    const { status, json, headers } = await ask()

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'auth_unavailable' })
    expect(headers.get('retry-after')).toBe('30')
  })

  test('cannot be reached, a user is asked to try again', async () => {
    const token = await site.tokenOf('owner')
    site.setEnvironment({ SUPABASE_URL: `http://127.0.0.1:${await closedPort()}` })

    const { status, json } = await call(listBackups, { token, method: 'GET' })

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'auth_unavailable' })
  })

  // As hosted Auth says it, and as older ones do.
  test.each([
    { code: 403, error_code: 'session_not_found', msg: 'x' },
    { code: 'session_not_found', message: 'x' },
    { code: 403, error_code: 'bad_jwt', msg: 'x' },
  ])('does not know the session any more, the user has to sign in again: %o', async (body) => {
    await site.tokenOf('owner')
    server.use(
      http.get(`${site.env.SUPABASE_URL}/auth/v1/user`, () =>
        HttpResponse.json(body, { status: 403 }),
      ),
    )

    expect((await ask()).json.error.code).toBe('not_signed_in')
  })
})

describe('when the database', () => {
  test('cannot be reached, the answer says so', async () => {
    site.setEnvironment({
      SUPABASE_DB_URL: `postgres://w:secret@127.0.0.1:${await closedPort()}/postgres`,
    })

    const { status, json } = await call(daily, cron())

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'database_unavailable' })
    expect(JSON.stringify(json)).not.toContain('secret')
  })

  test('cannot be reached, a user learns nothing about it', async () => {
    const token = await site.tokenOf('owner')
    site.setEnvironment({
      SUPABASE_DB_URL: `postgres://w:secret@127.0.0.1:${await closedPort()}/x`,
    })

    const { status, json } = await call(listBackups, { token, method: 'GET' })

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'database_unavailable' })
    expect(json.error.message).not.toContain('127.0.0.1')
  })

  test('refuses the login, the answer says so without the password', async () => {
    const url = new URL(site.env.SUPABASE_DB_URL)
    url.password = 'wrong-password'
    site.setEnvironment({ SUPABASE_DB_URL: url.href })

    const { status, json } = await call(daily, cron())

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'database_unavailable' })
    expect(JSON.stringify(json)).not.toContain('wrong-password')
  })

  test('has an older schema than the functions, they do nothing', async () => {
    const newest = `version = (select max(version) from tenantkeep.migrations)`
    const { rows } = await site.database.admin.query<{ version: string }>(
      `delete from tenantkeep.migrations where ${newest} returning version`,
    )
    // Another process has not asked yet.
    site.setEnvironment({ ALLOWED_ORIGINS: 'https://another.example.com' })

    const { status, json } = await call(daily, cron())

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'schema_outdated' })
    expect(json.error.message).toContain('tenantkeep init')
    await site.database.admin.query('insert into tenantkeep.migrations (version) values ($1)', [
      rows[0]?.version,
    ])
  })
})

describe('when the bucket', () => {
  beforeEach(forgetBackups)

  const admin = () => createClient(site.env.SUPABASE_URL, site.env.SUPABASE_SECRET_KEY)

  async function expectFailedRun(runId: string, code: string) {
    const { rows } = await site.database.admin.query(
      `select r.status, l.status as journal, l.error_code as code,
              (select array_agg(distinct t.error_code) from tenantkeep.run_tenants t where t.run_id = r.id) as tenants,
              (select count(*) from public.tenant_backups b where b.run_id = r.id)::int as backups,
              (select count(*) from tenantkeep_jobs.job where state < 'completed')::int as jobs
       from tenantkeep.runs r join public.backup_logs l on l.run_id = r.id where r.id = $1`,
      [runId],
    )
    expect(rows).toEqual([
      {
        ...{ status: 'failed', journal: 'failed', code: 'tenants_failed', tenants: [code] },
        ...{ backups: 0, jobs: 0 },
      },
    ])
  }

  test('is missing, the answer says how to make it, and the day is on record as failed', async () => {
    site.setEnvironment({ BACKUP_STORE: 'supabase://nowhere' })

    const { status, json } = await call(daily, cron())

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'bucket_missing' })
    expect(json.error.message).toMatch(/nowhere/)
    expect(json.error.message).toMatch(/New bucket|create/i)
    await expectFailedRun(json.error.details.run_id, 'bucket_missing')
  })

  test('is public, nothing is stored in it', async () => {
    await admin().storage.createBucket('open', { public: true })
    site.setEnvironment({ BACKUP_STORE: 'supabase://open' })

    const { status, json } = await call(daily, cron())

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'bucket_public' })
    await expectFailedRun(json.error.details.run_id, 'bucket_public')
    const { data } = await admin().storage.from('open').list()
    expect(data).toEqual([])
  })

  test('cannot be reached, the answer says so', async () => {
    site.setEnvironment({
      BACKUP_STORE: 'supabase://backups',
      SUPABASE_URL: `http://127.0.0.1:${await closedPort()}`,
    })

    const { status, json } = await call(daily, cron())

    expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'store_unavailable' })
    await expectFailedRun(json.error.details.run_id, 'store_unavailable')
  })

  test('is private and there, every tenant is stored in it', async () => {
    await admin().storage.createBucket('backups', { public: false })
    site.setEnvironment({ BACKUP_STORE: 'supabase://backups' })

    const { status, json } = await call(daily, cron())

    expect({ status, message: json.message }).toEqual({
      status: 200,
      message: 'Daily tenant backup completed successfully',
    })
    const { data } = await admin().storage.from('backups').list('tenant-backups')
    expect(data?.map(({ name }) => name).sort()).toEqual(
      site.organizations.map(({ id }) => id).sort(),
    )
  })
})

describe('when the folder of the store', () => {
  test('is a file, the answer says so', async () => {
    await rm(site.folder, { recursive: true, force: true })
    await writeFile(site.folder, '')
    await site.database.admin.query(`delete from tenantkeep.run_tenants`)
    await site.database.admin.query(
      `update public.tenant_backups set backup_date = backup_date - 1`,
    )

    const { status, json } = await call(daily, cron())

    expect(status).toBe(503)
    expect(json.error.code).toMatch(/^(store_unavailable|bucket_missing)$/)
    await rm(site.folder)
  })
})

test('the secret in the query counts on the daily call where it is allowed', async () => {
  site.setEnvironment({ CRON_SECRET_IN_QUERY: 'allow' })

  const answer = await call(daily, { query: { secret: site.env.CRON_SECRET } })

  expect(answer.status).toBe(200)
  expect(answer.json.success).toBe(true)
})
