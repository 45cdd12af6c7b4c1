import { BACKUP_JSON, type Backup, findBackup } from '../backup/backup-record.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'

export interface BackupChoice {
  backupId?: string | undefined
  /** A UTC day: `2026-11-21`. */
  backupDate?: string | undefined
}

/**
 * The backup of the tenant that was asked for: by id, which may be a safety backup too, or the newest
 * one of a day that is complete and not known to be damaged; that never is a safety backup, else the state
 * that was restored away would come back. Throws `invalid_request` where nothing was asked for or both don't
 * agree, `backup_not_found` (naming the nearest days that have one; also for a backup of another tenant),
 * `backup_incomplete`, `backup_damaged` for one that is marked so.
 */
export async function chooseBackup(
  catalog: Queryable,
  tenantId: string,
  { backupId, backupDate }: BackupChoice,
): Promise<Backup> {
  if (backupId !== undefined) {
    const backup = await findBackup(catalog, backupId)
    if (backup === undefined || backup.organizationId !== tenantId) {
      throw new BackupError('backup_not_found', 'There is no such backup of this organization.')
    }
    if (backupDate !== undefined && backup.backupDate !== backupDate) {
      throw new BackupError(
        'invalid_request',
        `Backup ${backup.id} is of ${backup.backupDate}, not of ${backupDate}. Give one of the two.`,
      )
    }
    requireUsable(backup)
    return backup
  }
  if (backupDate === undefined) {
    throw new BackupError('invalid_request', 'Say which backup: backup_id or backup_date.')
  }
  const backup = await findOfDay(catalog, tenantId, backupDate)
  if (backup !== undefined) return backup
  const [days, damaged] = await Promise.all([
    nearestDays(catalog, tenantId, backupDate),
    countDamaged(catalog, tenantId, backupDate),
  ])
  const none =
    damaged === 0
      ? `There is no complete backup of ${backupDate}.`
      : `Every complete backup of ${backupDate} is damaged (${damaged}).`
  throw new BackupError(
    'backup_not_found',
    days.length === 0
      ? damaged === 0
        ? 'This organization has no complete backup.'
        : `${none} There is no other.`
      : `${none} The nearest are of ${days.join(' and ')}.`,
    { details: { nearest_dates: days } },
  )
}

/** Throws `backup_incomplete` or `backup_damaged` for a backup that nothing can be restored from. */
function requireUsable(backup: Backup): void {
  if (backup.status === 'complete') {
    if (backup.damagedAt !== null) throw knownDamage(backup)
    return
  }
  throw new BackupError(
    'backup_incomplete',
    backup.status === 'pruned'
      ? `The objects of backup ${backup.id} were removed when it was pruned. Choose another one.`
      : `Backup ${backup.id} is ${backup.status}, not complete. Choose another one.`,
  )
}

function knownDamage({ id, damagedAt, damage }: Backup): BackupError {
  return new BackupError(
    'backup_damaged',
    `Backup ${id} is not whole, as was found at ${damagedAt}: ${damage?.[0]?.message ?? 'no more is known.'} Choose another one. Where its objects were put right since, \`tenantkeep verify ${id}\` finds that out and makes it usable again.`,
    { details: { backup_id: id, damaged_at: damagedAt, damage } },
  )
}

async function findOfDay(
  catalog: Queryable,
  tenantId: string,
  day: string,
): Promise<Backup | undefined> {
  const { rows } = await catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b
     where ${ELIGIBLE} and b.backup_date = $2::date
     order by b.taken_at desc, b.created_at desc limit 1`,
    [tenantId, day],
  )
  return rows[0]?.backup
}

/** The day before and the day after that have one, as far as there are. */
async function nearestDays(catalog: Queryable, tenantId: string, day: string): Promise<string[]> {
  const { rows } = await catalog.query<{ day: string }>(
    `select d.day::text as day from (
       select max(b.backup_date) as day from public.tenant_backups b
       where ${ELIGIBLE} and b.backup_date < $2::date
       union all
       select min(b.backup_date) from public.tenant_backups b
       where ${ELIGIBLE} and b.backup_date > $2::date
     ) d where d.day is not null order by 1`,
    [tenantId, day],
  )
  return rows.map((row) => row.day)
}

async function countDamaged(catalog: Queryable, tenantId: string, day: string): Promise<number> {
  const { rows } = await catalog.query<{ count: string }>(
    `select count(*) as count from public.tenant_backups b
     where ${COMPLETE} and b.damaged_at is not null and b.backup_date = $2::date`,
    [tenantId, day],
  )
  return Number(rows[0]?.count)
}

const COMPLETE = `b.organization_id = $1 and b.status = 'complete' and b.backup_type <> 'pre_restore'`
const ELIGIBLE = `${COMPLETE} and b.damaged_at is null`
