import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getRun from '../../netlify/functions/get-run.ts'
import listBackups from '../../netlify/functions/list-backups.ts'
import runJobs from '../../netlify/functions/run-jobs-background.ts'
import updateBackup from '../../netlify/functions/update-backup.ts'
import { call, createSite, type Site } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await createSite()
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

const asOwner = async (body: object = {}) => ({ token: await site.tokenOf('owner'), body })
const asOperator = (body: object) => ({ token: site.env.OPERATOR_SECRET, body })

/** Makes the backups of the first organization look as if they had taken so long. */
async function pretendLastTook(seconds: number): Promise<void> {
  await site.database.admin.query(
    `update public.tenant_backups set created_at = completed_at - make_interval(secs => $1)
     where organization_id = $2 and status = 'complete'`,
    [seconds, site.organizations[0].id],
  )
}

describe('a manual backup', () => {
  test('is of that organization only, with note, name, tags and who asked for it', async () => {
    const answer = await call(
      daily,
      await asOwner({
        organization_id: site.organizations[0].id.toUpperCase(),
        note: 'before the move',
        name: 'Move',
        tags: ['move', '2026'],
      }),
    )

    expect(answer.status).toBe(200)
    expect(answer.json).toMatchObject({
      success: true,
      summary: { total_tenants: 1, successful_tenants: 1, total_records: 9 },
    })
    const { json } = await call(listBackups, await asOwner())
    expect(json.backups).toHaveLength(1)
    expect(json.backups[0]).toMatchObject({
      backup_id: answer.json.backup_id,
      organization_id: site.organizations[0].id,
      organization_name: 'Alpha Gases',
      backup_type: 'manual',
      status: 'complete',
      note: 'before the move',
      name: 'Move',
      tags: ['move', '2026'],
      actor: { kind: 'user', label: 'owner@example.com' },
    })
  })

  test('may be taken as often as one likes', async () => {
    const answers = [await call(daily, await asOwner()), await call(daily, await asOwner())]

    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    expect(answers[0]?.json.backup_id).not.toBe(answers[1]?.json.backup_id)
  })

  test('asked for twice with the same key is taken once', async () => {
    const body = { idempotency_key: 'button-17' }

    const [first, second] = [
      await call(daily, await asOwner(body)),
      await call(daily, await asOwner(body)),
    ]

    expect(second?.json).toEqual(first?.json)
    expect(second?.status).toBe(200)
  })

  test('with the key of somebody else is another backup', async () => {
    const first = await call(daily, await asOwner({ idempotency_key: 'button-18' }))
    const second = await call(daily, {
      token: await site.tokenOf('admin'),
      body: { idempotency_key: 'button-18' },
    })

    expect(second.json.run_id).not.toBe(first.json.run_id)
  })

  test('is refused while the organization is being restored, and leaves no job behind', async () => {
    const answer = await site.database.worker.withConnection(async (session) => {
      await session.query(
        `select pg_advisory_lock(hashtextextended('tenantkeep.tenant:' || $1, 0))`,
        [site.organizations[0].id],
      )
      return call(daily, await asOwner())
    })

    expect({ status: answer.status, code: answer.json.error.code }).toEqual({
      status: 409,
      code: 'tenant_busy',
    })
    const { rows } = await site.database.admin.query(
      `select (select count(*) from tenantkeep_jobs.job where state <= 'active')::int as jobs,
              (select count(*) from tenantkeep.runs where status = 'running')::int as runs`,
    )
    expect(rows).toEqual([{ jobs: 0, runs: 0 }])
  })

  test('asked for twice at the same time is taken once; the other is told to wait', async () => {
    const answers = await Promise.all([call(daily, await asOwner()), call(daily, await asOwner())])

    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
  })

  test('that takes long is left to the background, where its owner can follow it', async () => {
    await pretendLastTook(90)
    const started = await call(daily, await asOwner({ note: 'the long one' }))
    const waiting = await call(getRun, await asOwner({ run_id: started.json.run_id }))

    await call(runJobs, asOperator({}))
    await pretendLastTook(1)

    const done = await call(getRun, await asOwner({ run_id: started.json.run_id }))
    expect(started.status).toBe(202)
    expect(started.json.summary.pending_tenants).toBe(1)
    expect(waiting.json.run.status).toBe('running')
    expect(done.json.run.status).toBe('complete')
    expect(done.json.run.progress).toMatchObject({ phase: 'finishing' })
    const { json } = await call(listBackups, await asOwner({ limit: 1 }))
    expect(json.backups[0]).toMatchObject({ note: 'the long one', run_id: started.json.run_id })
    expect(json.next_cursor).not.toBeNull()
  })

  test('that failed says why, and leaves no job behind', async () => {
    await site.database.admin.query(
      `create policy hides on public.notes as restrictive for select to public using (false)`,
    )

    const answer = await call(daily, await asOwner())

    await site.database.admin.query('drop policy hides on public.notes')
    expect(answer.status).toBe(500)
    expect(answer.json.error.code).toMatch(/rows_hidden|registry_changed/)
    const { rows } = await site.database.admin.query(
      `select count(*)::int as jobs from tenantkeep_jobs.job where state <= 'active'`,
    )
    expect(rows).toEqual([{ jobs: 0 }])
  })
})

describe('what people say about a backup', () => {
  const newest = async () =>
    (await call(listBackups, await asOwner({ limit: 1, status: 'complete' }))).json.backups[0]
  const change = async (body: object) =>
    call(updateBackup, await asOwner({ backup_id: (await newest()).backup_id, ...body }))

  test('is changed field by field', async () => {
    await change({ note: 'a note', tags: ['one'] })

    const { status, json } = await change({ name: 'a name', tags: [] })

    expect(status).toBe(200)
    expect(json.backup).toMatchObject({ name: 'a name', note: 'a note', tags: [] })
  })

  test('an owner pins and lifts the pin again', async () => {
    const pinned = await change({ pin: { reason: 'tax audit' } })
    const lifted = await change({ pin: null })

    expect(pinned.json.backup).toMatchObject({
      pin_reason: 'tax audit',
      pinned_by: 'owner@example.com',
    })
    expect(lifted.json.backup.pinned_at).toBeNull()
  })

  test("an operator's pin stays until an operator lifts it", async () => {
    const { backup_id } = await newest()
    await call(updateBackup, asOperator({ backup_id, pin: { reason: 'legal hold' } }))

    const refused = [await change({ pin: null }), await change({ pin: { reason: 'mine' } })]

    expect(refused.map(({ json }) => json.error.code)).toEqual(['not_allowed', 'not_allowed'])
    const held = await newest()
    expect(held).toMatchObject({ pin_reason: 'legal hold', pinned_by_kind: 'operator' })
    expect(held.keep.reasons).toContainEqual({
      code: 'hold',
      message: 'operator holds it: legal hold',
      until: null,
    })
    expect((await change({ note: 'a note is fine' })).status).toBe(200)
    const lifted = await call(updateBackup, asOperator({ backup_id, pin: null }))
    expect(lifted.json.backup.pin_reason).toBeNull()
  })

  test('a list of some backups says how long each is kept, one of all tenants does not', async () => {
    const { backup_id, created_at } = await newest()
    await site.database.admin.query(
      `insert into tenantkeep.backup_copies (backup_id, store_url, status, objects, bytes, copied_at)
       values ($1, 's3://elsewhere', 'complete', 1, 1, now())`,
      [backup_id],
    )
    const [chosen, others, all] = await Promise.all([
      call(listBackups, await asOwner({ backup_ids: [backup_id] })),
      call(listBackups, await asOwner({ backup_ids: [crypto.randomUUID()] })),
      call(listBackups, asOperator({ backup_ids: [backup_id] })),
    ])

    expect(chosen.json.backups).toHaveLength(1)
    const { is_kept, reasons } = chosen.json.backups[0].keep
    expect(is_kept).toBe(true)
    expect(reasons).toContainEqual({
      code: 'within_days',
      message: 'It is younger than 30 days.',
      until: new Date(Date.parse(created_at) + 30 * 86_400_000).toISOString(),
    })
    expect(others.json.backups).toEqual([])
    expect(all.json.backups).toMatchObject([{ backup_id, keep: null, is_copied: true }])
  })

  test('a list is filtered by state, kind and day', async () => {
    const [failed, daily_, today] = await Promise.all([
      call(listBackups, await asOwner({ status: 'failed' })),
      call(listBackups, await asOwner({ backup_type: ['daily_tenant'] })),
      call(listBackups, await asOwner({ from_date: '2020-01-01', to_date: '2020-01-02' })),
    ])

    expect(failed.json.backups.map((row: { status: string }) => row.status)).toEqual(['failed'])
    expect(daily_.json.backups).toEqual([])
    expect(today.json.backups).toEqual([])
  })

  test('pages follow each other without gap or repetition', async () => {
    const all = await call(listBackups, await asOwner({ limit: 500 }))
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const { json }: Awaited<ReturnType<typeof call>> = await call(
        listBackups,
        await asOwner({ limit: 2, ...(cursor === null ? {} : { cursor }) }),
      )
      seen.push(...json.backups.map((row: { backup_id: string }) => row.backup_id))
      cursor = json.next_cursor
    } while (cursor !== null)

    expect(seen).toEqual(all.json.backups.map((row: { backup_id: string }) => row.backup_id))
    expect(seen.length).toBeGreaterThan(5)
  })
})
