import type { Queryable } from '../database/database.ts'
import type { Problem } from './find-problems.ts'

/**
 * Writes down what the monitor sees now: new problems are opened, known ones stay open, the others end. One
 * statement, however many there are; two monitors at once open nothing twice.
 */
export async function recordAlerts(
  catalog: Queryable,
  problems: readonly Problem[],
): Promise<void> {
  await catalog.query(
    `with seen as (
       select * from jsonb_to_recordset($1) as p (
         key text, code text, severity text, "tenantId" text, "tenantName" text, "table" text,
         since timestamptz, message text, remedy text)
     ), opened as (
       insert into tenantkeep.alerts as a
         (key, code, severity, tenant_id, tenant_name, table_name, since, message, remedy)
       select key, code, severity, "tenantId", "tenantName", "table", since, message, remedy from seen
       on conflict (key) where ended_at is null do update set
         seen_at = clock_timestamp(), severity = excluded.severity, tenant_name = excluded.tenant_name,
         message = excluded.message, remedy = excluded.remedy
     ), ended as (
       update tenantkeep.alerts a set ended_at = clock_timestamp()
       where a.ended_at is null and not exists (select from seen s where s.key = a.key)
     ), forgotten as (
       delete from tenantkeep.alerts where ended_at < now() - interval '90 days'
     )
     update tenantkeep.watch set monitored_at = clock_timestamp()`,
    [JSON.stringify(problems)],
  )
}
