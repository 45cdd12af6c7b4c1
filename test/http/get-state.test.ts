import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import getState from '../../netlify/functions/get-state.ts'
import { call, createSite, type Site } from '../support/site.ts'

let site: Site
beforeAll(async () => {
  site = await createSite()
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

async function readState(tenant = 0) {
  const { status, json } = await call(getState, {
    token: site.env.OPERATOR_SECRET,
    body: { organization_id: site.organizations[tenant]?.id },
  })
  expect(status, JSON.stringify(json)).toBe(200)
  return json
}

async function take(tenant = 0): Promise<string> {
  const { json } = await call(daily, {
    token: site.env.OPERATOR_SECRET,
    body: { organization_id: site.organizations[tenant]?.id, idempotency_key: randomUUID() },
  })
  return json.backup_id
}

describe('the state of a tenant', () => {
  test('goes from none to verified with its first backup', async () => {
    expect(await readState()).toMatchObject({
      organization: { id: site.organizations[0].id, name: 'Alpha Gases' },
      viewer: { is_operator: true, label: 'operator' },
      state: { code: 'none', reason: null, since: null },
      newest_backup: null,
      newest_attempt: null,
      next_expected_at: null,
      last_proven_restore_at: null,
      running: null,
      last_restore: null,
    })

    const backup = await take()

    const state = await readState()
    expect(state.state.code).toBe('verified')
    expect(state.newest_backup.backup_id).toBe(backup)
    expect(state.newest_attempt.backup_id).toBe(backup)
    expect(state.next_expected_at).toBeNull()
    expect(state.tables).toContainEqual({ name: 'notes', class: 'direct', is_history: false })
    expect(state.days).toHaveLength(30)
    expect(state.days.at(-1)).toMatchObject({ complete: 1, failed: 0, missed_at: null })
  })
})
