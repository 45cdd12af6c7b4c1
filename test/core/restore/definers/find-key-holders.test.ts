import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/database.ts'
import { ALPHA, installSmallHost } from '../../../support/small-host.ts'
import { relationOf, type Staging, staged, withStaging } from './staging.ts'

// Without a foreign key, a tenant that is gone leaves rows of nobody.
const HOST = `
  create collation shop.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  create domain shop.label as text check (length(value) < 30);
  create table shop.codes (
    id bigint primary key, tenant_id text not null,
    code shop.label, plain text unique, alike text collate shop.caseless unique,
    slug text generated always as (lower(code)) stored,
    part int, place int, unique nulls not distinct (part, place),
    is_live boolean not null default true, span int4range,
    constraint codes_span exclude using gist (span with &&)
  );
  create unique index codes_slug on shop.codes (slug);
  create unique index codes_lower on shop.codes (lower(btrim(code)), (part + 1)) where is_live;
  create table shop.days (tenant_id text not null, day date not null, n int not null, label text, primary key (day, n))
    partition by range (day);
  create table shop.days_1 partition of shop.days for values from ('2026-01-01') to ('2026-02-01');
  -- Attached with its columns in another order.
  create table shop.days_2 (label text, n int not null, day date not null, tenant_id text not null);
  alter table shop.days attach partition shop.days_2 for values from ('2026-02-01') to ('2026-03-01');
  create unique index days_2_label on shop.days_2 (label);
  create table shop.old_codes () inherits (shop.codes);
  insert into shop.codes (id, tenant_id, code, plain, alike, part, place, span) values
    (1, 'alpha', 'One', 'p1', 'a1', 1, 1, '[1,5)'), (2, 'alpha', 'Two', 'p2', 'a2', 2, 2, '[5,9)'),
    (3, 'beta', 'Three', 'p3', 'A3', null, 3, '[20,30)'), (4, 'gone', 'Four', 'p4', 'a4', null, null, '[40,50)'),
    (5, 'beta', null, null, null, 5, 5, null);
  insert into shop.codes (id, tenant_id, code, is_live, part, place) values (6, 'beta', 'Dead', false, 1, 6);
  insert into shop.old_codes (id, tenant_id, code, plain) values (9, 'beta', 'Nine', 'p9');
  insert into shop.days values ('beta', '2026-01-05', 1, 'x'), ('beta', '2026-02-05', 1, 'x'), ('gone', '2026-02-06', 2, 'y');
`

let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database, HOST)
})

afterAll(() => database?.drop())

interface Holder {
  row: string
  isOwned: boolean
  id: string
}

/** The holders of keys of an index that the staged rows of a table want, told by a column of the holder. */
async function findHolders(
  index: string,
  stage: (staging: Staging) => Promise<void>,
  table: { name: string; key: string } = { name: 'codes', key: 'id' },
): Promise<Holder[]> {
  return withStaging(database, ALPHA, async (staging) => {
    await staging.create('s', `shop.${table.name}`)
    await stage(staging)
    const found = await staging.asWorker<Record<string, string | boolean>>(
      `select * from tenantkeep.find_key_holders(${relationOf(index)}, ${staged('s')}) order by 1`,
    )
    const holders: Holder[] = []
    for (const holder of found) {
      const { rows } = await database.admin.query<{ id: string }>(
        `select ${table.key}::text as id from shop.${table.name}
         where tableoid = $1::oid and ctid = $2::tid and xmin = $3::xid`,
        [holder.holder_tableoid, holder.holder_ctid, holder.holder_xmin],
      )
      holders.push({
        row: String(holder.row_no),
        isOwned: holder.is_owned === true,
        id: rows[0]?.id ?? 'none',
      })
    }
    return holders
  })
}

describe('find_key_holders', () => {
  it('finds the row of another tenant, and tells it from the row of nobody', async () => {
    const holders = await findHolders('codes_pkey', async (staging) => {
      await staging.add('s', 1, 'insert', { id: '3' })
      await staging.add('s', 2, 'insert', { id: '4' })
      await staging.add('s', 3, 'insert', { id: '77' })
      await staging.add('s', 4, 'skip', { id: '5' })
      await staging.add('s', 5, 'keep', { id: '5' })
    })
    expect(holders).toEqual([
      { row: '1', isOwned: true, id: '3' },
      { row: '2', isOwned: false, id: '4' },
    ])
  })

  it('takes every holder for owned where nobody can tell', async () => {
    await database.admin.query(
      `update tenantkeep.tenant_tables set reached_expression = null where table_name = 'codes'`,
    )
    try {
      const holders = await findHolders('codes_pkey', (staging) =>
        staging.add('s', 1, 'insert', { id: '4' }),
      )
      expect(holders).toEqual([{ row: '1', isOwned: true, id: '4' }])
    } finally {
      await database.admin.query(
        `update tenantkeep.tenant_tables set reached_expression = 'tenant_id in (select id from shop.tenants)' where table_name = 'codes'`,
      )
    }
  })

  it.each(['delete', 'update', 'replace', 'release'])(
    'passes over a holder that goes or changes by the plan: %s',
    async (action) => {
      const holders = await findHolders('codes_plain_key', async (staging) => {
        await staging.add('s', 1, 'insert', { id: '70', plain: `'p2'` })
        await staging.addLive('s', 2, action, 'shop.codes', 'id = 2')
        await staging.asOperator(
          `update pg_temp.s set plain = null where "tenantkeep:action" in ('update', 'replace')`,
        )
      })
      expect(holders).toEqual([])
    },
  )

  it('looks at a changed row only where its key differs from what it was', async () => {
    const holders = await findHolders('codes_plain_key', async (staging) => {
      await staging.add('s', 1, 'update', { id: '1', plain: `'p3'` })
      await staging.addLive('s', 1, 'before', 'shop.codes', 'id = 1')
      await staging.add('s', 2, 'update', { id: '2', plain: `'p2'` })
      // Were its key looked up, this row would be found to hold it.
      await staging.asOperator(`insert into pg_temp.s
        select live.*, 2, 'before', null, null, null from shop.codes live where id = 2`)
    })
    expect(holders).toEqual([{ row: '1', isOwned: true, id: '3' }])
  })

  it('knows two nulls for different, and for the same where the index does', async () => {
    expect(
      await findHolders('codes_plain_key', (staging) =>
        staging.add('s', 1, 'insert', { id: '70', plain: 'null' }),
      ),
    ).toEqual([])
    expect(
      await findHolders('codes_part_place_key', async (staging) => {
        await staging.add('s', 1, 'insert', { part: 'null', place: '3' })
        await staging.add('s', 2, 'insert', { part: 'null', place: 'null' })
        await staging.add('s', 3, 'insert', { part: '5', place: '5' })
        await staging.add('s', 4, 'insert', { part: '3', place: 'null' })
      }),
    ).toEqual([
      { row: '1', isOwned: true, id: '3' },
      { row: '2', isOwned: false, id: '4' },
      { row: '3', isOwned: true, id: '5' },
    ])
  })

  it('compares by the collation of the index', async () => {
    expect(
      await findHolders('codes_alike_key', (staging) =>
        staging.add('s', 1, 'insert', { alike: `'a3'` }),
      ),
    ).toEqual([{ row: '1', isOwned: true, id: '3' }])
  })

  it('evaluates expressions and predicates on both sides', async () => {
    const holders = await findHolders('codes_lower', async (staging) => {
      await staging.add('s', 1, 'insert', { code: `' ONE '`, part: '1', is_live: 'true' })
      await staging.add('s', 2, 'insert', { code: `' ONE '`, part: '1', is_live: 'false' })
      await staging.add('s', 3, 'insert', { code: `'dead'`, part: '1', is_live: 'true' })
      await staging.add('s', 4, 'insert', { code: `'one'`, part: '4', is_live: 'true' })
    })
    expect(holders).toEqual([{ row: '1', isOwned: true, id: '1' }])
  })

  it('looks again where a changed row comes under the predicate with the key it had', async () => {
    const holders = await findHolders('codes_lower', async (staging) => {
      await staging.add('s', 1, 'update', { code: `'ONE'`, part: '1', is_live: 'true' })
      await staging.add('s', 1, 'before', { code: `'ONE'`, part: '1', is_live: 'false' })
    })
    expect(holders).toEqual([{ row: '1', isOwned: true, id: '1' }])
  })

  it('computes generated columns, which rows of the backup do not have', async () => {
    const holders = await findHolders('codes_slug', (staging) =>
      staging.add('s', 1, 'insert', { code: `'THREE'` }),
    )
    expect(holders).toEqual([{ row: '1', isOwned: true, id: '3' }])
  })

  it('asks an exclusion constraint with its own operators', async () => {
    const holders = await findHolders('codes_span', async (staging) => {
      await staging.add('s', 1, 'insert', { span: `'[25,45)'` })
      await staging.add('s', 2, 'insert', { span: `'[9,20)'` })
    })
    expect(holders.map(({ row, id }) => [row, id]).sort()).toEqual([
      ['1', '3'],
      ['1', '4'],
    ])
  })

  it('leaves the rows of inheriting tables out, as the index does', async () => {
    expect(
      await findHolders('codes_plain_key', (staging) =>
        staging.add('s', 1, 'insert', { plain: `'p9'` }),
      ),
    ).toEqual([])
  })

  it('looks through partitions, and into an index that only one of them has', async () => {
    const days = { name: 'days', key: `day || ' ' || n` }
    expect(
      await findHolders(
        'days_pkey',
        async (staging) => {
          await staging.add('s', 1, 'insert', { day: `'2026-02-05'`, n: '1' })
          await staging.add('s', 2, 'insert', { day: `'2026-02-06'`, n: '2' })
        },
        days,
      ),
    ).toEqual([
      { row: '1', isOwned: true, id: '2026-02-05 1' },
      { row: '2', isOwned: false, id: '2026-02-06 2' },
    ])
    expect(
      await findHolders(
        'days_2_label',
        async (staging) => {
          await staging.add('s', 1, 'insert', { day: `'2026-01-07'`, n: '1', label: `'x'` })
          await staging.add('s', 2, 'insert', { day: `'2026-02-07'`, n: '1', label: `'x'` })
        },
        days,
      ),
    ).toEqual([{ row: '2', isOwned: true, id: '2026-02-05 1' }])
  })
})
