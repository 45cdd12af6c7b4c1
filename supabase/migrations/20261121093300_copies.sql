-- Where else a backup is: in the second place, or in the first one where it was made in the second.

create table tenantkeep.backup_copies (
  backup_id uuid not null references public.tenant_backups (id) on delete cascade,
  store_url text not null,
  status text not null default 'running',
  attempts integer not null default 0,
  objects integer,
  bytes bigint,
  copied_at timestamptz,
  error_code text,
  error_message text,
  primary key (backup_id, store_url),
  constraint backup_copies_status_known check (status in ('running', 'complete', 'failed', 'damaged')),
  constraint backup_copies_complete_is_whole check (
    status <> 'complete' or (objects is not null and bytes is not null and copied_at is not null)
  ),
  constraint backup_copies_failure_has_reason check (
    status not in ('failed', 'damaged') or (error_code is not null and error_message is not null)
  )
);
create index backup_copies_by_store on tenantkeep.backup_copies (store_url, status);
comment on table tenantkeep.backup_copies is
  'One row per backup and place that it is copied to. A backup is where store_url of its own row says, and where a row here is complete.';
comment on column tenantkeep.backup_copies.status is
  'complete: every object was read back there; running, failed: the next turn goes on; damaged: read back later and found not whole, also in the place where it was made; the next turn puts it right from the other place.';
comment on column tenantkeep.backup_copies.bytes is 'Stored bytes of all its objects, shared ones included.';

alter table tenantkeep.backup_copies enable row level security;
grant select, insert, update, delete on tenantkeep.backup_copies to tenantkeep_worker;
create policy "The worker keeps copies" on tenantkeep.backup_copies
  for all to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

insert into tenantkeep.migrations (version) values ('20261121093300');
