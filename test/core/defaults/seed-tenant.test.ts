import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { undoRestore } from '../../../src/core/restore/undo-restore.ts'
import { SYSTEM } from '../../support/backup-services.ts'
import {
  casesOf,
  createSeedTrial,
  refusalOfSeed,
  SEED_HOST,
  type SeedTrial,
  writtenBy,
} from '../../support/seed-trial.ts'

let trial: SeedTrial
beforeAll(async () => {
  trial = await createSeedTrial(SEED_HOST)
})
afterAll(() => trial?.drop())

/** Each test begins with a tenant that was never seeded, and has one row of its own. */
beforeEach(async () => {
  await trial.run(`
    update shop.lists set first_entry = null where tenant_code = 'A';
    delete from shop.entries where list_id in (select id from shop.lists where tenant_code = 'A');
    delete from shop.lists where tenant_code = 'A';
    delete from shop.prices where tenant_id = 'alpha';
    delete from shop.kinds where tenant_id = 'alpha' and above is not null;
    delete from shop.kinds where tenant_id = 'alpha' and id <> 10;
    delete from shop.links where tenant_id = 'alpha';
    begin; set constraints all deferred;
    delete from shop.eggs where tenant_id = 'alpha'; delete from shop.hens where tenant_id = 'alpha'; commit;
    delete from tenantkeep.seeded_rows;
    delete from shop.kinds where tenant_id = 'zero' and id > 3;
    update shop.kinds set color = 'red' where tenant_id = 'zero';
    update shop.prices set amount = 39 where tenant_id = 'zero' and code = 'AR'`)
})

const EVERYTHING = {
  'shop.eggs': { inserted: 1, updated: 0 },
  'shop.entries': { inserted: 2, updated: 0 },
  'shop.hens': { inserted: 1, updated: 0 },
  'shop.kinds': { inserted: 3, updated: 0 },
  'shop.links': { inserted: 1, updated: 0 },
  'shop.lists': { inserted: 1, updated: 0 },
  'shop.price_notes': { inserted: 2, updated: 0 },
  'shop.prices': { inserted: 2, updated: 0 },
}

describe('copying', () => {
  it('gives new keys where the database makes them, follows references, keeps the rest', async () => {
    const others = await trial.photographOthers()
    const rehearsed = await trial.rehearse()
    expect(await trial.run(`select from shop.kinds where tenant_id = 'alpha'`)).toHaveLength(1)

    const result = await trial.seed({}, { planHash: rehearsed.planHash })

    expect(writtenBy(rehearsed)).toEqual(EVERYTHING)
    expect(writtenBy(result)).toEqual(EVERYTHING)
    expect(result).toMatchObject({ blockers: [], conflicts: [], badRows: [], looks: 1 })
    expect(
      await trial.run(`select k.name, k.unit, a.name as above, k.color, k.size, k.twice, k.id >= 100 as is_new
        from shop.kinds k left join shop.kinds a on a.id = k.above and a.tenant_id = k.tenant_id
        where k.tenant_id = 'alpha' and k.id <> 10 order by 1`),
    ).toEqual([
      {
        name: 'argon',
        unit: 'l',
        above: 'gas',
        color: 'red',
        size: null,
        twice: null,
        is_new: true,
      },
      {
        name: 'gas',
        unit: 'kg',
        above: null,
        color: 'red',
        size: '1.50',
        twice: '3.00',
        is_new: true,
      },
      {
        name: 'oxygen',
        unit: 'l',
        above: 'gas',
        color: 'red',
        size: '2.00',
        twice: '4.00',
        is_new: true,
      },
    ])
    expect(
      await trial.run(`select p.code, p.amount, k.name as kind, n.n, n.body
        from shop.prices p join shop.kinds k on k.id = p.kind_id and k.tenant_id = p.tenant_id
        left join shop.price_notes n on (n.tenant_id, n.price_code) = (p.tenant_id, p.code)
        where p.tenant_id = 'alpha' order by 1, 4`),
    ).toEqual([
      { code: 'AR', amount: '39.0000', kind: 'argon', n: null, body: null },
      { code: 'O2', amount: '21.5000', kind: 'oxygen', n: 1, body: 'net' },
      { code: 'O2', amount: '21.5000', kind: 'oxygen', n: 2, body: null },
    ])
    expect(
      await trial.run(`select l.title, e.body::text, e.id = l.first_entry as is_first, k.name as kind
        from shop.lists l join shop.entries e on e.list_id = l.id
        left join shop.kinds k on k.id = e.kind_id and k.tenant_id = 'alpha'
        where l.tenant_code = 'A' order by 2`),
    ).toEqual([
      { title: 'standard', body: 'null', is_first: true, kind: null },
      { title: 'standard', body: '{"n": 1.50}', is_first: false, kind: 'oxygen' },
    ])
    expect(
      await trial.run(`select h.egg = e.id and e.hen = h.id as is_pair, h.id >= 70 as is_new from shop.hens h, shop.eggs e
        where h.tenant_id = 'alpha' and e.tenant_id = 'alpha'`),
    ).toEqual([{ is_pair: true, is_new: true }])
    expect(
      await trial.run(
        `select target, token <> 'template-token' as is_new from shop.links where tenant_id = 'alpha'`,
      ),
    ).toEqual([{ target: 'help', is_new: true }])
    await others.expectEqual()
  })

  it('copies once, however often it is asked', async () => {
    await trial.seed()
    const before = await trial.run('select xmin, * from shop.kinds order by id')

    const again = await trial.seed({ mode: 'update' })

    expect(writtenBy(again)).toEqual({})
    expect(casesOf(again)).toMatchObject({ 'shop.kinds': { unchanged: 3 } })
    expect(await trial.run('select xmin, * from shop.kinds order by id')).toEqual(before)
  })
})

/** What the tenant has of the three kinds, with their colours. */
const readKinds = () =>
  trial.run(
    `select name, color from shop.kinds where tenant_id = 'alpha' and id <> 10 order by name`,
  )

describe('seeding again', () => {
  beforeEach(async () => {
    await trial.seed()
  })

  it('adds what is new in the template, tells what it would bring up to date, and does so in place', async () => {
    const [before] = await trial.run<{ id: string }>(
      `select id from shop.kinds where tenant_id = 'alpha' and name = 'oxygen'`,
    )
    await trial.run(`insert into shop.kinds (tenant_id, name, unit, above) values ('zero', 'helium', 'l', 1);
      update shop.kinds set color = 'blue' where id = 2`)

    const result = await trial.seed()

    expect(writtenBy(result)).toEqual({ 'shop.kinds': { inserted: 1, updated: 0 } })
    expect(casesOf(result)).toMatchObject({ 'shop.kinds': { new: 1, update: 1, unchanged: 2 } })
    expect(await readKinds()).toEqual([
      { name: 'argon', color: 'red' },
      { name: 'gas', color: 'red' },
      { name: 'helium', color: 'red' },
      { name: 'oxygen', color: 'red' },
    ])
    expect(
      await trial.run(
        `select a.tenant_id from shop.kinds k join shop.kinds a on a.id = k.above where k.name = 'helium' and k.tenant_id = 'alpha'`,
      ),
    ).toEqual([{ tenant_id: 'alpha' }])

    const updated = await trial.seed({ mode: 'update' })

    expect(writtenBy(updated)).toEqual({ 'shop.kinds': { inserted: 0, updated: 1 } })
    expect(
      await trial.run(
        `select id, color from shop.kinds where tenant_id = 'alpha' and name = 'oxygen'`,
      ),
    ).toEqual([{ id: before?.id, color: 'blue' }])
    expect(casesOf(await trial.rehearse({ mode: 'update' }))).toMatchObject({
      'shop.kinds': { unchanged: 4 },
    })
  })

  it('leaves what the tenant changed, unless it is told to overwrite; an undo brings that back', async () => {
    await trial.run(
      `update shop.kinds set color = 'mine' where tenant_id = 'alpha' and name = 'oxygen'`,
    )
    for (const mode of ['missing', 'update'] as const) {
      const kept = await trial.seed({ mode })
      expect(casesOf(kept)).toMatchObject({ 'shop.kinds': { edited: 1, unchanged: 2 } })
      expect(writtenBy(kept)).toEqual({})
    }

    const result = await trial.seed({ mode: 'overwrite' })

    expect(writtenBy(result)).toEqual({ 'shop.kinds': { inserted: 0, updated: 1 } })
    expect(await readKinds()).toContainEqual({ name: 'oxygen', color: 'red' })
    expect(result.safetyBackupId).not.toBeNull()

    const undone = await undoRestore(trial.services, {
      tenantId: 'alpha',
      restoreId: result.seedId ?? '',
      everything: false,
      onConflict: 'fail',
      isDryRun: false,
      actor: SYSTEM,
    })
    expect(undone.tables.filter(({ updated }) => updated > 0).map(({ name }) => name)).toEqual([
      'shop.kinds',
    ])
    expect(await readKinds()).toContainEqual({ name: 'oxygen', color: 'mine' })
    expect(casesOf(await trial.rehearse())).toMatchObject({ 'shop.kinds': { edited: 1 } })
  })

  describe('where both sides changed', () => {
    beforeEach(async () => {
      await trial.run(`update shop.kinds set color = 'mine' where tenant_id = 'alpha' and name = 'oxygen';
        update shop.kinds set color = 'blue' where id = 2;
        insert into shop.kinds (tenant_id, name, unit) values ('zero', 'helium', 'l')`)
    })

    it('refuses to bring anything up to date, names the row and what differs, and adds what is missing all the same', async () => {
      const refusal = await refusalOfSeed(trial.seed({ mode: 'update' }))

      expect(refusal).toMatchObject({ code: 'seed_conflict', status: 409 })
      expect(refusal.details).toMatchObject({
        tables: ['shop.kinds'],
        count: 1,
        conflicts: [
          {
            table: 'shop.kinds',
            case: 'both_changed',
            key: ['2'],
            key_columns: { id: '2' },
            columns: ['color'],
          },
        ],
      })
      expect(await readKinds()).toHaveLength(3)
      const rehearsed = await trial.rehearse({ mode: 'update' })
      expect(rehearsed.conflicts[0]?.columns).toEqual([
        { name: 'color', tenant: 'mine', template: 'blue', isMasked: false },
      ])
      expect(writtenBy(rehearsed)).toEqual({ 'shop.kinds': { inserted: 1, updated: 0 } })
      for (const decision of [
        { case: 'both_changed', table: 'shop.kinds', key: { id: '3' }, decision: 'overwrite' },
        { case: 'edited', table: null, key: null, decision: 'overwrite' },
      ] as const) {
        // About another row, about another case.
        await expect(trial.seed({ mode: 'update', decisions: [decision] })).rejects.toMatchObject({
          code: 'seed_conflict',
        })
      }

      const result = await trial.seed()
      expect(writtenBy(result)).toEqual({ 'shop.kinds': { inserted: 1, updated: 0 } })
      expect(casesOf(result)).toMatchObject({ 'shop.kinds': { both_changed: 1, new: 1 } })
    })

    it.each([
      ['keep', 'mine', 'edited'],
      ['overwrite', 'blue', 'unchanged'],
    ] as const)('does what is decided: %s, and asks no more', async (decision, color, then) => {
      const result = await trial.seed({
        mode: 'update',
        decisions: [{ case: 'both_changed', table: 'shop.kinds', key: { id: '2' }, decision }],
      })

      expect(await readKinds()).toContainEqual({ name: 'oxygen', color })
      expect(result.safetyBackupId === null).toBe(decision === 'keep')
      const after = await trial.rehearse({ mode: 'update' })
      expect(after.conflicts).toEqual([])
      expect(casesOf(after)).toMatchObject({ 'shop.kinds': { [then]: expect.any(Number) } })
    })

    it('needs no decision where both changed to the same', async () => {
      await trial.run(
        `update shop.kinds set color = 'blue' where tenant_id = 'alpha' and name = 'oxygen'`,
      )
      const result = await trial.seed({ mode: 'update' })
      expect(casesOf(result)).toMatchObject({ 'shop.kinds': { unchanged: 3, new: 1 } })
    })
  })

  it('leaves away what the tenant deleted, with what hangs on it, unless it is asked for', async () => {
    await trial.run(`delete from shop.price_notes where tenant_id = 'alpha';
      delete from shop.prices where tenant_id = 'alpha' and code = 'O2';
      insert into shop.price_notes values ('zero', 'O2', 3, 'new on what is gone')`)

    const kept = await trial.seed({ mode: 'overwrite' })
    expect(writtenBy(kept)).toEqual({})
    expect(casesOf(kept)).toMatchObject({
      'shop.prices': { deleted: 1, unchanged: 1 },
      'shop.price_notes': { deleted: 2, skipped: 1 },
    })

    const result = await trial.seed({
      decisions: [{ case: 'deleted', table: null, key: null, decision: 'recreate' }],
    })
    expect(writtenBy(result)).toEqual({
      'shop.prices': { inserted: 1, updated: 0 },
      'shop.price_notes': { inserted: 3, updated: 0 },
    })
    await trial.run(`delete from shop.price_notes where n = 3`)
  })

  it('says what the template has no more, and leaves the copies', async () => {
    await trial.run(`delete from shop.prices where tenant_id = 'zero' and code = 'AR'`)
    const result = await trial.seed({ mode: 'overwrite' })
    expect(result.tables.find(({ name }) => name === 'shop.prices')).toMatchObject({
      withdrawn: 1,
      rowsInTemplate: 1,
    })
    expect(await trial.run(`select from shop.prices where tenant_id = 'alpha'`)).toHaveLength(2)
    await trial.run(`insert into shop.prices values ('zero', 'AR', 39, 3)`)
  })

  it('takes a column that is new for no change, and asks where one is gone', async () => {
    await trial.run(`alter table shop.kinds add hint text default 'none'`)
    expect(casesOf(await trial.rehearse({ mode: 'update' }))).toMatchObject({
      'shop.kinds': { unchanged: 3 },
    })
    await trial.run(`update shop.kinds set color = 'blue' where id = 2`)
    expect(writtenBy(await trial.seed({ mode: 'update' }))).toEqual({
      'shop.kinds': { inserted: 0, updated: 1 },
    })
    await trial.run('alter table shop.kinds drop hint')
    // Copies that are as they would be made now need nobody; one that is not does.
    await trial.run(
      `update shop.kinds set color = 'mine' where tenant_id = 'alpha' and name = 'oxygen'`,
    )
    const rehearsed = await trial.rehearse({ mode: 'update' })
    expect(rehearsed.conflicts).toMatchObject([
      { table: 'shop.kinds', case: 'both_changed', key: ['2'] },
    ])
    expect(casesOf(rehearsed)).toMatchObject({ 'shop.kinds': { unchanged: 2, both_changed: 1 } })
  })
})

describe('a row of the tenant’s own', () => {
  beforeEach(async () => {
    await trial.run(
      `insert into shop.kinds (tenant_id, name, unit, color) values ('alpha', 'gas', 'l', 'own')`,
    )
  })
  const decided = (decision: 'keep' | 'adopt' | 'overwrite') => ({
    decisions: [{ case: 'natural_key_taken' as const, table: 'shop.kinds', decision }],
  })

  it('is a conflict, named with its constraint, and nothing is written', async () => {
    const refusal = await refusalOfSeed(trial.seed())
    expect(refusal).toMatchObject({
      code: 'seed_conflict',
      details: {
        conflicts: [
          {
            table: 'shop.kinds',
            case: 'natural_key_taken',
            key: ['1'],
            constraint: 'kinds_tenant_id_name_key',
          },
        ],
      },
    })
    expect(await trial.run(`select from shop.lists where tenant_code = 'A'`)).toEqual([])
    const rehearsed = await trial.rehearse()
    expect(rehearsed.conflictCount).toBe(1)
    expect(rehearsed.conflicts[0]?.columns.map(({ name }) => name)).toEqual([
      'unit',
      'color',
      'size',
    ])
    expect(writtenBy(rehearsed)).toMatchObject({ 'shop.kinds': { inserted: 2 } })
  })

  it.each([
    ['adopt', { unit: 'l', color: 'own', size: null }, { unchanged: 3 }],
    ['keep', { unit: 'l', color: 'own', size: null }, { declined: 1, unchanged: 2 }],
    ['overwrite', { unit: 'kg', color: 'red', size: '1.50' }, { unchanged: 3 }],
  ] as const)(
    'is decided once: %s; what refers to it leads to the tenant’s row',
    async (decision, row, then) => {
      const result = await trial.seed(decided(decision))

      expect(
        await trial.run(`select k.unit, k.color, k.size, count(b.id) as below from shop.kinds k
        left join shop.kinds b on b.above = k.id where k.tenant_id = 'alpha' and k.name = 'gas' group by k.id`),
      ).toEqual([{ ...row, below: '2' }])
      expect(result.safetyBackupId === null).toBe(decision !== 'overwrite')
      expect(casesOf(await trial.seed({ mode: 'update' }))).toMatchObject({ 'shop.kinds': then })
    },
  )
})

describe('what is asked for', () => {
  it('may be some tables: what refers to rows that do not come along is named', async () => {
    const refusal = await refusalOfSeed(trial.seed({ tables: ['shop.prices'] }))
    expect(refusal).toMatchObject({
      code: 'seed_blocked',
      details: {
        blockers: [
          {
            code: 'seed_reference_missing',
            table: 'shop.prices',
            constraint: 'prices_kind_id_fkey',
            count: 2,
          },
        ],
      },
    })
    expect(await trial.run(`select from shop.prices where tenant_id = 'alpha'`)).toEqual([])
    await trial.seed({ tables: ['shop.kinds'] })
    // What was seeded before is known.
    expect(writtenBy(await trial.seed({ tables: ['shop.prices'] }))).toEqual({
      'shop.prices': { inserted: 2, updated: 0 },
    })
  })

  it('may be some rows; keys that the template has not are refused', async () => {
    const rows = { 'shop.kinds': [{ id: '1' }, { id: '3' }] }
    expect(writtenBy(await trial.seed({ rows }))).toEqual({
      'shop.kinds': { inserted: 2, updated: 0 },
    })
    for (const keys of [[{ id: '77' }], [{ id: 'x' }], [{ name: 'gas' }]]) {
      await expect(trial.rehearse({ rows: { 'shop.kinds': keys } })).rejects.toMatchObject({
        code: 'invalid_request',
      })
    }
    await expect(trial.rehearse({ tables: ['shop.tenants'] })).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  it('may be rows of the request: all bad ones are named, and nothing is written', async () => {
    const options = {
      tables: ['shop.kinds'],
      manual_rows: {
        'shop.kinds': [
          { name: 'wood', unit: 'kg', size: '2.5' },
          { name: 'stone', unit: 'kg', size: 'large' },
          { name: 'paper', unit: 'kg', weight: 1 },
          { name: 'iron', unit: 'bag' },
          { unit: 'kg' },
          { name: 'steel', unit: 'kg' },
          { name: 'glass', unit: 'kg', tenant_id: 'beta' },
          { name: 'clay', unit: 'kg', twice: 3, size: 1e99 },
        ],
      },
    }
    const refusal = await refusalOfSeed(trial.seed(options))
    expect(refusal).toMatchObject({ code: 'seed_blocked' })
    const rehearsed = await trial.rehearse(options)
    const bad = rehearsed.badRows.map(({ index, column, reason }) => [index, column, reason])
    expect(bad).toEqual(
      expect.arrayContaining([
        [1, 'size', 'is no value of type numeric(10,2)'],
        [2, 'weight', 'there is no such column'],
        [3, null, 'refused by kinds_unit_fkey'],
        [4, 'name', 'must have a value'],
        [5, null, 'another row has its value of kinds_tenant_id_name_key'],
        [6, 'tenant_id', 'names another tenant'],
        [7, 'twice', 'the database computes this column'],
        [7, 'size', 'is out of range for numeric(10,2)'],
      ]),
    )
    expect(bad).toHaveLength(8)
    expect(JSON.stringify(bad)).not.toContain('large')
    expect(await trial.run(`select from shop.kinds where tenant_id = 'alpha'`)).toHaveLength(1)
  })

  it('inserts rows of the request with their defaults, once', async () => {
    const options = {
      tables: ['shop.links'],
      manual_rows: {
        'shop.kinds': [{ name: 'wood', unit: 'kg', size: 2.5 }],
        'shop.lists': [{ title: 'own list' }],
      },
    }
    const result = await trial.seed(options)
    expect(result.tables.map(({ name, inserted, manual }) => [name, inserted, manual])).toEqual(
      expect.arrayContaining([
        ['shop.kinds', 1, 1],
        ['shop.lists', 1, 1],
        ['shop.links', 1, 0],
      ]),
    )
    expect(
      await trial.run(
        `select name, color, size, twice, id >= 100 as is_new from shop.kinds where name = 'wood'`,
      ),
    ).toEqual([{ name: 'wood', color: 'red', size: '2.50', twice: '5.00', is_new: true }])
    expect(writtenBy(await trial.seed(options))).toEqual({})
  })
})
