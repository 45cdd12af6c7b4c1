-- How long backups are kept, what is to be removed of those that are not, and which tenants were forgotten.

create table tenantkeep.retention_policies (
  tenant_id text primary key,
  policy jsonb not null,
  set_at timestamptz not null default now(),
  set_by text not null
);
comment on table tenantkeep.retention_policies is
  'Tenants whose backups are kept by other rules than those of the setting retention.';

create table tenantkeep.departed_tenants (
  tenant_id text primary key,
  noticed_at timestamptz not null default now()
);
comment on table tenantkeep.departed_tenants is
  'Tenants with backups that the host lists no more, since when prune knows. Those that come back are taken off.';

-- Written in the statement that takes a backup out of the catalog, so that whoever comes after a death, or
-- after the day on which a bucket lets go of an object, knows what is still to be removed.
create table tenantkeep.doomed_objects (
  journal_id uuid not null references public.backup_logs (id),
  store_url text not null,
  path text not null,
  tenant_id text not null,
  stored_bytes bigint not null,
  is_locked boolean not null default false,
  locked_until timestamptz,
  try_after timestamptz,
  primary key (journal_id, store_url, path)
);
create index doomed_objects_of_tenant on tenantkeep.doomed_objects (tenant_id);
comment on table tenantkeep.doomed_objects is
  'Objects of pruned and forgotten backups that are still in a store: a row goes when its object is gone.';
comment on column tenantkeep.doomed_objects.is_locked is
  'The bucket refused to remove it: until locked_until, or nobody knows until when. It is tried again after try_after.';

create table tenantkeep.forgotten_tenants (
  tenant_id text not null,
  forgotten_at timestamptz not null,
  erasure_id uuid not null references public.backup_logs (id),
  primary key (tenant_id, forgotten_at)
);
comment on table tenantkeep.forgotten_tenants is
  'Tenants whose backups were erased: whatever was taken before that moment is not read, listed or restored any more. The stores hold the same, signed, in case this catalog comes back from an older copy.';

create index tenant_backups_pruned on public.tenant_backups (organization_id)
  where status = 'pruned' and objects_removed_at is null;

create index backup_logs_unfinished_removals on public.backup_logs (organization_id)
  where backup_type in ('prune', 'forget') and status in ('running', 'failed');

alter table tenantkeep.retention_policies enable row level security;
alter table tenantkeep.departed_tenants enable row level security;
alter table tenantkeep.doomed_objects enable row level security;
alter table tenantkeep.forgotten_tenants enable row level security;
grant select, insert, update, delete on tenantkeep.retention_policies, tenantkeep.doomed_objects to tenantkeep_worker;
grant select, insert, delete on tenantkeep.departed_tenants to tenantkeep_worker;
grant select, insert on tenantkeep.forgotten_tenants to tenantkeep_worker;

create policy "The worker keeps policies" on tenantkeep.retention_policies
  for all to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');
create policy "The worker notices departures" on tenantkeep.departed_tenants
  for all to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');
create policy "The worker removes what is doomed" on tenantkeep.doomed_objects
  for all to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');
create policy "The worker reads who was forgotten" on tenantkeep.forgotten_tenants
  for select to tenantkeep_worker using (true);
create policy "The worker records who was forgotten" on tenantkeep.forgotten_tenants
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');

-- What a restore put aside goes with its safety backup; without that there is no undo to bring it back.
grant delete on tenantkeep.released_rows to tenantkeep_worker;
create policy "The worker deletes released rows" on tenantkeep.released_rows
  for delete to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');
-- What runs told of a forgotten tenant.
grant delete on tenantkeep.run_events to tenantkeep_worker;
create policy "The worker deletes events of runs" on tenantkeep.run_events
  for delete to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

insert into tenantkeep.migrations (version) values ('20261121093100');
