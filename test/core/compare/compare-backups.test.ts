import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import type { RowDifference, TableComparison } from '../../../src/core/compare/comparison.ts'
import {
  deleteExpiredRows,
  listDifferences,
  readCompareRun,
} from '../../../src/core/compare/comparison-record.ts'
import { runComparison } from '../../../src/core/compare/run-comparison.ts'
import type { Services } from '../../../src/core/services.ts'
import type { Store } from '../../../src/core/store/store.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { ALPHA, BETA, installSmallHost, protectSmallHost } from '../../support/small-host.ts'

/** Tables whose rows are hard to match, to read or to write down. */
const ODD_SHAPES = `
  create type shop.mood as enum ('calm', 'cross');
  create domain shop.positive as numeric check (value > 0);
  create table shop."Odd ""Name""" (
    tenant_id text not null references shop.tenants (id),
    "Line No" int not null,
    "select" text,
    primary key (tenant_id, "Line No")
  );
  create table shop.values_of_all_kinds (
    id text primary key,
    tenant_id text not null references shop.tenants (id),
    amount numeric,
    share shop.positive,
    mood shop.mood,
    tags text[],
    body jsonb,
    raw json,
    code char(8),
    is_on boolean,
    doubled numeric generated always as (amount * 2) stored,
    pin_hash text
  );
  create table shop.moods (
    tenant_id text not null references shop.tenants (id),
    mood shop.mood not null,
    note text,
    primary key (tenant_id, mood)
  );
  insert into shop.moods select t.id, m.mood, 'as ever'
    from shop.tenants t, unnest('{calm,cross}'::shop.mood[]) as m (mood);
  insert into shop."Odd ""Name""" select t.id, i, 'line ' || i from shop.tenants t, generate_series(1, 3) i;
  insert into shop.values_of_all_kinds (id, tenant_id, amount, share, mood, tags, body, raw, code, is_on, pin_hash)
    select t.id || ' ' || i, t.id, 1.0, 2, 'calm', array['a', 'b'], '{"a": 1}', '{"a":  1}', 'x', true, 'secret'
    from shop.tenants t, generate_series(1, 4) i;
`

let database: TestDatabase
let store: TestStore
let services: Services
beforeAll(async () => {
  database = await createTestDatabase()
  store = await createTestStore()
  services = servicesOf(database.worker, store.store)
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})
beforeEach(async () => {
  await sql('drop schema if exists shop cascade')
  await sql('delete from tenantkeep.tenant_tables')
  await installSmallHost(database, ODD_SHAPES)
  await sql(
    `update tenantkeep.tenant_tables set masked_columns = '{pin_hash}', label_columns = '{id}'
     where table_name = 'values_of_all_kinds'`,
  )
})

const sql = (statement: string) =>
  database.admin.withConnection((admin) => admin.query(statement).then(() => {}))

async function take(tenantId = ALPHA): Promise<Backup> {
  const taken = await takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })
  return taken.backup
}

/** Compares, and gives the tables that differ with the rows that were kept. */
async function compare(
  backup: Backup,
  {
    against = 'live',
    tenantId = ALPHA,
    ...more
  }: {
    against?: string
    tenantId?: string
    tables?: string[]
    maxRows?: number
    onProgress?: (told: unknown) => void
  } = {},
) {
  const { runId, comparison } = await runComparison(services, {
    tenantId,
    tenantName: null,
    against,
    actor: SYSTEM,
    backup: { backupId: backup.id },
    ...more,
  })
  const { rows } = await listDifferences(database.worker, { runId, limit: 500 })
  const tables = new Map(comparison.tables.map((table) => [table.name, table]))
  const different = comparison.tables.filter(({ equal, rowsInBackup, rowsInOther }) =>
    [rowsInBackup, rowsInOther].some((count) => count !== equal),
  )
  return { runId, comparison, tables, rows, different: different.map(({ name }) => name) }
}

const counts = (table: TableComparison | undefined) =>
  table && {
    onlyInBackup: table.onlyInBackup,
    onlyInOther: table.onlyInOther,
    changed: table.changed,
    equal: table.equal,
  }

const rowsOf = (rows: readonly RowDifference[], table: string) =>
  rows.filter((row) => row.table === table)

describe('against the live rows', () => {
  test('an untouched tenant is equal in every table, and nothing is kept', async () => {
    const backup = await take()

    const { comparison, rows, different } = await compare(backup)

    expect(comparison.isEqual).toBe(true)
    expect(different).toEqual([])
    expect(rows).toEqual([])
    expect(comparison.tables.reduce((sum, table) => sum + table.equal, 0)).toBe(backup.totalRecords)
  })

  test('rows missing, new and changed are told apart, with the columns that differ', async () => {
    const backup = await take()
    await sql(`
      delete from shop.entries where account_id in (select id from shop.accounts where label = 'alpha 1');
      delete from shop.accounts where label = 'alpha 1';
      update shop.accounts set balance = 7.5 where label = 'alpha 2';
      insert into shop.accounts (tenant_id, label) values ('alpha', 'brand new');
    `)

    const { comparison, tables, rows, different } = await compare(backup)

    expect(comparison.isEqual).toBe(false)
    expect(different).toEqual(['shop.accounts', 'shop.entries'])
    expect(counts(tables.get('shop.accounts'))).toEqual({
      onlyInBackup: 1,
      onlyInOther: 1,
      changed: 1,
      equal: 18,
    })
    expect(counts(tables.get('shop.entries'))).toEqual({
      onlyInBackup: 3,
      onlyInOther: 0,
      changed: 0,
      equal: 57,
    })
    const [missing, changed, added] = rowsOf(rows, 'shop.accounts')
    expect(missing).toMatchObject({ kind: 'only_in_backup', times: 1 })
    expect(missing?.columns.find(({ name }) => name === 'label')).toEqual({
      name: 'label',
      before: 'alpha 1',
      after: null,
      is_masked: false,
      is_cut: false,
    })
    expect(changed).toMatchObject({ kind: 'changed', key: [expect.stringMatching(/^\d+$/)] })
    expect(changed?.columns).toEqual([
      { name: 'balance', before: '100.0000', after: '7.5000', is_masked: false, is_cut: false },
    ])
    expect(added).toMatchObject({ kind: 'only_in_other' })
  })

  test('a table without a key is a multiset: copies count, none is called changed', async () => {
    const backup = await take()
    await sql(`
      delete from shop.events where tenant_id = 'alpha' and body = '{"n": 0}';
      insert into shop.events (tenant_id, at, body)
        select 'alpha', '2026-01-02 03:04:05Z', '{"n": 9}' from generate_series(1, 4);
    `)

    const { tables, rows } = await compare(backup)

    const events = tables.get('shop.events')
    expect(counts(events)).toEqual({ onlyInBackup: 3, onlyInOther: 4, changed: 0, equal: 6 })
    expect(events?.isByKey).toBe(false)
    const added = rowsOf(rows, 'shop.events').filter(({ kind }) => kind === 'only_in_other')
    expect(added).toHaveLength(1)
    expect(added[0]).toMatchObject({ key: [], times: 4 })
    expect(added[0]?.columns.map(({ name, after }) => [name, after])).toEqual([
      ['tenant_id', 'alpha'],
      ['at', '2026-01-02 03:04:05+00'],
      ['body', '{"n": 9}'],
    ])
  })

  test('composite keys and quoted names', async () => {
    const backup = await take()
    await sql(`update shop."Odd ""Name""" set "select" = 'it''s "quoted"' where "Line No" = 2`)

    const { rows } = await compare(backup)

    expect(rows).toEqual([
      {
        number: 1,
        table: 'shop.Odd "Name"',
        kind: 'changed',
        key: ['alpha', '2'],
        // What init proposed for it.
        label: '2',
        times: 1,
        columns: [
          {
            name: 'select',
            before: 'line 2',
            after: `it's "quoted"`,
            is_masked: false,
            is_cut: false,
          },
        ],
      },
    ])
  })

  test('keys of a type that has its own equality', async () => {
    const backup = await take()
    await sql(`
      update shop.moods set note = 'better' where mood = 'cross';
      delete from shop.moods where mood = 'calm' and tenant_id = 'alpha';
    `)

    const { rows } = await compare(backup)

    expect(rows.map(({ kind, key }) => [kind, key])).toEqual([
      ['only_in_backup', ['alpha', 'calm']],
      ['changed', ['alpha', 'cross']],
    ])
  })

  test.each([
    ['a scale', `amount = 1.00`, 'amount', '1.0', '1.00'],
    ['an enum', `mood = 'cross'`, 'mood', 'calm', 'cross'],
    ['a domain', `share = 3`, 'share', '2', '3'],
    ['an array', `tags = '{a,NULL}'`, 'tags', '{a,b}', '{a,NULL}'],
    ['a JSON null where there was an object', `body = 'null'`, 'body', '{"a": 1}', 'null'],
    ['an SQL null where there was an object', `body = null`, 'body', '{"a": 1}', null],
    ['blanks in json', `raw = '{"a": 1}'`, 'raw', '{"a":  1}', '{"a": 1}'],
    ['a padded text', `code = 'y'`, 'code', 'x       ', 'y       '],
    ['a boolean', `is_on = false`, 'is_on', 'true', 'false'],
  ])('%s', async (_, change, name, before, after) => {
    const backup = await take()
    await sql(`update shop.values_of_all_kinds set ${change} where id = 'alpha 1'`)

    const { tables, rows } = await compare(backup)

    expect(counts(tables.get('shop.values_of_all_kinds'))).toMatchObject({ changed: 1, equal: 3 })
    expect(rows.map(({ key, label }) => ({ key, label }))).toEqual([
      { key: ['alpha 1'], label: 'alpha 1' },
    ])
    // The generated column follows its own, and is in no backup.
    expect(rows[0]?.columns).toEqual([{ name, before, after, is_masked: false, is_cut: false }])
  })

  test('a JSON null and an SQL null are two things', async () => {
    await sql(`update shop.values_of_all_kinds set body = 'null' where id = 'alpha 1'`)
    const backup = await take()
    await sql(`update shop.values_of_all_kinds set body = null where id = 'alpha 1'`)

    const { rows } = await compare(backup)

    expect(rows[0]?.columns).toEqual([
      { name: 'body', before: 'null', after: null, is_masked: false, is_cut: false },
    ])
  })

  test('an equal array with another image is no difference', async () => {
    await sql(
      `update shop.values_of_all_kinds set tags = array_replace(array['a', null, 'b'], null, 'c') where id = 'alpha 1'`,
    )
    const backup = await take()
    // Another row changes, so that the table is staged.
    await sql(`update shop.values_of_all_kinds set amount = 9 where id = 'alpha 2'`)

    const { tables, rows } = await compare(backup)

    expect(counts(tables.get('shop.values_of_all_kinds'))).toMatchObject({ changed: 1, equal: 3 })
    expect(rows.map(({ key }) => key)).toEqual([['alpha 2']])
  })

  test('a masked column says only that it differs', async () => {
    const backup = await take()
    await sql(`
      update shop.values_of_all_kinds set pin_hash = 'canary-changed' where id = 'alpha 1';
      delete from shop.values_of_all_kinds where id = 'alpha 2';
    `)

    const { rows } = await compare(backup)

    expect(rows.map(({ kind }) => kind)).toEqual(['changed', 'only_in_backup'])
    expect(rows[0]?.columns).toEqual([
      { name: 'pin_hash', before: null, after: null, is_masked: true, is_cut: false },
    ])
    expect(rows[1]?.columns).toContainEqual({
      name: 'pin_hash',
      before: null,
      after: null,
      is_masked: true,
      is_cut: false,
    })
    expect(JSON.stringify(rows)).not.toMatch(/secret|canary/)
  })

  test('a masked key is no text', async () => {
    await sql(
      `update tenantkeep.tenant_tables set masked_columns = '{id}' where table_name = 'values_of_all_kinds'`,
    )
    const backup = await take()
    await sql(`update shop.values_of_all_kinds set amount = 9 where id = 'alpha 2'`)

    const { rows } = await compare(backup)

    expect(rows.map(({ key, label }) => ({ key, label }))).toEqual([{ key: [null], label: null }])
  })

  test('long values are cut in what is shown, never in what is compared', async () => {
    await sql(`update shop.accounts set label = repeat('x', 3000) || 'a' where label = 'alpha 1'`)
    const backup = await take()
    await sql(`update shop.accounts set label = repeat('x', 3000) || 'b' where label like 'xxx%'`)

    const { rows } = await compare(backup)

    const shown = `${'x'.repeat(2_000)}…`
    expect(rows[0]?.columns).toEqual([
      { name: 'label', before: shown, after: shown, is_masked: false, is_cut: true },
    ])
  })

  test('only the tables that are asked for', async () => {
    const backup = await take()
    await sql(`delete from shop.entries; update shop.accounts set balance = 1`)

    const { comparison, different } = await compare(backup, { tables: ['shop.accounts'] })

    expect(comparison.tables.map(({ name }) => name)).toEqual(['shop.accounts'])
    expect(different).toEqual(['shop.accounts'])
  })

  test('a table that neither side has is refused', async () => {
    const backup = await take()

    await expect(compare(backup, { tables: ['accounts'] })).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringMatching(/Neither side has a table accounts/),
    })
  })

  test('rows beyond the most that are kept are counted all the same', async () => {
    const backup = await take()
    await sql(`update shop.accounts set balance = 1; update shop.pockets set balance = 2`)

    const { tables, rows } = await compare(backup, { maxRows: 12 })

    const accounts = tables.get('shop.accounts')
    const pockets = tables.get('shop.pockets')
    expect([accounts?.changed, pockets?.changed]).toEqual([20, 20])
    // Half of what is left, so that the second table has its share.
    expect([accounts?.keptRows, pockets?.keptRows]).toEqual([6, 3])
    expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 9 }, (_, i) => i + 1))
  })

  test('a tenant that is gone has everything in the backup only', async () => {
    const backup = await take()
    await sql(`
      delete from shop.entries; delete from shop.accounts; delete from shop.pockets; delete from shop.events;
      delete from shop."Odd ""Name"""; delete from shop.values_of_all_kinds; delete from shop.moods;
      delete from shop.tenants where id = 'alpha';
    `)

    const { comparison } = await compare(backup)

    expect(
      comparison.tables.map(({ rowsInBackup, onlyInBackup }) => rowsInBackup - onlyInBackup),
    ).toEqual(comparison.tables.map(() => 0))
  })
})

describe('another tenant', () => {
  test('has no part in it: its changes are no difference, its rows are in no row', async () => {
    const backup = await take()
    await sql(`
      update shop.accounts set balance = 5, label = 'canary ' || label;
      delete from shop.values_of_all_kinds where tenant_id = 'beta';
      update shop.events set body = '{"canary": true}' where tenant_id = 'beta';
    `)

    const { tables, rows } = await compare(backup)

    expect(counts(tables.get('shop.accounts'))).toMatchObject({ changed: 20, onlyInOther: 0 })
    expect(tables.get('shop.events')?.equal).toBe(9)
    expect(JSON.stringify(rows)).toContain('canary alpha 1')
    expect(JSON.stringify(rows)).not.toContain('beta')
  })

  test("'s backup is not found", async () => {
    const backup = await take(BETA)

    await expect(compare(backup)).rejects.toMatchObject({ code: 'backup_not_found' })
  })
})

describe('against another backup', () => {
  test('shows what happened between the two, whatever is live now', async () => {
    const first = await take()
    await sql(`update shop.accounts set balance = 1 where label = 'alpha 3'`)
    const second = await take()
    await sql(`delete from shop.events; update shop.accounts set balance = 2`)

    const { comparison, rows, different } = await compare(first, { against: second.id })

    expect(different).toEqual(['shop.accounts'])
    expect(comparison).toMatchObject({ backupId: first.id, otherBackupId: second.id })
    expect(rows.map((row) => row.columns)).toEqual([
      [{ name: 'balance', before: '100.0000', after: '1.0000', is_masked: false, is_cut: false }],
    ])
  })

  test('of the same rows is equal without a download', async () => {
    const first = await take()
    const second = await take()
    const progress: unknown[] = []

    const { comparison } = await compare(first, {
      against: second.id,
      onProgress: (told) => progress.push(told),
    })

    expect(comparison.isEqual).toBe(true)
    expect(progress).toEqual([{ phase: 'locking', table: null, rowsDone: 0, rowsTotal: 0 }])
  })

  test('a table dropped since is named with its rows', async () => {
    const first = await take()
    await sql(
      `delete from shop.pockets where id = (select id from shop.pockets where tenant_id = 'alpha' limit 1)`,
    )
    const second = await take()
    await sql('drop table shop.pockets')
    await protectSmallHost(database)

    const { comparison, tables } = await compare(first, { against: second.id })

    expect(tables.get('shop.pockets')).toMatchObject({
      presence: 'dropped',
      isCompared: false,
      rowsInBackup: 20,
      rowsInOther: 19,
    })
    expect(comparison.isEqual).toBe(false)
  })
})

describe('after a change of the schema', () => {
  test('only columns that both sides have are compared, the others are named', async () => {
    const backup = await take()
    await sql(`
      alter table shop.accounts drop column label, add column nickname text default 'none';
      update shop.accounts set balance = 3 where id = (select min(id) from shop.accounts where tenant_id = 'alpha');
    `)
    await protectSmallHost(database)

    const { tables, rows } = await compare(backup)

    expect(tables.get('shop.accounts')).toMatchObject({
      columnsOnlyInBackup: ['label'],
      columnsOnlyInOther: ['nickname'],
      changed: 1,
      equal: 19,
    })
    expect(rows[0]?.columns.map(({ name }) => name)).toEqual(['balance'])
  })

  test('tables that only one side has are named with their rows', async () => {
    const backup = await take()
    await sql(`
      drop table shop.pockets;
      create table shop.added (id int primary key, tenant_id text not null references shop.tenants (id));
      insert into shop.added values (1, 'alpha'), (2, 'beta');
    `)
    await protectSmallHost(database)

    const { comparison, tables } = await compare(backup)

    expect(tables.get('shop.pockets')).toMatchObject({
      presence: 'backup',
      rowsInBackup: 20,
      onlyInBackup: 20,
    })
    expect(tables.get('shop.added')).toMatchObject({
      presence: 'other',
      rowsInOther: 1,
      onlyInOther: 1,
    })
    expect(comparison.isEqual).toBe(false)
  })

  test('a wider type is no difference', async () => {
    const backup = await take()
    await sql(`
      alter table shop.accounts alter column balance type numeric(24, 6);
      alter table shop."Odd ""Name""" alter column "Line No" type bigint;
    `)
    await protectSmallHost(database)

    const { tables } = await compare(backup)

    expect(tables.get('shop.accounts')).toMatchObject({ changed: 0, equal: 20, isByText: false })
    expect(tables.get('shop.Odd "Name"')).toMatchObject({ changed: 0, equal: 3 })
  })

  test('values that can not be read as the type of now are compared as texts', async () => {
    await sql(`update shop.values_of_all_kinds set body = 'null' where id = 'alpha 3'`)
    const backup = await take()
    await sql(`
      alter type shop.mood rename value 'calm' to 'serene';
      update shop.values_of_all_kinds set body = null where id = 'alpha 3';
      update shop.values_of_all_kinds set mood = 'cross' where id = 'alpha 4';
    `)

    const { tables, rows } = await compare(backup, { tables: ['shop.values_of_all_kinds'] })

    expect(tables.get('shop.values_of_all_kinds')).toMatchObject({ isByText: true, changed: 4 })
    expect(
      rows.map((row) => row.columns.map(({ name, before, after }) => [name, before, after])),
    ).toEqual([
      [['mood', 'calm', 'serene']],
      [['mood', 'calm', 'serene']],
      [
        ['mood', 'calm', 'serene'],
        ['body', 'null', null],
      ],
      [['mood', 'calm', 'cross']],
    ])
  })

  test('a key that became longer still matches rows', async () => {
    const backup = await take()
    await sql(`
      alter table shop.values_of_all_kinds drop constraint values_of_all_kinds_pkey,
        add primary key (tenant_id, id);
      update shop.values_of_all_kinds set amount = 5 where id = 'alpha 1';
    `)
    await protectSmallHost(database)

    const { tables, rows } = await compare(backup)

    expect(tables.get('shop.values_of_all_kinds')).toMatchObject({ changed: 1, isByKey: true })
    expect(rows[0]?.key).toEqual(['alpha', 'alpha 1'])
  })
})

test('writers go on while a comparison holds its snapshot, and are not in it', async () => {
  const backup = await take()
  await sql(`update shop.accounts set balance = 8 where label = 'alpha 1'`)
  const writes: string[] = []
  const { store: directory } = store
  // By the time a part is read the snapshot is open; the comparison waits here until the writers are done.
  const slow: Store = {
    url: directory.url,
    check: () => directory.check(),
    put: (...given) => directory.put(...given),
    stat: (...given) => directory.stat(...given),
    list: (...given) => directory.list(...given),
    remove: (...given) => directory.remove(...given),
    async get(path, signal) {
      if (path.includes('accounts')) {
        await sql(`
          set lock_timeout = '5s';
          insert into shop.pockets (tenant_id) values ('alpha');
          delete from shop.events where tenant_id = 'alpha';
          update shop.accounts set label = 'written meanwhile';
        `).catch((error: Error) => writes.push(error.message))
        writes.push('written')
      }
      return directory.get(path, signal)
    },
  }

  const { comparison } = await runComparison(servicesOf(database.worker, slow), {
    tenantId: ALPHA,
    tenantName: null,
    against: 'live',
    actor: SYSTEM,
    backup: { backupId: backup.id },
  })

  expect(writes).toEqual(['written'])
  expect(comparison.tables.filter((table) => table.equal < table.rowsInOther)).toEqual([
    expect.objectContaining({ name: 'shop.accounts', changed: 1, equal: 19, rowsInOther: 20 }),
  ])
})

describe('what is kept', () => {
  test('is paged by table and kind, without gap or repetition', async () => {
    const backup = await take()
    await sql(`
      update shop.accounts set balance = 1;
      delete from shop.pockets where tenant_id = 'alpha';
    `)
    const { runId, rows } = await compare(backup)

    const seen: number[] = []
    let cursor: number | undefined
    do {
      const page = await listDifferences(database.worker, { runId, cursor, limit: 7 })
      seen.push(...page.rows.map(({ number }) => number))
      cursor = page.nextCursor ?? undefined
    } while (cursor !== undefined)
    const ofPockets = await listDifferences(database.worker, {
      runId,
      table: 'shop.pockets',
      kind: 'only_in_backup',
    })
    const none = await listDifferences(database.worker, {
      runId,
      table: 'shop.pockets',
      kind: 'changed',
    })

    expect(seen).toEqual(rows.map(({ number }) => number))
    expect(ofPockets.rows).toHaveLength(20)
    expect(none.rows).toEqual([])
  })

  test('goes after a day, with the next comparison', async () => {
    const backup = await take()
    await sql(`update shop.accounts set balance = 1`)
    const { runId } = await compare(backup)
    await database.superuser.query(
      `update tenantkeep.comparison_rows set created_at = created_at - interval '25 hours';
       update tenantkeep.runs set finished_at = finished_at - interval '25 hours' where id = '${runId}'`,
    )

    const stale = await listDifferences(database.worker, { runId })
    await deleteExpiredRows(database.worker)

    expect(stale.rows).toEqual([])
    await expect(readCompareRun(database.worker, runId)).rejects.toMatchObject({
      code: 'run_not_found',
    })
    const { rows } = await database.superuser.query(
      `select from tenantkeep.comparison_rows where run_id = $1`,
      [runId],
    )
    expect(rows).toEqual([])
  })

  test('a comparison that fails keeps nothing, says why, and leaves nothing behind', async () => {
    const backup = await take()
    await sql(`
      update shop.accounts set balance = 1;
      create policy hides on shop.pockets as restrictive for select to public using (false);
    `)

    await expect(compare(backup)).rejects.toMatchObject({
      code: expect.stringMatching(/rows_hidden|confinement_broken/),
    })

    await sql('drop policy hides on shop.pockets')
    const { rows } = await database.superuser.query<{ status: string; code: string; kept: number }>(
      `select r.status, r.error_code as code,
         (select count(*)::int from tenantkeep.comparison_rows c where c.run_id = r.id) as kept
       from tenantkeep.runs r where r.kind = 'compare' order by r.created_at desc limit 1`,
    )
    expect(rows).toEqual([
      { status: 'failed', code: expect.stringMatching(/rows_hidden|confinement_broken/), kept: 0 },
    ])
  })
})
