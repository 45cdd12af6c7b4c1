import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const FOLDER = join(import.meta.dirname, '../../netlify/functions')

test('every function answers at /.netlify/functions/<name>: no config, which could move it', async () => {
  const names = await readdir(FOLDER)
  const modules = await Promise.all(
    names.map(async (name): Promise<object> => import(join(FOLDER, name))),
  )

  expect(names).toContain('daily-tenant-backup.ts')
  for (const [i, module] of modules.entries()) {
    const isScheduled = names[i]?.startsWith('scheduled-') === true
    // Netlify's clock asks for a config, and a schedule is all that may be in it.
    expect({ ...module, default: typeof Reflect.get(module, 'default') }).toEqual({
      default: 'function',
      ...(isScheduled
        ? { config: { schedule: expect.stringMatching(/^\d+ (\d+|\*) \* \* \*$/) } }
        : {}),
    })
  }
})
