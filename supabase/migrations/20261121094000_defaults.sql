-- The memory of seeding: which row of a tenant is the copy of which row of the template, and what both were
-- like when it was made. And what copying rows asks past row level security.

create table tenantkeep.seeded_shapes (
  id integer generated always as identity primary key,
  schema_name text not null,
  table_name text not null,
  columns text[] not null,
  constraint seeded_shapes_once unique (schema_name, table_name, columns)
);
comment on table tenantkeep.seeded_shapes is
  'The columns that digests of seeded rows are of: a column that is newer is no change of the rows.';

create table tenantkeep.seeded_rows (
  tenant_id text not null,
  schema_name text not null,
  table_name text not null,
  template_key jsonb not null,
  tenant_key jsonb not null,
  shape_id integer not null references tenantkeep.seeded_shapes (id),
  template_digest bytea not null,
  copy_digest bytea not null,
  is_declined boolean not null default false,
  seed_id uuid not null,
  run_id uuid,
  seeded_at timestamptz not null default now(),
  deleted_seen_at timestamptz,
  primary key (tenant_id, schema_name, table_name, template_key)
);
create index seeded_rows_shape on tenantkeep.seeded_rows (shape_id);
comment on table tenantkeep.seeded_rows is
  'Which row of a tenant is the copy of which row of the template, with SHA-256 of both rows as they were then.';
comment on column tenantkeep.seeded_rows.template_key is
  'The texts of the primary key''s columns, in its order; of a row that was given in the request: {"manual": digest}.';
comment on column tenantkeep.seeded_rows.is_declined is
  'The tenant had a row of its own with the same unique value, which was to be kept in place of the copy.';
comment on column tenantkeep.seeded_rows.seed_id is
  'The journal row of the seeding that last wrote this copy.';
comment on column tenantkeep.seeded_rows.deleted_seen_at is
  'When a seeding first found the copy gone; it stays away unless asked for.';

-- The operator itself keeps the memory, under the tenant that it is confined to: a mistake in our code can't
-- write another tenant's.
alter table tenantkeep.seeded_shapes enable row level security;
alter table tenantkeep.seeded_rows enable row level security;
grant select, insert on tenantkeep.seeded_shapes to tenantkeep_worker;
grant select on tenantkeep.seeded_rows to tenantkeep_worker;
grant select on tenantkeep.seeded_shapes to tenantkeep_operator;
grant select, insert, update, delete on tenantkeep.seeded_rows to tenantkeep_operator;
create policy "The worker and the operator read the shapes of seeded rows" on tenantkeep.seeded_shapes
  for select to tenantkeep_worker, tenantkeep_operator using (true);
create policy "The worker records shapes of seeded rows" on tenantkeep.seeded_shapes
  for insert to tenantkeep_worker with check ((select current_user) = 'tenantkeep_worker');
create policy "The worker reads the seeded rows" on tenantkeep.seeded_rows
  for select to tenantkeep_worker using (true);
create policy "The operator reads what the current tenant was seeded with" on tenantkeep.seeded_rows
  for select to tenantkeep_operator using (tenant_id = (select tenantkeep.current_tenant()));
create policy "The operator records what the current tenant is seeded with" on tenantkeep.seeded_rows
  for insert to tenantkeep_operator with check (tenant_id = (select tenantkeep.current_tenant()));
create policy "The operator changes what the current tenant was seeded with" on tenantkeep.seeded_rows
  for update to tenantkeep_operator using (tenant_id = (select tenantkeep.current_tenant()));
create policy "The operator forgets what the current tenant was seeded with" on tenantkeep.seeded_rows
  for delete to tenantkeep_operator using (tenant_id = (select tenantkeep.current_tenant()));

create function tenantkeep.next_values(of_schema text, of_table text, of_column text, how_many bigint)
  returns table (turn bigint, next_value bigint)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
  as $$
declare
  target record;
  used regclass;
begin
  select * into target from tenantkeep.require_registered(to_regclass(format('%I.%I', of_schema, of_table)));
  -- Owned by the column (serial, identity), or in its default.
  select s.seqrelid::regclass into used
  from pg_catalog.pg_attribute a
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  join pg_catalog.pg_depend p on (
    p.classid = 'pg_class'::regclass and p.refclassid = 'pg_class'::regclass and p.refobjid = a.attrelid
      and p.refobjsubid = a.attnum and p.deptype = 'i'
    or p.classid = 'pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_class'::regclass
  )
  join pg_catalog.pg_sequence s
    on s.seqrelid = case when p.classid = 'pg_class'::regclass then p.objid else p.refobjid end
  where a.attrelid = target.live and a.attname = of_column and not a.attisdropped;
  if used is null then
    raise exception 'The column % of %.% is filled by no sequence.', of_column, of_schema, of_table
      using errcode = 'TK001';
  end if;
  return query select g.turn, pg_catalog.nextval(used) from generate_series(1, how_many) as g (turn);
end
$$;
comment on function tenantkeep.next_values(text, text, text, bigint) is
  'Draws the next values for a column from its own sequence, as an insert by the application would. Definer, because we have no right on the host''s sequences; it gives numbers, and uses them up.';
revoke all on function tenantkeep.next_values(text, text, text, bigint) from public;
grant execute on function tenantkeep.next_values(text, text, text, bigint) to tenantkeep_operator;

create function tenantkeep.find_owned_parents(of_constraint oid, child_staged regclass) returns setof bigint
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  reference record;
  parent record;
begin
  select * into reference from tenantkeep.require_reference(of_constraint);
  perform tenantkeep.require_staged(child_staged, r.live) from tenantkeep.require_registered(reference.child) r;
  select * into parent from tenantkeep.require_registered(reference.parent);
  return query execute format(
    'select f."tenantkeep:row" from %s f join %s p on %s where %s and %s',
    tenantkeep.staged_rows(child_staged, reference.child, '{insert}'), tenantkeep.live_rows(reference.parent),
    tenantkeep.reference_match(of_constraint, 'p', 'f', true), tenantkeep.is_given(of_constraint, true, 'f'),
    -- Where nobody can tell whose a row is, it is somebody's.
    case when parent.reached_expression is null then 'true' else format(
      'exists (select from %s tk_live where tk_live.ctid = p.ctid and tk_live.tableoid = p.tableoid and (%s))',
      tenantkeep.live_rows(reference.parent), parent.reached_expression) end
  );
end
$$;
comment on function tenantkeep.find_owned_parents(oid, regclass) is
  'Which staged rows refer to a row that belongs to some tenant, and not to nobody (a global row). Definer, because row level security hides such rows; it gives row numbers, no contents.';
revoke all on function tenantkeep.find_owned_parents(oid, regclass) from public;
grant execute on function tenantkeep.find_owned_parents(oid, regclass) to tenantkeep_worker;

-- A seeding that overwrites has a safety backup and a plan like a restore, and can be undone like one.
drop index public.backup_logs_one_restore;
create unique index backup_logs_one_restore on public.backup_logs (organization_id)
  where status = 'running' and backup_type in ('restore', 'undo', 'seed_defaults');

insert into tenantkeep.migrations (version) values ('20261121094000');
