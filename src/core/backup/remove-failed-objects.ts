import type { Services } from '../services.ts'
import { dayPrefix, stampOf } from '../store/object-path.ts'
import { placesOf } from '../store/read-with-copy.ts'
import type { Store } from '../store/store.ts'
import { BACKUP_JSON, type Backup } from './backup-record.ts'
import { loadSummary } from './load-summary.ts'

interface FailedAttempt {
  id: string
  stamp: string
  createdAt: string
}

/**
 * Removes what failed, cancelled and crashed attempts of a tenant left in the store, found by their
 * stamp; whoever calls holds the tenant's lock. An object that a complete summary names stays, whoever
 * wrote it: if one of those summaries can't be read, nothing is removed. Returns how many objects went.
 */
export async function removeFailedObjects(services: Services, tenantId: string): Promise<number> {
  let removed = 0
  for (const place of placesOf(services.store)) {
    removed += await removeFromPlace(services, place, tenantId)
  }
  return removed
}

async function removeFromPlace(
  services: Services,
  store: Store,
  tenantId: string,
): Promise<number> {
  const { tenants } = services
  const attempts = await findFailedAttempts(services, store, tenantId)
  if (attempts.length === 0) return 0

  const byStamp = new Map(attempts.map((attempt) => [attempt.stamp, attempt]))
  const prefixes = new Set(attempts.map((attempt) => dayPrefix(tenantId, attempt.stamp)))
  const left: { path: string; attempt: FailedAttempt }[] = []
  for (const prefix of prefixes) {
    for (const { path } of await store.list(prefix)) {
      const attempt = byStamp.get(stampOf(path) ?? '')
      if (attempt !== undefined) left.push({ path, attempt })
    }
  }
  if (left.length > 0) {
    const since = left.map(({ attempt }) => attempt.createdAt).sort()[0] ?? '-infinity'
    const named = await readNamedPaths(services, tenantId, since)
    await store.remove(left.map(({ path }) => path).filter((path) => !named.has(path)))
  }

  // A process that lost its session may still be sending its last object: look again for an hour.
  await tenants.catalog.query(
    `update public.tenant_backups set objects_removed_at = now()
     where id = any ($1::uuid[]) and status in ('failed', 'cancelled')
       and completed_at < now() - interval '1 hour'`,
    [attempts.map((attempt) => attempt.id)],
  )
  return left.length
}

async function findFailedAttempts(
  { tenants }: Services,
  store: Store,
  tenantId: string,
): Promise<FailedAttempt[]> {
  const { rows } = await tenants.catalog.query<FailedAttempt>(
    `select id, object_stamp as stamp, created_at as "createdAt" from public.tenant_backups
     where organization_id = $1 and store_url = $2 and status in ('failed', 'cancelled')
       and objects_removed_at is null`,
    [tenantId, store.url],
  )
  return rows
}

/** Every path that complete backups since this time name; none before could know of the attempts. */
async function readNamedPaths(
  services: Services,
  tenantId: string,
  since: string,
): Promise<Set<string>> {
  const { rows } = await services.tenants.catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b
     where b.organization_id = $1 and b.store_url = any ($2) and b.status = 'complete'
       and b.completed_at >= $3::timestamptz`,
    [tenantId, placesOf(services.store).map(({ url }) => url), since],
  )
  const named = new Set<string>()
  for (const { backup } of rows) {
    const summary = await loadSummary(services, backup)
    if (backup.summaryPath !== null) named.add(backup.summaryPath)
    for (const part of summary.tables.flatMap((table) => table.parts)) named.add(part.path)
  }
  return named
}
