-- The rows that a comparison found different, so that they can be looked at page by page. They are a
-- tenant's own data outside of its tables: kept for a day, read by nobody but the worker.

create table tenantkeep.comparison_rows (
  run_id uuid not null references tenantkeep.runs (id) on delete cascade,
  number integer not null,
  table_name text not null,
  kind text not null,
  key text[] not null,
  label text,
  times bigint not null default 1,
  columns jsonb not null,
  created_at timestamptz not null default now(),
  primary key (run_id, number),
  constraint comparison_rows_kind_known check (kind in ('only_in_backup', 'only_in_other', 'changed'))
);
create index comparison_rows_of_table on tenantkeep.comparison_rows (run_id, table_name, number);
create index comparison_rows_created_at on tenantkeep.comparison_rows (created_at);
comment on table tenantkeep.comparison_rows is
  'Rows that differ between a backup and the live rows or another backup, in the order of tables and keys. A tenant''s data: every comparison first deletes what is older than a day.';
comment on column tenantkeep.comparison_rows.key is
  'Texts of the primary key''s columns, null where one is masked; empty for a table without a key.';
comment on column tenantkeep.comparison_rows.times is
  'How many equal rows it stands for, in a table without a key; else 1.';
comment on column tenantkeep.comparison_rows.columns is
  'The columns that differ: name, before, after (texts, cut at 2,000 characters), is_masked, is_cut.';

alter table tenantkeep.comparison_rows enable row level security;
grant select, insert, delete on tenantkeep.comparison_rows to tenantkeep_worker;

create policy "The worker reads comparisons" on tenantkeep.comparison_rows
  for select to tenantkeep_worker using (true);
create policy "The worker keeps comparisons" on tenantkeep.comparison_rows
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker deletes comparisons" on tenantkeep.comparison_rows
  for delete to tenantkeep_worker using ((select current_user) = 'tenantkeep_worker');

insert into tenantkeep.migrations (version) values ('20261121092200');
