import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Queryable } from '../../../src/core/database/database.ts'
import { checkRoles } from '../../../src/core/doctor/check-roles.ts'
import { checkSettings } from '../../../src/core/doctor/check-settings.ts'
import { checkValues } from '../../../src/core/doctor/check-values.ts'
import { runDoctor } from '../../../src/core/doctor/run-doctor.ts'
import { createTestStore, TEST_KEYS, type TestStore } from '../../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { installSmallHost } from '../../support/small-host.ts'

let database: TestDatabase
let files: TestStore
beforeAll(async () => {
  database = await createTestDatabase()
  files = await createTestStore()
  await installSmallHost(database)
})
afterAll(async () => {
  await database?.drop()
  await files?.remove()
})

/** Roles belong to the whole cluster: changed for one look, and rolled back before anybody else sees it. */
async function lookAfter<T>(sql: string, look: (session: Queryable) => Promise<T>): Promise<T> {
  return database.superuser.withConnection(async (session) => {
    await session.query('begin')
    try {
      await session.query(sql)
      return await look(session)
    } finally {
      await session.query('rollback')
    }
  })
}

test.each([
  [
    'that are not bound by our policies',
    'grant tenantkeep_scope to tenantkeep_operator with inherit false granted by postgres',
    'role_fault',
    'grant tenantkeep_scope to tenantkeep_operator with inherit true, set false',
  ],
  [
    'that are members of others',
    'grant pg_read_all_data to tenantkeep_worker',
    'role_fault',
    'revoke pg_read_all_data from tenantkeep_worker',
  ],
  [
    'that bypass row level security',
    'alter role tenantkeep_operator bypassrls',
    'role_fault',
    'alter role tenantkeep_operator nobypassrls',
  ],
  [
    'that may read the log of all changes',
    'alter role tenantkeep_worker replication',
    'role_fault',
    'alter role tenantkeep_worker noreplication',
  ],
])('names roles %s, with the statement', async (_, sql, code, remedy) => {
  const findings = await lookAfter(sql, checkRoles)
  expect(findings).toMatchObject([{ severity: 'error', code, remedy }])
  expect(await lookAfter(`${sql}; ${remedy}`, checkRoles)).toEqual([])
})

test('names a worker that can’t become the operator', async () => {
  const findings = await lookAfter(
    'revoke tenantkeep_operator from tenantkeep_worker granted by postgres cascade',
    checkRoles,
  )
  expect(findings).toMatchObject([
    { code: 'worker_powerless', remedy: expect.stringMatching(/^grant tenantkeep_operator to/) },
  ])
})

test('names a database without an encoding', async () => {
  const findings = await lookAfter(
    `update pg_database set encoding = 0 where datname = current_database()`,
    checkValues,
  )
  expect(findings).toMatchObject([{ severity: 'warning', code: 'encoding_sql_ascii' }])
})

test('names settings of init that point to what is gone', async () => {
  const findings = await lookAfter(
    `update tenantkeep.settings set value = '["shop", "gone"]' where key = 'host_schemas';
     alter table shop.tenants rename column name to title`,
    checkSettings,
  )
  expect(findings.map(({ code, subject }) => [code, subject])).toEqual([
    ['setting_wrong', 'tenant_table'],
    ['setting_wrong', 'host_schemas'],
    ['membership_missing', 'membership'],
    ['setting_wrong', 'inactive_predicate'],
  ])
})

test('a table whose path the census can’t follow is an error, and so is a check that fails', async () => {
  await database.admin.query('alter table shop.pockets rename column tenant_id to customer')
  const broken = Object.assign(Object.create(files.store), {
    url: files.store.url,
    check: () => Promise.reject(new Error('out of order')),
  })

  const { findings } = await runDoctor({
    worker: database.worker,
    admin: null,
    store: broken,
    signingKeys: TEST_KEYS,
  })

  await database.admin.query('alter table shop.pockets rename column customer to tenant_id')
  expect(findings).toContainEqual(
    expect.objectContaining({ code: 'rows_not_countable', subject: 'shop.pockets' }),
  )
  expect(findings).toContainEqual(
    expect.objectContaining({ code: 'check_failed', subject: 'store', severity: 'error' }),
  )
})
