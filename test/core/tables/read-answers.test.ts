import { describe, expect, it } from 'vitest'
import {
  initialiseProtection,
  type ProtectionOptions,
} from '../../../src/core/tables/initialise-protection.ts'
import {
  type AnswersDocument,
  addAnswer,
  parseAnswers,
} from '../../../src/core/tables/read-answers.ts'
import { runScript } from '../../../src/local/hosted-shape.ts'
import { type TestDatabase, withDatabase } from '../../support/database.ts'

const A = 'aaaaaaaa-0000-4000-8000-000000000000'
const OPTIONS: ProtectionOptions = {
  tenantTable: 'orgs',
  tenantColumns: ['org_id'],
  enableRowSecurity: true,
}
const HOST = `
  create table orgs (id uuid primary key, name text);
  create table people (id int primary key, org_id uuid not null references orgs, role text, api_key text, name text);
  create table files (id int primary key, person_id int references people, kind text, target int);
  create table prices (id int primary key, amount numeric);
  insert into orgs values ('${A}', 'Anna');
  insert into people values (1, '${A}', 'owner', 'k', 'Ada');
  insert into files values (1, 1, 'person', 1), (2, null, 'person', 1), (3, null, 'price', 1);
  insert into prices values (1, 2);`

async function withHost(use: (database: TestDatabase) => Promise<void>): Promise<void> {
  await withDatabase(async (database) => {
    await runScript(database.adminUrl, HOST)
    await use(database)
  })
}

const DOCUMENT: AnswersDocument = {
  version: 1,
  tables: {
    'public.prices': { class: 'shared' },
    files: {
      class: 'child',
      edges: [
        { columns: ['person_id'], owner: 'public.people', owner_columns: ['id'] },
        {
          columns: ['target'],
          owner: 'people',
          owner_columns: ['id'],
          condition: { column: 'kind', value: 'person' },
        },
      ],
    },
    'public.people': { marks: { masked: [], label: ['api_key'] } },
  },
}

async function readRegistry(database: TestDatabase) {
  const { rows } = await database.admin.query(
    `select table_name as name, class, label_columns as label, masked_columns as masked,
       keep_live_columns as "keepLive", answers
     from tenantkeep.tenant_tables where table_name <> 'orgs' order by 1`,
  )
  return rows
}

describe('the answers file', () => {
  it('settles tables and marks, and what it said is kept without it', () =>
    withHost(async (database) => {
      const report = await initialiseProtection(database.admin, { ...OPTIONS, document: DOCUMENT })
      expect(report).toMatchObject({ isApplied: true, questions: [] })
      expect(report.tables.find((table) => table.name === 'files')).toMatchObject({
        path: 'files.person_id → people.org_id, else files.target (kind = person) → people.org_id',
        rowsWithoutTenant: 1,
      })
      const registry = await readRegistry(database)
      expect(registry).toEqual([
        { name: 'files', class: 'child', label: [], masked: [], keepLive: [], answers: ['class'] },
        {
          name: 'people',
          class: 'direct',
          label: ['api_key'],
          masked: [],
          keepLive: ['role', 'api_key'],
          answers: ['label', 'masked'],
        },
        {
          name: 'prices',
          class: 'shared',
          label: [],
          masked: [],
          keepLive: [],
          answers: ['class'],
        },
      ])
      const again = await initialiseProtection(database.admin, OPTIONS)
      expect(again.tables.every((table) => table.state === 'unchanged')).toBe(true)
      expect(await readRegistry(database)).toEqual(registry)
    }))

  it('wins over earlier runs, and flags win over it', () =>
    withHost(async (database) => {
      await initialiseProtection(database.admin, { ...OPTIONS, document: DOCUMENT })
      const report = await initialiseProtection(database.admin, {
        ...OPTIONS,
        document: {
          version: 1,
          tables: {
            'public.prices': { class: 'excluded', reason: 'by the file' },
            'public.files': { class: 'shared' },
          },
        },
        answers: { excluded: ['files=by the flag'] },
      })
      const paths = Object.fromEntries(report.tables.map((table) => [table.name, table.path]))
      expect(paths).toMatchObject({ prices: 'by the file', files: 'by the flag' })
      expect(report.answers.tables).toEqual({
        'public.prices': { class: 'excluded', reason: 'by the file' },
        'public.files': { class: 'excluded', reason: 'by the flag' },
      })
    }))

  it('may name a table that is gone, which is noted', () =>
    withHost(async (database) => {
      const report = await initialiseProtection(database.admin, {
        ...OPTIONS,
        dryRun: true,
        document: { version: 1, tables: { 'public.gone': { class: 'shared' } } },
      })
      expect(report.notes).toEqual([
        'The answers name public.gone, which the schemas looked at do not have.',
      ])
      expect(report.answers.tables).toEqual({ 'public.gone': { class: 'shared' } })
    }))

  it.each([
    ['the tenant table', { orgs: { class: 'shared' as const } }, /tenant table itself/],
    ['a column that is not there', { people: { marks: { label: ['nope'] } } }, /nope/],
    [
      'an owner that is not there',
      {
        files: {
          class: 'child' as const,
          edges: [{ columns: ['target'], owner: 'nope', owner_columns: ['id'] }],
        },
      },
      /nope/,
    ],
    ['a tenant column of no name', { prices: { class: 'direct' as const } }, /tenant column/],
  ])('is refused where it says what makes no sense: %s', (_, tables, message) =>
    withHost(async (database) => {
      const document: AnswersDocument = { version: 1, tables }
      await expect(
        initialiseProtection(database.admin, { ...OPTIONS, document }),
      ).rejects.toMatchObject({
        code: 'invalid_request',
        message: expect.stringMatching(message),
      })
    }),
  )

  it.each([
    ['no JSON', '{', /is not JSON/],
    ['another version', '{"version": 2}', /version/],
    ['an unknown key', '{"version": 1, "table": {}}', /table/],
    ['a class of its own', '{"version": 1, "tables": {"a": {"class": "mine"}}}', /tables\.a/],
    [
      'a condition without the tenant',
      '{"version": 1, "tables": {"a": {"class": "custom", "predicate": "true"}}}',
      /tables\.a/,
    ],
    [
      'an empty reason',
      '{"version": 1, "tables": {"a": {"class": "excluded", "reason": " "}}}',
      /tables\.a/,
    ],
  ])('is refused as a whole: %s', (_, text, message) => {
    expect(() => parseAnswers(text, 'tenantkeep.json')).toThrow(message)
  })

  it('takes an answer in without losing marks or other answers', () => {
    const document: AnswersDocument = {
      version: 1,
      tables: { a: { class: 'shared', marks: { history: true } }, b: { class: 'shared' } },
    }
    expect(
      addAnswer(document, {
        subtenants: 'separate',
        tables: { a: { class: 'excluded', reason: 'x' }, b: { marks: { label: ['n'] } } },
      }),
    ).toEqual({
      version: 1,
      subtenants: 'separate',
      tables: {
        a: { class: 'excluded', reason: 'x', marks: { history: true } },
        b: { class: 'shared', marks: { label: ['n'] } },
      },
    })
  })
})
