import { hash } from 'node:crypto'
import type { Queryable } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { BackupError } from '../errors.ts'
import { interruptible, throwIfInterrupted } from '../interruptible.ts'
import { loadPlan, type RestorePlan } from '../restore/plan-document.ts'
import { readErasures } from '../retention/erasure-marks.ts'
import type { Actor, Services } from '../services.ts'
import {
  BACKUPS_PREFIX,
  dayPrefix,
  restorePlanPath,
  stampOf,
  summaryPath,
} from '../store/object-path.ts'
import { placesOf } from '../store/read-with-copy.ts'
import type { ObjectInfo, Store } from '../store/store.ts'
import { readBounded } from './check-object.ts'
import { MAX_SUMMARY_BYTES } from './load-summary.ts'
import { parseSummary, type Summary } from './summary.ts'
import { rowsByTable } from './write-backup.ts'

export interface RebuildInput {
  actor: Actor
  /** Reads and proves everything, and writes nothing. */
  isDryRun: boolean
  /** Only this tenant's. */
  tenantId?: string | undefined
  onProgress?: (progress: { done: number; total: number }) => void
  signal?: AbortSignal | undefined
}

export interface RebuildReport {
  /** Backups that the catalog did not know. */
  rebuilt: { backupId: string; organizationId: string; takenAt: string; store: string }[]
  /** Restores that can be undone again. */
  restores: number
  /** Backups that the catalog knows already, whatever it says of them: left as they are. */
  known: number
  /** Backups of tenants that were forgotten after them. */
  forgotten: number
  /** Summaries that are not taken in, and why. */
  refused: { store: string; path: string; code: string; message: string }[]
  /** Places that could not be listed. */
  closed: { store: string; code: string; message: string }[]
}

/** What no summary holds, said to whoever rebuilds a catalog from them. */
export const LOST_WITH_THE_CATALOG = [
  'pins and holds: set them again before anything is pruned',
  'who took a backup, in which run, and names, notes and tags that were changed later',
  'the journal, except for restores that can be undone',
  'failed and pruned backups',
] as const

interface FoundBackup {
  summary: Summary
  store: Store
  path: string
  stamp: string
  sha256: string
  summaryBytes: number
  writtenAt: Date
  plan: (RestorePlan & { path: string }) | null
}

/** Summaries that are held for one tenant are let go after so many: each is some hundred kilobytes at most. */
const BATCH = 200

/**
 * Makes rows for backups that only the stores know, from their summaries alone: signature, place and parts are
 * proven for each, every part by its size (its bytes are for verification, which such backups are the first to
 * get). Rows that are there stay as they are, so it can be run again; tenants that were forgotten stay so.
 * Restores whose plan lies beside a safety backup can be undone again. Throws what is wrong with the places
 * where none can be listed.
 */
export async function rebuildCatalog(
  services: Services,
  input: RebuildInput,
): Promise<RebuildReport> {
  const { signal } = input
  const report: RebuildReport = {
    rebuilt: [],
    restores: 0,
    known: 0,
    forgotten: 0,
    refused: [],
    closed: [],
  }
  const places = await listPlaces(services, report, signal)
  const sizes = new Map(
    places.map(({ store, objects }) => [
      store.url,
      new Map(objects.map(({ path, size }) => [path, size])),
    ]),
  )
  const erasures = await readAllErasures(services, places)
  const seen = await readKnownStamps(services.tenants.catalog)
  const summaries = places.flatMap(({ store, objects }) =>
    objects
      .filter(({ path }) => /\/summary-[^/]+$/.test(path) && stampOf(path) !== undefined)
      .map((object) => ({ store, object })),
  )
  let batch: FoundBackup[] = []
  const flush = async () => {
    await recordFound(services, batch, input, report)
    batch = []
  }
  for (const [index, { store, object }] of summaries.entries()) {
    throwIfInterrupted(signal)
    input.onProgress?.({ done: index, total: summaries.length })
    const stamp = stampOf(object.path) ?? ''
    if (seen.has(stamp)) {
      report.known += 1
      continue
    }
    const given = { store, object, stamp, sizes, erasures, report, signal }
    const found = await readFound(services, given)
    const isMeant =
      input.tenantId === undefined || input.tenantId === found?.summary.organization_id
    if (found === null || !isMeant) continue
    seen.add(stamp)
    batch.push(found)
    if (batch.length === BATCH) await flush()
  }
  await flush()
  return report
}

interface ListedPlace {
  store: Store
  objects: ObjectInfo[]
}

async function listPlaces(
  { store }: Services,
  report: RebuildReport,
  signal: AbortSignal | undefined,
): Promise<ListedPlace[]> {
  const listed: ListedPlace[] = []
  let failure: BackupError | undefined
  for (const place of placesOf(store)) {
    try {
      const objects = await interruptible(place.list(BACKUPS_PREFIX), signal)
      listed.push({ store: place, objects })
    } catch (error) {
      throwIfInterrupted(signal)
      if (!(error instanceof BackupError)) throw error
      failure ??= error
      report.closed.push({ store: place.url, code: error.code, message: error.message })
    }
  }
  if (listed.length === 0 && failure !== undefined) throw failure
  return listed
}

/** By every place: one that was made anew knows nothing of those who were forgotten before. */
async function readAllErasures(
  services: Services,
  places: readonly ListedPlace[],
): Promise<Map<string, Date>> {
  const all = new Map<string, Date>()
  for (const { store } of places) {
    const { signingKeys, tenants } = services
    const erasures = await readErasures({ catalog: tenants.catalog, store, signingKeys })
    for (const [tenantId, at] of erasures) {
      if ((all.get(tenantId)?.getTime() ?? 0) < at.getTime()) all.set(tenantId, at)
    }
  }
  return all
}

async function readKnownStamps(catalog: Queryable): Promise<Set<string>> {
  const { rows } = await catalog.query<{ stamp: string }>(
    'select object_stamp as stamp from public.tenant_backups',
  )
  return new Set(rows.map(({ stamp }) => stamp))
}

/** One summary, proven; null where it is refused or of a forgotten tenant, which the report says. */
async function readFound(
  services: Services,
  given: {
    store: Store
    object: ObjectInfo
    stamp: string
    sizes: ReadonlyMap<string, ReadonlyMap<string, number>>
    erasures: ReadonlyMap<string, Date>
    report: RebuildReport
    signal: AbortSignal | undefined
  },
): Promise<FoundBackup | null> {
  const { store, object, stamp, sizes, erasures, report, signal } = given
  const { path, writtenAt } = object
  try {
    const body = await readBounded(store, { path, maxBytes: MAX_SUMMARY_BYTES }, signal)
    const summary = parseSummary(body, services.signingKeys)
    requireOwnPlace(summary, path, stamp)
    const forgottenAt = erasures.get(summary.organization_id)?.getTime() ?? 0
    if (forgottenAt >= Date.parse(summary.taken_at)) {
      report.forgotten += 1
      return null
    }
    requireParts(summary, [...sizes.values()])
    const plan = await readPlan({ ...services, store }, summary, stamp, signal)
    const sha256 = hash('sha256', body, 'hex')
    return { summary, store, path, stamp, sha256, summaryBytes: body.length, writtenAt, plan }
  } catch (error) {
    throwIfInterrupted(signal)
    if (!(error instanceof BackupError)) throw error
    report.refused.push({ store: store.url, path, code: error.code, message: error.message })
    return null
  }
}

/** A summary that was put elsewhere, into another tenant's folder say, is true and proves nothing there. */
function requireOwnPlace(summary: Summary, path: string, stamp: string): void {
  const { backup_id: id, organization_id: tenantId, tables } = summary
  const prefix = dayPrefix(tenantId, stamp).replace(/[^/]+\/$/, '')
  const isOwn =
    path === summaryPath(tenantId, stamp) &&
    stamp.endsWith(`-${id.slice(0, 8)}`) &&
    tables.every(({ parts }) => parts.every((part) => part.path.startsWith(prefix)))
  if (isOwn) return
  throw new BackupError(
    'backup_damaged',
    `The summary ${path} is of another backup or tenant, or names objects of one.`,
    { details: { path } },
  )
}

function requireParts(summary: Summary, sizes: readonly ReadonlyMap<string, number>[]): void {
  const parts = summary.tables.flatMap((table) => table.parts)
  const lacking = parts.filter(
    ({ path, stored_bytes }) => !sizes.some((place) => place.get(path) === stored_bytes),
  )
  const [first] = lacking
  if (first === undefined) return
  throw new BackupError(
    'backup_incomplete',
    `${lacking.length} of ${parts.length} parts are missing or have another size, the first of them ${first.path}.`,
    { details: { path: first.path } },
  )
}

/** The plan of the restore that a safety backup was made for; null where there is none that can be trusted. */
async function readPlan(
  services: Services,
  summary: Summary,
  stamp: string,
  signal: AbortSignal | undefined,
): Promise<FoundBackup['plan']> {
  if (summary.backup_type !== 'pre_restore') return null
  const tenantId = summary.organization_id
  const path = restorePlanPath(tenantId, stamp)
  try {
    const plan = await loadPlan(services, { path, tenantId }, signal)
    return plan.header.safety_backup_id === summary.backup_id ? { ...plan, path } : null
  } catch (error) {
    throwIfInterrupted(signal)
    if (error instanceof BackupError && error.code !== 'store_unavailable') return null
    throw error
  }
}

/** Tenant by tenant in a transaction each, with one line in the journal. */
async function recordFound(
  { tenants: { catalog } }: Services,
  batch: readonly FoundBackup[],
  { actor, isDryRun, signal }: RebuildInput,
  report: RebuildReport,
): Promise<void> {
  for (const [tenantId, found] of Map.groupBy(batch, ({ summary }) => summary.organization_id)) {
    throwIfInterrupted(signal)
    // Older ones first: a restore names the backup that it restored.
    found.sort((a, b) => (a.stamp < b.stamp ? -1 : 1))
    const rebuilt: FoundBackup[] = []
    let restores = 0
    const record = async (session: Queryable) => {
      for (const backup of found) {
        if (await insertBackup(session, backup)) rebuilt.push(backup)
        else report.known += 1
      }
      for (const { plan } of rebuilt) {
        if (plan !== null && (await insertRestore(session, plan))) restores += 1
      }
      if (rebuilt.length === 0) return
      await session.query(
        `insert into public.backup_logs
           (backup_type, status, completed_at, organization_id, organization_name, actor_kind, actor_id,
            actor_label, details)
         values ('rebuild', 'complete', clock_timestamp(), $1, $2, $3, $4, $5, $6)`,
        [
          tenantId,
          rebuilt.at(-1)?.summary.organization_name ?? null,
          actor.kind,
          actor.id,
          actor.label,
          JSON.stringify({ backups: rebuilt.length, restores }),
        ],
      )
    }
    if (isDryRun) {
      rebuilt.push(...found)
      restores = found.filter(({ plan }) => plan !== null).length
    } else {
      await catalog.withConnection((session) => inTransaction(session, () => record(session)))
    }
    report.restores += restores
    report.rebuilt.push(
      ...rebuilt.map(({ summary, store }) => ({
        backupId: summary.backup_id,
        organizationId: tenantId,
        takenAt: summary.taken_at,
        store: store.url,
      })),
    )
  }
}

/**
 * False where the catalog has such a backup, or another daily one of that day. Its summary was written when
 * everything had been read back: that moment is its last proof, and the oldest proof is verified first.
 */
async function insertBackup(session: Queryable, found: FoundBackup): Promise<boolean> {
  const { summary, store, path, stamp, sha256, summaryBytes, writtenAt } = found
  const own = summary.tables
    .flatMap((table) => table.parts)
    .filter((part) => stampOf(part.path) === stamp)
  const { rowCount } = await session.query(
    `insert into public.tenant_backups
       (id, organization_id, organization_name, backup_type, status, created_at, backup_date, taken_at,
        completed_at, verified_at, store_url, object_stamp, summary_path, summary_sha256, format_version,
        schema_fingerprint, total_tables, total_records, raw_size, total_size, uploaded_size, gaps, warnings,
        name, note, tags, table_rows, actor_kind, actor_label)
     values ($1, $2, $3, $4, 'complete', $5::timestamptz, ($5::timestamptz at time zone 'utc')::date, $6,
       $7, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
       'system', 'rebuild-catalog')
     on conflict do nothing`,
    [
      summary.backup_id,
      summary.organization_id,
      summary.organization_name,
      summary.backup_type,
      timeOf(stamp),
      summary.taken_at,
      writtenAt.toISOString(),
      store.url,
      stamp,
      path,
      sha256,
      summary.format_version,
      summary.schema_fingerprint,
      summary.totals.tables,
      summary.totals.rows,
      summary.totals.raw_bytes,
      summary.totals.stored_bytes + summaryBytes,
      own.reduce((sum, part) => sum + part.stored_bytes, summaryBytes),
      summary.gaps,
      JSON.stringify(summary.warnings),
      summary.name,
      summary.note,
      summary.tags,
      JSON.stringify(rowsByTable(summary)),
    ],
  )
  return rowCount === 1
}

/**
 * A safety backup that is still there with its plan is one whose restore was committed: those of others are
 * given up. Should one not have been, its undo finds nothing as the plan says, and refuses.
 */
async function insertRestore(
  session: Queryable,
  plan: NonNullable<FoundBackup['plan']>,
): Promise<boolean> {
  const { header, path, sha256, madeAt } = plan
  const written = header.tables.map(
    ({ inserted, updated, deleted }) => inserted + updated + deleted,
  )
  const { rowCount } = await session.query(
    `insert into public.backup_logs
       (id, backup_type, status, created_at, completed_at, organization_id, organization_name, backup_id,
        safety_backup_id, plan_path, plan_sha256, plan_hash, total_tables, total_records, actor_kind,
        actor_label, announced_at, details)
     select $1, 'restore', 'complete', $2, $2, b.organization_id, b.organization_name,
       (select r.id from public.tenant_backups r where r.id = $3), b.id, $5, $6, $7, $8, $9, 'system',
       -- What the webhook heard then is no news now.
       'rebuild-catalog', $2, $10::jsonb || jsonb_build_object('source', jsonb_build_object(
         'kind', 'catalog', 'takenAt', coalesce((
           select r.taken_at from public.tenant_backups r where r.id = $3), b.taken_at)))
     from public.tenant_backups b where b.id = $4
     on conflict do nothing`,
    [
      header.restore_id,
      madeAt,
      header.backup_id,
      header.safety_backup_id,
      path,
      sha256,
      header.plan_hash,
      written.filter((rows) => rows > 0).length,
      written.reduce((sum, rows) => sum + rows, 0),
      JSON.stringify({ options: header.options, is_rebuilt: true }),
    ],
  )
  return rowCount === 1
}

/** `20261121T020304567Z-…` as a time. */
function timeOf(stamp: string): string {
  return stamp.replace(
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z.*$/,
    '$1-$2-$3T$4:$5:$6.$7Z',
  )
}
