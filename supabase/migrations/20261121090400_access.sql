-- Who may read and write the catalog, the journal and the runs. Owners and admins read their own tenants'
-- rows; members, other tenants and anon nothing; only the worker writes, and it never deletes.

alter table public.tenant_backups enable row level security;
alter table public.backup_logs enable row level security;
alter table tenantkeep.runs enable row level security;

revoke all on public.tenant_backups, public.backup_logs from public;
grant select, insert, update on public.tenant_backups, public.backup_logs, tenantkeep.runs to tenantkeep_worker;

create policy "The worker reads backups" on public.tenant_backups
  for select to tenantkeep_worker using (true);
create policy "The worker records backups" on public.tenant_backups
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker updates backups" on public.tenant_backups
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

create policy "The worker reads the journal" on public.backup_logs
  for select to tenantkeep_worker using (true);
create policy "The worker writes the journal" on public.backup_logs
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker closes journal rows" on public.backup_logs
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

create policy "The worker reads runs" on tenantkeep.runs
  for select to tenantkeep_worker using (true);
create policy "The worker starts runs" on tenantkeep.runs
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker updates runs" on tenantkeep.runs
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

do $$
declare
  api_role text;
begin
  foreach api_role in array array['anon', 'authenticated', 'service_role'] loop
    if exists (select from pg_roles where rolname = api_role) then
      execute format('revoke all on public.tenant_backups, public.backup_logs from %I', api_role);
    end if;
  end loop;
  if to_regprocedure('tenantkeep.administered_tenants()') is not null then
    grant select on public.tenant_backups, public.backup_logs to authenticated;
    create policy "Owners and admins read the backups of their tenants" on public.tenant_backups
      for select to authenticated
      using (organization_id in (select tenantkeep.administered_tenants()));
    create policy "Owners and admins read the journal of their tenants" on public.backup_logs
      for select to authenticated
      using (organization_id in (select tenantkeep.administered_tenants()));
  end if;
end
$$;

insert into tenantkeep.migrations (version) values ('20261121090400');
