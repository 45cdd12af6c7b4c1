import { BackupError } from '../errors.ts'
import type { Actor, Services } from '../services.ts'
import { BACKUP_JSON, type Backup } from './backup-record.ts'

export interface UpdateBackupInput {
  backupId: string
  /** The backup must be this tenant's; another's is «not found». Missing for operators. */
  tenantId?: string
  actor: Actor
  /** What is missing stays as it is; null takes it away. */
  name?: string | null
  note?: string | null
  tags?: readonly string[]
  /** Keeps the backup from being pruned, for this reason; null lets it go. */
  pin?: { reason: string } | null
}

/**
 * Changes what people say about a backup (name, note, tags, pin), never what is in it, and writes it into
 * the journal. Throws `backup_not_found`, `backup_incomplete` (only complete backups can be pinned),
 * `not_allowed` (a user lifts or changes an operator's pin) and `invalid_request` (a pin without a reason).
 */
export async function updateBackup(services: Services, input: UpdateBackupInput): Promise<Backup> {
  const { backupId, tenantId, actor, name, note, tags, pin } = input
  const reason = pin?.reason.trim()
  if (reason === '') {
    throw new BackupError(
      'invalid_request',
      'A pin needs a reason, so that somebody can lift it later.',
    )
  }
  const changed = Object.entries({ name, note, tags, pin })
    .filter(([, value]) => value !== undefined)
    .map(([field]) => field)

  const { rows } = await services.tenants.catalog.query<{ backup: Backup }>(
    `with updated as (
       update public.tenant_backups set
         name = case when 'name' = any ($3) then $4 else name end,
         note = case when 'note' = any ($3) then $5 else note end,
         tags = case when 'tags' = any ($3) then $6::text[] else tags end,
         pinned_at = case when 'pin' = any ($3) then case when $7::text is not null then now() end else pinned_at end,
         pinned_by = case when 'pin' = any ($3) then case when $7::text is not null then $8 end else pinned_by end,
         pinned_by_kind = case when 'pin' = any ($3) then case when $7::text is not null then $9 end else pinned_by_kind end,
         pin_reason = case when 'pin' = any ($3) then $7 else pin_reason end
       where id = $1 and ($2::text is null or organization_id = $2)
         and ($7::text is null or status = 'complete')
         and not ('pin' = any ($3) and $9 = 'user' and coalesce(pinned_by_kind <> 'user', false))
       returning *
     ), journalled as (
       insert into public.backup_logs
         (backup_type, status, completed_at, organization_id, organization_name, backup_id,
          actor_kind, actor_id, actor_label, details)
       select 'update', 'complete', now(), organization_id, organization_name, id, $9, $10, $8,
         jsonb_build_object('changed', to_jsonb($3::text[]))
           || case when 'pin' = any ($3) then jsonb_build_object('pin_reason', $7::text) else '{}' end
       from updated
     )
     select ${BACKUP_JSON} as backup from updated b`,
    [
      backupId,
      tenantId ?? null,
      changed,
      name ?? null,
      note ?? null,
      tags ?? [],
      reason ?? null,
      actor.label,
      actor.kind,
      actor.id,
    ],
  )
  const backup = rows[0]?.backup
  if (backup !== undefined) return backup
  throw await explainMiss(services, backupId, tenantId)
}

async function explainMiss(
  { tenants }: Services,
  backupId: string,
  tenantId: string | undefined,
): Promise<BackupError> {
  const { rows } = await tenants.catalog.query<{ status: string }>(
    `select status from public.tenant_backups
     where id = $1 and ($2::text is null or organization_id = $2)`,
    [backupId, tenantId ?? null],
  )
  const status = rows[0]?.status
  if (status === undefined) {
    return new BackupError('backup_not_found', `There is no backup ${backupId}.`)
  }
  if (status === 'complete') {
    return new BackupError(
      'not_allowed',
      'An operator pinned this backup, and only an operator may change that.',
    )
  }
  return new BackupError(
    'backup_incomplete',
    `Backup ${backupId} is ${status}: only complete backups can be pinned.`,
  )
}
