-- What pruning, verification, drills, copies and watching have in common: their settings, their runs and
-- journal rows, and what they say about a backup.

alter table tenantkeep.settings
  drop constraint settings_key_known,
  add constraint settings_key_known check (key in (
    'tenant_table', 'tenant_columns', 'host_schemas', 'membership', 'inactive_predicate',
    'template_tenant', 'max_concurrent_backups', 'time_budget_seconds', 'lock_timeout_ms',
    'gzip_level', 'max_row_bytes', 'subtenants',
    'retention', 'safety_backup_days', 'departed_tenant_days', 'verify_bytes_per_day', 'drills_per_day',
    'upkeep_after_daily', 'monitor', 'seed_fires_triggers'
  ));

alter table tenantkeep.runs
  drop constraint runs_kind_known,
  add constraint runs_kind_known check (kind in (
    'daily_tenant', 'manual', 'restore', 'undo', 'compare', 'export',
    'prune', 'verify', 'drill', 'copy', 'seed', 'create_tenant', 'offboard'
  ));

alter table public.tenant_backups
  add column checked_at timestamptz,
  add column damaged_at timestamptz,
  add column damage jsonb,
  add column proven_at timestamptz,
  add column pruned_at timestamptz,
  add column prune_reason text,
  add column pinned_by_kind text,
  add constraint tenant_backups_damage_described check ((damaged_at is null) = (damage is null)),
  add constraint tenant_backups_pruned_has_reason check (
    status <> 'pruned' or (pruned_at is not null and prune_reason is not null)
  );
comment on column public.tenant_backups.verified_at is
  'When every byte of it was last read back and found whole.';
comment on column public.tenant_backups.checked_at is
  'When somebody last tried to read it back in whole, whatever came of it.';
comment on column public.tenant_backups.damaged_at is
  'Since when it is known not to be whole; such a backup is not offered for a restore. Null again once it is read back whole.';
comment on column public.tenant_backups.damage is
  'What is wrong with it: codes, messages, tables and paths, never values.';
comment on column public.tenant_backups.proven_at is
  'When a drill last loaded it and found every row, key and reference in order.';
comment on column public.tenant_backups.pinned_by_kind is
  'user or operator. An operator''s pin is a hold: the tenant''s owner can''t lift it, and the tenant can''t be forgotten.';

-- The journal has known who pinned.
update public.tenant_backups b
set pinned_by_kind = coalesce((
  select l.actor_kind from public.backup_logs l
  where l.backup_id = b.id and l.backup_type = 'update' and l.details -> 'changed' ? 'pin'
  order by l.created_at desc limit 1
), 'operator')
where b.pinned_at is not null;
alter table public.tenant_backups
  add constraint tenant_backups_pin_has_person check ((pinned_at is null) = (pinned_by_kind is null));

-- Pages over the backups of all tenants, newest first.
create index tenant_backups_recent on public.tenant_backups (created_at desc, id desc);

alter table public.backup_logs
  drop constraint backup_logs_type_known,
  add constraint backup_logs_type_known check (backup_type in (
    'daily_tenant', 'manual', 'pre_restore', 'restore', 'undo', 'prune', 'seed_defaults', 'update', 'run',
    'forget', 'verify', 'drill', 'copy', 'rebuild', 'pause', 'resume', 'policy', 'create_tenant', 'offboard'
  )),
  add column announced_at timestamptz;
comment on column public.backup_logs.announced_at is
  'When the webhook was told of this restore, undo or erasure; null while it was not.';

grant insert, update, delete on tenantkeep.paused_tenants to tenantkeep_worker;
create policy "The worker pauses tenants" on tenantkeep.paused_tenants
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker changes why tenants are paused" on tenantkeep.paused_tenants
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');
create policy "The worker resumes tenants" on tenantkeep.paused_tenants
  for delete to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

insert into tenantkeep.migrations (version) values ('20261121093000');
