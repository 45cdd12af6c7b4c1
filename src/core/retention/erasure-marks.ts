import * as z from 'zod'
import { readBounded } from '../backup/check-object.ts'
import { checkSignature, Signature, sign } from '../backup/signature.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import type { Services } from '../services.ts'
import { backupStamp, erasurePath, erasurePrefix } from '../store/object-path.ts'
import { placesOf } from '../store/read-with-copy.ts'
import type { Store } from '../store/store.ts'

/**
 * An erasure stands in the catalog and, signed, in every store, outside of the tenant's folder. A catalog that
 * comes back from an older copy says of erased backups that they are complete; the stores know better.
 */
const content = {
  format_version: z.literal(1),
  erasure_id: z.uuid(),
  organization_id: z.string().min(1),
  /** Whatever was taken before this moment is gone. */
  forgotten_at: z.iso.datetime(),
}
const ErasureMark = z.strictObject({ ...content, signature: Signature })

const MAX_MARK_BYTES = 16 * 1024

type MarkServices = Pick<Services, 'store' | 'signingKeys'>

/**
 * Writes the marks of a tenant's erasures that are under way to every place, before the first object goes; one
 * that is there already is the same.
 */
export async function writeErasureMarks(services: Services, tenantId: string): Promise<void> {
  const { rows } = await services.tenants.catalog.query<{ id: string; ms: string }>(
    `select f.erasure_id as id, (extract(epoch from f.forgotten_at) * 1000) as ms
     from tenantkeep.forgotten_tenants f join public.backup_logs l on l.id = f.erasure_id
     where f.tenant_id = $1 and l.status <> 'complete'`,
    [tenantId],
  )
  for (const { id, ms } of rows) {
    const forgottenAt = new Date(Number(ms))
    const mark = {
      format_version: 1,
      erasure_id: id,
      organization_id: tenantId,
      forgotten_at: forgottenAt.toISOString(),
    }
    const signature = sign(mark, services.signingKeys)
    const body = Buffer.from(`${JSON.stringify({ ...mark, signature }, null, 2)}\n`, 'utf8')
    const path = erasurePath(tenantId, backupStamp(forgottenAt, id))
    for (const place of placesOf(services.store)) {
      try {
        await place.put(path, body, 'application/json')
      } catch (error) {
        // Signed with the key of before: it says the same.
        if (!(error instanceof BackupError) || error.code !== 'object_exists') throw error
      }
    }
  }
}

/**
 * When each tenant was last forgotten, by the catalog and by the stores: the first place that answers, since a
 * mark is in all of them before the first object goes.
 */
export async function readErasures(
  services: MarkServices & { catalog: Queryable },
): Promise<Map<string, Date>> {
  const { rows } = await services.catalog.query<{ id: string; ms: string }>(
    `select tenant_id as id, (extract(epoch from max(forgotten_at)) * 1000) as ms
     from tenantkeep.forgotten_tenants group by 1`,
  )
  const erasures = new Map(rows.map(({ id, ms }) => [id, new Date(Number(ms))]))
  const marks = await readMarks(services, erasurePrefix())
  for (const { tenantId, forgottenAt } of marks) {
    const known = erasures.get(tenantId)
    if (known === undefined || known < forgottenAt) erasures.set(tenantId, forgottenAt)
  }
  return erasures
}

/**
 * Throws `tenant_forgotten` where a store says that the tenant was forgotten after this backup was taken: its
 * row came back with an older copy of the catalog, and must not bring the rows back with it.
 */
export async function requireNotForgotten(
  services: MarkServices,
  backup: { organizationId: string; takenAt: string | null },
): Promise<void> {
  const marks = await readMarks(services, erasurePrefix(backup.organizationId))
  const takenAt = new Date(backup.takenAt ?? 0)
  const isErased = marks.some(
    ({ tenantId, forgottenAt }) => tenantId === backup.organizationId && forgottenAt >= takenAt,
  )
  if (!isErased) return
  throw new BackupError(
    'tenant_forgotten',
    'This organization asked to be forgotten after this backup was taken. Its backups were erased and are not read any more.',
  )
}

interface Mark {
  tenantId: string
  forgottenAt: Date
}

/** Of the first place that answers: what was erased is marked in all of them. */
async function readMarks(services: MarkServices, prefix: string): Promise<Mark[]> {
  let failure: unknown
  for (const place of placesOf(services.store)) {
    try {
      return await readMarksOf(place, services, prefix)
    } catch (error) {
      failure ??= error
    }
  }
  throw failure
}

/** What nobody but us can have written; anything else that lies there proves nothing, and is passed over. */
async function readMarksOf(store: Store, services: MarkServices, prefix: string): Promise<Mark[]> {
  const marks: Mark[] = []
  for (const { path } of await store.list(prefix)) {
    const body = await readBounded(store, { path, maxBytes: MAX_MARK_BYTES })
    try {
      const { signature, ...mark } = ErasureMark.parse(JSON.parse(body.toString('utf8')))
      checkSignature(mark, signature, services.signingKeys, 'erasure mark')
      const forgottenAt = new Date(mark.forgotten_at)
      if (erasurePath(mark.organization_id, backupStamp(forgottenAt, mark.erasure_id)) === path) {
        marks.push({ tenantId: mark.organization_id, forgottenAt })
      }
    } catch {
      // Not ours, or signed with a key that is not set any more.
    }
  }
  return marks
}
