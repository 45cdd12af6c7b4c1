import { Gauge, Registry } from 'prom-client'
import { readProofSettings } from '../backup/proof-settings.ts'
import type { Services } from '../services.ts'
import { findProblems, type Problem } from './find-problems.ts'
import { readMonitorSettings } from './monitor-settings.ts'
import { readWatchFacts, type WatchedTenant, type WatchFacts } from './read-watch-facts.ts'

/**
 * Every metric with what it says; docs/observability/README.md has the same list. All are gauges, read from the
 * database at this moment: no function instance lives long enough to count.
 */
export const METRICS = {
  tenants: { help: 'Tenants by state: active, paused, inactive', labels: ['state'] },
  tenants_left_out: { help: 'Active tenants without metrics of their own', labels: [] },
  oldest_backup_age_seconds: {
    help: 'Age of the newest backup of the active tenant whose is the oldest; +Inf where one has none',
    labels: [],
  },
  protected_rows: { help: 'Rows in the newest backups of all active tenants', labels: [] },
  protected_raw_bytes: { help: 'The same in bytes before compression', labels: [] },
  protected_stored_bytes: { help: 'The same in stored bytes, shared ones included', labels: [] },
  backup_age_seconds: { help: 'Age of the newest backup', labels: ['tenant', 'name'] },
  backup_duration_seconds: { help: 'How long the newest backup took', labels: ['tenant', 'name'] },
  backup_rows: { help: 'Rows in the newest backup', labels: ['tenant', 'name'] },
  backup_raw_bytes: {
    help: 'Bytes of the newest backup before compression',
    labels: ['tenant', 'name'],
  },
  backup_stored_bytes: {
    help: 'Stored bytes of the newest backup, shared ones included',
    labels: ['tenant', 'name'],
  },
  backup_failures_24h: { help: 'Attempts that failed in 24 hours', labels: ['tenant', 'name'] },
  drill_age_seconds: {
    help: 'Time since the last drill of the tenant, whatever came of it',
    labels: ['tenant', 'name'],
  },
  drill_duration_seconds: {
    help: 'How long the last drill of the tenant took: what a restore of everything takes',
    labels: ['tenant', 'name'],
  },
  backups_24h: { help: 'Attempts at backups in 24 hours, by status', labels: ['status'] },
  uploaded_bytes_24h: { help: 'Stored bytes that backups added in 24 hours', labels: [] },
  restores_24h: {
    help: 'Restores and undos in 24 hours, by kind and status',
    labels: ['kind', 'status'],
  },
  last_drill_success_age_seconds: {
    help: 'Time since a drill last succeeded; absent where none did',
    labels: [],
  },
  last_drill_duration_seconds: { help: 'How long that drill took', labels: [] },
  drills_30d: { help: 'Drills in 30 days, by status', labels: ['status'] },
  prunes_24h: { help: 'Removals in 24 hours, by status', labels: ['status'] },
  pruned_backups_24h: { help: 'Backups removed in 24 hours', labels: [] },
  pruned_bytes_24h: { help: 'Stored bytes that this freed', labels: [] },
  jobs: { help: 'Jobs in the queue: waiting, deferred, active', labels: ['state'] },
  oldest_job_wait_seconds: { help: 'How long the oldest due job has waited', labels: [] },
  open_runs: { help: 'Runs that have not ended, by kind', labels: ['kind'] },
  copies_behind: { help: 'Complete backups that are not in the second place yet', labels: [] },
  seed_conflicts: {
    help: 'Rows of the defaults that wait for a decision before their tenant is seeded',
    labels: [],
  },
  problems: { help: 'What the monitor would say now, by code', labels: ['code', 'severity'] },
  monitor_age_seconds: { help: 'Time since backup-monitor last ran', labels: [] },
  webhook_failing_seconds: {
    help: 'Since when the webhook takes nothing; 0 while it does',
    labels: [],
  },
} as const satisfies Record<string, { help: string; labels: readonly string[] }>

export const METRICS_PREFIX = 'tenantkeep_'

export interface Metrics {
  /** The media type of the text. */
  type: string
  text: string
}

interface Counts {
  backups: { status: string; count: number }[]
  uploadedBytes: number
  failures: { tenantId: string; count: number }[]
  restores: { kind: string; status: string; count: number }[]
  drills: { status: string; count: number }[]
  prunes: { status: string; count: number }[]
  prunedBackups: number
  prunedBytes: number
}

/** In one statement: what happened lately, by the journal's index of time. */
const READ_COUNTS = `
  with recent as materialized (
    select l.backup_type, l.status, l.organization_id, l.backup_id, l.details from public.backup_logs l
    where l.created_at > now() - interval '24 hours'
  )
  select jsonb_build_object(
    'backups', (select coalesce(jsonb_agg(r), '[]') from (
      select status, count(*) as count from recent
      where backup_type in ('daily_tenant', 'manual') group by status) r),
    'uploadedBytes', (select coalesce(sum(b.uploaded_size), 0) from recent r
      join public.tenant_backups b on b.id = r.backup_id
      where r.status = 'complete' and r.backup_type in ('daily_tenant', 'manual', 'pre_restore')),
    'failures', (select coalesce(jsonb_agg(r), '[]') from (
      select organization_id as "tenantId", count(*) as count from recent
      where backup_type in ('daily_tenant', 'manual') and status = 'failed' and organization_id is not null
      group by organization_id) r),
    'restores', (select coalesce(jsonb_agg(r), '[]') from (
      select backup_type as kind, status, count(*) as count from recent
      where backup_type in ('restore', 'undo') group by backup_type, status) r),
    'drills', (select coalesce(jsonb_agg(r), '[]') from (
      select status, count(*) as count from tenantkeep.drills
      where started_at > now() - interval '30 days' group by status) r),
    'prunes', (select coalesce(jsonb_agg(r), '[]') from (
      select status, count(*) as count from recent where backup_type = 'prune' group by status) r),
    'prunedBackups', (select coalesce(sum((details -> 'backups')::bigint), 0) from recent
      where backup_type = 'prune'),
    'prunedBytes', (select coalesce(sum((details -> 'bytes')::bigint), 0) from recent
      where backup_type = 'prune')
  ) as counts`

/**
 * What Prometheus reads, in its text format. A registry for each call, since whoever answers the next one may
 * be another process. Tenants beyond the setting `metrics_tenants` are in the totals only: those with problems
 * come first, then those whose backup is the oldest. Throws `not_configured`, `database_unavailable`.
 */
export async function collectMetrics(
  services: Pick<Services, 'tenants' | 'store'>,
): Promise<Metrics> {
  const { catalog } = services.tenants
  const settings = await readMonitorSettings(catalog)
  const measures = { ...settings, ...(await readProofSettings(catalog)) }
  const facts = await readWatchFacts(services)
  const { rows } = await catalog.query<{ counts: Counts }>(READ_COUNTS)
  const [row] = rows
  if (row === undefined) throw new Error('A statement without from gave no row.')

  const registry = new Registry()
  const gauge = (name: keyof typeof METRICS) => {
    const { help, labels } = METRICS[name]
    const made = new Gauge({
      name: METRICS_PREFIX + name,
      help,
      labelNames: [...labels],
      registers: [registry],
    })
    return {
      set(value: number | null, given: Record<string, string> = {}) {
        if (value !== null) made.set(given, value)
      },
      /** Without labels a gauge says 0 until it is told: this one says nothing. */
      reset: () => made.remove(),
    }
  }
  const problems = findProblems(facts, measures)
  setTotals(gauge, facts, problems)
  setCounts(gauge, row.counts)
  setTenants(gauge, facts, problems, {
    most: settings.metrics_tenants,
    failures: new Map(row.counts.failures.map(({ tenantId, count }) => [tenantId, count])),
  })
  return { type: registry.contentType, text: await registry.metrics() }
}

type MakeGauge = (name: keyof typeof METRICS) => {
  set(value: number | null, labels?: Record<string, string>): void
  reset(): void
}

function secondsSince(time: string | null | undefined, now: Date): number | null {
  if (time === null || time === undefined) return null
  return Math.max(0, (now.getTime() - Date.parse(time)) / 1_000)
}

function setTotals(gauge: MakeGauge, facts: WatchFacts, problems: readonly Problem[]): void {
  const { now, tenants, queue, openRuns, lastDrill, watch } = facts
  const states = gauge('tenants')
  const count = (skipCode: string | null) =>
    tenants.filter((tenant) => tenant.skipCode === skipCode).length
  states.set(count(null), { state: 'active' })
  states.set(count('tenant_paused'), { state: 'paused' })
  states.set(count('tenant_inactive'), { state: 'inactive' })

  const active = tenants.filter(({ skipCode }) => skipCode === null)
  const ages = active.map((tenant) => ageOf(tenant, now))
  gauge('oldest_backup_age_seconds').set(ages.reduce((most, age) => Math.max(most, age), 0))
  const sum = (pick: (newest: NonNullable<WatchedTenant['newest']>) => number) =>
    active.reduce((total, { newest }) => total + (newest === null ? 0 : pick(newest)), 0)
  gauge('protected_rows').set(sum(({ rows }) => rows))
  gauge('protected_raw_bytes').set(sum(({ rawBytes }) => rawBytes))
  gauge('protected_stored_bytes').set(sum(({ storedBytes }) => storedBytes))

  setOrLeaveOut(gauge('last_drill_success_age_seconds'), secondsSince(lastDrill?.finishedAt, now))
  const drillMs = lastDrill?.durationMs ?? null
  setOrLeaveOut(gauge('last_drill_duration_seconds'), drillMs === null ? null : drillMs / 1_000)

  const jobs = gauge('jobs')
  jobs.set(queue.waiting, { state: 'waiting' })
  jobs.set(queue.deferred, { state: 'deferred' })
  jobs.set(queue.active, { state: 'active' })
  gauge('oldest_job_wait_seconds').set(secondsSince(queue.oldestDueAt, now) ?? 0)
  setOrLeaveOut(gauge('copies_behind'), facts.copies?.behind ?? null)
  gauge('seed_conflicts').set(
    facts.seedConflicts.reduce((total, { conflicts }) => total + conflicts, 0),
  )
  const runs = gauge('open_runs')
  for (const { kind, count: open } of openRuns) runs.set(open, { kind })

  const codes = new Map<string, { code: string; severity: string; count: number }>()
  for (const { code, severity } of problems) {
    codes.set(code, { code, severity, count: (codes.get(code)?.count ?? 0) + 1 })
  }
  const found = gauge('problems')
  for (const { code, severity, count: same } of codes.values()) found.set(same, { code, severity })
  setOrLeaveOut(gauge('monitor_age_seconds'), secondsSince(watch.monitoredAt, now))
  gauge('webhook_failing_seconds').set(secondsSince(watch.untoldSince, now) ?? 0)
}

function setOrLeaveOut(gauge: ReturnType<MakeGauge>, value: number | null): void {
  if (value === null) gauge.reset()
  else gauge.set(value)
}

function setCounts(gauge: MakeGauge, counts: Counts): void {
  const backups = gauge('backups_24h')
  for (const { status, count } of counts.backups) backups.set(count, { status })
  gauge('uploaded_bytes_24h').set(counts.uploadedBytes)
  const restores = gauge('restores_24h')
  for (const { kind, status, count } of counts.restores) restores.set(count, { kind, status })
  const drills = gauge('drills_30d')
  for (const { status, count } of counts.drills) drills.set(count, { status })
  const prunes = gauge('prunes_24h')
  for (const { status, count } of counts.prunes) prunes.set(count, { status })
  gauge('pruned_backups_24h').set(counts.prunedBackups)
  gauge('pruned_bytes_24h').set(counts.prunedBytes)
}

function ageOf({ newest }: WatchedTenant, now: Date): number {
  return secondsSince(newest?.takenAt, now) ?? Number.POSITIVE_INFINITY
}

function setTenants(
  gauge: MakeGauge,
  { now, tenants }: WatchFacts,
  problems: readonly Problem[],
  { most, failures }: { most: number; failures: ReadonlyMap<string, number> },
): void {
  const concerned = new Set(problems.flatMap(({ tenantId }) => tenantId ?? []))
  const active = tenants
    .filter(({ skipCode }) => skipCode === null)
    .map((tenant) => ({ ...tenant, age: ageOf(tenant, now), isBad: concerned.has(tenant.id) }))
    .sort((a, b) => Number(b.isBad) - Number(a.isBad) || (a.age < b.age ? 1 : -1))
  gauge('tenants_left_out').set(Math.max(0, active.length - most))

  const gauges = {
    age: gauge('backup_age_seconds'),
    duration: gauge('backup_duration_seconds'),
    rows: gauge('backup_rows'),
    rawBytes: gauge('backup_raw_bytes'),
    storedBytes: gauge('backup_stored_bytes'),
    failures: gauge('backup_failures_24h'),
    drillAge: gauge('drill_age_seconds'),
    drillDuration: gauge('drill_duration_seconds'),
  }
  for (const { id, name, age, newest, drill } of active.slice(0, most)) {
    const labels = { tenant: id, name: name ?? '' }
    gauges.age.set(age, labels)
    gauges.failures.set(failures.get(id) ?? 0, labels)
    if (newest !== null) {
      gauges.duration.set(newest.durationMs / 1_000, labels)
      gauges.rows.set(newest.rows, labels)
      gauges.rawBytes.set(newest.rawBytes, labels)
      gauges.storedBytes.set(newest.storedBytes, labels)
    }
    if (drill !== null) {
      gauges.drillAge.set(secondsSince(drill.finishedAt, now), labels)
      gauges.drillDuration.set(drill.durationMs / 1_000, labels)
    }
  }
}
