import { BACKUP_JSON, type Backup } from '../backup/backup-record.ts'
import { checkObject, type ObjectFacts, readBounded, readObject } from '../backup/check-object.ts'
import { explainFailure } from '../backup/explain-failure.ts'
import { loadSummary, readSummaryBytes } from '../backup/load-summary.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { interruptible, throwIfInterrupted } from '../interruptible.ts'
import type { UpkeepInput, UpkeepReport } from '../jobs/upkeep.ts'
import type { Services } from '../services.ts'
import { tryLockCopies } from '../tenants/lock-tenant.ts'
import { erasurePrefix, stampOf } from './object-path.ts'
import { placesOf } from './read-with-copy.ts'
import type { Store } from './store.ts'

const BATCH = 100
/** Objects of one backup that are copied at the same time; each is in memory as it is stored. */
const WIDTH = 4
/** Of a place that fails again and again, nothing more is asked. */
const FAILURES_IN_A_ROW = 3
const MOST_WHOLE = 20_000
/** An erasure mark is some hundred bytes. */
const MAX_MARK_BYTES = 16 * 1024

interface DueCopy {
  backup: Backup
  /** The place that lacks it. */
  placeUrl: string
}

interface CopyInput extends Omit<UpkeepInput, 'runId'> {
  /** Null where nobody keeps a run of it. */
  runId: string | null
}

interface Round {
  services: Services
  input: CopyInput
  /** Tried by this call, whatever came of it: `backup id`, a blank, the place. */
  seen: Set<string>
  /** Objects that were read back in their new place, some hundred bytes each. */
  whole: Set<string>
  copied: number
  objects: number
  bytes: number
  failed: { backup_id: string; store: string; code: string }[]
}

/**
 * Brings every complete backup of all tenants, safety backups with the plans of their restores included, to
 * each of the two places that lacks it: to the second as a rule; to the first, where it was down when the
 * backup was made; to either, where it was found damaged there. Newest first. Every object is read back and
 * proven by its digest, the summary comes last, and only then the catalog says that the copy is complete.
 * Does nothing where no second place is set up. Throws `store_unavailable`, `bucket_missing`,
 * `bucket_public` and `not_configured` where one of the places can't be used at all.
 */
export async function copyBackups(services: Services, input: CopyInput): Promise<UpkeepReport> {
  const places = placesOf(services.store)
  if (places.length < 2) return { done: 0, failed: 0, left: 0, details: { is_off: true } }
  for (const place of places) await interruptible(place.check(), input.signal)
  await copyErasures(places, input.signal)

  const round: Round = {
    services,
    input,
    seen: new Set(),
    whole: new Set(),
    copied: 0,
    objects: 0,
    bytes: 0,
    failed: [],
  }
  await goRound(round)
  const { copied, objects, bytes, failed } = round
  const { catalog } = services.tenants
  const left = await countDueCopies({ catalog, store: services.store }, { seen: [...round.seen] })
  return {
    done: copied,
    failed: failed.length,
    left,
    details: { copied, objects, bytes, failed_copies: failed },
  }
}

/** Who was forgotten must be known in every place, also in one that was set up later. */
async function copyErasures(
  places: readonly Store[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const known = await Promise.all(
    places.map(async (place) => ({
      place,
      paths: (await interruptible(place.list(erasurePrefix()), signal)).map(({ path }) => path),
    })),
  )
  for (const { place, paths } of known) {
    for (const other of known) {
      for (const path of other.paths.filter((it) => !paths.includes(it))) {
        const mark = await readBounded(other.place, { path, maxBytes: MAX_MARK_BYTES }, signal)
        await interruptible(place.put(path, mark, 'application/json', signal), signal)
      }
    }
  }
}

async function goRound(round: Round): Promise<void> {
  const { input, services } = round
  let failures = 0
  for (;;) {
    const due = await interruptible(findDueCopies(services, [...round.seen]), input.signal)
    if (due.length === 0) return
    for (const copy of due) {
      if (input.signal?.aborted === true || Date.now() >= input.until.getTime()) return
      if (round.whole.size > MOST_WHOLE) round.whole.clear()
      round.seen.add(`${copy.backup.id} ${copy.placeUrl}`)
      failures = (await copyOne(round, copy)) ? 0 : failures + 1
      if (failures === FAILURES_IN_A_ROW) return
      input.tell?.({ copied: round.copied, failed: round.failed.length, bytes: round.bytes })
    }
  }
}

/** False where it failed; a backup of which somebody removes something at this moment is left for later. */
async function copyOne(round: Round, { backup, placeUrl }: DueCopy): Promise<boolean> {
  const { services, input } = round
  const { catalog } = services.tenants
  const target = placesOf(services.store).find(({ url }) => url === placeUrl)
  const source = placesOf(services.store).find(({ url }) => url !== placeUrl)
  if (target === undefined || source === undefined) return true
  try {
    const database = await services.tenants.databaseOf(backup.organizationId)
    return await database.withConnection(async (connection) => {
      if (!(await tryLockCopies(connection, backup.organizationId))) return true
      if (!(await recordCopyStart(catalog, backup.id, placeUrl))) return true
      const { signal } = input
      const copying = { backup, source, target, whole: round.whole, signal }
      const copied = await copyObjects(services, copying)
      if (await recordCopyComplete(round, backup, placeUrl, copied)) {
        round.copied += 1
        round.objects += copied.written
        round.bytes += copied.writtenBytes
      }
      return true
    })
  } catch (error) {
    throwIfInterrupted(input.signal)
    const failure = explainFailure(error)
    services.log.warn({ err: failure, backupId: backup.id }, 'A backup could not be copied')
    round.failed.push({ backup_id: backup.id, store: placeUrl, code: failure.code })
    await recordCopyFailure(round, backup, placeUrl, failure)
    return false
  }
}

interface CopiedObjects {
  objects: number
  bytes: number
  /** Those that were not there yet. */
  written: number
  writtenBytes: number
}

interface Copying {
  backup: Backup
  source: Store
  target: Store
  /** What this call has read back already. */
  whole: Set<string>
  signal: AbortSignal | undefined
}

async function copyObjects(services: Services, copying: Copying): Promise<CopiedObjects> {
  const { backup, source, target, signal } = copying
  const { store, signingKeys } = services
  const summary = await loadSummary({ store, signingKeys }, backup, signal)
  const parts = new Map(
    summary.tables.flatMap((table) => table.parts).map((part) => [part.path, part]),
  )
  const proven = await findProvenStamps(services.tenants.catalog, backup, target.url, [
    ...new Set([...parts.keys()].map((path) => stampOf(path) ?? '')),
  ])
  const there = await listFolders(target, [...parts.keys(), backup.summaryPath ?? ''], signal)
  const result = { objects: 0, bytes: 0, written: 0, writtenBytes: 0 }
  const count = (bytes: number, isWritten: boolean) => {
    result.objects += 1
    result.bytes += bytes
    result.written += isWritten ? 1 : 0
    result.writtenBytes += isWritten ? bytes : 0
  }

  const waiting = [...parts.values()]
  const work = async () => {
    for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
      throwIfInterrupted(signal)
      const facts = {
        path: part.path,
        storedBytes: part.stored_bytes,
        storedSha256: part.stored_sha256,
      }
      const isProven = proven.has(stampOf(part.path) ?? '')
      const size = there.get(part.path)
      count(part.stored_bytes, await copyObject({ ...copying, facts, size, isProven }))
    }
  }
  await Promise.all(Array.from({ length: WIDTH }, work))

  for (const { path, sha256 } of await findPlans(services.tenants.catalog, backup)) {
    const plan = await interruptible(source.stat(path), signal)
    if (plan === null) continue
    const facts = { path, storedBytes: plan.size, storedSha256: sha256 }
    const size = there.get(path)
    count(plan.size, await copyObject({ ...copying, facts, size, isProven: false }))
  }
  const body = await readSummaryBytes(store, backup, signal)
  const facts = {
    path: backup.summaryPath ?? '',
    storedBytes: body.length,
    storedSha256: backup.summarySha256 ?? '',
  }
  const size = there.get(facts.path)
  const isWritten = await copyObject({ ...copying, facts, size, isProven: false, body })
  count(body.length, isWritten)
  return result
}

/** Sees to it that one object is whole in the target. False where it was there already. */
async function copyObject({
  source,
  target,
  whole,
  facts,
  size,
  isProven,
  body,
  signal,
}: Copying & {
  facts: ObjectFacts
  /** Of the object that is there; undefined for none. */
  size: number | undefined
  /** It was read back there when another backup was copied. */
  isProven: boolean
  body?: Buffer
}): Promise<boolean> {
  const { path } = facts
  const name = JSON.stringify([target.url, facts])
  if (size === facts.storedBytes) {
    if (isProven || whole.has(name)) return false
    if (await isWhole(target, facts, signal)) return false
  }
  const bytes = body ?? (await readObject(source, facts, signal))
  const type = path.endsWith('.gz') ? 'application/gzip' : 'application/json'
  try {
    if (size === undefined) await interruptible(target.put(path, bytes, type, signal), signal)
    else await replaceObject(target, path, bytes, type, signal)
  } catch (error) {
    if (!(error instanceof BackupError && error.code === 'object_exists')) throw error
    await replaceObject(target, path, bytes, type, signal)
  }
  await checkObject(target, facts, signal)
  whole.add(name)
  return true
}

/** The sizes of what is in the folders of these objects. */
async function listFolders(
  target: Store,
  paths: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Map<string, number>> {
  const sizes = new Map<string, number>()
  for (const folder of new Set(paths.map((path) => path.slice(0, path.lastIndexOf('/') + 1)))) {
    for (const { path, size } of await interruptible(target.list(folder), signal)) {
      sizes.set(path, size)
    }
  }
  return sizes
}

/** Only of an object whose right bytes were read and proven elsewhere a moment ago. */
async function replaceObject(
  target: Store,
  path: string,
  bytes: Buffer,
  type: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { locked } = await interruptible(target.remove([path]), signal)
  const [lock] = locked
  if (lock !== undefined) {
    const until = lock.until === null ? 'without an end' : `until ${lock.until.toISOString()}`
    throw new BackupError(
      'object_exists',
      `The object ${path} is damaged in ${target.url}, and the bucket keeps it locked ${until}: it can't be put right before.`,
      { details: { path } },
    )
  }
  await interruptible(target.put(path, bytes, type, signal), signal)
}

async function isWhole(
  target: Store,
  facts: ObjectFacts,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    await checkObject(target, facts, signal)
    return true
  } catch (error) {
    if (error instanceof BackupError && error.code === 'backup_damaged') return false
    throw error
  }
}

/**
 * Copies that are still to be made: backups by the places that lack them, those left out that can be read in
 * none of them, and safety backups whose restore has not stored its plan yet. `$1` are the URLs of the places,
 * `$2` what was tried already.
 */
const DUE = `
  from public.tenant_backups b
  cross join unnest($1::text[]) as p (url)
  left join tenantkeep.backup_copies c on c.backup_id = b.id and c.store_url = p.url
  where b.status = 'complete' and b.pruned_at is null and b.damaged_at is null
    and not (b.id::text || ' ' || p.url = any ($2::text[]))
    and coalesce(c.status <> 'complete', b.store_url <> p.url)
    and (b.backup_type <> 'pre_restore' or b.completed_at < now() - interval '1 hour'
      or exists (select from public.backup_logs l where l.safety_backup_id = b.id))
    and (b.store_url = any ($1) or exists (
      select from tenantkeep.backup_copies o
      where o.backup_id = b.id and o.store_url = any ($1) and o.status = 'complete'))`

async function findDueCopies(services: Services, seen: readonly string[]): Promise<DueCopy[]> {
  const { rows } = await services.tenants.catalog.query<DueCopy>(
    `select ${BACKUP_JSON} as backup, p.url as "placeUrl" ${DUE}
     order by b.created_at desc, b.id limit ${BATCH}`,
    [placesOf(services.store).map(({ url }) => url), seen],
  )
  return rows
}

/** How many copies are still to be made, of backups so old; 0 where no second place is set up. */
export async function countDueCopies(
  { catalog, store }: { catalog: Queryable; store: Store },
  { olderThanHours = 0, seen = [] }: { olderThanHours?: number; seen?: readonly string[] } = {},
): Promise<number> {
  const places = placesOf(store).map(({ url }) => url)
  if (places.length < 2) return 0
  const { rows } = await catalog.query<{ count: string }>(
    `select count(*) as count ${DUE} and b.completed_at <= now() - $3 * interval '1 hour'`,
    [places, seen, olderThanHours],
  )
  return Number(rows[0]?.count)
}

/** Backups of the tenant whose objects were all read back in this place: what they brought need not be read again. */
async function findProvenStamps(
  catalog: Queryable,
  backup: Backup,
  placeUrl: string,
  stamps: readonly string[],
): Promise<Set<string>> {
  const { rows } = await catalog.query<{ stamp: string }>(
    `select b.object_stamp as stamp from public.tenant_backups b
     left join tenantkeep.backup_copies c on c.backup_id = b.id and c.store_url = $3
     where b.organization_id = $1 and b.object_stamp = any ($2) and b.summary_path is not null
       and coalesce(c.status = 'complete', b.store_url = $3)`,
    [backup.organizationId, stamps, placeUrl],
  )
  return new Set(rows.map(({ stamp }) => stamp))
}

/** The plan of the restore that a safety backup was made for: an undo needs both. */
async function findPlans(
  catalog: Queryable,
  { id, backupType }: Backup,
): Promise<{ path: string; sha256: string }[]> {
  if (backupType !== 'pre_restore') return []
  const { rows } = await catalog.query<{ path: string; sha256: string }>(
    `select distinct plan_path as path, plan_sha256 as sha256 from public.backup_logs
     where safety_backup_id = $1 and plan_path is not null`,
    [id],
  )
  return rows
}

/** False where somebody else has copied it meanwhile, or it was given up. */
async function recordCopyStart(
  catalog: Queryable,
  backupId: string,
  placeUrl: string,
): Promise<boolean> {
  const { rowCount } = await catalog.query(
    `insert into tenantkeep.backup_copies as c (backup_id, store_url, attempts)
     select b.id, $2, 1 from public.tenant_backups b
     where b.id = $1 and b.status = 'complete' and b.pruned_at is null
     on conflict (backup_id, store_url) do update set status = 'running', attempts = c.attempts + 1
     where c.status <> 'complete'`,
    [backupId, placeUrl],
  )
  return rowCount === 1
}

/** Says so in catalog and journal, unless the backup was given up meanwhile. */
async function recordCopyComplete(
  { services, input }: Round,
  backup: Backup,
  placeUrl: string,
  { objects, bytes, written, writtenBytes }: CopiedObjects,
): Promise<boolean> {
  const { actor, runId } = input
  const { rowCount } = await services.tenants.catalog.query(
    `with source as (
       select b.* from public.tenant_backups b where b.id = $1 and b.status = 'complete' for share
     ), copied as (
       update tenantkeep.backup_copies c set
         status = 'complete', objects = $3::int, bytes = $4::bigint, copied_at = clock_timestamp(),
         error_code = null, error_message = null
       from source s where c.backup_id = s.id and c.store_url = $2
     )
     insert into public.backup_logs
       (backup_type, status, completed_at, organization_id, organization_name, backup_id, run_id,
        actor_kind, actor_id, actor_label, total_size, details)
     select 'copy', 'complete', clock_timestamp(), s.organization_id, s.organization_name, s.id, $5,
       $6, $7, $8, $4, jsonb_build_object('store', $2::text, 'objects', $3::int, 'bytes', $4::bigint,
         'written_objects', $9::int, 'written_bytes', $10::bigint)
     from source s`,
    [
      backup.id,
      placeUrl,
      objects,
      bytes,
      runId,
      actor.kind,
      actor.id,
      actor.label,
      written,
      writtenBytes,
    ],
  )
  return rowCount === 1
}

/** In the journal only where it is the first time: an outage of a week is not a thousand lines. */
async function recordCopyFailure(
  { services, input }: Round,
  backup: Backup,
  placeUrl: string,
  failure: BackupError,
): Promise<void> {
  const { actor, runId } = input
  await services.tenants.catalog.query(
    `with failed as (
       update tenantkeep.backup_copies set
         status = 'failed', error_code = $3, error_message = $4
       where backup_id = $1 and store_url = $2 and status <> 'complete'
       returning attempts
     )
     insert into public.backup_logs
       (backup_type, status, completed_at, organization_id, organization_name, backup_id, run_id,
        actor_kind, actor_id, actor_label, error_code, error_message, details)
     select 'copy', 'failed', clock_timestamp(), b.organization_id, b.organization_name, b.id, $5,
       $6, $7, $8, $3, $4, jsonb_build_object('store', $2::text)
     from public.tenant_backups b, failed f where b.id = $1 and f.attempts = 1`,
    [backup.id, placeUrl, failure.code, failure.message, runId, actor.kind, actor.id, actor.label],
  )
}
