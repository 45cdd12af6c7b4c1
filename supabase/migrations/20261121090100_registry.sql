-- What Tenantkeep knows about the host application: settings, the registry of its tables, the ownership
-- edges between them, who may operate. Written by `init` (the administrator), read by the worker.

create table tenantkeep.migrations (
  version text primary key,
  applied_at timestamptz not null default now()
);
comment on table tenantkeep.migrations is
  'Migrations of Tenantkeep that this database has; functions compare it with what they need.';

create table tenantkeep.settings (
  key text primary key,
  value jsonb not null,
  updated_at timestamptz not null default now(),
  constraint settings_key_known check (key in (
    'tenant_table', 'tenant_columns', 'host_schemas', 'membership', 'inactive_predicate',
    'template_tenant', 'max_concurrent_backups', 'time_budget_seconds', 'lock_timeout_ms',
    'gzip_level', 'max_row_bytes', 'subtenants'
  ))
);
comment on table tenantkeep.settings is
  'Settings, one a row. docs/operations.md lists each with its meaning and default.';

create table tenantkeep.tenant_tables (
  schema_name text not null,
  table_name text not null,
  class text not null,
  tenant_column text,
  tenant_type text,
  predicate text,
  reason text,
  position integer not null default 0,
  row_expression text,
  census_expression text,
  policy_digest text,
  is_writable boolean not null default true,
  answers text[] not null default '{}',
  is_history boolean not null default false,
  is_seeded boolean not null default false,
  keep_live_columns text[] not null default '{}',
  masked_columns text[] not null default '{}',
  label_columns text[] not null default '{}',
  registered_at timestamptz not null default now(),
  primary key (schema_name, table_name),
  constraint tenant_tables_class_known check (
    class in ('root', 'direct', 'child', 'custom', 'derived', 'shared', 'excluded')
  ),
  constraint tenant_tables_tenant_column_given check (
    class not in ('root', 'direct') or (tenant_column is not null and tenant_type is not null)
  ),
  constraint tenant_tables_predicate_given check (class <> 'custom' or predicate is not null),
  constraint tenant_tables_reason_given check (class <> 'excluded' or reason is not null),
  constraint tenant_tables_expressions_given check (
    class not in ('root', 'direct', 'child', 'custom')
    or (row_expression is not null and census_expression is not null)
  )
);
create unique index tenant_tables_one_root on tenantkeep.tenant_tables (class) where class = 'root';
comment on table tenantkeep.tenant_tables is
  'The registry: for every table of the host schemas, what it is to a tenant.';
comment on column tenantkeep.tenant_tables.position is
  'Order of ownership: an owner comes before what it owns. Inserts go up, deletes go down.';
comment on column tenantkeep.tenant_tables.row_expression is
  'Which rows are the current tenant''s, as both policies have it and our own statements repeat it.';
comment on column tenantkeep.tenant_tables.census_expression is
  'The same rows by the whole flattened path, with $1 for the tenant; what the census counts.';
comment on column tenantkeep.tenant_tables.is_writable is
  'False where an owner is not named by a unique key: we read such rows and never write them.';
comment on column tenantkeep.tenant_tables.answers is
  'What of this row a person said, so that init keeps it: class, history, keep_live, masked, label.';
comment on column tenantkeep.tenant_tables.policy_digest is
  'Digest of the table''s protection as init left it; a backup is refused when it has changed.';

create table tenantkeep.key_functions (
  id integer generated always as identity primary key,
  schema_name text not null,
  table_name text not null,
  columns text[] not null,
  types text[] not null,
  constraint key_functions_once unique (schema_name, table_name, columns, types)
);
comment on table tenantkeep.key_functions is
  'tenantkeep.keys_<id>() gives these columns of the current tenant''s rows of this owning table, as these types.';

create table tenantkeep.ownership (
  id integer generated always as identity primary key,
  schema_name text not null,
  table_name text not null,
  rank integer not null,
  columns text[] not null,
  owner_schema text not null,
  owner_table text not null,
  owner_columns text[] not null,
  condition jsonb,
  constraint_name text,
  is_backward boolean not null default false,
  key_function integer references tenantkeep.key_functions (id),
  constraint ownership_of_registered_table foreign key (schema_name, table_name)
    references tenantkeep.tenant_tables (schema_name, table_name) on delete cascade,
  constraint ownership_by_registered_table foreign key (owner_schema, owner_table)
    references tenantkeep.tenant_tables (schema_name, table_name) on delete cascade,
  constraint ownership_rank_once unique (schema_name, table_name, rank),
  constraint ownership_columns_pair check (cardinality(columns) = cardinality(owner_columns))
);
create index ownership_owner on tenantkeep.ownership (owner_schema, owner_table);
create index ownership_key_function on tenantkeep.ownership (key_function);
comment on table tenantkeep.ownership is
  'The edges: these columns of a table name the row of another table that owns it. Ranked, after the tenant column: the next counts only where the columns of the former are null, or their condition does not hold.';
comment on column tenantkeep.ownership.condition is
  'The edge counts only where this column has this value: {"column": …, "value": …}, from an answer.';

create table tenantkeep.operators (
  user_id text primary key,
  label text not null,
  added_at timestamptz not null default now()
);
comment on table tenantkeep.operators is 'Users of the host who may operate every tenant.';

create table tenantkeep.paused_tenants (
  tenant_id text primary key,
  reason text not null,
  paused_by text not null,
  paused_at timestamptz not null default now(),
  constraint paused_tenants_reason_said check (length(btrim(reason)) > 0)
);
comment on table tenantkeep.paused_tenants is
  'Tenants an operator took out of the daily run; each skip is journalled with the reason.';

-- Row level security is on although the schema is not exposed: a mistake in the API settings must not
-- open the registry. The worker reads, the owner (who has bypassrls) writes.
alter table tenantkeep.migrations enable row level security;
alter table tenantkeep.settings enable row level security;
alter table tenantkeep.tenant_tables enable row level security;
alter table tenantkeep.key_functions enable row level security;
alter table tenantkeep.ownership enable row level security;
alter table tenantkeep.operators enable row level security;
alter table tenantkeep.paused_tenants enable row level security;

grant select on
  tenantkeep.migrations, tenantkeep.settings, tenantkeep.tenant_tables, tenantkeep.key_functions,
  tenantkeep.ownership, tenantkeep.operators, tenantkeep.paused_tenants
to tenantkeep_worker;

create policy "The worker reads the migrations" on tenantkeep.migrations
  for select to tenantkeep_worker using (true);
create policy "The worker reads the settings" on tenantkeep.settings
  for select to tenantkeep_worker using (true);
create policy "The worker reads the registry" on tenantkeep.tenant_tables
  for select to tenantkeep_worker using (true);
create policy "The worker reads the key functions" on tenantkeep.key_functions
  for select to tenantkeep_worker using (true);
create policy "The worker reads the ownership" on tenantkeep.ownership
  for select to tenantkeep_worker using (true);
create policy "The worker reads the operators" on tenantkeep.operators
  for select to tenantkeep_worker using (true);
create policy "The worker reads the paused tenants" on tenantkeep.paused_tenants
  for select to tenantkeep_worker using (true);

insert into tenantkeep.migrations (version) values ('20261121090000'), ('20261121090100');
