import { expect, test } from 'vitest'
import { estimateRestore, type RestoreSize } from '../../../src/core/restore/estimate-restore.ts'

const size = (rows: number, rawBytes: number, storedBytes: number): RestoreSize => ({
  ...{ rows, rawBytes, storedBytes },
})
const NOTHING = size(0, 0, 0)
const LARGE = size(200_000, 81e6, 12e6)

test('a restore of nothing takes a moment', () => {
  expect(estimateRestore({ backup: NOTHING, live: NOTHING }, { isDryRun: true })).toBe(2)
})

test('the tenant that was measured fits a call when rehearsed, and leaves no doubt when real', () => {
  const both = { backup: LARGE, live: LARGE }
  const rehearsed = estimateRestore(both, { isDryRun: true })
  const real = estimateRestore(both, { isDryRun: false })
  // Measured: 4 s and 6 s without any transfer. Never below that, and not beyond what a function has.
  expect(rehearsed).toBeGreaterThan(4)
  expect(real).toBeGreaterThan(rehearsed)
  expect(real).toBeLessThan(50)
})

test('more rows, more bytes and a larger tenant around it take longer', () => {
  const of = (backup: RestoreSize, live: RestoreSize) =>
    estimateRestore({ backup, live }, { isDryRun: false })
  const base = of(LARGE, LARGE)
  expect(of({ ...LARGE, rows: 2_000_000 }, LARGE)).toBeGreaterThan(base)
  expect(of({ ...LARGE, rawBytes: 810e6 }, LARGE)).toBeGreaterThan(base)
  expect(of({ ...LARGE, storedBytes: 120e6 }, LARGE)).toBeGreaterThan(base)
  expect(of(LARGE, { ...LARGE, rawBytes: 810e6 })).toBeGreaterThan(base)
})
