import { explainFailure } from '../backup/explain-failure.ts'
import type { Queryable } from '../database/database.ts'
import type { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import type { Services } from '../services.ts'
import { placesOf } from '../store/read-with-copy.ts'
import type { LockedObject, Store } from '../store/store.ts'
import { writeErasureMarks } from './erasure-marks.ts'

/** An object that is to go, and where from. */
export interface DoomedObject {
  storeUrl: string
  path: string
  /** Stored. */
  bytes: number
}

/** What is still to be removed when everything was that can be. */
export interface RemainingObjects {
  /** Objects that a bucket keeps; the last of them until then, null where nobody knows. */
  locked: { store: string; objects: number; until: string | null }[]
  /** Objects in stores that this process has not open. */
  elsewhere: { store: string; objects: number }[]
}

const BATCH = 500

/**
 * Puts objects on record that are to go, in the caller's transaction: the one that takes their backups out
 * of the catalog.
 */
export async function doomObjects(
  session: Queryable,
  given: { journalId: string; tenantId: string; objects: readonly DoomedObject[] },
): Promise<void> {
  await session.query(
    `insert into tenantkeep.doomed_objects (journal_id, tenant_id, store_url, path, stored_bytes)
     select $1, $2, o.store_url, o.path, o.bytes
     from unnest($3::text[], $4::text[], $5::bigint[]) as o (store_url, path, bytes)
     on conflict do nothing`,
    [
      given.journalId,
      given.tenantId,
      given.objects.map(({ storeUrl }) => storeUrl),
      given.objects.map(({ path }) => path),
      given.objects.map(({ bytes }) => bytes),
    ],
  )
}

/**
 * Removes what is on record for a tenant, its summaries first: what has none is no backup any more, for
 * whoever looks at the store alone. Objects that are already gone count as removed, so it can be called
 * again after a death. An erasure is marked in every place before. Closes the journal rows that are done with, and says what came of it; whoever calls
 * holds the tenant's lock.
 */
export async function removeDoomed(
  services: Services,
  tenantId: string,
  signal?: AbortSignal,
): Promise<RemainingObjects> {
  const { catalog } = services.tenants
  try {
    await interruptible(writeErasureMarks(services, tenantId), signal)
    for (const store of placesOf(services.store)) await removeFrom(store, catalog, tenantId, signal)
    return await interruptible(closeJournal(catalog, tenantId), signal)
  } catch (error) {
    await recordStopped(catalog, tenantId, explainFailure(error)).catch((cause: unknown) =>
      services.log.error({ err: cause, tenantId }, 'A removal that stopped could not be recorded'),
    )
    throw error
  }
}

async function removeFrom(
  store: Store,
  catalog: Queryable,
  tenantId: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (;;) {
    const paths = await interruptible(readDue(catalog, tenantId, store.url), signal)
    if (paths.length === 0) return
    const { locked } = await interruptible(store.remove(paths), signal)
    const kept = new Set(locked.map(({ path }) => path))
    const removed = paths.filter((path) => !kept.has(path))
    const record = { tenantId, storeUrl: store.url, removed, locked }
    await interruptible(recordRemoved(catalog, record), signal)
  }
}

/** The next run goes on; until then the journal says why it is not done. */
async function recordStopped(
  catalog: Queryable,
  tenantId: string,
  failure: BackupError,
): Promise<void> {
  await catalog.query(
    `update public.backup_logs set status = 'failed', completed_at = clock_timestamp(), error_code = $2,
       error_message = $3 || ' The next run goes on where this one stopped.'
     where organization_id = $1 and backup_type in ('prune', 'forget') and status = 'running'
       and details ? 'backup_ids'`,
    [tenantId, failure.code, failure.message],
  )
}

async function readDue(catalog: Queryable, tenantId: string, storeUrl: string): Promise<string[]> {
  const { rows } = await catalog.query<{ path: string }>(
    `select distinct path, path like '%/summary-%.json' as is_summary
     from tenantkeep.doomed_objects
     where tenant_id = $1 and store_url = $2 and (try_after is null or try_after <= now())
     order by is_summary desc, path limit ${BATCH}`,
    [tenantId, storeUrl],
  )
  return rows.map(({ path }) => path)
}

/** A lock without an end, or one that the bucket's clock sees differently, is tried again after this. */
const TRY_AGAIN = `now() + interval '1 hour'`

async function recordRemoved(
  catalog: Queryable,
  given: {
    tenantId: string
    storeUrl: string
    removed: readonly string[]
    locked: readonly LockedObject[]
  },
): Promise<void> {
  await catalog.query(
    `with gone as (
       delete from tenantkeep.doomed_objects d
       where d.tenant_id = $1 and d.store_url = $2 and d.path = any ($3)
       returning d.journal_id, d.stored_bytes
     ), counted as (
       select journal_id, count(*) as objects, sum(stored_bytes) as bytes from gone group by 1
     ), refused as (
       update tenantkeep.doomed_objects d
       set is_locked = true, locked_until = k.until, try_after = greatest(k.until, ${TRY_AGAIN})
       from unnest($4::text[], $5::timestamptz[]) as k (path, until)
       where d.tenant_id = $1 and d.store_url = $2 and d.path = k.path
     )
     update public.backup_logs l set details = l.details || jsonb_build_object(
       'objects', coalesce((l.details ->> 'objects')::bigint, 0) + c.objects,
       'bytes', coalesce((l.details ->> 'bytes')::bigint, 0) + c.bytes)
     from counted c where l.id = c.journal_id`,
    [
      given.tenantId,
      given.storeUrl,
      given.removed,
      given.locked.map(({ path }) => path),
      given.locked.map(({ until }) => until?.toISOString() ?? null),
    ],
  )
}

/**
 * Closes the journal rows of this tenant of whose objects none can be removed at this moment. One whose
 * objects are all gone says so on its backups.
 */
async function closeJournal(catalog: Queryable, tenantId: string): Promise<RemainingObjects> {
  const { rows } = await catalog.query<{ remaining: RemainingObjects }>(
    `with open as (
       select l.id from public.backup_logs l
       where l.organization_id = $1 and l.backup_type in ('prune', 'forget') and l.details ? 'backup_ids'
         and (l.status in ('running', 'failed') or l.details -> 'objects_left' is distinct from '0')
     ), remaining as (
       select d.journal_id, d.store_url, d.is_locked, count(*) as objects,
         case when bool_and(d.locked_until is not null) then max(d.locked_until) end as until
       from tenantkeep.doomed_objects d join open o on o.id = d.journal_id
       group by 1, 2, 3
     ), closed as (
       update public.backup_logs l set
         status = 'complete',
         completed_at = case l.status when 'complete' then l.completed_at else clock_timestamp() end,
         error_code = null, error_message = null, total_size = (l.details ->> 'bytes')::bigint,
         duration_ms = case l.status when 'complete' then l.duration_ms
           else extract(epoch from clock_timestamp() - l.created_at) * 1000 end,
         details = l.details || jsonb_build_object('objects_left',
           coalesce((select sum(r.objects) from remaining r where r.journal_id = l.id), 0))
       from open o where l.id = o.id
       returning l.id, l.details
     ), emptied as (
       update public.tenant_backups b set objects_removed_at = now()
       from closed c
       where c.details -> 'objects_left' = '0' and b.status = 'pruned' and b.objects_removed_at is null
         and b.id in (select e.id::uuid from jsonb_array_elements_text(c.details -> 'backup_ids') as e (id))
     )
     select jsonb_build_object(
       'locked', coalesce((
         select jsonb_agg(jsonb_build_object('store', k.store_url, 'objects', k.objects, 'until', k.until))
         from (select store_url, sum(objects) as objects,
                 case when bool_and(until is not null) then max(until) end as until
               from remaining where is_locked group by 1) k), '[]'),
       'elsewhere', coalesce((
         select jsonb_agg(jsonb_build_object('store', k.store_url, 'objects', k.objects))
         from (select store_url, sum(objects) as objects
               from remaining where not is_locked group by 1) k), '[]')) as remaining`,
    [tenantId],
  )
  return rows[0]?.remaining ?? { locked: [], elsewhere: [] }
}
