import type { Database } from '../database/database.ts'
import { BackupError, ERRORS, type ErrorCode, type ErrorDetails } from '../errors.ts'
import type { RestoreProgress, RestoreResult } from '../restore/restore-result.ts'
import type { Actor } from '../services.ts'
import { isoTime, runNotFound } from './report-run.ts'
import { BESIDE_THE_PLAN, type RunTask } from './restore-task.ts'

/** A restore or an undo, real or rehearsed, and how it stands. */
export interface RestoreRun {
  runId: string
  status: 'running' | 'complete' | 'failed'
  createdAt: string
  finishedAt: string | null
  actor: Actor
  tenantId: string
  tenantName: string | null
  task: RunTask
  /** The last thing that was heard of it; null before the first. */
  progress: RestoreProgress | null
  result: RestoreResult | null
  error: { code: ErrorCode; message: string; details?: ErrorDetails } | null
}

/** A plan that was approved holds for so long. */
const PLAN_HOURS = 1

const RUN_JSON = `jsonb_build_object(
  'runId', r.id, 'status', r.status, 'createdAt', ${isoTime('r.created_at')},
  'finishedAt', ${isoTime('r.finished_at')},
  'actor', jsonb_build_object('kind', r.actor_kind, 'id', r.actor_id, 'label', r.actor_label),
  'tenantId', r.tenant_ids[1], 'tenantName', r.request -> 'tenant_name', 'task', r.request -> 'task',
  'progress', nullif(r.progress, '{}'), 'result', case r.status when 'complete' then r.result end,
  'error', case when r.error_code is not null then jsonb_strip_nulls(jsonb_build_object(
    'code', r.error_code, 'message', r.error_message, 'details', r.result -> 'error_details')) end)`
const IS_RESTORE = `r.kind in ('restore', 'undo')`

/**
 * A run of a restore by its id; of the given tenants only, when some are given. Throws `run_not_found`,
 * also for a run of another kind.
 */
export async function readRestoreRun(
  database: Database,
  runId: string,
  tenantIds?: readonly string[],
): Promise<RestoreRun> {
  const run = await findRestoreRun(database, runId, tenantIds)
  if (run === undefined) throw runNotFound()
  return run
}

/** The same, undefined where there is none. */
export async function findRestoreRun(
  database: Database,
  runId: string,
  tenantIds?: readonly string[],
): Promise<RestoreRun | undefined> {
  const { rows } = await database.query<{ run: RestoreRun }>(
    `select ${RUN_JSON} as run from tenantkeep.runs r
     where r.id = $1 and ${IS_RESTORE} and ($2::text[] is null or r.tenant_ids && $2::text[])`,
    [runId, tenantIds ?? null],
  )
  return rows[0]?.run
}

/**
 * The run that the same caller started with this key; undefined where there is none. Throws
 * `invalid_request` where the key was used for something else.
 */
export async function findRunByKey(
  database: Database,
  actor: Actor,
  idempotencyKey: string,
  asked: { tenantId: string; task: RunTask },
): Promise<RestoreRun | undefined> {
  const { rows } = await database.query<{ run: RestoreRun; isSame: boolean }>(
    `select ${RUN_JSON} as run,
            ${IS_RESTORE} and r.tenant_ids = array[$4] and r.request -> 'task' = $5::jsonb as "isSame"
     from tenantkeep.runs r
     where r.actor_kind = $1 and coalesce(r.actor_id, '') = coalesce($2, '') and r.idempotency_key = $3`,
    [actor.kind, actor.id, idempotencyKey, asked.tenantId, JSON.stringify(asked.task)],
  )
  const [found] = rows
  if (found === undefined || found.isSame) return found?.run
  throw new BackupError(
    'invalid_request',
    'This idempotency_key was used for another request. Take a new one for every restore.',
  )
}

/** The id of the run of a restore or a seeding that this caller started with this key; undefined where there is none. */
export async function findRunIdByKey(
  database: Database,
  actor: Actor,
  idempotencyKey: string,
): Promise<string | undefined> {
  const { rows } = await database.query<{ id: string }>(
    `select r.id from tenantkeep.runs r
     where r.actor_kind = $1 and coalesce(r.actor_id, '') = coalesce($2, '') and r.idempotency_key = $3
       and (${IS_RESTORE} or r.kind = 'seed')`,
    [actor.kind, actor.id, idempotencyKey],
  )
  return rows[0]?.id
}

/** Records that a restore begins; null where the idempotency key was taken meanwhile. */
export async function startRestoreRun(
  database: Database,
  {
    actor,
    tenantId,
    tenantName,
    task,
    idempotencyKey,
  }: {
    actor: Actor
    tenantId: string
    tenantName: string | null
    task: RunTask
    idempotencyKey: string | undefined
  },
): Promise<RestoreRun | null> {
  const { rows } = await database.query<{ run: RestoreRun }>(
    `insert into tenantkeep.runs as r
       (kind, actor_kind, actor_id, actor_label, idempotency_key, tenant_ids, request)
     values ($1, $2, $3, $4, $5, array[$6], $7)
     on conflict do nothing
     returning ${RUN_JSON} as run`,
    [
      task.kind,
      actor.kind,
      actor.id,
      actor.label,
      idempotencyKey ?? null,
      tenantId,
      JSON.stringify({ tenant_name: tenantName, task }),
    ],
  )
  return rows[0]?.run ?? null
}

/** Records the result of a run that is still open; a run that somebody else settled stays as it is. */
export async function completeRestoreRun(
  database: Database,
  runId: string,
  result: RestoreResult,
): Promise<void> {
  await database.query(
    `update tenantkeep.runs set status = 'complete', finished_at = now(), result = $2, plan_hash = $3
     where id = $1 and status = 'running'`,
    [runId, JSON.stringify(result), result.planHash],
  )
}

/** Records why an open run came to nothing. */
export async function failRestoreRun(
  database: Database,
  runId: string,
  error: { code: string; message: string; details?: ErrorDetails | undefined },
): Promise<void> {
  await database.query(
    `update tenantkeep.runs
     set status = 'failed', finished_at = now(), error_code = $2, error_message = $3, result = $4
     where id = $1 and status = 'running'`,
    [
      runId,
      error.code,
      error.message,
      error.details === undefined ? null : JSON.stringify({ error_details: error.details }),
    ],
  )
}

/** The error that ended a failed run, to be thrown once more. */
export function errorOf({ runId, error }: RestoreRun): BackupError {
  const { code, message, details } = error ?? { code: 'internal', message: 'The run failed.' }
  return new BackupError(code in ERRORS ? code : 'internal', message, {
    details: { ...details, run_id: runId },
  })
}

/** When the plan of a dry run expires, as JSON has times; null for any other run. */
export function planExpiry({ task, finishedAt }: RestoreRun): string | null {
  if (!task.dry_run || finishedAt === null) return null
  return new Date(Date.parse(finishedAt) + PLAN_HOURS * 3_600_000).toISOString()
}

/**
 * Makes sure that a dry run of exactly this task showed this plan within the last hour, whoever made it.
 * Throws `plan_stale`.
 */
export async function requireFreshPlan(
  database: Database,
  tenantId: string,
  task: RunTask,
  planHash: string,
): Promise<void> {
  const { rows } = await database.query<{ isFresh: boolean; isSameTask: boolean }>(
    `select r.finished_at > now() - make_interval(hours => ${PLAN_HOURS}) as "isFresh",
            (r.request -> 'task') - $4::text[] = $3::jsonb - $4::text[] as "isSameTask"
     from tenantkeep.runs r
     where r.kind = $1 and r.tenant_ids = array[$2] and r.status = 'complete'
       and r.request -> 'task' -> 'dry_run' = 'true' and r.plan_hash = $5
     order by 2 desc, 1 desc
     limit 1`,
    [task.kind, tenantId, JSON.stringify(task), BESIDE_THE_PLAN, planHash],
  )
  const [plan] = rows
  if (plan?.isFresh === true && plan.isSameTask) return
  const reason =
    plan === undefined
      ? 'No dry run of this organization has shown this plan.'
      : plan.isSameTask
        ? 'The plan is older than an hour.'
        : 'The plan was made for another backup or with other options.'
  throw new BackupError(
    'plan_stale',
    `${reason} Make a new dry run, look at it, and send its plan_hash.`,
  )
}
