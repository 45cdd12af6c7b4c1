import { loadSummary } from '../backup/load-summary.ts'
import type { Summary } from '../backup/summary.ts'
import { BackupError } from '../errors.ts'
import { interruptible } from '../interruptible.ts'
import type { Services } from '../services.ts'
import { dayPrefix, restorePlanPath, stampOf } from '../store/object-path.ts'
import { placesOf } from '../store/read-with-copy.ts'
import type { DoomedObject } from './doomed-objects.ts'
import { expiredOf, type PrunableBackup, type TenantPlan } from './plan-prune.ts'

/** Summaries read at the same time. */
const WIDTH = 8

/**
 * The objects that go with the backups that a plan lets go: those that they name and no kept one names, and
 * the plans of restores beside safety backups. All summaries of kept backups are read for it. Throws
 * `prune_unsafe` where one of them can't be: then nobody knows what else it needs. Of an expired one whose
 * summary can't be read, everything that carries its stamp goes.
 */
export async function findDoomed(
  services: Services,
  plan: Pick<TenantPlan, 'backups' | 'decisions'>,
  signal?: AbortSignal,
): Promise<DoomedObject[]> {
  const expired = new Set(expiredOf(plan.decisions))
  const going = plan.backups.filter(({ id }) => expired.has(id))
  if (going.length === 0) return []
  const doomed = new Map<string, number>()
  await eachOf(going, async (backup) => {
    for (const [path, bytes] of await readGoing(services, backup, signal)) doomed.set(path, bytes)
  })
  // They may name objects of backups before them. What is older than the oldest of these names none of them.
  const oldest = [...doomed.keys()].map((path) => stampOf(path) ?? '').sort()[0] ?? ''
  const kept = plan.backups.filter(
    ({ id, isElsewhere, objectStamp }) => !expired.has(id) && !isElsewhere && objectStamp >= oldest,
  )
  const named = new Set<string>()
  await eachOf(kept, async (backup) => {
    for (const [path] of objectsOf(await readKept(services, backup, signal), backup))
      named.add(path)
  })
  const objects = [...doomed].filter(([path]) => !named.has(path)).sort()
  const stores = new Set(await interruptible(readStores(services, going), signal))
  // A catalog from before an erasure doesn't know where copies went since.
  if (plan.decisions.some(({ reasons: [reason] }) => reason?.code === 'forgotten')) {
    for (const { url } of placesOf(services.store)) stores.add(url)
  }
  return [...stores]
    .sort()
    .flatMap((storeUrl) => objects.map(([path, bytes]) => ({ storeUrl, path, bytes })))
}

/** Where these backups are, or were about to be copied to. */
async function readStores(
  { tenants }: Services,
  going: readonly PrunableBackup[],
): Promise<string[]> {
  const { rows } = await tenants.catalog.query<{ storeUrl: string }>(
    `select distinct store_url as "storeUrl" from tenantkeep.backup_copies where backup_id = any ($1::uuid[])`,
    [going.map(({ id }) => id)],
  )
  return [...going, ...rows].map(({ storeUrl }) => storeUrl)
}

async function readKept(
  services: Services,
  backup: PrunableBackup,
  signal: AbortSignal | undefined,
): Promise<Summary> {
  try {
    return await loadSummary(services, backup, signal)
  } catch (cause) {
    if (!isUnreadable(cause)) throw cause
    throw new BackupError(
      'prune_unsafe',
      `Nothing of this tenant was removed: the summary of backup ${backup.id}, which is kept, can't be read, and so nobody knows which objects it needs. ${cause.message}`,
      { cause, details: { backup_id: backup.id, code: cause.code } },
    )
  }
}

async function readGoing(
  services: Services,
  backup: PrunableBackup,
  signal: AbortSignal | undefined,
): Promise<Map<string, number>> {
  const { store } = services
  let objects: Map<string, number>
  try {
    objects = objectsOf(await loadSummary(services, backup, signal), backup)
  } catch (error) {
    if (!isUnreadable(error)) throw error
    const listed = await interruptible(
      store.list(dayPrefix(backup.organizationId, backup.objectStamp)),
      signal,
    )
    return new Map(
      listed
        .filter(({ path }) => stampOf(path) === backup.objectStamp)
        .map(({ path, size }) => [path, size]),
    )
  }
  if (backup.backupType === 'pre_restore') {
    const path = restorePlanPath(backup.organizationId, backup.objectStamp)
    const plan = await interruptible(store.stat(path), signal)
    if (plan !== null) objects.set(path, plan.size)
  }
  return objects
}

/** The store answers, and what it has is no summary of this backup. */
function isUnreadable(error: unknown): error is BackupError {
  return (
    error instanceof BackupError &&
    (error.code === 'object_missing' || error.code === 'backup_damaged')
  )
}

/** Every object that a summary names, itself included, with its stored bytes. */
function objectsOf(summary: Summary, backup: PrunableBackup): Map<string, number> {
  const parts = summary.tables.flatMap((table) => table.parts)
  const objects = new Map(parts.map(({ path, stored_bytes }) => [path, stored_bytes]))
  return objects.set(backup.summaryPath, backup.totalSize - summary.totals.stored_bytes)
}

async function eachOf<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const left = [...items]
  const work = Array.from({ length: WIDTH }, async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await act(item)
  })
  await Promise.all(work)
}
