import { type Backup, findBackup } from '../backup/backup-record.ts'
import type { Database, Queryable } from '../database/database.ts'
import { followRestoreRun } from '../jobs/settle-restore.ts'
import { listRestores, type Restore } from '../restore/restore-record.ts'
import { explainUndo } from '../restore/undo-restore.ts'
import { decideState, type RunningWork, type TenantState } from './decide-state.ts'
import { readTenantFacts, type TenantFacts } from './read-tenant-facts.ts'
import { readTenantUpkeep, type TenantUpkeep } from './read-tenant-upkeep.ts'

export interface TenantReport {
  state: TenantState
  newestBackup: Backup | null
  newestAttempt: Backup | null
  /** In the past where it is late; null where no daily run ever was, and for a tenant that is passed over. */
  nextExpectedAt: string | null
  running: RunningWork | null
  lastRestore: LastRestore | null
  upkeep: TenantUpkeep
  /** What a backup holds, owners first. */
  tables: { name: string; class: string; isHistory: boolean }[]
  /** The last 30 days in UTC, oldest first. */
  days: BackupDay[]
}

export interface LastRestore {
  restore: Restore
  /** Null where it can be undone. */
  whyNotUndo: string | null
  /** Until when it can be undone at least; null where it can't. */
  undoUntil: string | null
}

interface BackupDay {
  /** `2026-11-21`, UTC. */
  day: string
  complete: number
  failed: number
  /** When a daily run was expected that did not leave a complete backup on this day; else null. */
  missedAt: string | null
}

/** What a daily run may be late, or take, before its backup counts as missed. */
const SLACK_HOURS = 2

/** Reads how a tenant stands, with what a page says beside it. The tenant is known to exist. */
export async function readTenantState(
  database: Database,
  tenantId: string,
): Promise<TenantReport | null> {
  const facts = await readSettledFacts(database, tenantId)
  if (facts === null) return null
  const [rhythm, upkeep, tables] = await Promise.all([
    readRhythm(database, tenantId),
    readTenantUpkeep(database, tenantId),
    readTables(database),
  ])
  return {
    state: decideState(facts),
    newestBackup: facts.newestBackup,
    newestAttempt: facts.newestAttempt,
    nextExpectedAt: facts.skip === null ? rhythm.nextExpectedAt : null,
    running: facts.running,
    lastRestore: await readLastRestore(database, tenantId, upkeep),
    upkeep,
    tables,
    days: rhythm.days,
  }
}

/** A restore whose process died is no work under way: its run is settled first. */
async function readSettledFacts(database: Database, tenantId: string): Promise<TenantFacts | null> {
  const [facts] = await readTenantFacts(database, [tenantId])
  const runId = facts?.running?.kind === 'backup' ? null : (facts?.running?.runId ?? null)
  if (runId === null) return facts ?? null
  const run = await followRestoreRun(database, runId)
  if (run?.status === 'running') return facts ?? null
  return (await readTenantFacts(database, [tenantId]))[0] ?? null
}

/**
 * Nobody tells us when the cron service calls; the past does: the next daily run is expected a day after
 * the first one of the last day that had one. Later runs of a day only pick up what the first one left.
 */
async function readRhythm(
  database: Queryable,
  tenantId: string,
): Promise<{ nextExpectedAt: string | null; days: BackupDay[] }> {
  const { rows } = await database.query<{
    rhythm: { nextExpectedAt: string | null; days: BackupDay[] }
  }>(
    `with run as (
       select (r.created_at at time zone 'utc')::date as day, min(r.created_at) as started_at
       from tenantkeep.runs r where r.kind = 'daily_tenant' group by 1
     ), backup as (
       select b.backup_date as day, count(*) filter (where b.status in ('complete', 'pruned')) as complete,
         count(*) filter (where b.status = 'failed') as failed
       from public.tenant_backups b
       where b.organization_id = $1 and b.backup_type <> 'pre_restore'
         and b.created_at > now() - interval '32 days'
       group by 1
     ), calendar as (
       select (now() at time zone 'utc')::date - i as day from generate_series(0, 29) as i
     ), outlook as (
       select c.day, coalesce(b.complete, 0) as complete, coalesce(b.failed, 0) as failed,
         -- As the last run before that day had it; a tenant is expected from its first backup on.
         (select r.started_at + make_interval(days => c.day - r.day) from run r
          where r.day < c.day order by r.day desc limit 1) as expected_at,
         exists (
           select from public.tenant_backups f
           where f.organization_id = $1 and f.backup_date < c.day
         ) as is_known
       from calendar c left join backup b on b.day = c.day
     )
     select jsonb_build_object(
       'nextExpectedAt', (select max(r.started_at) + interval '1 day' from run r),
       'days', (select jsonb_agg(jsonb_build_object(
           'day', o.day, 'complete', o.complete, 'failed', o.failed,
           'missedAt', case when o.is_known and o.complete = 0
             and o.expected_at + make_interval(hours => ${SLACK_HOURS}) < now() then o.expected_at end
         ) order by o.day) from outlook o)) as rhythm`,
    [tenantId],
  )
  return rows[0]?.rhythm ?? { nextExpectedAt: null, days: [] }
}

async function readLastRestore(
  catalog: Queryable,
  tenantId: string,
  { safetyDays }: TenantUpkeep,
): Promise<LastRestore | null> {
  const { restores } = await listRestores(catalog, { tenantId, statuses: ['complete'], limit: 1 })
  const [restore] = restores
  if (restore === undefined) return null
  const whyNotUndo = await explainUndo(catalog, restore)
  if (whyNotUndo !== null) return { restore, whyNotUndo, undoUntil: null }
  const safety = await findBackup(catalog, restore.safetyBackupId ?? '')
  // Its age is counted from its row, as pruning does.
  const keptFrom = Date.parse(safety?.createdAt ?? restore.createdAt)
  const undoUntil = new Date(keptFrom + safetyDays * 86_400_000).toISOString()
  return { restore, whyNotUndo, undoUntil }
}

async function readTables(catalog: Queryable): Promise<TenantReport['tables']> {
  const { rows } = await catalog.query<TenantReport['tables'][number]>(
    `select case when schema_name = 'public' then '' else schema_name || '.' end || table_name as name,
            class, is_history as "isHistory"
     from tenantkeep.tenant_tables
     where class in ('root', 'direct', 'child', 'custom')
     order by position, schema_name, table_name`,
  )
  return rows
}
