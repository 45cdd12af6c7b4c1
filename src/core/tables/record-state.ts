import * as z from 'zod'
import type { Queryable } from '../database/database.ts'

/**
 * Keeps what `init` saw when it ended: the shape of every host table, which doctor compares. Run as the
 * owner, after the protection is in place.
 */
export async function recordKnownTables(admin: Queryable): Promise<void> {
  await admin.query(
    `with live as (select * from tenantkeep.table_fingerprints()),
     gone as (
       delete from tenantkeep.known_tables k
       where (k.schema_name, k.table_name) not in (select l.schema_name, l.table_name from live l)
     )
     insert into tenantkeep.known_tables as k (schema_name, table_name, columns, keys, access)
     select l.schema_name, l.table_name, l.columns, l.keys, l.access from live l
     on conflict (schema_name, table_name) do update
     set columns = excluded.columns, keys = excluded.keys, access = excluded.access, recorded_at = now()`,
  )
}

/** Rows of one table over all tenants, as `init` counted and showed them; null where it could not. */
export interface AcceptedMeasurement {
  schema: string
  name: string
  rows: number
  rowsWithoutTenant: number | null
  nullTenantRows?: number | null
  rowsOfTwoTenants?: number | null
}

/**
 * Keeps the counts that a person saw and went on with; doctor warns when there are more. Tables that the
 * registry does not know are passed over. Run as the owner.
 */
export async function recordAccepted(
  admin: Queryable,
  measured: readonly AcceptedMeasurement[],
): Promise<void> {
  await admin.query(
    `insert into tenantkeep.table_measurements as m
       (schema_name, table_name, row_count, rows_without_tenant, null_tenant_rows, rows_of_two_tenants,
        accepted_at, accepted_without_tenant, accepted_of_two_tenants)
     select g.schema, g.name, g.rows, g."rowsWithoutTenant", g."nullTenantRows", g."rowsOfTwoTenants",
       now(), g."rowsWithoutTenant", g."rowsOfTwoTenants"
     from jsonb_to_recordset($1::jsonb) as g (schema text, name text, rows bigint,
       "rowsWithoutTenant" bigint, "nullTenantRows" bigint, "rowsOfTwoTenants" bigint)
     join tenantkeep.tenant_tables t on t.schema_name = g.schema and t.table_name = g.name
       and t.class in ('root', 'direct', 'child', 'custom')
     on conflict (schema_name, table_name) do update set measured_at = now(), accepted_at = now(),
       row_count = excluded.row_count, rows_without_tenant = excluded.rows_without_tenant,
       null_tenant_rows = excluded.null_tenant_rows, rows_of_two_tenants = excluded.rows_of_two_tenants,
       accepted_without_tenant = excluded.accepted_without_tenant,
       accepted_of_two_tenants = excluded.accepted_of_two_tenants`,
    [JSON.stringify(measured)],
  )
}

/** What is counted now is what a person has seen. Run as the owner. */
export async function acceptCounts(admin: Queryable): Promise<void> {
  await admin.query(
    `update tenantkeep.table_measurements set accepted_at = now(),
       accepted_without_tenant = rows_without_tenant, accepted_of_two_tenants = rows_of_two_tenants`,
  )
}

const Measurement = z.object({
  schema: z.string(),
  name: z.string(),
  /** Null where the table was never measured. */
  measuredAt: z.string().nullable(),
  rows: z.number().nullable(),
  rowsWithoutTenant: z.number().nullable(),
  nullTenantRows: z.number().nullable(),
  rowsOfTwoTenants: z.number().nullable(),
  acceptedWithoutTenant: z.number().nullable(),
  acceptedOfTwoTenants: z.number().nullable(),
})
export type Measurement = z.infer<typeof Measurement>

/** The last counts of every table with rows of tenants, over all tenants, with their dates (UTC). */
export async function readMeasurements(database: Queryable): Promise<Measurement[]> {
  const { rows } = await database.query<{ measurement: unknown }>(
    `select jsonb_build_object(
       'schema', t.schema_name, 'name', t.table_name,
       'measuredAt', to_char(m.measured_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       'rows', m.row_count, 'rowsWithoutTenant', m.rows_without_tenant,
       'nullTenantRows', m.null_tenant_rows, 'rowsOfTwoTenants', m.rows_of_two_tenants,
       'acceptedWithoutTenant', m.accepted_without_tenant,
       'acceptedOfTwoTenants', m.accepted_of_two_tenants) as measurement
     from tenantkeep.tenant_tables t
     left join tenantkeep.table_measurements m using (schema_name, table_name)
     where t.class in ('root', 'direct', 'child', 'custom')
     order by t.schema_name, t.table_name`,
  )
  return rows.map((row) => Measurement.parse(row.measurement))
}
