import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  initialiseProtection,
  type ProtectionReport,
} from '../../../src/core/tables/initialise-protection.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { countAsOperator, expectWritesConfined, takeCensus, tryToEscape } from './confinement.ts'

const HOST = `
  create table teams (id int primary key, name text);
  create table projects (id int primary key, team_id int not null references teams);
  create table tasks (id int primary key, project_id int not null references projects, is_open boolean default true);
  alter table teams enable row level security;
  alter table projects enable row level security;
  alter table tasks enable row level security;
  insert into teams values (1, 'One'), (2, 'Two');
  insert into projects values (1, 1), (2, 2), (3, 1);
  insert into tasks (id, project_id) values (1, 1), (2, 2), (3, 3), (4, 1);
`

let database: TestDatabase

beforeEach(async () => {
  database = await createTestDatabase()
  await database.admin.withConnection(async (session) => {
    await session.query('set search_path = public')
    await session.query(HOST)
  })
})
afterEach(() => database?.drop())

describe('restrictive policies of the host', () => {
  it('that bind everybody are named before anything is written, with the statement that re-scopes them', async () => {
    await run(`
      grant select on public.tasks to authenticated, anon;
      create policy "only open" on public.tasks as restrictive to public using (is_open)`)
    const report = await init()

    expect(report.isApplied).toBe(false)
    expect(report.questions).toMatchObject([{ kind: 'binding_policies', tables: ['public.tasks'] }])
    const [remedy = ''] = report.unsettled[0]?.flags ?? []
    expect(remedy).toBe('alter policy "only open" on "public"."tasks" to "anon", "authenticated"')
    await run(remedy)
    expect((await init()).isApplied).toBe(true)
    await expectConfined()
  })

  it('that are written to others, or are always true, are let be', async () => {
    await run(`
      create policy open on public.tasks as restrictive to authenticated using (is_open);
      create policy always on public.tasks as restrictive to public using (true)`)
    expect((await init()).isApplied).toBe(true)
    await expectConfined()
  })
})

describe('permissive policies of the host', () => {
  it.each([
    ['for everybody', 'create policy p on public.tasks to public using (true) with check (true)'],
    [
      'on the parent that read the child',
      `create policy p on public.projects to public using (exists (select from public.tasks t where t.project_id = id))`,
    ],
    [
      'on the child that read the parent',
      'create policy p on public.tasks to public using (project_id in (select p.id from public.projects p))',
    ],
    [
      'with force',
      'alter table public.tasks force row level security; create policy p on public.tasks to public using (true)',
    ],
  ])('%s open nothing to us and close nothing', async (_, policy) => {
    await run(policy)
    expect((await init()).isApplied).toBe(true)
    await expectConfined()
  })

  it('that call a function which we may not execute are named, with the function', async () => {
    await run(`
      create function public.may_see(id int) returns boolean language sql as 'select true';
      revoke all on function public.may_see(int) from public;
      create policy p on public.tasks to public using (public.may_see(id))`)
    await expect(init()).rejects.toMatchObject({
      code: 'confinement_broken',
      message: expect.stringMatching(
        /public\.tasks \(permission denied for function may_see\).*Grant/,
      ),
    })
    await run('grant execute on function public.may_see(int) to tenantkeep_operator')
    expect((await init()).isApplied).toBe(true)
    await expectConfined()
  })

  it('that read a table which we may not read are named, with the table', async () => {
    await run(`
      create table public.secrets (id int primary key);
      create policy p on public.tasks to public using (id in (select s.id from public.secrets s))`)
    await expect(init({ excluded: ['secrets=not a tenant’s'] })).rejects.toMatchObject({
      code: 'confinement_broken',
      message: expect.stringMatching(/public\.tasks \(permission denied for table secrets\)/),
    })
  })
})

async function run(sql: string): Promise<void> {
  await database.admin.query(sql)
}

async function init(answers: { excluded?: string[] } = {}): Promise<ProtectionReport> {
  return initialiseProtection(database.admin, {
    tenantTable: 'public.teams',
    tenantColumns: ['team_id'],
    answers,
  })
}

async function expectConfined(): Promise<void> {
  for (const tenant of ['1', '2']) {
    expect(await countAsOperator(database, tenant)).toEqual(
      await takeCensus(database.worker, tenant),
    )
  }
  await expectWritesConfined(database, '1', ['2'])
  expect((await tryToEscape(database, '1', '2')).allowed).toEqual([])
}
