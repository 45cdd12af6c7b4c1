import * as z from 'zod'
import { BACKUP_JSON, type Backup } from '../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import { BackupError } from '../../src/core/errors.ts'
import { openBackup } from '../../src/core/restore/open-backup.ts'
import { RestoreOptions } from '../../src/core/restore/restore-options.ts'
import type { RestoreResult } from '../../src/core/restore/restore-result.ts'
import { restoreTenant } from '../../src/core/restore/restore-tenant.ts'
import { type UndoInput, undoRestore } from '../../src/core/restore/undo-restore.ts'
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
  /** The same, rehearsed; on request with samples of what differs. */
  rehearse(backup: Backup | string, options?: Options, sampleRows?: number): Promise<RestoreResult>
  /** Takes back what a restore wrote. */
  undo(restoreId: string | null, options?: Partial<UndoInput>): Promise<RestoreResult>
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
  const run = async (
    backup: Backup | string,
    options: Options,
    { isDryRun, sampleRows = 0 }: { isDryRun: boolean; sampleRows?: number },
  ) => {
    const found = typeof backup === 'string' ? await readBackup(database, backup) : backup
    const source = await openBackup(services, found)
    return restoreTenant(services, {
      tenantId: found.organizationId,
      source,
      isDryRun,
      sampleRows,
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
    restore: (backup, options = {}) => run(backup, options, { isDryRun: false }),
    rehearse: (backup, options = {}, sampleRows = 0) =>
      run(backup, options, { isDryRun: true, sampleRows }),
    undo: (restoreId, options = {}) =>
      undoRestore(services, {
        tenantId: tenant,
        restoreId: restoreId ?? '',
        everything: false,
        onConflict: 'fail',
        isDryRun: false,
        actor: SYSTEM,
        ...options,
      }),
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

const hasWarning = (result: RestoreResult, warning: RegExp) =>
  result.tables.some(({ warnings }) => warnings.some((text) => warning.test(text)))

/** Newer rows of nobody came back with their owner: told, and gone with the next restore. */
export function hasRegained(result: RestoreResult): boolean {
  return hasWarning(result, /become the tenant's again/)
}

/** Rows of nobody were put aside: they are in no safety backup, and the undo alone brings them back. */
export function hasReleased(result: RestoreResult): boolean {
  return hasWarning(result, /put aside/)
}

/** The answer for one table, with the counts of rows alone. */
export function countsOf(result: RestoreResult, table: string) {
  const found = result.tables.find(({ name }) => name === table)
  if (found === undefined) return undefined
  const { rowsInBackup, rowsLive, inserted, updated, deleted, unchanged, kept, skipped } = found
  return { rowsInBackup, rowsLive, inserted, updated, deleted, unchanged, kept, skipped }
}

/** What a restore was refused with: the code, and by blocker what it is about and how many rows. */
export async function refusalOf(work: Promise<unknown>): Promise<{
  code: string
  message: string
  blockers: {
    code: string
    table: string
    constraint: string | null
    count: number
    keys: string[][]
  }[]
}> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof BackupError)) throw error
    const { code, message, details } = error
    return { code, message, blockers: Blockers.parse(details?.blockers ?? []) }
  }
  throw new Error('Nothing was refused.')
}

const Blockers = z.array(
  z.object({
    code: z.string(),
    table: z.string(),
    constraint: z.string().nullable(),
    count: z.number(),
    keys: z.array(z.array(z.string())),
  }),
)
