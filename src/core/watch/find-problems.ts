import type { RowFall } from '../backup/describe-falls.ts'
import type { MonitorSettings } from './monitor-settings.ts'
import type { WatchedTenant, WatchFacts } from './read-watch-facts.ts'

/** What the monitor can say, and how bad it is; docs/operations.md has what to do about each. */
export const PROBLEMS = {
  daily_run_missing: 'error',
  backup_missing: 'error',
  backup_late: 'error',
  backup_failed: 'warning',
  backup_damaged: 'error',
  backup_unverified: 'warning',
  rows_fell: 'error',
  table_rows_fell: 'error',
  table_unclassified: 'error',
  backup_warning: 'warning',
  drill_late: 'warning',
  drill_failed: 'error',
  queue_stuck: 'error',
  run_stuck: 'warning',
  copies_late: 'error',
  seed_conflict: 'warning',
  store_unusable: 'error',
  alerts_undelivered: 'error',
} as const satisfies Record<string, 'error' | 'warning'>

export type ProblemCode = keyof typeof PROBLEMS

/** Something that somebody has to act on. Names of tenants and tables, counts and times, never a row. */
export interface Problem {
  /** The same for as long as it is the same problem. */
  key: string
  code: ProblemCode
  severity: 'error' | 'warning'
  tenantId: string | null
  tenantName: string | null
  table: string | null
  /** Since when it is so, as far as the catalog tells. */
  since: string | null
  message: string
  remedy: string
}

interface Concerns {
  tenant?: Pick<WatchedTenant, 'id' | 'name'>
  table?: string | null
  since?: string | null
  message: string
  remedy: string
}

/** What `key` holds beyond the code tells two problems of the same kind apart. */
export function problem(code: ProblemCode, key: readonly string[], concerns: Concerns): Problem {
  const { tenant, table = null, since = null, message, remedy } = concerns
  return {
    key: [code, ...key].join(':'),
    code,
    severity: PROBLEMS[code],
    tenantId: tenant?.id ?? null,
    tenantName: tenant?.name ?? null,
    table,
    since,
    message,
    remedy,
  }
}

/** What is judged by beyond the facts. */
export interface Measures extends MonitorSettings {
  /** The setting; 0 switches drills off. */
  drills_per_day: number
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** Of one tenant; a tenant that was emptied has many, and the first ones say enough. */
const MOST_FALLS = 20

/** The rules of the monitor, over facts alone: errors first, then by tenant. */
export function findProblems(facts: WatchFacts, measures: Measures): Problem[] {
  const active = facts.tenants.filter(({ skipCode }) => skipCode === null)
  const found = [
    ...findMissingRun(facts, measures, active),
    ...findStuck(facts, measures),
    ...findLateCopies(facts, measures),
    ...findSeedConflicts(facts),
    ...active.flatMap((tenant) => [
      ...findLate(tenant, facts, measures),
      ...findDamaged(tenant),
      ...findFalls(tenant, measures),
    ]),
    ...findUnclassified(active),
    ...findWarnings(active),
    ...findMissingDrills(facts, measures, active),
  ]
  return found.sort((a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning'))
}

function isOlder(time: string, now: Date, ms: number): boolean {
  return now.getTime() - Date.parse(time) > ms
}

function addMs(time: string, ms: number): string {
  return new Date(Date.parse(time) + ms).toISOString()
}

function nameOf({ id, name }: Pick<WatchedTenant, 'id' | 'name'>): string {
  return name ?? id
}

function findMissingRun(
  { now, lastDailyRun }: WatchFacts,
  { max_age_hours: hours }: Measures,
  active: readonly WatchedTenant[],
): Problem[] {
  if (active.length === 0) return []
  if (lastDailyRun !== null && !isOlder(lastDailyRun.createdAt, now, hours * HOUR_MS)) return []
  return [
    problem('daily_run_missing', [], {
      since: lastDailyRun === null ? null : addMs(lastDailyRun.createdAt, hours * HOUR_MS),
      message:
        lastDailyRun === null
          ? 'Nobody has ever called daily-tenant-backup.'
          : `Nobody has called daily-tenant-backup for more than ${hours} hours.`,
      remedy: 'Look at the history of the cron service, then call daily-tenant-backup by hand.',
    }),
  ]
}

function findLate(
  tenant: WatchedTenant,
  { now, lastDailyRun }: WatchFacts,
  { max_age_hours: hours }: Measures,
): Problem[] {
  const { newest, attempt } = tenant
  const hasFailed = attempt?.status === 'failed' || attempt?.status === 'cancelled'
  const reason = hasFailed
    ? ` The last attempt failed: ${attempt.errorMessage} (${attempt.errorCode})`
    : ''
  const remedy = hasFailed
    ? `See ${attempt.errorCode} under «Error codes», then take a backup of this tenant.`
    : 'Call daily-tenant-backup, or take a backup of this tenant.'
  if (newest === null) {
    // A tenant that came after the last daily run is no concern before the next one.
    const isRecent = lastDailyRun !== null && !isOlder(lastDailyRun.createdAt, now, hours * HOUR_MS)
    const isNew = tenant.lastOutcome === null || tenant.lastOutcome === 'pending'
    if (isRecent && isNew && tenant.damaged === null && !hasFailed) return []
    const message = `${nameOf(tenant)} has no backup that can be restored.${reason}`
    return [problem('backup_missing', [tenant.id], { tenant, message, remedy })]
  }
  if (isOlder(newest.takenAt, now, hours * HOUR_MS)) {
    return [
      problem('backup_late', [tenant.id], {
        tenant,
        since: addMs(newest.takenAt, hours * HOUR_MS),
        message: `The newest backup of ${nameOf(tenant)} is older than ${hours} hours.${reason}`,
        remedy,
      }),
    ]
  }
  if (!hasFailed) return []
  return [
    problem('backup_failed', [tenant.id], {
      tenant,
      since: attempt.createdAt,
      message: `The last backup of ${nameOf(tenant)} failed, the one before it is recent: ${attempt.errorMessage} (${attempt.errorCode})`,
      remedy,
    }),
  ]
}

function findDamaged(tenant: WatchedTenant): Problem[] {
  const { newest, damaged } = tenant
  const found: Problem[] = []
  if (damaged !== null) {
    const which = damaged.isNewest ? 'the newest among them' : 'a later one is whole'
    found.push(
      problem('backup_damaged', [tenant.id], {
        tenant,
        since: damaged.since,
        message: `Backups of ${nameOf(tenant)} that are not whole: ${damaged.count} (${which}; the newest is ${damaged.newestId}).`,
        remedy:
          'Run verify on it, which names the objects; find out who can write the bucket. Take a new backup if the newest is damaged.',
      }),
    )
  }
  if (newest !== null && isUnproven(newest)) {
    found.push(
      problem('backup_unverified', [tenant.id], {
        tenant,
        since: newest.checkedAt ?? newest.completedAt,
        message: `The newest backup of ${nameOf(tenant)} could not be read back the last time that somebody tried.`,
        remedy: 'Run verify on it, which says why.',
      }),
    )
  }
  return found
}

function isUnproven({ verifiedAt, checkedAt }: NonNullable<WatchedTenant['newest']>): boolean {
  if (verifiedAt === null) return true
  return checkedAt !== null && Date.parse(checkedAt) > Date.parse(verifiedAt)
}

function findFalls(tenant: WatchedTenant, measures: Measures): Problem[] {
  const { newest } = tenant
  if (newest === null) return []
  return newest.falls
    .filter((fall) => isTooMuch(fall, measures))
    .slice(0, MOST_FALLS)
    .map(({ table, rows, usual }) => {
      const key = table === null ? [tenant.id] : [tenant.id, table]
      const what = table === null ? 'All tables together' : `The table ${table}`
      const message =
        rows === null
          ? `${what} of ${nameOf(tenant)} is in the newest backup no more; it usually has ${usual} rows.`
          : `${what} of ${nameOf(tenant)} fell to ${rows} rows; usual are ${usual}.`
      return problem(table === null ? 'rows_fell' : 'table_rows_fell', key, {
        tenant,
        table,
        since: newest.takenAt,
        message,
        remedy:
          'Ask whether somebody meant to delete them. If nobody did, compare with the backup before and restore. If it is right, it ends by itself within a few days.',
      })
    })
}

function isTooMuch({ table, rows, usual }: RowFall, measures: Measures): boolean {
  const lost = (usual - (rows ?? 0)) / usual
  return table === null
    ? usual >= measures.shrink_min_rows && lost > measures.shrink_share
    : usual >= measures.table_shrink_min_rows && lost > measures.table_shrink_share
}

function findUnclassified(active: readonly WatchedTenant[]): Problem[] {
  const tables = new Map<string, { count: number; since: string }>()
  for (const { newest } of active) {
    for (const table of newest?.gaps ?? []) {
      const known = tables.get(table)
      const since = newest?.takenAt ?? ''
      tables.set(table, {
        count: (known?.count ?? 0) + 1,
        since: known === undefined || since < known.since ? since : known.since,
      })
    }
  }
  return [...tables].map(([table, { count, since }]) =>
    problem('table_unclassified', [table], {
      table,
      since,
      message: `The table ${table} is in no backup, because nobody has said what it is to a tenant (tenants concerned: ${count}).`,
      remedy: 'Run tenantkeep init: it settles or asks about it.',
    }),
  )
}

/** By code: the same change of the schema is in the backups of all tenants. */
function findWarnings(active: readonly WatchedTenant[]): Problem[] {
  const codes = new Map<string, { count: number; message: string; since: string }>()
  for (const { newest } of active) {
    for (const { code, message } of newest?.warnings ?? []) {
      const known = codes.get(code)
      const since = newest?.takenAt ?? ''
      codes.set(code, { message, since, ...known, count: (known?.count ?? 0) + 1 })
    }
  }
  return [...codes].map(([code, { count, message, since }]) =>
    problem('backup_warning', [code], {
      since,
      message: `The newest backups warn of ${code} (tenants concerned: ${count}): ${message}`,
      remedy: `See ${code} under «Every day».`,
    }),
  )
}

function findMissingDrills(
  { now, lastDrill, firstDailyRunAt }: WatchFacts,
  { drill_max_age_days: days, drills_per_day: perDay }: Measures,
  active: readonly WatchedTenant[],
): Problem[] {
  const failed = active.flatMap((tenant) =>
    tenant.drill?.status === 'failed'
      ? [
          problem('drill_failed', [tenant.id], {
            tenant,
            since: tenant.drill.finishedAt,
            message: `The last drill of ${nameOf(tenant)} found what would break a restore: ${tenant.drill.findings.join(', ')}.`,
            remedy: 'Run tenantkeep drill for this tenant: it names tables and counts.',
          }),
        ]
      : [],
  )
  const last = lastDrill?.finishedAt ?? firstDailyRunAt
  if (perDay === 0 || active.length === 0 || last === null) return failed
  if (!isOlder(last, now, days * DAY_MS)) return failed
  const late = problem('drill_late', [], {
    since: addMs(last, days * DAY_MS),
    message: `No drill has succeeded for more than ${days} days.`,
    remedy: 'Call restore-drill-background, or set drills_per_day to 0 if you want none.',
  })
  return [...failed, late]
}

function findLateCopies(
  { now, copies }: WatchFacts,
  { copy_max_age_hours: hours }: Measures,
): Problem[] {
  if (copies === null || copies.oldestAt === null) return []
  if (!isOlder(copies.oldestAt, now, hours * HOUR_MS)) return []
  return [
    problem('copies_late', [], {
      since: addMs(copies.oldestAt, hours * HOUR_MS),
      message: `Copies of the last days that are still to be made: ${copies.behind}; the oldest backup among them was complete more than ${hours} hours ago.`,
      remedy:
        'Call copy-backups; the journal says why a copy failed. Check BACKUP_COPY_STORE and its credentials.',
    }),
  ]
}

function findSeedConflicts({ seedConflicts }: WatchFacts): Problem[] {
  return seedConflicts.map(({ tenantId: id, tenantName: name, since, conflicts }) =>
    problem('seed_conflict', [id], {
      tenant: { id, name },
      since,
      message: `${nameOf({ id, name })} was not seeded: ${conflicts} rows of the defaults stand against its own.`,
      remedy: 'See them with `defaults diff`, decide, and seed again.',
    }),
  )
}

function findStuck(
  { now, queue, openRuns }: WatchFacts,
  { queue_stuck_minutes: minutes, run_max_hours: hours }: Measures,
): Problem[] {
  const found: Problem[] = []
  const isSilent = queue.lastMoveAt === null || isOlder(queue.lastMoveAt, now, minutes * 60_000)
  if (queue.oldestDueAt !== null && isOlder(queue.oldestDueAt, now, minutes * 60_000) && isSilent) {
    found.push(
      problem('queue_stuck', [], {
        since: queue.oldestDueAt,
        message: `Jobs that are due and that nobody works on: ${queue.waiting}, for more than ${minutes} minutes.`,
        remedy: 'Call run-jobs-background, or start a worker: npm run worker -- --once.',
      }),
    )
  }
  for (const { kind, count, oldestAt } of openRuns) {
    if (!isOlder(oldestAt, now, hours * HOUR_MS)) continue
    found.push(
      problem('run_stuck', [kind], {
        since: oldestAt,
        message: `Runs of the kind ${kind} that are open: ${count}, the oldest for more than ${hours} hours.`,
        remedy: 'Call run-jobs-background, which settles runs whose process died.',
      }),
    )
  }
  return found
}
