import type { Queryable } from '../database/database.ts'
import { BACKUP_JSON, type Backup } from './backup-record.ts'

export interface ListBackupsInput {
  /** One tenant's; all tenants' where it is missing. */
  tenantId?: string
  statuses?: readonly Backup['status'][]
  backupTypes?: readonly Backup['backupType'][]
  /** Days, UTC, both included: `2026-11-21`. */
  fromDate?: string
  toDate?: string
  /** Only these. */
  ids?: readonly string[]
  /** What `nextCursor` of the page before said. */
  cursor?: string
  /** 50 unless told, at most 500. */
  limit?: number
}

export interface BackupPage {
  /** Newest first. */
  backups: Backup[]
  /** Null on the last page. */
  nextCursor: string | null
}

const MOST = 500

/** Which of these backups are whole in another place, too; their ids. */
export async function findCopied(
  catalog: Queryable,
  ids: readonly string[],
): Promise<ReadonlySet<string>> {
  const { rows } = await catalog.query<{ id: string }>(
    `select distinct backup_id as id from tenantkeep.backup_copies
     where backup_id = any ($1::uuid[]) and status = 'complete'`,
    [ids],
  )
  return new Set(rows.map(({ id }) => id))
}

/** Lists backups, newest first, a page at a time; new ones don't shift the pages that follow. */
export async function listBackups(
  catalog: Queryable,
  { tenantId, statuses, backupTypes, fromDate, toDate, ids, cursor, limit = 50 }: ListBackupsInput,
): Promise<BackupPage> {
  const size = Math.min(Math.max(1, Math.trunc(limit)), MOST)
  const { rows } = await catalog.query<{ backup: Backup }>(
    `select ${BACKUP_JSON} as backup from public.tenant_backups b
     where ($1::text is null or b.organization_id = $1)
       and ($2::text[] is null or b.status = any ($2))
       and ($3::text[] is null or b.backup_type = any ($3))
       and ($4::date is null or b.backup_date >= $4)
       and ($5::date is null or b.backup_date <= $5)
       and ($6::uuid is null or (b.created_at, b.id) < (
         select c.created_at, c.id from public.tenant_backups c where c.id = $6))
       and ($7::uuid[] is null or b.id = any ($7))
     order by b.created_at desc, b.id desc
     limit ${size + 1}`,
    [
      tenantId ?? null,
      statuses ?? null,
      backupTypes ?? null,
      fromDate ?? null,
      toDate ?? null,
      cursor ?? null,
      ids ?? null,
    ],
  )
  const backups = rows.slice(0, size).map((row) => row.backup)
  return { backups, nextCursor: rows.length > size ? (backups.at(-1)?.id ?? null) : null }
}
