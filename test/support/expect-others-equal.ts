import { expect } from 'vitest'
import type { Queryable } from '../../src/core/database/database.ts'
import { quoteTable } from '../../src/core/tables/quote-identifier.ts'
import type { TestDatabase } from './database.ts'

/**
 * By label of every table that holds rows of tenants: a condition on its row `t`, with the tenant's id as
 * text in `$1`. By hand where a test can say it, so that nothing of what is tested proves itself.
 */
export type Owns = Record<string, string>

/** The registry's own word on whose rows are whose, for hosts that nobody described by hand. */
export async function readOwns(database: TestDatabase): Promise<Owns> {
  const { rows } = await database.admin.query<{ label: string; condition: string }>(
    `select case when schema_name = 'public' then table_name else schema_name || '.' || table_name end as label,
       census_expression as condition
     from tenantkeep.tenant_tables where census_expression is not null`,
  )
  return Object.fromEntries(rows.map(({ label, condition }) => [label, condition]))
}

/** A table of the host with its rows in it: partitions count as the table that they are parts of. */
interface HostRelation {
  label: string
  from: string
}

async function listHostTables(session: Queryable): Promise<HostRelation[]> {
  const { rows } = await session.query<{ schema: string; name: string; kind: string }>(
    `select n.nspname as schema, c.relname as name, c.relkind as kind
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where (c.relkind in ('r', 'p') or c.relkind = 'm' and c.relispopulated) and not c.relispartition
       and n.nspname !~ '^(pg_|tenantkeep|photograph_)' and n.nspname <> 'information_schema'
       and not (n.nspname = 'public' and c.relname in ('tenant_backups', 'backup_logs'))
     order by 1, 2`,
  )
  return rows.map(({ schema, name, kind }) => ({
    label: schema === 'public' ? name : `${schema}.${name}`,
    from: `from ${kind === 'r' ? 'only ' : ''}${quoteTable({ schema, name })} t`,
  }))
}

/** Every row as `xmin` and text, by table; equal rows stand as often as they are there. */
async function readRows(
  session: Queryable,
  where: (label: string) => string | null,
  tenant: string,
  image: string,
): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>()
  for (const { label, from } of await listHostTables(session)) {
    const condition = where(label)
    if (condition === null) continue
    const { rows } = await session.query<{ row: string }>(
      `select ${image} as row ${from} where ${condition} order by 1`,
      condition.includes('$1') ? [tenant] : [],
    )
    found.set(
      label,
      rows.map(({ row }) => row),
    )
  }
  return found
}

const ROW_TEXT = 'row(t.*)::text'
const ROW_VERSION = `t.xmin::text || ' ' || ${ROW_TEXT}`

export interface OthersPhotograph {
  /**
   * Fails unless every row of every other tenant is there as it was, in the very version that it was, and no
   * other; and so for all rows of nobody, but those that the named restore put on record as released, and
   * those that became the tenant's again without being written, because their owner came back.
   */
  expectEqual(options?: { releasedBy?: string | null }): Promise<void>
}

/**
 * Remembers every row of every table of the host that is not the tenant's: those of the other tenants, of
 * nobody, of shared and excluded tables, of `auth`. Outbox, audit and totals are among them, so that a side
 * effect shows.
 */
export async function photographOthers(
  database: TestDatabase,
  tenant: string,
  owns?: Owns,
): Promise<OthersPhotograph> {
  const known = owns ?? (await readOwns(database))
  const { rows: tenants } = await database.worker.query<{ id: string }>(
    'select tenant_id as id from tenantkeep.list_tenants() where tenant_id <> $1 order by 1',
    [tenant],
  )
  const readOf = (id: string) =>
    readRows(database.superuser, (label) => known[label] ?? null, id, ROW_VERSION)
  const readOthers = () =>
    readRows(
      database.superuser,
      (label) => (known[label] === undefined ? 'true' : `(${known[label]}) is not true`),
      tenant,
      ROW_VERSION,
    )
  const readTenants = async () => {
    const found: Record<string, Record<string, string[]>> = {}
    for (const { id } of tenants) found[id] = Object.fromEntries(await readOf(id))
    return found
  }
  const before = { tenants: await readTenants(), all: await readOthers() }
  return {
    async expectEqual({ releasedBy = null } = {}) {
      expect(await readTenants()).toEqual(before.tenants)
      const own = await readOf(tenant)
      const released = releasedBy === null ? new Map() : await readReleased(database, releasedBy)
      const expected: Record<string, string[]> = {}
      for (const [label, rows] of before.all) {
        const left = [...rows]
        for (const row of released.get(label) ?? []) {
          const at = left.findIndex((version) => version.endsWith(` ${row}`))
          expect(at, `a released row of ${label} was somebody’s`).not.toBe(-1)
          left.splice(at, 1)
        }
        const regained = new Set(own.get(label))
        expected[label] = left.filter((version) => !regained.has(version))
      }
      expect(Object.fromEntries(await readOthers())).toEqual(expected)
    },
  }
}

async function readReleased(
  database: TestDatabase,
  restoreId: string,
): Promise<Map<string, string[]>> {
  const { rows } = await database.superuser.query<{ label: string; row: string }>(
    `select case when schema_name = 'public' then table_name else schema_name || '.' || table_name end as label,
       row_text as row from tenantkeep.released_rows where restore_id = $1`,
    [restoreId],
  )
  const found = new Map<string, string[]>()
  for (const { label, row } of rows) found.set(label, [...(found.get(label) ?? []), row])
  return found
}

export interface TenantPhotograph {
  /** By table label, the tenant's rows as text, sorted. */
  rows: ReadonlyMap<string, readonly string[]>
  /**
   * Fails unless the tenant's rows are these again, as text and as images. `isExact: false` looks at texts
   * only: equal arrays may have different images.
   */
  expectEqual(options?: { isExact?: boolean }): Promise<void>
}

let photographs = 0

/** Remembers all rows of the tenant, and a copy of them whose images can be compared. */
export async function photographTenant(
  database: TestDatabase,
  tenant: string,
  owns?: Owns,
): Promise<TenantPhotograph> {
  const known = owns ?? (await readOwns(database))
  const read = () => readRows(database.superuser, (label) => known[label] ?? null, tenant, ROW_TEXT)
  const rows = await read()
  photographs += 1
  const schema = `photograph_${photographs}`
  const copies = await database.superuser.withConnection(async (session) => {
    await session.query(`create schema ${schema}`)
    const found: (HostRelation & { copy: string })[] = []
    for (const [index, table] of (await listHostTables(session)).entries()) {
      const condition = known[table.label]
      if (condition === undefined) continue
      const copy = `${schema}.t_${index}`
      await session.query(`create table ${copy} as select t.* ${table.from} with no data`)
      await session.query(
        `insert into ${copy} select t.* ${table.from} where ${condition}`,
        condition.includes('$1') ? [tenant] : [],
      )
      found.push({ ...table, copy })
    }
    return found
  })
  return {
    rows,
    async expectEqual({ isExact = true } = {}) {
      expect(Object.fromEntries(await read())).toEqual(Object.fromEntries(rows))
      if (!isExact) return
      for (const { label, from, copy } of copies) {
        const condition = known[label] ?? 'false'
        const { rows: different } = await database.superuser.query<{ row: string }>(
          `select ${ROW_TEXT} as row ${from} where (${condition}) and not exists (
             select from ${copy} c where row(c.*)::text = ${ROW_TEXT} and row(c.*)::record *= row(t.*)::record)`,
          condition.includes('$1') ? [tenant] : [],
        )
        expect(different, `images of rows of ${label}`).toEqual([])
      }
    },
  }
}

/**
 * Which versions of rows the host's tables hold, by table: equal before and after means that not a single
 * row was written.
 */
export async function readRowVersions(database: TestDatabase): Promise<Record<string, string[]>> {
  const versions = await readRows(
    database.superuser,
    () => 'true',
    '',
    `t.tableoid || ' ' || t.ctid::text || ' ' || t.xmin::text`,
  )
  return Object.fromEntries(versions)
}
