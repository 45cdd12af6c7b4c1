import { expect, test } from 'vitest'
import { restoreCommand } from '../../../src/core/jobs/restore-command.ts'
import type { RunTask } from '../../../src/core/jobs/restore-task.ts'
import { DEFAULT_OPTIONS, type RestoreOptions } from '../../../src/core/restore/restore-options.ts'

const ID = '3f0e8f5e-5a0c-4d0c-8e52-0b8a7a1c9b11'
const common = { dry_run: true, plan_hash: null, note: null, samples: 0 }

function restore(options: Partial<RestoreOptions>): RunTask {
  return {
    ...{ ...common, kind: 'restore', backup_id: ID, file: null },
    options: { ...DEFAULT_OPTIONS, ...options },
  }
}

test('what is by default is not said', () => {
  expect(restoreCommand('a', restore({}))).toBe(
    `npm run -s tenantkeep -- restore --tenant a --backup ${ID}`,
  )
})

test('every choice has its flag, and every word is one for a shell', () => {
  const command = restoreCommand(
    "o'brien & sons",
    restore({
      ...{ tables: ['orders', 'Price List 2025'], newer: 'keep', on_taken: 'keep_live' },
      ...{ accept_access_changes: true, accept_schema_changes: ['dropped_column:a.b'] },
    }),
  )

  expect(command).toBe(
    `npm run -s tenantkeep -- restore --tenant 'o'\\''brien & sons' --backup ${ID} --table orders --table 'Price List 2025' --newer keep --on-taken keep-live --accept-access-changes --accept-schema-change dropped_column:a.b`,
  )
})

test('an undo is an undo', () => {
  const task: RunTask = {
    ...{ ...common, kind: 'undo', restore_id: ID, everything: true, on_conflict: 'keep' },
  }
  expect(restoreCommand('a', task)).toBe(
    `npm run -s tenantkeep -- undo --tenant a --restore ${ID} --everything --on-conflict keep`,
  )
})
