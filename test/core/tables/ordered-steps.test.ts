import { expect, it } from 'vitest'
import { initialiseProtection } from '../../../src/core/tables/initialise-protection.ts'
import { runScript } from '../../../src/local/hosted-shape.ts'
import { withDatabase } from '../../support/database.ts'
import {
  countAsOperator,
  deleteAndInsertAgain,
  expectWritesConfined,
  takeCensus,
  tryToEscape,
} from './confinement.ts'

const A = 'aaaaaaaa-0000-4000-8000-000000000000'
const B = 'bbbbbbbb-0000-4000-8000-000000000000'
const BELOW_A = 'cccccccc-0000-4000-8000-000000000000'

// Every kind of step in one host: a tenant column that may be null with a key behind it, pairs of type and
// id, keys that may all be null, an owner that points at what it owns, a tenant below another one.
const HOST = `
  create table orgs (id uuid primary key, name text, up uuid references orgs);
  insert into orgs values ('${A}', 'Anna', null), ('${B}', 'Bert', null), ('${BELOW_A}', 'below', '${A}');
  create table avatars (id int primary key, path text);
  create table customers (id int primary key, org_id uuid not null references orgs,
    avatar int unique references avatars);
  insert into avatars values (1, 'a'), (2, 'b'), (3, 'c'), (9, 'nobody');
  insert into customers values (1, '${A}', 1), (2, '${B}', 2), (3, '${BELOW_A}', 3);
  create table notes (id int primary key, org_id uuid references orgs,
    customer_id int not null references customers);
  insert into notes values (1, '${A}', 1), (2, null, 1), (3, null, 2), (4, '${B}', 2), (5, null, 3);
  create table comments (id int primary key, subject_type text, subject_id int);
  insert into comments values (1, 'Customer', 1), (2, 'customers', 2), (3, 'Note', 2), (4, 'Note', 4),
    (5, 'Other', 1), (6, 'Note', 5);
  create table files (id int primary key, note_id int references notes,
    customer_id int references customers on delete cascade);
  insert into files values (1, 1, null), (2, 3, null), (3, null, 1), (4, null, 2), (5, null, null),
    (6, 5, 3);`

it.each([
  {
    subtenants: 'separate' as const,
    holds: { orgs: 1, avatars: 1, customers: 1, notes: 2, comments: 2, files: 2 },
  },
  {
    subtenants: 'included' as const,
    holds: { orgs: 2, avatars: 2, customers: 2, notes: 3, comments: 3, files: 3 },
  },
])('every kind of step confines us to one tenant, tenants below it $subtenants', async (each) => {
  await withDatabase(async (database) => {
    await runScript(database.adminUrl, HOST)
    const report = await initialiseProtection(database.admin, {
      tenantTable: 'orgs',
      tenantColumns: ['org_id'],
      subtenants: each.subtenants,
      enableRowSecurity: true,
      acceptDefaults: true,
    })
    expect(report).toMatchObject({ isApplied: true, questions: [] })
    expect(report.tables.filter((table) => !table.isWritable)).toEqual([])
    const lost = report.tables.filter((table) => (table.rowsWithoutTenant ?? 0) > 0)
    expect(lost.map(({ name, rowsWithoutTenant }) => `${name} ${rowsWithoutTenant}`)).toEqual([
      'avatars 1',
      'comments 1',
      'files 1',
    ])
    expect(await takeCensus(database.worker, A)).toEqual(each.holds)
    for (const [mine, other] of [
      [A, B],
      [B, A],
    ] as const) {
      expect(await countAsOperator(database, mine)).toEqual(await takeCensus(database.worker, mine))
      await expectWritesConfined(database, mine, [other])
      expect(await deleteAndInsertAgain(database, mine)).toEqual([])
      expect((await tryToEscape(database, mine, other)).allowed).toEqual([])
    }
  })
})
