import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { LEAST_SAFETY_DAYS, readRetentionSettings } from '../retention/retention-policy.ts'

/** What proofs and retention say of one tenant. */
export interface TenantUpkeep {
  /** The last drill that found everything in order. */
  proof: {
    at: string
    /** What reading, loading and checking took: about what a restore of everything takes. */
    tookMs: number
    backupId: string
    rows: number
  } | null
  /** The last drill that came to an end, where it found something. */
  failedDrill: {
    at: string
    backupId: string
    /** When that backup was taken. */
    takenAt: string | null
    findings: number
  } | null
  /** When the newest complete backup was taken that is verified and not known to be damaged. */
  newestGoodTakenAt: string | null
  /** When the newest backup was taken that is whole in another place, too; null where there is none. */
  newestCopiedTakenAt: string | null
  /** For so many days a safety backup, and with it the way back of its restore, is kept. */
  safetyDays: number
}

/** Reads what upkeep says of a tenant: two queries. */
export async function readTenantUpkeep(
  catalog: Queryable,
  tenantId: string,
): Promise<TenantUpkeep> {
  const [{ rows }, safetyDays] = await Promise.all([
    catalog.query<{ upkeep: Omit<TenantUpkeep, 'safetyDays'> }>(
      `with drill as (
         select d.*, b.taken_at from tenantkeep.drills d
         join public.tenant_backups b on b.id = d.backup_id
         where d.organization_id = $1 and d.status in ('passed', 'failed')
       )
       select jsonb_build_object(
         'proof', (
           select jsonb_build_object('at', finished_at, 'tookMs', duration_ms, 'backupId', backup_id, 'rows', rows)
           from drill where status = 'passed' order by started_at desc limit 1),
         'failedDrill', (
           select case when status = 'failed' then jsonb_build_object('at', finished_at, 'backupId', backup_id,
             'takenAt', taken_at, 'findings', jsonb_array_length(findings)) end
           from drill order by started_at desc limit 1),
         'newestGoodTakenAt', (
           select max(taken_at) from public.tenant_backups
           where organization_id = $1 and status = 'complete' and backup_type <> 'pre_restore'
             and verified_at is not null and damaged_at is null),
         'newestCopiedTakenAt', (
           select max(b.taken_at) from public.tenant_backups b
           join tenantkeep.backup_copies c on c.backup_id = b.id and c.status = 'complete'
           where b.organization_id = $1 and b.status = 'complete' and b.backup_type <> 'pre_restore'
             and b.damaged_at is null)) as upkeep`,
      [tenantId],
    ),
    readSafetyDays(catalog),
  ])
  const upkeep = rows[0]?.upkeep
  return {
    proof: upkeep?.proof ?? null,
    failedDrill: upkeep?.failedDrill ?? null,
    newestGoodTakenAt: upkeep?.newestGoodTakenAt ?? null,
    newestCopiedTakenAt: upkeep?.newestCopiedTakenAt ?? null,
    safetyDays,
  }
}

/** While the setting makes no sense nothing is removed, so the least that holds is promised. */
async function readSafetyDays(catalog: Queryable): Promise<number> {
  try {
    return (await readRetentionSettings(catalog)).safetyDays
  } catch (error) {
    if (error instanceof BackupError && error.code === 'not_configured') return LEAST_SAFETY_DAYS
    throw error
  }
}
