import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import metrics from '../../netlify/functions/backup-metrics.ts'
import monitor from '../../netlify/functions/backup-monitor.ts'
import compare from '../../netlify/functions/compare-backups.ts'
import copyBackups from '../../netlify/functions/copy-backups.ts'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import forget from '../../netlify/functions/forget-tenant.ts'
import getRun from '../../netlify/functions/get-run.ts'
import getState from '../../netlify/functions/get-state.ts'
import listBackups from '../../netlify/functions/list-backups.ts'
import listTenants from '../../netlify/functions/list-tenants.ts'
import prune from '../../netlify/functions/prune.ts'
import drill from '../../netlify/functions/restore-drill-background.ts'
import restoreData from '../../netlify/functions/restore-tenant-data.ts'
import runJobs from '../../netlify/functions/run-jobs-background.ts'
import undo from '../../netlify/functions/undo-restore.ts'
import verify from '../../netlify/functions/verify-backups.ts'
import { type CliResult, runCli } from '../support/run-cli.ts'
import {
  type CallOptions,
  createSite,
  type Handler,
  type PersonName,
  ROW_CANARY,
  type Site,
} from '../support/site.ts'

/**
 * Rows and secrets with marks in them go through everything that Tenantkeep does, errors included; then all
 * that came out is searched: answers, logs, what the command line printed, what the webhook and the ping were
 * told and under which address, names in the store, and every table of ours. Rows may stand where a person
 * asked for them, and nowhere else: in the files of a backup, and in what a comparison keeps for a day.
 */
const HOOK = 'https://hooks.example/services/canary-hook-6b1d'
const PING = 'https://ping.example/canary-ping-77c0'
const METRICS_TOKEN = 'canary-metrics-51ee'
/** A row's value that begins with a digit goes where a number is expected. */
const SECOND_CANARY = '77canary-row-b2'

const server = setupServer()
/** Everything that left the house in our name. */
const told: string[] = []
const answers: { from: string; text: string }[] = []
const printed: CliResult[] = []

let site: Site
let exported: string
beforeAll(async () => {
  site = await createSite()
  exported = join(site.folder, '..', 'exported.zip')
  server.listen({ onUnhandledFrame: 'bypass' })
  server.events.on('request:start', ({ request }) => {
    if (!request.url.startsWith(site.env.SUPABASE_URL))
      told.push(`${request.method} ${request.url}`)
  })
  server.use(
    http.post(HOOK, async ({ request }) => {
      told.push(await request.text())
      return new HttpResponse('ok')
    }),
    http.get(`${PING}*`, () => new HttpResponse('ok')),
  )
  await site.database.admin.query(
    `insert into public.notes (organization_id, body) select id, $1 from public.organizations`,
    [SECOND_CANARY],
  )
})
afterAll(async () => {
  server.close()
  await rm(exported, { force: true })
  await site.close()
})

const environment = () => ({
  ALERT_WEBHOOK_URL: HOOK,
  MONITOR_PING_URL: PING,
  METRICS_TOKEN,
  BACKUP_COPY_STORE: pathToFileURL(`${site.folder}-copy`).href,
})
beforeEach(() => site.setEnvironment(environment()))

/** Unlike `call`, which fails at once, this keeps what came back for the search at the end. */
async function ask(handler: Handler, body: object, options: CallOptions = {}) {
  const response = await handler(
    new Request('https://site.example/.netlify/functions/any', {
      method: options.method ?? 'POST',
      headers: {
        authorization: `Bearer ${options.token ?? site.env.OPERATOR_SECRET}`,
        ...(options.method === 'GET' ? {} : { 'content-type': 'application/json' }),
      },
      ...(options.method === 'GET' ? {} : { body: JSON.stringify(body) }),
    }),
  )
  const text = await response.text()
  answers.push({ from: expect.getState().currentTestName ?? '', text })
  answers.push({ from: 'headers', text: JSON.stringify([...response.headers]) })
  return { status: response.status, json: text.startsWith('{') ? JSON.parse(text) : {}, text }
}

async function cli(...args: string[]): Promise<CliResult> {
  const result = await runCli(args, {
    ...site.env,
    ...environment(),
    // Nobody listens there, so that its errors are told, too.
    ALERT_WEBHOOK_URL: 'https://127.0.0.1:1/canary-hook-6b1d',
    MONITOR_PING_URL: 'https://127.0.0.1:1/canary-ping-77c0',
    LOG_LEVEL: 'trace',
  })
  printed.push(result)
  return result
}

const admin = (sql: string, params: unknown[] = []) => site.database.admin.query(sql, params)

async function newestBackup(): Promise<string> {
  const { rows } = await admin(
    `select id from public.tenant_backups where organization_id = $1 and status = 'complete'
       and backup_type <> 'pre_restore' order by taken_at desc limit 1`,
    [site.organizations[0].id],
  )
  return String(rows[0]?.id)
}

describe('everything that Tenantkeep does', () => {
  test('backups: daily, by hand, and one that a policy with an error of its own ends', async () => {
    const { organizations, env } = site
    expect((await ask(daily, {}, { token: env.CRON_SECRET })).status).toBe(200)
    await ask(daily, { organization_id: organizations[0].id, name: 'By hand' })
    await admin(`create function public.complain(text) returns text language plpgsql immutable
      as $$ begin raise exception 'I saw %', $1; end $$`)
    await admin(`create policy complains on public.notes as restrictive to public
      using (public.complain(body) is not null)`)
    const failed = await ask(daily, { organization_id: organizations[1].id })
    await admin('drop policy complains on public.notes')

    expect(failed.status).toBe(500)
  })

  test('what people look at', async () => {
    const { organizations, tokenOf } = site
    const people: PersonName[] = ['owner', 'member', 'stranger', 'operatorUser']
    for (const person of people) {
      const token = await tokenOf(person)
      await ask(listBackups, { organization_id: organizations[0].id }, { token })
      await ask(getState, { organization_id: organizations[0].id }, { token })
      await ask(listTenants, {}, { token })
    }
    const compared = await ask(compare, {
      organization_id: organizations[0].id,
      backup_id: await newestBackup(),
    })

    expect(compared.json.success).toBe(true)
  })

  test('a restore, rehearsed and real, and its undo', async () => {
    const { organizations } = site
    const backupId = await newestBackup()
    await admin(`update public.notes set body = body || ' changed' where organization_id = $1`, [
      organizations[0].id,
    ])
    await admin(`delete from public.notes where organization_id = $1 and body like '%1 changed'`, [
      organizations[0].id,
    ])
    const rehearsed = await ask(restoreData, { backup_id: backupId })
    const real = await ask(restoreData, { backup_id: backupId, dry_run: false })
    await ask(getRun, { run_id: real.json.run_id })
    const undone = await ask(undo, {
      organization_id: organizations[0].id,
      restore_id: real.json.restore_id,
      dry_run: false,
    })

    expect([rehearsed, real, undone].map(({ json }) => json.success)).toEqual([true, true, true])
  })

  test.each([
    [
      'a value that is taken elsewhere',
      `create unique index taken on public.notes (body) where body = '${SECOND_CANARY}'`,
      `update public.notes set body = 'moved ' || organization_id where body like '77canary%'`,
      'drop index public.taken',
      'restore_blocked',
    ],
    [
      'a check that quotes the row',
      `alter table public.notes add constraint quotes check (public.complain(body) is null) not valid`,
      '',
      'alter table public.notes drop constraint quotes',
      'restore_blocked',
    ],
    [
      'a type that can’t hold the value',
      'alter table public.notes alter column body type integer using length(body)',
      '',
      'alter table public.notes alter column body type text',
      'schema_changed',
    ],
    [
      'a trigger that always fires and complains',
      `create trigger complains before insert or update on public.notes for each row
         execute function public.complain_of_row()`,
      '',
      'drop trigger complains on public.notes',
      'restore_blocked',
    ],
  ])('a restore that fails at %s', async (_, harm, before, mend, code) => {
    const { organizations } = site
    const [alpha, beta] = organizations
    const backupId = await newestBackup()
    await admin(`create or replace function public.complain_of_row() returns trigger language plpgsql
      as $$ begin raise exception 'I saw %', new; end $$`)
    if (before !== '') await admin(before)
    await admin('delete from public.notes where organization_id = $1', [alpha.id])
    if (harm.includes('unique')) {
      await admin('insert into public.notes (organization_id, body) values ($1, $2)', [
        beta.id,
        SECOND_CANARY,
      ])
    }
    await admin(harm)
    if (harm.includes('trigger')) {
      await admin('alter table public.notes enable always trigger complains')
    }
    const choices = {
      backup_id: backupId,
      accept_schema_changes: ['changed_type:notes.body'],
      accept_side_effects: true,
    }

    const rehearsed = await ask(restoreData, choices)
    const real = await ask(restoreData, { ...choices, dry_run: false })

    const runId = rehearsed.json.run_id ?? rehearsed.json.error?.details?.run_id
    if (runId !== undefined) await ask(getRun, { run_id: runId })
    // One of them as people do it, too: a process each is what costs time here.
    if (harm.includes('integer')) {
      await cli('restore', '--tenant', alpha.id, '--backup', backupId, '--dry-run')
    }
    await admin(mend)
    expect([rehearsed.json.success, real.json.success]).toEqual([false, false])
    expect(real.json.error.code).toBe(code)
  })

  test('upkeep: verification, copies, drills, removal, the queue', async () => {
    for (const handler of [verify, copyBackups, drill, runJobs]) {
      await ask(handler, {}, { token: site.env.CRON_SECRET })
    }
    await ask(prune, {})
    await ask(prune, { dry_run: false })
  })

  test('watching, where something is wrong and where the webhook is told', async () => {
    await admin(
      `update public.tenant_backups set taken_at = taken_at - interval '3 days'
      where organization_id = $1`,
      [site.organizations[2].id],
    )
    const watched = await ask(monitor, {}, { method: 'GET' })
    const scraped = await ask(metrics, {}, { method: 'GET', token: METRICS_TOKEN })

    expect([watched.status, scraped.status]).toEqual([503, 200])
    expect(watched.json.webhook).toBe('sent')
    expect(scraped.text).toContain('tenantkeep_problems')
  })

  test('the command line, with every line of its log', { timeout: 180_000 }, async () => {
    const [alpha] = site.organizations
    const backupId = await newestBackup()
    await cli('backup', '--tenant', alpha.id, '--note', 'from the command line')
    await Promise.all([
      cli('list', '--json'),
      cli('show', backupId),
      cli('verify', '--all'),
      cli('compare', '--tenant', alpha.id, '--backup', backupId),
      cli('export', '--backup', backupId, '--to', exported),
      cli('drill', '--tenant', alpha.id),
      cli('prune', '--dry-run'),
      cli('doctor'),
    ])
    await admin(`update public.tenant_backups set gaps = '{public.new}'`)
    const watched = await cli('monitor', '--json')
    const wrong = await cli(
      'list',
      '--db-url',
      site.env.SUPABASE_DB_URL.replace(/:\/\/[^@]+@/, '://nobody:canary-password-1@'),
    )

    expect(JSON.parse(watched.stdout)).toMatchObject({ webhook: 'failed', ping: 'failed' })
    expect(wrong.status).toBe(2)
  })

  test('an erasure', async () => {
    const [, , gamma] = site.organizations
    await ask(forget, { organization_id: gamma.id })
    const erased = await ask(forget, {
      organization_id: gamma.id,
      dry_run: false,
      confirm_name: gamma.name,
    })

    expect(erased.json.success).toBe(true)
    for (const kind of ['restore', 'undo', 'forget']) {
      expect(told.join(), kind).toContain(`"kind":"${kind}"`)
    }
  })
})

describe('afterwards no row and no secret is found', () => {
  const rowMarks = [ROW_CANARY, SECOND_CANARY]

  async function marks(): Promise<string[]> {
    const people: PersonName[] = ['owner', 'member', 'stranger', 'operatorUser']
    const tokens = await Promise.all(people.map((person) => site.tokenOf(person)))
    const { env } = site
    return [
      ...rowMarks,
      ...tokens,
      'canary-hook-6b1d',
      'canary-ping-77c0',
      'canary-password-1',
      METRICS_TOKEN,
      env.CRON_SECRET,
      env.OPERATOR_SECRET,
      env.SUPABASE_SECRET_KEY,
      env.SUPABASE_DB_URL,
      new URL(env.SUPABASE_DB_URL).password,
      env.BACKUP_SIGNING_KEY.replace(/^test:/, ''),
    ].filter((mark) => mark !== '')
  }

  const findIn = (texts: readonly string[], found: readonly string[]) =>
    texts.filter((text) => found.some((mark) => text.includes(mark)))

  test('in an answer', async () => {
    const hidden = await marks()
    expect(answers.length).toBeGreaterThan(40)
    expect(answers.filter(({ text }) => findIn([text], hidden).length > 0)).toEqual([])
  })

  test('in the log, where every phase has its lines', async () => {
    const hidden = await marks()
    const lines = site.logLines.filter((line) => line.startsWith('{"level"'))
    expect(findIn(site.logLines, hidden)).toEqual([])
    const ended = new Set(lines.map((line) => /"msg":"(\w+) ends"/.exec(line)?.[1]))
    for (const phase of [
      'backup',
      'verify',
      'restore',
      'undo',
      'compare',
      'prune',
      'copy',
      'drill',
      'forget',
    ]) {
      expect(ended, phase).toContain(phase)
    }
    expect(lines.filter((line) => !line.includes('"request_id"'))).toEqual([])
  })

  test('in what the command line printed', async () => {
    const hidden = await marks()
    expect(printed.some(({ stderr }) => stderr.includes('"msg":"backup ends"'))).toBe(true)
    expect(
      findIn(
        printed.flatMap(({ stdout, stderr }) => [stdout, stderr]),
        hidden,
      ),
    ).toEqual([])
  })

  test('in what the webhook was told, and no address but its own was called with a secret in it', async () => {
    const hidden = (await marks()).filter((mark) => !/^canary-(hook|ping)/.test(mark))
    expect(told.filter((text) => text.startsWith('POST')).length).toBeGreaterThan(2)
    expect(findIn(told, hidden)).toEqual([])
    expect(
      told.filter(
        (text) => /^(GET|POST) /.test(text) && !text.includes(HOOK) && !text.includes(PING),
      ),
    ).toEqual([])
  })

  test('in a name in the stores', async () => {
    const hidden = await marks()
    const names = await readdir(join(site.folder, '..'), { recursive: true })
    expect(names.length).toBeGreaterThan(10)
    expect(findIn(names, hidden)).toEqual([])
  })

  test('in a table of ours, except what a comparison keeps for whoever asked', async () => {
    const hidden = await marks()
    const { rows: tables } = await admin(
      `select format('%I.%I', n.nspname, c.relname) as name from pg_class c
       join pg_namespace n on n.oid = c.relnamespace
       where c.relkind = 'r' and (n.nspname in ('tenantkeep', 'tenantkeep_jobs')
         or (n.nspname = 'public' and c.relname in ('tenant_backups', 'backup_logs')))
         and c.relname <> 'comparison_rows'`,
    )
    expect(tables.length).toBeGreaterThan(20)
    for (const { name } of tables) {
      const { rows } = await admin(
        `select to_jsonb(t)::text as line from ${String(name)} t where to_jsonb(t)::text ~ $1`,
        [hidden.map((mark) => mark.replaceAll(/[^\w]/g, '\\$&')).join('|')],
      )
      expect(rows, String(name)).toEqual([])
    }
  })
})
