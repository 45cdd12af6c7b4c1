import { randomUUID } from 'node:crypto'
import { recordCrashes } from '../backup/backup-record.ts'
import type { Connection } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { BackupError } from '../errors.ts'
import { interruptible, interruptibleConnection } from '../interruptible.ts'
import { logPhase } from '../log.ts'
import { recordRestoreCrashes } from '../restore/restore-record.ts'
import type { Actor, Services } from '../services.ts'
import { tenantPrefix } from '../store/object-path.ts'
import { placesOf } from '../store/read-with-copy.ts'
import { findTenant } from '../tenants/find-tenant.ts'
import { listTenants } from '../tenants/list-tenants.ts'
import { lockCopies, lockTenant } from '../tenants/lock-tenant.ts'
import { announceSoon } from '../watch/announce.ts'
import { blankTenant, removeTenantSettings } from './blank-tenant.ts'
import {
  type DoomedObject,
  doomObjects,
  type RemainingObjects,
  removeDoomed,
} from './doomed-objects.ts'

export interface ForgetInput {
  tenantId: string
  /** The tenant's name as it stands there, or its id where it has none; a real erasure needs it. */
  confirmName: string | null
  isDryRun: boolean
  actor: Actor
  signal?: AbortSignal | undefined
}

export interface ForgetReport extends RemainingObjects {
  tenantId: string
  tenantName: string | null
  isDryRun: boolean
  /** Complete ones; what failed attempts left goes too. */
  backups: number
  /** In all places that are open here. */
  objects: number
  bytes: number
  /** The application still lists it: its next backup begins anew. */
  isInHost: boolean
  /** Holds that stand in the way. */
  holds: { backupId: string; by: string; reason: string }[]
}

/**
 * Erases every backup of one tenant, with its plans, rows kept aside, comparisons, names and notes, in catalog
 * and every place, and what is remembered of its seedings; of one that the application has no more also its pause
 * and its rules. Can be called again after a death: it goes on. A dry run says what would go. Throws
 * `tenant_not_found`, `tenant_held` while an operator holds a backup, `not_allowed` where the name that was
 * typed is another one, `tenant_busy`.
 */
export async function forgetTenant(services: Services, input: ForgetInput): Promise<ForgetReport> {
  const { tenantId, signal } = input
  const { catalog } = services.tenants
  const tenant = await interruptible(findTenant(catalog, tenantId), signal)
  if (tenant === null) {
    throw new BackupError(
      'tenant_not_found',
      `There is no tenant ${tenantId}, and no backup of one.`,
    )
  }
  const hostTenants = await interruptible(listTenants(catalog), signal)
  const isInHost = hostTenants.some(({ id }) => id === tenantId)
  const known = { tenantId, tenantName: tenant.name, isInHost }
  if (input.isDryRun) {
    const found = await findAll(services, tenantId, signal)
    return {
      ...known,
      isDryRun: true,
      ...countOf(found),
      holds: found.holds,
      locked: [],
      elsewhere: found.elsewhere,
    }
  }
  requireName(tenant, input.confirmName)

  const database = await services.tenants.databaseOf(tenantId)
  const erase = async (connection: Connection): Promise<ForgetReport> => {
    const session = interruptibleConnection(connection, signal)
    await lockTenant(session, tenantId, { signal })
    await lockCopies(session, tenantId)
    await interruptible(recordCrashes(catalog, tenantId), signal)
    await interruptible(recordRestoreCrashes(catalog, tenantId), signal)
    const found = await findAll(services, tenantId, signal)
    await inTransaction(session, async () => {
      const isNews = found.backupIds.length > 0 || found.isNews
      if (isNews) await recordErasure(session, { ...input, found })
      else await blankTenant(session, tenantId, await readClock(session))
      // A host that lists nobody at all has lost something, and no tenant has left it.
      if (hostTenants.length > 0 && !isInHost) await removeTenantSettings(session, tenantId)
    })
    const remaining = await removeDoomed(services, tenantId, signal)
    return { ...known, isDryRun: false, ...countOf(found), holds: [], ...remaining }
  }
  const report = await logPhase(
    services.log,
    'forget',
    { tenantId },
    () => database.withConnection(erase),
    ({ backups, objects, bytes }) => ({ backups, objects, bytes }),
  )
  await announceSoon(services)
  return report
}

function requireName(
  { id, name }: { id: string; name: string | null },
  confirmName: string | null,
): void {
  if (confirmName !== null && confirmName.trim() === (name ?? id).trim()) return
  throw new BackupError(
    'not_allowed',
    `To erase all backups of a tenant its ${name === null ? 'id' : 'name'} has to be typed exactly, as confirm_name. Nothing was removed.`,
  )
}

interface Found {
  /** Complete ones. */
  backupIds: string[]
  holds: ForgetReport['holds']
  objects: DoomedObject[]
  /** The tenant was never forgotten, or objects lie there that no erasure names. */
  isNews: boolean
  /** Backups in stores that are not open here: an operator has to remove those. */
  elsewhere: ForgetReport['elsewhere']
}

const countOf = ({ backupIds, objects }: Found) => ({
  backups: backupIds.length,
  objects: objects.length,
  bytes: objects.reduce((sum, { bytes }) => sum + bytes, 0),
})

/** Everything that lies in the tenant's folder, whoever wrote it, and what the catalog says. */
async function findAll(
  services: Services,
  tenantId: string,
  signal: AbortSignal | undefined,
): Promise<Found> {
  const places = placesOf(services.store)
  const { rows } = await interruptible(
    services.tenants.catalog.query<{
      id: string
      storeUrl: string
      hold: ForgetReport['holds'][number] | null
    }>(
      `select b.id, b.store_url as "storeUrl",
         case when b.pinned_by_kind <> 'user' then jsonb_build_object(
           'backupId', b.id, 'by', b.pinned_by, 'reason', b.pin_reason) end as hold
       from public.tenant_backups b where b.organization_id = $1 and b.status = 'complete'`,
      [tenantId],
    ),
    signal,
  )
  const objects: DoomedObject[] = []
  for (const place of places) {
    for (const { path, size } of await interruptible(place.list(tenantPrefix(tenantId)), signal)) {
      objects.push({ storeUrl: place.url, path, bytes: size })
    }
  }
  const { rows: known } = await interruptible(
    services.tenants.catalog.query<{ storeUrl: string | null; path: string | null }>(
      `select d.store_url as "storeUrl", d.path
       from tenantkeep.forgotten_tenants f
       left join tenantkeep.doomed_objects d on d.tenant_id = f.tenant_id
       where f.tenant_id = $1`,
      [tenantId],
    ),
    signal,
  )
  const doomed = new Set(known.map(({ storeUrl, path }) => `${storeUrl} ${path}`))
  const reached = new Set(places.map(({ url }) => url))
  const lost = Map.groupBy(
    rows.filter(({ storeUrl }) => !reached.has(storeUrl)),
    ({ storeUrl }) => storeUrl,
  )
  return {
    backupIds: rows.map(({ id }) => id),
    holds: rows.flatMap(({ hold }) => (hold === null ? [] : [hold])),
    objects,
    isNews:
      known.length === 0 ||
      objects.some(({ storeUrl, path }) => !doomed.has(`${storeUrl} ${path}`)),
    elsewhere: [...lost].map(([store, backups]) => ({ store, objects: backups.length })),
  }
}

async function readClock(session: Connection): Promise<Date> {
  const { rows } = await session.query<{ now: string }>(
    `select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as now`,
  )
  return new Date(rows[0]?.now ?? Number.NaN)
}

/** From its commit on nothing of the tenant is offered or kept; a hold that came just now wins. */
async function recordErasure(
  session: Connection,
  { tenantId, actor, found }: ForgetInput & { found: Found },
): Promise<void> {
  const { rows } = await session.query<{ id: string; isHeld: boolean }>(
    `select id, coalesce(pinned_by_kind <> 'user', false) as "isHeld" from public.tenant_backups
     where organization_id = $1 and status = 'complete' order by id for update`,
    [tenantId],
  )
  if (rows.some(({ isHeld }) => isHeld)) {
    throw new BackupError(
      'tenant_held',
      'An operator holds a backup of this organization, so it can’t be forgotten. Lift the hold first. Nothing was removed.',
    )
  }
  const erasureId = randomUUID()
  const forgottenAt = await readClock(session)
  await blankTenant(session, tenantId, forgottenAt)
  await session.query(
    `with gone as (
       update public.tenant_backups
       set status = 'pruned', pruned_at = clock_timestamp(), prune_reason = 'The tenant was forgotten.'
       where organization_id = $2 and status = 'complete'
       returning id
     ), journalled as (
       insert into public.backup_logs
         (id, backup_type, organization_id, actor_kind, actor_id, actor_label, details)
       select $1, 'forget', $2, $3, $4, $5, jsonb_build_object(
         'backup_ids', coalesce(jsonb_agg(g.id), '[]'), 'backups', count(*), 'objects', 0, 'bytes', 0)
       from gone g
       returning id
     )
     insert into tenantkeep.forgotten_tenants (tenant_id, forgotten_at, erasure_id)
     select $2, $6, id from journalled`,
    [erasureId, tenantId, actor.kind, actor.id, actor.label, forgottenAt.toISOString()],
  )
  await doomObjects(session, { journalId: erasureId, tenantId, objects: found.objects })
}
