import { readBounded } from '../backup/check-object.ts'
import { loadSummary, MAX_SUMMARY_BYTES } from '../backup/load-summary.ts'
import { parseForeignSummary } from '../backup/summary.ts'
import type { Database } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { BACKUPS_PREFIX, stampOf, summaryPath, tenantPrefix } from '../store/object-path.ts'
import { placesOf } from '../store/read-with-copy.ts'
import type { Store } from '../store/store.ts'
import { lockTenant } from '../tenants/lock-tenant.ts'

/** Objects in one place of one tenant that no backup names. */
interface OrphanedObjects {
  store: string
  tenantId: string
  paths: string[]
  bytes: number
}

export interface OrphanSearch {
  orphans: OrphanedObjects[]
  /** Folders of which nobody can tell, and why. */
  unclear: { store: string; folder: string; reason: string }[]
}

/** What is younger may be of a backup that is being taken, by a process whose row nobody sees yet. */
const LEAST_AGE_MS = 86_400_000

type SearchServices = Pick<Services, 'store' | 'signingKeys'> & { catalog: Database }

/**
 * Looks through every place for objects that no row and no summary names, of one tenant or of all: what
 * crashed processes and lost connections left. A summary without a row protects what it names, for a catalog
 * may be lost, and so does one that can't be read. Only what is older than a day counts. Changes nothing.
 */
export async function findOrphans(
  { catalog, store, signingKeys }: SearchServices,
  given: { tenantId?: string } = {},
): Promise<OrphanSearch> {
  const tenants = await readTenants(catalog, given.tenantId)
  const now = Date.now()
  const search: OrphanSearch = { orphans: [], unclear: [] }
  for (const place of placesOf(store)) {
    const prefix = given.tenantId === undefined ? BACKUPS_PREFIX : tenantPrefix(given.tenantId)
    const listed = await place.list(prefix)
    for (const [folder, objects] of Map.groupBy(listed, ({ path }) => folderOf(path))) {
      const tenantId = tenants.get(folder)
      if (tenantId === undefined) {
        const reason = 'The catalog knows no such tenant. rebuild-catalog reads its summaries.'
        search.unclear.push({ store: place.url, folder, reason })
        continue
      }
      try {
        const needed = await readNeeded(
          { catalog, store, signingKeys },
          { tenantId, place, listed: objects.map(({ path }) => path) },
        )
        const orphaned = objects.filter(
          ({ path, writtenAt }) =>
            stampOf(path) !== undefined &&
            !needed(path) &&
            now - writtenAt.getTime() > LEAST_AGE_MS,
        )
        if (orphaned.length === 0) continue
        search.orphans.push({
          store: place.url,
          tenantId,
          paths: orphaned.map(({ path }) => path),
          bytes: orphaned.reduce((sum, { size }) => sum + size, 0),
        })
      } catch (error) {
        if (!(error instanceof BackupError)) throw error
        search.unclear.push({ store: place.url, folder, reason: error.message })
      }
    }
  }
  return search
}

export interface RemovedOrphans {
  objects: number
  bytes: number
  /** Tenants that somebody works on. */
  busy: string[]
  locked: number
  unclear: OrphanSearch['unclear']
}

/** Removes them, each tenant's under its lock after looking again, and writes it into the journal. */
export async function removeOrphans(
  services: Services,
  { actor, tenantId: only }: { actor: Actor; tenantId?: string | undefined },
): Promise<RemovedOrphans> {
  const { catalog } = services.tenants
  const found = await findOrphans(
    { ...services, catalog },
    only === undefined ? {} : { tenantId: only },
  )
  const removed: RemovedOrphans = {
    objects: 0,
    bytes: 0,
    busy: [],
    locked: 0,
    unclear: found.unclear,
  }
  for (const tenantId of new Set(found.orphans.map((orphan) => orphan.tenantId))) {
    const database = await services.tenants.databaseOf(tenantId)
    try {
      await database.withConnection(async (session) => {
        await lockTenant(session, tenantId)
        const again = await findOrphans({ ...services, catalog }, { tenantId })
        for (const { store, paths, bytes } of again.orphans) {
          const place = placesOf(services.store).find(({ url }) => url === store)
          const { locked } = (await place?.remove(paths)) ?? { locked: [] }
          removed.objects += paths.length - locked.length
          removed.bytes += bytes
          removed.locked += locked.length
          await catalog.query(
            `insert into public.backup_logs
               (backup_type, status, completed_at, organization_id, actor_kind, actor_id, actor_label, details)
             values ('prune', 'complete', now(), $1, $2, $3, $4,
               jsonb_build_object('orphans', true, 'store', $5::text, 'objects', $6::int, 'bytes', $7::bigint))`,
            [
              tenantId,
              actor.kind,
              actor.id,
              actor.label,
              store,
              paths.length - locked.length,
              bytes,
            ],
          )
        }
      })
    } catch (error) {
      if (!(error instanceof BackupError) || error.code !== 'tenant_busy') throw error
      removed.busy.push(tenantId)
    }
  }
  return removed
}

/** Tenants of the catalog by the name of their folder. */
async function readTenants(
  catalog: Database,
  tenantId: string | undefined,
): Promise<Map<string, string>> {
  const { rows } = await catalog.query<{ id: string }>(
    `select distinct organization_id as id from public.tenant_backups
     where $1::text is null or organization_id = $1`,
    [tenantId ?? null],
  )
  return new Map(rows.map(({ id }) => [tenantPrefix(id), id]))
}

/** `tenant-backups/{tenant}/` */
function folderOf(path: string): string {
  return `${path.split('/').slice(0, 2).join('/')}/`
}

interface AttemptRow {
  id: string
  organizationId: string
  status: 'complete'
  stamp: string
  summaryPath: string | null
  summarySha256: string | null
  /** Whoever takes, fails or prunes it looks after its objects. */
  isTended: boolean
}

/** Says of a path whether a row, a summary or a task of ours needs it. Throws where a summary can't be read. */
async function readNeeded(
  { catalog, store, signingKeys }: SearchServices,
  { tenantId, place, listed }: { tenantId: string; place: Store; listed: readonly string[] },
): Promise<(path: string) => boolean> {
  const { rows } = await catalog.query<AttemptRow>(
    `select id, organization_id as "organizationId", status, object_stamp as stamp,
       summary_path as "summaryPath", summary_sha256 as "summarySha256",
       status in ('running', 'complete') or (status <> 'pruned' and objects_removed_at is null) as "isTended"
     from public.tenant_backups where organization_id = $1`,
    [tenantId],
  )
  const { rows: doomed } = await catalog.query<{ path: string }>(
    'select path from tenantkeep.doomed_objects where tenant_id = $1',
    [tenantId],
  )
  const stamps = new Map(rows.map(({ stamp, isTended }) => [stamp, isTended]))
  const named = new Set(doomed.map(({ path }) => path))
  const name = (summary: { tables: readonly { parts: readonly { path: string }[] }[] }) => {
    for (const { path } of summary.tables.flatMap(({ parts }) => parts)) named.add(path)
  }
  for (const row of rows.filter(({ status }) => status === 'complete')) {
    name(await loadSummary({ store, signingKeys }, row))
  }
  for (const path of listed) {
    const stamp = stampOf(path)
    if (stamp === undefined || stamps.has(stamp) || path !== summaryPath(tenantId, stamp)) continue
    named.add(path)
    const body = await readBounded(place, { path, maxBytes: MAX_SUMMARY_BYTES })
    const { summary } = parseForeignSummary(body, signingKeys)
    stamps.set(stamp, true)
    name(summary)
  }
  return (path) => named.has(path) || stamps.get(stampOf(path) ?? '') === true
}
