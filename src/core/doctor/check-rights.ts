import type { Queryable } from '../database/database.ts'
import { type Finding, finding } from './finding.ts'

// pg_shdepend knows every object of this database that a role owns ('o') or is named in the rights of ('a').
const READ_HELD = `
  select r.rolname as role, d.deptype = 'o' as "isOwner",
    pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as object,
    case when d.classid = 'pg_catalog.pg_class'::regclass then d.objid::regclass::text end as relation,
    c.relkind = 'S' as "isSequence"
  from pg_catalog.pg_shdepend d
  join pg_catalog.pg_roles r on r.oid = d.refobjid
    and r.rolname in ('tenantkeep_worker', 'tenantkeep_operator', 'tenantkeep_scope')
  left join pg_catalog.pg_class c on d.classid = 'pg_catalog.pg_class'::regclass and c.oid = d.objid
  left join pg_catalog.pg_namespace n on n.oid = case
    when c.oid is not null then c.relnamespace
    when d.classid = 'pg_catalog.pg_proc'::regclass
      then (select p.pronamespace from pg_catalog.pg_proc p where p.oid = d.objid)
    when d.classid = 'pg_catalog.pg_type'::regclass
      then (select t.typnamespace from pg_catalog.pg_type t where t.oid = d.objid)
    when d.classid = 'pg_catalog.pg_namespace'::regclass then d.objid end
  where d.refclassid = 'pg_catalog.pg_authid'::regclass and d.deptype in ('o', 'a')
    and d.dbid in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
    and d.classid <> 'pg_catalog.pg_database'::regclass
    -- Temporary tables of a backup that is being taken now.
    and coalesce(n.nspname not like 'pg\\_temp%' and n.nspname not like 'pg\\_toast%', true)
    and (d.deptype = 'o' or case r.rolname
      when 'tenantkeep_worker' then coalesce(n.nspname not in ('tenantkeep', 'tenantkeep_jobs'), true)
        and not coalesce((n.nspname, c.relname) in (('public', 'tenant_backups'), ('public', 'backup_logs')), false)
      -- It keeps the memory of seeding, confined to the current tenant as everywhere.
      when 'tenantkeep_operator' then c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        and not coalesce((n.nspname, c.relname) in (('tenantkeep', 'seeded_rows'), ('tenantkeep', 'seeded_shapes')), false)
        and not exists (
        select from tenantkeep.tenant_tables t
        where t.schema_name = n.nspname and t.table_name = c.relname and t.class <> 'excluded')
      else true end)
  order by 1, 3`

// What everybody may do is the worker's and the operator's too: a table granted to PUBLIC. Members of
// extensions are their own affair, as is what row level security closes (no policy for us, no row).
const READ_PUBLIC = `
  select format('%I.%I', n.nspname, c.relname) as relation,
    has_table_privilege('tenantkeep_operator', c.oid, 'select') as "isReadable"
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
    and n.nspname not like 'pg\\_%' and n.nspname not in ('information_schema', 'tenantkeep', 'tenantkeep_jobs')
    and exists (
      select from pg_catalog.aclexplode(c.relacl) a
      where a.grantee = 0 and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
    )
    and not exists (
      select from tenantkeep.tenant_tables t
      where t.schema_name = n.nspname and t.table_name = c.relname and t.class <> 'excluded'
    )
    and not exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
    )
    and has_schema_privilege('tenantkeep_operator', n.oid, 'usage')
    and (not c.relrowsecurity or exists (
      select from pg_catalog.pg_policy p
      where p.polrelid = c.oid and p.polpermissive and (0 = any (p.polroles) or exists (
        select from pg_catalog.pg_roles r where r.oid = any (p.polroles)
          and pg_has_role('tenantkeep_operator', r.oid, 'usage')))
    ))
  order by 1`

const READ_CREATE = `
  select r.rolname as role, format('%I', n.nspname) as schema
  from pg_catalog.pg_namespace n
  cross join pg_catalog.pg_roles r
  where r.rolname in ('tenantkeep_worker', 'tenantkeep_operator')
    and n.nspname not like 'pg\\_%' and has_schema_privilege(r.oid, n.oid, 'create')
  order by 1, 2`

/** What the worker and the operator may do beyond what they need, and tables that everybody may read. */
export async function checkRights(database: Queryable): Promise<Finding[]> {
  const held = await database.query<{
    role: string
    isOwner: boolean
    object: string
    relation: string | null
    isSequence: boolean | null
  }>(READ_HELD)
  const found = held.rows.map(({ role, isOwner, object, relation, isSequence }) =>
    finding(role === 'tenantkeep_worker' ? 'worker_rights' : 'operator_rights', {
      subject: role,
      message: isOwner
        ? `${role} owns ${object}; it must own nothing, since an owner may change what confines it.`
        : `${role} has rights on ${object} that it does not need.`,
      remedy: isOwner
        ? `reassign owned by ${role} to current_user`
        : relation === null
          ? `revoke all on ${object} from ${role}`
          : `revoke all on ${isSequence === true ? 'sequence ' : ''}${relation} from ${role}`,
    }),
  )
  const open = await database.query<{ relation: string; isReadable: boolean }>(READ_PUBLIC)
  for (const { relation, isReadable } of open.rows) {
    found.push(
      finding('rows_opened', {
        subject: relation,
        message: `Everybody may ${isReadable ? 'read' : 'write'} this table (a grant to PUBLIC), so our roles may too, for all tenants at once.`,
        remedy: `revoke all on ${relation} from public (and grant it to the roles of the application)`,
      }),
    )
  }
  const creators = await database.query<{ role: string; schema: string }>(READ_CREATE)
  for (const { role, schema } of creators.rows) {
    found.push(
      finding(role === 'tenantkeep_worker' ? 'worker_rights' : 'operator_rights', {
        subject: role,
        message: `${role} may make objects in the schema ${schema}.`,
        remedy: `revoke create on schema ${schema} from ${role}; revoke create on schema ${schema} from public`,
      }),
    )
  }
  return found
}
