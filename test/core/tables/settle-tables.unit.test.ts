import { describe, expect, it } from 'vitest'
import {
  findFollowers,
  followAnswers,
  isBookkeeping,
  isLogLike,
  isLookup,
} from '../../../src/core/tables/settle-tables.ts'
import { hostTable } from './host-tables.ts'

describe('tables that are settled without a question', () => {
  it.each([
    [{ used: 3, shared: 2 }, true],
    [{ used: 1, shared: 1 }, true],
    [{ used: 2, shared: 1 }, false],
    [{ used: 5, shared: 0 }, false],
    [{ used: 0, shared: 0 }, false],
    [null, false],
  ])('lookups are those most of whose used rows two tenants use: %o', (usage, isOne) => {
    expect(isLookup(usage)).toBe(isOne)
  })

  it.each([
    ['schema_migrations', ['version text']],
    ['_prisma_migrations', ['id text', 'checksum text', 'finished_at timestamptz']],
    ['knex_migrations', ['id integer', 'name text', 'batch integer', 'migration_time timestamptz']],
    ['flyway_schema_history', ['installed_rank integer', 'version text', 'success boolean']],
    ['DATABASECHANGELOG', ['ID text', 'MD5SUM text', 'DATEEXECUTED timestamp']],
    ['alembic_version', ['version_num text']],
  ])('%s is what a migration tool keeps for itself', (name, columns) => {
    const table = hostTable(name, columns)
    expect(isBookkeeping(table, [table])).toBe(true)
  })

  it('is not taken for bookkeeping when it refers to something, is referred to, or only sounds alike', () => {
    const birds = hostTable('bird_migrations', ['id', 'bird_id'], ['bird_id>birds.id'])
    const moves = hostTable('migrations', ['id', 'name text'])
    const steps = hostTable('steps', ['id', 'migration_id'], ['migration_id>migrations.id'])
    const versions = hostTable('document_versions', ['id', 'version integer'])
    const all = [birds, moves, steps, versions]
    expect(all.map((table) => isBookkeeping(table, all))).toEqual([false, false, false, false])
  })

  it.each([
    ['request_logs', true],
    ['JobQueue', true],
    ['catalog', false],
    ['prices', false],
  ])('%s looks like a log: %s', (name, isOne) => {
    expect(isLogLike(hostTable(name, ['id']))).toBe(isOne)
  })

  it('follow what they hang on, step by step', () => {
    const open = [
      hostTable('streets', ['id', 'city_id'], ['city_id>cities.id']),
      hostTable('cities', ['id', 'country text'], ['country>countries.code']),
      hostTable('lines', ['id', 'log_id'], ['log_id>logs.id']),
    ]
    const followed = followAnswers(open, {
      shared: new Set(['public.countries']),
      excluded: new Map([['public.logs', 'kept elsewhere']]),
    })
    expect(Object.fromEntries(followed)).toEqual({
      'public.cities': { class: 'shared' },
      'public.streets': { class: 'shared' },
      'public.lines': { class: 'excluded', reason: 'hangs on public.logs, which is excluded' },
    })
  })

  it('do not follow a shared table where a column could name an owner, or a key leads elsewhere', () => {
    const open = [
      hostTable('orders', ['id', 'country text', 'buyer uuid'], ['country>countries.code']),
      hostTable(
        'trips',
        ['id', 'country text', 'x int4'],
        ['country>countries.code', 'x>others.id'],
      ),
      hostTable('notes', ['id', 'log_id?'], ['log_id>logs.id']),
    ]
    const followed = followAnswers(open, {
      shared: new Set(['public.countries']),
      excluded: new Map([['public.logs', 'x']]),
    })
    expect([...followed]).toEqual([])
  })

  it('are asked about once: a table that hangs on an open one follows it, but not in a circle', () => {
    const open = [
      hostTable('a', ['id', 'b_id'], ['b_id>b.id']),
      hostTable('b', ['id', 'c_id'], ['c_id>c.id']),
      hostTable('c', ['id']),
      hostTable('x', ['id', 'y_id'], ['y_id>y.id']),
      hostTable('y', ['id', 'x_id'], ['x_id>x.id']),
    ]
    expect(Object.fromEntries(findFollowers(open))).toEqual({
      'public.a': 'public.b',
      'public.b': 'public.c',
      'public.x': 'public.y',
    })
  })
})
