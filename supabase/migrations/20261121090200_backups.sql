-- The catalog (tenant_backups) and the journal (backup_logs), which people query in the SQL console and
-- owners through row level security; the runs, which the page and get-run follow.

create table tenantkeep.runs (
  id uuid primary key default gen_random_uuid(),
  kind text not null,
  status text not null default 'running',
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  actor_kind text not null,
  actor_id text,
  actor_label text not null,
  idempotency_key text,
  tenant_ids text[] not null,
  progress jsonb not null default '{}',
  result jsonb,
  error_code text,
  error_message text,
  constraint runs_kind_known check (kind in ('daily_tenant', 'manual')),
  constraint runs_status_known check (status in ('running', 'complete', 'failed')),
  constraint runs_actor_known check (actor_kind in ('cron', 'operator', 'user', 'system'))
);
create unique index runs_idempotency_key on tenantkeep.runs (actor_kind, coalesce(actor_id, ''), idempotency_key)
  where idempotency_key is not null;
create index runs_created_at on tenantkeep.runs (created_at desc);
comment on table tenantkeep.runs is
  'One call of the daily job over many tenants, or one manual backup; progress is per tenant.';

create table public.tenant_backups (
  id uuid primary key default gen_random_uuid(),
  organization_id text not null,
  organization_name text,
  backup_type text not null,
  status text not null default 'running',
  created_at timestamptz not null default now(),
  taken_at timestamptz,
  backup_date date not null default (now() at time zone 'utc')::date,
  completed_at timestamptz,
  verified_at timestamptz,
  run_id uuid references tenantkeep.runs (id),
  store_url text not null,
  object_stamp text not null,
  summary_path text,
  summary_sha256 text,
  format_version integer,
  schema_fingerprint text,
  total_tables integer,
  total_records bigint,
  raw_size bigint,
  total_size bigint,
  uploaded_size bigint,
  gaps text[] not null default '{}',
  warnings jsonb not null default '[]',
  changes jsonb,
  name text,
  note text,
  tags text[] not null default '{}',
  pinned_at timestamptz,
  pinned_by text,
  pin_reason text,
  actor_kind text not null,
  actor_id text,
  actor_label text not null,
  error_code text,
  error_message text,
  objects_removed_at timestamptz,
  constraint tenant_backups_type_known check (backup_type in ('daily_tenant', 'manual', 'pre_restore')),
  constraint tenant_backups_status_known check (
    status in ('running', 'complete', 'failed', 'cancelled', 'pruned')
  ),
  constraint tenant_backups_complete_is_whole check (
    status <> 'complete' or (
      taken_at is not null and completed_at is not null and verified_at is not null
      and summary_path is not null and summary_sha256 is not null and format_version is not null
      and total_tables is not null and total_records is not null
      and raw_size is not null and total_size is not null
    )
  ),
  constraint tenant_backups_failure_has_reason check (
    status not in ('failed', 'cancelled') or (error_code is not null and error_message is not null)
  ),
  constraint tenant_backups_pin_has_reason check ((pinned_at is null) = (pin_reason is null)),
  constraint tenant_backups_actor_known check (actor_kind in ('cron', 'operator', 'user', 'system'))
);
-- The last word on «each tenant once a day», whatever the queue and the clocks did.
create unique index tenant_backups_one_daily on public.tenant_backups (organization_id, backup_date)
  where backup_type = 'daily_tenant' and status = 'complete';
create index tenant_backups_by_tenant on public.tenant_backups (organization_id, created_at desc);
create index tenant_backups_run on public.tenant_backups (run_id);
create index tenant_backups_unfinished on public.tenant_backups (status, created_at)
  where status = 'running' or (status in ('failed', 'cancelled') and objects_removed_at is null);
comment on table public.tenant_backups is
  'The catalog: one row a backup. Only rows with status complete can be restored. total_size is stored bytes.';
comment on column public.tenant_backups.changes is
  'What differs from the complete backup before it: tables and rows, from the two summaries.';

create table public.backup_logs (
  id uuid primary key default gen_random_uuid(),
  backup_type text not null,
  status text not null default 'running',
  created_at timestamptz not null default now(),
  completed_at timestamptz,
  organization_id text,
  organization_name text,
  backup_id uuid references public.tenant_backups (id),
  run_id uuid references tenantkeep.runs (id),
  actor_kind text not null,
  actor_id text,
  actor_label text not null,
  total_tables integer,
  total_records bigint,
  total_size bigint,
  duration_ms bigint,
  error_code text,
  error_message text,
  details jsonb not null default '{}',
  constraint backup_logs_type_known check (backup_type in (
    'daily_tenant', 'manual', 'pre_restore', 'restore', 'undo', 'prune', 'seed_defaults', 'update', 'run'
  )),
  constraint backup_logs_status_known check (
    status in ('running', 'complete', 'failed', 'cancelled', 'skipped')
  ),
  constraint backup_logs_reason_given check (
    status not in ('failed', 'cancelled', 'skipped') or (error_code is not null and error_message is not null)
  ),
  constraint backup_logs_actor_known check (actor_kind in ('cron', 'operator', 'user', 'system'))
);
create index backup_logs_recent on public.backup_logs (created_at desc);
create index backup_logs_by_tenant on public.backup_logs (organization_id, created_at desc);
create index backup_logs_backup on public.backup_logs (backup_id);
create index backup_logs_run on public.backup_logs (run_id);
comment on table public.backup_logs is
  'The journal: one row per tenant and operation, and one per run (organization_id is null).';

insert into tenantkeep.migrations (version) values ('20261121090200');
