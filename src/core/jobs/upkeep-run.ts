import * as z from 'zod'
import type { Database, Queryable } from '../database/database.ts'
import type { Actor } from '../services.ts'
import type { JobQueue } from './queue.ts'
import { isoTime } from './report-run.ts'
import { UPKEEP_TASKS, type UpkeepReport, type UpkeepTask } from './upkeep.ts'

/** A task of upkeep that was asked for, and how it stands. */
export interface UpkeepRun {
  runId: string
  task: UpkeepTask
  status: 'running' | 'complete' | 'failed'
  createdAt: string
  finishedAt: string | null
  actor: Actor
  /** One tenant only; null for all of them. */
  tenantId: string | null
  /** What its task last told while it works. */
  progress: object
  /** The sum over the turns so far; null before the first has ended. */
  report: UpkeepReport | null
  error: { code: string; message: string } | null
}

const Report = z.object({
  done: z.number(),
  failed: z.number(),
  left: z.number(),
  details: z.record(z.string(), z.unknown()),
})
const Run = z.object({
  runId: z.string(),
  task: z.enum(UPKEEP_TASKS),
  status: z.enum(['running', 'complete', 'failed']),
  createdAt: z.string(),
  finishedAt: z.string().nullable(),
  actor: z.object({
    kind: z.enum(['cron', 'operator', 'user', 'system']),
    id: z.string().nullable(),
    label: z.string(),
  }),
  tenantId: z.string().nullable(),
  progress: z.looseObject({}),
  report: Report.nullable(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
})

const RUN_COLUMNS = `r.id as "runId", r.kind as task, r.status, ${isoTime('r.created_at')} as "createdAt",
  ${isoTime('r.finished_at')} as "finishedAt",
  jsonb_build_object('kind', r.actor_kind, 'id', r.actor_id, 'label', r.actor_label) as actor,
  r.tenant_ids[1] as "tenantId", r.progress, r.result as report,
  case when r.error_code is not null
    then jsonb_build_object('code', r.error_code, 'message', r.error_message) end as error`
const IS_UPKEEP = `r.kind in ('${UPKEEP_TASKS.join("', '")}')`

/** A run of upkeep by its id; undefined where there is none. */
export async function findUpkeepRun(
  database: Queryable,
  runId: string,
): Promise<UpkeepRun | undefined> {
  const { rows } = await database.query(
    `select ${RUN_COLUMNS} from tenantkeep.runs r where r.id = $1 and ${IS_UPKEEP}`,
    [runId],
  )
  return rows[0] === undefined ? undefined : Run.parse(rows[0])
}

/** The open run of this task, begun by whomever; where there is none, a new one. */
export async function openUpkeepRun(
  database: Database,
  { task, actor, tenantId }: { task: UpkeepTask; actor: Actor; tenantId: string | undefined },
): Promise<UpkeepRun> {
  const tenantIds = tenantId === undefined ? [] : [tenantId]
  return database.withConnection(async (connection) => {
    await connection.query('begin')
    // Two that open the same at once are one run.
    await connection.query(
      `select pg_advisory_xact_lock(hashtextextended('tenantkeep upkeep ' || $1, 0))`,
      [task],
    )
    const { rows } = await connection.query(
      `with open as (
         select ${RUN_COLUMNS} from tenantkeep.runs r
         where r.kind = $1 and r.status = 'running' and r.tenant_ids = $5
         order by r.created_at limit 1
       ),
       opened as (
         insert into tenantkeep.runs as r (kind, actor_kind, actor_id, actor_label, tenant_ids)
         select $1, $2, $3, $4, $5 where not exists (select from open)
         returning ${RUN_COLUMNS}
       )
       select * from open union all select * from opened`,
      [task, actor.kind, actor.id, actor.label, tenantIds],
    )
    await connection.query('commit')
    return Run.parse(rows[0])
  })
}

/** Records how far the turns of a run have come; it goes on. */
export async function recordTurn(
  database: Queryable,
  runId: string,
  report: UpkeepReport,
): Promise<void> {
  await database.query(
    `update tenantkeep.runs set result = $2 where id = $1 and status = 'running'`,
    [runId, JSON.stringify(report)],
  )
}

/** Closes an open run with what came of it; failed where any of its items did. */
export async function settleUpkeepRun(
  database: Queryable,
  runId: string,
  report: UpkeepReport,
): Promise<void> {
  await database.query(
    `update tenantkeep.runs
     set finished_at = now(), result = $2,
         status = case when $3::text is null then 'complete' else 'failed' end,
         error_code = case when $3::text is not null then 'items_failed' end, error_message = $3
     where id = $1 and status = 'running'`,
    [
      runId,
      JSON.stringify(report),
      report.failed === 0 ? null : `Failed: ${report.failed}. The result says which.`,
    ],
  )
}

/** Records what ended an open run; what its turns have done stays in its result. */
export async function failUpkeepRun(
  database: Queryable,
  runId: string,
  error: { code: string; message: string },
): Promise<void> {
  await database.query(
    `update tenantkeep.runs set status = 'failed', finished_at = now(), error_code = $2, error_message = $3
     where id = $1 and status = 'running'`,
    [runId, error.code, error.message],
  )
}

/** Whether anything of upkeep waits or is under way. */
export async function hasOpenUpkeep(database: Queryable): Promise<boolean> {
  const { rows } = await database.query<{ isOpen: boolean }>(
    `select exists (
       select from tenantkeep.runs r where r.status = 'running' and ${IS_UPKEEP}
     ) as "isOpen"`,
  )
  return rows[0]?.isOpen === true
}

/** Queues every open run of upkeep that has no job: its process may have died between two steps. */
export async function queueOpenUpkeep(database: Queryable, queue: JobQueue): Promise<void> {
  const { rows } = await database.query<{
    runId: string
    task: UpkeepTask
    tenantId: string | null
  }>(
    `select r.id as "runId", r.kind as task, r.tenant_ids[1] as "tenantId" from tenantkeep.runs r
     where r.status = 'running' and ${IS_UPKEEP} and not exists (
       select from tenantkeep_jobs.job j
       where j.name = 'tenant-backup' and j.state <= 'active'
         and j.singleton_key = concat_ws(':', 'upkeep', r.kind, r.tenant_ids[1])
     )
     order by r.created_at`,
  )
  for (const run of rows) await queueUpkeep(queue, run)
}

/** Queues a turn of a run; nothing happens where its task waits or is under way already. */
export async function queueUpkeep(
  queue: JobQueue,
  { runId, task, tenantId }: Pick<UpkeepRun, 'runId' | 'task' | 'tenantId'>,
): Promise<void> {
  const job = tenantId === null ? { runId, task } : { runId, task, tenantId }
  await queue.send({ job, expectedSeconds: 0 })
}

/** A run of upkeep as answers have it. */
export function describeUpkeepRun(run: UpkeepRun) {
  const { report, error, tenantId } = run
  return {
    run_id: run.runId,
    kind: run.task,
    status: run.status,
    created_at: run.createdAt,
    finished_at: run.finishedAt,
    actor: { kind: run.actor.kind, label: run.actor.label },
    ...(tenantId === null ? {} : { organization_id: tenantId }),
    progress: run.progress,
    result: report,
    ...(error === null ? {} : { error }),
  }
}
