-- What watching needs: the rows of every table beside each backup, and by how much they fell; the problems
-- that somebody was told of; who tells them.

alter table public.tenant_backups
  add column table_rows jsonb,
  add column row_falls jsonb;
comment on column public.tenant_backups.table_rows is
  'Rows by table, as the summary has them: {"customers": 500}. Null in backups of earlier versions.';
comment on column public.tenant_backups.row_falls is
  'Tables with fewer rows than is usual for this tenant: [{"table", "rows", "usual"}]; table null: all together; rows null: not in the backup any more. Usual is the median over the last seven days that have a backup.';

-- Newest first, for each of thousands of tenants.
create index tenant_backups_newest on public.tenant_backups (organization_id, taken_at desc, created_at desc)
  where status = 'complete' and backup_type <> 'pre_restore';
-- What is not in the second place yet, of the last days.
create index tenant_backups_completed on public.tenant_backups (completed_at) where status = 'complete';
create index tenant_backups_damaged on public.tenant_backups (organization_id)
  where damaged_at is not null;

create table tenantkeep.alerts (
  id uuid primary key default gen_random_uuid(),
  key text not null,
  code text not null,
  severity text not null,
  tenant_id text,
  tenant_name text,
  table_name text,
  since timestamptz,
  message text not null,
  remedy text not null,
  opened_at timestamptz not null default clock_timestamp(),
  seen_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  announced_at timestamptz,
  reminded_at timestamptz,
  end_announced_at timestamptz,
  constraint alerts_severity_known check (severity in ('error', 'warning'))
);
create unique index alerts_open on tenantkeep.alerts (key) where ended_at is null;
create index alerts_ended_at on tenantkeep.alerts (ended_at);
comment on table tenantkeep.alerts is
  'Problems that the monitor saw, one row from the first call that saw it to the first that did not; ended ones are kept for 90 days.';
comment on column tenantkeep.alerts.key is 'What it is and whom it concerns; only one row of a key is open.';
comment on column tenantkeep.alerts.since is 'Since when it is so, as far as the catalog tells; opened_at is when it was noticed.';
comment on column tenantkeep.alerts.announced_at is
  'When the webhook took it; null while it did not. reminded_at: the last daily reminder; end_announced_at: when it took that it is over.';
alter table tenantkeep.alerts enable row level security;
grant select, insert, update, delete on tenantkeep.alerts to tenantkeep_worker;
create policy "The worker reads alerts" on tenantkeep.alerts
  for select to tenantkeep_worker using (true);
create policy "The worker opens alerts" on tenantkeep.alerts
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker ends alerts" on tenantkeep.alerts
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');
create policy "The worker deletes old alerts" on tenantkeep.alerts
  for delete to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

create table tenantkeep.watch (
  is_only_row boolean primary key default true,
  monitored_at timestamptz,
  claimed_by uuid,
  claimed_until timestamptz,
  is_unsure boolean not null default false,
  told_at timestamptz,
  untold_since timestamptz,
  constraint watch_has_one_row check (is_only_row)
);
comment on table tenantkeep.watch is
  'One row: when the monitor last ran, and the lease of whoever tells the webhook, so that nothing is told twice.';
comment on column tenantkeep.watch.untold_since is
  'Since when the webhook takes nothing; null while it does.';
comment on column tenantkeep.watch.is_unsure is
  'The last message may have arrived although nobody answered, so what is told next may have been said before.';
insert into tenantkeep.watch default values;
alter table tenantkeep.watch enable row level security;
grant select, update on tenantkeep.watch to tenantkeep_worker;
create policy "The worker reads the watch" on tenantkeep.watch
  for select to tenantkeep_worker using (true);
create policy "The worker keeps the watch" on tenantkeep.watch
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

-- What was done before anybody could be told of it is no news.
update public.backup_logs set announced_at = completed_at
where backup_type in ('restore', 'undo', 'forget') and completed_at is not null;
create index backup_logs_unannounced on public.backup_logs (completed_at)
  where announced_at is null and backup_type in ('restore', 'undo', 'forget');

insert into tenantkeep.migrations (version) values ('20261121093400');
