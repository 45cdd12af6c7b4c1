import { setTimeout as sleep } from 'node:timers/promises'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'

const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 500

/**
 * The key of a tenant's lock: Postgres' own 64-bit hash of `tenantkeep.tenant:<id>`. Whatever changes
 * or reads a tenant as a whole holds it (backup, restore, undo, prune, seed, offboard), so that no
 * two of them meet. Two tenants whose hashes collide would wait for each other, and no more.
 */
const lockKey = (tenantId: string) => `hashtextextended('tenantkeep.tenant:' || ${tenantId}, 0)`
const LOCK_KEY = lockKey('$1')
const TRY_LOCK = `select pg_try_advisory_lock(${LOCK_KEY}) as locked`

/**
 * Takes the tenant's lock for the rest of the session (it ends with the lease of the connection, or
 * with the process). Waits for at most `waitMs`, by default not at all. Throws `tenant_busy`.
 */
export async function lockTenant(
  session: Queryable,
  tenantId: string,
  { waitMs = 0, signal }: { waitMs?: number; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const deadline = performance.now() + waitMs
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    const { rows } = await session.query<{ locked: boolean }>(TRY_LOCK, [tenantId])
    if (rows[0]?.locked === true) return
    const left = deadline - performance.now()
    if (left <= 0) {
      throw new BackupError(
        'tenant_busy',
        `Tenant ${tenantId} is being backed up, restored or pruned at this moment. Try again when that is done.`,
        { details: { tenant_id: tenantId } },
      )
    }
    await sleep(Math.min(pause, left), undefined, { signal })
  }
}

/** A condition: whether somebody holds the lock of the tenant that an expression names; takes none. */
export function isTenantLocked(tenantId: string): string {
  return isLockHeld(lockKey(tenantId))
}

/** A condition: whether a session of this database holds the advisory lock of a 64-bit key. */
export function isLockHeld(key: string): string {
  return `exists (
    select from pg_catalog.pg_locks k, ${key} as h (key)
    where k.locktype = 'advisory' and k.objsubid = 1 and k.granted
      and k.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
      and k.classid::bigint = ((h.key >> 32) & 4294967295) and k.objid::bigint = (h.key & 4294967295))`
}

/**
 * Held by whoever copies a backup of the tenant to another place, and by whoever removes objects of the tenant
 * from all of them, so that nothing is copied to where it was just removed from; backups and restores don't
 * wait for it. For the rest of the session, as the tenant's lock. False where somebody else has it.
 */
export async function tryLockCopies(session: Queryable, tenantId: string): Promise<boolean> {
  const { rows } = await session.query<{ locked: boolean }>(
    `select pg_try_advisory_lock(hashtextextended('tenantkeep.copies:' || $1, 0)) as locked`,
    [tenantId],
  )
  return rows[0]?.locked === true
}

/** The same for whoever removes. Throws `tenant_busy`. */
export async function lockCopies(session: Queryable, tenantId: string): Promise<void> {
  if (await tryLockCopies(session, tenantId)) return
  throw new BackupError(
    'tenant_busy',
    `A backup of tenant ${tenantId} is being copied at this moment. Try again when that is done.`,
    { details: { tenant_id: tenantId } },
  )
}

/**
 * Whether nobody works on the tenant as a whole at this moment. Whoever recorded that they do is dead
 * then. Takes the lock for the one statement.
 */
export async function isTenantFree(database: Queryable, tenantId: string): Promise<boolean> {
  const { rows } = await database.query<{ free: boolean }>(
    `select pg_try_advisory_xact_lock(${LOCK_KEY}) as free`,
    [tenantId],
  )
  return rows[0]?.free === true
}
