import { afterAll, beforeAll, expect, test } from 'vitest'
import { EXIT } from '../../src/cli/exit-status.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { runCli } from '../support/run-cli.ts'
import { installSmallHost } from '../support/small-host.ts'

let database: TestDatabase
let env: { ADMIN_DB_URL: string }

beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  env = { ADMIN_DB_URL: database.adminUrl }
})
afterAll(() => database?.drop())

test('unhook and hook say what they did, as data', async () => {
  const off = await runCli(['unhook', '--table', 'events', '--by', 'ann', '--json'], env)
  expect(off.status).toBe(EXIT.done)
  expect(JSON.parse(off.stdout)).toEqual({
    success: true,
    unhooked: ['shop.events'],
    along_with: [],
    already_unhooked: [],
  })
  const on = await runCli(['hook', '--json'], env)
  expect(on.status).toBe(EXIT.done)
  expect(JSON.parse(on.stdout)).toEqual({
    success: true,
    hooked: ['shop.events'],
    drifted: [],
    still_unhooked: [],
    unclassified: [],
  })
})

test('hook ends with «answers needed» where init has to look again', async () => {
  await runCli(['unhook', '--table', 'pockets'], env)
  await database.admin.query('alter table shop.pockets alter tenant_id type varchar(9)')
  const { status, stdout } = await runCli(['hook'], env)
  expect(status).toBe(EXIT.answersNeeded)
  expect(stdout).toMatch(/shop\.pockets: its column tenant_id is character varying and was text\./)
  expect(stdout).toMatch(/Run init/)
})

test('uninstall does nothing where there is nobody to ask', async () => {
  const { status, stderr } = await runCli(['uninstall'], env)
  expect(status).toBe(EXIT.answersNeeded)
  expect(stderr).toMatch(/--yes/)
  const { rows } = await database.admin.query(
    `select to_regnamespace('tenantkeep') is null as gone`,
  )
  expect(rows).toEqual([{ gone: false }])
})

test('uninstall --yes takes everything off, and says what stays and why', async () => {
  const { status, stdout } = await runCli(['uninstall', '--yes'], env)
  expect(status).toBe(EXIT.done)
  expect(stdout).toMatch(/Row level security is off again on: .*shop\.accounts/)
  expect(stdout).toMatch(/tenantkeep_worker stays: another database of this server needs it/)
  const { rows } = await database.admin.query(
    `select to_regnamespace('tenantkeep') is null as gone`,
  )
  expect(rows).toEqual([{ gone: true }])
})
