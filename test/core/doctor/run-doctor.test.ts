import { afterAll, beforeAll, expect, test } from 'vitest'
import { runDoctor } from '../../../src/core/doctor/run-doctor.ts'
import { createTestStore, TEST_KEYS, type TestStore } from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

let database: TestDatabase
let files: TestStore

beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
  files = await createTestStore()
})

afterAll(async () => {
  await database?.drop()
  await files?.remove()
})

test('finds nothing wrong with the demonstration as init left it, as the worker and as the owner', async () => {
  const { worker, admin } = database
  const parts = { store: files.store, signingKeys: TEST_KEYS }
  const asWorker = await runDoctor({ ...parts, worker, admin: null })
  const asOwner = await runDoctor({ ...parts, worker: null, admin })
  const asBoth = await runDoctor({ ...parts, worker, admin })

  for (const { findings } of [asWorker, asOwner, asBoth]) {
    expect(findings.filter(({ severity }) => severity !== 'notice')).toEqual([])
  }
  expect(asWorker.findings.map(({ code }) => code)).toEqual(['files_not_covered'])
  expect(asBoth.findings).toEqual([])
  expect(asBoth.notChecked).toEqual([])
})
