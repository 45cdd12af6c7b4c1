import { finished } from 'node:stream/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Connection } from '../../../src/core/database/database.ts'
import { columnEncodingSql } from '../../../src/core/tables/column-encoding.ts'
import {
  createStaged,
  decodeSelect,
  encodeLine,
  RAW_LINES,
  selectLines,
} from '../../../src/core/tables/encode-rows.ts'
import type { Column, ProtectedTable } from '../../../src/core/tables/protected-table.ts'
import { quoteTable } from '../../../src/core/tables/quote-identifier.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database?.drop())

/** The table as the catalog has it; which rows are whose is not the question here. */
async function describeTable(
  session: Connection,
  name: string,
  primaryKey: ProtectedTable['primaryKey'],
): Promise<ProtectedTable> {
  const { rows } = await session.query<Column>(
    `select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, ${columnEncodingSql} as encoding,
       not a.attnotnull as "isNullable", a.attgenerated <> '' as "isGenerated", a.attidentity <> '' as "isIdentity",
       a.attidentity = 'a' as "isIdentityAlways", a.atthasdef as "hasDefault",
       exists (select from pg_type d where d.oid = a.atttypid and d.typtype = 'd') as "isDomain"
     from pg_attribute a where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped
     order by a.attnum`,
    [quoteTable({ schema: 'public', name })],
  )
  const relation = quoteTable({ schema: 'public', name })
  return {
    schema: 'public',
    name,
    label: name,
    relation,
    from: `from only ${relation}`,
    class: 'direct',
    isWritable: true,
    isHistory: false,
    keepLive: [],
    masked: [],
    labelColumns: [],
    position: 1,
    rowExpression: 'true',
    columns: rows,
    primaryKey,
  }
}

async function readLines(session: Connection, sql: string): Promise<string[]> {
  const chunks: Buffer[] = []
  for await (const chunk of session.copyOut(sql)) chunks.push(chunk)
  return Buffer.concat(chunks).toString().split('\n').slice(0, -1)
}

interface Case {
  name: string
  create: string
  lines: string[]
  key?: ProtectedTable['primaryKey']
}

const CASES: Case[] = [
  {
    name: 'a not-null column comes first, the key decides the order',
    create: `create table t (note text, id int primary key);
      insert into t values ('b', 2), (null, 10), ('a', 1)`,
    key: [{ name: 'id', isText: false }],
    lines: [',{"id":1,"note":"a"}', ',{"id":2,"note":"b"}', ',{"id":10,"note":null}'],
  },
  {
    name: 'text keys are ordered by their bytes, whatever the collation of the database',
    create: `create collation german (provider = icu, locale = 'de');
      create table t (id text collate german primary key); insert into t values ('a'), ('B'), ('ä')`,
    key: [{ name: 'id', isText: true }],
    lines: [',{"id":"B"}', ',{"id":"a"}', ',{"id":"ä"}'],
  },
  {
    name: 'without a key the lines decide, and equal rows stay as many as they are',
    create: `create table t (a int); insert into t values (2), (1), (null), (2)`,
    lines: [',{"a":1}', ',{"a":2}', ',{"a":2}', ',{"a":null}'],
  },
  {
    name: 'jsonb alone, where every key may be missing',
    create: `create table t (a jsonb, b jsonb);
      insert into t values (null, null), ('null', null), (null, '1'), ('{"b":null}', 'null')`,
    lines: [',{"a":null}', ',{"a":{"b": null},"b":null}', ',{"b":1}', ',{}'],
  },
  {
    name: 'an SQL null and a JSON null of a jsonb column stay two things, also where a text looks like one',
    create: `create table t (x text not null, c jsonb);
      insert into t values ('"c":null', null), ('"c":null', 'null'), ('', '"\\"c\\":null"')`,
    lines: [
      ',{"x":"","c":"\\"c\\":null"}',
      ',{"x":"\\"c\\":null","c":null}',
      ',{"x":"\\"c\\":null"}',
    ],
  },
  {
    name: 'names that need escaping in SQL and in JSON',
    create: `create table t ("it's ""a"" \\ name" int not null, "line" text, "p" text, "l" json, "t" int[], "ключ" int);
      insert into t values (1, 'x', 'y', E'{"a":\\n 1}', '{1,NULL}', 5)`,
    lines: [
      ',{"it\'s \\"a\\" \\\\ name":1,"line":"x","p":"y","l":"{\\"a\\":\\n 1}","t":"{1,NULL}","ключ":5}',
    ],
  },
  {
    name: 'generated columns are left out, identity columns are not',
    create: `create table t (id int generated always as identity primary key, a int, b int generated always as (a + 1) stored);
      insert into t (a) values (1)`,
    key: [{ name: 'id', isText: false }],
    lines: [',{"id":1,"a":1}'],
  },
  {
    name: 'a composite whose every field is null is not null',
    create: `create type pair as (a int, b text); create table t (id int primary key, p pair);
      insert into t values (1, row(null, null)), (2, null)`,
    key: [{ name: 'id', isText: false }],
    lines: [',{"id":1,"p":"(,)"}', ',{"id":2,"p":null}'],
  },
  {
    name: 'a cast function to text is not mistaken for the text of a value',
    create: `create type mood as enum ('fine', 'bad');
      create function loud(mood) returns text language sql immutable as $$ select case $1 when 'fine' then 'FINE!' else 'BAD!' end $$;
      create cast (mood as text) with function loud(mood);
      create table t (id int primary key, m mood, ms mood[]);
      insert into t values (1, 'bad', '{fine}'), (2, null, null)`,
    key: [{ name: 'id', isText: false }],
    lines: [',{"id":1,"m":"bad","ms":"{fine}"}', ',{"id":2,"m":null,"ms":null}'],
  },
  {
    name: 'a table of 400 columns',
    create: `do $$ begin execute 'create table t (' ||
        (select string_agg(format('c%s int', i), ', ') from generate_series(1, 400) i) || ')'; end $$;
      insert into t (c7) values (7)`,
    lines: [
      `,{${Array.from({ length: 400 }, (_, i) => `"c${i + 1}":${i === 6 ? 7 : 'null'}`).join(',')}}`,
    ],
  },
]

test.each(CASES)('$name', async ({ create, lines, key }) => {
  await database.admin.withConnection(async (session) => {
    await session.query('begin; set local search_path = public, pg_catalog')
    await session.query(create)
    const table = await describeTable(session, 't', key ?? [])
    const written = await readLines(session, selectLines(table))
    expect(written).toEqual(lines)

    await session.query('create temp table raw (line text) on commit drop')
    const copy = session.copyIn(`copy pg_temp.raw from stdin ${RAW_LINES}`)
    const loaded = finished(copy)
    copy.end(written.map((line) => `${line.replace(',', ' ')}\n`).join(''))
    await loaded
    await session.query(createStaged(table, 'pg_temp.staged'))
    await session.query(
      `insert into pg_temp.staged ${decodeSelect(table, { lines: 'pg_temp.raw', staged: 'pg_temp.staged' })}`,
    )
    expect(await readLines(session, selectLines(table, { relation: 'pg_temp.staged' }))).toEqual(
      lines,
    )
    await session.query('rollback')
  })
})

test('staging neither rounds nor cuts, as the columns of the table would', async () => {
  await database.admin.withConnection(async (session) => {
    await session.query(`begin; set local search_path = public, pg_catalog;
      create domain short as varchar(3);
      create table t (id int primary key, n numeric(4, 1), s varchar(3), d short, c char(3), at timestamptz(0))`)
    const table = await describeTable(session, 't', [{ name: 'id', isText: false }])
    await session.query(createStaged(table, 'pg_temp.staged'))
    await session.query(
      `insert into pg_temp.staged values
         (1, 12345.678, 'longer', 'longer', 'ab   c', '2026-01-01 00:00:00.25+00')`,
    )
    const { rows } = await session.query('select n, s, d, c, at from pg_temp.staged')
    expect(rows).toEqual([
      { n: '12345.678', s: 'longer', d: 'longer', c: 'ab   c', at: '2026-01-01 00:00:00.25+00' },
    ])
    await session.query('rollback')
  })
})

test('a line is one expression, built as a balanced tree', async () => {
  const columns: Column[] = Array.from({ length: 64 }, (_, index) => ({
    name: `c${index}`,
    type: 'integer',
    encoding: 'scalar',
    isNullable: false,
    isGenerated: false,
    isIdentity: false,
    isIdentityAlways: false,
    hasDefault: false,
    isDomain: false,
  }))
  const line = encodeLine({
    schema: 'public',
    name: 't',
    label: 't',
    relation: 't',
    from: 'from t',
    class: 'direct',
    isWritable: true,
    isHistory: false,
    keepLive: [],
    masked: [],
    labelColumns: [],
    position: 1,
    rowExpression: 'true',
    columns,
    primaryKey: [],
  })
  let depth = 0
  let deepest = 0
  for (const character of line) {
    if (character === '(') deepest = Math.max(deepest, ++depth)
    if (character === ')') depth -= 1
  }
  expect(deepest).toBeLessThan(10)
})
