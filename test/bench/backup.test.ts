import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import * as z from 'zod'
import { REPOSITORY } from '../../src/local/migrations.ts'

const Document = z.object({
  benchmark: z.literal('backup'),
  isQuick: z.literal(true),
  machine: z.object({ cores: z.int().positive(), postgres: z.string() }),
  dataSet: z.object({ rows: z.literal(200_000), tenants: z.int(), isDurable: z.literal(false) }),
  figures: z.array(
    z.object({
      name: z.string(),
      value: z.number().nonnegative(),
      samples: z.array(z.number()).min(2),
      isMet: z.boolean().nullable(),
    }),
  ),
})

test('the benchmark runs from an empty folder and prints one document with every figure', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tenantkeep-bench-test-'))
  // The server's user must get in, where tests run as root.
  await chmod(folder, 0o711)
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['test/bench/main.ts', 'backup', '--quick', '--json', '--folder', folder],
      { cwd: REPOSITORY, timeout: 400_000 },
    )

    const { figures } = Document.parse(JSON.parse(stdout))
    expect(figures.map(({ isMet }) => isMet !== null).filter(Boolean)).toHaveLength(6)
    const uploaded = figures.find(({ name }) => name.includes('files uploaded'))
    expect(uploaded).toMatchObject({ value: 0, isMet: true })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}, 420_000)
