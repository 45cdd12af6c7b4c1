import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@supabase/supabase-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Connection } from '../../src/core/database/database.ts'
import { startSupabaseApi } from '../../src/local/supabase-api.ts'
import { createDemoLogins } from '../../supabase/demo/create-demo-users.ts'
import {
  DEMO_TENANTS,
  type DemoPerson,
  type DemoRole,
  listDemoPeople,
} from '../../supabase/demo/demo-tenants.ts'
import { DEMO_TABLES } from '../../supabase/demo/plan-rows.ts'
import { createDemoDatabase } from './create-demo-database.ts'

const FOR_ADMINS = ['audit_logs', 'user_invites', 'organization_join_codes']

let demo: Awaited<ReturnType<typeof createDemoDatabase>>
beforeAll(async () => {
  demo = await createDemoDatabase({ rows: 300 })
})
afterAll(() => demo?.drop())

describe('signed in', () => {
  test('a member sees every row of the own organization, own notifications only, and nothing of those who run it', async () => {
    const seen = await countSeen(personOf(2, 'member'))

    const own = countsOf(2)
    for (const table of DEMO_TABLES) {
      if (FOR_ADMINS.includes(table)) expect.soft(seen[table], table).toBe(0)
      else if (table === 'notifications') expect.soft(seen[table]).toBeLessThan(own[table] ?? 0)
      else expect.soft(seen[table], table).toBe(own[table])
    }
  })

  test.each(['owner', 'admin'] as const)(
    'the %s sees the log and the ways in as well',
    async (role) => {
      const seen = await countSeen(personOf(3, role))

      const own = countsOf(3)
      for (const table of FOR_ADMINS) expect.soft(seen[table], table).toBe(own[table])
    },
  )

  test('a member can add rows to the own organization only', async () => {
    const add = (tenantNumber: number) =>
      actAs(personOf(1, 'member'), (session) =>
        session.query('insert into public.locations (organization_id, name) values ($1, $2)', [
          DEMO_TENANTS[tenantNumber - 1]?.id,
          'New yard',
        ]),
      )

    await expect(add(1)).resolves.toMatchObject({ rowCount: 1 })
    await expect(add(2)).rejects.toMatchObject({ code: '42501' })
  })

  test("a member can't rise to owner, nor move to another organization", async () => {
    const change = (sql: string) =>
      actAs(personOf(1, 'member'), (session) => session.query(`update public.profiles set ${sql}`))

    await expect(change("role = 'owner'")).rejects.toMatchObject({ code: '42501' })
    await expect(change(`organization_id = '${DEMO_TENANTS[1]?.id}'`)).rejects.toMatchObject({
      code: '42501',
    })
    await expect(change("full_name = 'New Name'")).resolves.toMatchObject({ rowCount: 1 })
  })

  test('the log names who made a change', async () => {
    const person = personOf(1, 'member')
    const { rows } = await actAs(person, async (session) => {
      await session.query(
        "update public.customers set notes = 'seen' where customer_number = 'C-000001'",
      )
      await session.query('reset role')
      return session.query('select actor_id from public.audit_logs order by id desc limit 1')
    })

    expect(rows).toEqual([{ actor_id: person.id }])
  })

  test('who belongs to no organization sees nothing', async () => {
    const seen = await countSeen({ id: 'c0000000-0000-4000-8000-000000000001' })

    expect(Object.values(seen).every((rows) => rows === 0)).toBe(true)
  })
})

test.each(DEMO_TABLES)('nobody signed out may read %s', async (table) => {
  const read = demo.admin.withConnection(async (session) => {
    await session.query('set role anon')
    return session.query(`select from public."${table}"`)
  })

  await expect(read).rejects.toMatchObject({ code: '42501' })
})

test('the people of the demonstration sign in through the real API and see their own tenant', async () => {
  const passwordOf = (person: DemoPerson) => `secret of ${person.email}`
  await demo.superuser.withConnection((session) =>
    createDemoLogins(session, listDemoPeople(), passwordOf),
  )
  const storageFolder = await mkdtemp(join(tmpdir(), 'tenantkeep-demo-'))
  const keys = {
    publishable: 'sb_publishable_test',
    secret: 'sb_secret_test',
    jwtSecret: 'a secret of thirty-two characters',
  }
  const api = await startSupabaseApi({
    databaseUrl: demo.superuserUrl,
    storageFolder,
    keys,
    port: 0,
  })
  try {
    for (const person of listDemoPeople()) {
      const client = createClient(api.url, keys.publishable, { auth: { persistSession: false } })
      const { data, error } = await client.auth.signInWithPassword({
        email: person.email,
        password: passwordOf(person),
      })
      const tenants = await client.from('organizations').select('id, name')

      expect.soft(error, person.email).toBeNull()
      expect.soft(data.user?.id, person.email).toBe(person.id)
      expect
        .soft(tenants.data, person.email)
        .toEqual([{ id: person.tenantId, name: person.tenantName }])
    }
    const stranger = createClient(api.url, keys.publishable, { auth: { persistSession: false } })
    const wrong = await stranger.auth.signInWithPassword({
      email: personOf(1, 'owner').email,
      password: 'wrong',
    })
    expect(wrong.error?.code).toBe('invalid_credentials')
  } finally {
    await api.stop()
    await rm(storageFolder, { recursive: true })
  }
})

function countsOf(tenantNumber: number): Record<string, number> {
  return { ...demo.report.tenants[tenantNumber - 1]?.tables }
}

function personOf(tenantNumber: number, role: DemoRole): DemoPerson {
  const tenantId = DEMO_TENANTS[tenantNumber - 1]?.id
  const person = listDemoPeople().find((one) => one.tenantId === tenantId && one.role === role)
  if (person === undefined) throw new Error('There is no such person.')
  return person
}

/** Runs statements as the API would for a signed-in person, and takes their effect back. */
function actAs<T>({ id }: { id: string }, act: (session: Connection) => Promise<T>): Promise<T> {
  return demo.admin.withConnection(async (session) => {
    await session.query('begin')
    try {
      await session.query("select set_config('request.jwt.claims', $1, true)", [
        JSON.stringify({ sub: id, role: 'authenticated' }),
      ])
      await session.query('set local role authenticated')
      return await act(session)
    } finally {
      await session.query('rollback')
    }
  })
}

async function countSeen(person: { id: string }): Promise<Record<string, number>> {
  const { rows } = await actAs(person, (session) =>
    session.query<{ table: string; rows: number }>(
      DEMO_TABLES.map(
        (table) => `select '${table}' as table, count(*)::integer as rows from public."${table}"`,
      ).join(' union all '),
    ),
  )
  return Object.fromEntries(rows.map(({ table, rows }) => [table, rows]))
}
