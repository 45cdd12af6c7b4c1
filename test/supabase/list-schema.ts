import type { Queryable } from '../../src/core/database/database.ts'

// One line each, in the order of a reader: schema, then object, then what hangs on it. The queue's tables
// are a library's: of these only what opens or closes them is listed.
const LIST_SCHEMA = `
  with ours as (
    select n.nspname, c.oid, c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relacl,
      c.relowner, n.nspname = 'tenantkeep_jobs' as is_queue,
      format('%s %s.%s', case c.relkind when 'S' then 'sequence' else 'table' end, n.nspname, c.relname) as label
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'S') and not c.relispartition and (
      n.nspname in ('tenantkeep', 'tenantkeep_jobs')
      or (n.nspname = 'public' and c.relname in ('tenant_backups', 'backup_logs'))
    )
  ), lines (object, rank, line) as (
    select 'role ' || r.rolname, 1, concat_ws(' ', 'role', r.rolname,
      case when r.rolsuper then 'superuser' end,
      case when r.rolcanlogin then 'login' else 'nologin' end,
      case when r.rolbypassrls then 'bypassrls' else 'nobypassrls' end,
      case when r.rolinherit then 'inherit' else 'noinherit' end,
      case when r.rolcreaterole then 'createrole' end, case when r.rolcreatedb then 'createdb' end,
      case when r.rolreplication then 'replication' end)
    from pg_roles r where r.rolname like 'tenantkeep%'
    union all
    select 'role ' || member.rolname, 2, format('  %s is a member of %s: %s', member.rolname, granted.rolname,
      concat_ws(', ', 'inherit ' || bool_or(m.inherit_option), 'set ' || bool_or(m.set_option),
        'admin ' || bool_or(m.admin_option)))
    from pg_auth_members m
    join pg_roles member on member.oid = m.member
    join pg_roles granted on granted.oid = m.roleid
    where member.rolname like 'tenantkeep%' or granted.rolname like 'tenantkeep%'
    group by member.rolname, granted.rolname
    union all
    select 'schema ' || n.nspname, 1, format('schema %s: %s', n.nspname, acl.text)
    from pg_namespace n
    cross join lateral (
      select string_agg(format('%s %s', coalesce(g.rolname, 'public'), a.privileges), '; ' order by g.rolname) as text
      from (
        select grantee, string_agg(lower(privilege_type), ',' order by privilege_type) as privileges
        from aclexplode(n.nspacl) where grantee <> n.nspowner group by grantee
      ) a left join pg_roles g on g.oid = a.grantee
    ) acl
    where n.nspname in ('tenantkeep', 'tenantkeep_jobs')
    union all
    select label, 1, format('%s%s%s', label,
      case when relkind = 'S' then '' when relrowsecurity then ', row level security' else ', NO ROW LEVEL SECURITY' end,
      case when relforcerowsecurity then ' (forced)' else '' end)
    from ours
    union all
    select label, 2, format('  column %s %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
      case when a.attnotnull then ' not null' end,
      case when a.attidentity <> '' then ' identity ' || a.attidentity::text end,
      ' default ' || pg_get_expr(d.adbin, d.adrelid))
    from ours
    join pg_attribute a on a.attrelid = ours.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where relkind <> 'S' and not is_queue
    union all
    select label, 3, format('  constraint %s %s', k.conname, pg_get_constraintdef(k.oid))
    from ours join pg_constraint k on k.conrelid = ours.oid
    where not is_queue and k.contype <> 'n'
    union all
    select label, 4, '  ' || replace(pg_get_indexdef(i.indexrelid), ' USING btree', '')
    from ours join pg_index i on i.indrelid = ours.oid
    where not is_queue and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u'))
    union all
    select label, 5, format('  trigger %s', pg_get_triggerdef(t.oid))
    from ours join pg_trigger t on t.tgrelid = ours.oid where not t.tgisinternal
    union all
    select label, 6, format('  policy «%s» %s for %s to %s%s%s', p.polname,
      case when p.polpermissive then 'permissive' else 'restrictive' end,
      case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
      (select string_agg(coalesce(r.rolname, 'public'), ', ' order by r.rolname) from unnest(p.polroles) x left join pg_roles r on r.oid = x),
      ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
      ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    from ours join pg_policy p on p.polrelid = ours.oid
    union all
    select label, 7, format('  %s may %s', coalesce(g.rolname, 'public'), string_agg(lower(a.privilege_type), ', ' order by a.privilege_type))
    from ours cross join aclexplode(relacl) a left join pg_roles g on g.oid = a.grantee
    where a.grantee <> relowner
    group by label, g.rolname
    union all
    select format('function %s.%s', n.nspname, p.proname), 1, format('function %s.%s(%s) returns %s, %s%s%s; %s',
      n.nspname, p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
      case p.provolatile when 'v' then 'volatile' when 's' then 'stable' else 'immutable' end,
      case when p.prosecdef then ', SECURITY DEFINER' end,
      ', ' || array_to_string(p.proconfig, ', '),
      coalesce('executed by ' || (
        select string_agg(coalesce(g.rolname, 'PUBLIC'), ', ' order by g.rolname)
        from aclexplode(p.proacl) a left join pg_roles g on g.oid = a.grantee where a.grantee <> p.proowner
      ), case when p.proacl is null then 'executed by PUBLIC' else 'executed by nobody else' end))
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('tenantkeep', 'tenantkeep_jobs')
  )
  select line from lines order by split_part(object, ' ', 1) collate "C", object collate "C", rank, line collate "C"`

/** The product's schema as `pg_catalog` has it, one line for whatever a migration may change. */
export async function listSchema(database: Queryable): Promise<string> {
  const { rows } = await database.query<{ line: string }>(LIST_SCHEMA)
  return `${rows.map((row) => row.line).join('\n')}\n`
}
