import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { isoTime } from '../jobs/report-run.ts'
import type { RestoreProgress } from '../restore/restore-result.ts'
import type { Actor } from '../services.ts'
import type { Comparison, DifferenceKind, RowDifference } from './comparison.ts'

/** What was asked, as the run keeps it. */
export interface CompareRequest {
  backup_id: string
  /** The other backup; null for the live rows. */
  with_backup_id: string | null
  tables: string[] | null
}

const KEPT_FOR = `interval '1 day'`
/** Longer than any comparison takes; after that its process is dead. */
const DEAD_AFTER = `interval '1 day'`
/** A page of rows stays well below what a function may answer. */
const PAGE_BYTES = 4_000_000

/**
 * Records that a comparison begins, and gives its run's id; from then on prune leaves its backups alone. Waits
 * for a prune that is about to take one. Throws `backup_incomplete` where one is not there any more.
 */
export async function startCompareRun(
  catalog: Queryable,
  given: { actor: Actor; tenantId: string; tenantName: string | null; request: CompareRequest },
): Promise<string> {
  const { actor, tenantId, tenantName, request } = given
  const { rows } = await catalog.query<{ id: string }>(
    `with held as (
       select id from public.tenant_backups
       where id = any (array[$6, $7]::uuid[]) and status = 'complete' for share
     )
     insert into tenantkeep.runs (kind, actor_kind, actor_id, actor_label, tenant_ids, request)
     select 'compare', $1, $2, $3, array[$4], $5
     where (select count(*) from held) = (select count(distinct id) from unnest(array[$6, $7]::uuid[]) as asked (id))
     returning id`,
    [
      actor.kind,
      actor.id,
      actor.label,
      tenantId,
      JSON.stringify({ tenant_name: tenantName, ...request }),
      request.backup_id,
      request.with_backup_id,
    ],
  )
  const id = rows[0]?.id
  if (id !== undefined) return id
  throw new BackupError('backup_incomplete', 'The backup was just pruned. Choose another one.')
}

export async function completeCompareRun(
  catalog: Queryable,
  runId: string,
  comparison: Comparison,
): Promise<void> {
  await catalog.query(
    `update tenantkeep.runs set status = 'complete', finished_at = now(), result = $2
     where id = $1 and status = 'running'`,
    [runId, JSON.stringify(comparison)],
  )
}

/** Records why a comparison came to nothing; what it had kept goes. */
export async function failCompareRun(
  catalog: Queryable,
  runId: string,
  error: { code: string; message: string },
): Promise<void> {
  await catalog.query(
    `with failed as (
       update tenantkeep.runs
       set status = 'failed', finished_at = now(), error_code = $2, error_message = $3
       where id = $1 and status = 'running' returning id
     )
     delete from tenantkeep.comparison_rows r using failed where r.run_id = failed.id`,
    [runId, error.code, error.message],
  )
}

/** Rows of comparisons are a tenant's data, kept for a day. Runs of processes that died are closed too. */
export async function deleteExpiredRows(catalog: Queryable): Promise<void> {
  await catalog.query(
    `delete from tenantkeep.comparison_rows where created_at < now() - ${KEPT_FOR}`,
  )
  await catalog.query(
    `update tenantkeep.runs
     set status = 'failed', finished_at = now(), error_code = 'backup_cancelled',
         error_message = 'The process that compared ended before it was done.'
     where kind = 'compare' and status = 'running' and created_at < now() - ${DEAD_AFTER}`,
  )
}

/** Keeps rows that differ, each given as one JSON text. */
export async function keepDifferences(
  catalog: Queryable,
  runId: string,
  texts: readonly string[],
): Promise<void> {
  await catalog.query(
    `insert into tenantkeep.comparison_rows (run_id, number, table_name, kind, key, label, times, columns)
     select $1, d.number, d.table_name, d.kind, d.key, d.label, d.times, d.columns
     from unnest($2::text[]) as t (text), jsonb_to_record(t.text::jsonb)
       as d (number int, table_name text, kind text, key text[], label text, times bigint, columns jsonb)`,
    [runId, texts],
  )
}

export interface CompareRun {
  runId: string
  status: 'running' | 'complete' | 'failed'
  createdAt: string
  tenantId: string
  tenantName: string | null
  /** Labels of the tables that were asked for; null for all. */
  tables: string[] | null
  /** The latest step, while it runs; null before the first. */
  progress: RestoreProgress | null
  /** When it last told a step, while it runs. */
  heardAt: string | null
  /** Null until it is complete. */
  comparison: Comparison | null
  error: { code: string; message: string } | null
}

/**
 * A comparison by its run; of the given tenants only, when some are given. Throws `run_not_found`, also
 * when it is older than a day: its rows are gone then.
 */
export async function readCompareRun(
  catalog: Queryable,
  runId: string,
  tenantIds?: readonly string[],
): Promise<CompareRun> {
  const { rows } = await catalog.query<{ run: CompareRun }>(
    `select jsonb_build_object('runId', r.id, 'status', r.status, 'createdAt', ${isoTime('r.created_at')},
       'tenantId', r.tenant_ids[1], 'tenantName', r.request -> 'tenant_name',
       'tables', nullif(r.request -> 'tables', 'null'),
       'progress', case when r.status = 'running' then nullif(r.progress, '{}') end,
       'heardAt', case when r.status = 'running' then ${isoTime(`coalesce(
         (select e.at from tenantkeep.run_events e where e.run_id = r.id order by e.seq desc limit 1),
         r.created_at)`)} end,
       'comparison', r.result,
       'error', case when r.error_code is not null
         then jsonb_build_object('code', r.error_code, 'message', r.error_message) end) as run
     from tenantkeep.runs r
     where r.id = $1 and r.kind = 'compare' and ($2::text[] is null or r.tenant_ids && $2::text[])
       and coalesce(r.finished_at, now()) > now() - ${KEPT_FOR}`,
    [runId, tenantIds ?? null],
  )
  const run = rows[0]?.run
  if (run !== undefined) return run
  throw new BackupError(
    'run_not_found',
    'There is no such comparison among yours, or it is older than a day. Compare again.',
  )
}

export interface DifferencePage {
  rows: RowDifference[]
  /** What the next page follows; null on the last one. */
  nextCursor: number | null
}

/** The rows of a comparison, a page at a time, in the order of tables and keys. */
export async function listDifferences(
  catalog: Queryable,
  given: {
    runId: string
    table?: string | undefined
    kind?: DifferenceKind | undefined
    /** Part of a value, a key or a name, as they are kept: what is masked or was cut off is not found. */
    search?: string | undefined
    cursor?: number | undefined
    /** 50 unless told, at most 500; fewer where rows are large. */
    limit?: number | undefined
  },
): Promise<DifferencePage> {
  const size = Math.min(Math.max(1, Math.trunc(given.limit ?? 50)), 500)
  const { rows } = await catalog.query<{ row: RowDifference; hasMore: boolean }>(
    `with page as (
       select r.*, row_number() over (order by r.number) as place,
         sum(octet_length(r.columns::text)) over (order by r.number) as bytes
       from (
         select * from tenantkeep.comparison_rows
         where run_id = $1 and created_at > now() - ${KEPT_FOR}
           and ($2::text is null or table_name = $2) and ($3::text is null or kind = $3)
           and number > $4 and ($5::text is null or ${contains('label')}
             or exists (select from unnest(key) as k (value) where ${contains('k.value')})
             or exists (
               select from jsonb_to_recordset(columns) as c (before text, after text)
               where ${contains('c.before')} or ${contains('c.after')}
             ))
         order by number limit ${size + 1}
       ) r
     )
     select jsonb_build_object('number', number, 'table', table_name, 'kind', kind, 'key', to_jsonb(key),
         'label', label, 'times', times, 'columns', columns) as row,
       (select count(*) from page) > count(*) over () as "hasMore"
     from page where place = 1 or (place <= ${size} and bytes <= ${PAGE_BYTES})
     order by number`,
    [given.runId, given.table ?? null, given.kind ?? null, given.cursor ?? 0, given.search ?? null],
  )
  const page = rows.map(({ row }) => row)
  return {
    rows: page,
    nextCursor: rows[0]?.hasMore === true ? (page.at(-1)?.number ?? null) : null,
  }
}

/** Upper and lower case are alike; no character stands for others. */
function contains(text: string): string {
  return `strpos(lower(${text}), lower($5)) > 0`
}
