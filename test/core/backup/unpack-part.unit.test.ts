import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import type { SummaryPart } from '../../../src/core/backup/summary.ts'
import { unpackPart } from '../../../src/core/backup/unpack-part.ts'

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

function partOf(raw: Buffer, rows: number, stored = gzipSync(raw)): [Buffer, SummaryPart] {
  return [
    stored,
    {
      path: 'tenant-backups/alpha/2026-11-21/t-20261121T020304567Z-1a2b3c4d.json.gz',
      rows,
      raw_bytes: raw.length,
      stored_bytes: stored.length,
      raw_sha256: sha256(raw),
      stored_sha256: sha256(stored),
    },
  ]
}

const RAW = Buffer.from('[{"a":1}\n,{"a":2}\n]\n')

test('gives back what was packed', async () => {
  expect(await unpackPart(...partOf(RAW, 2))).toEqual(RAW)
  const empty = Buffer.from('[\n]\n')
  expect(await unpackPart(...partOf(empty, 0))).toEqual(empty)
})

test('a second gzip member or anything else behind the first is found', async () => {
  const two = Buffer.concat([gzipSync(RAW), gzipSync(Buffer.from('[\n]\n'))])
  const more = Buffer.concat([gzipSync(RAW), Buffer.alloc(20)])
  await expect(unpackPart(...partOf(RAW, 2, two))).rejects.toThrow(/more than one gzip member/)
  await expect(unpackPart(...partOf(RAW, 2, more))).rejects.toThrow(/more than one gzip member/)
})

test('never unpacks beyond the signed size', async () => {
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024))
  const before = process.memoryUsage().rss
  await expect(unpackPart(...partOf(RAW, 2, bomb))).rejects.toThrow(/can't be unpacked/)
  expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1024 * 1024)
})

test('other bytes, other rows, other framing are found', async () => {
  const cases: [string, number, RegExp][] = [
    ['[{"a":1}\n,{"a":2}\n]\n', 3, /does not hold the 3 rows/],
    ['[{"a":1}\n]{"a":2}\n]\n', 2, /does not hold/],
    ['[{"a":1}\n,{"a":2}\n', 2, /does not hold/],
    ['{"a":1}\n,{"a":2}\n]\n', 2, /does not hold/],
    ['[\n,{"a":2}\n]\n', 1, /does not hold/],
  ]
  for (const [raw, rows, message] of cases) {
    await expect(unpackPart(...partOf(Buffer.from(raw), rows))).rejects.toThrow(message)
  }
  const [stored, part] = partOf(RAW, 2)
  await expect(unpackPart(stored, { ...part, raw_sha256: '0'.repeat(64) })).rejects.toThrow(
    /SHA-256/,
  )
  await expect(unpackPart(stored, { ...part, raw_bytes: RAW.length + 1 })).rejects.toThrow(
    /does not unpack/,
  )
  await expect(unpackPart(stored.subarray(0, -4), part)).rejects.toThrow(/backup|gzip|unpack/)
  await expect(unpackPart(RAW, part)).rejects.toThrow(/not a gzip file of ours/)
})
