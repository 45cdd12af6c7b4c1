import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PartBuffers, PartCutter } from '../../../src/core/backup/cut-parts.ts'
import { blankFraming } from '../../../src/core/backup/unpack-part.ts'

const LIMITS = { maxRowBytes: 10_000, partBytes: 64 }

function cut(lines: string, chunkSizes: readonly number[], limits = LIMITS): string[] {
  const cutter = new PartCutter('t', limits, new PartBuffers())
  const bytes = Buffer.from(lines)
  const parts: string[] = []
  let at = 0
  const keep = (made: ReturnType<PartCutter['push']>) => {
    for (const part of made) {
      parts.push(part.bytes.toString())
      part.release()
    }
  }
  for (let turn = 0; at < bytes.length; turn += 1) {
    const size = chunkSizes[turn % chunkSizes.length] ?? 1
    keep(cutter.push(bytes.subarray(at, at + size)))
    at += size
  }
  keep(cutter.finish())
  return parts
}

test('a table without rows is one empty array', () => {
  expect(cut('', [1])).toEqual(['[\n]\n'])
})

test('a part is a whole array with one row on a line, the framing character first', () => {
  expect(cut(',{"a":1}\n,{"a":2}\n', [5])).toEqual(['[{"a":1}\n,{"a":2}\n]\n'])
})

test('a row larger than a part is a part of its own', () => {
  const large = `,{"a":"${'x'.repeat(500)}"}\n`
  const parts = cut(`,{"a":1}\n${large},{"a":2}\n`, [7])

  expect(parts).toEqual(['[{"a":1}\n]\n', `[${large.slice(1)}]\n`, '[{"a":2}\n]\n'])
})

test('a row larger than the limit is refused with its table', () => {
  const row = `,{"a":"${'x'.repeat(90)}"}\n`
  expect(() => cut(row, [10], { ...LIMITS, maxRowBytes: 60 })).toThrow(
    /A row of t is larger than 60/,
  )
  expect(() => cut(',{"a":"xxxxxxxxxxxxxxxxxxx"}\n', [99], { ...LIMITS, maxRowBytes: 10 })).toThrow(
    /larger than 10 bytes/,
  )
})

test('a line that is no row is refused', () => {
  expect(() => cut(',{"a":1}\n\n', [99])).toThrow(/could not be written/)
  expect(() => cut(',{"a":1}\n,{"a"', [99])).toThrow(/in the middle of a line/)
})

test('cuts depend on the rows alone, lose none, and keep within the limit', () => {
  const rows = fc.array(fc.integer({ min: 0, max: 150 }), { maxLength: 40 })
  const chunks = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(rows, chunks, chunks, (sizes, some, others) => {
      const lines = sizes.map((size) => `,{"a":"${'x'.repeat(size)}"}\n`)
      const parts = cut(lines.join(''), some)

      expect(cut(lines.join(''), others)).toEqual(parts)
      expect(parts.flatMap((part) => JSON.parse(part))).toEqual(
        sizes.map((size) => ({ a: 'x'.repeat(size) })),
      )
      for (const part of parts) {
        expect(part.length <= LIMITS.partBytes || JSON.parse(part).length === 1).toBe(true)
      }
    }),
  )
})

test('blanked lines are the rows as Postgres reads them, one by one', () => {
  const lines = (part: string) => blankFraming(Buffer.from(part)).toString()
  expect(lines('[{"a":1}\n,{"a":2}\n]\n')).toBe(' {"a":1}\n {"a":2}\n')
  expect(lines('[\n]\n')).toBe('')
})
