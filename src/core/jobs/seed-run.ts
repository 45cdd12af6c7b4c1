/**
 * Runs of seedings: one tenant or many, real or rehearsed. A row of `tenantkeep.run_tenants` says how each
 * tenant came out, so that any number of processes settle one run, and whoever comes after a death goes on.
 */
import { createHash } from 'node:crypto'
import * as z from 'zod'
import type { Database } from '../database/database.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { SeedOptions, type SeedResult } from '../defaults/seed-types.ts'
import { BackupError, ERRORS, type ErrorCode, type ErrorDetails } from '../errors.ts'
import type { Actor } from '../services.ts'
import { isoTime } from './report-run.ts'

/** What a run was asked for, as its row keeps it: enough to do it in another process. */
export const SeedTask = z.strictObject({
  kind: z.literal('seed'),
  options: SeedOptions,
  dry_run: z.boolean(),
  /** Of the dry run that was approved. */
  plan_hash: z.string().nullable(),
  note: z.string().nullable(),
  /** Rows to show per table; a dry run's only. */
  samples: z.number().int(),
})
export type SeedTask = z.infer<typeof SeedTask>

/** The parts of a task that don't change what it would do. */
const BESIDE_THE_PLAN = ['dry_run', 'plan_hash', 'note', 'samples']
/** A plan that was approved holds for so long. */
const PLAN_HOURS = 1

export interface SeedOutcome {
  tenantId: string
  tenantName: string | null
  status: 'pending' | 'running' | 'complete' | 'failed' | 'skipped'
  attempts: number
  settledAt: string | null
  result: SeedResult | null
  error: { code: ErrorCode; message: string; details?: ErrorDetails } | null
}

export interface SeedRun {
  runId: string
  status: 'running' | 'complete' | 'failed'
  createdAt: string
  finishedAt: string | null
  actor: Actor
  task: SeedTask
  /** Of the whole run, once it is complete; for one tenant that of its plan. */
  planHash: string | null
  tenants: SeedOutcome[]
}

const OUTCOME_JSON = `jsonb_build_object(
  'tenantId', t.tenant_id, 'tenantName', t.tenant_name, 'status', t.status, 'attempts', t.attempts,
  'settledAt', ${isoTime('t.settled_at')}, 'result', case t.status when 'complete' then t.result end,
  'error', case when t.error_code is not null and t.status <> 'complete' then jsonb_strip_nulls(
    jsonb_build_object('code', t.error_code, 'message', t.error_message, 'details', t.result)) end)`

/** A run of seedings by its id; undefined where there is none. */
export async function findSeedRun(database: Database, runId: string): Promise<SeedRun | undefined> {
  const { rows } = await database.query<{ run: SeedRun }>(
    `select jsonb_build_object(
       'runId', r.id, 'status', r.status, 'createdAt', ${isoTime('r.created_at')},
       'finishedAt', ${isoTime('r.finished_at')}, 'planHash', r.plan_hash, 'task', r.request -> 'task',
       'actor', jsonb_build_object('kind', r.actor_kind, 'id', r.actor_id, 'label', r.actor_label),
       'tenants', coalesce((
         select jsonb_agg(${OUTCOME_JSON} order by t.tenant_name, t.tenant_id)
         from tenantkeep.run_tenants t where t.run_id = r.id), '[]')) as run
     from tenantkeep.runs r where r.id = $1 and r.kind = 'seed'`,
    [runId],
  )
  return rows[0]?.run
}

/** What a run asks of each tenant, while it is open; undefined once it is over, and where there is none. */
export async function findOpenSeedRun(
  database: Database,
  runId: string,
): Promise<Pick<SeedRun, 'runId' | 'actor' | 'task'> | undefined> {
  const { rows } = await database.query<{ run: Pick<SeedRun, 'runId' | 'actor' | 'task'> }>(
    `select jsonb_build_object('runId', id, 'task', request -> 'task', 'actor',
       jsonb_build_object('kind', actor_kind, 'id', actor_id, 'label', actor_label)) as run
     from tenantkeep.runs where id = $1 and kind = 'seed' and status = 'running'`,
    [runId],
  )
  return rows[0]?.run
}

/**
 * Records that a run begins, with a row for every tenant; a tenant with a reason to be passed over is
 * settled at once. With the id of the run that the same caller began with this key before, where there is one.
 * Throws `invalid_request` where the key was used for something else.
 */
export async function startSeedRun(
  database: Database,
  given: {
    actor: Actor
    task: SeedTask
    tenants: readonly { id: string; name: string | null; skipReason: string | null }[]
    idempotencyKey: string | undefined
  },
): Promise<{ runId: string; isNew: boolean }> {
  const { actor, task, tenants, idempotencyKey } = given
  const ids = tenants.map(({ id }) => id)
  const { rows } = await database.query<{ id: string | null }>(
    `with run as (
       insert into tenantkeep.runs (kind, actor_kind, actor_id, actor_label, idempotency_key, tenant_ids, request)
       values ('seed', $1, $2, $3, $4, $5, $6)
       on conflict do nothing
       returning id
     ), outcomes as (
       insert into tenantkeep.run_tenants
         (run_id, tenant_id, tenant_name, makes_backup, status, settled_at, error_code, error_message)
       select run.id, t.id, t.name, false, case when t.skip is null then 'pending' else 'skipped' end,
         case when t.skip is not null then now() end, case when t.skip is not null then 'tenant_paused' end, t.skip
       from run, jsonb_to_recordset($7::jsonb) as t (id text, name text, skip text)
     )
     select (select id from run) as id`,
    [
      actor.kind,
      actor.id,
      actor.label,
      idempotencyKey ?? null,
      ids,
      JSON.stringify({ task }),
      JSON.stringify(tenants.map(({ id, name, skipReason: skip }) => ({ id, name, skip }))),
    ],
  )
  const id = rows[0]?.id
  if (typeof id === 'string') return { runId: id, isNew: true }
  const known =
    idempotencyKey && (await findSeedRunIdByKey(database, { ...given, idempotencyKey }, ids))
  if (known) return { runId: known, isNew: false }
  throw new BackupError('internal', 'The run could not be recorded. Try again.')
}

/**
 * The run that the same caller began with this key; undefined where there is none. Throws `invalid_request`
 * where the key was used for something else.
 */
export async function findSeedRunIdByKey(
  database: Database,
  { actor, task, idempotencyKey }: { actor: Actor; task: SeedTask; idempotencyKey: string },
  tenantIds: readonly string[],
): Promise<string | undefined> {
  const { rows } = await database.query<{ id: string; isSame: boolean }>(
    `select id, kind = 'seed' and tenant_ids = $4::text[] and request -> 'task' = $5::jsonb as "isSame"
     from tenantkeep.runs
     where actor_kind = $1 and coalesce(actor_id, '') = coalesce($2, '') and idempotency_key = $3`,
    [actor.kind, actor.id, idempotencyKey, tenantIds, JSON.stringify(task)],
  )
  const [found] = rows
  if (found === undefined || found.isSame) return found?.id
  throw new BackupError(
    'invalid_request',
    'This idempotency_key was used for another request. Take a new one for every seeding.',
  )
}

/** An attempt begins. False where nobody waits for it any more. */
export async function startSeedTenant(
  database: Database,
  runId: string,
  tenantId: string,
): Promise<boolean> {
  const { rowCount } = await database.query(
    `update tenantkeep.run_tenants t
     set status = 'running', started_at = coalesce(t.started_at, now()), attempts = t.attempts + 1
     from tenantkeep.runs r
     where r.id = t.run_id and r.status = 'running' and t.run_id = $1 and t.tenant_id = $2
       and t.status in ('pending', 'running')`,
    [runId, tenantId],
  )
  return rowCount > 0
}

/** The attempt failed and another will follow. */
export async function postponeSeedTenant(
  database: Database,
  runId: string,
  tenantId: string,
  error: { code: string; message: string },
): Promise<void> {
  await database.query(
    `update tenantkeep.run_tenants set status = 'pending', error_code = $3, error_message = $4
     where run_id = $1 and tenant_id = $2 and status in ('pending', 'running')`,
    [runId, tenantId, error.code, error.message],
  )
}

type Settled =
  | { status: 'complete'; result: SeedResult }
  | { status: 'failed'; code: string; message: string; details?: ErrorDetails | undefined }

/** Records how a tenant came out, tells whoever watches, and closes the run with its last tenant. */
export async function settleSeedTenant(
  database: Database,
  runId: string,
  tenantId: string,
  outcome: Settled,
): Promise<void> {
  const isComplete = outcome.status === 'complete'
  const kept = isComplete ? outcome.result : (outcome.details ?? null)
  const { rowCount } = await database.query(
    `update tenantkeep.run_tenants
     set status = $3, settled_at = now(), result = $4, error_code = $5, error_message = $6
     where run_id = $1 and tenant_id = $2 and status in ('pending', 'running')`,
    [
      runId,
      tenantId,
      outcome.status,
      kept === null ? null : JSON.stringify(kept),
      isComplete ? null : outcome.code,
      isComplete ? null : outcome.message,
    ],
  )
  if (rowCount > 0) {
    await tellRun(database, runId, {
      type: 'tenant',
      organization_id: tenantId,
      status: outcome.status,
      ...(isComplete ? {} : { code: outcome.code }),
    })
  }
  await closeSeedRun(database, runId)
}

/** Closes a run whose tenants are all settled; does nothing to any other. */
export async function closeSeedRun(database: Database, runId: string): Promise<void> {
  const { rows } = await database.query<{ tenantId: string; status: string; hash: string | null }>(
    `select t.tenant_id as "tenantId", t.status, t.result ->> 'planHash' as hash
     from tenantkeep.run_tenants t join tenantkeep.runs r on r.id = t.run_id and r.status = 'running'
     where t.run_id = $1
       and not exists (
         select from tenantkeep.run_tenants o where o.run_id = $1 and o.status in ('pending', 'running'))
     order by t.tenant_id collate "C"`,
    [runId],
  )
  if (rows.length === 0) return
  const failed = rows.filter(({ status }) => status === 'failed').length
  const plans = rows.filter(({ status }) => status === 'complete')
  await database.query(
    `update tenantkeep.runs
     set status = $2, finished_at = now(), plan_hash = $3, error_code = $4, error_message = $5,
         result = jsonb_build_object('tenants', $6::int, 'failed_tenants', $7::int)
     where id = $1 and status = 'running' and kind = 'seed'`,
    [
      runId,
      failed > 0 ? 'failed' : 'complete',
      plans.length === 0 ? null : hashPlans(plans),
      failed > 0 ? 'tenants_failed' : null,
      failed > 0 ? `${failed} of ${rows.length} tenants failed.` : null,
      rows.length,
      failed,
    ],
  )
}

/** One tenant's plan has its own hash; that of many covers who they are and the plan of each. */
function hashPlans(plans: readonly { tenantId: string; hash: string | null }[]): string | null {
  const [only, ...others] = plans
  if (only !== undefined && others.length === 0) return only.hash
  const lines = plans.map(({ tenantId, hash }) => `${JSON.stringify(tenantId)} ${hash}\n`)
  return createHash('sha256').update(lines.join('')).digest('hex')
}

/**
 * Makes sure that a dry run of exactly this task for these tenants showed this plan within the last hour,
 * whoever made it. Throws `plan_stale`.
 */
export async function requireSeedPlans(
  database: Database,
  task: SeedTask,
  tenantIds: readonly string[],
): Promise<void> {
  const { rows } = await database.query<{ isFresh: boolean; isSame: boolean }>(
    `select r.finished_at > now() - make_interval(hours => ${PLAN_HOURS}) as "isFresh",
            (r.request -> 'task') - $2::text[] = $3::jsonb - $2::text[]
              and r.tenant_ids @> $4::text[] and $4::text[] @> r.tenant_ids as "isSame"
     from tenantkeep.runs r
     where r.kind = 'seed' and r.status <> 'running' and r.plan_hash = $1
       and r.request -> 'task' -> 'dry_run' = 'true'
     order by 2 desc, 1 desc limit 1`,
    [task.plan_hash, BESIDE_THE_PLAN, JSON.stringify(task), tenantIds],
  )
  const [plan] = rows
  if (plan?.isFresh === true && plan.isSame) return
  throw new BackupError(
    'plan_stale',
    `${plan === undefined ? 'No dry run has shown this plan.' : plan.isSame ? 'The plan is older than an hour.' : 'The plan was made for other tenants or with other options.'} Make a new dry run, look at it, and send its plan_hash.`,
  )
}

/** What the approved dry run showed for this tenant; null where nobody approved one. */
export async function findApprovedPlan(
  database: Database,
  task: SeedTask,
  tenantId: string,
): Promise<string | null> {
  if (task.dry_run || task.plan_hash === null) return null
  const { rows } = await database.query<{ hash: string | null }>(
    `select t.result ->> 'planHash' as hash
     from tenantkeep.runs r
     join tenantkeep.run_tenants t on t.run_id = r.id and t.tenant_id = $2 and t.status = 'complete'
     where r.kind = 'seed' and r.plan_hash = $1 and r.request -> 'task' -> 'dry_run' = 'true'
     order by r.finished_at desc limit 1`,
    [task.plan_hash, tenantId],
  )
  const hash = rows[0]?.hash
  if (typeof hash === 'string') return hash
  throw new BackupError(
    'plan_stale',
    'The dry run that was approved showed no plan for this tenant. Make a new one.',
  )
}

/** How often an event is tried where other processes tell the same run something at the same moment. */
const TELL_TRIES = 8

/** Keeps one event, where `get-run` finds it. What can't be written is lost, and the work goes on. */
async function tellRun(database: Database, runId: string, event: object): Promise<void> {
  for (let attempt = 1; attempt <= TELL_TRIES; attempt += 1) {
    try {
      await database.query(
        `with run as (
           update tenantkeep.runs set progress = $2 where id = $1 and status = 'running' returning id
         )
         insert into tenantkeep.run_events (run_id, seq, event)
         select run.id, coalesce((select max(e.seq) from tenantkeep.run_events e where e.run_id = $1), 0) + 1, $2
         from run`,
        [runId, JSON.stringify(event)],
      )
      return
    } catch (error) {
      if (!hasSqlstate(error, 'uniqueViolation')) return
    }
  }
}

/** The error that ended a tenant's seeding, to be thrown once more. */
export function seedErrorOf({ runId }: SeedRun, { error }: SeedOutcome): BackupError {
  const { code, message, details } = error ?? { code: 'internal', message: 'The seeding failed.' }
  return new BackupError(code in ERRORS ? code : 'internal', message, {
    details: { ...details, run_id: runId },
  })
}

/** When the plan of a dry run expires, as JSON has times; null for any other run. */
export function seedPlanExpiry({ task, finishedAt }: SeedRun): string | null {
  if (!task.dry_run || finishedAt === null) return null
  return new Date(Date.parse(finishedAt) + PLAN_HOURS * 3_600_000).toISOString()
}
