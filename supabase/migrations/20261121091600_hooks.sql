-- What we changed in the host beyond our own policies and grants, so that uninstall can put it back, and
-- the tables whose policies are off for a migration of the host. Touches nothing but its own two tables.

create table tenantkeep.host_changes (
  kind text not null,
  schema_name text not null,
  table_name text not null,
  policies text[] not null default '{}',
  changed_at timestamptz not null default now(),
  primary key (kind, schema_name, table_name),
  constraint host_changes_kind_known check (kind in ('row_security'))
);
comment on table tenantkeep.host_changes is
  'Host tables on which init switched row level security on; uninstall switches it off again.';
comment on column tenantkeep.host_changes.policies is
  'The host''s own policies at that time, asleep until then. Where there are others now, the host relies on row level security, and uninstall leaves it on.';

create table tenantkeep.unhooked_tables (
  schema_name text not null,
  table_name text not null,
  policy_digest text,
  unhooked_at timestamptz not null default now(),
  unhooked_by text not null,
  primary key (schema_name, table_name),
  constraint unhooked_tables_registered foreign key (schema_name, table_name)
    references tenantkeep.tenant_tables (schema_name, table_name) on delete cascade
);
comment on table tenantkeep.unhooked_tables is
  'Tables whose policies `unhook` took off for a migration of the host. While there is one, no backup is complete; `hook` or `init` puts them back.';
comment on column tenantkeep.unhooked_tables.policy_digest is
  'What confined us before; `hook` must arrive at the same.';

alter table tenantkeep.host_changes enable row level security;
alter table tenantkeep.unhooked_tables enable row level security;
grant select on tenantkeep.host_changes, tenantkeep.unhooked_tables to tenantkeep_worker;
create policy "The worker reads what was changed" on tenantkeep.host_changes
  for select to tenantkeep_worker using (true);
create policy "The worker reads what is unhooked" on tenantkeep.unhooked_tables
  for select to tenantkeep_worker using (true);

insert into tenantkeep.migrations (version) values ('20261121091600');
