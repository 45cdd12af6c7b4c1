import { seedTenant } from '../defaults/seed-tenant.ts'
import type { SeedProgress, SeedResult } from '../defaults/seed-types.ts'
import type { Services } from '../services.ts'
import { trimResult } from './report-seed.ts'
import { findApprovedPlan, type SeedRun, settleSeedTenant } from './seed-run.ts'

export interface PerformSeedOptions {
  onProgress?: ((progress: SeedProgress) => void) | undefined
  signal?: AbortSignal | undefined
  /** How long to wait for other work on the tenant; by default not at all. */
  waitMs?: number
}

/**
 * Seeds one tenant of a run and records how it came out. An attempt before this one may have seeded it and
 * died before it could say so: the journal knows, and nothing is done twice. Throws whatever ends the
 * seeding; what becomes of the tenant then is for the caller to say.
 */
export async function performSeed(
  services: Services,
  { runId, actor, task }: Pick<SeedRun, 'runId' | 'actor' | 'task'>,
  tenantId: string,
  options: PerformSeedOptions = {},
): Promise<void> {
  const { catalog } = services.tenants
  if (!task.dry_run && (await settleFromJournal(services, runId, tenantId))) return
  try {
    const result = await seedTenant(services, {
      tenantId,
      options: task.options,
      isDryRun: task.dry_run,
      planHash: await findApprovedPlan(catalog, task, tenantId),
      actor,
      runId,
      note: task.note,
      sampleRows: task.samples,
      ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.waitMs === undefined ? {} : { waitMs: options.waitMs }),
    })
    await settleSeedTenant(catalog, runId, tenantId, {
      status: 'complete',
      result: trimResult(result),
    })
  } catch (error) {
    // Only the answer to the commit was lost, or the recording of the result failed.
    if (!task.dry_run && (await settleFromJournal(services, runId, tenantId))) return
    throw error
  }
}

/** True where the journal says that this run has seeded the tenant: that row is of the same transaction. */
async function settleFromJournal(
  { tenants: { catalog } }: Services,
  runId: string,
  tenantId: string,
): Promise<boolean> {
  const { rows } = await catalog.query<{ seed: SeedJournal }>(
    `select jsonb_build_object('id', l.id, 'safetyBackupId', l.safety_backup_id, 'planHash', l.plan_hash,
       'details', l.details) as seed
     from public.backup_logs l
     where l.run_id = $1 and l.organization_id = $2 and l.backup_type = 'seed_defaults' and l.status = 'complete'
     limit 1`,
    [runId, tenantId],
  )
  const seed = rows[0]?.seed
  if (seed === undefined) return false
  await settleSeedTenant(catalog, runId, tenantId, {
    status: 'complete',
    result: describeLost(tenantId, seed),
  })
  return true
}

interface SeedJournal {
  id: string
  safetyBackupId: string | null
  planHash: string | null
  details: {
    template_id?: string
    tables?: { name: string; inserted?: number; updated?: number; adopted?: number }[]
  }
}

/** What is known of a seeding whose process died before it could say so. */
function describeLost(
  tenantId: string,
  { id, safetyBackupId, planHash, details }: SeedJournal,
): SeedResult {
  return {
    isDryRun: false,
    tenantId,
    templateId: details.template_id ?? '',
    seedId: id,
    safetyBackupId,
    planHash: planHash ?? '',
    tables: (details.tables ?? []).map(({ name, inserted = 0, updated = 0, adopted = 0 }) => ({
      ...{ name, inserted, updated, adopted },
      rowsInTemplate: 0,
      cases: {},
      withdrawn: 0,
      manual: 0,
      warnings: [],
      samples: [],
    })),
    conflicts: [],
    conflictCount: 0,
    blockers: [],
    badRows: [],
    warnings: [
      {
        code: 'answer_lost',
        message:
          'The seeding is done, but its process ended before it could say so. The counts are those of the journal.',
      },
    ],
    looks: 1,
  }
}
