import type { Services } from '../services.ts'
import { dayPrefix } from '../store/object-path.ts'
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
  const { store, tenants } = services
  const attempts = await findFailedAttempts(services, tenantId)
  if (attempts.length === 0) return 0

  const prefixes = new Set(attempts.map((attempt) => dayPrefix(tenantId, attempt.stamp)))
  const left: string[] = []
  for (const prefix of prefixes) {
    const objects = await store.list(prefix)
    const isOfAttempt = (path: string) =>
      attempts.some((attempt) => path.includes(`-${attempt.stamp}.`))
    left.push(...objects.map((object) => object.path).filter(isOfAttempt))
  }
  if (left.length > 0) {
    const named = await readNamedPaths(services, tenantId, attempts)
    await store.remove(left.filter((path) => !named.has(path)))
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
  { store, tenants }: Services,
  tenantId: string,
): Promise<FailedAttempt[]> {
  const { rows } = await tenants.catalog.query<FailedAttempt>(
    `select id, object_stamp as stamp, created_at as "createdAt" from public.tenant_backups
     where organization_id = $1 and store_url = $2 and status in ('failed', 'cancelled')
       and objects_removed_at is null
     order by created_at limit 100`,
    [tenantId, store.url],
  )
  return rows
}

/** Every path that complete backups since the first of these attempts name. */
async function readNamedPaths(
  services: Services,
  tenantId: string,
  attempts: readonly FailedAttempt[],
): Promise<Set<string>> {
  const { rows } = await services.tenants.catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b
     where b.organization_id = $1 and b.store_url = $2 and b.status = 'complete'
       and b.completed_at >= $3::timestamptz`,
    [tenantId, services.store.url, attempts[0]?.createdAt ?? '-infinity'],
  )
  const named = new Set<string>()
  for (const { backup } of rows) {
    const summary = await loadSummary(services, backup)
    if (backup.summaryPath !== null) named.add(backup.summaryPath)
    for (const part of summary.tables.flatMap((table) => table.parts)) named.add(part.path)
  }
  return named
}
