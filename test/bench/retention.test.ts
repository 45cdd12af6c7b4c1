import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import * as z from 'zod'
import { REPOSITORY } from '../../src/local/migrations.ts'

const Document = z.object({
  benchmark: z.literal('retention'),
  isQuick: z.literal(true),
  figures: z.array(
    z.object({
      name: z.string(),
      unit: z.string(),
      value: z.number().positive(),
      isMet: z.boolean().nullable(),
    }),
  ),
})

test('the benchmark of keeping and watching prints every figure, and none asks a query per backup', async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['test/bench/main.ts', 'retention', '--quick', '--json'],
    { cwd: REPOSITORY, timeout: 110_000 },
  )

  const { figures } = Document.parse(JSON.parse(stdout))
  expect(figures).toHaveLength(6 * 4)
  // Time is another matter where other tests run beside it; statements are counted.
  const statements = figures.filter(({ unit }) => unit === 'queries')
  expect(statements).toHaveLength(6)
  expect(statements.filter(({ isMet }) => isMet !== true)).toEqual([])
}, 120_000)
