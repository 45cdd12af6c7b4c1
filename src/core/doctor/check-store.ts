import { findLastOfAll } from '../backup/backup-record.ts'
import type { SigningKeys } from '../backup/signature.ts'
import type { Database, Queryable } from '../database/database.ts'
import { BackupError, type ErrorCode } from '../errors.ts'
import { readErasures } from '../retention/erasure-marks.ts'
import { findOrphans } from '../retention/find-orphans.ts'
import { placesOf } from '../store/read-with-copy.ts'
import type { Store } from '../store/store.ts'
import { type Finding, finding } from './finding.ts'

const REMEDIES: Partial<Record<ErrorCode, string>> = {
  bucket_missing: 'create the bucket, private (Dashboard > Storage > New bucket)',
  bucket_public: 'set the bucket to private, and find out since when it was public',
  store_unavailable:
    'tenantkeep doctor again when the store answers; check BACKUP_STORE (or --store)',
}

/** What the environment must say: the signing key and the store. An error is what reading it threw. */
export function checkEnvironment(given: {
  store: Store | BackupError
  signingKeys: SigningKeys | BackupError
}): Finding[] {
  return [
    { subject: 'BACKUP_STORE', value: given.store },
    { subject: 'BACKUP_SIGNING_KEY', value: given.signingKeys },
  ].flatMap(({ subject, value }) =>
    value instanceof BackupError
      ? [
          finding('not_configured', {
            subject,
            message: value.message,
            remedy: `set ${subject}, as docs/operations.md, «Environment», shows`,
          }),
        ]
      : [],
  )
}

/** Whether backups can be kept there now: in the first place, and in the second where one is set up. */
export async function checkStore(store: Store): Promise<Finding[]> {
  const found: Finding[] = []
  for (const [index, place] of placesOf(store).entries()) {
    const variable = index === 0 ? 'BACKUP_STORE (or --store)' : 'BACKUP_COPY_STORE'
    try {
      await place.check()
    } catch (error) {
      if (!(error instanceof BackupError)) throw error
      found.push(
        finding('store_unusable', {
          subject: place.url,
          message: error.message,
          remedy: REMEDIES[error.code] ?? `check ${variable}`,
        }),
      )
    }
  }
  return found
}

/** Objects that no backup names; the whole store is listed for it, and summaries are read. */
export async function checkOrphans(
  catalog: Database,
  given: { store: Store; signingKeys: SigningKeys },
): Promise<Finding[]> {
  const { orphans, unclear } = await findOrphans({ catalog, ...given })
  return [
    ...orphans.map(({ store, tenantId, paths, bytes }) =>
      finding('objects_orphaned', {
        subject: store,
        message: `${paths.length} objects (${bytes} bytes) of tenant ${tenantId} are named by no row and no summary, and older than a day.`,
        remedy: `tenantkeep prune --orphans --tenant ${tenantId}`,
      }),
    ),
    ...unclear.map(({ store, folder, reason }) =>
      finding('objects_unclear', {
        subject: `${store} ${folder}`,
        message: `Nobody can tell which objects there are needed, so none is removed: ${reason}`,
        remedy: 'none',
      }),
    ),
  ]
}

/** Backups that the catalog calls complete although their tenant was forgotten: it came from an older copy. */
export async function checkForgotten(services: {
  catalog: Queryable
  store: Store
  signingKeys: SigningKeys
}): Promise<Finding[]> {
  const erasures = await readErasures(services)
  const { rows } = await services.catalog.query<{ id: string; count: number }>(
    `select b.organization_id as id, count(*)::int as count
     from unnest($1::text[], $2::timestamptz[]) as f (id, at)
     join public.tenant_backups b on b.organization_id = f.id and b.status = 'complete' and b.taken_at <= f.at
     group by 1 order by 1`,
    [[...erasures.keys()], [...erasures.values()].map((at) => at.toISOString())],
  )
  return rows.map(({ id, count }) =>
    finding('forgotten_returned', {
      subject: id,
      message: `The catalog names ${count} backups of this tenant, which was forgotten after they were taken. They are not restored.`,
      remedy: `tenantkeep prune --tenant ${id}`,
    }),
  )
}

/** Seconds by which two clocks may differ before somebody should look; certificates and tokens care, and days. */
const TOLERANCE = 30

/**
 * Compares the database's clock with this machine's, and with the store's by the last summary: it was
 * written between the instant of the backup and its completion.
 */
export async function checkClocks(
  database: Queryable,
  { store, now = () => Date.now() }: { store: Store | null; now?: () => number },
): Promise<Finding[]> {
  const found: Finding[] = []
  const before = now()
  const { rows } = await database.query<{ now: string }>(
    `select extract(epoch from clock_timestamp())::text as now`,
  )
  const here = (before + now()) / 2
  const apart = (Number(rows[0]?.now) * 1000 - here) / 1000
  if (Math.abs(apart) > TOLERANCE) {
    found.push(
      finding('clock_differs', {
        subject: 'this machine',
        message: `The database’s clock is ${describeGap(apart)} this machine’s. Backups go by the database’s.`,
        remedy: 'timedatectl set-ntp true (on the machine whose clock is wrong)',
      }),
    )
  }
  const last = store === null ? undefined : await findLastOfAll(database)
  if (store === null || last === undefined || last.summaryPath === null) return found
  // Where it was made: a copy is written later.
  const place = placesOf(store).find(({ url }) => url === last.storeUrl)
  const written = (await place?.stat(last.summaryPath)) ?? null
  if (written === null || last.takenAt === null || last.completedAt === null) return found
  const stored = written.writtenAt.getTime()
  const early = (Date.parse(last.takenAt) - stored) / 1000
  const late = (stored - Date.parse(last.completedAt)) / 1000
  const off = Math.max(early, late)
  if (off > TOLERANCE) {
    found.push(
      finding('clock_differs', {
        subject: last.storeUrl,
        message: `By the store’s clock the last summary was written ${off.toFixed(0)} seconds ${early > late ? 'before' : 'after'} the backup was taken, by the database’s.`,
        remedy: 'timedatectl set-ntp true (on the machine whose clock is wrong)',
      }),
    )
  }
  return found
}

function describeGap(seconds: number): string {
  return `${Math.abs(seconds).toFixed(0)} seconds ${seconds > 0 ? 'ahead of' : 'behind'}`
}
