import { BACKUP_JSON, type Backup } from '../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { openBackup } from '../../src/core/restore/open-backup.ts'
import { RestoreOptions } from '../../src/core/restore/restore-options.ts'
import type { RestoreResult } from '../../src/core/restore/restore-result.ts'
import { restoreTenant } from '../../src/core/restore/restore-tenant.ts'
import type { Services } from '../../src/core/services.ts'
import {
  initialiseProtection,
  type ProtectionOptions,
} from '../../src/core/tables/initialise-protection.ts'
import { runScript } from '../../src/local/hosted-shape.ts'
import { createTestStore, SYSTEM, servicesOf, type TestStore } from './backup-services.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'
import {
  type OthersPhotograph,
  type Owns,
  photographOthers,
  photographTenant,
  readOwns,
  type TenantPhotograph,
} from './expect-others-equal.ts'

export type Options = Partial<RestoreOptions>

/** A host under protection with a tenant to back up, to damage and to restore, and a neighbour beside it. */
export interface RestoreTrial {
  database: TestDatabase
  store: TestStore
  services: Services
  tenant: string
  neighbour: string
  owns: Owns
  backUp(): Promise<Backup>
  /** A real restore of a backup, by its row or its id. */
  restore(backup: Backup | string, options?: Options): Promise<RestoreResult>
  /** The same, rehearsed. */
  rehearse(backup: Backup | string, options?: Options): Promise<RestoreResult>
  photographOthers(): Promise<OthersPhotograph>
  photographTenant(): Promise<TenantPhotograph>
  /** As the owner of the tables, with every trigger and constraint on. */
  damage(sql: string): Promise<void>
  drop(): Promise<void>
}

export interface TrialHost {
  sql: string
  options: ProtectionOptions
  tenants: readonly [string, string]
  owns?: Owns
}

/** Makes a host in a database of its own. Drop it in `afterAll`. */
export async function createRestoreTrial(host: TrialHost): Promise<RestoreTrial> {
  const database = await createTestDatabase()
  try {
    await runScript(database.adminUrl, host.sql)
    await protect(database, host.options)
    return await trialOf(database, host.tenants, host.owns)
  } catch (error) {
    await database.drop()
    throw error
  }
}

/** `init` again, after a test changed the schema. */
export async function protect(database: TestDatabase, options: ProtectionOptions): Promise<void> {
  const report = await initialiseProtection(database.admin, {
    ...options,
    enableRowSecurity: true,
    acceptDefaults: true,
  })
  if (!report.isApplied) throw new Error(JSON.stringify([report.unsettled, report.questions]))
}

/** A trial on a database that is under protection already. */
export async function trialOf(
  database: TestDatabase,
  [tenant, neighbour]: readonly [string, string],
  owns?: Owns,
): Promise<RestoreTrial> {
  const store = await createTestStore()
  const services = servicesOf(database.worker, store.store)
  const known = owns ?? (await readOwns(database))
  const run = async (backup: Backup | string, options: Options, isDryRun: boolean) => {
    const found = typeof backup === 'string' ? await readBackup(database, backup) : backup
    const source = await openBackup(services, found)
    return restoreTenant(services, {
      tenantId: found.organizationId,
      source,
      isDryRun,
      options: RestoreOptions.parse(options),
      actor: SYSTEM,
    })
  }
  return {
    database,
    store,
    services,
    tenant,
    neighbour,
    owns: known,
    async backUp() {
      const { backup } = await takeBackup(services, {
        tenantId: tenant,
        backupType: 'manual',
        actor: SYSTEM,
      })
      return backup
    },
    restore: (backup, options = {}) => run(backup, options, false),
    rehearse: (backup, options = {}) => run(backup, options, true),
    photographOthers: () => photographOthers(database, tenant, known),
    photographTenant: () => photographTenant(database, tenant, known),
    damage: async (sql) => {
      await database.admin.withConnection((session) => session.query(sql))
    },
    drop: async () => {
      await database.drop()
      await store.remove()
    },
  }
}

/** The row of a backup, a safety backup's among them. */
export async function readBackup(database: TestDatabase, id: string): Promise<Backup> {
  const { rows } = await database.admin.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b where b.id = $1`,
    [id],
  )
  if (rows[0] === undefined) throw new Error(`There is no backup ${id}.`)
  return rows[0].backup
}

/** Rows that a restore wrote, by what it did. */
export function countWrites(result: RestoreResult): number {
  return result.tables.reduce(
    (total, { inserted, updated, deleted }) => total + inserted + updated + deleted,
    0,
  )
}

/** The answer for one table, with the counts of rows alone. */
export function countsOf(result: RestoreResult, table: string) {
  const found = result.tables.find(({ name }) => name === table)
  if (found === undefined) return undefined
  const { rowsInBackup, rowsLive, inserted, updated, deleted, unchanged, kept, skipped } = found
  return { rowsInBackup, rowsLive, inserted, updated, deleted, unchanged, kept, skipped }
}
