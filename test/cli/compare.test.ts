import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EXIT } from '../../src/cli/exit-status.ts'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { createTestStore, SYSTEM, servicesOf, type TestStore } from '../support/backup-services.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { runCli } from '../support/run-cli.ts'
import { ALPHA, BETA, installSmallHost } from '../support/small-host.ts'

let database: TestDatabase
let store: TestStore
let env: Record<string, string>
/** Before and after the changes. */
let before: string
let after: string
beforeAll(async () => {
  database = await createTestDatabase()
  await installSmallHost(database)
  store = await createTestStore()
  env = {
    SUPABASE_DB_URL: database.workerUrl,
    BACKUP_STORE: store.store.url,
    BACKUP_SIGNING_KEY: `test:${Buffer.alloc(32, 7).toString('base64')}`,
  }
  before = await take()
  await database.admin.withConnection((admin) =>
    admin.query(`
      update shop.accounts set label = E'red \\x1b[31m', balance = 1 where label = 'alpha 1';
      delete from shop.pockets where id = (select id from shop.pockets where tenant_id = 'alpha' limit 1);
      insert into shop.events (tenant_id, body) select 'alpha', '{}' from generate_series(1, 2);
    `),
  )
  after = await take()
})
afterAll(async () => {
  await database?.drop()
  await store?.remove()
})

async function take(): Promise<string> {
  const services = servicesOf(database.worker, store.store)
  const input = { tenantId: ALPHA, backupType: 'manual', actor: SYSTEM } as const
  return (await takeBackup(services, input)).backup.id
}

describe('compare', () => {
  test('lists the tables that differ and ends with 1', async () => {
    const { status, stdout } = await runCli(['compare', '--tenant', ALPHA, '--backup', before], env)

    expect(status).toBe(EXIT.failed)
    expect(stdout).toMatch(/^Backup .* against the live rows of/)
    expect(stdout).toMatch(
      /table +in backup +live +only in backup +only live +changed +equal\nshop\.accounts +20 +20 +0 +0 +1 +19\n/,
    )
    expect(stdout).toMatch(/2 tables are equal\./)
    expect(stdout.trim().split('\n').at(-1)).toMatch(/^4 rows differ in 3 tables\.$/)
    // Without --rows no value of a row.
    expect(stdout).not.toContain('alpha 1')
  })

  test('--rows prints each of them, safe for a terminal', async () => {
    const { stdout } = await runCli(
      ['compare', '--tenant', ALPHA, '--backup', before, '--rows'],
      env,
    )

    expect(stdout).toContain('    balance: 100.0000 → 1.0000')
    expect(stdout).toContain('    label: alpha 1 → red �[31m')
    expect(stdout).toMatch(/shop\.pockets [0-9a-f-]{36}.*: only in the backup/)
    expect(stdout).not.toContain('\x1b')
  })

  test('equal sides end with 0', async () => {
    const args = ['compare', '--tenant', ALPHA, '--backup', after]
    const live = await runCli(args, env)
    const other = await runCli([...args, '--with', after], env)

    expect([live.status, other.status]).toEqual([EXIT.done, EXIT.done])
    expect(live.stdout).toContain('Every row is equal.')
  })

  test('--json holds the figures, and the rows only when asked for', async () => {
    const args = ['compare', '--tenant', ALPHA, '--backup', before, '--with', after, '--json']
    const plain = await runCli([...args, '--table', 'shop.pockets'], env)
    const rows = await runCli([...args, '--table', 'shop.pockets', '--rows'], env)

    const document = JSON.parse(plain.stdout)
    expect(document).toMatchObject({
      success: false,
      is_equal: false,
      backup: { backup_id: before },
      with: { backup_id: after },
      tables: [{ name: 'shop.pockets', only_in_backup: 1, equal: 19 }],
    })
    expect(document.rows).toBeUndefined()
    expect(JSON.parse(rows.stdout).rows).toEqual([
      expect.objectContaining({ table: 'shop.pockets', kind: 'only_in_backup' }),
    ])
  })

  test.each([
    ['no backup', [], /--backup ID or --date DAY/],
    ['a day without one', ['--date', '2020-02-02'], /backup_not_found/],
    [
      'a backup that is none',
      ['--backup', '00000000-0000-4000-8000-000000000000'],
      /backup_not_found/,
    ],
  ])('%s could not run', async (_, args, told) => {
    const { status, stderr } = await runCli(['compare', '--tenant', ALPHA, ...args], env)

    expect(status).toBe(EXIT.couldNotRun)
    expect(stderr).toMatch(told)
  })

  test("another tenant's backup is not found", async () => {
    const { status, stderr } = await runCli(['compare', '--tenant', BETA, '--backup', before], env)

    expect(status).toBe(EXIT.couldNotRun)
    expect(stderr).toMatch(/backup_not_found/)
  })
})
