import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { EXIT } from '../../src/cli/exit-status.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import {
  type OthersPhotograph,
  photographOthers,
  photographTenant,
} from '../support/expect-others-equal.ts'
import { runCli } from '../support/run-cli.ts'

let database: TestDatabase
let folder: string
let env: Record<string, string>
/** The smallest tenant of the demonstration. */
let tenant: { id: string; name: string }
let backup: { id: string; day: string }
let others: OthersPhotograph

const count = z.number()
const Told = z.looseObject({
  success: z.boolean(),
  message: z.string(),
  restore_id: z.string().nullable(),
  safety_backup_id: z.string().nullable(),
  summary: z.looseObject({
    rows_inserted: count,
    rows_updated: count,
    rows_deleted: count,
    errors: count,
  }),
  plan: z.looseObject({ hash: z.string(), blockers: z.array(z.unknown()) }),
  undo_command: z.string().optional(),
})
const Failure = z.object({
  success: z.literal(false),
  error: z.looseObject({ code: z.string(), message: z.string() }),
})
const Taken = z.object({
  backups: z.array(z.looseObject({ backup_id: z.string(), backup_date: z.string() })),
})

beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-restore-'))
  env = {
    SUPABASE_DB_URL: database.workerUrl,
    BACKUP_STORE: pathToFileURL(join(folder, 'store')).href,
    BACKUP_SIGNING_KEY: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
  }
  const { rows } = await database.superuser.query<{ id: string; name: string }>(
    `select o.id::text as id, o.name from public.organizations o
     order by (select count(*) from public.customers c where c.organization_id = o.id)`,
  )
  const [first] = rows
  if (first === undefined) throw new Error('the demonstration is empty')
  tenant = first
  const { document } = await runJson(Taken, ['backup', '--tenant', tenant.id])
  const [taken] = document.backups
  backup = { id: taken?.backup_id ?? '', day: taken?.backup_date ?? '' }
  others = await photographOthers(database, tenant.id)
})

afterAll(async () => {
  await others?.expectEqual()
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

async function runJson<T>(schema: z.ZodType<T>, args: string[]) {
  const { status, stdout, stderr } = await runCli([...args, '--json'], env)
  return { status, stderr, document: schema.parse(JSON.parse(stdout)) }
}

const restore = (...flags: string[]) => [
  ...['restore', '--tenant', tenant.id, '--backup', backup.id, ...flags],
]

/** The first three customers get another name, without any trigger of the demonstration. */
async function damage(name = 'spoiled'): Promise<void> {
  await database.superuser.withConnection(async (session) => {
    await session.query('set session_replication_role = replica')
    await session.query(
      `update public.customers set name = $2 || ' ' || id where id in (
         select id from public.customers where organization_id::text = $1 order by id limit 3)`,
      [tenant.id, name],
    )
    await session.query('reset session_replication_role')
  })
}

const UPDATED = { rows_inserted: 0, rows_updated: 3, rows_deleted: 0, errors: 0 }

describe('restore', () => {
  test('rehearses, and prints the plan as a table', async () => {
    await damage()
    const before = await photographTenant(database, tenant.id)

    const { status, stdout } = await runCli(restore('--dry-run', '--samples', '1'), env)

    await before.expectEqual()
    expect(status).toBe(EXIT.done)
    expect(stdout).toMatch(
      /^table +in backup +live +insert +update +delete +unchanged +kept +skipped$/m,
    )
    expect(stdout).toMatch(/^customers +\d+ +\d+ +0 +3 +0 /m)
    expect(stdout).toMatch(/name: spoiled .+ -> /)
    expect(stdout).toMatch(
      /^Dry run completed\. Would restore [\d]+ records: 0 inserted, 3 updated, 0 deleted\.$/m,
    )
  })

  test('without a terminal and without --yes shows the plan and does nothing', async () => {
    await damage()
    const before = await photographTenant(database, tenant.id)

    const { status, stdout, stderr } = await runCli(restore(), env)

    await before.expectEqual()
    expect(status).toBe(EXIT.answersNeeded)
    expect(stdout).toBe('')
    expect(stderr).toMatch(/^customers +\d+ +\d+ +0 +3 +0 /m)
    expect(stderr).toContain(`This brings ${tenant.name} back`)
    expect(stderr).toContain('--yes')
  })

  test('with --yes does it, says how to take it back, and that does', async () => {
    await damage()
    const damaged = await photographTenant(database, tenant.id)

    const done = await runJson(Told, restore('--yes', '--note', 'as it was'))

    expect(done.status).toBe(EXIT.done)
    expect(done.document.summary).toMatchObject(UPDATED)
    expect(done.document.undo_command).toBe(
      `npm run -s tenantkeep -- undo --tenant ${tenant.id} --restore ${done.document.restore_id}`,
    )
    const [, ...words] = done.document.undo_command?.split(' -- ') ?? []
    const undone = await runCli([...(words[0] ?? '').split(' '), '--yes'], env)
    expect(undone.stderr).toMatch(/writing customers/)
    expect(undone.status, undone.stderr).toBe(EXIT.done)
    expect(undone.stdout).toMatch(/^Undo completed: 0 inserted, 3 updated, 0 deleted\.$/m)
    expect(undone.stdout).toMatch(/^To take it back: npm run -s tenantkeep -- undo /m)
    await damaged.expectEqual()
    await runJson(Told, restore('--yes'))
  })

  test('that has nothing to do does nothing', async () => {
    await runJson(Told, restore('--yes'))

    const { status, stdout } = await runCli(restore('--yes'), env)

    expect(status).toBe(EXIT.done)
    expect(stdout).toMatch(/There is nothing to do, and nothing was done/)
    expect(stdout).not.toMatch(/To take it back/)
  })

  test('of some tables, or some rows, leaves the others alone', async () => {
    await damage()
    const { rows } = await database.superuser.query<{ id: string }>(
      `select id::text as id from public.customers where organization_id::text = $1 and name like 'spoiled %'`,
      [tenant.id],
    )
    const [one] = rows.map(({ id }) => `customers:id=${id}`)

    const table = await runJson(Told, restore('--dry-run', '--table', 'locations'))
    const row = await runJson(Told, restore('--dry-run', '--row', one ?? ''))
    const kept = await runJson(Told, restore('--dry-run', '--changed', 'keep'))

    expect(rows).toHaveLength(3)
    const updated = [table, row, kept].map(({ document }) => document.summary.rows_updated)
    expect(updated).toEqual([0, 1, 0])
    await runJson(Told, restore('--yes'))
  })

  test('takes the newest backup of a day', async () => {
    const { document } = await runJson(Told, [
      ...['restore', '--tenant', tenant.id, '--date', backup.day, '--dry-run'],
    ])

    expect(document.summary).toMatchObject({ backup_id: backup.id })
  })

  test('with the hash of another plan is refused', async () => {
    await damage()

    const { status, document } = await runJson(
      Failure,
      restore('--yes', '--plan-hash', 'f'.repeat(64)),
    )

    expect(status).toBe(EXIT.refused)
    expect(document.error.code).toBe('plan_stale')
    await runJson(Told, restore('--yes'))
  })

  test('names what stands in the way, and ends with 1 when rehearsed, with 4 for real', async () => {
    await damage()
    await database.admin.query(`create function public.watch() returns trigger language plpgsql
      as 'begin return new; end'`)
    await database.admin.query(
      `create trigger always_acts before update on public.customers for each row execute function public.watch()`,
    )
    await database.admin.query('alter table public.customers enable always trigger always_acts')

    const [rehearsed, real] = [
      await runCli(restore('--dry-run'), env),
      await runCli(restore('--yes'), env),
    ]
    const accepted = await runJson(Told, restore('--yes', '--accept-side-effects'))

    await database.admin.query('drop trigger always_acts on public.customers')
    expect([rehearsed.status, real.status]).toEqual([EXIT.failed, EXIT.refused])
    expect(rehearsed.stdout).toMatch(/^BLOCKED: customers \(always_acts\): /m)
    expect(real.stdout).toMatch(/Nothing was changed/)
    expect(accepted.document.summary.rows_updated).toBe(3)
  })

  test('of a tenant whose lock somebody has is busy', async () => {
    const { status, document } = await database.worker.withConnection(async (session) => {
      await session.query(
        `select pg_advisory_lock(hashtextextended('tenantkeep.tenant:' || $1, 0))`,
        [tenant.id],
      )
      return runJson(Failure, restore('--dry-run'))
    })

    expect({ status, code: document.error.code }).toEqual({
      status: EXIT.busy,
      code: 'tenant_busy',
    })
  })

  test('of a tenant that is none, or to the backup of another, is refused', async () => {
    const none = await runJson(Failure, [
      ...['restore', '--tenant', '00000000-0000-4000-8000-000000000000', '--backup', backup.id],
    ])
    const { rows } = await database.superuser.query<{ id: string }>(
      'select id::text as id from public.organizations where id::text <> $1 limit 1',
      [tenant.id],
    )
    const other = await runJson(Failure, [
      ...['restore', '--tenant', rows[0]?.id ?? '', '--backup', backup.id],
    ])

    expect([none, other].map(({ status, document }) => [status, document.error.code])).toEqual([
      [EXIT.couldNotRun, 'tenant_not_found'],
      [EXIT.couldNotRun, 'backup_not_found'],
    ])
  })
})

describe('restore --from', () => {
  test('takes an exported zip back', async () => {
    const zip = join(folder, 'taken-away.zip')
    await runCli(['export', '--backup', backup.id, '--to', zip], env)
    await damage()

    const { status, document } = await runJson(Told, [
      ...['restore', '--tenant', tenant.id, '--from', zip, '--yes'],
    ])

    expect(status).toBe(EXIT.done)
    expect(document.summary).toMatchObject({ ...UPDATED, backup_id: null })
  })

  test('takes plain files only when told that nothing proves them', async () => {
    const day = join(folder, 'plain', tenant.id, '2025-01-15')
    await mkdir(day, { recursive: true })
    const { rows } = await database.superuser.query<{ rows: string }>(
      `select json_agg(c)::text as rows from public.customers c where organization_id::text = $1`,
      [tenant.id],
    )
    const stamp = '2025-01-15T02-00-00-000Z'
    await writeFile(join(day, `customers-${stamp}.json`), rows[0]?.rows ?? '[]')
    await writeFile(
      join(day, `summary-${stamp}.json`),
      JSON.stringify({ organization_id: tenant.id, tables: {} }),
    )
    await damage()
    const from = ['restore', '--tenant', tenant.id, '--from', join(folder, 'plain')]

    const refused = await runJson(Failure, [...from, '--dry-run'])
    const taken = await runCli([...from, '--dry-run', '--unsigned'], env)

    expect(refused.document.error).toMatchObject({
      ...{ code: 'invalid_request', message: expect.stringMatching(/--unsigned/) },
    })
    // JSON null has become null in such files, in other rows too.
    expect(taken.stdout).toMatch(/^customers +\d+ +\d+ +0 +\d+ +0 /m)
    expect(taken.stdout).toMatch(/^Warning: /m)
    await runJson(Told, restore('--yes'))
  })
})

describe('undo', () => {
  test('of a restore of another tenant is not found', async () => {
    const { status, document } = await runJson(Failure, [
      ...['undo', '--tenant', tenant.id, '--restore', '00000000-0000-4000-8000-000000000000'],
    ])

    expect({ status, code: document.error.code }).toEqual({
      status: EXIT.couldNotRun,
      code: 'restore_not_found',
    })
  })

  test('names rows that were changed again, and does as it is told about them', async () => {
    await damage()
    const { document } = await runJson(Told, restore('--yes'))
    await damage('again')
    const undo = ['undo', '--tenant', tenant.id, '--restore', document.restore_id ?? '']

    const failed = await runCli([...undo, '--dry-run'], env)
    const kept = await runJson(Told, [...undo, '--dry-run', '--on-conflict', 'keep'])
    const undone = await runJson(Told, [...undo, '--yes', '--on-conflict', 'undo'])

    expect(failed.status).toBe(EXIT.failed)
    expect(failed.stdout).toMatch(/^BLOCKED: customers: .*changed again/m)
    expect(kept.document.summary.rows_updated).toBe(0)
    expect(undone.status).toBe(EXIT.done)
    await runJson(Told, restore('--yes'))
  })
})
