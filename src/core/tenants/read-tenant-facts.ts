import { BACKUP_JSON, type Backup } from '../backup/backup-record.ts'
import type { Queryable } from '../database/database.ts'
import type { RunningWork, StateFacts } from './decide-state.ts'
import { isTenantLocked } from './lock-tenant.ts'

/** What is known of one tenant, over which its state is decided. */
export interface TenantFacts extends StateFacts {
  id: string
  name: string | null
  /** Its rows are what a new tenant starts with; it is no customer. */
  isTemplate: boolean
  running: RunningWork | null
  newestBackup: Backup | null
  newestAttempt: Backup | null
  /** Attempts of the last 30 days that failed. */
  recentFailures: number
}

type FactsRow = Omit<TenantFacts, 'now'> & { now: string }

/** A process that has just begun has not taken the tenant's lock yet. */
const BEGINNING = `interval '90 seconds'`
/** A job that nobody took in this time is no work under way. */
const WAITING = `interval '1 hour'`

/** Whoever works on a tenant as a whole holds its lock (lock-tenant.ts); this looks, and takes none. */
const IS_LOCKED = isTenantLocked('t.id')

const WORK = `'runId', w.run_id, 'startedAt', w.created_at, 'actorLabel', w.actor_label`

const READ_FACTS = `
  with recursive host as materialized (
    select tenant_id as id, tenant_name as name, skip_code, skip_reason from tenantkeep.list_tenants()
    where $1::text[] is null or tenant_id = any ($1)
  ), backed_up (id) as (
    -- From one tenant to the next in the index, past all of its backups.
    select min(organization_id) from public.tenant_backups
    where $1::text[] is null or organization_id = any ($1)
    union all
    select (
      select min(b.organization_id) from public.tenant_backups b
      where b.organization_id > u.id and ($1::text[] is null or b.organization_id = any ($1))
    ) from backed_up u where u.id is not null
  ), tenant as (
    select h.id, h.name, case when h.skip_reason is not null then jsonb_build_object(
        'reason', h.skip_reason, 'since', p.paused_at) end as skip
    from host h left join tenantkeep.paused_tenants p on p.tenant_id = h.id
    union all
    select b.organization_id, b.organization_name, jsonb_build_object(
        'reason', 'The application does not know this organization any more, so no backups are taken.',
        'since', null)
    from backed_up u
    cross join lateral (
      select organization_id, organization_name from public.tenant_backups
      where organization_id = u.id order by created_at desc limit 1
    ) b
    where not exists (select from host h where h.id = u.id)
  ), open_run as materialized (
    select * from tenantkeep.runs where status = 'running'
  ), vain_read as materialized (
    -- Whoever restores from a backup or compares it reads it whole; the run says what was wrong with it.
    select tenant_ids[1] as tenant_id, coalesce(request ->> 'backup_id', request -> 'task' ->> 'backup_id')
        as backup_id, finished_at, error_message
    from tenantkeep.runs
    where error_code in ('backup_damaged', 'object_missing') and request ->> 'with_backup_id' is null
  )
  select jsonb_build_object(
    'id', t.id, 'name', t.name, 'skip', t.skip, 'now', clock_timestamp(),
    'isTemplate', t.id is not distinct from (
      select value #>> '{}' from tenantkeep.settings where key = 'template_tenant'),
    'running', coalesce(restoring.work, copying.work, waiting.work),
    'newestBackup', newest.backup, 'newestAttempt', attempt.backup,
    'damage', coalesce(marked.found, damage.found),
    'recentFailures', failures.count) as facts
  from tenant t
  left join lateral (
    select jsonb_build_object('kind', w.kind, ${WORK}) as work from (
      select r.id as run_id, r.kind, r.created_at, r.actor_label
      from open_run r
      where r.kind in ('restore', 'undo') and r.tenant_ids = array[t.id]
        and r.request -> 'task' -> 'dry_run' = 'false'
      union all
      -- Those of the command line have no run.
      select l.run_id, l.backup_type, l.created_at, l.actor_label
      from public.backup_logs l
      where l.organization_id = t.id and l.status = 'running' and l.backup_type in ('restore', 'undo')
        and l.run_id is null and ${IS_LOCKED}
    ) w order by w.created_at limit 1
  ) restoring on true
  left join lateral (
    select jsonb_build_object('kind', 'backup', ${WORK}) as work
    from public.tenant_backups w
    where w.organization_id = t.id and w.status = 'running' and w.backup_type <> 'pre_restore'
      -- One whose process died says «running» until the next one begins.
      and (w.created_at > now() - ${BEGINNING} or ${IS_LOCKED})
    order by w.created_at desc limit 1
  ) copying on true
  left join lateral (
    select jsonb_build_object('kind', 'backup', 'runId', r.id, 'startedAt', r.created_at,
      'actorLabel', r.actor_label) as work
    from tenantkeep.run_tenants o
    join open_run r on r.id = o.run_id and r.kind = 'manual'
    where o.tenant_id = t.id and o.status in ('pending', 'running') and r.created_at > now() - ${WAITING}
      and exists (
        select from tenantkeep_jobs.job j
        where j.name = 'tenant-backup' and j.state <= 'active' and j.data ->> 'runId' = r.id::text
      )
    order by r.created_at limit 1
  ) waiting on true
  left join lateral (
    -- Chosen first: made into JSON, all backups of a tenant take a hundred times as long.
    select ${BACKUP_JSON} as backup from (
      select * from public.tenant_backups c
      where c.organization_id = t.id and c.status = 'complete' and c.backup_type <> 'pre_restore'
      order by c.taken_at desc, c.created_at desc limit 1
    ) b
  ) newest on true
  left join lateral (
    select ${BACKUP_JSON} as backup from (
      select * from public.tenant_backups c
      where c.organization_id = t.id and c.backup_type <> 'pre_restore'
      order by c.created_at desc, c.id desc limit 1
    ) b
  ) attempt on true
  left join lateral (
    select jsonb_build_object('foundAt', newest.backup -> 'damagedAt',
      'reason', newest.backup #>> '{damage,0,message}') as found
    where newest.backup ->> 'damagedAt' is not null
  ) marked on true
  left join lateral (
    select jsonb_build_object('foundAt', v.finished_at, 'reason', v.error_message) as found
    from vain_read v
    where v.tenant_id = t.id and v.backup_id = newest.backup ->> 'id'
      and v.finished_at > (newest.backup ->> 'verifiedAt')::timestamptz
    order by v.finished_at desc limit 1
  ) damage on true
  cross join lateral (
    select count(*) as count from public.tenant_backups b
    where b.organization_id = t.id and b.status = 'failed' and b.backup_type <> 'pre_restore'
      and b.created_at > now() - interval '30 days'
  ) failures
  order by t.name, t.id`

/**
 * Reads what is known of every tenant, or of those that are given: those of the host application, and those
 * that it knows no more but of which there are backups. A backup is damaged where it is marked so, or where
 * somebody read it in vain since it was last verified. In the order of names.
 */
export async function readTenantFacts(
  catalog: Queryable,
  tenantIds?: readonly string[],
): Promise<TenantFacts[]> {
  const { rows } = await catalog.query<{ facts: FactsRow }>(READ_FACTS, [tenantIds ?? null])
  return rows.map(({ facts }) => ({ ...facts, now: new Date(facts.now) }))
}
