import type { Database } from '../database/database.ts'
import { checkFunctions, checkProbe } from '../doctor/check-access.ts'
import { checkHostPolicies } from '../doctor/check-host-policies.ts'
import { checkIndexes } from '../doctor/check-indexes.ts'
import { checkKnownShape } from '../doctor/check-shape.ts'
import { checkProtection, checkUnclassified } from '../doctor/check-tables.ts'
import { checkTriggers } from '../doctor/check-triggers.ts'
import type { Finding, FindingCode } from '../doctor/finding.ts'

/** A table of the host, as the registry has it and as it stands. */
interface ListedTable {
  schema: string
  table: string
  /** How summaries and answers call it. */
  label: string
  class: 'root' | 'direct' | 'child' | 'custom' | 'derived' | 'shared' | 'excluded' | 'unclassified'
  /** How a row leads to its tenant, in words; the condition of a custom table, the reason of an excluded one. */
  path: string
  isThere: boolean
  isWritable: boolean
  /** Rows of all tenants as Postgres last estimated them; null where it never did. */
  rowsEstimate: number | null
  /** The same as `init` or `doctor` last counted them, and when; null where nobody did. */
  rowsCounted: number | null
  countedAt: string | null
  marks: {
    isHistory: boolean
    isSeeded: boolean
    keepLive: string[]
    masked: string[]
    label: string[]
  }
  /** Columns without a primary key can't be told apart one by one. */
  hasPrimaryKey: boolean
  /** Why Tenantkeep can't read it; null where it can, or has no business to. */
  unreadable: string | null
  /** What doctor says of it, errors first. */
  findings: Finding[]
}

export interface TableList {
  tables: ListedTable[]
  /** Checks that failed themselves, and why. */
  notChecked: { check: string; reason: string }[]
}

type RegisteredRow = Omit<ListedTable, 'findings' | 'unreadable' | 'path' | 'label'> & {
  tenantColumn: string | null
  tenantKey: string | null
  predicate: string | null
  reason: string | null
  edges: Edge[]
}

interface Edge {
  columns: string[]
  owner: string
  ownerColumns: string[]
  condition: { column: string; value: string } | null
  isBackward: boolean
}

/** Findings that keep a backup from reading the table. */
const UNREADABLE: ReadonlySet<FindingCode> = new Set([
  'table_gone',
  'table_not_readable',
  'grant_missing',
  'policy_missing',
  'row_security_off',
  'policy_hides_rows',
])

/**
 * Lists the tables of the host: the registry, those that nobody classified, and what the checks of doctor that
 * are about single tables say of each. A check that fails is named; the list stands.
 */
export async function listTables(database: Database): Promise<TableList> {
  const registered = await readRegistry(database)
  const { findings, notChecked } = await checkTables(database)
  const byName = new Map(registered.map((row) => [nameOf(row), row]))
  const tables = registered.map(
    ({ tenantColumn: _c, tenantKey: _k, predicate: _p, reason: _r, edges: _e, ...row }) => {
      const own = findings.filter(({ subject }) => subject === nameOf(row))
      return {
        ...row,
        label: row.schema === 'public' ? row.table : `${row.schema}.${row.table}`,
        path: describePath(byName, nameOf(row)),
        unreadable: own.find(({ code }) => UNREADABLE.has(code))?.message ?? null,
        findings: own,
      }
    },
  )
  return { tables, notChecked }
}

async function readRegistry(database: Database): Promise<RegisteredRow[]> {
  const { rows } = await database.query<{ table: RegisteredRow }>(
    `with host as (
       select n.nspname as schema_name, c.relname as table_name, c.oid, c.reltuples
       from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('r', 'p') and not c.relispartition
         and n.nspname in (select jsonb_array_elements_text(value) from tenantkeep.settings where key = 'host_schemas')
         and (n.nspname, c.relname) not in (('public', 'tenant_backups'), ('public', 'backup_logs'))
     )
     select jsonb_build_object(
       'schema', coalesce(t.schema_name, h.schema_name), 'table', coalesce(t.table_name, h.table_name),
       'class', coalesce(t.class, 'unclassified'), 'isThere', h.oid is not null,
       'isWritable', coalesce(t.is_writable, false),
       'rowsEstimate', case when h.reltuples >= 0 then h.reltuples::bigint end,
       'rowsCounted', m.row_count, 'countedAt', m.measured_at,
       'hasPrimaryKey', exists (
         select from pg_catalog.pg_constraint k where k.conrelid = h.oid and k.contype = 'p'),
       'tenantColumn', t.tenant_column, 'predicate', t.predicate, 'reason', t.reason,
       'tenantKey', (select value ->> 'key' from tenantkeep.settings where key = 'tenant_table'),
       'marks', jsonb_build_object('isHistory', coalesce(t.is_history, false),
         'isSeeded', coalesce(t.is_seeded, false), 'keepLive', coalesce(t.keep_live_columns, '{}'),
         'masked', coalesce(t.masked_columns, '{}'), 'label', coalesce(t.label_columns, '{}')),
       'edges', coalesce((
         select jsonb_agg(jsonb_build_object('columns', o.columns,
           'owner', o.owner_schema || '.' || o.owner_table, 'ownerColumns', o.owner_columns,
           'condition', o.condition, 'isBackward', o.is_backward) order by o.rank)
         from tenantkeep.ownership o
         where o.schema_name = t.schema_name and o.table_name = t.table_name), '[]')) as "table"
     from tenantkeep.tenant_tables t
     full join host h on h.schema_name = t.schema_name and h.table_name = t.table_name
     left join tenantkeep.table_measurements m
       on m.schema_name = t.schema_name and m.table_name = t.table_name
     order by coalesce(t.position, 100000), 1`,
  )
  return rows.map((row) => row.table)
}

async function checkTables(
  database: Database,
): Promise<{ findings: Finding[]; notChecked: TableList['notChecked'] }> {
  const checks: Record<string, () => Promise<Finding[]>> = {
    'unclassified tables': () => checkUnclassified(database),
    protection: () => checkProtection(database),
    'host policies': () => checkHostPolicies(database),
    access: () => checkProbe(database),
    functions: () => checkFunctions(database),
    shape: () => checkKnownShape(database),
    indexes: () => checkIndexes(database),
    triggers: () => checkTriggers(database),
  }
  const findings: Finding[] = []
  const notChecked: TableList['notChecked'] = []
  for (const [check, look] of Object.entries(checks)) {
    try {
      findings.push(...(await look()))
    } catch (error) {
      notChecked.push({ check, reason: error instanceof Error ? error.message : 'unknown error' })
    }
  }
  const rank = { error: 0, warning: 1, notice: 2 }
  return { findings: findings.sort((a, b) => rank[a.severity] - rank[b.severity]), notChecked }
}

function describePath(tables: ReadonlyMap<string, RegisteredRow>, name: string): string {
  const row = tables.get(name)
  if (row === undefined) return name
  const { table, tenantColumn, edges } = row
  switch (row.class) {
    case 'root':
      return `${table}.${tenantColumn ?? row.tenantKey}`
    case 'custom':
      return row.predicate ?? ''
    case 'excluded':
      return row.reason ?? ''
    case 'direct':
    case 'child': {
      const column = row.class === 'direct' ? [`${table}.${tenantColumn}`] : []
      return [...column, ...edges.map((edge) => describeEdge(tables, row, edge))].join(', else ')
    }
    default:
      return ''
  }
}

function describeEdge(
  tables: ReadonlyMap<string, RegisteredRow>,
  row: RegisteredRow,
  { columns, owner, ownerColumns, condition, isBackward }: Edge,
): string {
  const when = condition === null ? '' : ` (${condition.column} = ${condition.value})`
  const from = `${row.table}.${columns.join('+')}${when}`
  // A table may own itself.
  const rest = owner === nameOf(row) ? owner : describePath(tables, owner)
  const ownerName = tables.get(owner)?.table ?? owner
  return isBackward
    ? `${from} ← ${ownerName}.${ownerColumns.join('+')}: ${rest}`
    : `${from} → ${rest}`
}

function nameOf({ schema, table }: Pick<RegisteredRow, 'schema' | 'table'>): string {
  return `${schema}.${table}`
}
