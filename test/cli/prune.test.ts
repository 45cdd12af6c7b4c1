import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { EXIT } from '../../src/cli/exit-status.ts'
import { runCommandLine } from '../../src/cli/run-command-line.ts'
import { ageBackup } from '../support/aged-backups.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { ALPHA, installSmallHost } from '../support/small-host.ts'

let database: TestDatabase
let folder: string
let env: Record<string, string>
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-prune-'))
  env = {
    SUPABASE_DB_URL: database.workerUrl,
    BACKUP_STORE: pathToFileURL(join(folder, 'store')).href,
    BACKUP_SIGNING_KEY: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
  }
})
afterAll(async () => {
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

/** In this process: sixteen of them would take half a minute to start. */
async function run(...args: string[]) {
  let stdout = ''
  const status = await runCommandLine([...args, '--json'], {
    env,
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: () => true, isTTY: false },
    signal: new AbortController().signal,
  })
  return { status, json: JSON.parse(stdout) }
}

test('rules are set, looked at and carried out, and a tenant is forgotten by its name', async () => {
  for (const days of [50, 0]) {
    const { json } = await run('backup', '--tenant', ALPHA)
    await ageBackup(database, json.backups[0].backup_id, days)
  }
  expect((await run('policy', 'show')).json).toMatchObject({
    policy: { within_days: 30, monthly: 12 },
    policy_from: 'default',
  })
  expect((await run('policy', 'set', '--tenant', ALPHA)).status).toBe(EXIT.couldNotRun)
  const set = await run('policy', 'set', '--tenant', ALPHA, '--last', '1', '--tag', 'audit=400')
  expect(set.json).toMatchObject({
    policy: { last: 1, tags: { audit: 400 } },
    policy_from: 'tenant',
  })

  const looked = await run('prune', '--tenant', ALPHA, '--dry-run')
  const asked = await run('prune')
  const done = await run('prune', '--yes')
  const orphans = await run('prune', '--orphans', '--yes')

  expect(looked.json).toMatchObject({ dry_run: true, totals: { expired: 1, kept: 1 } })
  expect(asked.status).toBe(EXIT.answersNeeded)
  expect(done).toMatchObject({
    status: EXIT.done,
    json: { backups: 1, objects: looked.json.totals.objects },
  })
  expect(orphans).toMatchObject({ status: EXIT.done, json: { orphans: [] } })
  expect((await run('policy', 'clear', '--tenant', ALPHA)).json.policy_from).toBe('default')

  const erase = ['forget-tenant', '--tenant', ALPHA]
  expect((await run(...erase, '--dry-run')).json).toMatchObject({ backups: 1, dry_run: true })
  expect((await run(...erase)).status).toBe(EXIT.answersNeeded)
  expect((await run(...erase, '--confirm-name', 'Alpha')).status).toBe(EXIT.refused)
  const erased = await run(...erase, '--confirm-name', 'Alpha Gases')
  expect(erased).toMatchObject({ status: EXIT.done, json: { backups: 1, dry_run: false } })
  expect((await run('list')).json.backups.map((it: { status: string }) => it.status)).toEqual([
    'pruned',
    'pruned',
  ])
})
