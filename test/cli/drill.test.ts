import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { EXIT } from '../../src/cli/exit-status.ts'
import { runCommandLine } from '../../src/cli/run-command-line.ts'
import type { Backup } from '../../src/core/backup/backup-record.ts'
import { loadSummary } from '../../src/core/backup/load-summary.ts'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { createTestStore, SYSTEM, servicesOf, type TestStore } from '../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { ALPHA, installSmallHost } from '../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let backup: Backup
beforeAll(async () => {
  database = await createTestDatabase()
  store = await createTestStore()
  await installSmallHost(database)
  const services = servicesOf(database.worker, store.store)
  backup = (await takeBackup(services, { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM }))
    .backup
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

async function run(...args: string[]) {
  let stdout = ''
  let stderr = ''
  const status = await runCommandLine(args, {
    env: {
      SUPABASE_DB_URL: database.workerUrl,
      BACKUP_STORE: store.store.url,
      BACKUP_SIGNING_KEY: `test:${Buffer.alloc(32, 7).toString('base64')}`,
    },
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
  })
  return { status, stdout, stderr }
}

test('drill says whether a backup could be restored, of a tenant, by its id, or of whose turn it is', async () => {
  const ofTenant = await run('drill', '--tenant', ALPHA, '--json')
  const byTurn = await run('drill')
  const byId = await run('drill', '--backup', backup.id)

  expect(JSON.parse(ofTenant.stdout)).toMatchObject({
    ...{ success: true, organization_id: ALPHA, backup_id: backup.id, status: 'passed' },
    ...{ findings: [], rows: backup.totalRecords, duration_ms: expect.any(Number) },
  })
  expect(byTurn.stdout).toContain(`${ALPHA}, backup ${backup.id}: could be restored as it is.`)
  expect([ofTenant.status, byTurn.status, byId.status]).toEqual([EXIT.done, EXIT.done, EXIT.done])
})

test('what it finds is an exit status of its own, and what could not be tried another', async () => {
  const unknown = await run('drill', '--backup', '00000000-0000-4000-8000-000000000000')
  const both = await run('drill', '--backup', backup.id, '--tenant', ALPHA)
  const nobody = await run('drill', '--tenant', 'nobody')
  const { tables } = await loadSummary(servicesOf(database.worker, store.store), backup)
  const path = tables.find(({ name }) => name === 'shop.entries')?.parts[0]?.path ?? ''
  await rm(join(store.folder, path))
  const found = await run('drill', '--backup', backup.id)
  const restored = await run(
    'restore',
    '--tenant',
    ALPHA,
    '--backup',
    backup.id,
    '--dry-run',
    '--json',
  )

  expect([unknown.status, both.status, nobody.status]).toEqual(Array(3).fill(EXIT.couldNotRun))
  expect(found.status).toBe(EXIT.failed)
  expect(found.stdout).toContain('could NOT be restored as it is')
  expect(found.stdout).toContain('(object_missing)')
  expect(restored.status).toBe(EXIT.failed)
  expect(JSON.parse(restored.stdout)).toMatchObject({
    success: false,
    error: { code: 'backup_damaged', message: expect.stringContaining('Choose another one') },
  })
})
