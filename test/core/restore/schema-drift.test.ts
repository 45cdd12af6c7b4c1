import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { BackupError } from '../../../src/core/errors.ts'
import type { RestoreResult } from '../../../src/core/restore/restore-result.ts'
import { type OthersPhotograph, readRowVersions } from '../../support/expect-others-equal.ts'
import {
  countWrites,
  createRestoreTrial,
  type Options,
  protect,
  type RestoreTrial,
} from '../../support/restore-trial.ts'

/**
 * What a migration does to a table between a backup and its restore. Every case has a table of its own,
 * `id int primary key, org_id int` and its columns, with these rows for us and the same for a neighbour.
 */
interface Drift {
  /** What the case is about; also the name of its table. */
  table: string
  columns: string
  /** Values of the columns, row by row; ids count from 1. */
  rows: string[]
  /** The migration, `T` being the table. */
  migrate: string
  /** What happens to our rows then. */
  damage: string
  /** Names of the changes in the plan; those with a `!` may lose something. */
  changes: string[]
  /** What a dry run that accepts them finds in the way: code, constraint, keys. */
  blockers?: [string, string | null, ...string[]][]
  /** The code of a restore that accepts them and is refused; undefined where it is done. */
  refusal?: string
  /** Choices of the restore that is done, where there is a refusal without them. */
  options?: Options
  /** Our rows after it, as text. */
  after?: string[]
}

const DRIFTS: readonly Drift[] = [
  {
    table: 'column_added',
    columns: 'v text',
    rows: [`'a'`, `'b'`, `'c'`],
    migrate: 'alter table T add column more text',
    damage: `update T set v = 'spoiled', more = 'kept' where id = 1; delete from T where id = 2`,
    changes: ['added_column:column_added.more'],
    after: ['(1,1,a,kept)', '(2,1,b,)', '(3,1,c,)'],
  },
  {
    table: 'column_added_with_default',
    columns: 'v text',
    rows: [`'a'`, `'b'`],
    migrate: `alter table T add column more text not null default 'usual'`,
    damage: `update T set v = 'spoiled', more = 'kept' where id = 1; delete from T where id = 2`,
    changes: ['added_column:column_added_with_default.more'],
    after: ['(1,1,a,kept)', '(2,1,b,usual)'],
  },
  {
    table: 'column_added_without_default',
    columns: 'v text',
    rows: [`'a'`, `'b'`],
    migrate: `alter table T add column more text; update T set more = 'x'; alter table T alter more set not null`,
    damage: `update T set v = 'spoiled' where id = 1; delete from T where id = 2`,
    changes: ['added_column:column_added_without_default.more'],
    blockers: [['row_refused', 'more', '2']],
    refusal: 'restore_blocked',
    options: { missing: 'keep' },
    after: ['(1,1,a,x)'],
  },
  {
    table: 'column_added_and_values_swapped',
    columns: 'v text, unique (org_id, v)',
    rows: [`'a'`, `'b'`],
    migrate: `alter table T add column more text; update T set more = 'of ' || id; alter table T alter more set not null`,
    damage: `update T set v = 'aside' where id = 1; update T set v = 'a' where id = 2; update T set v = 'b' where id = 1`,
    changes: ['added_column:column_added_and_values_swapped.more'],
    after: ['(1,1,a,"of 1")', '(2,1,b,"of 2")'],
  },
  {
    table: 'column_dropped',
    columns: 'v text, gone text',
    rows: [`'a', 'x'`, `'b', 'y'`],
    migrate: 'alter table T drop column gone',
    damage: `update T set v = 'spoiled' where id = 1; delete from T where id = 2`,
    changes: ['dropped_column:column_dropped.gone!'],
    after: ['(1,1,a)', '(2,1,b)'],
  },
  {
    table: 'column_renamed',
    columns: 'v text, w text',
    rows: [`'a', 'x'`, `'b', 'y'`],
    migrate: 'alter table T rename column v to name',
    damage: `update T set w = 'spoiled' where id = 1; delete from T where id = 2`,
    changes: ['dropped_column:column_renamed.v!', 'added_column:column_renamed.name'],
    after: ['(1,1,a,x)', '(2,1,,y)'],
  },
  {
    table: 'column_computed_now',
    columns: 'v text, w text',
    rows: [`'a', 'A'`, `'b', 'B'`],
    migrate:
      'alter table T drop column w; alter table T add column w text generated always as (upper(v)) stored',
    damage: `update T set v = 'spoiled' where id = 1; delete from T where id = 2`,
    changes: ['dropped_column:column_computed_now.w!'],
    after: ['(1,1,a,A)', '(2,1,b,B)'],
  },
  {
    table: 'column_computed_then',
    columns: 'v text, w text generated always as (upper(v)) stored',
    rows: [`'a'`, `'b'`],
    migrate: 'alter table T alter column w drop expression',
    damage: `update T set v = 'spoiled' where id = 1; delete from T where id = 2`,
    changes: ['added_column:column_computed_then.w'],
    after: ['(1,1,a,A)', '(2,1,b,)'],
  },
  {
    table: 'types_widened',
    columns: 'a smallint, b int, c varchar(3), d numeric(4,1), e int, f varchar(3)',
    rows: [`1, 2, 'abc', 1.5, 3, 'x'`, `-7, null, 'ä', 100, 4, ''`],
    migrate: `alter table T alter a type int, alter b type bigint, alter c type text, alter d type numeric(8,3),
      alter e type numeric, alter f type varchar(9)`,
    damage: `update T set b = b + 1, c = 'long text', d = 1000.125 where id = 1; delete from T where id = 2`,
    changes: ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `changed_type:types_widened.${name}`),
    after: ['(1,1,1,2,abc,1.500,3,x)', '(2,1,-7,,ä,100.000,4,"")'],
  },
  {
    table: 'types_narrowed',
    columns: 'a text, b numeric(8,3), c bigint',
    rows: [`'short', 1.5, 1`, `'too long', 2.125, 2`, `'short', 3, 3000000000`],
    migrate: `delete from T where id in (2, 3, 102, 103); alter table T alter a type varchar(5),
      alter b type numeric(6,1), alter c type bigint`,
    damage: `update T set a = 'no' where id = 1`,
    changes: ['changed_type:types_narrowed.a!', 'changed_type:types_narrowed.b!'],
    blockers: [['row_refused', null, '2']],
    refusal: 'restore_blocked',
    options: { rows: { types_narrowed: [{ id: '1' }, { id: '3' }] } },
    after: ['(1,1,short,1.5,1)', '(3,1,short,3.0,3000000000)'],
  },
  {
    table: 'types_readable',
    columns: 'a int, b text, c text, d timestamptz, e text[], f text, g mood, h boolean',
    rows: [
      `1, '10', '{"n": 1.10}', '2026-01-02 03:04:05+00', '{1,2}', 'low', 'high', true`,
      `2, '-3', 'null', null, '{}', 'high', 'low', null`,
    ],
    migrate: `alter table T alter a type text, alter b type int using b::int, alter c type jsonb using c::jsonb,
      alter d type timestamp using d at time zone 'UTC', alter e type int[] using e::int[],
      alter f type mood using f::mood, alter g type text, alter h type text`,
    damage: `update T set a = 'spoiled', b = 0, c = '{}', f = 'high' where id = 1; delete from T where id = 2`,
    changes: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map(
      (name) => `changed_type:types_readable.${name}!`,
    ),
    after: [
      '(1,1,1,10,"{""n"": 1.10}","2026-01-02 03:04:05","{1,2}",low,high,true)',
      '(2,1,2,-3,null,,{},high,low,)',
    ],
  },
  {
    table: 'types_of_json',
    columns: 'a jsonb, b json, c jsonb, d json, e jsonb',
    rows: [
      `'{"a": 1}', '{"b" : 1}', '[1, null]', '{"d" : 2}', '7'`,
      `'null', 'null', null, null, null`,
    ],
    migrate: `alter table T alter a type json, alter b type jsonb, alter c type text, alter d type text,
      alter e type int using e::int`,
    damage: `update T set a = '1', b = '1', c = 'x', d = 'x', e = 0 where id = 1; delete from T where id = 2`,
    changes: ['a', 'b', 'c', 'd', 'e'].map((name) => `changed_type:types_of_json.${name}!`),
    after: ['(1,1,"{""a"": 1}","{""b"": 1}","[1, null]","{""d"" : 2}",7)', '(2,1,null,null,,,)'],
  },
  {
    table: 'type_not_readable',
    columns: 'v text',
    rows: [`'a'`, `'b'`],
    migrate: 'alter table T alter v type int using 0',
    damage: 'delete from T where id = 2',
    changes: ['changed_type:type_not_readable.v!'],
    refusal: 'schema_changed',
  },
  {
    table: 'enum_value_added',
    columns: 'v mood',
    rows: [`'low'`, `'high'`],
    migrate: `alter type mood add value 'middle'`,
    damage: `update T set v = 'middle' where id = 1; delete from T where id = 2`,
    changes: [],
    after: ['(1,1,low)', '(2,1,high)'],
  },
  {
    table: 'enum_value_renamed',
    columns: 'v grade',
    rows: [`'good'`, `'bad'`],
    migrate: `alter type grade rename value 'bad' to 'poor'`,
    damage: 'delete from T where id = 2',
    changes: [],
    refusal: 'schema_changed',
  },
  {
    table: 'rows_asked_for_more',
    columns: 'a int, b percent, c int',
    rows: ['1, 1, 1', '-1, 2, 2', '3, 200, 3', '4, 4, null', '5, 5, 5'],
    migrate: `delete from T where id % 100 in (2, 3, 4); alter table T add constraint positive check (a > 0);
      alter domain percent add constraint at_most_all check (value <= 100); alter table T alter c set not null`,
    damage: 'update T set a = 9 where id = 1',
    changes: [],
    blockers: [
      ['row_refused', 'c', '4'],
      ['row_refused', 'at_most_all', '3'],
      ['row_refused', 'positive', '2'],
    ],
    refusal: 'restore_blocked',
    options: { missing: 'keep' },
    after: ['(1,1,1,1,1)', '(5,1,5,5,5)'],
  },
  {
    table: 'unique_added',
    columns: 'v int',
    rows: ['1', '1', '2'],
    migrate:
      'delete from T where id in (2, 102); alter table T add constraint one_each unique (org_id, v)',
    damage: 'update T set v = 9 where id = 3',
    changes: [],
    blockers: [['key_taken', 'one_each', '2']],
    refusal: 'restore_blocked',
    options: { on_taken: 'skip' },
    after: ['(1,1,1)', '(3,1,2)'],
  },
  {
    table: 'unique_added_between_rows_of_the_backup',
    columns: 'v int',
    rows: ['1', '1', '2'],
    migrate: 'delete from T where v = 1; alter table T add constraint just_one unique (org_id, v)',
    damage: 'update T set v = 9 where id = 3',
    changes: [],
    blockers: [['row_refused', 'just_one', '2']],
    refusal: 'restore_blocked',
    options: { missing: 'keep' },
    after: ['(3,1,2)'],
  },
  {
    table: 'foreign_key_added',
    columns: 'v int',
    rows: ['1', '77', 'null'],
    migrate:
      'delete from T where v = 77; alter table T add constraint to_kinds foreign key (v) references kinds',
    damage: 'update T set v = 2 where id = 1',
    changes: [],
    blockers: [['missing_reference', 'to_kinds', '2']],
    refusal: 'restore_blocked',
    options: { on_missing_reference: 'null' },
    after: ['(1,1,1)', '(2,1,)', '(3,1,)'],
  },
  {
    table: 'key_replaced',
    columns: 'v text',
    rows: [`'a'`, `'b'`],
    migrate: `alter table T add column uid uuid not null default gen_random_uuid(); alter table T drop constraint key_replaced_pkey;
      alter table T add primary key (uid)`,
    damage: `update T set v = 'spoiled' where id = 2`,
    changes: ['added_column:key_replaced.uid'],
    after: ['(1,1,a,', '(2,1,b,'],
  },
  {
    table: 'key_dropped',
    columns: 'v text',
    rows: [`'a'`, `'b'`],
    migrate: 'alter table T drop constraint key_dropped_pkey',
    damage: `update T set v = 'spoiled' where id = 2; insert into T values (1, 1, 'a')`,
    changes: [],
    after: ['(1,1,a)', '(2,1,b)'],
  },
  {
    table: 'table_made_anew',
    columns: 'v text, w int',
    rows: [`'a', 1`, `'b', 2`],
    migrate: `alter table T rename to old_one;
      create table public.T (w int, v text, org_id int not null references orgs, id int, constraint anew primary key (id));
      insert into T select w, v, org_id, id from old_one; drop table old_one`,
    damage: `update T set v = 'spoiled' where id = 1; delete from T where id = 2`,
    changes: [],
    after: ['(1,a,1,1)', '(2,b,1,2)'],
  },
]

/** Tables that come and go; they are in no case's scope. */
const TABLES = {
  before: `create table dropped (id int primary key, org_id int not null references orgs);
    create table dropped_empty (id int primary key, org_id int not null references orgs);
    create table renamed (id int primary key, org_id int not null references orgs);
    insert into dropped values (1, 1), (101, 2);
    insert into renamed values (1, 1), (101, 2);`,
  after: `drop table dropped; drop table dropped_empty; alter table renamed rename to new_name;
    create table public.added (id int primary key, org_id int not null references orgs);
    insert into added values (1, 1), (101, 2)`,
}

const PROTECTION = {
  tenantTable: 'orgs',
  tenantColumns: ['org_id'],
  answers: { shared: ['kinds'] },
}

const HOST = {
  sql: `
    create table orgs (id int primary key, name text);
    insert into orgs values (1, 'ours'), (2, 'the neighbour’s');
    create type mood as enum ('low', 'high');
    create type grade as enum ('good', 'bad');
    create domain percent as int;
    create table kinds (id int primary key);
    insert into kinds values (1), (2);
    ${DRIFTS.map(createTable).join('')}
    ${TABLES.before}`,
  options: PROTECTION,
  tenants: ['1', '2'],
  owns: Object.fromEntries([
    ['orgs', 't.id::text = $1'],
    ...[
      ...DRIFTS.map(({ table }) => table),
      'dropped',
      'dropped_empty',
      'renamed',
      'new_name',
      'added',
    ].map((table) => [table, 't.org_id::text = $1']),
  ]),
} as const

function createTable({ table, columns, rows }: Drift): string {
  const values = [1, 2].flatMap((tenant) =>
    rows.map((row, at) => `(${at + 1 + (tenant - 1) * 100}, ${tenant}, ${row})`),
  )
  return `create table ${table} (id int primary key, org_id int not null references orgs, ${columns});
    insert into ${table} values ${values.join(', ')};`
}

let trial: RestoreTrial
let backup: Backup
let others: OthersPhotograph
beforeAll(async () => {
  trial = await createRestoreTrial(HOST)
  backup = await trial.backUp()
  for (const { table, migrate } of DRIFTS) await trial.damage(migrate.replaceAll(/\bT\b/g, table))
  await trial.damage(TABLES.after)
  await protect(trial.database, PROTECTION)
  for (const { table, damage } of DRIFTS) await trial.damage(damage.replaceAll(/\bT\b/g, table))
  others = await trial.photographOthers()
})
afterAll(() => trial?.drop())

const changesOf = ({ schemaChanges }: Pick<RestoreResult, 'schemaChanges'>, table: string) =>
  schemaChanges
    .filter((change) => change.table === table)
    .map(({ name, isLossy }) => name + (isLossy ? '!' : ''))
const blockersOf = ({ blockers }: Pick<RestoreResult, 'blockers'>, table: string) =>
  blockers
    .filter((blocker) => blocker.table === table)
    .map(({ code, constraint, keys }) => [code, constraint, ...keys.flat()])
const lossyOf = (drifts: readonly Drift[]) =>
  drifts
    .flatMap(({ changes }) => changes)
    .filter((name) => name.endsWith('!'))
    .map((name) => name.slice(0, -1))

describe('what a restore can do without loss, or with consent', () => {
  const drifts = DRIFTS.filter(({ refusal }) => refusal === undefined)
  const tables = drifts.map(({ table }) => table)
  const accepted = { tables, accept_schema_changes: lossyOf(drifts) }
  let plan: RestoreResult
  let second: RestoreResult
  beforeAll(async () => {
    plan = await trial.rehearse(backup, { tables })
    await trial.restore(backup, accepted)
    second = await trial.rehearse(backup, accepted)
  })

  test.each(drifts)('$table', async ({ table, changes, after = [], ...drift }) => {
    expect(changesOf(plan, table)).toEqual(changes)
    expect(blockersOf(plan, table)).toEqual(
      lossyOf([{ table, changes, ...drift }]).map((name) => ['schema_changed', name]),
    )
    // Of a row that ends in what the database made up, only the beginning is told.
    expect(
      (await readOwn(table)).map((row, at) => (row.startsWith(after[at] ?? '?') ? after[at] : row)),
    ).toEqual(after)
  })

  test('a second time nothing is left to do', () => {
    expect(
      second.tables.filter((table) => countWrites({ ...second, tables: [table] }) > 0),
    ).toEqual([])
  })

  test('without consent nothing is written, and all that needs it is named', async () => {
    const versions = await readRowVersions(trial.database)
    await expect(trial.restore(backup, { tables })).rejects.toMatchObject({
      code: 'schema_changed',
      details: {
        changes: expect.arrayContaining(
          lossyOf(drifts).map((name) => expect.objectContaining({ name })),
        ),
      },
    })
    expect(await readRowVersions(trial.database)).toEqual(versions)
  })
})

describe('rows that the schema of now does not take', () => {
  const drifts = DRIFTS.filter(({ refusal }) => refusal === 'restore_blocked')
  const accepted = {
    tables: drifts.map(({ table }) => table),
    accept_schema_changes: lossyOf(drifts),
  }

  test('are named all at once, and nothing is written', async () => {
    const versions = await readRowVersions(trial.database)
    const plan = await trial.rehearse(backup, accepted)
    const refused = await trial.restore(backup, accepted).catch(codeOf)

    expect(refused).toBe('restore_blocked')
    expect(await readRowVersions(trial.database)).toEqual(versions)
    for (const { table, changes, blockers } of drifts) {
      expect(changesOf(plan, table)).toEqual(changes)
      expect(blockersOf(plan, table)).toEqual(blockers)
    }
  })

  test.each(drifts)('stay away by a choice: $table', async ({ table, options, after }) => {
    const chosen = { ...accepted, tables: [table], ...options }
    await trial.restore(backup, chosen)
    expect(await readOwn(table)).toEqual(after)
    expect(countWrites(await trial.rehearse(backup, chosen))).toBe(0)
  })
})

test.each(DRIFTS.filter(({ refusal }) => refusal === 'schema_changed'))(
  'values that the type of now does not have are refused: $table',
  async ({ table, ...drift }) => {
    const versions = await readRowVersions(trial.database)
    const accepted = { tables: [table], accept_schema_changes: lossyOf([{ table, ...drift }]) }
    await expect(trial.restore(backup, accepted)).rejects.toMatchObject({
      code: 'schema_changed',
      details: { table },
    })
    expect(await readRowVersions(trial.database)).toEqual(versions)
  },
)

test('tables that came and went are named, and the rest is restored once that is accepted', async () => {
  const named = ['dropped_table:dropped', 'dropped_table:renamed']
  const rest = { tables: ['orgs', 'dropped', 'dropped_empty', 'renamed', 'new_name', 'added'] }
  await trial.damage(
    `update orgs set name = 'spoiled' where id = 1; insert into added values (2, 1)`,
  )

  const plan = await trial.rehearse(backup, rest)
  const refused = await trial.restore(backup, rest).catch(codeOf)
  await trial.restore(backup, { ...rest, accept_schema_changes: named })

  expect(plan.schemaChanges.map(({ name, isLossy }) => name + (isLossy ? '!' : '')).sort()).toEqual(
    [
      'added_table:added',
      'added_table:new_name',
      'dropped_table:dropped!',
      'dropped_table:renamed!',
    ],
  )
  expect(plan.blockers.map(({ code, constraint }) => [code, constraint])).toEqual(
    named.map((name) => ['schema_changed', name]),
  )
  expect(refused).toBe('schema_changed')
  const { rows } = await trial.database.admin.query<{
    name: string
    added: string
    renamed: string
  }>(
    `select name, (select count(*) from added where org_id = 1) as added,
       (select count(*) from new_name where org_id = 1) as renamed from orgs where id = 1`,
  )
  expect(rows).toEqual([{ name: 'ours', added: '2', renamed: '1' }])
})

test('all that changed is named at once, and accepting one is not accepting another', async () => {
  const plan = await trial
    .rehearse(backup, {
      tables: ['column_dropped', 'type_not_readable', 'dropped'],
      accept_schema_changes: ['dropped_column:column_dropped.gone'],
    })
    .catch(codeOf)
  expect(plan).toBe('schema_changed')

  const wanted = { tables: ['column_dropped', 'dropped'] }
  const partly = await trial
    .restore(backup, {
      ...wanted,
      accept_schema_changes: ['dropped_column:column_dropped.gone', 'dropped_column:dropped.id'],
    })
    .catch(codeOf)
  expect(partly).toBe('schema_changed')
})

test('what a restore across a migration did is undone', async () => {
  const original = await trial.photographTenant()
  await trial.damage(`update column_added set v = 'x' where id = 1; update column_added set more = 'y' where id = 3;
    delete from types_widened where id = 1; update column_dropped set v = 'x' where org_id = 1`)
  const damaged = await trial.photographTenant()
  const options = {
    tables: ['column_added', 'types_widened', 'column_dropped'],
    accept_schema_changes: ['dropped_column:column_dropped.gone'],
  }

  const { restoreId } = await trial.restore(backup, options)
  await trial.undo(restoreId)

  await damaged.expectEqual()
  await trial.restore(backup, options)
  await trial.damage('update column_added set more = null where id = 3')
  await original.expectEqual()
})

test('nobody else’s rows moved in any of this', async () => {
  await others.expectEqual()
})

test('a table that is gone and still registered asks for init first', async () => {
  await trial.damage('drop table rows_asked_for_more')
  await expect(trial.rehearse(backup, { tables: ['column_added'] })).rejects.toMatchObject({
    code: 'confinement_broken',
    message: expect.stringMatching(/rows_asked_for_more \(the table is gone\).*Run `init` again/),
  })
})

function codeOf(error: unknown): string {
  if (error instanceof BackupError) return error.code
  throw error
}

async function readOwn(table: string): Promise<string[]> {
  const { rows } = await trial.database.superuser.query<{ row: string }>(
    `select t::text as row from ${table} t where org_id = 1 order by id`,
  )
  return rows.map(({ row }) => row)
}
