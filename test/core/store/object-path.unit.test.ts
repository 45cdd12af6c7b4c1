import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  backupStamp,
  checkPath,
  checkPrefix,
  dayPrefix,
  partPath,
  restorePlanPath,
  stampOf,
  summaryPath,
  tenantPrefix,
} from '../../../src/core/store/object-path.ts'

const STAMP = '20261121T020304567Z-1a2b3c4d'
const ID = '1a2b3c4d-0000-4000-8000-000000000000'
/** What Supabase Storage takes as a key. */
const KEY_SHAPE = /^(\w|\/|!|-|\.|\*|'|\(|\)| |&|\$|@|=|;|:|\+|,|\?)*$/

const awkward = fc.constantFrom(
  'summary',
  'Summary',
  `summary-${STAMP}`,
  STAMP,
  STAMP.toLowerCase(),
  `${STAMP}.restore-plan`,
  'restore-plan',
  'x.part-0002',
  `orders-${STAMP}.part-0002`,
  '..',
  '.',
  '%2e',
  'a/b',
  'a\\b',
  'a b',
  'public',
  '=61',
  'a=x0123456789abcdef0123456789abcdef',
)
const name = fc.oneof(
  awkward,
  fc.string({ minLength: 1, maxLength: 63, unit: 'binary' }),
  fc.string({
    minLength: 1,
    maxLength: 6,
    unit: fc.constantFrom('a', 'A', 'b', '.', '-', '=', '_'),
  }),
  fc.string({ minLength: 90, maxLength: 140, unit: fc.constantFrom('a', 'A', 'é') }),
)
const table = fc.record({ schema: fc.oneof(fc.constant('public'), name), name })
const takenAt = fc.date({
  min: new Date('0001-01-01'),
  max: new Date('9999-12-31'),
  noInvalidDate: true,
})
const stamp = fc.tuple(takenAt, fc.uuid()).map(([at, id]) => backupStamp(at, id))
const object = fc.oneof(
  fc.record({ tenant: name, stamp, table: fc.constant(null), part: fc.constantFrom(0, 1) }),
  fc.record({ tenant: name, stamp, table, part: fc.integer({ min: 1, max: 200_000 }) }),
)

type SomeObject = {
  tenant: string
  stamp: string
  /** Null: the summary as part 1, the plan of a restore as part 0. */
  table: { schema: string; name: string } | null
  part: number
}

function pathOf(it: SomeObject): string {
  if (it.table !== null) return partPath(it.tenant, it.stamp, it.table, it.part)
  return it.part === 1 ? summaryPath(it.tenant, it.stamp) : restorePlanPath(it.tenant, it.stamp)
}

/** How a person would read an escaped name. */
function decode(encoded: string): string {
  return decodeURIComponent(encoded.replaceAll('=', '%'))
}

describe('the path of an object', () => {
  test('is the one the documents promise', () => {
    const tenant = '7c9e6679-7425-40de-944b-e07fc1f90ae7'
    const day = `tenant-backups/${tenant}/2026-11-21`
    expect(backupStamp(new Date('2026-11-21T02:03:04.567Z'), ID)).toBe(STAMP)
    expect(tenantPrefix(tenant)).toBe(`tenant-backups/${tenant}/`)
    expect(dayPrefix(tenant, STAMP)).toBe(`${day}/`)
    expect(summaryPath(tenant, STAMP)).toBe(`${day}/summary-${STAMP}.json`)
    expect(restorePlanPath(tenant, STAMP)).toBe(`${day}/${STAMP}.restore-plan.json.gz`)
    const rentals = { schema: 'public', name: 'rentals' }
    expect(partPath(tenant, STAMP, rentals, 1)).toBe(`${day}/rentals-${STAMP}.json.gz`)
    expect(partPath(tenant, STAMP, rentals, 2)).toBe(`${day}/rentals-${STAMP}.part-0002.json.gz`)
    expect(partPath('Acme Ltd.', STAMP, { schema: 'Sales', name: 'Größe-2' }, 1)).toBe(
      `tenant-backups/=41cme=20=4ctd=2e/2026-11-21/=53ales.=47r=c3=b6=c3=9fe=2d2-${STAMP}.json.gz`,
    )
  })

  test('always passes its own check and that of Supabase Storage', () => {
    fc.assert(
      fc.property(object, (it) => {
        const path = pathOf(it)
        expect(checkPath(path)).toBe(path)
        expect(stampOf(path)).toBe(it.stamp)
        expect(path).toMatch(KEY_SHAPE)
        expect(path.length).toBeLessThan(1024)
        expect(Math.max(...path.split('/').map((part) => part.length))).toBeLessThanOrEqual(255)
        expect(path.startsWith(checkPrefix(dayPrefix(it.tenant, it.stamp)))).toBe(true)
        expect(path.startsWith(checkPrefix(tenantPrefix(it.tenant)))).toBe(true)
        expect(new URL(`http://x/${path}`).pathname).toBe(`/${path}`)
      }),
    )
  })

  test('never is shared by two objects, not even on a disk that ignores case', () => {
    fc.assert(
      fc.property(object, object, (a, b) => {
        const isSame = JSON.stringify(a) === JSON.stringify(b)
        expect(pathOf(a).toLowerCase() === pathOf(b).toLowerCase()).toBe(isSame)
      }),
      { numRuns: 2_000 },
    )
  })

  test('never is shared by two tables of one backup', () => {
    const part = fc.integer({ min: 1, max: 3 })
    fc.assert(
      fc.property(table, table, part, part, (a, b, partOfA, partOfB) => {
        const isSame = a.schema === b.schema && a.name === b.name && partOfA === partOfB
        const paths = [partPath('t', STAMP, a, partOfA), partPath('t', STAMP, b, partOfB)]
        expect(paths[0] === paths[1]).toBe(isSame)
        expect(paths).not.toContain(summaryPath('t', STAMP))
        expect(paths).not.toContain(restorePlanPath('t', STAMP))
      }),
      { numRuns: 2_000 },
    )
  })

  test('can be read back by a person, as long as the name is not overlong', () => {
    const short = fc.string({ minLength: 1, maxLength: 10, unit: 'grapheme' })
    fc.assert(
      fc.property(short, short, short, (tenant, schema, tableName) => {
        fc.pre(schema !== 'public')
        const path = partPath(tenant, STAMP, { schema, name: tableName }, 1)
        const match = /^tenant-backups\/([^/]+)\/2026-11-21\/([^.]+)\.([^-]+)-/.exec(path)
        fc.pre(!path.includes('=x'))
        expect(match?.slice(1).map(decode)).toEqual([tenant, schema, tableName])
      }),
    )
  })

  test('carries the day of the database clock in UTC', () => {
    fc.assert(
      fc.property(takenAt, (at) => {
        const day = at.toISOString().slice(0, 10)
        expect(dayPrefix('t', backupStamp(at, ID))).toBe(`tenant-backups/t/${day}/`)
      }),
    )
  })

  const day = 'tenant-backups/t/2026-11-21'
  test.each([
    `${day}/Orders-${STAMP}.json.gz`,
    `${day}/orders-${STAMP}.json`,
    `${day}/orders-${STAMP}.part-0001.json.gz`,
    `${day}/orders-${STAMP}.part-0000.json.gz`,
    `${day}/orders-${STAMP}.part-2.json.gz`,
    `${day}/orders-${STAMP}.part-00002.json.gz`,
    `${day}/public.orders-${STAMP}.json.gz`,
    `${day}/a.b.c-${STAMP}.json.gz`,
    `${day}/=61-${STAMP}.json.gz`,
    `${day}/=ff-${STAMP}.json.gz`,
    `${day}/=4G-${STAMP}.json.gz`,
    `${day}/-${STAMP}.json.gz`,
    `${day}/${'a'.repeat(97)}-${STAMP}.json.gz`,
    `tenant-backups/t/2026-11-20/orders-${STAMP}.json.gz`,
    `tenant-backups/t/2026-11-20/${STAMP}.restore-plan.json.gz`,
    `${day}/${STAMP}.restore-plan.json`,
    `${day}/${STAMP}.restore-plan.part-0002.json.gz`,
    `${day}/x-${STAMP}.restore-plan.json.gz`,
    `${day}/${STAMP.toLowerCase()}.restore-plan.json.gz`,
    `tenant-backups/=2d/2026-11-21/orders-${STAMP}.json.gz`,
    `other/t/2026-11-21/orders-${STAMP}.json.gz`,
    `${day}/orders-20261121T020304567Z.json.gz`,
  ])('is refused where it is not one of ours: %s', (path) => {
    expect(() => checkPath(path)).toThrow(expect.objectContaining({ code: 'path_refused' }))
  })

  test.each([
    '',
    '/',
    'tenant-backups',
    'tenant-backups/t',
    `${day}/x/`,
    'tenant-backups/../',
    'x/',
  ])('is refused as a folder: %s', (prefix) => {
    expect(() => checkPrefix(prefix)).toThrow(expect.objectContaining({ code: 'path_refused' }))
  })

  test.each([
    ['an empty tenant', () => summaryPath('', STAMP)],
    ['an empty table', () => partPath('t', STAMP, { schema: 'public', name: '' }, 1)],
    ['half a character', () => summaryPath('\ud800', STAMP)],
    ['part zero', () => partPath('t', STAMP, { schema: 'public', name: 'a' }, 0)],
    ['part one and a half', () => partPath('t', STAMP, { schema: 'public', name: 'a' }, 1.5)],
    ['a plan of nobody', () => restorePlanPath('', STAMP)],
    ['a stamp of others', () => summaryPath('t', '2026-11-21')],
    ['an invalid time', () => backupStamp(new Date(Number.NaN), ID)],
    ['an id that is no uuid', () => backupStamp(new Date(), 'x')],
  ])('is not built from %s', (_, build) => {
    expect(build).toThrow(expect.objectContaining({ code: 'path_refused' }))
  })
})
