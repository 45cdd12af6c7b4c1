import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import type { SeedOptions, SeedProgress, SeedResult } from './seed-types.ts'

export interface SeedInput {
  tenantId: string
  options: SeedOptions
  /** Does everything and rolls it back. */
  isDryRun: boolean
  /** Of the plan that was approved; a real run that would do anything else throws `plan_stale`. */
  planHash?: string | null
  actor: Actor
  runId?: string | null
  note?: string | null
  /** How many rows that are written to show per table; none by default. */
  sampleRows?: number
  onProgress?: (progress: SeedProgress) => void
  signal?: AbortSignal
  /** How long to wait for other work on the tenant; by default not at all. */
  waitMs?: number
  /**
   * For a tenant that is made in the same transaction: called first in it, as the operator confined to
   * `tenantId`, to insert the tenant's own row. What earlier tenants of this id were seeded with is forgotten.
   */
  createTenant?: (session: Queryable) => Promise<void>
}

/**
 * Seeds one tenant with the rows of the template tenant, in one transaction; a dry run is the same, rolled
 * back. Throws `seed_conflict` (409) for rows that nobody decided about, `seed_blocked` (409) for what stands
 * in the way, `plan_stale`, `tenant_busy`, `tenant_not_found`, `tenant_changing`, `not_configured` where no
 * template is set, and what a backup can fail with; whatever it throws, nothing was written, and the attempt
 * is in the journal (`seed_defaults`), unless it was a dry run.
 */
export async function seedTenant(_services: Services, _input: SeedInput): Promise<SeedResult> {
  throw new BackupError('internal', 'Not built yet.')
}
