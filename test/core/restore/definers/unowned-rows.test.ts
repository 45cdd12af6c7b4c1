import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { initialiseProtection } from '../../../../src/core/tables/initialise-protection.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/database.ts'
import { ALPHA, BETA, installSmallHost } from '../../../support/small-host.ts'
import { type Staging, staged, withStaging } from './staging.ts'

// Tables whose rows outlive their owner: tied by plain ids, by type and id, backwards, or by a tenant's id.
const HOST = `
  create table shop.files (id int primary key, account bigint, kind text, target bigint, body text);
  create table shop.blobs (id int primary key, body bytea);
  create table shop.covers (account bigint not null references shop.accounts, blob int unique);
  create table shop.cards (id int primary key, tenant_id text not null, code text unique,
    twice text generated always as (code || code) stored, at timestamptz, body json);
  create table shop.days (tenant_id text not null, label text, day date not null) partition by range (day);
  create table shop.days_1 (day date not null, tenant_id text not null, label text);
  alter table shop.days attach partition shop.days_1 for values from ('2026-01-01') to ('2027-01-01');
`

let database: TestDatabase
const restore = randomUUID()

beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  await database.admin.query(HOST)
  const toAccounts = { owner: 'shop.accounts', owner_columns: ['id'] }
  const report = await initialiseProtection(database.admin, {
    tenantTable: 'shop.tenants',
    tenantColumns: ['tenant_id'],
    schemas: ['shop'],
    enableRowSecurity: true,
    document: {
      version: 1,
      tables: {
        'shop.files': {
          class: 'child',
          edges: [
            { columns: ['account'], ...toAccounts },
            {
              columns: ['target'],
              ...toAccounts,
              condition: { column: 'kind', value: 'account' },
            },
          ],
        },
        'shop.blobs': {
          class: 'child',
          edges: [{ columns: ['id'], owner: 'shop.covers', owner_columns: ['blob'] }],
        },
      },
    },
  })
  if (!report.isApplied) throw new Error(JSON.stringify(report.unsettled))
})

afterAll(() => database?.drop())

beforeEach(async () => {
  await database.admin.query(`
    truncate shop.files, shop.blobs, shop.covers, shop.cards, shop.days, tenantkeep.released_rows;
    insert into shop.files values (1, 900, null, null, 'lost'), (2, 3, null, null, 'owned'), (3, null, 'account', 900, 'lost'),
      (4, null, 'person', 900, 'of something else'), (5, 901, 'account', 900, 'of another that is gone'), (6, 902, null, null, '');
    insert into shop.blobs values (1, ''), (2, ''), (3, '');
    insert into shop.covers values (3, 2);
    insert into shop.cards (id, tenant_id, code, at, body) values (1, 'alpha', 'a', null, null),
      (2, 'gone', 'x,"(\\', '2026-01-01 00:00:00.000001+00', '{"n" : 1.10}'), (3, 'gone', null, null, null), (4, 'beta', 'b', null, null);
    insert into shop.days values ('gone', 'lost', '2026-01-05'), ('beta', 'kept', '2026-01-05');`)
})

/** Marks the rows of nobody that the condition names; the operator can't see them, so their places are given. */
async function release(staging: Staging, name: string, live: string, where: string): Promise<void> {
  const { rows } = await database.admin.query<{ place: string }>(
    `select format('(%s, ''release'', %s, %L, %L)', row_number() over (), tableoid::oid, ctid, xmin) as place
     from ${live} where ${where}`,
  )
  await staging.asOperator(
    `insert into pg_temp.${name} ("tenantkeep:row", "tenantkeep:action", "tenantkeep:tableoid", "tenantkeep:ctid", "tenantkeep:xmin")
     values ${rows.map((row) => row.place).join(', ')}`,
  )
}

function releaseRows(table: string, name: string): string {
  return `select tenantkeep.release_rows('shop', '${table}', ${staged(name)}, '${restore}', '${ALPHA}') as count`
}

function returnRows(tenant = ALPHA): string {
  return `select * from tenantkeep.return_rows('${restore}', '${tenant}')`
}

async function readRows(table: string): Promise<string[]> {
  const { rows } = await database.admin.query<{ line: string }>(
    `select (t.*)::text as line from shop.${table} t order by 1`,
  )
  return rows.map((row) => row.line)
}

describe('find_unowned_children', () => {
  const edges = (table: string) =>
    `select id from tenantkeep.ownership where table_name = '${table}'`

  async function find(
    edge: string,
    owner: string,
    stage: (staging: Staging) => Promise<void>,
  ): Promise<string[]> {
    return withStaging(database, ALPHA, async (staging) => {
      await staging.create('o', `shop.${owner}`)
      await stage(staging)
      const found = await staging.asWorker<Record<string, string>>(
        `select * from tenantkeep.find_unowned_children((${edge}), ${staged('o')})`,
      )
      const ids = []
      for (const child of found) {
        const { rows } = await database.admin.query<{ id: string }>(
          `select id::text from shop.files where tableoid = $1::oid and ctid = $2::tid and xmin = $3::xid
           union all select id::text from shop.blobs where tableoid = $1::oid and ctid = $2::tid and xmin = $3::xid`,
          [child.child_tableoid, child.child_ctid, child.child_xmin],
        )
        ids.push(rows[0]?.id ?? 'none')
      }
      return ids.sort()
    })
  }

  const returning = async (staging: Staging) => {
    await staging.add('o', 1, 'insert', { id: '900' })
    await staging.add('o', 2, 'skip', { id: '902' })
    await staging.add('o', 3, 'update', { id: '902' })
    await staging.add('o', 4, 'insert', { id: '3' })
  }

  it('finds rows that nobody owns until their owner is back', async () => {
    expect(await find(`${edges('files')} and rank = 1`, 'accounts', returning)).toEqual(['1'])
  })

  it('heeds the condition of an edge, and the edges before it', async () => {
    expect(await find(`${edges('files')} and rank = 2`, 'accounts', returning)).toEqual(['3'])
  })

  it('follows an edge that points backwards', async () => {
    expect(
      await find(edges('blobs'), 'covers', async (staging) => {
        await staging.add('o', 1, 'insert', { account: '3', blob: '1' })
        await staging.add('o', 2, 'insert', { account: '3', blob: '2' })
      }),
    ).toEqual(['1'])
  })

  it('finds nothing where nobody can tell who owns a row', async () => {
    await withUnknownOwners('files', async () => {
      expect(await find(`${edges('files')} and rank = 1`, 'accounts', returning)).toEqual([])
    })
  })
})

/** As where an administrator's predicate is on the path. */
async function withUnknownOwners(table: string, use: () => Promise<void>): Promise<void> {
  const where = `where table_name = '${table}'`
  const { rows } = await database.admin.query<{ expression: string }>(
    `select reached_expression as expression from tenantkeep.tenant_tables ${where}`,
  )
  await database.admin.query(
    `update tenantkeep.tenant_tables set reached_expression = null ${where}`,
  )
  try {
    await use()
  } finally {
    await database.admin.query(
      `update tenantkeep.tenant_tables set reached_expression = $1 ${where}`,
      [rows[0]?.expression],
    )
  }
}

describe('release_rows and return_rows', () => {
  it('take rows of nobody away, and put back exactly those, once', async () => {
    const before = [await readRows('cards'), await readRows('days')]
    const silent = { isSilent: true }
    await withStaging(
      database,
      ALPHA,
      async (staging) => {
        await staging.create('c', 'shop.cards')
        await staging.create('d', 'shop.days')
        await release(staging, 'c', 'shop.cards', `tenant_id = 'gone'`)
        await release(staging, 'd', 'shop.days', `tenant_id = 'gone'`)
        expect(await staging.asWorker(releaseRows('cards', 'c'))).toEqual([{ count: '2' }])
        expect(await staging.asWorker(releaseRows('days', 'd'))).toEqual([{ count: '1' }])
        await staging.asWorker('commit')
      },
      silent,
    )
    expect(await readRows('cards')).toEqual([before[0]?.[0], before[0]?.[3]])
    expect(await readRows('days')).toEqual(before[1]?.slice(0, 1))
    const { rows } = await database.worker.query(
      `select organization_id, schema_name, table_name, count(*) from tenantkeep.released_rows
       where restore_id = $1 and returned_at is null group by 1, 2, 3 order by 3`,
      [restore],
    )
    expect(rows).toEqual([
      { organization_id: ALPHA, schema_name: 'shop', table_name: 'cards', count: '2' },
      { organization_id: ALPHA, schema_name: 'shop', table_name: 'days', count: '1' },
    ])

    await withStaging(
      database,
      ALPHA,
      async (staging) => {
        expect(await staging.asWorker(returnRows(BETA))).toEqual([])
        expect(await staging.asWorker(returnRows())).toEqual([
          { schema_name: 'shop', table_name: 'cards', row_count: '2' },
          { schema_name: 'shop', table_name: 'days', row_count: '1' },
        ])
        expect(await staging.asWorker(returnRows())).toEqual([])
        await staging.asWorker('commit')
      },
      silent,
    )
    expect([await readRows('cards'), await readRows('days')]).toEqual(before)
  })

  it('leave alone rows with an owner, rows that changed since, and what is not marked', async () => {
    const before = await readRows('cards')
    await withStaging(
      database,
      ALPHA,
      async (staging) => {
        await staging.create('c', 'shop.cards')
        await release(staging, 'c', 'shop.cards', `id in (1, 2, 4)`)
        await database.admin.query(`update shop.cards set at = at where id = 2`)
        await staging.addLive('c', 9, 'delete', 'shop.cards', 'true')
        expect(await staging.asWorker(releaseRows('cards', 'c'))).toEqual([{ count: '0' }])
        await staging.asWorker('commit')
      },
      { isSilent: true },
    )
    expect(await readRows('cards')).toEqual(before)
  })

  it('do nothing while triggers could act', async () => {
    const answer = withStaging(database, ALPHA, async (staging) => {
      await staging.create('c', 'shop.cards')
      await staging.asWorker(releaseRows('cards', 'c'))
    })
    await expect(answer).rejects.toMatchObject({ message: expect.stringContaining('silenced') })
    const returned = withStaging(database, ALPHA, (staging) => staging.asWorker(returnRows()))
    await expect(returned).rejects.toMatchObject({ message: expect.stringContaining('silenced') })
  })

  it('refuse where nobody can tell who owns a row', async () => {
    await withUnknownOwners('cards', async () => {
      const answer = withStaging(
        database,
        ALPHA,
        async (staging) => {
          await staging.create('c', 'shop.cards')
          await staging.asWorker(releaseRows('cards', 'c'))
        },
        { isSilent: true },
      )
      await expect(answer).rejects.toMatchObject({
        code: 'TK001',
        message: expect.stringContaining('Nobody can tell'),
      })
    })
  })

  it('put no row back that would have an owner', async () => {
    await database.admin.query(
      `insert into tenantkeep.released_rows (restore_id, organization_id, schema_name, table_name, row_text)
       values ($1, 'alpha', 'shop', 'cards', '(7,gone,c,cc,,)'), ($1, 'alpha', 'shop', 'cards', '(8,beta,d,dd,,)')`,
      [restore],
    )
    const before = await readRows('cards')
    const answer = withStaging(
      database,
      ALPHA,
      async (staging) => {
        await staging.asWorker(returnRows())
        await staging.asWorker('commit')
      },
      { isSilent: true },
    )
    await expect(answer).rejects.toMatchObject({
      code: 'TK001',
      message: expect.stringContaining('would have an owner'),
    })
    expect(await readRows('cards')).toEqual(before)
  })
})
