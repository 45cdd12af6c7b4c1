-- What drills find, and how many bytes verification in rotation has read of its daily budget.

create table tenantkeep.drills (
  id uuid primary key,
  organization_id text not null,
  backup_id uuid not null references public.tenant_backups (id) on delete cascade,
  run_id uuid references tenantkeep.runs (id) on delete set null,
  in_rotation boolean not null,
  status text not null default 'running',
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  findings jsonb not null default '[]',
  warnings jsonb not null default '[]',
  rows bigint,
  bytes bigint,
  duration_ms bigint,
  phases jsonb not null default '{}',
  error_code text,
  error_message text,
  constraint drills_status_known check (status in ('running', 'passed', 'failed', 'cancelled')),
  constraint drills_end_is_whole check ((status = 'running') = (finished_at is null)),
  constraint drills_measured check (
    status not in ('passed', 'failed') or (rows is not null and bytes is not null and duration_ms is not null)
  ),
  constraint drills_verdict_follows_findings check (
    (status = 'failed') = (jsonb_array_length(findings) > 0)
  ),
  constraint drills_cancel_has_reason check (
    status <> 'cancelled' or (error_code is not null and error_message is not null)
  )
);
create index drills_by_tenant on tenantkeep.drills (organization_id, started_at desc);
create index drills_by_backup on tenantkeep.drills (backup_id);
create index drills_run on tenantkeep.drills (run_id);
create index drills_running on tenantkeep.drills (started_at) where status = 'running';
comment on table tenantkeep.drills is
  'One row for every time a backup was loaded on trial. While it is running, nothing may remove its objects.';
comment on column tenantkeep.drills.status is
  'passed: it would come back as it was; failed: findings say what would not; cancelled: it could not be tried to its end.';
comment on column tenantkeep.drills.findings is
  'Codes, tables, constraints and counts, never a value of a row.';
comment on column tenantkeep.drills.duration_ms is
  'What reading, loading and checking took, as a measure of what a restore of everything takes; phases has the parts.';
alter table tenantkeep.drills enable row level security;
grant select, insert, update on tenantkeep.drills to tenantkeep_worker;
create policy "The worker reads drills" on tenantkeep.drills
  for select to tenantkeep_worker using (true);
create policy "The worker begins drills" on tenantkeep.drills
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker ends drills" on tenantkeep.drills
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

create table tenantkeep.verified_bytes (
  day date primary key,
  bytes bigint not null,
  constraint verified_bytes_counted check (bytes >= 0)
);
comment on table tenantkeep.verified_bytes is
  'Stored bytes that verification in rotation read on a day in UTC, whatever came of it.';
alter table tenantkeep.verified_bytes enable row level security;
grant select, insert, update on tenantkeep.verified_bytes to tenantkeep_worker;
create policy "The worker reads what it verified" on tenantkeep.verified_bytes
  for select to tenantkeep_worker using (true);
create policy "The worker counts what it verifies" on tenantkeep.verified_bytes
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker adds to what it verified" on tenantkeep.verified_bytes
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

insert into tenantkeep.migrations (version) values ('20261121093200');
