import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/database.ts'
import { ALPHA, installSmallHost, protectSmallHost } from '../../../support/small-host.ts'
import { constraintOf, type Staging, staged, withStaging } from './staging.ts'

// Every shape of a foreign key: composite, full, across types, to a leaf, from a leaf, to itself, to users, to
// tables outside the registry, unchecked.
const HOST = `
  create table shop.people (
    id int primary key, tenant_id text not null references shop.tenants, nick text unique, region text, no int,
    boss int constraint people_boss references shop.people, account uuid constraint people_account references auth.users,
    unique (region, no)
  );
  create table shop.letters (
    id bigint primary key, tenant_id text not null references shop.tenants,
    person bigint constraint letters_person references shop.people,
    nick text constraint letters_nick references shop.people (nick),
    region text, no int,
    constraint letters_place foreign key (region, no) references shop.people (region, no),
    full_region text, full_no int,
    constraint letters_full foreign key (full_region, full_no) references shop.people (region, no) match full,
    plan text constraint letters_plan references shop.plans
  );
  create table shop.old_letters () inherits (shop.letters);
  create table shop.outside (id int primary key, person int constraint outside_person references shop.people);
  create table shop.days (tenant_id text not null references shop.tenants, day date not null, n int not null,
    person int, primary key (day, n)) partition by range (day);
  create table shop.days_1 partition of shop.days for values from ('2026-01-01') to ('2026-02-01');
  create table shop.days_2 partition of shop.days for values from ('2026-02-01') to ('2026-03-01');
  alter table shop.days_2 add constraint days_2_person foreign key (person) references shop.people;
  create table shop.stamps (id int primary key, tenant_id text not null references shop.tenants, day date, n int,
    constraint stamps_leaf foreign key (day, n) references shop.days_2 (day, n));
  alter table shop.letters add column gone int;
  insert into shop.letters (id, tenant_id, gone) values (7, 'alpha', 77);
  alter table shop.letters add constraint letters_gone foreign key (gone) references shop.people not valid;
`
// Written after init, which would ask about references from one tenant to another.
const ROWS = `
  insert into auth.users (id) values ('00000000-0000-4000-8000-000000000001');
  insert into shop.plans values ('basic');
  insert into shop.people (id, tenant_id, nick, region, no) values
    (1, 'alpha', 'ann', 'n', 1), (2, 'alpha', 'bob', 'n', 2), (3, 'beta', 'cid', 's', 1), (4, 'alpha', 'dan', 's', 2);
  insert into shop.letters (id, tenant_id, person, nick) values
    (1, 'alpha', 1, 'ann'), (2, 'alpha', 2, 'bob'), (3, 'beta', 2, null), (4, 'beta', 3, 'cid');
  insert into shop.outside values (1, 4);
  insert into shop.days values ('alpha', '2026-01-05', 1, 99), ('alpha', '2026-02-05', 1, 1), ('beta', '2026-02-06', 1, 4);
  insert into shop.stamps values (1, 'beta', '2026-02-05', 1);
`
const SHARED = 'create table shop.plans (id text primary key);'
const USER = `'00000000-0000-4000-8000-000000000001'`
const NO_USER = `'00000000-0000-4000-8000-00000000dead'`

let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  await database.admin.query(SHARED + HOST)
  await protectSmallHost(database, {
    shared: ['shop.plans'],
    excluded: ['shop.outside=what another program keeps'],
  })
  await database.admin.query(ROWS)
})

afterAll(() => database?.drop())

/** The rows or the number that a definer function answers, after staging `p` (people), `l` (letters) and more. */
async function ask<Row = Record<string, unknown>>(
  call: string,
  stage: (staging: Staging) => Promise<unknown>,
): Promise<Row[]> {
  return withStaging(
    database,
    ALPHA,
    async (staging) => {
      await staging.create('p', 'shop.people')
      await staging.create('l', 'shop.letters')
      await staging.create('d', 'shop.days')
      await staging.create('st', 'shop.stamps')
      await stage(staging)
      return staging.asWorker<Row>(`select * from tenantkeep.${call}`)
    },
    { isSilent: true },
  )
}

type Stage = (staging: Staging) => Promise<unknown>

/** Row numbers, each with whether it was broken before. */
async function findMissing(
  constraint: string,
  tables: { child: string; parent?: string },
  stage: Stage,
): Promise<[string, boolean][]> {
  const parent = tables.parent === undefined ? 'null' : staged(tables.parent)
  const rows = await ask<{ row_no: string; was_broken: boolean }>(
    `find_missing_parents(${constraintOf(constraint)}, ${staged(tables.child)}, ${parent}) order by 1`,
    stage,
  )
  return rows.map((row) => [row.row_no, row.was_broken])
}

/** Row numbers, each with how many rows refer to it. */
async function findReferrers(
  constraint: string,
  tables: { parent: string; child?: string },
  stage: Stage,
): Promise<[string, string][]> {
  const child = tables.child === undefined ? 'null' : staged(tables.child)
  const rows = await ask<{ row_no: string; referring_rows: string }>(
    `find_referrers(${constraintOf(constraint)}, ${staged(tables.parent)}, ${child}) order by 1`,
    stage,
  )
  return rows.map((row) => [row.row_no, row.referring_rows])
}

/** What a counting function answers for a foreign key and a staged table. */
async function count(
  call: string,
  constraint: string,
  table: string,
  stage: Stage,
): Promise<string> {
  const rows = await ask<{ count: string }>(
    `${call}(${constraintOf(constraint)}, ${staged(table)}) as count`,
    stage,
  )
  return rows[0]?.count ?? 'nothing'
}

describe('find_missing_parents', () => {
  it('finds rows whose parent is neither live nor staged, across types too', async () => {
    const missing = await findMissing('letters_person', { child: 'l', parent: 'p' }, async (s) => {
      await s.add('l', 1, 'insert', { id: '11', person: '1' })
      await s.add('l', 2, 'insert', { id: '12', person: '50' })
      await s.add('l', 3, 'insert', { id: '13', person: '60' })
      await s.add('l', 4, 'insert', { id: '14', person: 'null' })
      await s.add('l', 5, 'skip', { id: '15', person: '60' })
      await s.add('l', 6, 'delete', { id: '16', person: '60' })
      await s.add('l', 7, 'insert', { id: '17', person: '3' })
      await s.add('p', 1, 'insert', { id: '50' })
      await s.add('p', 2, 'skip', { id: '60' })
    })
    expect(missing).toEqual([['3', false]])
  })

  it('counts a parent that goes as gone, and one whose key changes', async () => {
    const missing = await findMissing('letters_nick', { child: 'l', parent: 'p' }, async (s) => {
      await s.add('l', 1, 'insert', { nick: `'ann'` })
      await s.add('l', 2, 'insert', { nick: `'bob'` })
      await s.add('l', 3, 'insert', { nick: `'rob'` })
      await s.add('l', 4, 'insert', { nick: `'dan'` })
      await s.addLive('p', 1, 'delete', 'shop.people', 'id = 1')
      await s.addLive('p', 2, 'before', 'shop.people', 'id = 2')
      await s.addLive('p', 2, 'update', 'shop.people', 'id = 2')
      await s.addLive('p', 3, 'before', 'shop.people', 'id = 4')
      await s.addLive('p', 3, 'replace', 'shop.people', 'id = 4')
      await s.asOperator(
        `update pg_temp.p set nick = 'rob' where id = 2 and "tenantkeep:action" = 'update'`,
      )
    })
    expect(missing).toEqual([
      ['1', false],
      ['2', false],
    ])
  })

  it('tells what was broken before from what breaks now', async () => {
    const missing = await findMissing('letters_gone', { child: 'l', parent: 'p' }, async (s) => {
      await s.addLive('l', 1, 'before', 'shop.letters', 'id = 7')
      await s.add('l', 1, 'update', { id: '7', gone: '77' })
      await s.add('l', 2, 'update', { id: '8', gone: '78' })
      await s.add('l', 2, 'before', { id: '8', gone: '77' })
      await s.add('l', 3, 'update', { id: '9', gone: '1' })
      await s.add('l', 3, 'before', { id: '9', gone: '1' })
      await s.addLive('p', 1, 'delete', 'shop.people', 'id = 1')
    })
    expect(missing).toEqual([
      ['1', true],
      ['2', false],
      ['3', false],
    ])
  })

  it('passes over a composite key that is null in part, but not where it must match in full', async () => {
    const stage: Stage = async (s) => {
      await s.add('l', 1, 'insert', { region: `'n'`, full_region: `'n'` })
      await s.add('l', 2, 'insert', { region: `'n'`, no: '2', full_region: `'n'`, full_no: '2' })
      await s.add('l', 3, 'insert', { region: `'n'`, no: '9', full_region: `'n'`, full_no: '9' })
      await s.add('l', 4, 'insert', { id: '1' })
    }
    expect(await findMissing('letters_place', { child: 'l', parent: 'p' }, stage)).toEqual([
      ['3', false],
    ])
    expect(await findMissing('letters_full', { child: 'l', parent: 'p' }, stage)).toEqual([
      ['1', false],
      ['3', false],
    ])
  })

  it('looks into auth.users, shared tables, and the table itself', async () => {
    expect(
      await findMissing('people_account', { child: 'p' }, async (s) => {
        await s.add('p', 1, 'insert', { account: USER })
        await s.add('p', 2, 'insert', { account: NO_USER })
      }),
    ).toEqual([['2', false]])
    expect(
      await findMissing('letters_plan', { child: 'l' }, async (s) => {
        await s.add('l', 1, 'insert', { plan: `'basic'` })
        await s.add('l', 2, 'insert', { plan: `'lost'` })
      }),
    ).toEqual([['2', false]])
    expect(
      await findMissing('people_boss', { child: 'p', parent: 'p' }, async (s) => {
        await s.add('p', 1, 'insert', { id: '20', boss: '21' })
        await s.add('p', 2, 'insert', { id: '21', boss: '21' })
        await s.add('p', 3, 'insert', { id: '22', boss: '1' })
        await s.add('p', 4, 'insert', { id: '23', boss: '99' })
      }),
    ).toEqual([['4', false]])
  })

  it('asks a key of one partition only of the rows that belong there, and of parents that do', async () => {
    expect(
      await findMissing('days_2_person', { child: 'd', parent: 'p' }, async (s) => {
        await s.add('d', 1, 'insert', { day: `'2026-01-09'`, person: '99' })
        await s.add('d', 2, 'insert', { day: `'2026-02-09'`, person: '99' })
      }),
    ).toEqual([['2', false]])
    expect(
      await findMissing('stamps_leaf', { child: 'st', parent: 'd' }, async (s) => {
        await s.add('st', 1, 'insert', { day: `'2026-01-09'`, n: '4' })
        await s.add('st', 2, 'insert', { day: `'2026-02-09'`, n: '4' })
        await s.add('d', 1, 'insert', { day: `'2026-01-09'`, n: '4' })
        await s.add('d', 2, 'insert', { day: `'2026-02-09'`, n: '4' })
      }),
    ).toEqual([['1', false]])
  })
})

describe('find_referrers', () => {
  it('counts the rows of every tenant that refer to a row that goes', async () => {
    expect(
      await findReferrers('letters_person', { parent: 'p', child: 'l' }, async (s) => {
        await s.addLive('p', 1, 'delete', 'shop.people', 'id in (1, 2, 4)')
        await s.asOperator(`update pg_temp.p set "tenantkeep:row" = id`)
        // This letter goes too, or points elsewhere from now on.
        await s.addLive('l', 1, 'delete', 'shop.letters', 'id = 1')
        await s.addLive('l', 2, 'update', 'shop.letters', 'id = 2')
      }),
    ).toEqual([['2', '1']])
    expect(
      await findReferrers('outside_person', { parent: 'p' }, (s) =>
        s.addLive('p', 9, 'delete', 'shop.people', 'id = 4'),
      ),
    ).toEqual([['9', '1']])
  })

  it('looks at a changed row only where its key changes and no other row takes it', async () => {
    const stage = (taken: string): Stage => {
      return async (s) => {
        await s.addLive('p', 1, 'before', 'shop.people', 'id = 1')
        await s.add('p', 1, 'update', { id: '1', nick: `'new'`, region: `'n'`, no: '1' })
        await s.add('p', 2, 'insert', { id: '80', nick: taken })
      }
    }
    expect(await findReferrers('letters_nick', { parent: 'p', child: 'l' }, stage(`'x'`))).toEqual([
      ['1', '1'],
    ])
    expect(
      await findReferrers('letters_nick', { parent: 'p', child: 'l' }, stage(`'ann'`)),
    ).toEqual([])
    expect(
      await findReferrers('letters_person', { parent: 'p', child: 'l' }, stage(`'x'`)),
    ).toEqual([])
  })

  it('looks up the key of a row that is released', async () => {
    expect(
      await findReferrers('letters_nick', { parent: 'p', child: 'l' }, (s) =>
        s.asOperator(
          `insert into pg_temp.p ("tenantkeep:row", "tenantkeep:action", "tenantkeep:tableoid", "tenantkeep:ctid", "tenantkeep:xmin")
           select 5, 'release', tableoid, ctid, xmin from shop.people where id = 2`,
        ),
      ),
    ).toEqual([['5', '1']])
  })

  it('knows a leaf’s rows, by where they are and where they go', async () => {
    expect(
      await findReferrers('stamps_leaf', { parent: 'd', child: 'st' }, (s) =>
        s.addLive('d', 1, 'delete', 'shop.days', `n = 1`),
      ),
    ).toEqual([['1', '1']])
    // The row moves to the other leaf: in this one its key is gone.
    expect(
      await findReferrers('stamps_leaf', { parent: 'd', child: 'st' }, async (s) => {
        await s.addLive('d', 3, 'before', 'shop.days', `day = '2026-02-05'`)
        await s.add('d', 3, 'replace', { day: `'2026-01-06'`, n: '1' })
      }),
    ).toEqual([['3', '1']])
  })

  it('does not mistake rows of an inheriting table', async () => {
    await database.admin.query(
      `insert into shop.old_letters (id, tenant_id, nick) values (90, 'beta', 'dan')`,
    )
    expect(
      await findReferrers('letters_nick', { parent: 'p', child: 'l' }, (s) =>
        s.addLive('p', 1, 'delete', 'shop.people', 'id = 4'),
      ),
    ).toEqual([])
  })
})

describe('count_lost_referrers', () => {
  const deletePerson =
    (id: number): Stage =>
    async (s) => {
      await s.addLive('p', 1, 'delete', 'shop.people', `id = ${id}`)
      await s.asOperator(`delete from shop.people where id = ${id}`)
    }

  it('counts rows, of any tenant and table, whose parent this restore took', async () => {
    expect(await count('count_lost_referrers', 'letters_person', 'p', deletePerson(2))).toBe('2')
    expect(await count('count_lost_referrers', 'outside_person', 'p', deletePerson(4))).toBe('1')
    expect(await count('count_lost_referrers', 'days_2_person', 'p', deletePerson(4))).toBe('1')
  })

  it('counts nothing where the key is there, or is there again', async () => {
    expect(
      await count('count_lost_referrers', 'letters_person', 'p', (s) =>
        s.addLive('p', 1, 'delete', 'shop.people', 'id = 2'),
      ),
    ).toBe('0')
    expect(
      await count('count_lost_referrers', 'letters_nick', 'p', async (s) => {
        await deletePerson(2)(s)
        await s.asOperator(
          `insert into shop.people (id, tenant_id, nick) values (55, 'alpha', 'bob')`,
        )
      }),
    ).toBe('0')
  })

  it('counts rows that refer to the key that a changed row had', async () => {
    const rename: Stage = async (s) => {
      await s.addLive('p', 1, 'before', 'shop.people', 'id = 1')
      await s.add('p', 1, 'update', { id: '1', nick: `'new'` })
      await s.asOperator(`update shop.people set nick = 'new' where id = 1`)
    }
    expect(await count('count_lost_referrers', 'letters_nick', 'p', rename)).toBe('1')
    expect(await count('count_lost_referrers', 'letters_person', 'p', rename)).toBe('0')
  })
})

describe('hold_references', () => {
  it('counts written rows whose parent is gone, but not those that were broken before', async () => {
    expect(
      await count('hold_references', 'letters_person', 'l', async (s) => {
        await s.add('l', 1, 'insert', { person: '1' })
        await s.add('l', 2, 'insert', { person: '99' })
        await s.add('l', 3, 'update', { person: '98' })
        await s.add('l', 3, 'before', { person: '98' })
        await s.add('l', 4, 'replace', { person: '97' })
        await s.add('l', 4, 'before', { person: '1' })
        await s.add('l', 5, 'insert', { person: 'null' })
      }),
    ).toBe('2')
  })

  it('sees what was committed since, whatever the restore saw before', async () => {
    const counted = await ask<{ count: string }>(
      `hold_references(${constraintOf('letters_plan')}, ${staged('l')}) as count`,
      async (s) => {
        await s.add('l', 1, 'insert', { plan: `'late'` })
        await s.asWorker('select count(*) from pg_class')
        await database.admin.query(`insert into shop.plans values ('late')`)
      },
    )
    expect(counted).toEqual([{ count: '0' }])
  })

  it('keeps the parents until the end, shared ones and users too', async () => {
    await withStaging(database, ALPHA, async (staging) => {
      await staging.create('l', 'shop.letters')
      await staging.create('p', 'shop.people')
      await staging.add('l', 1, 'insert', { plan: `'basic'` })
      await staging.add('p', 1, 'insert', { account: USER })
      await staging.asWorker(
        `select tenantkeep.hold_references(${constraintOf('letters_plan')}, ${staged('l')}),
           tenantkeep.hold_references(${constraintOf('people_account')}, ${staged('p')})`,
      )
      for (const sql of [`delete from shop.plans where id = 'basic'`, `delete from auth.users`]) {
        const deletion = database.superuser.query(
          `set lock_timeout = 1; ${sql}; reset lock_timeout`,
        )
        await expect(deletion).rejects.toMatchObject({ code: '55P03' })
      }
      // Other columns may change meanwhile.
      await database.superuser.query(`update auth.users set id = id`)
    })
  })

  it('lets an error of locking through', async () => {
    await database.admin.withConnection(async (other) => {
      await other.query(`begin; delete from shop.plans where id = 'basic'`)
      const held = ask(
        `hold_references(${constraintOf('letters_plan')}, ${staged('l')})`,
        async (s) => {
          await s.add('l', 1, 'insert', { plan: `'basic'` })
          await s.asOperator(`set local lock_timeout = 1`)
        },
      )
      await expect(held).rejects.toMatchObject({ code: '55P03' })
      await other.query('rollback')
    })
  })

  it('only looks where the owner may not lock', async () => {
    await database.superuser.query(
      `create schema theirs; create table theirs.kinds (id int primary key); insert into theirs.kinds values (1);
       grant usage on schema theirs to postgres; grant select, references on theirs.kinds to postgres`,
    )
    await database.admin.query(
      'alter table shop.letters add kind int constraint letters_kind references theirs.kinds',
    )
    expect(
      await count('hold_references', 'letters_kind', 'l', async (s) => {
        await s.add('l', 1, 'insert', { kind: '1' })
        await s.add('l', 2, 'insert', { kind: '2' })
      }),
    ).toBe('1')
  })
})
