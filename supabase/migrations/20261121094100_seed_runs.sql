-- What a run of seedings says of each tenant; a tenant's leaving, which writes as a
-- restore does; and changes of the defaults in the journal.

alter table tenantkeep.run_tenants add column result jsonb;
comment on column tenantkeep.run_tenants.result is
  'Of a run that seeds: what was or would be written per table, and the conflicts; of a tenant that failed, the details of its error. No values of rows but those of samples and conflicts.';

-- `defaults`: somebody changed a row of the template.
alter table public.backup_logs
  drop constraint backup_logs_type_known,
  add constraint backup_logs_type_known check (backup_type in (
    'daily_tenant', 'manual', 'pre_restore', 'restore', 'undo', 'prune', 'seed_defaults', 'update', 'run',
    'forget', 'verify', 'drill', 'copy', 'rebuild', 'pause', 'resume', 'policy', 'create_tenant', 'offboard',
    'defaults'
  ));

drop index public.backup_logs_one_restore;
create unique index backup_logs_one_restore on public.backup_logs (organization_id)
  where status = 'running' and backup_type in ('restore', 'undo', 'seed_defaults', 'offboard');

insert into tenantkeep.migrations (version) values ('20261121094100');
