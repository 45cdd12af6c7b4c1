/**
 * `uninstall`: takes everything of ours off the host, table by table and then at once: policies, grants,
 * row level security where we switched it on, our schemas, our roles where no other database of the server
 * needs them. The backups stay: objects are not touched, and catalog and journal (`public.tenant_backups`,
 * `public.backup_logs`) remain as plain tables that only their owner can read, unless they are to go too.
 * Each step can be repeated, so that a run that was stopped goes on.
 */
import type { Connection, Database } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { findPolicyRole, findTouchedTables, KEEP_OPEN, runProtection } from './apply-protection.ts'
import { changeTable } from './change-table.ts'
import { holdInitLock } from './hold-init-lock.ts'
import { tableName } from './host-table.ts'
import { quoteIdentifier, quoteTable } from './quote-identifier.ts'

const SCHEMAS = ['tenantkeep', 'tenantkeep_jobs']
const CATALOG = ['tenant_backups', 'backup_logs']
/** Members before what they are members of. */
const ROLES = ['tenantkeep_worker', 'tenantkeep_operator', 'tenantkeep_scope']

const LOCK_TIMEOUT_MS = 10_000

export interface UninstallReport {
  /** Host tables that something of ours was taken off. */
  released: string[]
  /** Tables on which row level security was switched off again, as init found it. */
  rowSecurityOff: string[]
  /** Where we had switched it on, and the host has policies of its own since: left on. */
  rowSecurityLeft: string[]
  /** Complete backups that the catalog still names; null where the catalog was dropped or was not there. */
  backupsKept: number | null
  rolesDropped: string[]
  rolesKept: { role: string; reason: string }[]
}

/**
 * Removes Tenantkeep from the database. Throws `tenant_busy` while a backup runs, `table_locked`, and
 * `invalid_request` where something of the host depends on ours.
 */
export async function uninstall(
  admin: Database,
  options: { dropCatalog?: boolean } = {},
): Promise<UninstallReport> {
  return admin.withConnection(async (connection) => {
    await connection.query(`set lock_timeout = ${LOCK_TIMEOUT_MS}`)
    try {
      return await holdInitLock(connection, () => remove(connection, options.dropCatalog === true))
    } catch (error) {
      if (error instanceof BackupError || !hasSqlstate(error, 'lockNotAvailable')) throw error
      throw new BackupError(
        'table_locked',
        'A table of ours is in use. Run uninstall again when that is over; it goes on where it stopped.',
        { cause: error },
      )
    } finally {
      await connection.query('reset lock_timeout')
    }
  })
}

async function remove(connection: Connection, dropCatalog: boolean): Promise<UninstallReport> {
  const roles = await findRoles(connection)
  await requireQuiet(connection)
  await requireNoDependents(connection)
  const rowSecurity = await releaseTables(connection, roles)
  await revokeGrants(connection, roles)
  const backupsKept = await inTransaction(connection, async () => {
    const kept = dropCatalog ? null : await detachCatalog(connection, roles)
    for (const schema of SCHEMAS) await connection.query(`drop schema if exists ${schema} cascade`)
    if (dropCatalog) await dropTables(connection)
    return kept
  })
  return { ...rowSecurity, backupsKept, ...(await dropRoles(connection, roles)) }
}

async function findRoles(connection: Connection): Promise<string[]> {
  const { rows } = await connection.query<{ role: string }>(
    'select rolname as role from pg_catalog.pg_roles where rolname = any ($1)',
    [ROLES],
  )
  return ROLES.filter((role) => rows.some((row) => row.role === role))
}

/** Whoever works on a tenant holds an advisory lock for as long. */
async function requireQuiet(connection: Connection): Promise<void> {
  const { rows } = await connection.query<{ sessions: number }>(
    `select count(distinct l.pid)::int as sessions
     from pg_catalog.pg_locks l
     join pg_catalog.pg_stat_activity a on a.pid = l.pid and a.datname = current_database()
     where l.locktype = 'advisory' and l.granted and a.usename = 'tenantkeep_worker'
       and l.database = (select oid from pg_catalog.pg_database where datname = current_database())`,
  )
  if ((rows[0]?.sessions ?? 0) === 0) return
  throw new BackupError(
    'tenant_busy',
    'A backup is under way. Stop cron and workers, wait until it is done, then run uninstall again.',
  )
}

/** Dropping our schemas must not take anything of the host with it. */
async function requireNoDependents(connection: Connection): Promise<void> {
  const { rows } = await connection.query<{ object: string }>(
    `with ours as (
       select 'pg_class'::regclass as classid, oid from pg_catalog.pg_class where relnamespace = any ($1::text[]::regnamespace[])
       union all select 'pg_proc'::regclass, oid from pg_catalog.pg_proc where pronamespace = any ($1::text[]::regnamespace[])
       union all select 'pg_type'::regclass, oid from pg_catalog.pg_type where typnamespace = any ($1::text[]::regnamespace[])
     ), dependent as (
       select d.classid, d.objid, d.objsubid,
         coalesce(p.polrelid, r.ev_class, k.conrelid, a.adrelid, g.tgrelid) as relation,
         p.polname
       from ours
       join pg_catalog.pg_depend d on d.refclassid = ours.classid and d.refobjid = ours.oid
       left join pg_catalog.pg_policy p on d.classid = 'pg_policy'::regclass and p.oid = d.objid
       left join pg_catalog.pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
       left join pg_catalog.pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
       left join pg_catalog.pg_attrdef a on d.classid = 'pg_attrdef'::regclass and a.oid = d.objid
       left join pg_catalog.pg_trigger g on d.classid = 'pg_trigger'::regclass and g.oid = d.objid
       where d.deptype = 'n' and coalesce(p.polname not like 'zz\\_tenantkeep\\_%', true)
     )
     select distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as object
     from dependent d
     left join pg_catalog.pg_class c on c.oid = coalesce(d.relation, case when d.classid = 'pg_class'::regclass then d.objid end)
     left join pg_catalog.pg_proc f on d.classid = 'pg_proc'::regclass and f.oid = d.objid
     left join pg_catalog.pg_type t on d.classid = 'pg_type'::regclass and t.oid = d.objid
     where not coalesce(coalesce(c.relnamespace, f.pronamespace, t.typnamespace) = any ($1::text[]::regnamespace[]), false)
       and not coalesce(c.relnamespace = 'public'::regnamespace and c.relname = any ($2), false)
     order by 1`,
    [await existingSchemas(connection), CATALOG],
  )
  if (rows.length === 0) return
  throw new BackupError(
    'invalid_request',
    `These depend on Tenantkeep's own schema and would go with it: ${rows.map((row) => row.object).join(', ')}. Drop or change them, then run uninstall again.`,
    { details: { objects: rows.map((row) => row.object) } },
  )
}

async function existingSchemas(connection: Connection): Promise<string[]> {
  const { rows } = await connection.query<{ name: string }>(
    'select nspname as name from pg_catalog.pg_namespace where nspname = any ($1)',
    [SCHEMAS],
  )
  return rows.map((row) => row.name)
}

interface SwitchedOn {
  schema: string
  name: string
  /** Row level security is still on, by our policy, and the host has no policy that it had not then. */
  isOurs: boolean
  isOn: boolean
}

async function releaseTables(
  connection: Connection,
  roles: readonly string[],
): Promise<Pick<UninstallReport, 'released' | 'rowSecurityOff' | 'rowSecurityLeft'>> {
  const switchedOn = await readSwitchedOn(connection)
  const touched = roles.includes('tenantkeep_operator') ? await findTouchedTables(connection) : []
  const tables = new Map([...touched, ...switchedOn].map((table) => [tableName(table), table]))
  const policyRole = await findPolicyRole(connection)
  for (const table of tables.values()) {
    const enabled = switchedOn.find((candidate) => tableName(candidate) === tableName(table))
    await changeTable(connection, table, 'uninstall', async () => {
      await runProtection(connection, table, { kind: 'none' }, policyRole)
      if (enabled?.isOurs !== true) return
      const relation = quoteTable(table)
      await connection.query(`drop policy if exists ${KEEP_OPEN} on ${relation}`)
      await connection.query(`alter table ${relation} disable row level security`)
      await connection.query(
        `delete from tenantkeep.host_changes
         where kind = 'row_security' and schema_name = $1 and table_name = $2`,
        [table.schema, table.name],
      )
    })
  }
  return {
    released: [...tables.keys()].sort(),
    rowSecurityOff: switchedOn.filter((table) => table.isOurs).map(tableName),
    rowSecurityLeft: switchedOn.filter((table) => table.isOn && !table.isOurs).map(tableName),
  }
}

async function readSwitchedOn(connection: Connection): Promise<SwitchedOn[]> {
  const { rows: known } = await connection.query<{ exists: boolean }>(
    `select to_regclass('tenantkeep.host_changes') is not null as exists`,
  )
  if (known[0]?.exists !== true) return []
  const { rows } = await connection.query<SwitchedOn>(
    `select h.schema_name as schema, h.table_name as name, c.relrowsecurity as "isOn",
       c.relrowsecurity
         and exists (select from pg_catalog.pg_policy p where p.polrelid = c.oid and p.polname = $1)
         and not exists (
           select from pg_catalog.pg_policy p
           where p.polrelid = c.oid and p.polname not like 'zz\\_tenantkeep\\_%'
             and not (p.polname = any (h.policies))
         ) as "isOurs"
     from tenantkeep.host_changes h
     join pg_catalog.pg_namespace n on n.nspname = h.schema_name
     join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = h.table_name
     where h.kind = 'row_security'
     order by 1, 2`,
    [KEEP_OPEN],
  )
  return rows
}

// Everything in this database that our roles were granted, whoever granted it on our behalf.
const READ_GRANTS = `
  with granted as (
    select 'schema' as kind, quote_ident(n.nspname) as object, n.nspacl as acl, null::text as col
    from pg_catalog.pg_namespace n where n.nspacl is not null
    union all
    select case when c.relkind = 'S' then 'sequence' else 'table' end, c.oid::regclass::text, c.relacl, null
    from pg_catalog.pg_class c where c.relacl is not null
    union all
    select 'column', a.attrelid::regclass::text, a.attacl, quote_ident(a.attname)
    from pg_catalog.pg_attribute a where a.attacl is not null
    union all
    select case p.prokind when 'p' then 'procedure' else 'function' end, p.oid::regprocedure::text, p.proacl, null
    from pg_catalog.pg_proc p where p.proacl is not null
    union all
    select 'type', t.oid::regtype::text, t.typacl, null
    from pg_catalog.pg_type t where t.typacl is not null
    union all
    select 'database', quote_ident(d.datname), d.datacl, null
    from pg_catalog.pg_database d where d.datacl is not null and d.datname = current_database()
  )
  select distinct g.kind, g.object, g.col as column, r.rolname as role, quote_ident(grantor.rolname) as grantor
  from granted g
  cross join lateral pg_catalog.aclexplode(g.acl) a
  join pg_catalog.pg_roles r on r.oid = a.grantee
  join pg_catalog.pg_roles grantor on grantor.oid = a.grantor
  where r.rolname = any ($1)
  order by 1, 2, 3, 4`

interface Grant {
  kind: string
  object: string
  column: string | null
  role: string
  grantor: string
}

/** Also what people granted to the operator because init or doctor asked them to. */
async function revokeGrants(connection: Connection, roles: readonly string[]): Promise<void> {
  const { rows } = await connection.query<Grant>(READ_GRANTS, [roles])
  for (const { kind, object, column, role } of rows) {
    const privileges = column === null ? 'all' : `all (${column})`
    const on = kind === 'column' ? 'table' : kind
    try {
      await connection.query(
        `revoke ${privileges} on ${on} ${object} from ${quoteIdentifier(role)} cascade`,
      )
    } catch (error) {
      // What another owner granted only that owner takes back; then the role stays, and the report says why.
      if (!hasSqlstate(error, 'insufficientPrivilege')) throw error
    }
  }
}

/** Throws `invalid_request` where the host has something that depends on them, such as a view. */
async function dropTables(connection: Connection): Promise<void> {
  try {
    await connection.query('drop table if exists public.backup_logs, public.tenant_backups')
  } catch (error) {
    if (!hasSqlstate(error, 'dependentObjects')) throw error
    throw new BackupError(
      'invalid_request',
      'Something of the host depends on public.tenant_backups or public.backup_logs, perhaps a view. Drop it, or leave --drop-catalog out.',
      { cause: error },
    )
  }
}

/** Leaves catalog and journal as tables that depend on nothing of ours; gives the complete backups. */
async function detachCatalog(
  connection: Connection,
  roles: readonly string[],
): Promise<number | null> {
  const { rows: tables } = await connection.query<{ name: string }>(
    `select relname as name from pg_catalog.pg_class
     where relnamespace = 'public'::regnamespace and relname = any ($1) and relkind = 'r'`,
    [CATALOG],
  )
  if (tables.length < CATALOG.length) return null
  const { rows: constraints } = await connection.query<{ relation: string; name: string }>(
    `select c.conrelid::regclass::text as relation, quote_ident(c.conname) as name
     from pg_catalog.pg_constraint c
     join pg_catalog.pg_class f on f.oid = c.confrelid
     where c.contype = 'f' and c.conrelid = any ($1::text[]::regclass[])
       and f.relnamespace = to_regnamespace('tenantkeep')`,
    [CATALOG.map((name) => `public.${name}`)],
  )
  for (const { relation, name } of constraints) {
    await connection.query(`alter table ${relation} drop constraint ${name}`)
  }
  const { rows: policies } = await connection.query<{ relation: string; name: string }>(
    `select polrelid::regclass::text as relation, quote_ident(polname) as name
     from pg_catalog.pg_policy p
     where p.polrelid = any ($1::text[]::regclass[]) and (
       exists (select from pg_catalog.pg_roles r where r.oid = any (p.polroles) and r.rolname = any ($2))
       or exists (
         select from pg_catalog.pg_depend d join pg_catalog.pg_proc f on f.oid = d.refobjid
         where d.classid = 'pg_policy'::regclass and d.objid = p.oid
           and d.refclassid = 'pg_proc'::regclass and f.pronamespace = to_regnamespace('tenantkeep')
       )
     )`,
    [CATALOG.map((name) => `public.${name}`), roles],
  )
  for (const { relation, name } of policies) {
    await connection.query(`drop policy ${name} on ${relation}`)
  }
  const { rows: readers } = await connection.query(
    `select from pg_catalog.pg_roles where rolname = 'authenticated'`,
  )
  if (readers.length > 0) {
    await connection.query(
      'revoke select on public.tenant_backups, public.backup_logs from authenticated',
    )
  }
  // Row level security stays on, and without policies nobody but the owner sees a row.
  const { rows } = await connection.query<{ complete: string }>(
    `select count(*) as complete from public.tenant_backups where status = 'complete'`,
  )
  return Number(rows[0]?.complete ?? 0)
}

/** Roles belong to the whole server: one that another database needs stays. */
async function dropRoles(
  connection: Connection,
  roles: readonly string[],
): Promise<Pick<UninstallReport, 'rolesDropped' | 'rolesKept'>> {
  const report: Pick<UninstallReport, 'rolesDropped' | 'rolesKept'> = {
    rolesDropped: [],
    rolesKept: [],
  }
  for (const role of roles) {
    // A role that stays keeps what it is a member of: without it, row level security would not bind it.
    const member = report.rolesKept.at(-1)?.role
    const reason =
      member === undefined ? await dropRole(connection, role) : `${member} stays, and needs it`
    if (reason === null) report.rolesDropped.push(role)
    else report.rolesKept.push({ role, reason })
  }
  return report
}

async function dropRole(connection: Connection, role: string): Promise<string | null> {
  const { rows } = await connection.query<{ databases: string[]; here: string[] }>(
    `select array_agg(distinct d.datname::text) filter (where s.dbid <> 0 and d.datname <> current_database()) as databases,
       array_agg(distinct pg_catalog.pg_describe_object(s.classid, s.objid, s.objsubid))
         filter (where d.datname = current_database()) as here
     from pg_catalog.pg_shdepend s
     left join pg_catalog.pg_database d on d.oid = s.dbid
     where s.refclassid = 'pg_authid'::regclass
       and s.refobjid = (select oid from pg_catalog.pg_roles where rolname = $1)`,
    [role],
  )
  const others = rows[0]?.databases ?? []
  if (others.length > 0) return `another database of this server needs it: ${others.join(', ')}`
  const here = rows[0]?.here ?? []
  if (here.length > 0) return `it still has rights that somebody else granted: ${here.join(', ')}`
  try {
    await connection.query(`drop role ${quoteIdentifier(role)}`)
    return null
  } catch (error) {
    if (!hasSqlstate(error, 'insufficientPrivilege', 'dependentObjects')) throw error
    return `${(error as Error).message}; a superuser can run: drop role ${role}`
  }
}
