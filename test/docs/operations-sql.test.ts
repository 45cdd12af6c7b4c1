import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { readFences, readText } from './read-docs.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase({ template: 'demo' })
})
afterAll(() => database?.drop())

// «sql only-hosted» needs extensions that only Supabase has.
const examples = readFences(readText('docs/operations.md'))
  .filter(({ info }) => info === 'sql')
  .map(({ text }) => [text.split('\n')[0] ?? '', text] as const)

test('operations.md has examples', () => {
  expect(examples.length).toBeGreaterThan(5)
})

test.each(examples)('the example runs as the owner of the database: %s', async (_, sql) => {
  await expect(database.admin.query(sql)).resolves.toBeDefined()
})
