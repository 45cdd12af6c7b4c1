import { randomUUID } from 'node:crypto'
import { BACKUP_JSON, type Backup, isWithin } from '../backup/backup-record.ts'
import { readProofSettings } from '../backup/proof-settings.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { holdRotation } from '../jobs/hold-rotation.ts'
import type { UpkeepInput, UpkeepReport } from '../jobs/upkeep.ts'
import type { Services } from '../services.ts'
import { placesOf } from '../store/read-with-copy.ts'
import { type DrillInput, drillBackup } from './drill-backup.ts'
import { type Drill, recordDrillCrashes, recordDrillEnd, recordDrillStart } from './drill-record.ts'
import { estimateRestore } from './estimate-restore.ts'

/** Of the fifteen minutes of a background function, what a drill may be expected to take, in seconds. */
const LONGEST_SECONDS = 12 * 60
/** Where one after another can't be tried, it is not for the backups. */
const FAILURES_IN_A_ROW = 3

interface Round {
  services: Services
  input: UpkeepInput
  /** Tenants that this call has turned to, whatever came of it. */
  seen: Set<string>
  passed: string[]
  failed: { organization_id: string; backup_id: string; codes: string[] }[]
  untried: { organization_id: string; code: string }[]
}

/**
 * Tries the newest good backups of as many tenants as the setting `drills_per_day` says (UTC, the database's
 * clock), those first whose last drill is longest ago. Or, where the input names a tenant, that tenant's, today
 * or not. A tenant comes up once a day at most; one whose drill was broken off is tried again. Only one call at a
 * time goes round. Throws `backup_not_found` for a tenant that has no good backup, `not_configured`, and what
 * keeps the drill of a named tenant from being tried.
 */
export async function runDrills(services: Services, input: UpkeepInput): Promise<UpkeepReport> {
  const { catalog } = services.tenants
  const round: Round = { services, input, seen: new Set(), passed: [], failed: [], untried: [] }
  if (input.tenantId !== undefined) {
    const { actor, runId, signal } = input
    note(round, await drillTenant(services, { tenantId: input.tenantId, actor, runId, signal }))
    return report(round, 0)
  }
  const { drills_per_day: perDay } = await readProofSettings(catalog)
  if (perDay === 0) return { done: 0, failed: 0, left: 0, details: { is_off: true } }
  await services.store.check()
  return holdRotation(catalog, 'drill', async () => {
    await recordDrillCrashes(catalog)
    await goRound(round, perDay)
    const [today, due] = await Promise.all([countToday(catalog), countDue(round)])
    return report(round, Math.max(0, Math.min(perDay - today, due)))
  })
}

/** Tries the newest good backup of one tenant. Throws `backup_not_found` where there is none, and what a drill throws. */
export async function drillTenant(
  services: Services,
  { tenantId, ...input }: Omit<DrillInput, 'backup'> & { tenantId: string },
): Promise<Drill> {
  const { rows } = await services.tenants.catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b
     where b.organization_id = $2 and ${GOOD} order by b.taken_at desc, b.created_at desc limit 1`,
    [urlsOf(services), tenantId],
  )
  const backup = rows[0]?.backup
  if (backup === undefined) {
    throw new BackupError(
      'backup_not_found',
      `Tenant ${tenantId} has no complete backup in this store that is not known to be damaged.`,
    )
  }
  return drillBackup(services, { ...input, backup })
}

/** The newest good backup of the tenant whose turn it is, or would be tomorrow; undefined where nobody has one. */
export async function findNextToDrill(services: Services): Promise<Backup | undefined> {
  const [next] = await readDue(services, { isEvenToday: true, seen: [] })
  return next
}

async function goRound(round: Round, perDay: number): Promise<void> {
  const { services, input } = round
  const isStopped = () => input.signal?.aborted === true
  let failures = 0
  while (Date.now() < input.until.getTime() && !isStopped()) {
    if ((await countToday(services.tenants.catalog)) >= perDay) return
    const [backup] = await readDue(services, { isEvenToday: false, seen: [...round.seen] })
    if (backup === undefined) return
    round.seen.add(backup.organizationId)
    try {
      await requireFits(round, backup)
      const drill = await drillBackup(services, {
        backup,
        actor: input.actor,
        runId: input.runId,
        isInRotation: true,
        signal: input.signal,
        onProgress: (progress) =>
          input.tell?.({ organization_id: backup.organizationId, ...progress }),
      })
      note(round, drill)
      failures = 0
    } catch (error) {
      if (isStopped()) return
      if (!(error instanceof BackupError)) throw error
      services.log.warn({ err: error, backupId: backup.id }, 'A backup could not be tried')
      round.untried.push({ organization_id: backup.organizationId, code: error.code })
      failures += 1
      if (failures === FAILURES_IN_A_ROW) return
    }
  }
}

/**
 * One that no function has the time for is put on record as not tried, so that the others get their turns.
 * Throws `restore_too_long`.
 */
async function requireFits({ services, input }: Round, backup: Backup): Promise<void> {
  const size = {
    rows: backup.totalRecords ?? 0,
    rawBytes: backup.rawSize ?? 0,
    storedBytes: backup.totalSize ?? 0,
  }
  const none = { rows: 0, rawBytes: 0, storedBytes: 0 }
  const seconds = estimateRestore({ backup: size, live: none }, { isDryRun: true })
  const isEnough = Date.now() + seconds * 1_000 <= input.until.getTime()
  if (seconds <= LONGEST_SECONDS || isEnough) return
  const error = new BackupError(
    'restore_too_long',
    `This drill may take ${Math.ceil(seconds / 60)} minutes, and a function has ${LONGEST_SECONDS / 60}. On a machine that stays on, run: tenantkeep drill --backup ${backup.id}`,
    { details: { expected_seconds: seconds } },
  )
  const { catalog } = services.tenants
  const { actor, runId } = input
  const start = { id: randomUUID(), backup, actor, runId, isInRotation: true }
  if (await recordDrillStart(catalog, start)) await recordDrillEnd(catalog, start.id, { error })
  throw error
}

function note(round: Round, { organizationId, backupId, status, findings }: Drill): void {
  if (status === 'passed') round.passed.push(organizationId)
  else {
    const codes = [...new Set(findings.map(({ code }) => code))]
    round.failed.push({ organization_id: organizationId, backup_id: backupId, codes })
  }
}

function report({ passed, failed, untried }: Round, left: number): UpkeepReport {
  return {
    done: passed.length,
    failed: failed.length + untried.length,
    left,
    hasSettledFailures: failed.length > 0,
    details: { passed, failed, untried },
  }
}

/** Complete, not known to be damaged, in this store; safety backups are of states that somebody left on purpose. */
const GOOD = `b.status = 'complete' and b.backup_type <> 'pre_restore' and b.damaged_at is null
  and ${isWithin('b', '$1')}`

const TODAY = `date_trunc('day', now(), 'utc')`

/** What was broken off says nothing, so the tenant is still due. */
const DUE = `
  from tenantkeep.list_tenants() t
  left join (
    select organization_id, max(started_at) as at,
      max(started_at) filter (
        where status <> 'cancelled' or error_code not in ('backup_cancelled', 'backup_timed_out')
      ) as ended_at
    from tenantkeep.drills group by organization_id
  ) d on d.organization_id = t.tenant_id
  join lateral (
    select * from public.tenant_backups b
    where b.organization_id = t.tenant_id and ${GOOD}
    order by b.taken_at desc, b.created_at desc limit 1
  ) b on true
  where t.skip_reason is null and t.tenant_id <> all ($2::text[])
    and ($3 or d.ended_at is null or d.ended_at < ${TODAY})`

function urlsOf({ store }: Pick<Services, 'store'>): string[] {
  return placesOf(store).map(({ url }) => url)
}

async function readDue(
  { tenants, store }: Services,
  { isEvenToday, seen }: { isEvenToday: boolean; seen: readonly string[] },
): Promise<Backup[]> {
  const { rows } = await tenants.catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup ${DUE} order by d.at nulls first, b.taken_at, b.id limit 1`,
    [urlsOf({ store }), seen, isEvenToday],
  )
  return rows.map(({ backup }) => backup)
}

async function countDue({ services: { tenants, store }, seen }: Round): Promise<number> {
  const { rows } = await tenants.catalog.query<{ count: string }>(
    `select count(*) as count ${DUE}`,
    [urlsOf({ store }), [...seen], false],
  )
  return Number(rows[0]?.count)
}

async function countToday(catalog: Queryable): Promise<number> {
  const { rows } = await catalog.query<{ count: string }>(
    `select count(*) as count from tenantkeep.drills
     where in_rotation and status <> 'cancelled' and started_at >= ${TODAY}`,
  )
  return Number(rows[0]?.count)
}
