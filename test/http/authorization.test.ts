import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getRun from '../../netlify/functions/get-run.ts'
import getState from '../../netlify/functions/get-state.ts'
import listBackups from '../../netlify/functions/list-backups.ts'
import listTenants from '../../netlify/functions/list-tenants.ts'
import restoreData from '../../netlify/functions/restore-tenant-data.ts'
import runJobs from '../../netlify/functions/run-jobs-background.ts'
import undo from '../../netlify/functions/undo-restore.ts'
import updateBackup from '../../netlify/functions/update-backup.ts'
import { readRowVersions } from '../support/expect-others-equal.ts'
import { call, createSite, type Handler, type PersonName, type Site } from '../support/site.ts'

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
  rows = await readHostRows()
})
afterAll(() => site.close())
/** Whoever was let in only looked or rehearsed: not a row of any tenant was written. */
afterEach(async () => {
  expect(await readHostRows()).toEqual(rows)
})
beforeEach(() => site.setEnvironment())

/** Signing in writes to `auth`. */
async function readHostRows(): Promise<object> {
  const all = Object.entries(await readRowVersions(site.database))
  return Object.fromEntries(all.filter(([label]) => !label.startsWith('auth.')))
}

type CallerName = PersonName | 'anonymous' | 'wrongSecret' | 'wrongToken' | 'cron' | 'operator'

async function tokenOf(caller: CallerName): Promise<string | undefined> {
  if (caller === 'anonymous') return undefined
  if (caller === 'wrongSecret') return 'not-the-secret'
  if (caller === 'cron') return site.env.CRON_SECRET
  if (caller === 'operator') return site.env.OPERATOR_SECRET
  // A token that is right but for its signature.
  if (caller === 'wrongToken') return `${(await site.tokenOf('owner')).slice(0, -4)}AAAA`
  return site.tokenOf(caller)
}

const NOBODY = { anonymous: 401, wrongSecret: 401, wrongToken: 401 } as const
const OPERATORS = { operator: 200, operatorUser: 200 } as const

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
    'run-jobs-background',
    runJobs,
    () => ({}),
    {
      ...{ ...NOBODY, ...OPERATORS, cron: 200, member: 403, admin: 403, owner: 403 },
      ...{ otherOwner: 403, ownerOfTwo: 403, stranger: 403 },
    },
  ],
]

function codeOf(name: string, status: number): string {
  if (status === 409) return name.startsWith('undo') ? 'plan_stale' : 'plan_required'
  if (name === 'get-run') return 'run_not_found'
  if (name === 'update-backup') return 'backup_not_found'
  return name.startsWith('undo') ? 'restore_not_found' : 'tenant_not_found'
}

const CODES: Record<number, string> = {
  400: 'invalid_request',
  401: 'not_signed_in',
  403: 'not_allowed',
}

describe.each(MATRIX)('%s', (name, handler, body, expected) => {
  test.each(Object.entries(expected) as [CallerName, number][])(
    'answers %s with %i',
    async (caller, status) => {
      const token = await tokenOf(caller)

      const answer = await call(handler, {
        body: body(),
        ...(token === undefined ? {} : { token }),
      })

      expect(answer.status, JSON.stringify(answer.json)).toBe(status)
      expect(answer.json.success).toBe(status === 200)
      if (status !== 200) {
        expect(answer.json.error.code).toBe(CODES[status] ?? codeOf(name, status))
      }
    },
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
