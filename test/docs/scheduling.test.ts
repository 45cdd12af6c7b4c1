import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import * as z from 'zod'
import monitor from '../../netlify/functions/backup-monitor.ts'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import scheduledMonitor, {
  config as monitorConfig,
} from '../../netlify/functions/scheduled-backup-monitor.ts'
import scheduledDaily, {
  config as dailyConfig,
} from '../../netlify/functions/scheduled-daily-backup.ts'
import { createSite, type Handler, type Site } from '../support/site.ts'
import { readFences, readText } from './read-docs.ts'

const page = readText('docs/scheduling.md')
const PLACEHOLDER = 'https://YOUR-SITE.netlify.app'
const FUNCTIONS: Record<string, Handler> = {
  'daily-tenant-backup': daily,
  'backup-monitor': monitor,
}

/** What was asked of the site, and what it answered. */
interface Arrival {
  name: string
  method: string | undefined
  status: number
}

let site: Site
let home: string
let url: string
const arrivals: Arrival[] = []

/** The functions behind a port, as the platform would have them. */
const platform = createServer((request, response) => {
  const name = request.url?.replace('/.netlify/functions/', '') ?? ''
  answer(name, request)
    .then(async (answered) => {
      arrivals.push({ name, method: request.method, status: answered.status })
      response.writeHead(answered.status).end(await answered.text())
    })
    .catch(() => response.destroy())
})

async function answer(name: string, request: IncomingMessage) {
  const { method = '', headers } = request
  const body = await text(request)
  const handler = FUNCTIONS[name]
  if (handler === undefined) return new Response(null, { status: 404 })
  return handler(
    new Request(`${url}${request.url}`, {
      method,
      headers: Object.entries(headers).map(([key, value]) => [key, String(value)]),
      ...(body === '' ? {} : { body }),
    }),
  )
}

beforeAll(async () => {
  site = await createSite()
  home = await mkdtemp(join(tmpdir(), 'tenantkeep-home-'))
  platform.listen(0, '127.0.0.1')
  await once(platform, 'listening')
  const address = platform.address()
  url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
})
afterAll(async () => {
  platform.close()
  await rm(home, { recursive: true, force: true })
  await site.close()
})
beforeEach(() => {
  arrivals.length = 0
  site.setEnvironment()
})

function fencesOf(info: string): string[] {
  const found = readFences(page).filter((fence) => fence.info === info)
  if (found.length === 0) throw new Error(`docs/scheduling.md has no «${info}».`)
  return found.map((fence) => fence.text)
}

/** Runs a line of the page as people would, against our own port. */
async function runShell(line: string, env: Record<string, string> = {}) {
  return promisify(execFile)('/bin/sh', ['-c', line.replaceAll(PLACEHOLDER, url)], {
    env: { PATH: process.env.PATH, HOME: home, CRON_SECRET: site.env.CRON_SECRET, ...env },
  })
}

const BOTH = [
  { name: 'daily-tenant-backup', method: 'POST', status: 200 },
  { name: 'backup-monitor', method: 'POST', status: 200 },
]

/** Five fields of numbers, lists and asterisks. */
const CRON = /^(\d+|\*) (\d+(,\d+)*|\*) \* \* \*$/

describe('docs/scheduling.md', () => {
  test('the plain call is answered, and a wrong secret fails it', async () => {
    const [line = ''] = fencesOf('sh call')

    const { stdout } = await runShell(line)

    expect(JSON.parse(stdout)).toMatchObject({ success: true, tenants_failed: [] })
    expect(arrivals).toEqual(BOTH.slice(0, 1))
    await expect(runShell(line, { CRON_SECRET: 'wrong' })).rejects.toMatchObject({ code: 22 })
  })

  test('the workflow for GitHub Actions is one, and its steps call both', async () => {
    const Workflow = z.strictObject({
      name: z.string(),
      on: z.strictObject({
        schedule: z.array(z.strictObject({ cron: z.string().regex(CRON) })),
        workflow_dispatch: z.null(),
      }),
      permissions: z.strictObject({}),
      env: z.strictObject({
        SITE: z.literal(PLACEHOLDER),
        CRON_SECRET: z.literal(`\${{ secrets.CRON_SECRET }}`),
      }),
      jobs: z.record(
        z.enum(['backup', 'monitor']),
        z.strictObject({
          if: z.string(),
          'runs-on': z.literal('ubuntu-latest'),
          'timeout-minutes': z.number().max(10),
          steps: z.array(z.strictObject({ run: z.string() })).length(1),
        }),
      ),
    })
    const [file = ''] = fencesOf('yaml github-actions')
    const workflow = Workflow.parse(parse(file))

    // Each job runs at its own times, and a person who starts the workflow gets the backup.
    const [, hourly] = workflow.on.schedule
    expect(workflow.jobs.monitor.if).toBe(`github.event.schedule == '${hourly?.cron}'`)
    expect(workflow.jobs.backup.if).toBe(`github.event.schedule != '${hourly?.cron}'`)
    for (const { steps } of [workflow.jobs.backup, workflow.jobs.monitor]) {
      await runShell(steps[0]?.run ?? '', { SITE: url })
    }
    expect(arrivals).toEqual(BOTH)
  })

  test("Netlify's own clock calls both, at the times that the page says", async () => {
    site.setEnvironment({ NETLIFY_SCHEDULE: 'on', URL: url })

    await scheduledDaily()
    await scheduledMonitor()

    // Upkeep is open from the calls before, so that the background is woken.
    expect(arrivals.filter(({ name }) => name !== 'run-jobs-background')).toEqual(BOTH)
    expect(dailyConfig.schedule).toMatch(CRON)
    const [minute, hour] = dailyConfig.schedule.split(' ')
    expect(page).toContain(`every day at ${hour}:${minute}, `)
    expect(monitorConfig.schedule).toMatch(/^\d+ \* \* \* \*$/)
  })

  test('the crontab calls both, and the secret is in no list of processes', async () => {
    const [header = ''] = fencesOf('sh header-file')
    const [crontab = ''] = fencesOf('crontab')
    await runShell(header)

    const entries = crontab.split('\n').filter((line) => /^[\d*]/.test(line))
    for (const entry of entries) {
      const [, times, command = ''] = /^((?:\S+ ){4}\S+) (.*)$/.exec(entry) ?? []
      expect(times).toMatch(CRON)
      // To cron a bare % is the end of the command.
      expect(command).not.toMatch(/%|CRON_SECRET/)
      const { stdout, stderr } = await runShell(command, { CRON_SECRET: '' })
      expect({ stdout, stderr }).toEqual({ stdout: '', stderr: '' })
    }
    expect(arrivals).toEqual(BOTH)
  })

  test('the SQL for pg_cron and pg_net, against stand-ins, sends what both functions take', async () => {
    const { superuser } = site.database
    await superuser.withConnection((session) => session.query(STAND_INS))
    const scripts = fencesOf('sql pg-cron').join('\n')
    await superuser.query(
      scripts.replaceAll(PLACEHOLDER, url).replace('THE CRON SECRET', site.env.CRON_SECRET),
    )
    const { rows: jobs } = await superuser.query<{ schedule: string; command: string }>(
      'select schedule, command from cron.job order by jobid',
    )
    // The secret is in Vault alone.
    expect(JSON.stringify(jobs)).not.toContain(site.env.CRON_SECRET)
    for (const { schedule, command } of jobs) {
      expect(schedule).toMatch(CRON)
      await superuser.query(command)
    }

    const { rows: sent } = await superuser.query<{
      url: string
      headers: Record<string, string>
      body: string
    }>('select url, headers, body::text as body from net.http_request_queue order by id')
    for (const request of sent) await fetch(request.url, { method: 'POST', ...request })

    expect(arrivals).toEqual(BOTH)
    await superuser.query(fencesOf('sql pg-cron-stop').join('\n'))
    expect((await superuser.query('select from cron.job')).rows).toEqual([])
  })

  test('every way calls at the same times', () => {
    const times = page.match(/17 2,3,4 \* \* \*|41 \* \* \* \*/g) ?? []
    expect(times.length).toBeGreaterThan(8)
    expect(page.match(/(?<![\d,*])\d+ [\d,*]+ \* \* \*/g)).toEqual(times)
  })
})

/** The functions of the three extensions that the page calls, with their parameters. */
const STAND_INS = `
  create schema cron;
  create table cron.job (jobid bigint generated always as identity primary key, jobname text unique,
    schedule text not null, command text not null);
  create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as $$
    insert into cron.job (jobname, schedule, command) values ($1, $2, $3)
    on conflict (jobname) do update set schedule = excluded.schedule, command = excluded.command
    returning jobid $$;
  create function cron.unschedule(job_name text) returns boolean language sql as $$
    delete from cron.job where jobname = $1 returning true $$;

  create schema net;
  create table net.http_request_queue (id bigint generated always as identity primary key, url text not null,
    headers jsonb, body jsonb, timeout_milliseconds integer not null);
  create table net._http_response (id bigint, status_code integer, content_type text, headers jsonb,
    content text, timed_out boolean, error_msg text, created timestamptz not null default now());
  create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}',
    headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds integer default 5000)
    returns bigint language sql as $$
    insert into net.http_request_queue (url, headers, body, timeout_milliseconds) values ($1, $4, $2, $5)
    returning id $$;

  create schema if not exists vault;
  create table vault.secrets (id uuid primary key default gen_random_uuid(), name text unique, secret text);
  create view vault.decrypted_secrets as select id, name, secret, secret as decrypted_secret from vault.secrets;
  create function vault.create_secret(new_secret text, new_name text default null, new_description text default '',
    new_key_id uuid default null) returns uuid language sql as $$
    insert into vault.secrets (name, secret) values ($2, $1) returning id $$;
`
