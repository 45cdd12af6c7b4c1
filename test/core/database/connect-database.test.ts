import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectDatabase } from '../../../src/core/database/connect-database.ts'
import type { Connection, Database } from '../../../src/core/database/database.ts'
import { hasSqlstate, sqlstateOf } from '../../../src/core/database/sqlstates.ts'
import { findFreePort } from '../../../src/local/free-port.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

let testDatabase: TestDatabase
let database: Database

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = connectDatabase({ url: testDatabase.adminUrl, dataSessions: 2 })
  await database.query('create table public.things (id int primary key, name text)')
  await database.query(
    "insert into public.things select i, 'thing ' || i from generate_series(1, 20000) i",
  )
  await database.query('create table public.guarded (id int)')
  await database.query('alter table public.guarded enable row level security')
  await database.query('alter table public.guarded force row level security')
  await database.query(
    "create role contract_test login password 'secret-of-test'; grant insert on public.guarded to contract_test",
  )
})

afterAll(async () => {
  await database.close()
  await testDatabase.superuser.query('drop owned by contract_test; drop role contract_test')
  await testDatabase.drop()
})

const backendOf = async (connection: Connection) =>
  (await connection.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid ?? 0

const kill = (pid: number) =>
  testDatabase.superuser.query('select pg_terminate_backend($1::int)', [pid])

async function* lines(count: number, before: (i: number) => Promise<void> = async () => {}) {
  for (let i = 1; i <= count; i += 1) {
    await before(i)
    yield `${i}\tthing ${i} ${'x'.repeat(200)}\n`
  }
}

describe('copy', () => {
  test('reports a refused copy from stdin, and the session can be used on', async () => {
    const url = new URL(testDatabase.adminUrl)
    url.username = 'contract_test'
    url.password = 'secret-of-test'
    const guarded = connectDatabase({ url: url.href })

    const answer = await guarded.withConnection(async (connection) => {
      const error: unknown = await pipeline(
        Readable.from(['1\n']),
        connection.copyIn('copy public.guarded from stdin'),
      ).catch((caught: unknown) => caught)
      return { error, after: await connection.query<{ one: number }>('select 1 as one') }
    })

    await guarded.close()
    expect(sqlstateOf(answer.error)).toBe('0A000')
    expect(answer.after.rows).toEqual([{ one: 1 }])
  })

  test('answers the next query after a slow reader has read everything', async () => {
    const answer = await database.withConnection(async (connection) => {
      let bytes = 0
      for await (const chunk of connection.copyOut(
        'copy (select * from public.things) to stdout',
      )) {
        bytes += (chunk as Buffer).length
        await pause(5)
      }
      const { rows } = await connection.query<{ count: string }>(
        'select count(*) from public.things',
      )
      return { bytes, count: rows[0]?.count }
    })

    expect(answer).toEqual({ bytes: 337788, count: '20000' })
  })

  test('brings 20,000 rows to a slow server side and back, with a matching count', async () => {
    const count = await database.withConnection(async (connection) => {
      await connection.query('create temp table landed (id int, name text)')
      await pipeline(
        Readable.from(lines(20_000)),
        connection.copyIn('copy pg_temp.landed from stdin'),
      )
      return (await connection.query<{ count: string }>('select count(*) from pg_temp.landed')).rows
    })

    expect(count).toEqual([{ count: '20000' }])
  })

  test.each(['out', 'in'])(
    'fails when the server ends the session in the middle of a copy %s',
    async (way) => {
      const lost = database.withConnection(async (connection) => {
        const pid = await backendOf(connection)
        if (way === 'out') {
          const source = connection.copyOut(
            "copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout",
          )
          let isFirst = true
          for await (const _chunk of source) {
            if (isFirst) await kill(pid)
            isFirst = false
            await pause(1)
          }
        } else {
          await connection.query('create temp table landed (id int, name text)')
          await pipeline(
            Readable.from(lines(200_000, async (i) => void (i === 1_000 && (await kill(pid))))),
            connection.copyIn('copy pg_temp.landed from stdin'),
          )
        }
      })

      await expect(lost).rejects.toMatchObject({ code: 'database_unavailable' })
      expect((await database.query('select 1')).rowCount).toBe(1)
    },
  )

  test('fails when a statement in a copy runs out of time while nobody reads', async () => {
    const late = database.withConnection(async (connection) => {
      await connection.query("set statement_timeout = '200ms'")
      const source = connection.copyOut(
        "copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout",
      )
      for await (const _chunk of source) await pause(100)
    })

    await expect(late).rejects.toSatisfy((error) => hasSqlstate(error, 'queryCanceled'))
  })

  test('passes the error of a source on, and writes nothing', async () => {
    const failed = database.withConnection(async (connection) => {
      await pipeline(
        Readable.from(
          lines(3_000, async (i) => {
            if (i === 2_000) throw new Error('the source broke')
          }),
        ),
        connection.copyIn('copy public.things from stdin'),
      )
    })

    await expect(failed).rejects.toThrow('the source broke')
    const { rows } = await database.query('select count(*) from public.things')
    expect(rows).toEqual([{ count: '20000' }])
  })

  test('ends the session of a copy that its reader gave up', async () => {
    const pids = await database
      .withConnection(async (connection) => {
        const pid = await backendOf(connection)
        const source = connection.copyOut(
          "copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout",
        )
        for await (const _chunk of source) break
        return pid
      })
      .catch((error: unknown) => error)

    expect(pids).toMatchObject({ code: 'internal' })
    expect((await database.withConnection((it) => it.query('select 1'))).rowCount).toBe(1)
  })

  test('refuses a statement while a copy is under way', async () => {
    const mixed = database.withConnection(async (connection) => {
      connection.copyOut('copy (select * from public.things) to stdout')
      await connection.query('select 1')
    })

    await expect(mixed).rejects.toMatchObject({ code: 'internal' })
  })

  test('gives bytes exactly as the server sent them', async () => {
    const bytes = await database.withConnection((connection) =>
      buffer(connection.copyOut("copy (select 'Grüße', null, 7) to stdout")),
    )

    expect(bytes.toString()).toBe('Grüße\t\\N\t7\n')
  })
})

describe('lent sessions', () => {
  test('are pinned, with pg_catalog before the path of the database', async () => {
    await testDatabase.admin.query(
      `alter database ${testDatabase.name} set search_path = public, auth;
       alter database ${testDatabase.name} set datestyle = 'German';
       alter database ${testDatabase.name} set array_nulls = off;
       alter database ${testDatabase.name} set statement_timeout = '5s'`,
    )
    const fresh = connectDatabase({ url: testDatabase.adminUrl })

    const settings = await fresh.withConnection(async (connection) => {
      const { rows } = await connection.query(
        `select current_setting('search_path') as path, current_setting('DateStyle') as dates,
                current_setting('array_nulls') as nulls, current_setting('statement_timeout') as time`,
      )
      return rows[0]
    })

    await fresh.close()
    expect(settings).toEqual({
      path: 'pg_catalog, public, auth',
      dates: 'ISO, MDY',
      nulls: 'on',
      time: '0',
    })
  })

  test('are over, locks and all, when work that failed says so', async () => {
    const isHeld: (string | undefined)[] = []
    for (let turn = 0; turn < 30; turn += 1) {
      const failed = database.withConnection(async (connection) => {
        await connection.query('select pg_advisory_lock(4712)')
        await connection.query('create temp table many as select from generate_series(1, 1000)')
        throw new Error('Failed.')
      })
      await expect(failed).rejects.toThrow('Failed.')
      const { rows } = await database.query<{ held: string }>(
        "select count(*)::text as held from pg_locks where locktype = 'advisory' and objid = 4712",
      )
      isHeld.push(rows[0]?.held)
    }

    expect(new Set(isHeld)).toEqual(new Set(['0']))
  })

  test('start without the temp objects, role and session locks of the last borrower', async () => {
    const single = connectDatabase({ url: testDatabase.adminUrl, dataSessions: 1 })
    const first = await single.withConnection(async (connection) => {
      await connection.query('create temp table left_behind (id int)')
      await connection.query('select pg_advisory_lock(4711)')
      await connection.query('set role tenantkeep_operator')
      return backendOf(connection)
    })

    const second = await single.withConnection(async (connection) => {
      const { rows } = await connection.query(
        `select pg_backend_pid() as pid, to_regclass('pg_temp.left_behind') as leftover, current_user as who,
                (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks`,
      )
      return rows[0]
    })

    await single.close()
    expect(second).toEqual({ pid: first, leftover: null, who: 'postgres', locks: '0' })
  })

  test('are thrown away after an error, and rolled back when left inside a transaction', async () => {
    const single = connectDatabase({ url: testDatabase.adminUrl, dataSessions: 1 })
    const pids: number[] = []
    const failing = single.withConnection(async (connection) => {
      pids.push(await backendOf(connection))
      await connection.query('select 1 / 0')
    })
    await expect(failing).rejects.toSatisfy((error) => sqlstateOf(error) === '22012')
    const open = single.withConnection(async (connection) => {
      pids.push(await backendOf(connection))
      await connection.query('begin; delete from public.things')
    })
    await expect(open).rejects.toMatchObject({ code: 'internal' })
    await single.withConnection(async (connection) => pids.push(await backendOf(connection)))

    const { rows } = await single.query('select count(*) from public.things')
    await single.close()
    expect(new Set(pids).size).toBe(3)
    expect(rows).toEqual([{ count: '20000' }])
  })

  test('wait for each other instead of opening more than allowed', async () => {
    let open = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 6 }, () =>
        database.withConnection(async (connection) => {
          open += 1
          most = Math.max(most, open)
          await connection.query('select pg_sleep(0.05)')
          open -= 1
        }),
      ),
    )

    expect(most).toBe(2)
  })

  test('that died while idle are replaced without an error', async () => {
    const single = connectDatabase({ url: testDatabase.adminUrl, dataSessions: 1 })
    await kill(await single.withConnection(backendOf))
    await pause(50)

    const alive = await single.withConnection((connection) => connection.query('select 1'))

    await single.close()
    expect(alive.rowCount).toBe(1)
  })
})

describe('values', () => {
  test('stay text where JavaScript would lose something', async () => {
    const { rows } = await database.query(
      `select 9007199254740993::int8 as big, 1.10::numeric as amount, 'infinity'::timestamptz as at,
              '2026-01-02 03:04:05.123456+00'::timestamptz as micro, 7::int4 as small, true as yes,
              '{"a":1}'::jsonb as doc, array['a','b'] as words, null::text as nothing`,
    )

    expect(rows).toEqual([
      {
        big: '9007199254740993',
        amount: '1.10',
        at: 'infinity',
        micro: '2026-01-02 03:04:05.123456+00',
        small: 7,
        yes: true,
        doc: { a: 1 },
        words: ['a', 'b'],
        nothing: null,
      },
    ])
  })
})

describe('a database that can not be used', () => {
  const messageOf = async (url: string): Promise<string> => {
    const unusable = connectDatabase({ url })
    const error: unknown = await unusable.query('select 1').catch((caught: unknown) => caught)
    await unusable.close()
    expect(error).toMatchObject({ code: 'database_unavailable' })
    return error instanceof Error ? error.message : ''
  }

  test('is reported with host and port when nothing listens there', async () => {
    const port = await findFreePort()

    const message = await messageOf(`postgres://someone:hunter2@127.0.0.1:${port}/app`)

    expect(message).toContain(`127.0.0.1:${port}/app as someone`)
    expect(message).toContain('ECONNREFUSED')
    expect(message).not.toContain('hunter2')
  })

  test('is reported when it refuses the login, without the password', async () => {
    const url = new URL(testDatabase.adminUrl)
    url.password = 'hunter2'

    const message = await messageOf(url.href)

    expect(message).toContain('refused the login (28P01)')
    expect(message).not.toContain('hunter2')
  })

  test('is reported when there is no database of that name', async () => {
    const url = new URL(testDatabase.adminUrl)
    url.pathname = '/nowhere'

    expect(await messageOf(url.href)).toContain('no such database (3D000)')
  })

  test('is reported when a session ends while it works, and the next works again', async () => {
    const ended = database.withConnection(async (connection) => {
      const pid = await backendOf(connection)
      await Promise.all([connection.query('select pg_sleep(30)'), kill(pid)])
    })

    await expect(ended).rejects.toMatchObject({ code: 'database_unavailable' })
    expect((await database.query('select 1')).rowCount).toBe(1)
  })

  test('is refused at once when the URL is none, without showing it', () => {
    expect(() => connectDatabase({ url: 'postgres//user:hunter2@host' })).toThrow(
      expect.objectContaining({
        code: 'not_configured',
        message: expect.not.stringContaining('hunter2'),
      }),
    )
  })
})
