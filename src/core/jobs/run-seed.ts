import { setTimeout as sleep } from 'node:timers/promises'
import type { SeedProgress } from '../defaults/seed-types.ts'
import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { requireTemplateTenant } from '../tenants/find-template-tenant.ts'
import { listTenants, type Tenant } from '../tenants/list-tenants.ts'
import { signalAt } from './keep-alive.ts'
import { describeRestoreFailure } from './perform-restore.ts'
import { performSeed } from './perform-seed.ts'
import { withQueue } from './queue.ts'
import { recordEvents } from './record-events.ts'
import { type CallTime, planCall } from './run-daily-backup.ts'
import {
  closeSeedRun,
  findSeedRun,
  findSeedRunIdByKey,
  postponeSeedTenant,
  requireSeedPlans,
  type SeedRun,
  type SeedTask,
  settleSeedTenant,
  startSeedRun,
  startSeedTenant,
} from './seed-run.ts'
import { workJobs } from './work-jobs.ts'
import { queueOpenSeeds } from './work-seed.ts'

export interface SeedCall {
  actor: Actor
  /** `all`: every active tenant but the template. */
  tenantIds: readonly string[] | 'all'
  task: SeedTask
  idempotencyKey?: string | undefined
  /** People seed only what a dry run has shown them. */
  needsPlan: boolean
  /** Null for whoever has all the time in the world. */
  time: CallTime | null
  onRun?: ((runId: string) => void) | undefined
  /** Of a single tenant. */
  onProgress?: ((progress: SeedProgress) => void) | undefined
  signal?: AbortSignal | undefined
}

const POLL_MS = 1_000

/**
 * Seeds tenants, or rehearses that, and keeps it as a run: a single one at once, many by the queue, in which
 * this call works as long as it has time. A tenant that fails is named in the run and stops no other. The
 * same idempotency key never does anything twice. Throws `plan_required`, `plan_stale`, `tenant_not_found`,
 * `invalid_request`, `not_configured` before any work; how tenants came out is in the run.
 */
export async function runSeeding(services: Services, call: SeedCall): Promise<SeedRun> {
  const { catalog } = services.tenants
  const { task, time } = call
  const tenants = await chooseTenants(services, call.tenantIds)
  const ids = tenants.map(({ id }) => id)
  const known =
    call.idempotencyKey === undefined
      ? undefined
      : await findSeedRunIdByKey(catalog, { ...call, idempotencyKey: call.idempotencyKey }, ids)
  if (known !== undefined) return readRun(services, known)

  if (!task.dry_run && task.plan_hash !== null) await requireSeedPlans(catalog, task, ids)
  else if (!task.dry_run && call.needsPlan) {
    throw new BackupError(
      'plan_required',
      'Make a dry run first (dry_run: true), look at what it says, and send its plan_hash with the real one.',
    )
  }
  const { runId, isNew } = await startSeedRun(catalog, {
    ...{ actor: call.actor, task, tenants },
    idempotencyKey: call.idempotencyKey,
  })
  call.onRun?.(runId)
  if (isNew) {
    const open = tenants.filter(({ skipReason }) => skipReason === null)
    const [only, ...others] = open
    if (only === undefined) await closeSeedRun(catalog, runId)
    else if (others.length === 0 && tenants.length === 1)
      await seedHere(services, call, runId, only.id)
    else await seedByQueue(services, call, runId)
  }
  const run = await readRun(services, runId)
  if (run.status === 'running') await time?.wake()
  return run
}

async function readRun(services: Services, runId: string): Promise<SeedRun> {
  const run = await findSeedRun(services.tenants.catalog, runId)
  if (run === undefined) throw new BackupError('internal', 'The run is gone. Try again.')
  return run
}

async function chooseTenants(
  { tenants: { catalog } }: Services,
  asked: readonly string[] | 'all',
): Promise<Tenant[]> {
  const template = await requireTemplateTenant(catalog)
  const all = await listTenants(catalog)
  if (asked === 'all') return all.filter(({ id }) => id !== template.id)
  const byId = new Map(all.map((tenant) => [tenant.id, tenant]))
  const missing = asked.filter((id) => !byId.has(id))
  if (missing.length > 0) {
    throw new BackupError(
      'tenant_not_found',
      `There is no such organization: ${missing.slice(0, 20).join(', ')}. Nothing was seeded.`,
      { details: { organization_ids: missing } },
    )
  }
  if (asked.includes(template.id)) {
    throw new BackupError(
      'invalid_request',
      'The template tenant holds the defaults and can’t be seeded with them.',
    )
  }
  // Who is named is meant, paused or not.
  return [...new Set(asked)].map((id) => ({
    id,
    name: byId.get(id)?.name ?? null,
    skipReason: null,
  }))
}

/** One tenant, in this process; what does not fit the call's time is the queue's. */
async function seedHere(
  services: Services,
  { actor, task, time, onProgress, signal }: SeedCall,
  runId: string,
  tenantId: string,
): Promise<void> {
  const { catalog } = services.tenants
  await startSeedTenant(catalog, runId, tenantId)
  const outOfTime = time === null ? undefined : signalAt((await planCall(services, time)).cancelAt)
  const ends = [outOfTime, signal].filter((end) => end !== undefined)
  const events = recordEvents<ReturnType<typeof describeSeedProgress>>(catalog, runId)
  try {
    await performSeed(services, { runId, actor, task }, tenantId, {
      ...(ends.length === 0 ? {} : { signal: AbortSignal.any(ends) }),
      onProgress: (progress) => {
        events.report(describeSeedProgress(tenantId, progress))
        onProgress?.(progress)
      },
    })
    await events.finish()
  } catch (error) {
    await events.finish()
    const failure = describeRestoreFailure(error)
    if (outOfTime?.aborted === true && signal?.aborted !== true) {
      await postponeSeedTenant(catalog, runId, tenantId, failure)
      await withQueue(catalog, (queue) => queueOpenSeeds(catalog, queue, runId))
      return
    }
    if (!(error instanceof BackupError)) {
      services.log.error({ run_id: runId, tenant_id: tenantId, err: error }, 'seeding failed')
    }
    await settleSeedTenant(catalog, runId, tenantId, { status: 'failed', ...failure })
  }
}

async function seedByQueue(
  services: Services,
  { time, signal }: SeedCall,
  runId: string,
): Promise<void> {
  const { catalog } = services.tenants
  await withQueue(catalog, (queue) => queueOpenSeeds(catalog, queue, runId))
  if (time !== null) {
    const { until, cancelAt } = await planCall(services, time)
    await workJobs(services, { runId, until, finishBy: until, cancelAt })
    return
  }
  while (signal?.aborted !== true) {
    await workJobs(services, { runId, ...(signal === undefined ? {} : { signal }) })
    if ((await readRun(services, runId)).status !== 'running') return
    // What failed waits for its next attempt, or another process works on it.
    await sleep(POLL_MS, undefined, { signal }).catch(() => {})
  }
}

/** One step of one tenant, as streams and runs tell it. */
export function describeSeedProgress(
  tenantId: string,
  { phase, table, rowsDone, rowsTotal }: SeedProgress,
) {
  return {
    type: 'progress' as const,
    organization_id: tenantId,
    ...{ phase, table, rows_done: rowsDone, rows_total: rowsTotal },
  }
}
