-- What became of each tenant in a run, one row each: a run of thousands of tenants is settled row by row,
-- by whichever process does the work. Live progress of a table stays in tenantkeep.runs.progress.
-- And whether a user belongs to a tenant at all, which decides between «not allowed» and «not found».

alter table tenantkeep.runs add column request jsonb not null default '{}';
comment on column tenantkeep.runs.request is
  'What was asked for beyond the tenants: name, note and tags of a manual backup.';

create table tenantkeep.run_tenants (
  run_id uuid not null references tenantkeep.runs (id),
  tenant_id text not null,
  tenant_name text,
  status text not null default 'pending',
  backup_id uuid references public.tenant_backups (id),
  was_complete boolean not null default false,
  attempts integer not null default 0,
  started_at timestamptz,
  settled_at timestamptz,
  error_code text,
  error_message text,
  primary key (run_id, tenant_id),
  constraint run_tenants_status_known check (
    status in ('pending', 'running', 'complete', 'failed', 'skipped')
  ),
  constraint run_tenants_reason_given check (
    status not in ('failed', 'skipped') or (error_code is not null and error_message is not null)
  ),
  constraint run_tenants_backup_named check (status <> 'complete' or backup_id is not null)
);
create index run_tenants_open on tenantkeep.run_tenants (tenant_id, run_id)
  where status in ('pending', 'running');
create index run_tenants_backup on tenantkeep.run_tenants (backup_id);
comment on table tenantkeep.run_tenants is
  'The outcome of a run, one row per tenant. was_complete: its backup of the day was already there.';
comment on column tenantkeep.run_tenants.error_message is
  'Of the last attempt; a row that is pending again after a failed attempt keeps it until it is settled.';

alter table tenantkeep.run_tenants enable row level security;
grant select, insert, update on tenantkeep.run_tenants to tenantkeep_worker;

create policy "The worker reads outcomes" on tenantkeep.run_tenants
  for select to tenantkeep_worker using (true);
create policy "The worker records tenants of a run" on tenantkeep.run_tenants
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker settles tenants of a run" on tenantkeep.run_tenants
  for update to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

create function tenantkeep.belongs_to(user_id text, tenant_id text) returns boolean
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  m jsonb := (select s.value from tenantkeep.settings s where s.key = 'membership');
  user_type text;
  belongs boolean;
begin
  if m is null or belongs_to.user_id is null or belongs_to.tenant_id is null then
    return false;
  end if;
  select pg_catalog.format_type(a.atttypid, -1) into user_type
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = m ->> 'schema' and c.relname = m ->> 'table' and a.attname = m ->> 'user'
    and not a.attisdropped;
  if user_type is null then
    return false;
  end if;
  execute pg_catalog.format(
    'select exists (select from %I.%I where %I = $1::%s and %I::text = $2)',
    m ->> 'schema', m ->> 'table', m ->> 'user', user_type, m ->> 'tenant'
  ) into belongs using belongs_to.user_id, belongs_to.tenant_id;
  return belongs;
exception
  when invalid_text_representation or numeric_value_out_of_range or check_violation then
    return false;
end
$$;
comment on function tenantkeep.belongs_to(text, text) is
  'Whether a user has any membership in a tenant: such a person is told «not allowed», everybody else «not found». Definer, because the worker may not read the host''s membership table at large.';
revoke all on function tenantkeep.belongs_to(text, text) from public;
grant execute on function tenantkeep.belongs_to(text, text) to tenantkeep_worker;

insert into tenantkeep.migrations (version) values ('20261121090600');
