-- What a restore leaves in the journal: the backup that was taken just before it, the plan that it carried
-- out, what it undid. And what the runs of restores, comparisons and exports need.

alter table public.backup_logs
  add column safety_backup_id uuid references public.tenant_backups (id),
  add column plan_path text,
  add column plan_sha256 text,
  add column plan_hash text,
  add column undo_of uuid references public.backup_logs (id),
  add column note text,
  add constraint backup_logs_restore_is_whole check (
    status <> 'complete' or backup_type not in ('restore', 'undo') or (
      safety_backup_id is not null and plan_path is not null and plan_sha256 is not null
      and plan_hash is not null and total_tables is not null and total_records is not null
    )
  ),
  add constraint backup_logs_undo_names_restore check ((backup_type = 'undo') = (undo_of is not null));
create index backup_logs_safety_backup on public.backup_logs (safety_backup_id);
create index backup_logs_undo_of on public.backup_logs (undo_of);
-- The last word on «one restore of a tenant at a time», whatever the locks did.
create unique index backup_logs_one_restore on public.backup_logs (organization_id)
  where status = 'running' and backup_type in ('restore', 'undo');
comment on column public.backup_logs.safety_backup_id is
  'Of a restore: what the tenant was just before it, in full.';
comment on column public.backup_logs.plan_path is
  'Of a restore: the signed list of every row that it wrote, beside the safety backup. plan_sha256 is of the stored bytes.';
comment on column public.backup_logs.plan_hash is
  'Covers keys, contents before and after, and the options; a rehearsal with the same hash would have done the same.';
comment on column public.backup_logs.undo_of is 'The restore that this one took back.';

alter table tenantkeep.runs
  add column plan_hash text,
  drop constraint runs_kind_known,
  add constraint runs_kind_known check (
    kind in ('daily_tenant', 'manual', 'restore', 'undo', 'compare', 'export')
  );
comment on table tenantkeep.runs is
  'One call of the daily job over many tenants, or one manual backup, restore, rehearsal, comparison or export; progress is per tenant.';
comment on column tenantkeep.runs.plan_hash is
  'Of a restore or its rehearsal; finished_at says how old the plan is.';

alter table tenantkeep.run_tenants
  add column makes_backup boolean not null default true,
  drop constraint run_tenants_backup_named,
  add constraint run_tenants_backup_named check (
    status <> 'complete' or not makes_backup or backup_id is not null
  );
comment on column tenantkeep.run_tenants.makes_backup is
  'False in a run that restores, compares or exports: what became of it is in the run''s result.';

create table tenantkeep.run_events (
  run_id uuid not null references tenantkeep.runs (id) on delete cascade,
  seq bigint not null,
  at timestamptz not null default clock_timestamp(),
  event jsonb not null,
  primary key (run_id, seq),
  constraint run_events_counted_from_one check (seq > 0)
);
comment on table tenantkeep.run_events is
  'What a long run told while it worked, in order, so that a page that was closed finds it again.';
alter table tenantkeep.run_events enable row level security;
grant select, insert on tenantkeep.run_events to tenantkeep_worker;
create policy "The worker reads events of runs" on tenantkeep.run_events
  for select to tenantkeep_worker using (true);
create policy "The worker records events of runs" on tenantkeep.run_events
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');

insert into tenantkeep.migrations (version) values ('20261121092100');
