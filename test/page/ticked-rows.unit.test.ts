import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { keepTickedRows, readTickedRows, readTicks } from '../../src/page/compare/ticked-rows.ts'

const kept = new Map<string, string>()
beforeEach(() => {
  kept.clear()
  vi.stubGlobal('sessionStorage', {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => kept.set(name, value),
    removeItem: (name: string) => kept.delete(name),
  })
})
afterEach(() => vi.unstubAllGlobals())

test('ticked rows are kept per backup, by table and key', () => {
  keepTickedRows('a', {
    customers: [{ key: { id: '1' }, kind: 'changed' }],
    __proto__: [],
    empty: [],
  })

  expect(readTickedRows('a')).toEqual({ customers: [{ id: '1' }] })
  expect(readTicks('a')).toEqual({ customers: [{ key: { id: '1' }, kind: 'changed' }] })
  expect(readTickedRows('b')).toBeNull()
})

test('none at all are forgotten', () => {
  keepTickedRows('a', { customers: [{ key: { id: '1' }, kind: 'changed' }] })

  keepTickedRows('a', { customers: [] })

  expect(kept.size).toBe(0)
  expect(readTickedRows('a')).toBeNull()
})

test('what is not ours, and a browser that keeps nothing, are no ticked rows', () => {
  kept.set('tenantkeep:ticked:a', '{"customers": "all"}')
  kept.set('tenantkeep:ticked:b', 'nonsense')
  expect([readTickedRows('a'), readTickedRows('b')]).toEqual([null, null])

  vi.stubGlobal('sessionStorage', {
    getItem: () => {
      throw new Error('denied')
    },
    setItem: () => {
      throw new Error('denied')
    },
  })
  expect(readTickedRows('a')).toBeNull()
  expect(keepTickedRows('a', { customers: [{ key: { id: '1' }, kind: 'changed' }] })).toBe(false)
})
