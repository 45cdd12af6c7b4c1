import * as z from 'zod'
import { readBackupSettings } from '../backup/backup-settings.ts'
import { readProofSettings } from '../backup/proof-settings.ts'
import type { Queryable } from '../database/database.ts'
import { BackupError } from '../errors.ts'
import { readUpkeepAfterDaily } from '../jobs/chain-upkeep.ts'
import { readJobSettings } from '../jobs/job-settings.ts'
import { requireUsablePolicies } from '../retention/set-policy.ts'
import { readMonitorSettings } from '../watch/monitor-settings.ts'
import { type Finding, finding } from './finding.ts'

const SET = 'update tenantkeep.settings set value = …, updated_at = now() where key ='

const Membership = z.object({
  schema: z.string(),
  table: z.string(),
  user: z.string(),
  tenant: z.string(),
  role: z.string(),
  roles: z.array(z.string()).min(1),
})
const TenantTable = z.object({
  schema: z.string(),
  table: z.string(),
  key: z.string(),
  name: z.string().nullable().optional(),
})

/** Settings in the database that point to nothing, or have values that can't be used. */
export async function checkSettings(database: Queryable): Promise<Finding[]> {
  const { rows } = await database.query<{ key: string; value: unknown }>(
    'select key, value from tenantkeep.settings',
  )
  const settings = new Map(rows.map(({ key, value }) => [key, value]))
  return [
    ...(await checkTenantTable(database, settings.get('tenant_table'))),
    ...(await checkSchemas(database, settings.get('host_schemas'))),
    ...(await checkMembership(database, settings.get('membership'))),
    ...(await checkReaders(database)),
    ...(await checkTenantList(database)),
  ]
}

async function checkTenantTable(database: Queryable, value: unknown): Promise<Finding[]> {
  const parsed = TenantTable.safeParse(value)
  if (!parsed.success)
    return [
      wrong(
        'tenant_table',
        'It is missing or not as docs/operations.md has it.',
        'tenantkeep init',
      ),
    ]
  const { schema, table, key, name } = parsed.data
  const missing = await findMissing(database, { schema, table }, [
    key,
    ...(name === null || name === undefined ? [] : [name]),
  ])
  return missing === null ? [] : [wrong('tenant_table', missing, 'tenantkeep init')]
}

async function checkSchemas(database: Queryable, value: unknown): Promise<Finding[]> {
  const schemas = z.array(z.string()).safeParse(value)
  if (!schemas.success)
    return [wrong('host_schemas', 'It is no list of names.', 'tenantkeep init --schema …')]
  const { rows } = await database.query<{ name: string }>(
    'select name from unnest($1::text[]) as name where to_regnamespace(quote_ident(name)) is null',
    [schemas.data],
  )
  return rows.map(({ name }) =>
    wrong(
      'host_schemas',
      `There is no schema ${name}.`,
      'tenantkeep init --schema … (all that hold tenants’ tables)',
    ),
  )
}

async function checkMembership(database: Queryable, value: unknown): Promise<Finding[]> {
  if (value === undefined) {
    return [
      finding('membership_missing', {
        subject: 'membership',
        message:
          'The setting is not there, so no user has any right on the page; operators and cron have.',
        remedy: 'insert the setting as docs/operations.md, «People», shows',
      }),
    ]
  }
  const parsed = Membership.safeParse(value)
  if (!parsed.success)
    return [
      wrong(
        'membership',
        'It is not as docs/operations.md, «People», has it.',
        `${SET} 'membership'`,
      ),
    ]
  const { schema, table, user, tenant, role } = parsed.data
  const missing = await findMissing(database, { schema, table }, [user, tenant, role])
  return missing === null
    ? []
    : [
        wrong(
          'membership',
          `${missing} No user has any right until it is put right.`,
          `${SET} 'membership'`,
        ),
      ]
}

/** Says what is not there; null where everything is. */
async function findMissing(
  database: Queryable,
  { schema, table }: { schema: string; table: string },
  columns: readonly string[],
): Promise<string | null> {
  const { rows } = await database.query<{ exists: boolean; missing: string[] }>(
    `select c.oid is not null as exists, array(
       select wanted from unnest($3::text[]) as wanted where not exists (
         select from pg_catalog.pg_attribute a
         where a.attrelid = c.oid and a.attname = wanted and a.attnum > 0 and not a.attisdropped)
     ) as missing
     from (values (1)) as one (row)
     left join (
       select k.oid from pg_catalog.pg_class k
       join pg_catalog.pg_namespace n on n.oid = k.relnamespace
       where n.nspname = $1 and k.relname = $2
     ) c on true`,
    [schema, table, columns],
  )
  if (rows[0]?.exists !== true) return `There is no table ${schema}.${table}.`
  const { missing } = rows[0]
  return missing.length === 0 ? null : `${schema}.${table} has no column ${missing.join(', ')}.`
}

async function checkReaders(database: Queryable): Promise<Finding[]> {
  const found: Finding[] = []
  for (const read of [
    readBackupSettings,
    readJobSettings,
    readProofSettings,
    readMonitorSettings,
    readUpkeepAfterDaily,
    requireUsablePolicies,
  ]) {
    try {
      await read(database)
    } catch (error) {
      if (!(error instanceof BackupError)) throw error
      found.push(wrong('tenantkeep.settings', error.message, `${SET} '…'`))
    }
  }
  return found
}

/** The daily run begins with it; an `inactive_predicate` that Postgres can't read would end it. */
async function checkTenantList(database: Queryable): Promise<Finding[]> {
  try {
    await database.query('select from tenantkeep.list_tenants() limit 1')
    return []
  } catch (error) {
    return [
      wrong(
        'inactive_predicate',
        `Tenants can’t be listed: ${(error as Error).message}.`,
        `${SET} 'inactive_predicate'`,
      ),
    ]
  }
}

function wrong(subject: string, message: string, remedy: string): Finding {
  return finding('setting_wrong', { subject, message, remedy })
}
