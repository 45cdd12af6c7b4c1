import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getRun from '../../netlify/functions/get-run.ts'
import { call, createSite, type Site } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await createSite()
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

async function readBackups() {
  const { rows } = await site.database.admin.query<{
    tenant: string
    type: string
    status: string
  }>(`select organization_id as tenant, backup_type as type, status from public.tenant_backups`)
  return rows
}

describe('the daily call', () => {
  test('backs up every tenant once, however many calls come at the same time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 3 }, () => call(daily, { token: site.env.CRON_SECRET })),
    )

    for (const { status, json } of answers) {
      expect(status).toBe(200)
      expect(json).toMatchObject({
        success: true,
        message: 'Daily tenant backup completed successfully',
        summary: {
          total_tenants: 3,
          successful_tenants: 3,
          failed_tenants: 0,
          pending_tenants: 0,
          skipped_tenants: 0,
        },
        tenants_failed: [],
      })
      expect(json.summary.total_records).toBe(3 * 6 + 6)
      expect(json.summary.total_size).toMatch(/^\d+\.\d\d MB$/)
    }
    const backups = await readBackups()
    expect(backups.map(({ tenant }) => tenant).sort()).toEqual(
      site.organizations.map(({ id }) => id).sort(),
    )
    expect(new Set(backups.map(({ status }) => status))).toEqual(new Set(['complete']))
  })

  test('does nothing twice on one day, and says so', async () => {
    const before = await readBackups()

    const { status, json } = await call(daily, { token: site.env.CRON_SECRET })

    expect(status).toBe(200)
    expect(json.summary).toMatchObject({ successful_tenants: 3, already_complete: 3 })
    expect(await readBackups()).toEqual(before)
  })

  test('closes its run and its journal row', async () => {
    const { json } = await call(daily, { token: site.env.CRON_SECRET })

    const answer = await call(getRun, {
      method: 'GET',
      token: site.env.OPERATOR_SECRET,
      query: { run_id: json.run_id },
    })
    expect(answer.json.run).toMatchObject({ status: 'complete', kind: 'daily_tenant' })
    expect(answer.json.run.tenants).toHaveLength(3)
    const { rows } = await site.database.admin.query(
      `select status, error_code from public.backup_logs where run_id = $1 and backup_type = 'run'`,
      [json.run_id],
    )
    expect(rows).toEqual([{ status: 'complete', error_code: null }])
  })
})
