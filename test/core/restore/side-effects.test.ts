import { afterAll, beforeAll, expect, test } from 'vitest'
import { BUSY } from '../../odd-schemas/restored-schemas.ts'
import { createRestoreTrial, type RestoreTrial, refusalOf } from '../../support/restore-trial.ts'

let trial: RestoreTrial
beforeAll(async () => {
  trial = await createRestoreTrial(BUSY)
})
afterAll(() => trial?.drop())

async function readOne(sql: string): Promise<unknown> {
  const { rows } = await trial.database.superuser.query<{ value: unknown }>(sql)
  return rows[0]?.value
}

const OUTBOX = 'select count(*)::int as value from outbox'
const DOINGS = 'select count(*)::int as value from activities where org_id = 1'

test('no trigger fires: nothing is audited, sent, counted, guarded or stamped, and the trail stays', async () => {
  const backup = await trial.backUp()
  const balance = await readOne('select balance::text as value from orgs where id = 1')
  await trial.damage(`
    update people set email = 'spoiled' || id where org_id = 1;
    delete from documents where org_id = 1 and body like 'free%';
    insert into documents values (100, 1, null, 'locked for good');
    insert into pages values (100, 1, 'of the locked one');
    delete from payments where org_id = 1 and amount > 10;
    insert into payments (org_id, amount) values (1, 1000)`)
  const [sent, done] = [await readOne(OUTBOX), await readOne(DOINGS)]
  const others = await trial.photographOthers()

  const result = await trial.restore(backup)

  await others.expectEqual()
  expect(await readOne(OUTBOX)).toBe(sent)
  expect(await readOne(DOINGS), 'history keeps its newer rows').toBe(done)
  expect(result.tables.find(({ name }) => name === 'activities')).toMatchObject({ deleted: 0 })
  expect(await readOne('select balance::text as value from orgs where id = 1')).toBe(balance)
  expect(await readOne(`select count(*)::int as value from documents where id = 100`)).toBe(0)
  expect(
    await readOne(`select count(distinct updated_at)::int as value from people where org_id = 1`),
  ).toBe(1)
})

test.each([
  ['always', 'enable always trigger'],
  ['replica', 'enable replica trigger'],
])('a trigger that is enabled %s is named, and refused without consent', async (_, enable) => {
  const backup = await trial.backUp()
  await trial.damage(`
    alter table documents ${enable} enqueue;
    update documents set body = body || '!' where org_id = 1`)
  const others = await trial.photographOthers()
  const damaged = await trial.photographTenant()

  const refused = await refusalOf(trial.restore(backup))
  const rehearsed = await trial.rehearse(backup)

  expect(refused.code).toBe('restore_blocked')
  expect(refused.blockers).toMatchObject([
    { code: 'side_effects', table: 'documents', constraint: 'enqueue', count: 4 },
  ])
  expect(rehearsed.blockers).toMatchObject([{ code: 'side_effects', constraint: 'enqueue' }])
  await damaged.expectEqual()
  await others.expectEqual()

  const sent = Number(await readOne(OUTBOX))
  await trial.restore(backup, { accept_side_effects: true })
  expect(await readOne(OUTBOX)).toBe(sent + 4)
  await trial.damage('alter table documents enable trigger enqueue')
})

test('a trigger that is enabled always on a table that is not written stands in nobody’s way', async () => {
  const backup = await trial.backUp()
  await trial.damage(`
    alter table documents enable always trigger enqueue;
    update people set email = 'other' || id where org_id = 1`)
  const sent = await readOne(OUTBOX)

  const result = await trial.restore(backup)

  expect(result.blockers).toEqual([])
  expect(await readOne(OUTBOX)).toBe(sent)
  await trial.damage('alter table documents enable trigger enqueue')
})

test('a trigger that always acts, and may not do what it does as our role, is named with what to do', async () => {
  const backup = await trial.backUp()
  await trial.damage(`
    create table public.ledger (what text);
    alter table ledger enable row level security;
    revoke all on ledger from public, tenantkeep_operator;
    create function public.note_down() returns trigger language plpgsql as $$ begin
      insert into public.ledger values (tg_op); return coalesce(new, old); end $$;
    update documents set body = body || '?' where id in (3, 6);
    insert into documents values (300, 1, null, 'newer');
    create trigger note_down before insert or update or delete on documents for each row execute function note_down();
    alter table documents enable always trigger note_down`)
  const damaged = await trial.photographTenant()
  const accepted = { accept_side_effects: true }

  const refused = await refusalOf(trial.restore(backup, accepted))
  const rehearsed = await trial.rehearse(backup, accepted)

  expect(refused.code).toBe('restore_blocked')
  expect(refused.message).toContain('note_down')
  expect(refused.message).toContain('security definer')
  for (const { blockers } of [refused, rehearsed]) {
    expect(blockers).toEqual([
      expect.objectContaining({
        code: 'row_refused',
        table: 'documents',
        constraint: 'note_down',
        count: 3,
      }),
    ])
  }
  await damaged.expectEqual()

  await trial.damage('alter function note_down() security definer')
  await trial.restore(backup, accepted)
  expect(await readOne('select count(*)::int as value from ledger')).toBe(3)
  await trial.damage('drop trigger note_down on documents; drop table ledger')
})

test('a trigger that always acts and alters what is written is found out', async () => {
  const backup = await trial.backUp()
  await trial.damage(`
    update documents set body = body || '.' where org_id = 1;
    create function public.stamp() returns trigger language plpgsql as $$ begin
      new.body := new.body || ' (changed)'; return new; end $$;
    create trigger stamp before insert or update on documents for each row execute function public.stamp();
    alter table documents enable always trigger stamp`)
  const damaged = await trial.photographTenant()

  const refused = await refusalOf(trial.restore(backup, { accept_side_effects: true }))

  expect(refused.code).toBe('restore_blocked')
  expect(refused.blockers).toMatchObject([{ code: 'row_refused', table: 'documents', count: 4 }])
  expect(refused.message).toContain('did not arrive as they are in the backup')
  await damaged.expectEqual()
  await trial.damage('drop trigger stamp on documents')
  await trial.restore(backup)
})

test('a guard that always acts is named where it does not let a row go', async () => {
  const backup = await trial.backUp()
  await trial.damage(`
    insert into documents values (400, 1, null, 'locked, and newer');
    alter table documents enable always trigger guard`)

  const refused = await refusalOf(trial.restore(backup, { accept_side_effects: true }))

  expect(refused.code).toBe('restore_blocked')
  expect(refused.blockers).toEqual([
    expect.objectContaining({ code: 'row_refused', table: 'documents', count: 1, keys: [['400']] }),
  ])
  await trial.damage('alter table documents enable trigger guard')
  await trial.restore(backup)
})

test('a rule is named, and refused without consent', async () => {
  const backup = await trial.backUp()
  await trial.damage(`
    update people set email = 'ruled' || id where org_id = 1;
    create rule note_it as on update to people do also insert into outbox (what) values ('rule')`)

  const refused = await refusalOf(trial.restore(backup))

  expect(refused.blockers).toMatchObject([
    { code: 'side_effects', table: 'people', constraint: 'note_it', count: 4 },
  ])
  await trial.damage('drop rule note_it on people')
  await trial.restore(backup)
})

test('a rehearsal leaves no row, no sequence and no trigger’s work behind', async () => {
  const backup = await trial.backUp()
  await trial.damage(`
    delete from payments where org_id = 1;
    select setval('payments_id_seq', 1);
    insert into documents values (200, 1, null, 'locked again')`)
  const others = await trial.photographOthers()
  const damaged = await trial.photographTenant()

  const rehearsed = await trial.rehearse(backup)

  expect(rehearsed.tables.find(({ name }) => name === 'payments')?.inserted).toBe(6)
  await damaged.expectEqual()
  await others.expectEqual()
  expect(await readOne('select last_value::int as value from payments_id_seq')).toBe(1)
  await trial.restore(backup)
  expect(await readOne('select last_value::int as value from payments_id_seq')).toBeGreaterThan(15)
})
