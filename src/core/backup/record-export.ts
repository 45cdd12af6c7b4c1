import type { Queryable } from '../database/database.ts'
import type { Actor } from '../services.ts'

/**
 * Puts on record that somebody fetches a backup now: for the next hour prune leaves it alone. Waits for a
 * prune that is about to take it; then nothing is recorded, and the backup is not complete any more.
 */
export async function recordExport(
  catalog: Queryable,
  { backupId, actor }: { backupId: string; actor: Actor },
): Promise<void> {
  await catalog.query(
    `with held as (
       select organization_id from public.tenant_backups where id = $1 and status = 'complete' for share
     )
     insert into tenantkeep.runs
       (kind, status, finished_at, actor_kind, actor_id, actor_label, tenant_ids, request)
     select 'export', 'complete', now(), $2, $3, $4, array[organization_id],
       jsonb_build_object('backup_id', $1::text)
     from held`,
    [backupId, actor.kind, actor.id, actor.label],
  )
}
