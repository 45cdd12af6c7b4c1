import type { Database } from '../database/database.ts'
import { findRestore, type TableCounts } from '../restore/restore-record.ts'
import type { RestoreResult, TableResult } from '../restore/restore-result.ts'
import { isTenantFree } from '../tenants/lock-tenant.ts'
import type { RestoreJob } from './queue.ts'
import {
  completeRestoreRun,
  failRestoreRun,
  findRestoreRun,
  type RestoreRun,
} from './restore-run.ts'

/** A process that has just begun has not taken the tenant's lock yet. */
const BEGINNING_SECONDS = 90

/**
 * Settles a run as complete where the journal says that its restore is: that row is written in the
 * transaction of the restore itself, so it is right whatever became of the process. False: nothing of the
 * run was written.
 */
export async function settleFromJournal(database: Database, run: RestoreRun): Promise<boolean> {
  const result = await readJournal(database, run)
  if (result === null) return false
  await completeRestoreRun(database, run.runId, result)
  return true
}

/** What the journal knows of a restore that was done; null where it was not. */
async function readJournal(database: Database, run: RestoreRun): Promise<RestoreResult | null> {
  const { rows } = await database.query<{ id: string }>(
    `select id from public.backup_logs
     where run_id = $1 and backup_type in ('restore', 'undo') and status = 'complete'
     order by created_at desc limit 1`,
    [run.runId],
  )
  const restore = rows[0] && (await findRestore(database, rows[0].id))
  if (restore === undefined) return null
  return {
    isDryRun: false,
    restoreId: restore.id,
    backupId: restore.backupId,
    safetyBackupId: restore.safetyBackupId,
    planHash: restore.planHash ?? '',
    tables: (restore.details.tables ?? []).map(toTableResult),
    blockers: [],
    warnings: [
      {
        code: 'answer_lost',
        message:
          'The restore is done, but its process ended before it could say so. The counts are those of the journal; warnings of single tables are lost.',
      },
    ],
    accessChanges: [],
    schemaChanges: [],
    looks: 1,
  }
}

function toTableResult(counts: TableCounts): TableResult {
  const { inserted, updated, deleted, unchanged, kept, skipped } = counts
  return {
    ...counts,
    rowsInBackup: inserted + updated + unchanged + skipped,
    rowsLive: updated + deleted + unchanged + kept,
    warnings: [],
    samples: [],
  }
}

/** Settles the run of a job whose every attempt ended with its process. */
export async function settleDeadRestore(database: Database, { runId }: RestoreJob): Promise<void> {
  const run = await findRestoreRun(database, runId)
  if (run?.status !== 'running' || (await settleFromJournal(database, run))) return
  await failRestoreRun(database, runId, {
    code: 'backup_timed_out',
    message:
      'Every attempt ended with its process, most likely for lack of time or memory, and nothing was changed. Use the command line, which has no such limits.',
  })
}

/**
 * Settles open runs whose process died: no job will do them, and the tenant's lock is free. Whether they
 * restored anything says the journal.
 */
export async function settleDeadRestores(database: Database, runId?: string): Promise<void> {
  const { rows } = await database.query<{ runId: string; tenantId: string }>(
    `select r.id as "runId", r.tenant_ids[1] as "tenantId" from tenantkeep.runs r
     where r.kind in ('restore', 'undo') and r.status = 'running' and ($1::uuid is null or r.id = $1)
       and r.created_at < now() - interval '${BEGINNING_SECONDS} seconds'
       and not exists (
         select from tenantkeep_jobs.job j
         where j.name = 'tenant-backup' and j.state <= 'active' and j.data ->> 'runId' = r.id::text
       )`,
    [runId ?? null],
  )
  for (const dead of rows) {
    if (!(await isTenantFree(database, dead.tenantId))) continue
    const run = await findRestoreRun(database, dead.runId)
    if (run?.status !== 'running' || (await settleFromJournal(database, run))) continue
    await failRestoreRun(database, dead.runId, {
      code: 'backup_cancelled',
      message:
        'The process that did this ended before it was done, and nothing was changed. Try again.',
    })
  }
}

/** Takes the rows that rehearsals showed out of their results, once the plan has long expired. */
export async function forgetSamples(database: Database): Promise<void> {
  await database.query(
    `update tenantkeep.runs set result = jsonb_set(result, '{tables}', (
       select coalesce(jsonb_agg(t.value || '{"samples": []}' order by t.ordinality), '[]')
       from jsonb_array_elements(result -> 'tables') with ordinality as t (value, ordinality)
     ))
     where kind in ('restore', 'undo') and finished_at < now() - interval '1 day'
       and result @? '$.tables[*].samples[0]'`,
  )
}

/** The run of a restore as it stands now, settled if its process died; undefined where there is none. */
export async function followRestoreRun(
  database: Database,
  runId: string,
  tenantIds?: readonly string[],
): Promise<RestoreRun | undefined> {
  const run = await findRestoreRun(database, runId, tenantIds)
  if (run?.status !== 'running') return run
  await settleDeadRestores(database, runId)
  return findRestoreRun(database, runId, tenantIds)
}
