import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor } from '../services.ts'

/** An attempt at the defaults or at a tenant as a whole, as the journal names it. */
export type AttemptType = 'seed_defaults' | 'create_tenant' | 'offboard' | 'defaults'

interface Refusal {
  type: AttemptType
  actor: Actor
  /** Null where it was about several tenants, or whoever asked may not act for any. */
  tenantId: string | null
  tenantName?: string | null
  runId?: string | null
  note?: string | null
  scope: object
  error: BackupError
}

/**
 * Puts an attempt into the journal that was refused before anything was done: who, what about, why. `scope`
 * holds names of tables, ids and counts, never a value of a row.
 */
export async function recordRefusal(catalog: Queryable, given: Refusal): Promise<void> {
  const { actor, error } = given
  await catalog.query(
    `insert into public.backup_logs (backup_type, status, completed_at, organization_id, organization_name,
       run_id, note, actor_kind, actor_id, actor_label, error_code, error_message, details)
     values ($1, 'failed', now(), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    [
      given.type,
      given.tenantId,
      given.tenantName ?? null,
      given.runId ?? null,
      given.note ?? null,
      actor.kind,
      actor.id,
      actor.label,
      error.code,
      error.message,
      JSON.stringify({ scope: given.scope }),
    ],
  )
}

/** Does the work, and records it where it is refused (no failure of ours). Throws what the work throws. */
export async function recordingRefusal<T>(
  catalog: Queryable,
  given: Omit<Refusal, 'error'>,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof BackupError && error.status < 500) {
      await recordRefusal(catalog, { ...given, error })
    }
    throw error
  }
}
