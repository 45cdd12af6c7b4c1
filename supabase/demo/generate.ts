import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import * as z from 'zod'
import type { Queryable } from '../../src/core/database/database.ts'
import { createDemoUsers } from './create-demo-users.ts'
import {
  type DemoPerson,
  type DemoTenant,
  listDemoPeople,
  listDemoTenants,
} from './demo-tenants.ts'
import { installDemo } from './install-demo.ts'
import { DEMO_TABLES, type DemoShape, planRows, type RowCounts } from './plan-rows.ts'

/**
 * One session that runs several statements in one text: a `pg.Client` or a lent `Connection`, never a
 * pool, because the rows are made from temp objects.
 */
export type DemoSession = Pick<Queryable, 'query'>

export interface DemoOptions {
  /** Another seed gives other rows for the same tenants. Default 1. */
  seed?: number
  /** Default 5. */
  tenants?: number
  /** Rows of the largest tenant, the first. Default 15,000; never fewer than `LEAST_ROWS`. */
  rows?: number
  /** Rows of all tenants together: what the first leaves over is shared equally. Default: as each is by character. */
  totalRows?: number
  /** Rows of each tenant, in order; takes the place of `tenants`, `rows` and `totalRows`. */
  sizes?: readonly number[]
  /** Default `mixed`. */
  shape?: DemoShape
}

export interface DemoReport {
  rows: number
  tenants: { id: string; name: string; rows: number; tables: RowCounts }[]
}

/**
 * Fills the demonstration's empty tables, in one transaction. The same options give the same rows,
 * byte for byte. The people of `listDemoPeople` must be in `auth.users` before. Runs as `postgres`,
 * which may set `session_replication_role`.
 */
export async function generateDemo(
  session: DemoSession,
  {
    seed = 1,
    sizes,
    tenants: count = sizes?.length ?? 5,
    rows = 15_000,
    totalRows,
    shape = 'mixed',
  }: DemoOptions = {},
): Promise<DemoReport> {
  const tenants = listDemoTenants(count)
  const rowsOfOthers =
    totalRows === undefined ? undefined : Math.round((totalRows - rows) / Math.max(count - 1, 1))
  const sized = tenants.map((tenant, index) => ({
    tenant,
    tables: planRows(
      tenant,
      sizes?.[index] ?? (index === 0 ? rows : (rowsOfOthers ?? Math.round(rows * tenant.size))),
      shape,
    ),
  }))

  const statements = await readFile(new URL('rows.sql', import.meta.url), 'utf8')
  await session.query('begin')
  try {
    await session.query(createPlanTable())
    await session.query(
      'insert into pg_temp.demo_plan select * from json_populate_recordset(null::pg_temp.demo_plan, $1::json)',
      [JSON.stringify(describePlan(sized, seed))],
    )
    await session.query(statements)
    // So that queries right after it are planned as they would be later.
    await session.query(`analyze ${DEMO_TABLES.map(qualify).join(', ')}`)
    await session.query('commit')
  } catch (error) {
    await session.query('rollback')
    throw error
  }

  const report = sized.map(({ tenant, tables }) => ({
    id: tenant.id,
    name: tenant.name,
    rows: sum(Object.values(tables)),
    tables,
  }))
  return { rows: sum(report.map((tenant) => tenant.rows)), tenants: report }
}

interface SizedTenant {
  tenant: DemoTenant
  tables: RowCounts
}

/** One row of `pg_temp.demo_plan` per tenant. */
function describePlan(sized: readonly SizedTenant[], seed: number): Record<string, unknown>[] {
  let fills = 0
  let scans = 0
  let logs = 0
  return sized.map(({ tenant, tables }) => {
    const people = listDemoPeople([tenant])
    const row = {
      number: tenant.number,
      organization_id: tenant.id,
      name: tenant.name,
      slug: tenant.slug,
      plan: tenant.plan,
      country: tenant.country,
      key: `/${seed}/${tenant.number}/`,
      // Each column adds a number below 1,000, so that no two columns of the data follow each other.
      salt: seed * 1_000_003 + tenant.number * 1_009,
      people: people.map(describePerson),
      person_ids: people.map(({ id }) => id),
      first_names: tenant.customerNames[0],
      last_names: tenant.customerNames[1],
      gas_codes: ['O2', 'AR', 'CO2', 'N2', 'HE', 'C2H2', 'H2', 'N2O'].slice(0, tables.gas_types),
      fills_before: fills,
      scans_before: scans,
      logs_before: logs,
      ...tables,
    }
    fills += tables.cylinder_fills ?? 0
    scans += tables.bottle_scans
    logs += tables.audit_logs ?? 0
    return row
  })
}

function describePerson({ id, email, fullName, role }: DemoPerson) {
  return { id, email, full_name: fullName, role }
}

function createPlanTable(): string {
  return `create temp table demo_plan (
    number bigint, organization_id uuid, name text, slug text, plan text, country text,
    key text, salt bigint, people json, person_ids uuid[], first_names text[], last_names text[],
    gas_codes text[], fills_before bigint, scans_before bigint, logs_before bigint,
    ${DEMO_TABLES.map((table) => `${pg.escapeIdentifier(table)} bigint`).join(', ')}
  ) on commit drop`
}

function qualify(table: string): string {
  return `public.${pg.escapeIdentifier(table)}`
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

const USAGE = `node supabase/demo/generate.ts --db-url URL [--seed 1] [--tenants 5] [--rows 15000]
  [--total-rows N] [--shape mixed|flat] [--json]

Fills the demonstration's tables, and makes them first where they are missing. --rows is the size of
the largest tenant; --total-rows, that of all together. The URL's role owns the tables and may write
auth.users.`

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      'db-url': { type: 'string' },
      seed: { type: 'string' },
      tenants: { type: 'string' },
      rows: { type: 'string' },
      'total-rows': { type: 'string' },
      shape: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help || values['db-url'] === undefined) {
    console.error(USAGE)
    process.exitCode = values.help ? 0 : 2
    return
  }
  const options = parseOptions(values)
  const client = new pg.Client(values['db-url'])
  await client.connect()
  try {
    const { rows } = await client.query("select to_regclass('public.organizations') as found")
    if (rows[0]?.found === null) await installDemo(client)
    await createDemoUsers(client, listDemoPeople(listDemoTenants(options.tenants ?? 5)))
    const report = await generateDemo(client, options)
    if (values.json) console.log(JSON.stringify(report))
    else for (const tenant of report.tenants) console.log(`${tenant.rows}\t${tenant.name}`)
  } finally {
    await client.end()
  }
}

function parseOptions(values: Record<string, string | boolean | undefined>): DemoOptions {
  const count = z.coerce.number().int().positive().max(10_000_000).optional()
  const { 'total-rows': totalRows, ...rest } = z
    .object({
      seed: count,
      tenants: count,
      rows: count,
      'total-rows': count,
      shape: z.enum(['mixed', 'flat']).optional(),
    })
    .parse(values)
  const given = Object.entries({ ...rest, totalRows }).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given)
}

if (import.meta.main) await main()
