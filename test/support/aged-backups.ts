import type { Backup } from '../../src/core/backup/backup-record.ts'
import { takeBackup } from '../../src/core/backup/take-backup.ts'
import type { Services } from '../../src/core/services.ts'
import { SYSTEM } from './backup-services.ts'
import type { TestDatabase } from './database.ts'
import { ALPHA } from './small-host.ts'

/** Makes a backup look as if it had been taken so many days ago; its objects keep their stamp. */
export async function ageBackup(database: TestDatabase, id: string, days: number): Promise<void> {
  await database.admin.query(
    `update public.tenant_backups set
       created_at = created_at - $2 * interval '1 day', taken_at = taken_at - $2 * interval '1 day',
       completed_at = completed_at - $2 * interval '1 day',
       verified_at = verified_at - $2 * interval '1 day', backup_date = backup_date - $2::int
     where id = $1`,
    [id, days],
  )
}

/**
 * Takes one manual backup for each number and dates it so many days back, oldest first; between two of them one
 * row of `shop.pockets` changes, so that they share some objects and not others.
 */
export async function takeAgedBackups(
  database: TestDatabase,
  services: Services,
  ages: readonly number[],
  tenantId = ALPHA,
): Promise<Backup[]> {
  const taken: Backup[] = []
  for (const days of ages) {
    await database.admin.query(
      `update shop.pockets set balance = balance + 1 where id = (
         select id from shop.pockets where tenant_id = $1 order by id limit 1)`,
      [tenantId],
    )
    const { backup } = await takeBackup(services, {
      tenantId,
      backupType: 'manual',
      actor: SYSTEM,
    })
    await ageBackup(database, backup.id, days)
    taken.push(backup)
  }
  return taken
}

/** Every path in a store, sorted. */
export async function pathsOf({ store }: Pick<Services, 'store'>): Promise<string[]> {
  return (await store.list('tenant-backups/')).map(({ path }) => path)
}

/** Empties catalog, journal and everything about keeping, as the superuser. */
export async function clearRetention(database: TestDatabase): Promise<void> {
  await database.superuser.query(
    `truncate public.tenant_backups, public.backup_logs, tenantkeep.runs, tenantkeep.doomed_objects,
       tenantkeep.departed_tenants, tenantkeep.retention_policies, tenantkeep.forgotten_tenants,
       tenantkeep.released_rows, tenantkeep.paused_tenants cascade`,
  )
  await database.superuser.query(
    `delete from tenantkeep.settings where key in ('retention', 'safety_backup_days', 'departed_tenant_days')`,
  )
}
