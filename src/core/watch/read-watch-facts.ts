import type { BackupWarning } from '../backup/backup-record.ts'
import type { RowFall } from '../backup/describe-falls.ts'
import { type OpenSeedConflict, readOpenSeedConflicts } from '../defaults/read-open-conflicts.ts'
import type { Services } from '../services.ts'
import { placesOf } from '../store/read-with-copy.ts'

/** How one tenant stands; safety backups never count. Times are as Postgres writes them in JSON. */
export interface WatchedTenant {
  id: string
  name: string | null
  /** `tenant_paused`, `tenant_inactive`; null for an active tenant. */
  skipCode: string | null
  skipReason: string | null
  /** The newest complete backup that is not known to be damaged. */
  newest: NewestBackup | null
  /** The newest that was tried, whatever came of it. */
  attempt: {
    status: string
    createdAt: string
    errorCode: string | null
    errorMessage: string | null
  } | null
  /** Complete backups that are not whole. */
  damaged: { count: number; since: string; newestId: string; isNewest: boolean } | null
  /** What the last daily run made of it. */
  lastOutcome: string | null
  /** The last drill that came to an end. */
  drill: { status: string; finishedAt: string; durationMs: number; findings: string[] } | null
}

interface NewestBackup {
  id: string
  takenAt: string
  completedAt: string
  verifiedAt: string | null
  checkedAt: string | null
  provenAt: string | null
  durationMs: number
  rows: number
  rawBytes: number
  storedBytes: number
  gaps: string[]
  warnings: BackupWarning[]
  falls: RowFall[]
}

/** What concerns all tenants. */
export interface WatchFacts {
  now: Date
  tenants: WatchedTenant[]
  lastDailyRun: { createdAt: string; status: string } | null
  queue: {
    waiting: number
    deferred: number
    active: number
    /** Of the job that is due for the longest time; null where none is. */
    oldestDueAt: string | null
    /** When a job was last begun or ended, or said that it is alive. */
    lastMoveAt: string | null
  }
  /** Open ones, by kind. */
  openRuns: { kind: string; count: number; oldestAt: string }[]
  lastDrill: { finishedAt: string; durationMs: number } | null
  /** When this began to be used. */
  firstDailyRunAt: string | null
  /** Copies of the last days that are still to be made; null where there is no second place. */
  copies: { behind: number; oldestAt: string | null } | null
  /** Tenants that wait for a decision before they are seeded. */
  seedConflicts: OpenSeedConflict[]
  watch: { monitoredAt: string | null; untoldSince: string | null }
}

const READ_TENANTS = `
  with tenant as materialized (
    select tenant_id as id, tenant_name as name, skip_code, skip_reason from tenantkeep.list_tenants()
  ), damaged as (
    select d.organization_id, count(*) as count, min(d.damaged_at) as since,
      (array_agg(d.id order by d.taken_at desc))[1] as newest_id, max(d.taken_at) as newest_at
    from public.tenant_backups d
    where d.damaged_at is not null and d.status = 'complete'
    group by d.organization_id
  ), drill as (
    select distinct on (organization_id) * from tenantkeep.drills
    where status in ('passed', 'failed')
    order by organization_id, started_at desc
  ), last_daily as (
    select id from tenantkeep.runs where kind = 'daily_tenant' order by created_at desc limit 1
  )
  select jsonb_build_object(
    'id', t.id, 'name', t.name, 'skipCode', t.skip_code, 'skipReason', t.skip_reason,
    'newest', case when n.id is not null then jsonb_build_object(
      'id', n.id, 'takenAt', n.taken_at, 'completedAt', n.completed_at, 'verifiedAt', n.verified_at,
      'checkedAt', n.checked_at, 'provenAt', n.proven_at, 'rows', n.total_records,
      'rawBytes', n.raw_size, 'storedBytes', n.total_size,
      'durationMs', round(extract(epoch from n.completed_at - n.created_at) * 1000),
      'gaps', n.gaps, 'warnings', n.warnings, 'falls', coalesce(n.row_falls, '[]')) end,
    'attempt', case when a.status is not null then jsonb_build_object(
      'status', a.status, 'createdAt', a.created_at, 'errorCode', a.error_code,
      'errorMessage', a.error_message) end,
    'damaged', case when d.count > 0 then jsonb_build_object(
      'count', d.count, 'since', d.since, 'newestId', d.newest_id,
      'isNewest', n.id is null or d.newest_at > n.taken_at) end,
    'lastOutcome', o.status,
    'drill', case when r.status is not null then jsonb_build_object(
      'status', r.status, 'finishedAt', r.finished_at, 'durationMs', r.duration_ms,
      'findings', (select coalesce(jsonb_agg(distinct f.value ->> 'code'), '[]')
                   from jsonb_array_elements(r.findings) f)) end
  ) as facts
  from tenant t
  left join lateral (
    select * from public.tenant_backups b
    where b.organization_id = t.id and b.status = 'complete' and b.backup_type <> 'pre_restore'
      and b.damaged_at is null
    order by b.taken_at desc, b.created_at desc limit 1
  ) n on true
  left join lateral (
    select * from public.tenant_backups b
    where b.organization_id = t.id and b.backup_type <> 'pre_restore'
    order by b.created_at desc limit 1
  ) a on true
  left join damaged d on d.organization_id = t.id
  left join drill r on r.organization_id = t.id
  left join tenantkeep.run_tenants o on o.run_id = (select id from last_daily) and o.tenant_id = t.id
  order by t.name, t.id`

const READ_OTHERS = `
  select jsonb_build_object(
    'now', clock_timestamp(),
    'lastDailyRun', (
      select jsonb_build_object('createdAt', created_at, 'status', status) from tenantkeep.runs
      where kind = 'daily_tenant' order by created_at desc limit 1),
    'queue', (
      select jsonb_build_object(
        'waiting', count(*) filter (where state < 'active' and start_after <= now()),
        'deferred', count(*) filter (where state < 'active' and start_after > now()),
        'active', count(*) filter (where state = 'active'),
        'oldestDueAt', min(start_after) filter (where state < 'active' and start_after <= now()),
        'lastMoveAt', max(greatest(started_on, completed_on, heartbeat_on)))
      from tenantkeep_jobs.job where name not like '%-dead'),
    'openRuns', (
      select coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'count', count, 'oldestAt', oldest)), '[]')
      from (
        select kind, count(*) as count, min(created_at) as oldest from tenantkeep.runs
        where status = 'running' group by kind order by kind) open),
    'lastDrill', (
      select jsonb_build_object('finishedAt', finished_at, 'durationMs', duration_ms)
      from tenantkeep.drills where status = 'passed' order by started_at desc limit 1),
    'firstDailyRunAt', (
      select created_at from tenantkeep.runs where kind = 'daily_tenant' order by created_at limit 1),
    'watch', (
      select jsonb_build_object('monitoredAt', monitored_at, 'untoldSince', untold_since)
      from tenantkeep.watch)
  ) as facts`

/** `$1` are the URLs of the places. Older backups are no news: a second place that is new has many to catch up with. */
const READ_COPIES = `
  select count(*)::int as behind, to_jsonb(min(b.completed_at)) #>> '{}' as "oldestAt"
  from public.tenant_backups b
  cross join unnest($1::text[]) as p (url)
  left join tenantkeep.backup_copies c on c.backup_id = b.id and c.store_url = p.url
  where b.status = 'complete' and b.backup_type <> 'pre_restore' and b.damaged_at is null
    and b.completed_at > now() - interval '8 days'
    and coalesce(c.status <> 'complete', b.store_url <> p.url)
    and (b.store_url = any ($1) or exists (
      select from tenantkeep.backup_copies o where o.backup_id = b.id and o.store_url = any ($1)))`

/** Reads how everything stands, in four statements however many tenants there are. */
export async function readWatchFacts({
  tenants: { catalog },
  store,
}: Pick<Services, 'tenants' | 'store'>): Promise<WatchFacts> {
  const tenants = await catalog.query<{ facts: WatchedTenant }>(READ_TENANTS)
  const others = await catalog.query<{
    facts: Omit<WatchFacts, 'now' | 'tenants' | 'copies' | 'seedConflicts'> & { now: string }
  }>(READ_OTHERS)
  const places = placesOf(store).map(({ url }) => url)
  const copies =
    places.length < 2
      ? null
      : await catalog.query<{ behind: number; oldestAt: string | null }>(READ_COPIES, [places])
  const [row] = others.rows
  if (row === undefined) throw new Error('A statement without from gave no row.')
  return {
    ...row.facts,
    now: new Date(row.facts.now),
    copies: copies?.rows[0] ?? null,
    seedConflicts: await readOpenSeedConflicts(catalog),
    tenants: tenants.rows.map(({ facts }) => facts),
  }
}
