import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/database.ts'
import { ALPHA, installSmallHost } from '../../../support/small-host.ts'
import { constraintOf, type Staging, staged, withStaging } from './staging.ts'

const HOST = `
  create table shop.places (
    id int primary key, tenant_id text not null references shop.tenants,
    no int constraint places_no unique deferrable initially deferred,
    a int, b int, constraint places_pair unique nulls not distinct (a, b) deferrable,
    span int4range, constraint places_span exclude using gist (span with &&) deferrable initially deferred,
    ring circle, constraint places_ring exclude using gist (ring with &&) deferrable
  );
  create sequence shop.shared_numbers;
  create sequence shop.short as smallint maxvalue 100 increment 30;
  create sequence shop.down increment -1;
  create domain shop.number as bigint;
  create table shop.numbered (
    id bigint generated always as identity primary key, tenant_id text not null references shop.tenants,
    serial_no serial, shared shop.number default nextval('shop.shared_numbers'), short int default nextval('shop.short'),
    down int default nextval('shop.down'), told text default 'N' || nextval('shop.shared_numbers')::text, plain int
  );
`

let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database, HOST)
  await database.admin.query(
    `insert into shop.places (id, tenant_id, no, a, b, span, ring) values
       (1, 'beta', 1, 1, null, '[1,5)', '<(0,0),1>'), (2, 'beta', 2, null, null, '[5,9)', '<(10,0),1>'),
       (3, 'alpha', 3, 3, 3, '[20,30)', null)`,
  )
})

afterAll(() => database?.drop())

describe('count_duplicates', () => {
  /** Stages rows, writes them as the engine does, silently, and counts. */
  async function countAfter(
    constraint: string,
    rows: Record<string, string>[],
    stage: (staging: Staging) => Promise<unknown> = async () => {},
  ): Promise<string | undefined> {
    return withStaging(
      database,
      ALPHA,
      async (staging) => {
        await staging.create('s', 'shop.places')
        await stage(staging)
        for (const [index, row] of rows.entries()) {
          const columns = { id: `${10 + index}`, tenant_id: `'alpha'`, ...row }
          await staging.add('s', index, 'insert', columns)
        }
        await staging.asOperator(
          `insert into shop.places select id, tenant_id, no, a, b, span, ring from pg_temp.s
           where "tenantkeep:action" = 'insert'`,
        )
        const counted = await staging.asWorker<{ count: string }>(
          `select tenantkeep.count_duplicates(${constraintOf(constraint)}, ${staged('s')}) as count`,
        )
        return counted[0]?.count
      },
      { isSilent: true },
    )
  }

  it('counts another tenant’s row with the same value', async () => {
    expect(await countAfter('places_no', [{ no: '1' }, { no: '7' }, {}])).toBe('1')
    expect(await countAfter('places_no', [{ no: '7' }, { no: '8' }])).toBe('0')
  })

  it('counts each pair once', async () => {
    expect(await countAfter('places_no', [{ no: '7' }, { no: '7' }])).toBe('1')
    expect(await countAfter('places_no', [{ no: '7' }, { no: '7' }, { no: '7' }])).toBe('3')
    expect(await countAfter('places_no', [{ no: '1' }, { no: '1' }])).toBe('3')
  })

  it('takes nulls for the same where the constraint does', async () => {
    expect(await countAfter('places_no', [{}, {}])).toBe('0')
    expect(await countAfter('places_pair', [{ a: '1' }, {}, { a: '3', b: '3' }])).toBe('3')
    expect(await countAfter('places_pair', [{ a: '1', b: '1' }, { b: '1' }])).toBe('0')
  })

  it('asks an exclusion constraint with its own operators', async () => {
    expect(await countAfter('places_span', [{ span: `'[4,6)'` }])).toBe('2')
    expect(await countAfter('places_span', [{ span: `'[9,20)'` }])).toBe('0')
    expect(await countAfter('places_span', [{ span: `'[40,50)'` }, { span: `'[45,46)'` }])).toBe(
      '1',
    )
    // A type that has no equality of its own.
    expect(await countAfter('places_ring', [{ ring: `'<(1,0),1>'` }])).toBe('1')
  })

  it('passes over rows whose key stays', async () => {
    expect(
      await countAfter('places_no', [], async (staging) => {
        await staging.addLive('s', 1, 'before', 'shop.places', 'id = 3')
        await staging.addLive('s', 1, 'update', 'shop.places', 'id = 3')
      }),
    ).toBe('0')
  })
})

describe('raise_sequences', () => {
  async function raise(rows: Record<string, string>[]): Promise<Record<string, string>> {
    return withStaging(database, ALPHA, async (staging) => {
      await staging.create('s', 'shop.numbered')
      for (const [index, row] of rows.entries()) await staging.add('s', index, 'insert', row)
      await staging.add('s', 99, 'delete', { id: '999', plain: '999' })
      const raised = await staging.asWorker<{ sequence_name: string; raised_to: string }>(
        `select * from tenantkeep.raise_sequences('shop', 'numbered', ${staged('s')})`,
      )
      return Object.fromEntries(raised.map((row) => [row.sequence_name, row.raised_to]))
    })
  }

  async function next(sequence: string): Promise<string | undefined> {
    const { rows } = await database.admin.query<{ next: string }>(
      `select nextval('${sequence}')::text as next`,
    )
    return rows[0]?.next
  }

  it('raises what is lower, by identity, serial and default', async () => {
    expect(
      await raise([
        { id: '40', serial_no: '5', shared: '7', told: `'N90'` },
        { id: '41', plain: '900' },
      ]),
    ).toEqual({
      'shop.numbered_id_seq': '41',
      'shop.numbered_serial_no_seq': '5',
      'shop.shared_numbers': '7',
    })
    expect(await next('shop.numbered_id_seq')).toBe('42')
    expect(await next('shop.shared_numbers')).toBe('8')
  })

  it('never lowers one', async () => {
    expect(await raise([{ id: '7', shared: '1' }])).toEqual({})
    expect(await next('shop.numbered_id_seq')).toBe('43')
    expect(await raise([{ id: '43' }])).toEqual({})
    expect(await next('shop.numbered_id_seq')).toBe('44')
  })

  it('jumps far, and stops at what a sequence can hold', async () => {
    expect(await raise([{ id: '5000000000', short: '32000' }])).toEqual({
      'shop.numbered_id_seq': '5000000000',
    })
    expect(await next('shop.numbered_id_seq')).toBe('5000000001')
    expect(await raise([{ short: '100' }])).toEqual({ 'shop.short': '100' })
  })

  it('raises one that counts down', async () => {
    expect(await raise([{ down: '-8' }, { down: '-3' }])).toEqual({ 'shop.down': '-8' })
    expect(await next('shop.down')).toBe('-9')
    expect(await raise([{ down: '-4' }])).toEqual({})
  })

  it('raises one that was never used to the value it would give first', async () => {
    await database.admin.query(`alter sequence shop.numbered_serial_no_seq restart with 50`)
    expect(await raise([{ serial_no: '49' }])).toEqual({})
    expect(await raise([{ serial_no: '50' }])).toEqual({ 'shop.numbered_serial_no_seq': '50' })
    expect(await next('shop.numbered_serial_no_seq')).toBe('51')
  })
})
