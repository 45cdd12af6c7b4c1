import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import backupMetrics from '../../netlify/functions/backup-metrics.ts'
import backupMonitor from '../../netlify/functions/backup-monitor.ts'
import compareBackups from '../../netlify/functions/compare-backups.ts'
import copyBackups from '../../netlify/functions/copy-backups.ts'
import createTenant from '../../netlify/functions/create-tenant.ts'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import defaultRows from '../../netlify/functions/default-rows.ts'
import exportBackup from '../../netlify/functions/export-backup.ts'
import forgetTenant from '../../netlify/functions/forget-tenant.ts'
import getRun from '../../netlify/functions/get-run.ts'
import getState from '../../netlify/functions/get-state.ts'
import listBackups from '../../netlify/functions/list-backups.ts'
import listTables from '../../netlify/functions/list-tables.ts'
import listTenants from '../../netlify/functions/list-tenants.ts'
import offboardTenant from '../../netlify/functions/offboard-tenant.ts'
import pauseTenant from '../../netlify/functions/pause-tenant.ts'
import prune from '../../netlify/functions/prune.ts'
import restoreDrill from '../../netlify/functions/restore-drill-background.ts'
import restoreData from '../../netlify/functions/restore-tenant-data.ts'
import resumeTenant from '../../netlify/functions/resume-tenant.ts'
import runJobs from '../../netlify/functions/run-jobs-background.ts'
import scheduledMonitor from '../../netlify/functions/scheduled-backup-monitor.ts'
import scheduledDaily from '../../netlify/functions/scheduled-daily-backup.ts'
import seedDefaults from '../../netlify/functions/seed-defaults.ts'
import undo from '../../netlify/functions/undo-restore.ts'
import updateBackup from '../../netlify/functions/update-backup.ts'
import verifyBackups from '../../netlify/functions/verify-backups.ts'
import { readRowVersions } from '../support/expect-others-equal.ts'
import { call, createSite, type Handler, type PersonName, type Site } from '../support/site.ts'

const TEMPLATE = '00000000-0000-4000-8000-0000000000aa'
const METRICS_TOKEN = 'canary-metrics-token'

let site: Site
/** Of the first organization. */
let run: string
let backup: string
/** Of that backup, done. */
let restore: string
/** Every row of every table of the host, with its version. */
let rows: object
beforeAll(async () => {
  site = await createSite()
  site.setEnvironment()
  const { json } = await call(daily, {
    token: site.env.OPERATOR_SECRET,
    body: { organization_id: site.organizations[0].id },
  })
  run = json.run_id
  backup = json.backup_id
  await site.database.admin.query(
    `update public.notes set body = 'spoiled' where id = (
    select min(id) from public.notes where organization_id = $1)`,
    [site.organizations[0].id],
  )
  const restored = await call(restoreData, {
    token: site.env.OPERATOR_SECRET,
    body: { backup_id: backup, dry_run: false },
  })
  restore = restored.json.restore_id
  await site.database.admin.query(`insert into public.organizations values ($1, 'Defaults')`, [
    TEMPLATE,
  ])
  await site.database.admin.query(
    `insert into tenantkeep.settings (key, value)
     values ('template_tenant', to_jsonb($1::text)), ('drills_per_day', '0')`,
    [TEMPLATE],
  )
  rows = await readHostRows()
})
afterAll(() => site.close())
/** Whoever was let in only looked or rehearsed: not a row of any tenant was written. */
afterEach(async () => {
  expect(await readHostRows()).toEqual(rows)
})
beforeEach(() => site.setEnvironment({ METRICS_TOKEN }))

/** Signing in writes to `auth`. */
async function readHostRows(): Promise<object> {
  const all = Object.entries(await readRowVersions(site.database))
  return Object.fromEntries(all.filter(([label]) => !label.startsWith('auth.')))
}

type CallerName =
  | PersonName
  | 'anonymous'
  | 'wrongSecret'
  | 'wrongToken'
  | 'metrics'
  | 'cron'
  | 'operator'

async function tokenOf(caller: CallerName): Promise<string | undefined> {
  if (caller === 'anonymous') return undefined
  if (caller === 'wrongSecret') return 'not-the-secret'
  if (caller === 'metrics') return METRICS_TOKEN
  if (caller === 'cron') return site.env.CRON_SECRET
  if (caller === 'operator') return site.env.OPERATOR_SECRET
  // A token that is right but for its signature.
  if (caller === 'wrongToken') return `${(await site.tokenOf('owner')).slice(0, -4)}AAAA`
  return site.tokenOf(caller)
}

const NOBODY = { anonymous: 401, wrongSecret: 401, wrongToken: 401, metrics: 401 } as const
const OPERATORS = { operator: 200, operatorUser: 200 } as const
const NO_USER = {
  ...{ member: 403, admin: 403, owner: 403, otherOwner: 403, ownerOfTwo: 403, stranger: 403 },
} as const
const NOBODY_BUT_OPERATORS = { ...NOBODY, ...OPERATORS, ...NO_USER, cron: 403 } as const
const OPERATORS_AND_CRON = { ...NOBODY_BUT_OPERATORS, cron: 200 } as const
const THE_CLOCK = Object.fromEntries(
  Object.keys(NOBODY_BUT_OPERATORS).map((caller) => [caller, 204]),
) as Record<CallerName, number>

const first = () => ({ organization_id: site.organizations[0].id })

/** It answers a GET with text. */
const readMetrics: Handler = async ({ url, headers }) => {
  const answer = await backupMetrics(new Request(url, { headers }))
  return answer.ok ? Response.json({ success: (await answer.text()).startsWith('# HELP') }) : answer
}

/** The first word of a row is the name of the function. */
const MATRIX: [string, Handler, () => object, Record<CallerName, number>][] = [
  [
    'daily-tenant-backup of everybody',
    daily,
    () => ({}),
    // People get a manual backup of their own, where it is clear which.
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 200, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 200, ownerOfTwo: 400, stranger: 403 },
    },
  ],
  [
    'daily-tenant-backup of one organization',
    daily,
    () => ({ organization_id: site.organizations[0].id }),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 200, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'list-backups',
    listBackups,
    () => ({ organization_id: site.organizations[0].id }),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 403, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'get-state',
    getState,
    () => ({ organization_id: site.organizations[0].id }),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 403, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'get-state of nobody in particular',
    getState,
    () => ({}),
    {
      ...{ ...NOBODY, operator: 400, operatorUser: 400, cron: 403, member: 403 },
      ...{ admin: 200, owner: 200, otherOwner: 200, ownerOfTwo: 400, stranger: 403 },
    },
  ],
  [
    'list-tenants',
    listTenants,
    () => ({}),
    // People get those that they look after.
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 403, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 200, ownerOfTwo: 200, stranger: 403 },
    },
  ],
  [
    'get-run',
    getRun,
    () => ({ run_id: run }),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 404, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 403 },
    },
  ],
  [
    'update-backup',
    updateBackup,
    () => ({ backup_id: backup, note: 'looked at' }),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 403, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'restore-tenant-data, rehearsed',
    restoreData,
    () => ({ organization_id: site.organizations[0].id, backup_id: backup }),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 200, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'restore-tenant-data for real, without a plan',
    restoreData,
    () => ({ organization_id: site.organizations[0].id, backup_id: backup, dry_run: false }),
    // With the operator's secret it is done, and finds nothing to write.
    {
      ...{ ...NOBODY, operator: 200, operatorUser: 409, cron: 403, member: 403 },
      ...{ admin: 409, owner: 409, otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'undo-restore, rehearsed',
    undo,
    () => ({ restore_id: restore }),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 200, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'undo-restore for real, with a plan that nobody made',
    undo,
    () => ({ restore_id: restore, dry_run: false, plan_hash: 'f'.repeat(64) }),
    {
      ...{ ...NOBODY, operator: 409, operatorUser: 409, cron: 403, member: 403 },
      ...{ admin: 409, owner: 409, otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'compare-backups',
    compareBackups,
    () => ({ ...first(), backup_id: backup }),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 403, member: 403, admin: 200, owner: 200 },
      ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  [
    'export-backup of a store that gives no URLs',
    exportBackup,
    () => ({ backup_id: backup }),
    {
      ...{ ...NOBODY, operator: 400, operatorUser: 400, cron: 403, member: 403, admin: 400 },
      ...{ owner: 400, otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
    },
  ],
  ['run-jobs-background', runJobs, () => ({}), OPERATORS_AND_CRON],
  ['prune, looked at', prune, () => ({}), OPERATORS_AND_CRON],
  ['prune for real', prune, () => ({ dry_run: false }), OPERATORS_AND_CRON],
  ['forget-tenant, looked at', forgetTenant, first, NOBODY_BUT_OPERATORS],
  [
    'forget-tenant for real, with a name that is another one',
    forgetTenant,
    () => ({ ...first(), dry_run: false, confirm_name: 'Beta Rentals' }),
    { ...NOBODY_BUT_OPERATORS, operator: 403, operatorUser: 403 },
  ],
  ['verify-backups', verifyBackups, () => ({}), OPERATORS_AND_CRON],
  [
    'copy-backups without a second place',
    copyBackups,
    () => ({}),
    { ...OPERATORS_AND_CRON, operator: 503, operatorUser: 503, cron: 503 },
  ],
  ['restore-drill-background', restoreDrill, () => ({}), OPERATORS_AND_CRON],
  ['pause-tenant', pauseTenant, () => ({ ...first(), reason: 'on leave' }), NOBODY_BUT_OPERATORS],
  ['resume-tenant', resumeTenant, first, NOBODY_BUT_OPERATORS],
  ['backup-monitor', backupMonitor, () => ({}), OPERATORS_AND_CRON],
  ['backup-metrics', readMetrics, () => ({}), { ...NOBODY_BUT_OPERATORS, metrics: 200 }],
  ['list-tables', listTables, () => ({}), NOBODY_BUT_OPERATORS],
  ['default-rows', defaultRows, () => ({ action: 'tables' }), NOBODY_BUT_OPERATORS],
  [
    'seed-defaults, rehearsed',
    seedDefaults,
    () => ({ organization_ids: [site.organizations[0].id] }),
    OPERATORS_AND_CRON,
  ],
  [
    'seed-defaults for real, without a plan',
    seedDefaults,
    () => ({ organization_ids: [site.organizations[0].id], dry_run: false }),
    { ...NOBODY_BUT_OPERATORS, operatorUser: 409 },
  ],
  [
    'create-tenant, rehearsed',
    createTenant,
    () => ({ columns: { id: randomUUID(), name: 'Delta' }, dry_run: true }),
    NOBODY_BUT_OPERATORS,
  ],
  [
    'offboard-tenant, rehearsed',
    offboardTenant,
    () => ({ organization_id: site.organizations[2].id, reason: 'moved out' }),
    NOBODY_BUT_OPERATORS,
  ],
  ['scheduled-daily-backup', scheduledDaily, () => ({}), THE_CLOCK],
  ['scheduled-backup-monitor', scheduledMonitor, () => ({}), THE_CLOCK],
]

const NOT_FOUND: Record<string, string> = {
  'get-run': 'run_not_found',
  'update-backup': 'backup_not_found',
  'export-backup': 'backup_not_found',
  'undo-restore': 'restore_not_found',
}
const REFUSED: Record<number, string> = {
  400: 'invalid_request',
  401: 'not_signed_in',
  403: 'not_allowed',
  503: 'not_configured',
}

const endpointOf = (name: string) => name.split(/[ ,]/)[0] ?? ''

function describeStatus(name: string, status: number): string {
  if (status === 200) return '200 done'
  if (status === 204) return '204 nothing'
  if (status === 409) return name.startsWith('undo') ? '409 plan_stale' : '409 plan_required'
  return `${status} ${REFUSED[status] ?? NOT_FOUND[endpointOf(name)] ?? 'tenant_not_found'}`
}

test('every function has a row', async () => {
  const files = await readdir(join(import.meta.dirname, '../../netlify/functions'))

  expect([...new Set(MATRIX.map(([name]) => endpointOf(name)))].sort()).toEqual(
    files.map((file) => file.replace(/\.ts$/, '')).sort(),
  )
})

test.each(MATRIX)('%s', async (name, handler, body, expected) => {
  const callers = Object.keys(expected) as CallerName[]
  const answers: [CallerName, string][] = []
  for (const caller of callers) {
    const token = await tokenOf(caller)
    const { status, json } = await call(handler, {
      body: body(),
      ...(token === undefined ? {} : { token }),
    })
    const what = json.success === true ? 'done' : (json.error?.code ?? 'nothing')
    answers.push([caller, `${status} ${what}`])
  }

  expect(Object.fromEntries(answers)).toEqual(
    Object.fromEntries(callers.map((it) => [it, describeStatus(name, expected[it])])),
  )
})

describe('what does not concern a caller', () => {
  test.each([
    ['daily-tenant-backup', daily, 'organization_id', () => site.organizations[0].id],
    ['list-backups', listBackups, 'organization_id', () => site.organizations[0].id],
    ['get-state', getState, 'organization_id', () => site.organizations[0].id],
    ['get-run', getRun, 'run_id', () => run],
    ['update-backup', updateBackup, 'backup_id', () => backup],
    ['restore-tenant-data', restoreData, 'organization_id', () => site.organizations[0].id],
    ['restore-tenant-data', restoreData, 'backup_id', () => backup],
    ['undo-restore', undo, 'restore_id', () => restore],
    ['compare-backups', compareBackups, 'backup_id', () => backup],
    ['export-backup', exportBackup, 'backup_id', () => backup],
  ] as const)('%s answers like for what does not exist', async (name, handler, field, id) => {
    const token = await site.tokenOf('otherOwner')
    const change = name === 'update-backup' ? { note: 'mine now' } : {}

    const [other, none] = await Promise.all(
      [id(), randomUUID()].map((value) =>
        call(handler, { token, body: { [field]: value, ...change } }),
      ),
    )

    const without = ({ json, status }: Awaited<ReturnType<typeof call>>) => ({
      status,
      code: json.error.code,
      message: json.error.message,
      details: json.error.details,
    })
    expect(other && without(other)).toEqual(none && without(none))
  })

  test('a run shows an owner his own tenants and no count of others', async () => {
    const { json } = await call(daily, { token: site.env.CRON_SECRET })

    const answer = await call(getRun, {
      token: await site.tokenOf('ownerOfTwo'),
      body: { run_id: json.run_id },
    })

    const [, beta, gamma] = site.organizations
    expect(answer.json.run.summary.total_tenants).toBe(2)
    expect(
      answer.json.run.tenants.map((tenant: { organization_id: string }) => tenant.organization_id),
    ).toEqual([beta.id, gamma.id])
    expect(JSON.stringify(answer.json)).not.toContain(site.organizations[0].id)
  })

  test('a list of tenants has those that somebody looks after, and counts no others', async () => {
    const { json } = await call(listTenants, { token: await site.tokenOf('ownerOfTwo'), body: {} })

    const [alpha, beta, gamma] = site.organizations
    expect(json.total).toBe(2)
    expect(
      json.tenants.map((tenant: { organization_id: string }) => tenant.organization_id).sort(),
    ).toEqual([beta.id, gamma.id].sort())
    expect(JSON.stringify(json)).not.toContain(alpha.id)
  })

  test('a list has the backups of one organization only', async () => {
    const { json } = await call(listBackups, { token: await site.tokenOf('owner'), body: {} })

    const tenants = json.backups.map((row: { organization_id: string }) => row.organization_id)
    expect(new Set(tenants)).toEqual(new Set([site.organizations[0].id]))
  })
})

describe('rights are those of this moment', () => {
  test('an owner who became a member is refused with the same token', async () => {
    const token = await site.tokenOf('admin')
    await site.database.admin.query(
      `update public.profiles set role = 'member' where role = 'admin'`,
    )

    const answer = await call(listBackups, {
      token,
      body: { organization_id: site.organizations[0].id },
    })

    expect(answer.status).toBe(403)
    await site.database.admin.query(
      `update public.profiles set role = 'admin'
       where role = 'member' and user_id in (select id from auth.users where email like 'admin@%')`,
    )
    rows = await readHostRows()
  })
})
