import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import * as z from 'zod'
import { REPOSITORY } from '../../src/local/migrations.ts'

const Document = z.object({
  benchmark: z.literal('schema'),
  isQuick: z.literal(true),
  machine: z.object({ cores: z.int().positive(), postgres: z.string() }),
  figures: z.array(
    z.object({
      name: z.string(),
      value: z.number().positive(),
      samples: z.array(z.number()).min(2),
      isMet: z.boolean().nullable(),
    }),
  ),
})

test('the benchmark of schemas prints one document with every figure', async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['test/bench/main.ts', 'schema', '--quick', '--json'],
    { cwd: REPOSITORY, timeout: 110_000 },
  )

  const { figures } = Document.parse(JSON.parse(stdout))
  expect(figures.filter(({ isMet }) => isMet === null)).toHaveLength(10)
  expect(figures.filter(({ isMet }) => isMet !== null)).toHaveLength(5)
}, 120_000)
