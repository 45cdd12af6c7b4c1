import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { DirectoryStore } from '../store/directory-store.ts'
import { isWithinReach, placesOf } from '../store/read-with-copy.ts'
import type { Store } from '../store/store.ts'
import type { Backup, BackupDamage } from './backup-record.ts'

/** Where everything is gone, the first few say it. */
const MOST_DAMAGES = 50

const SYSTEM: Actor = { kind: 'system', id: null, label: 'Tenantkeep' }

type Marking = Pick<Services, 'tenants' | 'store' | 'log'>

/**
 * What an error of reading a stored backup says about the backup; null where it says nothing for certain: a
 * store out of reach, a key that this process does not have, a format newer than this program.
 */
export function damageOf(error: unknown, table: string | null): BackupDamage | null {
  if (!(error instanceof BackupError)) return null
  const { code, message, details } = error
  if (code !== 'object_missing' && code !== 'backup_damaged') return null
  if (details?.lacking !== undefined) return null
  return { code, message, table, path: typeof details?.path === 'string' ? details.path : null }
}

/**
 * Marks a complete backup as damaged, from the moment on when that was first found, with a line in the journal
 * the first time. Such a backup is not offered, and counts for nothing, until it is read back whole. Does
 * nothing where the store that was read is not the backup's; where the backup is in a place that was not read as
 * well, only what was read is noted (`recordPlace`). `isRead` says that all of it was looked at. Returns
 * whether the backup is marked. Throws `bucket_missing` or `store_unavailable` where the store has lost more than
 * objects.
 */
export async function recordDamage(
  { tenants, store }: Marking,
  backup: Pick<Backup, 'id' | 'storeUrl' | 'copiedTo'>,
  given: { damage: readonly BackupDamage[]; isRead: boolean; actor?: Actor; runId?: string | null },
): Promise<boolean> {
  const { damage, isRead, actor = SYSTEM, runId = null } = given
  const [first] = damage
  if (first === undefined || !isWithinReach(store, backup)) return false
  for (const place of placesOf(store)) await requirePlace(place, damage)
  const places = placesOf(store).map(({ url }) => url)
  const owned = [backup.storeUrl, ...backup.copiedTo]
  if (owned.some((url) => !places.includes(url))) {
    // Nobody has looked into the other place: it may be whole there.
    for (const url of owned.filter((one) => places.includes(one))) {
      await recordPlace({ tenants, store }, backup, { url, damage, actor, runId })
    }
    return false
  }
  const { rowCount } = await tenants.catalog.query(
    `with known as (
       select b.id, b.damaged_at is null as is_new from public.tenant_backups b
       where b.id = $1 and b.status = 'complete' and b.pruned_at is null
       for update
     ), marked as (
       update public.tenant_backups b set
         damaged_at = coalesce(b.damaged_at, clock_timestamp()),
         damage = case when $3 or b.damage is null then $2::jsonb else b.damage end,
         checked_at = case when $3 then clock_timestamp() else b.checked_at end
       from known k where b.id = k.id
       returning b.*, k.is_new
     ), journalled as (
       insert into public.backup_logs
         (backup_type, status, completed_at, organization_id, organization_name, backup_id, run_id,
          actor_kind, actor_id, actor_label, error_code, error_message, details)
       select 'verify', 'failed', clock_timestamp(), m.organization_id, m.organization_name, m.id, $4::uuid,
         $5, $6, $7, 'backup_damaged', $8, jsonb_build_object('damage', m.damage)
       from marked m where m.is_new
     )
     select from marked`,
    [
      backup.id,
      JSON.stringify(damage.slice(0, MOST_DAMAGES)),
      isRead,
      runId,
      actor.kind,
      actor.id,
      actor.label,
      first.message,
    ],
  )
  return rowCount === 1
}

/** A folder that is not mounted, a bucket that is gone: then it is the store that somebody must look at. */
async function requirePlace(place: Store, damage: readonly BackupDamage[]): Promise<void> {
  if (!damage.some(({ code }) => code === 'object_missing')) return
  if (place instanceof DirectoryStore && (await place.isEmpty())) {
    throw new BackupError(
      'store_unavailable',
      `The backup directory ${place.url} holds nothing at all. Is the disk mounted?`,
    )
  }
  await place.check()
}

/**
 * Notes what was found in one place of a backup that is in another, too, with a line in the journal the first
 * time: the next round of copies puts it right. Nothing found takes such a note away.
 */
export async function recordPlace(
  { tenants, store }: Pick<Services, 'tenants' | 'store'>,
  backup: Pick<Backup, 'id' | 'storeUrl'>,
  given: {
    url: string
    damage: readonly BackupDamage[]
    actor?: Actor
    runId?: string | null
  },
): Promise<void> {
  const { url, damage, actor = SYSTEM, runId = null } = given
  const [first] = damage
  if (first === undefined) {
    await tenants.catalog.query(
      `delete from tenantkeep.backup_copies
       where backup_id = $1 and store_url = $2 and status = 'damaged'`,
      [backup.id, url],
    )
    return
  }
  for (const place of placesOf(store)) if (place.url === url) await requirePlace(place, damage)
  await tenants.catalog.query(
    `with known as (
       select c.status from tenantkeep.backup_copies c where c.backup_id = $1 and c.store_url = $2
     ), marked as (
       insert into tenantkeep.backup_copies as c (backup_id, store_url, status, error_code, error_message)
       select b.id, $2, 'damaged', $3, $4 from public.tenant_backups b
       where b.id = $1 and b.status = 'complete'
       on conflict (backup_id, store_url) do update
         set status = 'damaged', error_code = excluded.error_code, error_message = excluded.error_message
       returning c.backup_id
     )
     insert into public.backup_logs
       (backup_type, status, completed_at, organization_id, organization_name, backup_id, run_id,
        actor_kind, actor_id, actor_label, error_code, error_message, details)
     select 'verify', 'failed', clock_timestamp(), b.organization_id, b.organization_name, b.id, $5::uuid,
       $6, $7, $8, $3, $4 || ' It is in another place as well, from which the next round of copies puts it right.',
       jsonb_build_object('store', $2::text, 'damage', $9::jsonb)
     from marked m join public.tenant_backups b on b.id = m.backup_id
     where not exists (select from known k where k.status = 'damaged')`,
    [
      backup.id,
      url,
      first.code,
      first.message,
      runId,
      actor.kind,
      actor.id,
      actor.label,
      JSON.stringify(damage.slice(0, MOST_DAMAGES)),
    ],
  )
}

/**
 * Marks a backup as damaged for whoever reads it for another purpose and stumbles over what is wrong with it;
 * never in the way of that error.
 */
export async function noteDamage(
  services: Marking,
  backup: Pick<Backup, 'id' | 'storeUrl' | 'copiedTo'>,
  error: unknown,
  table: string | null,
): Promise<void> {
  const damage = damageOf(error, table)
  if (damage === null) return
  try {
    await recordDamage(services, backup, { damage: [damage], isRead: false })
  } catch (failure) {
    services.log.warn(
      { err: failure, backupId: backup.id },
      'A damaged backup could not be marked as such',
    )
  }
}

/** Notes that every byte was read back and found whole; a mark of damage goes, with a line in the journal. */
export async function recordWhole(
  { tenants }: Pick<Services, 'tenants'>,
  id: string,
  { actor = SYSTEM, runId = null }: { actor?: Actor | undefined; runId?: string | null } = {},
): Promise<void> {
  await tenants.catalog.query(
    `with known as (
       select b.id, b.damaged_at from public.tenant_backups b
       where b.id = $1 and b.status = 'complete' and b.pruned_at is null
       for update
     ), whole as (
       update public.tenant_backups b set
         verified_at = clock_timestamp(), checked_at = clock_timestamp(), damaged_at = null, damage = null
       from known k where b.id = k.id
       returning b.*, k.damaged_at as was_damaged_at
     )
     insert into public.backup_logs
       (backup_type, status, completed_at, organization_id, organization_name, backup_id, run_id,
        actor_kind, actor_id, actor_label, details)
     select 'verify', 'complete', clock_timestamp(), w.organization_id, w.organization_name, w.id, $2::uuid,
       $3, $4, $5, jsonb_build_object('was_damaged_at', w.was_damaged_at)
     from whole w where w.was_damaged_at is not null`,
    [id, runId, actor.kind, actor.id, actor.label],
  )
}
