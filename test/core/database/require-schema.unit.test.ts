import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { NEEDED_MIGRATION } from '../../../src/core/database/require-schema.ts'

test('the code needs the newest migration', async () => {
  const files = await readdir(join(import.meta.dirname, '../../../supabase/migrations'))
  const versions = files.flatMap((name) => /^(\d{14})_.*\.sql$/.exec(name)?.[1] ?? [])

  expect(NEEDED_MIGRATION).toBe(versions.sort().at(-1))
})
