import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Backup } from '../../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../../src/core/backup/take-backup.ts'
import { connectDatabase } from '../../../src/core/database/connect-database.ts'
import type { Database } from '../../../src/core/database/database.ts'
import { openBackup } from '../../../src/core/restore/open-backup.ts'
import { DEFAULT_OPTIONS } from '../../../src/core/restore/restore-options.ts'
import { restoreTenant } from '../../../src/core/restore/restore-tenant.ts'
import type { Services } from '../../../src/core/services.ts'
import { initialiseProtection } from '../../../src/core/tables/initialise-protection.ts'
import { quoteIdentifier } from '../../../src/core/tables/quote-identifier.ts'
import { readProtectedTables } from '../../../src/core/tables/read-protected-tables.ts'
import { setWorkerPassword, workerUrl } from '../../../src/core/tables/set-worker-password.ts'
import { findFreePort } from '../../../src/local/free-port.ts'
import { runScript } from '../../../src/local/hosted-shape.ts'
import { type LocalPostgres, startPostgres } from '../../../src/local/postgres.ts'
import { createPlatformSchemas } from '../../../src/local/supabase-api.ts'
import { generateSchema } from '../../odd-schemas/generate-schema.ts'
import {
  createTestStore,
  SYSTEM,
  servicesOf,
  type TestStore,
} from '../../support/backup-services.ts'

/** What Postgres comes with. */
const DEFAULTS = { max_locks_per_transaction: '64', max_connections: '100' }
const TABLES = 300
/** A column that every table gets, so that every one can be damaged. */
const SPOILED = 'spoiled'

const ADD_COLUMN = `
  do $$
  declare made regclass;
  begin
    for made in
      select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('public', 'Other Schema') and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname not in ('tenant_backups', 'backup_logs')
    loop
      execute format('alter table %s add column if not exists ${SPOILED} text', made);
    end loop;
  end $$`

let folder: string
let postgres: LocalPostgres | undefined
let admin: Database
let worker: Database
let store: TestStore
let services: Services
const schema = generateSchema({ tables: TABLES, seed: 9 })

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tenantkeep-many-tables-'))
  // The server's user must get in, where tests run as root.
  await chmod(folder, 0o711)
  postgres = await startPostgres({
    dataFolder: join(folder, 'data'),
    port: await findFreePort(),
    passwords: { supabaseAdmin: 'test-admin', postgres: 'test-owner' },
    isDurable: false,
    settings: DEFAULTS,
  })
  await createPlatformSchemas(postgres.url('supabase_admin'))
  const adminUrl = postgres.url('postgres')
  await runScript(adminUrl, `${schema.sql};${ADD_COLUMN}`)
  admin = connectDatabase({ url: adminUrl })
  const { isApplied } = await initialiseProtection(admin, {
    ...schema.options,
    choices: new Map([['enable_rls', 'yes']]),
    acceptDefaults: true,
  })
  expect(isApplied).toBe(true)
  worker = connectDatabase({ url: workerUrl(adminUrl, await setWorkerPassword(admin)) })
  store = await createTestStore()
  services = servicesOf(worker, store.store)
}, 240_000)

afterAll(async () => {
  await worker?.close()
  await admin?.close()
  await postgres?.stop()
  await store?.remove()
  await rm(folder, { recursive: true, force: true })
})

test('two restores at once, every one of 300 tables damaged, fit a server with default settings', async () => {
  const tables = await admin.withConnection(readProtectedTables)
  const before = await Promise.all(schema.tenants.map((tenant) => readTenant(tenant)))
  const backups = await Promise.all(schema.tenants.map(backUp))
  const damaged = await Promise.all(schema.tenants.map(damage))
  const watch = watchLocks()

  const results = await Promise.all(backups.map(restore)).finally(() => watch.end())

  const { capacity, most, together } = await watch.read()
  expect(most).toBeGreaterThan(tables.length)
  expect(2 * most).toBeLessThan(capacity)
  expect(together).toBeLessThan(capacity)
  expect(
    results.map(
      (result) => result.tables.filter(({ inserted, updated }) => inserted + updated > 0).length,
    ),
  ).toEqual(damaged)
  for (const count of damaged) expect(count).toBeGreaterThan(0.9 * tables.length)
  expect(await Promise.all(schema.tenants.map((tenant) => readTenant(tenant)))).toEqual(before)
}, 240_000)

async function backUp(tenantId: string): Promise<Backup> {
  const { backup } = await takeBackup(services, { tenantId, backupType: 'manual', actor: SYSTEM })
  return backup
}

async function restore(backup: Backup) {
  return restoreTenant(services, {
    tenantId: backup.organizationId,
    source: await openBackup(services, backup),
    isDryRun: false,
    options: DEFAULT_OPTIONS,
    actor: SYSTEM,
  })
}

/** As the owner, past the policies, with no trigger acting: `work` sees the tenant set. */
async function asOwner<T>(
  tenant: string,
  work: (
    query: Database['query'],
    tables: Awaited<ReturnType<typeof readProtectedTables>>,
  ) => Promise<T>,
): Promise<T> {
  return admin.withConnection(async (session) => {
    const tables = await readProtectedTables(session)
    await session.query('begin; set local session_replication_role = replica')
    await session.query(`select set_config('tenantkeep.tenant', $1, true)`, [tenant])
    const result = await work((sql, params) => session.query(sql, params), tables)
    await session.query('commit')
    return result
  })
}

/** Spoils every row. Returns of how many tables. */
async function damage(tenant: string): Promise<number> {
  return asOwner(tenant, async (query, tables) => {
    let damaged = 0
    for (const { from, rowExpression, isWritable } of tables) {
      if (!isWritable) continue
      const { rowCount } = await query(
        `update ${from.replace(/^from /, '')} set ${SPOILED} = 'by accident' where ${rowExpression}`,
      )
      if (rowCount > 0) damaged += 1
    }
    return damaged
  })
}

async function readTenant(tenant: string): Promise<Record<string, string[]>> {
  return asOwner(tenant, async (query, tables) => {
    const rows: Record<string, string[]> = {}
    for (const { label, name, from, rowExpression } of tables) {
      const found = await query<{ row: string }>(
        `select ${quoteIdentifier(name)}::text as row ${from} where ${rowExpression} order by 1`,
      )
      rows[label] = found.rows.map(({ row }) => row)
    }
    return rows
  })
}

/** Looks every 50 ms how many locks the workers hold; what fits is what the server has set aside. */
function watchLocks() {
  let isOver = false
  let most = 0
  let together = 0
  const watching = (async () => {
    while (!isOver) {
      const { rows } = await admin.query<{ most: number; together: number }>(
        `select coalesce(max(locks), 0)::int as most, coalesce(sum(locks), 0)::int as together
         from (select count(*) as locks from pg_locks where not fastpath group by pid) as by_session`,
      )
      most = Math.max(most, rows[0]?.most ?? 0)
      together = Math.max(together, rows[0]?.together ?? 0)
      await sleep(50)
    }
  })()
  return {
    async end() {
      isOver = true
      await watching
    },
    async read() {
      const { rows } = await admin.query<{ capacity: number }>(
        `select current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int as capacity`,
      )
      return { capacity: rows[0]?.capacity ?? 0, most, together }
    },
  }
}
