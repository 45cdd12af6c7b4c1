-- What a run of seedings says of each tenant.

alter table tenantkeep.run_tenants add column result jsonb;
comment on column tenantkeep.run_tenants.result is
  'Of a run that seeds: what was or would be written per table, and the conflicts; of a tenant that failed, the details of its error. No values of rows but those of samples and conflicts.';

insert into tenantkeep.migrations (version) values ('20261121094100');
