-- What can rot, and is compared: the shape of the host's tables as init left it, and how many rows lead
-- to no tenant. Touches nothing but its own two tables.

create table tenantkeep.known_tables (
  schema_name text not null,
  table_name text not null,
  columns text not null,
  keys text not null,
  access text not null,
  recorded_at timestamptz not null default now(),
  primary key (schema_name, table_name)
);
comment on table tenantkeep.known_tables is
  'Digests of every host table, excluded ones too, as they were when init last ended; doctor compares.';

create table tenantkeep.table_measurements (
  schema_name text not null,
  table_name text not null,
  measured_at timestamptz not null default now(),
  row_count bigint not null,
  rows_without_tenant bigint,
  null_tenant_rows bigint,
  rows_of_two_tenants bigint,
  accepted_at timestamptz,
  accepted_without_tenant bigint,
  accepted_of_two_tenants bigint,
  primary key (schema_name, table_name),
  constraint table_measurements_of_registered_table foreign key (schema_name, table_name)
    references tenantkeep.tenant_tables (schema_name, table_name) on delete cascade
);
comment on table tenantkeep.table_measurements is
  'Rows over all tenants, counted by init and doctor; every summary carries those that are in nobody''s backup. Null: could not be counted.';
comment on column tenantkeep.table_measurements.accepted_without_tenant is
  'As init showed it to a person who went on; doctor warns of more.';

alter table tenantkeep.known_tables enable row level security;
alter table tenantkeep.table_measurements enable row level security;
grant select on tenantkeep.known_tables, tenantkeep.table_measurements to tenantkeep_worker;
create policy "The worker reads the known tables" on tenantkeep.known_tables
  for select to tenantkeep_worker using (true);
create policy "The worker reads the measurements" on tenantkeep.table_measurements
  for select to tenantkeep_worker using (true);

create function tenantkeep.measure_table(of_schema text, of_table text)
  returns table (
    row_count bigint, rows_without_tenant bigint, null_tenant_rows bigint, rows_of_two_tenants bigint
  )
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  root jsonb := (select s.value from tenantkeep.settings s where s.key = 'tenant_table');
  target record;
  source text;
  says_nothing text;
  leads_elsewhere text;
  tenant text;
  owned bigint;
  torn bigint;
begin
  select c.oid, c.relkind, t.class, t.census_expression, case when t.class = 'direct' then t.tenant_column end as tenant_column
    into target
  from tenantkeep.tenant_tables t
  join pg_catalog.pg_namespace n on n.nspname = t.schema_name
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
  where t.schema_name = of_schema and t.table_name = of_table
    and t.census_expression is not null and t.class <> 'excluded'
    -- Where a row may be two tenants', as what we can't write is, or where tenants count in with the one
    -- above them, a sum over tenants says nothing.
    and t.is_writable and to_regprocedure('tenantkeep.current_tenants()') is null;
  if not found or root is null then
    return;
  end if;
  source := pg_catalog.format('%s %I.%I', case when target.relkind = 'p' then '' else 'only' end, of_schema, of_table);
  execute 'select count(*) from ' || source into measure_table.row_count;
  null_tenant_rows := 0;
  -- The tenant's column is null; of a child, every step says nothing.
  select pg_catalog.format('%I is null', target.tenant_column) into says_nothing
  where target.tenant_column is not null
  union all
  select string_agg(pg_catalog.format('num_nulls(%s) > 0', (
      select string_agg(pg_catalog.quote_ident(step.name), ', ') from unnest(e.columns) as step (name)
    )), ' and ')
  from tenantkeep.ownership e
  where target.class = 'child' and e.schema_name = of_schema and e.table_name = of_table
  having count(*) > 0;
  if says_nothing is not null then
    execute pg_catalog.format('select count(*) from %s where %s', source, says_nothing) into null_tenant_rows;
  end if;
  -- A foreign key to an owned row that is not this tenant's. Owners with a null tenant column are rows of
  -- everybody, and lead nowhere.
  select string_agg(pg_catalog.format(
      '(num_nulls(%1$s) = 0 and not coalesce((%1$s) in (select %2$s from %3$s where %4$s), false)%5$s)',
      k.columns, k.owner_columns, k.owner_source, k.census_expression,
      case when k.tenant_column is not null then pg_catalog.format(
        ' and not coalesce((%s) in (select %s from %s where %I is null), false)',
        k.columns, k.owner_columns, k.owner_source, k.tenant_column) else '' end
    ), ' or ')
    into leads_elsewhere
  from (
    select o.census_expression, case when o.class = 'direct' then o.tenant_column end as tenant_column,
      pg_catalog.format('%s %I.%I', case when oc.relkind = 'p' then '' else 'only' end, o.schema_name, o.table_name)
        as owner_source,
      (select string_agg(pg_catalog.quote_ident(a.attname), ', ' order by u.position)
       from unnest(f.conkey) with ordinality as u (attnum, position)
       join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = u.attnum) as columns,
      (select string_agg(pg_catalog.quote_ident(a.attname), ', ' order by u.position)
       from unnest(f.confkey) with ordinality as u (attnum, position)
       join pg_catalog.pg_attribute a on a.attrelid = f.confrelid and a.attnum = u.attnum) as owner_columns
    from pg_catalog.pg_constraint f
    join pg_catalog.pg_class oc on oc.oid = f.confrelid
    join pg_catalog.pg_namespace n on n.oid = oc.relnamespace
    join tenantkeep.tenant_tables o on o.schema_name = n.nspname and o.table_name = oc.relname
    where f.conrelid = target.oid and f.contype = 'f' and f.conparentid = 0
      and o.census_expression is not null and o.class in ('root', 'direct', 'child', 'custom')
  ) k;
  leads_elsewhere := coalesce(leads_elsewhere, 'false');
  if target.census_expression || leads_elsewhere ~ '''|"[^"]*[$]1[^"]*"' then
    -- What looks like the parameter may stand in a literal or a name: bound tenant by tenant.
    owned := 0;
    torn := 0;
    for tenant in execute pg_catalog.format(
      'select %I::text from %I.%I', root ->> 'key', root ->> 'schema', root ->> 'table'
    ) loop
      execute pg_catalog.format(
        'select $2 + count(*), $3 + count(*) filter (where %s) from %s where %s',
        leads_elsewhere, source, target.census_expression
      ) into owned, torn using tenant, owned, torn;
    end loop;
  else
    -- Planned once for all tenants, which is ten times faster where there are many small ones.
    execute pg_catalog.format(
      'select coalesce(sum(tk_count.owned), 0), coalesce(sum(tk_count.torn), 0) '
      'from (select %I::text as id from %I.%I) tk_tenant, lateral ('
      '  select count(*) as owned, count(*) filter (where %s) as torn from %s where %s) tk_count',
      root ->> 'key', root ->> 'schema', root ->> 'table',
      pg_catalog.regexp_replace(leads_elsewhere, '[$]1(?![0-9])', 'tk_tenant.id', 'g'), source,
      pg_catalog.regexp_replace(target.census_expression, '[$]1(?![0-9])', 'tk_tenant.id', 'g')
    ) into owned, torn;
  end if;
  rows_without_tenant := measure_table.row_count - owned;
  rows_of_two_tenants := torn;
  insert into tenantkeep.table_measurements as m
    (schema_name, table_name, row_count, rows_without_tenant, null_tenant_rows, rows_of_two_tenants)
  values (of_schema, of_table, measure_table.row_count, measure_table.rows_without_tenant,
    measure_table.null_tenant_rows, measure_table.rows_of_two_tenants)
  on conflict (schema_name, table_name) do update set measured_at = now(),
    row_count = excluded.row_count, rows_without_tenant = excluded.rows_without_tenant,
    null_tenant_rows = excluded.null_tenant_rows, rows_of_two_tenants = excluded.rows_of_two_tenants;
  return next;
end
$$;
comment on function tenantkeep.measure_table(text, text) is
  'Counts over all tenants how many rows of a table lead to none, have no tenant in the tenant''s column, or refer to another tenant''s rows, and records that. Answers no row where a table''s rows may be two tenants''. Definer, because it sees past row level security; it gives numbers and no row.';
revoke all on function tenantkeep.measure_table(text, text) from public;
grant execute on function tenantkeep.measure_table(text, text) to tenantkeep_worker;

insert into tenantkeep.migrations (version) values ('20261121091500');
