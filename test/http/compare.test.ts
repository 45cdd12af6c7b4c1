import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import compareBackups from '../../netlify/functions/compare-backups.ts'
import daily from '../../netlify/functions/daily-tenant-backup.ts'
import { call, createSite, type PersonName, ROW_CANARY, type Site } from '../support/site.ts'

let site: Site
/** Two backups of the first organization; between them a member became an editor. */
let first: string
let second: string
beforeAll(async () => {
  site = await createSite()
  site.setEnvironment()
  // What every row holds must be in no answer: here it is masked, so that it may differ.
  await site.database.admin.query(
    `update tenantkeep.tenant_tables set masked_columns = '{body}' where table_name = 'notes'`,
  )
  first = await take()
  await site.database.admin.query(
    `update public.profiles set role = 'editor'
     where role = 'member' and organization_id = '${site.organizations[0].id}'`,
  )
  second = await take()
  await site.database.admin.query(
    `update public.notes set body = body || ' changed' where organization_id = $1`,
    [site.organizations[0].id],
  )
})
afterAll(() => site.close())
beforeEach(() => site.setEnvironment())

async function take(): Promise<string> {
  const { json } = await call(daily, {
    token: site.env.OPERATOR_SECRET,
    body: { organization_id: site.organizations[0].id, idempotency_key: randomUUID() },
  })
  return json.backup_id
}

const asOwner = async (body: object) => ({ token: await site.tokenOf('owner'), body })

async function startAsOwner(body: object = { backup_id: first }) {
  const answer = await call(compareBackups, await asOwner(body))
  expect(answer.status, JSON.stringify(answer.json)).toBe(200)
  return answer.json
}

describe('a comparison', () => {
  test('with the live rows says per table how many rows differ', async () => {
    const json = await startAsOwner()

    expect(json).toMatchObject({
      success: true,
      status: 'complete',
      message: '6 rows differ in 2 tables.',
      is_equal: false,
      organization_id: site.organizations[0].id,
      backup: { backup_id: first },
      with: { backup_id: null },
      summary: { tables: 3, different_tables: 2, changed: 6, only_in_backup: 0, kept_rows: 6 },
    })
    expect(json.tables.find((table: { name: string }) => table.name === 'notes')).toMatchObject({
      rows_in_backup: 5,
      rows_in_other: 5,
      changed: 5,
      equal: 0,
    })
  })

  test('with another backup, by day and for one table', async () => {
    const [day] = new Date().toISOString().split('T')
    const newest = await startAsOwner({
      organization_id: site.organizations[0].id,
      backup_date: day,
      with: first,
      tables: ['profiles'],
    })
    const json = await startAsOwner({ backup_id: first, with: second })

    expect(newest.backup.backup_id).toBe(second)
    expect(newest.tables.map((table: { name: string }) => table.name)).toEqual(['profiles'])
    expect(json).toMatchObject({
      message: 'One row differs in one table.',
      with: { backup_id: second },
    })
  })

  test('of equal backups says so', async () => {
    const json = await startAsOwner({ backup_id: first, with: first })

    expect(json).toMatchObject({ is_equal: true, message: 'Every row is equal.' })
  })

  test('streams how far it is', async () => {
    const { token, body } = await asOwner({ backup_id: first })
    const response = await compareBackups(
      new Request('https://site.example/.netlify/functions/compare-backups', {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          accept: 'application/x-ndjson',
        },
        body: JSON.stringify(body),
      }),
    )

    const lines = (await response.text())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    // The run comes first, so that a reload finds it.
    expect(lines[0]).toMatchObject({
      type: 'progress',
      run_id: lines.at(-1).body.run_id,
      phase: 'locking',
    })
    expect(lines.at(-1)).toMatchObject({ type: 'result', status: 200, body: { success: true } })
  })
})

describe('its rows', () => {
  test('are paged, with what differs, and masked columns without values', async () => {
    const { run_id } = await startAsOwner()

    const all = await call(compareBackups, await asOwner({ run_id }))
    const pages = []
    let cursor: number | null = 0
    while (cursor !== null) {
      const { json }: Awaited<ReturnType<typeof call>> = await call(compareBackups, {
        method: 'GET',
        token: await site.tokenOf('owner'),
        query: { run_id, cursor: String(cursor), limit: '4' },
      })
      pages.push(...json.rows)
      cursor = json.next_cursor
    }
    const ofProfiles = await call(
      compareBackups,
      await asOwner({ run_id, table: 'profiles', kind: 'changed' }),
    )

    expect(all.status).toBe(200)
    expect(pages).toEqual(all.json.rows)
    expect(pages).toHaveLength(6)
    expect(ofProfiles.json.rows).toEqual([
      expect.objectContaining({
        table: 'profiles',
        kind: 'changed',
        times: 1,
        columns: [
          { name: 'role', before: 'member', after: 'editor', is_masked: false, is_cut: false },
        ],
      }),
    ])
    const notes = all.json.rows.filter((row: { table: string }) => row.table === 'notes')
    expect(notes[0].columns).toEqual([
      { name: 'body', before: null, after: null, is_masked: true, is_cut: false },
    ])
  })

  test('are searched by value, key and name, and masked values are not found', async () => {
    const json = await startAsOwner()
    const search = async (text: string, more: object = {}) => {
      const body = { run_id: json.run_id, search: text, ...more }
      return (await call(compareBackups, await asOwner(body))).json.rows
    }
    const [note] = await search('1', { table: 'notes' })

    expect(await search('EDITOR')).toEqual([expect.objectContaining({ table: 'profiles' })])
    expect(await search('editor', { table: 'notes' })).toEqual([])
    expect(note.key[0]).toContain('1')
    expect(await search('changed')).toEqual([])
    // Nothing stands for other characters.
    expect(await search('%')).toEqual([])
    expect(json.tables.find((table: { name: string }) => table.name === 'notes')).toMatchObject({
      is_by_key: true,
      key_columns: ['id'],
    })
  })

  test('are neither logged nor in an error', async () => {
    await site.database.admin.query(
      `update tenantkeep.tenant_tables set masked_columns = '{}' where table_name = 'notes'`,
    )
    const { run_id } = await startAsOwner()
    const { token, body } = await asOwner({ run_id, table: 'notes' })

    const response = await compareBackups(
      new Request('https://site.example/.netlify/functions/compare-backups', {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
    )

    await site.database.admin.query(
      `update tenantkeep.tenant_tables set masked_columns = '{body}' where table_name = 'notes'`,
    )
    // Only the answer to the owner has them; closing the site looks through every line of the log.
    expect(await response.text()).toContain(ROW_CANARY)
    expect(site.logLines.join('')).not.toContain(ROW_CANARY)
  })
})

type CallerName = PersonName | 'anonymous' | 'cron' | 'operator'

async function tokenOf(caller: CallerName): Promise<string | undefined> {
  if (caller === 'anonymous') return undefined
  if (caller === 'cron') return site.env.CRON_SECRET
  if (caller === 'operator') return site.env.OPERATOR_SECRET
  return site.tokenOf(caller)
}

const INSIDERS = { operator: 200, operatorUser: 200, owner: 200, admin: 200, member: 403 } as const
const STARTING: Record<CallerName, number> = {
  ...{ ...INSIDERS, anonymous: 401, cron: 403 },
  ...{ otherOwner: 404, ownerOfTwo: 404, stranger: 404 },
}
const PAGING: Record<CallerName, number> = { ...STARTING, stranger: 403 }

describe('who may compare', () => {
  test.each(Object.entries(STARTING) as [CallerName, number][])(
    'starting answers %s with %i',
    async (caller, status) => {
      const token = await tokenOf(caller)

      const answer = await call(compareBackups, {
        body: { organization_id: site.organizations[0].id, backup_id: first },
        ...(token === undefined ? {} : { token }),
      })

      expect(answer.status, JSON.stringify(answer.json)).toBe(status)
    },
  )

  test.each(Object.entries(PAGING) as [CallerName, number][])(
    'rows answer %s with %i',
    async (caller, status) => {
      const { run_id } = await startAsOwner()
      const token = await tokenOf(caller)

      const answer = await call(compareBackups, {
        body: { run_id },
        ...(token === undefined ? {} : { token }),
      })

      expect(answer.status, JSON.stringify(answer.json)).toBe(status)
      expect(answer.json.rows === undefined).toBe(status !== 200)
    },
  )

  test("another organization's backup is not found, named or on the other side", async () => {
    const token = await site.tokenOf('otherOwner')
    const [alpha, beta] = site.organizations
    const { json } = await call(daily, { token, body: { organization_id: beta.id } })

    const answers = await Promise.all(
      [
        { organization_id: beta.id, backup_id: first },
        { backup_id: json.backup_id, with: first },
        { backup_id: first, with: json.backup_id },
        { organization_id: alpha.id, backup_id: json.backup_id },
      ].map((body) => call(compareBackups, { token, body })),
    )

    expect(answers.map((answer) => answer.json.error.code)).toEqual([
      ...['backup_not_found', 'backup_not_found', 'backup_not_found', 'tenant_not_found'],
    ])
  })

  test('a comparison that is not yours is like one that does not exist', async () => {
    const { run_id } = await startAsOwner()
    const token = await site.tokenOf('otherOwner')

    const [other, none] = await Promise.all(
      [run_id, randomUUID()].map((id) => call(compareBackups, { token, body: { run_id: id } })),
    )

    expect(other?.json.error.message).toBe(none?.json.error.message)
    expect(other?.json.error.code).toBe('run_not_found')
  })
})

test.each([
  ['nothing that says which backup', {}, 'invalid_request'],
  ['a page without a run', { backup_id: randomUUID(), cursor: 3 }, 'invalid_request'],
  ['a run and a backup', { run_id: randomUUID(), backup_id: randomUUID() }, 'invalid_request'],
  ['a backup that is none', { backup_id: randomUUID() }, 'backup_not_found'],
])('%s is refused', async (_, body, code) => {
  const answer = await call(compareBackups, await asOwner(body))

  expect(answer.json.error.code).toBe(code)
})

test('a table that neither side has is refused by its name', async () => {
  const answer = await call(
    compareBackups,
    await asOwner({ backup_id: first, tables: ['nothing'] }),
  )

  expect(answer.status).toBe(400)
  expect(answer.json.error.message).toContain('nothing')
})
