-- What policies, the census and the functions ask. Every security definer function here sees past row
-- level security and is therefore short, has a fixed search_path and a stated reason.
--
-- The path is «pg_catalog, pg_temp», never empty: while pg_temp is not named, Postgres looks for types and
-- tables there first, and `::uuid` in a definer function would run the check of a temporary domain called
-- uuid, made by the caller, with the rights of the owner. Types are asked for with modifier -1, since
-- format_type says «character» without one, which as a cast means one character.

create function tenantkeep.current_tenant() returns text
  language sql stable set search_path = pg_catalog, pg_temp
  as $$ select nullif(pg_catalog.current_setting('tenantkeep.tenant', true), '') $$;
comment on function tenantkeep.current_tenant() is
  'The tenant this transaction is confined to; null (so: no row) when none is set. After a commit the setting is an empty string, hence nullif.';
revoke all on function tenantkeep.current_tenant() from public;
grant execute on function tenantkeep.current_tenant() to tenantkeep_operator, tenantkeep_worker;

create function tenantkeep.silence_triggers() returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp
  as $$ begin set local session_replication_role = replica; end $$;
comment on function tenantkeep.silence_triggers() is
  'No user trigger, cascade or foreign-key check until the end of this transaction. Definer, because setting the parameter is a right of the owner. Call it before set role.';
revoke all on function tenantkeep.silence_triggers() from public;
grant execute on function tenantkeep.silence_triggers() to tenantkeep_worker;

create function tenantkeep.census(tenant_id text)
  returns table (schema_name text, table_name text, row_count bigint)
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  registered record;
begin
  for registered in
    select t.schema_name, t.table_name, t.census_expression, c.relkind
    from tenantkeep.tenant_tables t
    join pg_catalog.pg_namespace n on n.nspname = t.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
    where t.census_expression is not null and t.class <> 'excluded'
    order by t.position
  loop
    schema_name := registered.schema_name;
    table_name := registered.table_name;
    execute pg_catalog.format(
      'select count(*) from %s %I.%I where %s',
      case when registered.relkind = 'p' then '' else 'only' end,
      registered.schema_name, registered.table_name, registered.census_expression
    ) into row_count using census.tenant_id;
    return next;
  end loop;
end
$$;
comment on function tenantkeep.census(text) is
  'Counts a tenant''s rows per table past row level security, by the whole path. Definer, because it must see what a policy might hide; row_security is off so that it fails rather than counts nothing. Called in the snapshot of the backup, before set role.';
revoke all on function tenantkeep.census(text) from public;
grant execute on function tenantkeep.census(text) to tenantkeep_worker;

create function tenantkeep.list_tenants()
  returns table (tenant_id text, tenant_name text, skip_code text, skip_reason text)
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  root jsonb := (select s.value from tenantkeep.settings s where s.key = 'tenant_table');
  inactive text := (select s.value #>> '{}' from tenantkeep.settings s where s.key = 'inactive_predicate');
begin
  if root is null then
    return;
  end if;
  return query execute pg_catalog.format(
    'select r.%1$I::text, %2$s, '
    '  case when p.tenant_id is not null then ''tenant_paused'' when %3$s then ''tenant_inactive'' end, '
    '  case when p.tenant_id is not null then ''Paused by '' || p.paused_by || '': '' || p.reason '
    '       when %3$s then ''The setting inactive_predicate says that this tenant is not active.'' end '
    'from %4$I.%5$I r left join tenantkeep.paused_tenants p on p.tenant_id = r.%1$I::text '
    'order by r.%1$I',
    root ->> 'key',
    -- Not coalesce: format has no identifier for a null, which it refuses.
    case when root ->> 'name' is null then 'null::text' else pg_catalog.format('r.%I::text', root ->> 'name') end,
    coalesce('(' || inactive || ')', 'false'),
    root ->> 'schema', root ->> 'table'
  );
end
$$;
comment on function tenantkeep.list_tenants() is
  'Every tenant with its name, and why it is skipped where it is. Definer, because the worker can''t read the host''s tenant table and the daily run must see all tenants.';
revoke all on function tenantkeep.list_tenants() from public;
grant execute on function tenantkeep.list_tenants() to tenantkeep_worker;

create function tenantkeep.administered_by(user_id text)
  returns table (tenant_id text, role text)
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
  as $$
declare
  m jsonb := (select s.value from tenantkeep.settings s where s.key = 'membership');
  user_type text;
begin
  if m is null or administered_by.user_id is null then
    return;
  end if;
  select pg_catalog.format_type(a.atttypid, -1) into user_type
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = m ->> 'schema' and c.relname = m ->> 'table' and a.attname = m ->> 'user'
    and not a.attisdropped;
  if user_type is null then
    return;
  end if;
  return query execute pg_catalog.format(
    'select %I::text, %I::text from %I.%I where %I = $1::%s and %2$I::text = any ($2) and %1$I is not null',
    m ->> 'tenant', m ->> 'role', m ->> 'schema', m ->> 'table', m ->> 'user', user_type
  ) using administered_by.user_id, array(select pg_catalog.jsonb_array_elements_text(m -> 'roles'));
exception
  -- An id that the column can't even hold is nobody's: a user of another login provider.
  when invalid_text_representation or numeric_value_out_of_range or check_violation then
    return;
end
$$;
comment on function tenantkeep.administered_by(text) is
  'The tenants of which a user is owner or admin, as the setting membership defines it, read now. Definer, because neither the worker nor the user may read the host''s membership table at large.';
revoke all on function tenantkeep.administered_by(text) from public;
grant execute on function tenantkeep.administered_by(text) to tenantkeep_worker;

-- Statements that need auth, anon and authenticated run only where these exist: a plain Postgres has none.
do $$
begin
  if exists (select from pg_roles where rolname = 'authenticated') and to_regprocedure('auth.jwt()') is not null then
    execute $sql$
      create function tenantkeep.administered_tenants() returns setof text
        language sql stable security definer set search_path = pg_catalog, pg_temp
        -- auth.uid() without its cast, which fails where another login provider's ids are no uuids.
        as $f$
          select a.tenant_id
          from tenantkeep.administered_by(coalesce(
            nullif(current_setting('request.jwt.claim.sub', true), ''), auth.jwt() ->> 'sub'
          )) a
        $f$
    $sql$;
    comment on function tenantkeep.administered_tenants() is
      'The tenants of which the signed-in user is owner or admin; what the policies of the public tables ask. Definer, because users can''t call administered_by, which answers about anybody.';
    revoke all on function tenantkeep.administered_tenants() from public;
    grant usage on schema tenantkeep to authenticated;
    grant execute on function tenantkeep.administered_tenants() to authenticated;
  end if;
end
$$;

-- The two digests below read pg_catalog only, as whoever asks. Their fixed search_path makes
-- pg_get_expr and format_type print the same text in every session.

create function tenantkeep.table_protection(of_table oid default null)
  returns table (schema_name text, table_name text, digest text)
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    -- What our policies call: a changed body would open or blind every one of them. All policies in one
    -- pass, since asking pg_depend table by table takes a hundred times as long.
    with called as materialized (
      select f.polrelid, string_agg(f.definition, ';' order by f.definition) as functions
      from (
        select distinct p.polrelid, concat_ws(',', pr.proname, pr.prosrc, pr.prosecdef, pr.provolatile,
          pr.proconfig, pr.proowner::regrole, pr.proacl) as definition
        from pg_catalog.pg_policy p
        join pg_catalog.pg_depend d
          on d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_proc'::regclass
        join pg_catalog.pg_proc pr on pr.oid = d.refobjid
        where p.polname like 'zz\_tenantkeep\_%' and (of_table is null or p.polrelid = of_table)
      ) f
      group by f.polrelid
    )
    select n.nspname::text, c.relname::text,
      md5(concat_ws('|', c.relkind, c.relrowsecurity, (
        select string_agg(concat_ws(',', p.polname, p.polcmd, p.polpermissive,
            (select string_agg(r.rolname, '+' order by r.rolname)
             from pg_catalog.pg_roles r where r.oid = any (p.polroles)),
            pg_catalog.pg_get_expr(p.polqual, p.polrelid),
            pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), ';' order by p.polname)
        from pg_catalog.pg_policy p
        where p.polrelid = c.oid and p.polname like 'zz\_tenantkeep\_%'
      ), (
        select string_agg(x.privilege_type, '+' order by x.privilege_type)
        from pg_catalog.aclexplode(c.relacl) x
        join pg_catalog.pg_roles g on g.oid = x.grantee and g.rolname = 'tenantkeep_operator'
      ), called.functions))
    from tenantkeep.tenant_tables t
    join pg_catalog.pg_namespace n on n.nspname = t.schema_name
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.table_name
    left join called on called.polrelid = c.oid
    where t.class <> 'excluded' and (of_table is null or c.oid = of_table)
  $$;
comment on function tenantkeep.table_protection(oid) is
  'A digest per registered table, or of one of them, of what confines us on it: row level security, our policies with the functions they call, our grants. init records it, every backup compares it.';
revoke all on function tenantkeep.table_protection(oid) from public;
grant execute on function tenantkeep.table_protection(oid) to tenantkeep_worker, tenantkeep_operator;

create function tenantkeep.table_fingerprints()
  returns table (schema_name text, table_name text, columns text, keys text, access text)
  language sql stable set search_path = pg_catalog, pg_temp
  as $$
    with recursive host as (
      select c.oid, n.nspname, c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity,
        c.relowner, c.relacl
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and not c.relispartition
        and n.nspname in (
          select jsonb_array_elements_text(s.value) from tenantkeep.settings s where s.key = 'host_schemas'
        )
        and (n.nspname, c.relname) not in (('public', 'tenant_backups'), ('public', 'backup_logs'))
    ), used_type as (
      -- Domains, enums, composites and what they are made of: a new label or attribute changes them.
      select h.oid as relation, a.atttypid as type
      from host h
      join pg_catalog.pg_attribute a on a.attrelid = h.oid and a.attnum > 0 and not a.attisdropped
      union
      select u.relation, part.type
      from used_type u
      join pg_catalog.pg_type t on t.oid = u.type
      cross join lateral (
        select t.typbasetype where t.typtype = 'd'
        union all select t.typelem where t.typelem <> 0
        union all select a.atttypid from pg_catalog.pg_attribute a
          where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
      ) as part (type)
    ), type_description as (
      -- Grouped once: looked up for each table, types and keys would cost the square of the tables.
      select u.relation, string_agg(concat_ws(',', t.oid::regtype,
          (select string_agg(e.enumlabel, '+' order by e.enumsortorder)
           from pg_catalog.pg_enum e where e.enumtypid = t.oid),
          pg_catalog.format_type(t.typbasetype, t.typtypmod), t.typnotnull,
          (select string_agg(pg_catalog.pg_get_constraintdef(k.oid), '+' order by k.conname)
           from pg_catalog.pg_constraint k where k.contypid = t.oid),
          (select string_agg(concat_ws(' ', ca.attname,
              pg_catalog.format_type(ca.atttypid, ca.atttypmod)), '+' order by ca.attnum)
           from pg_catalog.pg_attribute ca
           where t.typtype = 'c' and ca.attrelid = t.typrelid and ca.attnum > 0
             and not ca.attisdropped)), ';' order by t.oid::regtype::text) as description
      from used_type u
      join pg_catalog.pg_type t on t.oid = u.type and t.typtype in ('d', 'e', 'c')
      group by u.relation
    ), foreign_or_own_key as (
      select r.relation, k.conname,
        concat_ws(',', k.conname, k.contype, k.condeferrable, k.convalidated,
          pg_catalog.pg_get_constraintdef(k.oid)) as description
      from pg_catalog.pg_constraint k
      cross join lateral (select k.conrelid union select k.confrelid) as r (relation)
      where r.relation in (select h.oid from host h)
    ), key_description as (
      select relation, string_agg(description, ';' order by conname, description) as description
      from foreign_or_own_key
      group by relation
    )
    select h.nspname::text, h.relname::text,
      md5(concat_ws('|', (
        select string_agg(concat_ws(',', a.attnum, a.attname,
            pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            a.attgenerated), ';' order by a.attnum)
        from pg_catalog.pg_attribute a
        where a.attrelid = h.oid and a.attnum > 0 and not a.attisdropped
      ), types.description)),
      md5(concat_ws('|', keys.description, (
        select string_agg(pg_catalog.pg_get_indexdef(i.indexrelid), ';' order by i.indexrelid::regclass::text)
        from pg_catalog.pg_index i where i.indrelid = h.oid and i.indisunique
      ))),
      md5(concat_ws('|', h.relkind, h.relrowsecurity, h.relforcerowsecurity,
        pg_catalog.pg_get_userbyid(h.relowner), h.relacl::text, (
        select string_agg(concat_ws(',', p.polname, p.polcmd, p.polpermissive,
            p.polroles::regrole[]::text, pg_catalog.pg_get_expr(p.polqual, p.polrelid),
            pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), ';' order by p.polname)
        from pg_catalog.pg_policy p
        where p.polrelid = h.oid and p.polroles && (
          select array_agg(r.oid) || 0::oid
          from pg_catalog.pg_roles r
          where pg_catalog.pg_has_role('tenantkeep_operator', r.oid, 'usage')
        )
      ), (
        select string_agg(concat_ws(',', g.tgname, g.tgenabled), ';' order by g.tgname)
        from pg_catalog.pg_trigger g where g.tgrelid = h.oid and not g.tgisinternal
      )))
    from host h
    left join type_description types on types.relation = h.oid
    left join key_description keys on keys.relation = h.oid
    order by 1, 2
  $$;
comment on function tenantkeep.table_fingerprints() is
  'A digest per host table and topic: columns with their types, keys, and what grants or denies access. Taken with every backup, so that a change shows the same night.';
revoke all on function tenantkeep.table_fingerprints() from public;
grant execute on function tenantkeep.table_fingerprints() to tenantkeep_worker;

insert into tenantkeep.migrations (version) values ('20261121090300');
