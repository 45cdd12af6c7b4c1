/**
 * Runs of what is done to a tenant as a whole, at once and by one process: its making and its leaving. They
 * are there for whoever calls again with the same key, and for whoever lost the answer.
 */
import { createHash } from 'node:crypto'
import type { Database } from '../database/database.ts'
import { BackupError, ERRORS, type ErrorCode, type ErrorDetails } from '../errors.ts'
import type { Actor } from '../services.ts'
import { isTenantFree } from '../tenants/lock-tenant.ts'

type ActionKind = 'create_tenant' | 'offboard'

export interface ActionRun<Result> {
  runId: string
  kind: ActionKind
  status: 'running' | 'complete' | 'failed'
  tenantId: string
  result: Result | null
  error: { code: ErrorCode; message: string; details?: ErrorDetails } | null
}

export interface ActionRequest {
  kind: ActionKind
  actor: Actor
  tenantId: string
  tenantName: string | null
  /** What was asked for. Only its digest is kept: it may hold values of the tenant's row. */
  asked: object
  idempotencyKey?: string | undefined
}

/** A process that has just begun has not taken the tenant's lock yet. */
const BEGINNING_SECONDS = 90

const RUN_JSON = `jsonb_build_object(
  'runId', r.id, 'kind', r.kind, 'status', r.status, 'tenantId', r.tenant_ids[1],
  'result', case r.status when 'complete' then r.result end,
  'error', case when r.error_code is not null then jsonb_strip_nulls(jsonb_build_object(
    'code', r.error_code, 'message', r.error_message, 'details', r.result -> 'error_details')) end)`

/** Records that it begins. Throws `internal` where the key was taken meanwhile. */
export async function startActionRun(database: Database, given: ActionRequest): Promise<string> {
  const { kind, actor, tenantId, tenantName, asked, idempotencyKey } = given
  const { rows } = await database.query<{ id: string }>(
    `insert into tenantkeep.runs (kind, actor_kind, actor_id, actor_label, idempotency_key, tenant_ids, request)
     values ($1, $2, $3, $4, $5, array[$6], $7)
     on conflict do nothing returning id`,
    [
      kind,
      actor.kind,
      actor.id,
      actor.label,
      idempotencyKey ?? null,
      tenantId,
      JSON.stringify({ tenant_name: tenantName, asked_sha256: digestOf(asked) }),
    ],
  )
  const id = rows[0]?.id
  if (id !== undefined) return id
  throw new BackupError(
    'tenant_busy',
    'The same request is being worked on. Try again in a moment.',
  )
}

/**
 * The run that the same caller began with this key; undefined where there is none. Throws its error again
 * where it failed, `tenant_busy` while it is under way, `invalid_request` where the key was used for
 * something else.
 */
export async function findActionRun<Result>(
  database: Database,
  { kind, actor, asked, idempotencyKey }: Omit<ActionRequest, 'tenantId' | 'tenantName'>,
  resultOf: (journalId: string, tenantId: string) => Promise<Result>,
): Promise<ActionRun<Result> | undefined> {
  if (idempotencyKey === undefined) return undefined
  const find = async () => {
    const { rows } = await database.query<{
      run: ActionRun<Result>
      isSame: boolean
      isOld: boolean
    }>(
      `select ${RUN_JSON} as run, r.kind = $4 and r.request ->> 'asked_sha256' = $5 as "isSame",
              r.created_at < now() - interval '${BEGINNING_SECONDS} seconds' as "isOld"
       from tenantkeep.runs r
       where r.actor_kind = $1 and coalesce(r.actor_id, '') = coalesce($2, '') and r.idempotency_key = $3`,
      [actor.kind, actor.id, idempotencyKey, kind, digestOf(asked)],
    )
    return rows[0]
  }
  const found = await find()
  if (found === undefined) return undefined
  if (!found.isSame) {
    throw new BackupError(
      'invalid_request',
      'This idempotency_key was used for another request. Take a new one for every request.',
    )
  }
  const { run } = found
  if (run.status === 'running') {
    const journalId = await findDone(database, run)
    if (journalId !== undefined) {
      const result = await resultOf(journalId, run.tenantId)
      await completeActionRun(database, run.runId, result)
      return { ...run, status: 'complete', result }
    }
    if (!found.isOld || !(await isTenantFree(database, run.tenantId))) {
      throw new BackupError(
        'tenant_busy',
        'The same request is being worked on. Try again in a moment.',
      )
    }
    const died = new BackupError(
      'backup_cancelled',
      'The process ended before it was done. Nothing was written. Try again with a new idempotency_key.',
    )
    await failActionRun(database, run.runId, died)
    throw died
  }
  if (run.error !== null) {
    const { code, message, details } = run.error
    throw new BackupError(code in ERRORS ? code : 'internal', message, {
      details: { ...details, run_id: run.runId },
    })
  }
  return run
}

/** The journal row that says that it was done: it is of the same transaction. */
async function findDone(
  database: Database,
  { runId, kind }: ActionRun<unknown>,
): Promise<string | undefined> {
  const { rows } = await database.query<{ id: string }>(
    `select id from public.backup_logs where run_id = $1 and backup_type = $2 and status = 'complete' limit 1`,
    [runId, kind],
  )
  return rows[0]?.id
}

/** Records the result of a run that is still open. */
export async function completeActionRun(
  database: Database,
  runId: string,
  result: unknown,
): Promise<void> {
  await database.query(
    `update tenantkeep.runs set status = 'complete', finished_at = now(), result = $2
     where id = $1 and status = 'running'`,
    [runId, JSON.stringify(result)],
  )
}

/** Records why an open run came to nothing. */
export async function failActionRun(
  database: Database,
  runId: string,
  { code, message, details }: Pick<BackupError, 'code' | 'message' | 'details'>,
): Promise<void> {
  await database.query(
    `update tenantkeep.runs
     set status = 'failed', finished_at = now(), error_code = $2, error_message = $3, result = $4
     where id = $1 and status = 'running'`,
    [
      runId,
      code,
      message,
      details === undefined ? null : JSON.stringify({ error_details: details }),
    ],
  )
}

function digestOf(asked: object): string {
  return createHash('sha256').update(JSON.stringify(asked)).digest('hex')
}
