-- What a restore asks past row level security, and the few things it must do there: who holds a key, which
-- references are or would be broken, which rows nobody owns. Adds a column to the registry and the table
-- released_rows; touches nothing of the host.
--
-- These functions read temp tables that the worker's session staged. That is a door: in place of a staged
-- table there could be a view over code of the session's own, and it would run with the owner's rights. So
-- every temp relation passes require_staged first. What they run is put together from pg_catalog and the
-- registry alone, each name by %I, each operator by operator(schema.name); nothing that a caller says is text.
--
-- Rows of a staged table are told apart by "tenantkeep:action" (src/core/restore/staged-table.ts). «Final»
-- rows (insert, update, replace) hold what the live row will be; the live rows of delete, update, replace and
-- release are «gone»: they stop being what they were. The rows `before` hold what they were.

alter table tenantkeep.tenant_tables add column reached_expression text;
comment on column tenantkeep.tenant_tables.reached_expression is
  'The rows that some tenant reaches, by the whole flattened path; null where an administrator''s predicate is on it, and nobody can tell.';

create table tenantkeep.released_rows (
  id bigint generated always as identity primary key,
  restore_id uuid not null,
  organization_id text not null,
  schema_name text not null,
  table_name text not null,
  row_text text not null,
  released_at timestamptz not null default now(),
  returned_at timestamptz
);
create index released_rows_restore on tenantkeep.released_rows (restore_id);
comment on table tenantkeep.released_rows is
  'Rows of no tenant that stood in the way of a restore, as Postgres writes a record; undoing the restore puts them back, once.';
alter table tenantkeep.released_rows enable row level security;
grant select on tenantkeep.released_rows to tenantkeep_worker;
create policy "The worker reads the released rows" on tenantkeep.released_rows
  for select to tenantkeep_worker using (true);

-- Helpers: they run as whoever calls, which is the owner, since nobody else may.

create function tenantkeep.live_rows(relation regclass) returns text
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    select format('%s %I.%I', case c.relkind when 'p' then '' else 'only' end, n.nspname, c.relname)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = relation
  $$;
comment on function tenantkeep.live_rows(regclass) is
  'The table as it stands in a from clause, without the rows of tables that inherit from it.';
revoke all on function tenantkeep.live_rows(regclass) from public;

create function tenantkeep.require_registered(relation regclass)
  returns table (live regclass, reached_expression text)
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
begin
  return query
    select c.oid::regclass, t.reached_expression
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join tenantkeep.tenant_tables t on t.schema_name = n.nspname and t.table_name = c.relname
    -- Keys and indexes may stand on a leaf alone; the registry knows the whole table.
    where c.oid = coalesce(pg_catalog.pg_partition_root(relation), relation)
      and c.relkind in ('r', 'p') and t.class in ('root', 'direct', 'child', 'custom');
  if not found then
    raise exception 'The relation with oid % is no registered table of tenants.', relation::oid using errcode = 'TK001';
  end if;
end
$$;
comment on function tenantkeep.require_registered(regclass) is
  'The registered table of tenants that a relation is, or is a partition of; fails where there is none.';
revoke all on function tenantkeep.require_registered(regclass) from public;

create function tenantkeep.require_staged(staged regclass, live regclass) returns void
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
declare
  fault text;
begin
  select case
    when c.relkind <> 'r' or c.relpersistence <> 't' or c.relnamespace <> pg_catalog.pg_my_temp_schema()
      then 'is no temporary table of this session'
    when c.relowner <> (select r.oid from pg_catalog.pg_roles r where r.rolname = 'tenantkeep_operator')
      then 'is not the operator''s'
    when c.relhasrules or exists (select from pg_catalog.pg_rewrite w where w.ev_class = c.oid) then 'has rules'
    when c.relrowsecurity or c.relforcerowsecurity or exists (select from pg_catalog.pg_policy p where p.polrelid = c.oid)
      then 'has policies'
    when c.relhastriggers or exists (select from pg_catalog.pg_trigger g where g.tgrelid = c.oid) then 'has triggers'
    when c.relispartition or exists (select from pg_catalog.pg_inherits h where c.oid in (h.inhrelid, h.inhparent))
      then 'inherits or is inherited from'
    -- The planner reads checks, expressions of indexes and of statistics, and evaluates what is constant in them.
    when c.relchecks > 0 then 'has checks'
    when exists (select from pg_catalog.pg_attrdef d where d.adrelid = c.oid) then 'has defaults or generated columns'
    when exists (
      select from pg_catalog.pg_index i
      where i.indrelid = c.oid and (i.indexprs is not null or i.indpred is not null)
    ) then 'has an index on an expression'
    when exists (select from pg_catalog.pg_statistic_ext x where x.stxrelid = c.oid) then 'has extended statistics'
  end into fault
  from pg_catalog.pg_class c
  where c.oid = require_staged.staged;
  if not found then
    fault := 'does not exist';
  end if;
  if fault is null then
    with recursive staged_column as (
      select a.attname, a.atttypid, a.attgenerated, a.attidentity
      from pg_catalog.pg_attribute a
      where a.attrelid = require_staged.staged and a.attnum > 0 and not a.attisdropped
    ), bookkeeping (attname, atttypid) as (
      values ('tenantkeep:row'::name, 'int8'::regtype), ('tenantkeep:action', 'text'),
        ('tenantkeep:tableoid', 'oid'), ('tenantkeep:ctid', 'tid'), ('tenantkeep:xmin', 'xid')
    ), allowed (attname, type) as (
      select a.attname, a.atttypid
      from pg_catalog.pg_attribute a
      where a.attrelid = require_staged.live and a.attnum > 0 and not a.attisdropped
      union
      select d.attname, t.typbasetype
      from allowed d join pg_catalog.pg_type t on t.oid = d.type and t.typtype = 'd'
    )
    select 'has the column or type of no live column: ' || string_agg(wrong.attname, ', ' order by wrong.attname) into fault
    from (
      select s.attname from staged_column s
      where s.attgenerated <> '' or s.attidentity <> '' or (
        not exists (select from bookkeeping b where b.attname = s.attname and b.atttypid = s.atttypid)
        and not exists (
          select from allowed d
          join pg_catalog.pg_type t on t.oid = s.atttypid
          where d.attname = s.attname
            and (d.type = s.atttypid or t.typnamespace = 'pg_catalog'::regnamespace)
        ))
      union all
      select b.attname from bookkeeping b
      where not exists (select from staged_column s where s.attname = b.attname and s.atttypid = b.atttypid)
      union all
      -- A column that is missing would be looked for further out.
      select a.attname from pg_catalog.pg_attribute a
      where a.attrelid = require_staged.live and a.attnum > 0 and not a.attisdropped
        and not exists (select from staged_column s where s.attname = a.attname)
    ) wrong;
  end if;
  if fault is not null then
    raise exception 'The staged table with oid % %.', require_staged.staged::oid, fault using errcode = 'TK001';
  end if;
end
$$;
comment on function tenantkeep.require_staged(regclass, regclass) is
  'Fails unless this is an ordinary temporary table of the operator, in this session, with the columns of the live table and our five, and with nothing on it that could run code.';
revoke all on function tenantkeep.require_staged(regclass, regclass) from public;

create function tenantkeep.staged_rows(staged regclass, live regclass, actions text[]) returns text
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
declare
  source text;
  columns text;
begin
  select format('%I.%I', n.nspname, c.relname) into source
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.oid = staged_rows.staged;
  -- What the database computes, rows of the backup don't have.
  select string_agg(case when l.attgenerated = '' then format('%I', l.attname) else format(
      'case when "tenantkeep:action" in (''insert'', ''update'', ''replace'') then (%s)::%s else %I end as %3$I',
      pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.format_type(s.atttypid, s.atttypmod), l.attname
    ) end, ', ') into columns
  from pg_catalog.pg_attribute l
  join pg_catalog.pg_attribute s on s.attrelid = staged_rows.staged and s.attname = l.attname and not s.attisdropped
  left join pg_catalog.pg_attrdef d on d.adrelid = l.attrelid and d.adnum = l.attnum
  where l.attrelid = staged_rows.live and l.attnum > 0 and not l.attisdropped;
  return format(
    '(select * from (select "tenantkeep:row", "tenantkeep:action", "tenantkeep:tableoid", "tenantkeep:ctid", '
    -- With nothing added, so that the planner does not trust statistics that are older than the actions: it
    -- would take the rows for one, and try each with each.
    '"tenantkeep:xmin", %s from %s where "tenantkeep:action" || '''' in (%s)) tk_staged where %s)',
    columns, source,
    (select string_agg(quote_literal(a.action), ', ') from unnest(actions) as a (action)),
    -- Of a leaf, only the rows that belong into it.
    coalesce(pg_catalog.pg_get_partition_constraintdef(staged_rows.live), 'true')
  );
end
$$;
comment on function tenantkeep.staged_rows(regclass, regclass, text[]) is
  'The staged rows with these actions, as a subselect: generated columns computed, and of a partition only the rows that belong into it.';
revoke all on function tenantkeep.staged_rows(regclass, regclass, text[]) from public;

create function tenantkeep.staged_places(staged regclass, actions text[]) returns text
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    select format(
      '(select "tenantkeep:row", "tenantkeep:tableoid", "tenantkeep:ctid", "tenantkeep:xmin" from %I.%I '
      'where "tenantkeep:action" || '''' in (%s) and "tenantkeep:tableoid" is not null and "tenantkeep:ctid" is not null)', n.nspname, c.relname,
      (select string_agg(quote_literal(a.action), ', ') from unnest(actions) as a (action)))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = staged
  $$;
comment on function tenantkeep.staged_places(regclass, text[]) is
  'Where the live rows of these actions are, as a subselect.';
revoke all on function tenantkeep.staged_places(regclass, text[]) from public;

create function tenantkeep.comparison(left_side text, of_operator oid, right_side text, of_collation oid) returns text
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    select format('(%s)%s%s operator(%I.%s) (%s)%s%3$s', left_side,
      case when lt.typtype <> 'p' then '::' || pg_catalog.format_type(lt.oid, -1) else '' end,
      coalesce((
        select format(' collate %I.%I', cn.nspname, c.collname)
        from pg_catalog.pg_collation c join pg_catalog.pg_namespace cn on cn.oid = c.collnamespace
        where c.oid = of_collation
      ), ''),
      n.nspname, o.oprname, right_side,
      case when rt.typtype <> 'p' then '::' || pg_catalog.format_type(rt.oid, -1) else '' end)
    from pg_catalog.pg_operator o
    join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
    join pg_catalog.pg_type lt on lt.oid = o.oprleft
    join pg_catalog.pg_type rt on rt.oid = o.oprright
    where o.oid = of_operator
  $$;
comment on function tenantkeep.comparison(text, oid, text, oid) is
  'Two expressions compared by an operator of the catalog, with the types it takes and the collation given.';
revoke all on function tenantkeep.comparison(text, oid, text, oid) from public;

create function tenantkeep.index_keys(of_index regclass)
  returns table (key_no integer, expression text, key_operator oid, key_collation oid)
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    select k.key_no, pg_catalog.pg_get_indexdef(i.indexrelid, k.key_no, false),
      coalesce(
        (select c.conexclop[k.key_no] from pg_catalog.pg_constraint c
         where c.conindid = i.indexrelid and c.conrelid = i.indrelid and c.conexclop is not null),
        (select m.amopopr from pg_catalog.pg_amop m
         where m.amopfamily = o.opcfamily and m.amoplefttype = o.opcintype and m.amoprighttype = o.opcintype
           and m.amopstrategy = 3)
      ), i.indcollation[k.key_no - 1]
    from pg_catalog.pg_index i
    cross join generate_series(1, i.indnkeyatts) as k (key_no)
    join pg_catalog.pg_opclass o on o.oid = i.indclass[k.key_no - 1]
    where i.indexrelid = of_index
  $$;
comment on function tenantkeep.index_keys(regclass) is
  'What a unique or exclusion index compares: its expressions, and the operator that finds two rows the same.';
revoke all on function tenantkeep.index_keys(regclass) from public;

create function tenantkeep.require_index(of_index regclass)
  returns table (relation regclass, predicate text, nulls_are_values boolean, key_count integer)
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
begin
  return query
    select i.indrelid::regclass, coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), 'true'),
      i.indnullsnotdistinct, i.indnkeyatts::integer
    from pg_catalog.pg_index i
    where i.indexrelid = of_index and (i.indisunique or i.indisexclusion);
  if not found then
    raise exception 'The relation with oid % is no unique index.', of_index::oid using errcode = 'TK001';
  end if;
end
$$;
comment on function tenantkeep.require_index(regclass) is 'A unique or exclusion index; fails where this is none.';
revoke all on function tenantkeep.require_index(regclass) from public;

create function tenantkeep.wanted_keys(of_index regclass, staged regclass) returns text
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
declare
  index record;
  expressions text;
  new_keys text;
  old_keys text;
begin
  select * into index from tenantkeep.require_index(of_index);
  select string_agg(format('case when %s then %s end as tk_key_%s', index.predicate, k.expression, k.key_no), ', '
      order by k.key_no),
    string_agg(format('w.tk_key_%s', k.key_no), ', ' order by k.key_no),
    string_agg(format('b.tk_key_%s', k.key_no), ', ' order by k.key_no)
    into expressions, new_keys, old_keys
  from tenantkeep.index_keys(of_index) k;
  -- A key that stays is held by its own row, and by no other. «offset 0» keeps conditions out of the joins: the
  -- planner knows nothing about staged rows, would take them for one, and try each with each.
  return format(
    '(select w.* from (select w.*, coalesce(b.tk_is_in, false) and row(%5$s)::record operator(pg_catalog.*=) row(%6$s)::record as tk_stays '
    'from (select "tenantkeep:row" as tk_row, (%3$s) as tk_is_in, %1$s from %2$s tk_final) w '
    'left join (select "tenantkeep:row" as tk_row, (%3$s) as tk_is_in, %1$s from %4$s tk_before) b on b.tk_row = w.tk_row '
    'offset 0) w where w.tk_is_in and not w.tk_stays)',
    expressions, tenantkeep.staged_rows(staged, index.relation, '{insert,update,replace}'), index.predicate,
    tenantkeep.staged_rows(staged, index.relation, '{before}'), new_keys, old_keys
  );
end
$$;
comment on function tenantkeep.wanted_keys(regclass, regclass) is
  'The keys in an index that final rows will have and have not now, as a subselect of tk_row, tk_key_1, tk_key_2 and so on.';
revoke all on function tenantkeep.wanted_keys(regclass, regclass) from public;

create function tenantkeep.held_keys(of_index regclass) returns text
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    select format('(select tableoid as tk_tableoid, ctid as tk_ctid, xmin as tk_xmin, %s from %s where %s)',
      (select string_agg(format('%s as tk_key_%s', k.expression, k.key_no), ', ' order by k.key_no)
       from tenantkeep.index_keys(of_index) k),
      tenantkeep.live_rows(i.relation), i.predicate)
    from tenantkeep.require_index(of_index) i
  $$;
comment on function tenantkeep.held_keys(regclass) is
  'The keys in an index that live rows have, as a subselect of tk_tableoid, tk_ctid, tk_xmin, tk_key_1 and so on.';
revoke all on function tenantkeep.held_keys(regclass) from public;

create function tenantkeep.key_conditions(of_index regclass, staged regclass) returns setof text
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
declare
  index record;
  pattern boolean[];
begin
  select * into index from tenantkeep.require_index(of_index);
  -- Where nulls are values, one condition for each way of being null that occurs: «or» can't be looked up.
  for pattern in execute format(
    case when index.nulls_are_values then 'select distinct array[%s] from %s w' else 'select array[%s] from %s w limit 1' end,
    (select string_agg(case when index.nulls_are_values then format('w.tk_key_%s is null', n) else 'false' end, ', ' order by n)
     from generate_series(1, index.key_count) n),
    tenantkeep.wanted_keys(of_index, staged)
  ) loop
    return query
      select string_agg(
        case when pattern[k.key_no] then format('w.tk_key_%1$s is null and l.tk_key_%1$s is null', k.key_no)
        else format('w.tk_key_%s is not null and ', k.key_no) || tenantkeep.comparison(
          'l.tk_key_' || k.key_no, k.key_operator, 'w.tk_key_' || k.key_no, k.key_collation) end,
        ' and ' order by k.key_no)
      from tenantkeep.index_keys(of_index) k;
  end loop;
end
$$;
comment on function tenantkeep.key_conditions(regclass, regclass) is
  'When a live key l is a wanted key w; none where no key is wanted, several where nulls are values.';
revoke all on function tenantkeep.key_conditions(regclass, regclass) from public;

create function tenantkeep.require_reference(of_constraint oid)
  returns table (child regclass, parent regclass)
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
begin
  return query
    select k.conrelid::regclass, k.confrelid::regclass
    from pg_catalog.pg_constraint k
    where k.oid = of_constraint and k.contype = 'f'
      -- Since Postgres 18: several rows together may be what such a key refers to, which nothing here looks for.
      and pg_catalog.to_jsonb(k) ->> 'conperiod' is distinct from 'true';
  if not found then
    raise exception 'The constraint with oid % is no foreign key, or one over periods.', of_constraint using errcode = 'TK001';
  end if;
end
$$;
comment on function tenantkeep.require_reference(oid) is 'The two tables of a foreign key; fails where this is none.';
revoke all on function tenantkeep.require_reference(oid) from public;

create function tenantkeep.reference_columns(of_constraint oid, of_child boolean, alias text) returns text
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(format('%s.%I', alias, a.attname), ', ' order by u.position)
    from pg_catalog.pg_constraint k
    cross join unnest(case when of_child then k.conkey else k.confkey end) with ordinality as u (attnum, position)
    join pg_catalog.pg_attribute a
      on a.attrelid = case when of_child then k.conrelid else k.confrelid end and a.attnum = u.attnum
    where k.oid = of_constraint
  $$;
comment on function tenantkeep.reference_columns(oid, boolean, text) is
  'The columns of a foreign key in the table that refers, or in the one referred to.';
revoke all on function tenantkeep.reference_columns(oid, boolean, text) from public;

create function tenantkeep.reference_match(of_constraint oid, parent_alias text, other_alias text, is_child boolean) returns text
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(tenantkeep.comparison(
      format('%s.%I', parent_alias, p.attname),
      (case when is_child then k.conpfeqop else k.conppeqop end)[u.position],
      format('%s.%I', other_alias, case when is_child then c.attname else p.attname end),
      p.attcollation), ' and ' order by u.position)
    from pg_catalog.pg_constraint k
    cross join generate_subscripts(k.conkey, 1) as u (position)
    join pg_catalog.pg_attribute c on c.attrelid = k.conrelid and c.attnum = k.conkey[u.position]
    join pg_catalog.pg_attribute p on p.attrelid = k.confrelid and p.attnum = k.confkey[u.position]
    where k.oid = of_constraint
  $$;
comment on function tenantkeep.reference_match(oid, text, text, boolean) is
  'When a row has the key that another refers to (or has too), by the operators that the foreign key itself uses.';
revoke all on function tenantkeep.reference_match(oid, text, text, boolean) from public;

create function tenantkeep.is_given(of_constraint oid, of_child boolean, alias text) returns text
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    -- Spelled out: the planner takes num_nulls(…) = 0 for true of one row in two hundred.
    select format('(%s)', string_agg(format('%s.%I is not null', alias, a.attname),
      case when of_child and k.confmatchtype = 'f' then ' or ' else ' and ' end))
    from pg_catalog.pg_constraint k
    cross join unnest(case when of_child then k.conkey else k.confkey end) as u (attnum)
    join pg_catalog.pg_attribute a
      on a.attrelid = case when of_child then k.conrelid else k.confrelid end and a.attnum = u.attnum
    where k.oid = of_constraint
    group by k.confmatchtype
  $$;
comment on function tenantkeep.is_given(oid, boolean, text) is
  'Whether a row refers to anything by a foreign key, or can be referred to: simple keys with no null, full ones with any value.';
revoke all on function tenantkeep.is_given(oid, boolean, text) from public;

create function tenantkeep.orphans(of_constraint oid, child_staged regclass, parent_staged regclass) returns text
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
declare
  reference record;
  coming text := '(select null::bigint as "tenantkeep:row" where false)';
  going text := '(select null::bigint as tk_row where false)';
begin
  select * into reference from tenantkeep.require_reference(of_constraint);
  if parent_staged is not null then
    coming := tenantkeep.staged_rows(parent_staged, reference.parent, '{insert,update,replace}');
    -- By their keys: what changes or goes has its own values in rows of its own, what is released is looked up.
    going := format('(select "tenantkeep:row" as tk_row, %s from %s g union all select g."tenantkeep:row", %s from %s g join %s p '
      'on p.ctid = g."tenantkeep:ctid" and p.tableoid = g."tenantkeep:tableoid")',
      tenantkeep.reference_columns(of_constraint, false, 'g'),
      tenantkeep.staged_rows(parent_staged, reference.parent, '{delete,before}'),
      tenantkeep.reference_columns(of_constraint, false, 'p'),
      tenantkeep.staged_places(parent_staged, '{release}'), tenantkeep.live_rows(reference.parent));
  end if;
  -- Outer joins and «offset 0», so that no condition makes the planner believe in one row, as in wanted_keys.
  return format(
    '(select * from (select f."tenantkeep:row" as tk_row, coalesce(row(%1$s)::record operator(pg_catalog.*=) row(%2$s)::record '
    '    and b."tenantkeep:row" is not null, false) as tk_was_same, '
    '  n."tenantkeep:row" is not null as tk_is_coming, g.tk_row is not null as tk_is_going, p.tableoid is not null as tk_is_live '
    '  from %3$s f left join %4$s b on b."tenantkeep:row" = f."tenantkeep:row" '
    '  left join %5$s n on %6$s left join %7$s g on %8$s left join %9$s p on %10$s where %11$s offset 0) f '
    'where not f.tk_is_coming and (f.tk_is_going or not f.tk_is_live))',
    tenantkeep.reference_columns(of_constraint, true, 'f'), tenantkeep.reference_columns(of_constraint, true, 'b'),
    tenantkeep.staged_rows(child_staged, reference.child, '{insert,update,replace}'),
    tenantkeep.staged_rows(child_staged, reference.child, '{before}'),
    coming, case when parent_staged is null then 'false' else tenantkeep.reference_match(of_constraint, 'n', 'f', true) end,
    going, case when parent_staged is null then 'false' else tenantkeep.reference_match(of_constraint, 'g', 'f', true) end,
    tenantkeep.live_rows(reference.parent), tenantkeep.reference_match(of_constraint, 'p', 'f', true),
    tenantkeep.is_given(of_constraint, true, 'f')
  );
end
$$;
comment on function tenantkeep.orphans(oid, regclass, regclass) is
  'Final rows whose reference leads nowhere once the plan is carried out, as a subselect: tk_row, whether the live row has the same reference, and whether that leads somewhere now.';
revoke all on function tenantkeep.orphans(oid, regclass, regclass) from public;

create function tenantkeep.has_orphans(of_constraint oid, child_staged regclass, parent_staged regclass) returns boolean
  language plpgsql volatile set search_path = pg_catalog, pg_temp
  as $$
declare
  reference record;
  coming text := '(select null::bigint as "tenantkeep:row" where false)';
  going text := coming;
  has_any boolean;
begin
  select * into reference from tenantkeep.require_reference(of_constraint);
  -- Values that are equal here may differ there.
  if exists (
    select from pg_catalog.pg_constraint k
    join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = any (k.conkey)
    join pg_catalog.pg_collation c on c.oid = a.attcollation
    where k.oid = of_constraint and not c.collisdeterministic
  ) then
    return true;
  end if;
  if parent_staged is not null then
    coming := tenantkeep.staged_rows(parent_staged, reference.parent, '{insert,update,replace}');
    going := tenantkeep.staged_places(parent_staged, '{delete,before,release}');
  end if;
  execute format(
    'select count(*) > 0 from (select n."tenantkeep:row" is not null as tk_is_coming, '
    '    p.tableoid is not null and g."tenantkeep:row" is null as tk_stays '
    '  from (select distinct %1$s from %2$s f where %3$s) f '
    '  left join %4$s n on %5$s left join %6$s p on %7$s left join %8$s g on %9$s offset 0) f '
    'where not f.tk_is_coming and not f.tk_stays',
    tenantkeep.reference_columns(of_constraint, true, 'f'),
    tenantkeep.staged_rows(child_staged, reference.child, '{insert,update,replace}'),
    tenantkeep.is_given(of_constraint, true, 'f'),
    coming, case when parent_staged is null then 'false' else tenantkeep.reference_match(of_constraint, 'n', 'f', true) end,
    tenantkeep.live_rows(reference.parent), tenantkeep.reference_match(of_constraint, 'p', 'f', true),
    going, case when parent_staged is null then 'false'
      else 'g."tenantkeep:ctid" = p.ctid and g."tenantkeep:tableoid" = p.tableoid' end
  ) into has_any;
  return has_any;
end
$$;
comment on function tenantkeep.has_orphans(oid, regclass, regclass) is
  'Whether orphans would find any, asked of each key once: of many rows with few owners a fraction of the work.';
revoke all on function tenantkeep.has_orphans(oid, regclass, regclass) from public;

create function tenantkeep.vacated_keys(of_constraint oid, parent_staged regclass) returns text
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
declare
  reference record;
begin
  select * into reference from tenantkeep.require_reference(of_constraint);
  return format(
    '(select d."tenantkeep:row" as tk_row, %1$s from %2$s d where %7$s '
    'union all '
    'select b."tenantkeep:row", %3$s from %4$s b left join %5$s f on f."tenantkeep:row" = b."tenantkeep:row" '
    'where %8$s and (f."tenantkeep:row" is null or row(%3$s)::record operator(pg_catalog.*<>) row(%6$s)::record))',
    tenantkeep.reference_columns(of_constraint, false, 'd'),
    tenantkeep.staged_rows(parent_staged, reference.parent, '{delete}'),
    tenantkeep.reference_columns(of_constraint, false, 'b'),
    tenantkeep.staged_rows(parent_staged, reference.parent, '{before}'),
    tenantkeep.staged_rows(parent_staged, reference.parent, '{update,replace}'),
    tenantkeep.reference_columns(of_constraint, false, 'f'),
    tenantkeep.is_given(of_constraint, false, 'd'), tenantkeep.is_given(of_constraint, false, 'b')
  );
end
$$;
comment on function tenantkeep.vacated_keys(oid, regclass) is
  'Keys that rows have and give up, because they go or because it changes, as a subselect of tk_row and the columns referred to.';
revoke all on function tenantkeep.vacated_keys(oid, regclass) from public;

-- Looking: in the transaction whose picture is frozen.

create function tenantkeep.find_key_holders(of_index regclass, staged regclass)
  returns table (row_no bigint, holder_tableoid oid, holder_ctid tid, holder_xmin xid, is_owned boolean)
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  relation regclass := (select i.relation from tenantkeep.require_index(of_index) i);
  target record;
  condition text;
begin
  select * into target from tenantkeep.require_registered(relation);
  perform tenantkeep.require_staged(staged, target.live);
  for condition in select * from tenantkeep.key_conditions(of_index, staged) loop
    return query execute format(
      'select l.tk_row, l.tk_tableoid, l.tk_ctid, l.tk_xmin, %1$s '
      -- «offset 0» keeps the «not in» out of the join, where its hash table would be reckoned to each look at the index.
      'from (select w.tk_row, l.tk_tableoid, l.tk_ctid, l.tk_xmin from %2$s w join %3$s l on %4$s offset 0) l '
      -- «not in» is looked up in a hash table, however many there are.
      'where (l.tk_tableoid, l.tk_ctid) not in (select g."tenantkeep:tableoid", g."tenantkeep:ctid" from %5$s g)',
      case when target.reached_expression is null then 'true' else format(
        'exists (select from %s tk_live where tk_live.ctid = l.tk_ctid and tk_live.tableoid = l.tk_tableoid and (%s))',
        tenantkeep.live_rows(relation), target.reached_expression) end,
      tenantkeep.wanted_keys(of_index, staged), tenantkeep.held_keys(of_index), condition,
      -- Their places, wherever the rows belong.
      tenantkeep.staged_places(staged, '{delete,update,replace,release}')
    );
  end loop;
end
$$;
comment on function tenantkeep.find_key_holders(regclass, regclass) is
  'Which live rows hold a key that final rows need, and whether a tenant owns them. Definer, because a holder may be another tenant''s row, which row level security hides; it gives places, no contents.';
revoke all on function tenantkeep.find_key_holders(regclass, regclass) from public;
grant execute on function tenantkeep.find_key_holders(regclass, regclass) to tenantkeep_worker;

create function tenantkeep.find_missing_parents(of_constraint oid, child_staged regclass, parent_staged regclass)
  returns table (row_no bigint, was_broken boolean)
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  reference record;
begin
  select * into reference from tenantkeep.require_reference(of_constraint);
  perform tenantkeep.require_staged(child_staged, r.live) from tenantkeep.require_registered(reference.child) r;
  if parent_staged is not null then
    perform tenantkeep.require_staged(parent_staged, r.live) from tenantkeep.require_registered(reference.parent) r;
  end if;
  if tenantkeep.has_orphans(of_constraint, child_staged, parent_staged) then
    return query execute format('select f.tk_row, f.tk_was_same and not f.tk_is_live from %s f',
      tenantkeep.orphans(of_constraint, child_staged, parent_staged));
  end if;
end
$$;
comment on function tenantkeep.find_missing_parents(oid, regclass, regclass) is
  'Which final rows would refer to a row that is neither there nor comes. Definer, because parents may be in tables that we have no right on, such as auth.users.';
revoke all on function tenantkeep.find_missing_parents(oid, regclass, regclass) from public;
grant execute on function tenantkeep.find_missing_parents(oid, regclass, regclass) to tenantkeep_worker;

create function tenantkeep.find_referrers(of_constraint oid, parent_staged regclass, child_staged regclass)
  returns table (row_no bigint, referring_rows bigint)
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  reference record;
  vacated text;
  is_any boolean;
begin
  select * into reference from tenantkeep.require_reference(of_constraint);
  perform tenantkeep.require_staged(parent_staged, r.live) from tenantkeep.require_registered(reference.parent) r;
  if child_staged is not null then
    perform tenantkeep.require_staged(child_staged, r.live) from tenantkeep.require_registered(reference.child) r;
  end if;
  -- Released rows have a place only; their keys are looked up there.
  vacated := format(
    '(select v.* from (select v.*, n."tenantkeep:row" is not null as tk_is_taken from (%1$s '
    '  union all select g."tenantkeep:row", %2$s from %3$s g join %4$s p '
    '    on p.ctid = g."tenantkeep:ctid" and p.tableoid = g."tenantkeep:tableoid" where %7$s) v '
    '  left join %5$s n on %6$s offset 0) v where not v.tk_is_taken)',
    tenantkeep.vacated_keys(of_constraint, parent_staged),
    tenantkeep.reference_columns(of_constraint, false, 'p'),
    tenantkeep.staged_places(parent_staged, '{release}'), tenantkeep.live_rows(reference.parent),
    tenantkeep.staged_rows(parent_staged, reference.parent, '{insert,update,replace}'),
    tenantkeep.reference_match(of_constraint, 'n', 'v', false),
    tenantkeep.is_given(of_constraint, false, 'p'));
  -- Counted, not «exists»: that is planned for a first row, and takes the square of the rows where there is none.
  execute format('select count(*) > 0 from %s v', vacated) into is_any;
  if not is_any then
    return;
  end if;
  return query execute format(
    'with vacated as materialized (select * from %s v) '
    'select c.tk_row, count(*) from (select v.tk_row, c.tableoid, c.ctid from vacated v join %s c on %s offset 0) c '
    'where %s group by c.tk_row',
    vacated, tenantkeep.live_rows(reference.child), tenantkeep.reference_match(of_constraint, 'v', 'c', true),
    case when child_staged is null then 'true' else format(
      '(c.tableoid, c.ctid) not in (select g."tenantkeep:tableoid", g."tenantkeep:ctid" from %s g)',
      tenantkeep.staged_places(child_staged, '{delete,update,replace,release}')) end);
end
$$;
comment on function tenantkeep.find_referrers(oid, regclass, regclass) is
  'Which rows that go are still referred to by rows that stay, and by how many. Definer, because rows of other tenants, and tables outside the registry, may refer to them.';
revoke all on function tenantkeep.find_referrers(oid, regclass, regclass) from public;
grant execute on function tenantkeep.find_referrers(oid, regclass, regclass) to tenantkeep_worker;

create function tenantkeep.find_unowned_children(of_edge integer, owner_staged regclass)
  returns table (child_tableoid oid, child_ctid tid, child_xmin xid)
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  edge record;
  target record;
  owner record;
  ties text;
  says_nothing text;
begin
  select o.*, t.class, t.tenant_column, f.types,
    to_regclass(format('%I.%I', o.schema_name, o.table_name)) as relation,
    to_regclass(format('%I.%I', o.owner_schema, o.owner_table)) as owner_relation
    into edge
  from tenantkeep.ownership o
  join tenantkeep.tenant_tables t using (schema_name, table_name)
  join tenantkeep.key_functions f on f.id = o.key_function
  where o.id = of_edge;
  if not found then
    raise exception 'There is no edge of ownership %.', of_edge using errcode = 'TK001';
  end if;
  select * into target from tenantkeep.require_registered(edge.relation);
  select * into owner from tenantkeep.require_registered(edge.owner_relation);
  perform tenantkeep.require_staged(owner_staged, owner.live);
  if target.reached_expression is null then
    return;
  end if;
  -- As the policies compare: the owner's keys in the key function's types.
  select format('(%s) in (select %s from %s o)',
      string_agg(format('c.%I', u.child_column), ', '), string_agg(format('o.%I::%s', u.owner_column, u.type), ', '),
      tenantkeep.staged_rows(owner_staged, owner.live, '{insert}'))
    into ties
  from unnest(edge.columns, edge.owner_columns, edge.types) as u (child_column, owner_column, type);
  -- An edge counts only where the tenant's column and the edges before it say nothing.
  select string_agg(s.condition, ' and ') into says_nothing
  from (
    select format('c.%I is null', edge.tenant_column) as condition where edge.class = 'direct'
    union all
    select format('(num_nulls(%s) > 0%s)',
      (select string_agg(format('c.%I', n.name), ', ') from unnest(o.columns) as n (name)),
      case when o.condition is null then '' else format(' or (c.%I = %L) is not true',
        o.condition ->> 'column', o.condition ->> 'value') end)
    from tenantkeep.ownership o
    where o.schema_name = edge.schema_name and o.table_name = edge.table_name and o.rank < edge.rank
  ) s;
  return query execute format(
    'with tied as materialized (select c.tableoid as tk_tableoid, c.ctid as tk_ctid, c.xmin as tk_xmin from %1$s c '
    'where %2$s and %3$s and %4$s) '
    'select t.tk_tableoid, t.tk_ctid, t.tk_xmin from tied t where not exists ('
    'select from %1$s tk_live where tk_live.ctid = t.tk_ctid and tk_live.tableoid = t.tk_tableoid and (%5$s))',
    tenantkeep.live_rows(edge.relation), ties,
    case when edge.condition is null then 'true' else format('c.%I = %L',
      edge.condition ->> 'column', edge.condition ->> 'value') end,
    coalesce(says_nothing, 'true'), target.reached_expression);
end
$$;
comment on function tenantkeep.find_unowned_children(integer, regclass) is
  'Live rows of no tenant that become this tenant''s as soon as the rows that own them are back. Definer, because row level security hides rows of no tenant; it gives places, no contents.';
revoke all on function tenantkeep.find_unowned_children(integer, regclass) from public;
grant execute on function tenantkeep.find_unowned_children(integer, regclass) to tenantkeep_worker;

-- Acting: in the transaction that writes. Volatile, so that each statement sees what was committed by then.

create function tenantkeep.require_silence() returns void
  language plpgsql stable set search_path = pg_catalog, pg_temp
  as $$
begin
  if pg_catalog.current_setting('session_replication_role') <> 'replica' then
    raise exception 'Triggers are not silenced: a cascade could reach other rows.' using errcode = 'TK001';
  end if;
end
$$;
comment on function tenantkeep.require_silence() is
  'Fails unless this transaction called silence_triggers: the owner may write every row, so no cascade may run.';
revoke all on function tenantkeep.require_silence() from public;

create function tenantkeep.release_rows(
  of_schema text, of_table text, staged regclass, of_restore uuid, of_tenant text
) returns bigint
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  target record;
  released bigint;
begin
  perform tenantkeep.require_silence();
  select * into target from tenantkeep.require_registered(to_regclass(format('%I.%I', of_schema, of_table)));
  perform tenantkeep.require_staged(staged, target.live);
  if target.reached_expression is null then
    raise exception 'Nobody can tell which rows of %.% belong to no tenant.', of_schema, of_table using errcode = 'TK001';
  end if;
  -- By xmin too: after a wait the place may hold another version of the row.
  execute format(
    'with doomed as materialized (select g.* from %1$s g join %2$s tk_row on tk_row.ctid = g."tenantkeep:ctid" '
    '  and tk_row.tableoid = g."tenantkeep:tableoid" and tk_row.xmin = g."tenantkeep:xmin" '
    '  where not exists (select from %2$s tk_live where tk_live.ctid = tk_row.ctid '
    '    and tk_live.tableoid = tk_row.tableoid and (%3$s))), '
    'gone as (delete from %2$s tk_row using doomed g where tk_row.ctid = g."tenantkeep:ctid" '
    '  and tk_row.tableoid = g."tenantkeep:tableoid" and tk_row.xmin = g."tenantkeep:xmin" '
    '  returning (tk_row.*)::text as row_text), '
    'kept as (insert into tenantkeep.released_rows (restore_id, organization_id, schema_name, table_name, row_text) '
    '  select $1, $2, $3, $4, gone.row_text from gone returning 1) '
    'select count(*) from kept',
    tenantkeep.staged_places(staged, '{release}'), tenantkeep.live_rows(target.live), target.reached_expression
  ) into released using of_restore, of_tenant, of_schema, of_table;
  return released;
end
$$;
comment on function tenantkeep.release_rows(text, text, regclass, uuid, text) is
  'Deletes the rows of no tenant that stand in the way of a restore, and keeps them; passes over each that has an owner or has changed, so that the count tells. Definer, because row level security hides rows of no tenant.';
revoke all on function tenantkeep.release_rows(text, text, regclass, uuid, text) from public;
grant execute on function tenantkeep.release_rows(text, text, regclass, uuid, text) to tenantkeep_worker;

create function tenantkeep.return_rows(of_restore uuid, of_tenant text)
  returns table (schema_name text, table_name text, row_count bigint)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  released record;
  target record;
  columns text;
  is_owned boolean;
begin
  perform tenantkeep.require_silence();
  for released in
    select r.schema_name, r.table_name
    from tenantkeep.released_rows r
    left join tenantkeep.tenant_tables t using (schema_name, table_name)
    where r.restore_id = of_restore and r.organization_id = of_tenant and r.returned_at is null
    group by r.schema_name, r.table_name
    order by min(t.position), r.schema_name, r.table_name
  loop
    schema_name := released.schema_name;
    table_name := released.table_name;
    select * into target
    from tenantkeep.require_registered(to_regclass(format('%I.%I', released.schema_name, released.table_name)));
    select string_agg(format('%I', a.attname), ', ' order by a.attnum) into columns
    from pg_catalog.pg_attribute a
    where a.attrelid = target.live and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
    execute format(
      'select exists (select from (select (r.row_text::%1$I.%2$I).* from tenantkeep.released_rows r '
      '  where r.restore_id = $1 and r.organization_id = $2 and r.schema_name = $3 and r.table_name = $4 '
      '    and r.returned_at is null offset 0) tk_row where %3$s)',
      released.schema_name, released.table_name, coalesce(target.reached_expression, 'true')
    ) into is_owned using of_restore, of_tenant, released.schema_name, released.table_name;
    if is_owned then
      raise exception 'A row that the restore took away from %.% would have an owner now.',
        released.schema_name, released.table_name using errcode = 'TK001';
    end if;
    execute format(
      'with returned as (update tenantkeep.released_rows r set returned_at = now() '
      '  where r.restore_id = $1 and r.organization_id = $2 and r.schema_name = $3 and r.table_name = $4 '
      '    and r.returned_at is null returning r.id, r.row_text), '
      'put as (insert into %1$I.%2$I (%3$s) overriding system value '
      '  select %3$s from (select (row_text::%1$I.%2$I).* from returned order by id offset 0) tk_row returning 1) '
      'select count(*) from put',
      released.schema_name, released.table_name, columns
    ) into row_count using of_restore, of_tenant, released.schema_name, released.table_name;
    return next;
  end loop;
end
$$;
comment on function tenantkeep.return_rows(uuid, text) is
  'Puts back the rows of no tenant that a restore took away, once; fails where one of them would have an owner. Definer, because row level security lets us write no such row.';
revoke all on function tenantkeep.return_rows(uuid, text) from public;
grant execute on function tenantkeep.return_rows(uuid, text) to tenantkeep_worker;

create function tenantkeep.hold_references(of_constraint oid, child_staged regclass) returns bigint
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  reference record;
  parents text;
  orphaned bigint;
begin
  select * into reference from tenantkeep.require_reference(of_constraint);
  perform tenantkeep.require_staged(child_staged, r.live) from tenantkeep.require_registered(reference.child) r;
  parents := tenantkeep.live_rows(reference.parent);
  -- Locking is a right of its own; auth.users may give the owner only select.
  if pg_catalog.has_table_privilege(reference.parent, 'update') then
    execute format(
      'select count(*) from (select from %s p where exists ('
      '  select from (select distinct %s from %s f where %s) f where %s) for key share of p) held',
      parents, tenantkeep.reference_columns(of_constraint, true, 'f'),
      tenantkeep.staged_rows(child_staged, reference.child, '{insert,update,replace}'),
      tenantkeep.is_given(of_constraint, true, 'f'), tenantkeep.reference_match(of_constraint, 'p', 'f', true)
    ) into orphaned;
  end if;
  if not tenantkeep.has_orphans(of_constraint, child_staged, null) then
    return 0;
  end if;
  execute format('select count(*) from %s f where not f.tk_was_same',
    tenantkeep.orphans(of_constraint, child_staged, null)) into orphaned;
  return orphaned;
end
$$;
comment on function tenantkeep.hold_references(oid, regclass) is
  'Locks the rows that final rows refer to until the end of the transaction, then counts final rows that refer to nothing and did not before. Definer, because we have no right to lock parents outside the tenant.';
revoke all on function tenantkeep.hold_references(oid, regclass) from public;
grant execute on function tenantkeep.hold_references(oid, regclass) to tenantkeep_worker;

create function tenantkeep.count_lost_referrers(of_constraint oid, parent_staged regclass) returns bigint
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  reference record;
  lost text;
  is_any boolean;
  referring bigint;
begin
  select * into reference from tenantkeep.require_reference(of_constraint);
  perform tenantkeep.require_staged(parent_staged, r.live) from tenantkeep.require_registered(reference.parent) r;
  lost := format(
    '(select v.* from (select v.*, p.tableoid is not null as tk_is_there from %s v left join %s p on %s offset 0) v '
    'where not v.tk_is_there)',
    tenantkeep.vacated_keys(of_constraint, parent_staged), tenantkeep.live_rows(reference.parent),
    tenantkeep.reference_match(of_constraint, 'p', 'v', false));
  -- Counted for the same reason as in find_referrers.
  execute format('select count(*) > 0 from %s v', lost) into is_any;
  if not is_any then
    return 0;
  end if;
  execute format(
    'with lost as materialized (select * from %s v) '
    'select count(*) from %s c where exists (select from lost v where %s)',
    lost, tenantkeep.live_rows(reference.child), tenantkeep.reference_match(of_constraint, 'v', 'c', true)
  ) into referring;
  return referring;
end
$$;
comment on function tenantkeep.count_lost_referrers(oid, regclass) is
  'Counts live rows, of any tenant, that refer to a key which this restore took away. Definer, because no foreign key acted on them and row level security hides them.';
revoke all on function tenantkeep.count_lost_referrers(oid, regclass) from public;
grant execute on function tenantkeep.count_lost_referrers(oid, regclass) to tenantkeep_worker;

create function tenantkeep.count_duplicates(of_constraint oid, staged regclass) returns bigint
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  of_index regclass := (
    select k.conindid::regclass from pg_catalog.pg_constraint k
    where k.oid = of_constraint and k.contype in ('p', 'u', 'x')
  );
  relation regclass;
  condition text;
  is_same text;
  pairs bigint;
  total bigint := 0;
begin
  if of_index is null then
    raise exception 'The constraint with oid % makes nothing unique.', of_constraint using errcode = 'TK001';
  end if;
  relation := (select i.relation from tenantkeep.require_index(of_index) i);
  perform tenantkeep.require_staged(staged, r.live) from tenantkeep.require_registered(relation) r;
  select format('row(%s)::record operator(pg_catalog.*=) row(%s)::record',
      string_agg(format('l.tk_key_%s', k.key_no), ', ' order by k.key_no),
      string_agg(format('w.tk_key_%s', k.key_no), ', ' order by k.key_no))
    into is_same
  from tenantkeep.index_keys(of_index) k;
  for condition in select * from tenantkeep.key_conditions(of_index, staged) loop
    -- Where a key conflicts with itself, the written row is among those found, and each pair counts once.
    execute format(
      'with met as materialized (select w.tk_row, l.tk_tableoid, l.tk_ctid, %s as tk_is_same from %s w join %s l on %s), '
      'pairs as ('
      '  select a.tk_tableoid, a.tk_ctid, b.tk_tableoid, b.tk_ctid '
      '  from met a join met b on b.tk_row = a.tk_row and (a.tk_is_same or b.tk_is_same) '
      '    and (a.tk_tableoid, a.tk_ctid) < (b.tk_tableoid, b.tk_ctid) '
      '  union '
      '  select 0::oid, null::tid, b.tk_tableoid, b.tk_ctid from met b '
      '  where not exists (select from met a where a.tk_row = b.tk_row and a.tk_is_same)) '
      'select count(*) from pairs',
      is_same, tenantkeep.wanted_keys(of_index, staged), tenantkeep.held_keys(of_index), condition
    ) into pairs;
    total := total + pairs;
  end loop;
  return total;
end
$$;
comment on function tenantkeep.count_duplicates(oid, regclass) is
  'Counts pairs of live rows, over all tenants, that a deferrable constraint forbids and of which one was written. Definer, because Postgres checks such a constraint by a trigger, which is silent, and row level security hides the other row.';
revoke all on function tenantkeep.count_duplicates(oid, regclass) from public;
grant execute on function tenantkeep.count_duplicates(oid, regclass) to tenantkeep_worker;

create function tenantkeep.raise_sequences(of_schema text, of_table text, staged regclass)
  returns table (sequence_name text, raised_to bigint)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  target record;
  used record;
  wanted bigint;
  reached bigint;
begin
  select * into target from tenantkeep.require_registered(to_regclass(format('%I.%I', of_schema, of_table)));
  perform tenantkeep.require_staged(staged, target.live);
  for used in
    select distinct a.attname, s.seqrelid, s.seqincrement, s.seqmin, s.seqmax, format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_attribute a
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    join pg_catalog.pg_depend p on (
      -- Owned by the column (serial, identity), or in its default.
      p.classid = 'pg_class'::regclass and p.refclassid = 'pg_class'::regclass and p.refobjid = a.attrelid
        and p.refobjsubid = a.attnum and p.deptype in ('a', 'i')
      or p.classid = 'pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_class'::regclass
    )
    join pg_catalog.pg_sequence s
      on s.seqrelid = case when p.classid = 'pg_class'::regclass then p.objid else p.refobjid end
    join pg_catalog.pg_class c on c.oid = s.seqrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute t on t.attrelid = staged and t.attname = a.attname
      and t.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)
    where a.attrelid = target.live and a.attnum > 0 and not a.attisdropped
    order by 1
  loop
    execute format('select %s(%I::numeric) from %s f where %2$I between $1 and $2',
      case when used.seqincrement > 0 then 'max' else 'min' end, used.attname,
      tenantkeep.staged_rows(staged, target.live, '{insert,update,replace}')
    ) into wanted using used.seqmin, used.seqmax;
    continue when wanted is null;
    execute format('select case when is_called then last_value else last_value - $1 end from %s', used.name)
      into reached using sign(used.seqincrement)::bigint;
    continue when (wanted - reached) * sign(used.seqincrement) <= 0;
    if (wanted::numeric - reached) / used.seqincrement > 10000
      or wanted::numeric + used.seqincrement not between used.seqmin and used.seqmax then
      reached := pg_catalog.setval(used.seqrelid::regclass, wanted);
    else
      -- By steps: between reading and setting, others may have passed the value, and setval would go back.
      loop
        reached := pg_catalog.nextval(used.seqrelid::regclass);
        exit when (reached - wanted) * sign(used.seqincrement) >= 0;
      end loop;
    end if;
    sequence_name := used.name;
    raised_to := reached;
    return next;
  end loop;
end
$$;
comment on function tenantkeep.raise_sequences(text, text, regclass) is
  'Raises the sequences of a table to the values that final rows hold, never lowers one, and cannot be rolled back. Definer, because we have no right on the host''s sequences.';
revoke all on function tenantkeep.raise_sequences(text, text, regclass) from public;
grant execute on function tenantkeep.raise_sequences(text, text, regclass) to tenantkeep_worker;

insert into tenantkeep.migrations (version) values ('20261121092000');
