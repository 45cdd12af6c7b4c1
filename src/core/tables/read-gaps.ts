import type { Queryable } from '../database/database.ts'

/**
 * Tables of the host schemas that nobody has classified, as `schema.table`. The backup of the others
 * stands, carries this list, and the monitor alarms until somebody runs `init`.
 */
export async function readGaps(database: Queryable): Promise<string[]> {
  const { rows } = await database.query<{ name: string }>(
    `select n.nspname || '.' || c.relname as name
     from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and not c.relispartition
       and n.nspname in (
         select jsonb_array_elements_text(value) from tenantkeep.settings where key = 'host_schemas'
       )
       and (n.nspname, c.relname) not in (('public', 'tenant_backups'), ('public', 'backup_logs'))
       and not exists (
         select from pg_catalog.pg_depend d
         where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
       )
       and not exists (
         select from tenantkeep.tenant_tables t
         where t.schema_name = n.nspname and t.table_name = c.relname
       )
     order by 1`,
  )
  return rows.map((row) => row.name)
}
