import type { Queryable } from '../../src/core/database/database.ts'

// What is never said and what is said in so many words is the same: an empty list of rights means the
// default ones, and revoking what was granted leaves these written out.
const READ_CATALOG = `
  with spaces as (
    select oid, nspname, nspowner, nspacl from pg_namespace
    where nspname !~ '^pg_' and nspname <> 'information_schema'
  ), relations as (
    select c.*, s.nspname from pg_class c join spaces s on s.oid = c.relnamespace
    where not (s.nspname = 'public' and c.oid in (
      select i.indexrelid from pg_index i where i.indrelid in (
        to_regclass('public.tenant_backups'), to_regclass('public.backup_logs'))
      union all select to_regclass('public.tenant_backups') union all select to_regclass('public.backup_logs')))
  ), rights as (
    select 'schema ' || nspname as object, coalesce(nspacl, acldefault('n', nspowner)) as acl from spaces
    union all
    select 'relation ' || oid::regclass, coalesce(relacl, acldefault((case relkind when 'S' then 's' else 'r' end)::"char", relowner))
    from relations where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select 'column ' || r.oid::regclass || '.' || a.attname, a.attacl
    from relations r join pg_attribute a on a.attrelid = r.oid and a.attacl is not null
    union all
    select 'function ' || p.oid::regprocedure, coalesce(p.proacl, acldefault('f', p.proowner))
    from pg_proc p join spaces s on s.oid = p.pronamespace
    union all
    select 'type ' || t.oid::regtype, coalesce(t.typacl, acldefault('T', t.typowner))
    from pg_type t join spaces s on s.oid = t.typnamespace where t.typtype in ('d', 'e', 'r')
    union all
    select 'database', coalesce(datacl, acldefault('d', datdba)) from pg_database where datname = current_database()
  )
  select line from (
    select format('schema %s of %s', nspname, nspowner::regrole) as line from spaces
    union all
    select format('relation %s %s of %s, row security %s %s', oid::regclass, relkind, relowner::regrole, relrowsecurity, relforcerowsecurity)
    from relations where relkind <> 't'
    union all
    select format('column %s.%s %s %s %s', r.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attnum)
    from relations r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped where r.relkind <> 't'
    union all
    select format('constraint %s on %s: %s', k.conname, r.oid::regclass, pg_get_constraintdef(k.oid))
    from relations r join pg_constraint k on k.conrelid = r.oid
    union all
    select format('policy %s on %s %s %s to %s: %s | %s', p.polname, r.oid::regclass, p.polcmd, p.polpermissive,
      p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    from relations r join pg_policy p on p.polrelid = r.oid
    union all
    select format('trigger %s on %s: %s %s', g.tgname, r.oid::regclass, pg_get_triggerdef(g.oid), g.tgenabled)
    from relations r join pg_trigger g on g.tgrelid = r.oid where not g.tgisinternal
    union all
    select format('function %s of %s: %s', p.oid::regprocedure, p.proowner::regrole, md5(p.prosrc))
    from pg_proc p join spaces s on s.oid = p.pronamespace
    union all
    select format('type %s %s', t.oid::regtype, t.typtype) from pg_type t join spaces s on s.oid = t.typnamespace
    where t.typtype in ('d', 'e', 'r')
    union all
    select format('%s: %s to %s by %s', r.object, a.privilege_type,
      case a.grantee when 0 then 'public' else a.grantee::regrole::text end, a.grantor::regrole)
    from rights r cross join aclexplode(r.acl) a
  ) lines order by line`

const READ_ROLES = `
  select line from (
    select format('role %s %s %s %s %s %s', rolname, rolsuper, rolinherit, rolcreaterole, rolcanlogin, rolbypassrls) as line
    from pg_roles where rolname !~ '^pg_'
    union all
    select format('%s is a member of %s', member::regrole, roleid::regrole) from pg_auth_members
  ) lines order by line`

/**
 * Everything of the database that somebody could notice, a line each, without the rows: catalog and
 * journal of ours are left out, since these stay.
 */
export async function readCatalogLines(database: Queryable): Promise<string[]> {
  const { rows } = await database.query<{ line: string }>(READ_CATALOG)
  return rows.map((row) => row.line)
}

/** The roles of the whole server, and who is a member of what. */
export async function readRoleLines(database: Queryable): Promise<string[]> {
  const { rows } = await database.query<{ line: string }>(READ_ROLES)
  return rows.map((row) => row.line)
}
