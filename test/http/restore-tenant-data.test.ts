import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getRun from '../../netlify/functions/get-run.ts'
import restoreData from '../../netlify/functions/restore-tenant-data.ts'
import runJobs from '../../netlify/functions/run-jobs-background.ts'
import undo from '../../netlify/functions/undo-restore.ts'
import { runRestore } from '../../src/core/jobs/run-restore.ts'
import { DEFAULT_OPTIONS } from '../../src/core/restore/restore-options.ts'
import { readEnvironment } from '../../src/http/environment.ts'
import { getServices } from '../../src/http/services.ts'
import {
  type OthersPhotograph,
  photographOthers,
  photographTenant,
} from '../support/expect-others-equal.ts'
import { call, callLines, createSite, type Site } from '../support/site.ts'

let site: Site
/** Of the first organization, as `createSite` made it. */
let backup: string
let day: string
let others: OthersPhotograph
beforeAll(async () => {
  site = await createSite()
  site.setEnvironment()
  const { json } = await call(daily, {
    token: site.env.OPERATOR_SECRET,
    body: { organization_id: alpha().id },
  })
  backup = json.backup_id
  const { rows } = await site.database.admin.query<{ day: string }>(
    'select backup_date::text as day from public.tenant_backups where id = $1',
    [backup],
  )
  day = rows[0]?.day ?? ''
  // Signing in writes to `auth`.
  for (const person of ['owner', 'otherOwner', 'operatorUser'] as const) await site.tokenOf(person)
  others = await photographOthers(site.database, alpha().id)
})
afterAll(async () => {
  await others.expectEqual()
  await site.close()
})
beforeEach(() => site.setEnvironment())

const alpha = () => site.organizations[0]
const asOwner = async (body: object) => ({ token: await site.tokenOf('owner'), body })
const asOperator = (body: object) => ({ token: site.env.OPERATOR_SECRET, body })
const asCron = (body: object) => ({ token: site.env.CRON_SECRET, body })

/** Takes two notes away, changes one, writes three. */
async function damage(): Promise<void> {
  await site.database.admin.query(
    `with mine as (
       select id, row_number() over (order by id) as place from public.notes where organization_id = $1
     ), gone as (
       delete from public.notes where id in (select id from mine where place <= 2)
     ), changed as (
       update public.notes set body = 'spoiled' where id = (select id from mine where place = 3)
     )
     insert into public.notes (organization_id, body) select $1, 'new' from generate_series(1, 3)`,
    [alpha().id],
  )
}
const asBackedUp = async () => call(restoreData, asOperator({ backup_id: backup, dry_run: false }))

async function dryRun(more: object = {}) {
  const { json } = await call(restoreData, await asOwner({ backup_id: backup, ...more }))
  return json
}

async function countTraces(): Promise<object> {
  const { rows } = await site.database.admin.query(
    `select (select count(*) from public.tenant_backups)::int as backups,
            (select count(*) from public.backup_logs)::int as journal,
            (select count(*) from tenantkeep.runs where status = 'running')::int as runs,
            (select count(*) from tenantkeep_jobs.job where state <= 'active')::int as jobs`,
  )
  return rows[0] ?? {}
}

describe('a dry run', () => {
  test('is what a restore is unless told otherwise, and answers in the known form', async () => {
    await damage()
    const before = await photographTenant(site.database, alpha().id)
    const traces = await countTraces()

    const { status, json } = await call(
      restoreData,
      asCron({ organization_id: alpha().id, backup_date: day, dry_run: true }),
    )

    await before.expectEqual()
    expect(await countTraces()).toEqual(traces)
    expect(status).toBe(200)
    expect(json).toMatchObject({
      success: true,
      message: 'Dry run completed. Would restore 9 records: 2 inserted, 1 updated, 3 deleted.',
      summary: {
        organization_id: alpha().id,
        organization_name: 'Alpha Gases',
        backup_date: day,
        backup_id: backup,
        total_tables: 3,
        total_records_restored: 9,
        errors: 0,
        dry_run: true,
      },
      tables: {
        notes: {
          ...{ success: true, record_count: 5, restored: 5, rows_in_backup: 5, rows_live: 6 },
          ...{ inserted: 2, updated: 1, deleted: 3, unchanged: 2, kept: 0, skipped: 0 },
          warnings: [],
        },
        organizations: { success: true, record_count: 1, restored: 1, unchanged: 1 },
      },
      plan: { blockers: [], access_changes: [], schema_changes: [] },
      ...{ restore_id: null, safety_backup_id: null, undo: null },
    })
    expect(json.plan.hash).toEqual(expect.stringMatching(/\S{16}/))
    expect(Date.parse(json.plan.expires_at) - Date.now()).toBeGreaterThan(55 * 60_000)
    await asBackedUp()
  })

  test('shows rows that differ, with what differs, when asked', async () => {
    await damage()

    const json = await dryRun({ samples: 5, tables: ['notes'], missing: 'keep', changed: 'keep' })

    expect(json.tables.notes.samples).toHaveLength(3)
    expect(json.tables.notes.samples[0]).toMatchObject({
      kind: 'delete',
      columns: expect.arrayContaining([
        { name: 'body', before: 'new', after: null, is_masked: false },
      ]),
    })
    await asBackedUp()
  })

  test('names the nearest days where the day asked for has no backup', async () => {
    const { status, json } = await call(restoreData, await asOwner({ backup_date: '2020-01-01' }))

    expect({ status, code: json.error.code, days: json.error.details }).toEqual({
      ...{ status: 404, code: 'backup_not_found' },
      days: { nearest_dates: [day] },
    })
    expect(json.error.message).toContain(day)
  })

  test('never takes a safety backup for the one of that day', async () => {
    await damage()
    await asBackedUp()

    const { json } = await call(restoreData, await asOwner({ backup_date: day }))

    expect(json.summary.backup_id).toBe(backup)
  })

  test('with a backup and a day that don’t agree is refused', async () => {
    const { status, json } = await call(
      restoreData,
      await asOwner({ backup_id: backup, backup_date: '2020-01-01' }),
    )

    expect({ status, code: json.error.code }).toEqual({ status: 400, code: 'invalid_request' })
  })

  test('of the backup of somebody else finds none', async () => {
    const { status, json } = await call(restoreData, {
      token: await site.tokenOf('otherOwner'),
      body: { organization_id: site.organizations[1].id, backup_id: backup },
    })

    expect({ status, code: json.error.code }).toEqual({ status: 404, code: 'backup_not_found' })
  })
})

describe('a real restore', () => {
  test('does what its plan said, can be undone, and the undo undone', async () => {
    const sound = await photographTenant(site.database, alpha().id)
    await damage()
    const damaged = await photographTenant(site.database, alpha().id)
    const planned = await dryRun({ note: 'the lost notes' })

    const restored = await call(
      restoreData,
      await asOwner({
        backup_id: backup,
        dry_run: false,
        plan_hash: planned.plan.hash,
        note: 'the lost notes',
      }),
    )

    expect(restored.status, JSON.stringify(restored.json)).toBe(200)
    expect(restored.json).toMatchObject({
      success: true,
      message: 'Restore completed. Restored 9 records: 2 inserted, 1 updated, 3 deleted.',
      tables: planned.tables,
      plan: { hash: planned.plan.hash, expires_at: null },
      safety_backup_id: expect.any(String),
      undo: { restore_id: restored.json.restore_id },
    })
    await sound.expectEqual()
    const { rows } = await site.database.admin.query(
      `select status, note, actor_label, run_id from public.backup_logs where id = $1`,
      [restored.json.restore_id],
    )
    expect(rows).toEqual([
      {
        ...{ status: 'complete', note: 'the lost notes', actor_label: 'owner@example.com' },
        run_id: restored.json.run_id,
      },
    ])

    const undone = await undoOf(restored.json.restore_id)
    await damaged.expectEqual()
    expect(undone.message).toBe('Undo completed: 3 inserted, 1 updated, 2 deleted.')

    await undoOf(undone.restore_id)
    await sound.expectEqual()
  })

  /** As the owner: rehearsed, then done. */
  async function undoOf(restoreId: string) {
    const planned = await call(undo, await asOwner({ restore_id: restoreId }))
    const done = await call(
      undo,
      await asOwner({ restore_id: restoreId, dry_run: false, plan_hash: planned.json.plan?.hash }),
    )
    expect(done.status, JSON.stringify([planned.json, done.json])).toBe(200)
    return done.json
  }

  test('of a person needs a plan; of a program with the operator’s secret it does not', async () => {
    await damage()

    const refused = await call(restoreData, await asOwner({ backup_id: backup, dry_run: false }))
    const user = await call(restoreData, {
      token: await site.tokenOf('operatorUser'),
      body: { backup_id: backup, dry_run: false },
    })
    const done = await asBackedUp()

    expect([refused, user].map(({ status, json }) => [status, json.error.code])).toEqual([
      [409, 'plan_required'],
      [409, 'plan_required'],
    ])
    expect(done.status).toBe(200)
  })

  test('is refused where somebody wrote since the plan', async () => {
    await damage()
    const { plan } = await dryRun()
    await damage()
    const before = await photographTenant(site.database, alpha().id)

    const { status, json } = await call(
      restoreData,
      await asOwner({ backup_id: backup, dry_run: false, plan_hash: plan.hash }),
    )

    await before.expectEqual()
    expect({ status, code: json.error.code }).toEqual({ status: 409, code: 'plan_stale' })
    await asBackedUp()
  })

  test.each([
    ['nobody made', async () => 'f'.repeat(64), {}],
    ['was made with other options', async () => (await dryRun()).plan.hash, { newer: 'keep' }],
    [
      'is older than an hour',
      async () => {
        const { plan, run_id } = await dryRun()
        await site.database.admin.query(
          `update tenantkeep.runs set finished_at = finished_at - interval '61 minutes' where plan_hash = $1`,
          [plan.hash],
        )
        expect(run_id).toEqual(expect.any(String))
        return plan.hash
      },
      {},
    ],
  ])('is refused with a plan that %s', async (_, plan, more) => {
    await damage()
    const hash = await plan()
    const before = await photographTenant(site.database, alpha().id)

    const { status, json } = await call(
      restoreData,
      await asOwner({ backup_id: backup, dry_run: false, plan_hash: hash, ...more }),
    )

    await before.expectEqual()
    expect({ status, code: json.error.code }).toEqual({ status: 409, code: 'plan_stale' })
    await asBackedUp()
  })

  test('with the cron secret is refused, unless this site says otherwise', async () => {
    await damage()
    const before = await photographTenant(site.database, alpha().id)
    const body = { organization_id: alpha().id, backup_date: day, dry_run: false }

    const refused = await call(restoreData, asCron(body))
    const rows = await call(restoreData, asCron({ ...body, dry_run: true, samples: 1 }))

    await before.expectEqual()
    expect({ status: refused.status, code: refused.json.error.code }).toEqual({
      ...{ status: 403, code: 'not_allowed' },
    })
    expect([rows.status, rows.json.error.code]).toEqual([403, 'not_allowed'])
    expect(refused.json.error.message).toContain('CRON_SECRET_MAY_RESTORE=allow')
    site.setEnvironment({ CRON_SECRET_MAY_RESTORE: 'allow' })
    const done = await call(restoreData, asCron(body))
    expect(done.json.message).toMatch(/^Restore completed/)
  })

  test('that fails says why in its run too', async () => {
    await damage()
    const answer = await site.database.worker.withConnection(async (session) => {
      await session.query(
        `select pg_advisory_lock(hashtextextended('tenantkeep.tenant:' || $1, 0))`,
        [alpha().id],
      )
      return asBackedUp()
    })

    const { json } = await call(getRun, await asOwner({ run_id: answer.json.error.details.run_id }))

    expect([answer.status, answer.json.error.code]).toEqual([409, 'tenant_busy'])
    expect(json.run).toMatchObject({
      ...{ kind: 'restore', status: 'failed', dry_run: false, result: null },
      error: { code: 'tenant_busy' },
    })
    await asBackedUp()
  })
})

describe('the same idempotency key', () => {
  test('restores once, and gives the same answer', async () => {
    await damage()
    const body = { backup_id: backup, dry_run: false, idempotency_key: 'once' }
    const first = await call(restoreData, asOperator(body))
    await damage()
    const before = await photographTenant(site.database, alpha().id)

    const second = await call(restoreData, asOperator(body))

    await before.expectEqual()
    expect(second.status).toBe(200)
    expect(second.json).toEqual(first.json)
    await asBackedUp()
  })

  test('at the same moment restores once', async () => {
    await damage()
    const body = { backup_id: backup, dry_run: false, idempotency_key: 'together' }

    const answers = await Promise.all([1, 2, 3].map(() => call(restoreData, asOperator(body))))

    expect(new Set(answers.map(({ json }) => json.run_id)).size).toBe(1)
    expect(answers.every(({ status }) => status === 200 || status === 202)).toBe(true)
    const { rows } = await site.database.admin.query(
      `select count(*)::int as restores from public.backup_logs where run_id = $1 and backup_type = 'restore'`,
      [answers[0]?.json.run_id],
    )
    expect(rows).toEqual([{ restores: 1 }])
  })

  test('of a restore that failed gives its error again', async () => {
    const body = { backup_id: backup, dry_run: false, idempotency_key: 'busy' }
    const first = await site.database.worker.withConnection(async (session) => {
      await session.query(
        `select pg_advisory_lock(hashtextextended('tenantkeep.tenant:' || $1, 0))`,
        [alpha().id],
      )
      return call(restoreData, asOperator(body))
    })

    const second = await call(restoreData, asOperator(body))

    const told = ({ status, json }: typeof first) => ({
      ...{ status, code: json.error.code, details: json.error.details },
    })
    expect(told(second)).toEqual(told(first))
  })

  test('finds the run for whoever lost the line before the answer, and for nobody else', async () => {
    const started = await call(
      restoreData,
      await asOwner({ backup_id: backup, idempotency_key: 'lost line' }),
    )

    const found = await call(getRun, await asOwner({ idempotency_key: 'lost line' }))
    const others = await call(getRun, asOperator({ idempotency_key: 'lost line' }))
    const never = await call(getRun, await asOwner({ idempotency_key: 'never sent' }))

    expect(found.json.run).toMatchObject({
      ...{ run_id: started.json.run_id, kind: 'restore', status: 'complete', backup_id: backup },
    })
    for (const { status, json } of [others, never]) {
      expect([status, json.error.code]).toEqual([404, 'run_not_found'])
    }
  })

  test('for something else is refused', async () => {
    await call(restoreData, asOperator({ backup_id: backup, idempotency_key: 'mine' }))

    const other = await call(
      restoreData,
      asOperator({ backup_id: backup, newer: 'keep', idempotency_key: 'mine' }),
    )

    expect([other.status, other.json.error.code]).toEqual([400, 'invalid_request'])
  })
})

describe('with Accept: application/x-ndjson', () => {
  test('progress comes first, a line each, and the answer last', async () => {
    await damage()

    const { status, headers, lines } = await callLines(
      restoreData,
      asOperator({ backup_id: backup, dry_run: false }),
    )

    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('application/x-ndjson')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('x-request-id')).toEqual(expect.stringMatching(/\S/))
    expect(lines[0]).toEqual({ type: 'run', run_id: lines.at(-1)?.body.run_id })
    const phases = lines.slice(1, -1).map(({ type, phase }) => [type, phase])
    expect(phases.every(([type]) => type === 'progress')).toBe(true)
    expect(phases.map(([, phase]) => phase)).toEqual(
      expect.arrayContaining(['safety_backup', 'writing', 'proving']),
    )
    expect(lines.at(-1)).toMatchObject({
      ...{ type: 'result', status: 200 },
      body: { success: true, message: expect.stringMatching(/^Restore completed/) },
    })
  })

  test('what is refused before it began has its own status', async () => {
    const { status, lines } = await callLines(
      restoreData,
      await asOwner({ backup_id: randomUUID() }),
    )

    expect(status).toBe(404)
    expect(lines).toMatchObject([
      { type: 'result', status: 404, body: { error: { code: 'backup_not_found' } } },
    ])
  })

  test('a caller who hangs up cancels nothing, and finds the result in the run', async () => {
    await damage()
    const response = await restoreData(
      new Request('https://site.example/.netlify/functions/restore-tenant-data', {
        method: 'POST',
        headers: {
          accept: 'application/x-ndjson',
          authorization: `Bearer ${site.env.OPERATOR_SECRET}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify({ backup_id: backup, dry_run: false, note: 'hung up' }),
      }),
    )
    const reader = response.body?.getReader()
    await reader?.read()

    await reader?.cancel()

    const { json } = await call(getRun, await asOwner({ run_id: await runOfNote('hung up') }))
    expect(json.run).toMatchObject({
      ...{ status: 'complete', result: { success: true, restore_id: expect.any(String) } },
    })
  })

  /** Waits until it is settled. */
  async function runOfNote(note: string): Promise<string> {
    for (;;) {
      const { rows } = await site.database.admin.query<{ id: string; status: string }>(
        `select id, status from tenantkeep.runs where request -> 'task' ->> 'note' = $1`,
        [note],
      )
      const [run] = rows
      if (run !== undefined && run.status !== 'running') return run.id
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
})

describe('a restore that takes long', () => {
  /** Makes the backup look as if it held so many rows. */
  async function pretendRows(rows: number): Promise<void> {
    await site.database.admin.query(
      'update public.tenant_backups set total_records = $2 where id = $1',
      [backup, rows],
    )
  }

  test('is left to the background, where its owner can follow it', async () => {
    await damage()
    const { plan } = await dryRun()
    await pretendRows(2_000_000)
    const body = await asOwner({ backup_id: backup, dry_run: false, plan_hash: plan.hash })
    const started = await call(restoreData, body)
    const again = await call(restoreData, body)
    const waiting = await call(getRun, await asOwner({ run_id: started.json.run_id }))

    await call(runJobs, asOperator({}))

    await pretendRows(9)
    const done = await call(getRun, await asOwner({ run_id: started.json.run_id }))
    expect(started.status, JSON.stringify(started.json)).toBe(202)
    expect(started.json).toMatchObject({ success: true, run_id: expect.any(String) })
    expect([again.status, again.json.error.code]).toEqual([409, 'tenant_busy'])
    expect(waiting.json.run).toMatchObject({ status: 'running', progress: null, events: [] })
    expect(done.json.run).toMatchObject({
      ...{ status: 'complete', kind: 'restore', organization_id: alpha().id },
      result: { success: true, summary: { rows_inserted: 2, rows_updated: 1, rows_deleted: 3 } },
    })
    const events: { seq: number }[] = done.json.run.events
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, i) => i + 1))
    const later = await call(getRun, await asOwner({ run_id: started.json.run_id, after: 2 }))
    expect(later.json.run.events).toEqual(events.slice(2))
  })

  test('is not done again when it is delivered twice', async () => {
    await damage()
    await pretendRows(2_000_000)
    const started = await asBackedUp()
    await pretendRows(9)
    await call(runJobs, asOperator({}))
    await damage()
    const before = await photographTenant(site.database, alpha().id)
    // As if the process had died after its commit, before it could say so.
    await site.database.admin.query(
      `update tenantkeep.runs set status = 'running', finished_at = null, result = null where id = $1`,
      [started.json.run_id],
    )
    await site.database.admin.query(
      `update tenantkeep_jobs.job set state = 'created', completed_on = null, started_on = null
       where data ->> 'runId' = $1`,
      [started.json.run_id],
    )

    await call(runJobs, asOperator({}))

    await before.expectEqual()
    const { json } = await call(getRun, await asOwner({ run_id: started.json.run_id }))
    expect(json.run).toMatchObject({
      ...{ status: 'complete', result: { success: true, warnings: [{ code: 'answer_lost' }] } },
    })
    expect(json.run.result.summary).toMatchObject({ rows_inserted: 2, rows_deleted: 3 })
    await asBackedUp()
  })

  test('whose process died is failed, and says that nothing was changed', async () => {
    const { run_id } = await dryRun()
    await site.database.admin.query(
      `update tenantkeep.runs
       set status = 'running', finished_at = null, result = null, created_at = now() - interval '5 minutes'
       where id = $1`,
      [run_id],
    )

    const { json } = await call(getRun, await asOwner({ run_id }))

    expect(json.run).toMatchObject({ status: 'failed', error: { code: 'backup_cancelled' } })
  })

  test('that runs out of time is rolled back, and done by the background', async () => {
    await damage()
    const startedAt = new Date(Date.now() - 45_000)
    const run = await site.database.superuser.withConnection(async (session) => {
      await session.query('begin')
      await session.query('lock table public.notes in access exclusive mode')
      const started = await runRestore(getServices(readEnvironment()), {
        actor: { kind: 'operator', id: null, label: 'operator' },
        tenantId: alpha().id,
        tenantName: alpha().name,
        task: {
          ...{ kind: 'restore', backup_id: backup, file: null, options: DEFAULT_OPTIONS },
          ...{ dry_run: false, plan_hash: null, note: null, samples: 0 },
        },
        needsPlan: false,
        time: { startedAt, budgetMs: 50_000, wake: async () => {} },
      })
      await session.query('rollback')
      return started
    })

    await call(runJobs, asOperator({}))

    const { json } = await call(getRun, await asOwner({ run_id: run.runId }))
    expect(run.status).toBe('running')
    expect(json.run).toMatchObject({ status: 'complete', result: { success: true } })
  })

  test('for longer than a function lives is refused already when rehearsed', async () => {
    await pretendRows(200_000_000)

    const { status, json } = await call(restoreData, await asOwner({ backup_id: backup }))

    await pretendRows(9)
    expect({ status, code: json.error.code }).toEqual({ status: 409, code: 'restore_too_long' })
    expect(json.error.message).toContain(
      `npm run -s tenantkeep -- restore --tenant ${alpha().id} --backup ${backup}`,
    )
  })
})

test('rows that a rehearsal showed are forgotten after a day, its counts are not', async () => {
  await damage()
  const { run_id } = await dryRun({ samples: 2, missing: 'keep', changed: 'keep' })
  const told = async () => (await call(getRun, await asOwner({ run_id }))).json.run.result
  const before = await told()
  await site.database.admin.query(
    `update tenantkeep.runs set finished_at = now() - interval '25 hours' where id = $1`,
    [run_id],
  )

  await call(runJobs, asOperator({}))

  const after = await told()
  expect(before.tables.notes.samples).toHaveLength(2)
  expect(after.tables.notes.samples).toBeUndefined()
  expect(after.tables.notes).toMatchObject({ deleted: 3 })
  await asBackedUp()
})

test('a tenant that is gone altogether is brought back by an operator, access and all', async () => {
  const sound = await photographTenant(site.database, alpha().id)
  for (const table of ['notes', 'profiles']) {
    await site.database.admin.query(`delete from public.${table} where organization_id = $1`, [
      alpha().id,
    ])
  }
  await site.database.admin.query('delete from public.organizations where id = $1', [alpha().id])
  const body = { organization_id: alpha().id, backup_date: day }

  const owner = await call(restoreData, await asOwner(body))
  const rehearsed = await call(restoreData, asOperator(body))
  const refused = await call(restoreData, asOperator({ ...body, dry_run: false }))
  const done = await call(
    restoreData,
    asOperator({ ...body, dry_run: false, accept_access_changes: true }),
  )

  expect([owner.status, owner.json.error.code]).toEqual([404, 'tenant_not_found'])
  expect(rehearsed.json).toMatchObject({
    success: false,
    plan: {
      blockers: [{ code: 'access_changes', table: 'profiles' }],
      access_changes: [{ table: 'profiles', count: 3 }],
    },
  })
  expect([refused.status, refused.json.error.code]).toEqual([409, 'restore_blocked'])
  expect(refused.json.error.details.blockers).toEqual(rehearsed.json.plan.blockers)
  expect(done.status, JSON.stringify(done.json)).toBe(200)
  await sound.expectEqual()
})
