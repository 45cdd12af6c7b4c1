import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { compareBackups } from '../../../src/core/compare/compare-backups.ts'
import { startCompareRun } from '../../../src/core/compare/comparison-record.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { quoteIdentifier, quoteTable } from '../../../src/core/tables/quote-identifier.ts'
import { SYSTEM } from '../../support/backup-services.ts'
import { readRowVersions } from '../../support/expect-others-equal.ts'
import {
  countsOf,
  countWrites,
  createRestoreTrial,
  type RestoreTrial,
  refusalOf,
} from '../../support/restore-trial.ts'

const SCHEMA = `My "Schema"; drop table x; --`
const OTHER = 'select'
const LONG = `${'ä'.repeat(31)}z`
const ROOT = `Tenants' "A" 表`
const TENANT = `Tenant Id"`

/** Names of tables with those of their columns, beside the key `"K""ey"` and the tenant's. */
const NAMES: readonly { schema: string; name: string; columns: string[] }[] = [
  { schema: SCHEMA, name: 'order', columns: ['select', 'from', 'Where', 'user'] },
  { schema: SCHEMA, name: LONG, columns: [`${'n'.repeat(63)}`, LONG] },
  { schema: SCHEMA, name: `x'; drop table "y"; --`, columns: [`a'b`, 'a"b', 'a\\b', '$1', '$$'] },
  { schema: OTHER, name: ' blank . dot ', columns: [' ', '.', 'a.b', 'ta\tb', 'line\nbreak'] },
  {
    schema: OTHER,
    name: '%s %I {tenant} 🛢',
    columns: ['%s', '{tenant}', '🛢', '__proto__', 'constructor'],
  },
  // Names that our own statements use.
  {
    schema: OTHER,
    name: 'live',
    columns: ['s', 'b', 'live', 'line', 'key', 'row_no', 'p', 'l', 't', 'd', 'n'],
  },
  {
    schema: OTHER,
    name: 's',
    columns: ['tenantkeep_state', 'tenantkeep_named', 'tenantkeep', 'decoded', 'x', 'c'],
  },
]

const q = quoteIdentifier
const KEY = q('K"ey')
const COLUMN = q(TENANT)
const ROOT_TABLE = quoteTable({ schema: SCHEMA, name: ROOT })
const TYPED = quoteTable({ schema: SCHEMA, name: 'Typed' })
const CHILD = quoteTable({ schema: OTHER, name: 'Child;' })
const MOOD = quoteTable({ schema: SCHEMA, name: `Mood's "type"` })
const PAIR = quoteTable({ schema: SCHEMA, name: 'pair of' })
const AMOUNT = quoteTable({ schema: OTHER, name: 'Amount; --' })
const UNIQUE = `un"ique'; drop table x; --`
const CHECK = `che"ck's $1`

const labelOf = ({ schema, name }: { schema: string; name: string }) => `${schema}.${name}`

/** Our keys are 1 to 3, the neighbour's 101 to 103. */
function createTable({ schema, name, columns }: (typeof NAMES)[number]): string {
  const table = quoteTable({ schema, name })
  const texts = columns.map((_, at) => `'value ' || ${at} || ' of ' || i`)
  return `create table ${table} (${KEY} int primary key, ${COLUMN} text not null references ${ROOT_TABLE},
      ${columns.map((column) => `${q(column)} text`).join(', ')});
    insert into ${table} select i + 100 * o, chr(97 + o), ${texts.join(', ')}
      from generate_series(1, 3) i, generate_series(0, 1) o;`
}

const ownsTyped = `t.${COLUMN} = $1`
const HOST = {
  sql: `
    create schema ${q(SCHEMA)}; create schema ${q(OTHER)};
    create table ${ROOT_TABLE} (${COLUMN} text primary key, "name" text);
    insert into ${ROOT_TABLE} values ('a', 'Ours'), ('b', 'The neighbour’s');
    create type ${MOOD} as enum ('it''s', 'a "b"', 'c,d');
    create type ${PAIR} as ("le ft" int, "ri""ght" text);
    create domain ${AMOUNT} as numeric(8, 2);
    create table ${TYPED} (${KEY} int generated always as identity, "Co""de" ${MOOD}, ${COLUMN} text not null references ${ROOT_TABLE},
      "pair's" ${PAIR}, "a[]" ${MOOD}[], "Amount" ${AMOUNT} constraint ${q(CHECK)} check ("Amount" < 1000),
      primary key (${KEY}, "Co""de"), constraint ${q(UNIQUE)} unique ("Amount"));
    insert into ${TYPED} ("Co""de", ${COLUMN}, "pair's", "a[]", "Amount")
      select 'a "b"', chr(97 + o), row(i, 'te"x,t')::${PAIR}, '{it''s,"c,d"}', i + 10 * o from generate_series(1, 3) i, generate_series(0, 1) o;
    create table ${CHILD} ("no" int primary key, "of" int not null, "Of Code" ${MOOD} not null,
      constraint "fo""reign" foreign key ("of", "Of Code") references ${TYPED} on delete cascade);
    insert into ${CHILD} select ${KEY}, ${KEY}, "Co""de" from ${TYPED};
    ${NAMES.map(createTable).join('')}`,
  options: {
    tenantTable: `${SCHEMA}.${ROOT}`,
    tenantColumns: [TENANT],
    schemas: [SCHEMA, OTHER],
    tenantNameColumn: 'name',
  },
  tenants: ['a', 'b'],
  owns: Object.fromEntries([
    [`${SCHEMA}.${ROOT}`, ownsTyped],
    [`${SCHEMA}.Typed`, ownsTyped],
    [
      `${OTHER}.Child;`,
      `exists (select from ${TYPED} o where o.${KEY} = t."of" and o.${COLUMN} = $1)`,
    ],
    ...NAMES.map((table) => [labelOf(table), ownsTyped]),
  ]),
} as const

/** In each of those tables one row changed in every column, one gone, one new. */
const DAMAGE = [
  ...NAMES.map(({ schema, name, columns }) => {
    const table = quoteTable({ schema, name })
    return `update ${table} set ${columns.map((column) => `${q(column)} = 'spoiled'`).join(', ')} where ${KEY} = 1;
      delete from ${table} where ${KEY} = 2; insert into ${table} (${KEY}, ${COLUMN}) values (9, 'a')`
  }),
  `update ${TYPED} set "Amount" = 2.5, "a[]" = '{}', "pair's" = null where "Amount" = 1`,
  `delete from ${TYPED} where "Amount" = 2`,
].join(';')

let trial: RestoreTrial
let backup: Backup
beforeAll(async () => {
  trial = await createRestoreTrial(HOST)
  backup = await trial.backUp()
})
afterAll(() => trial?.drop())

test('names of every kind: rehearsed with samples, restored, undone, compared', async () => {
  const original = await trial.photographTenant()
  await trial.damage(DAMAGE)
  const damaged = await trial.photographTenant()
  const others = await trial.photographOthers()

  const plan = await trial.rehearse(backup, {}, 5)
  const restored = await trial.restore(backup)
  await original.expectEqual()
  await trial.undo(restored.restoreId)

  await damaged.expectEqual()
  await others.expectEqual()
  expect(restored.planHash).toBe(plan.planHash)
  expect(plan.blockers).toEqual([])
  for (const table of NAMES) {
    expect(countsOf(plan, labelOf(table))).toMatchObject({ inserted: 1, updated: 1, deleted: 1 })
    const samples = plan.tables.find(({ name }) => name === labelOf(table))?.samples ?? []
    const changed = samples.find(({ kind }) => kind === 'update')
    expect(changed).toMatchObject({ key: ['1'] })
    expect(changed?.columns).toEqual(
      table.columns.map((name, at) => ({
        name,
        before: 'spoiled',
        after: `value ${at} of 1`,
        isMasked: false,
      })),
    )
  }
  expect(countsOf(plan, `${SCHEMA}.Typed`)).toMatchObject({ inserted: 1, updated: 1 })
  expect(countsOf(plan, `${OTHER}.Child;`)).toMatchObject({ inserted: 1, updated: 0 })

  const compared = await compareWithLive()
  for (const table of NAMES) {
    expect(compared.get(labelOf(table))).toMatchObject({
      onlyInBackup: 1,
      onlyInOther: 1,
      changed: 1,
    })
  }
})

test('rows, tables and choices go by such names', async () => {
  const [table] = NAMES
  if (table === undefined) throw new Error('There are no names.')
  await trial.damage(`update ${quoteTable(table)} set ${q('from')} = 'x' where ${KEY} in (1, 3)`)

  const result = await trial.restore(backup, {
    tables: [`${OTHER}.live`],
    rows: { [labelOf(table)]: [{ 'K"ey': '3' }] },
  })

  expect(result.tables.map(({ name }) => name).sort()).toEqual(
    [labelOf(table), `${OTHER}.live`].sort(),
  )
  expect(countsOf(result, labelOf(table))).toMatchObject({ inserted: 0, updated: 1, deleted: 0 })
})

test('what stands in the way is named, whatever its name', async () => {
  await trial.restore(backup)
  await trial.damage(`
    delete from ${TYPED} where "Amount" in (2, 3);
    update ${TYPED} set "Amount" = 2 where "Amount" = 12;
    alter table ${TYPED} drop constraint ${q(CHECK)};
    alter table ${TYPED} add constraint ${q(CHECK)} check ("Amount" <> 3);
    alter table ${TYPED} rename "pair's" to "pa""ir"`)
  const change = `dropped_column:${SCHEMA}.Typed.pair's`
  const accepted = { accept_schema_changes: [change] }
  const versions = await readRowVersions(trial.database)

  await expect(trial.restore(backup)).rejects.toMatchObject({
    code: 'schema_changed',
    details: { changes: [{ name: change }] },
  })
  const { blockers } = await refusalOf(trial.restore(backup, accepted))
  const rehearsed = await trial.rehearse(backup, accepted)

  expect(rehearsed.blockers.map(({ code, constraint }) => [code, constraint])).toEqual(
    expect.arrayContaining([
      ['key_taken', UNIQUE],
      ['missing_reference', 'fo"reign'],
      ['row_refused', CHECK],
    ]),
  )
  expect(blockers.map(({ code, constraint }) => [code, constraint])).toEqual(
    expect.arrayContaining([['key_taken', UNIQUE]]),
  )
  expect(await readRowVersions(trial.database)).toEqual(versions)

  const passed = await trial.restore(backup, {
    ...accepted,
    on_taken: 'skip',
    on_missing_reference: 'skip',
    tables: [`${OTHER}.Child;`],
  })
  expect(countWrites(passed)).toBe(0)
})

async function compareWithLive() {
  const runId = await startCompareRun(trial.database.worker, {
    actor: SYSTEM,
    tenantId: trial.tenant,
    tenantName: null,
    request: { backup_id: backup.id, with_backup_id: null, tables: null },
  })
  const { tables } = await compareBackups(trial.services, {
    tenantId: trial.tenant,
    source: await openBackup(trial.services, backup),
    against: 'live',
    maxRows: 1_000,
    runId,
  })
  return new Map(tables.map((table) => [table.name, table]))
}
