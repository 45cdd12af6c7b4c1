import type { Connection } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { tableName } from './host-table.ts'
import { isWritable } from './is-writable.ts'
import { type ClassifiedTable, edgesOf, type OwnershipEdge } from './ownership.ts'
import type { TableMarks } from './propose-marks.ts'
import { quoteIdentifier } from './quote-identifier.ts'
import type { Registry } from './render-path.ts'
import {
  keyTypes,
  renderCensusExpression,
  renderCurrentTenants,
  renderKeys,
  renderReachedExpression,
  renderRowExpression,
} from './render-path.ts'

/**
 * Writes registry, ownership and key functions, inside the caller's transaction; nothing here touches a
 * host table. Rows that are already right are left alone. Gives back each table's row expression, by name.
 */
export async function writeRegistry(
  connection: Connection,
  registry: Registry,
  marks: ReadonlyMap<string, TableMarks>,
  answered: ReadonlyMap<string, string[]>,
): Promise<ReadonlyMap<string, string | null>> {
  const keyFunctions = new Map<OwnershipEdge, number>()
  const rowExpressions = new Map<string, string | null>()
  await ensureCurrentTenants(connection, registry)
  for (const table of registry.values()) {
    for (const edge of edgesOf(table.classification)) {
      keyFunctions.set(edge, await ensureKeyFunction(connection, registry, table, edge))
    }
  }
  await removeVanishedTables(connection, registry)
  // The root last: where another table was the root, it must have stopped to be it.
  const rootLast = [...registry.values()].sort(
    (a, b) => Number(a.classification.class === 'root') - Number(b.classification.class === 'root'),
  )
  for (const table of rootLast) {
    const rowExpression = renderRowExpression(registry, table, (edge) =>
      callKeyFunction(keyFunctions.get(edge) ?? 0, edge.columns.length),
    )
    rowExpressions.set(tableName(table.table), rowExpression)
    await writeTable(connection, registry, table, rowExpression)
    const name = tableName(table.table)
    await writeMarks(connection, table, marks.get(name), answered.get(name) ?? [])
  }
  for (const table of registry.values()) await writeEdges(connection, table, keyFunctions)
  return rowExpressions
}

function callKeyFunction(id: number, columns: number): string {
  if (columns === 1) return `select tenantkeep.keys_${id}()`
  const names = Array.from({ length: columns }, (_, index) => `k.c${index}`)
  return `select ${names.join(', ')} from tenantkeep.keys_${id}() k`
}

async function ensureKeyFunction(
  connection: Connection,
  registry: Registry,
  table: ClassifiedTable,
  edge: OwnershipEdge,
): Promise<number> {
  const types = keyTypes(registry, table.table, edge)
  const params = [edge.ownerSchema, edge.ownerTable, edge.ownerColumns, types]
  const found = await connection.query<{ id: number }>(
    `select id from tenantkeep.key_functions
     where schema_name = $1 and table_name = $2 and columns = $3 and types = $4`,
    params,
  )
  const inserted =
    found.rows[0] ??
    (
      await connection.query<{ id: number }>(
        // Not by the sequence, which a rollback does not set back: what --emit writes must fit elsewhere.
        `insert into tenantkeep.key_functions (id, schema_name, table_name, columns, types)
         overriding system value
         select coalesce(max(id), 0) + 1, $1, $2, $3::text[], $4::text[] from tenantkeep.key_functions
         returning id`,
        params,
      )
    ).rows[0]
  if (inserted === undefined) throw new Error('The key function was not registered.')
  const { id } = inserted
  const returns =
    types.length === 1
      ? `setof ${types[0]}`
      : `table (${types.map((type, index) => `c${index} ${type}`).join(', ')})`
  await ensureFunction(
    connection,
    `tenantkeep.keys_${id}()`,
    returns,
    renderKeys(registry, edge, types),
  )
  return id
}

/** Which tenants are confined to, where a tenant's own tenants count in; without them nobody calls it. */
async function ensureCurrentTenants(connection: Connection, registry: Registry): Promise<void> {
  const body = renderCurrentTenants(registry)
  if (body === null) return
  await ensureFunction(connection, 'tenantkeep.current_tenants()', 'setof text', body)
}

/** Makes or mends a function that only the operator may call and that sees past row level security. */
async function ensureFunction(
  connection: Connection,
  name: string,
  returns: string,
  body: string,
): Promise<void> {
  // Only where something changed: replacing a function locks it and wakes every cached plan.
  const current = await connection.query<{ isAsWritten: boolean }>(
    `select p.prosrc = $2 and p.prosecdef and p.provolatile = 's'
       and p.proconfig = '{"search_path=pg_catalog, pg_temp",row_security=off}'
       and (
         select array_agg(distinct a.grantee) @> array['tenantkeep_operator'::regrole::oid]
           and bool_and(a.grantee in (p.proowner, 'tenantkeep_operator'::regrole))
         from pg_catalog.aclexplode(p.proacl) a
       ) as "isAsWritten"
     from pg_catalog.pg_proc p where p.oid = to_regprocedure($1)`,
    [name, body],
  )
  if (current.rows[0]?.isAsWritten === true) return
  await connection.query(
    `create or replace function ${name} returns ${returns}
       language sql stable security definer set search_path = pg_catalog, pg_temp set row_security = off
       as ${quoteBody(body)}`,
  )
  const { rows: grantees } = await connection.query<{ role: string }>(
    `select r.rolname as role
     from pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
     join pg_catalog.pg_roles r on r.oid = a.grantee
     where p.oid = to_regprocedure($1) and r.oid <> p.proowner`,
    [name],
  )
  for (const { role } of grantees) {
    await connection.query(`revoke all on function ${name} from ${quoteIdentifier(role)}`)
  }
  await connection.query(`revoke all on function ${name} from public`)
  await connection.query(`grant execute on function ${name} to tenantkeep_operator`)
}

/** A dollar quote that the body can't end, whatever names it holds. */
function quoteBody(body: string): string {
  let tag = 'keys'
  while (body.includes(`$${tag}$`)) tag += '_'
  return `$${tag}$${body}$${tag}$`
}

async function removeVanishedTables(connection: Connection, registry: Registry): Promise<void> {
  await connection.query(
    `delete from tenantkeep.tenant_tables t
     where (t.schema_name, t.table_name) not in (select * from unnest($1::text[], $2::text[]))`,
    [
      [...registry.values()].map(({ table }) => table.schema),
      [...registry.values()].map(({ table }) => table.name),
    ],
  )
}

async function writeTable(
  connection: Connection,
  registry: Registry,
  entry: ClassifiedTable,
  rowExpression: string | null,
): Promise<void> {
  const { table, classification, position } = entry
  const hasColumn = classification.class === 'root' || classification.class === 'direct'
  await connection.query(
    `insert into tenantkeep.tenant_tables as t (
       schema_name, table_name, class, tenant_column, tenant_type, predicate, reason, position,
       row_expression, census_expression, reached_expression, is_writable
     ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
     on conflict (schema_name, table_name) do update set
       class = excluded.class, tenant_column = excluded.tenant_column,
       tenant_type = excluded.tenant_type, predicate = excluded.predicate,
       reason = excluded.reason, position = excluded.position,
       row_expression = excluded.row_expression, census_expression = excluded.census_expression,
       reached_expression = excluded.reached_expression, is_writable = excluded.is_writable,
       policy_digest = case
         when t.row_expression is distinct from excluded.row_expression or t.class <> excluded.class
           or t.is_writable <> excluded.is_writable
         then null else t.policy_digest end
     where (t.class, t.tenant_column, t.tenant_type, t.predicate, t.reason, t.position,
            t.row_expression, t.census_expression, t.reached_expression, t.is_writable)
       is distinct from (excluded.class, excluded.tenant_column, excluded.tenant_type,
            excluded.predicate, excluded.reason, excluded.position, excluded.row_expression,
            excluded.census_expression, excluded.reached_expression, excluded.is_writable)`,
    [
      table.schema,
      table.name,
      classification.class,
      hasColumn ? classification.tenantColumn : null,
      hasColumn ? classification.tenantType : null,
      classification.class === 'custom' ? classification.predicate : null,
      classification.class === 'excluded' ? classification.reason : null,
      position,
      rowExpression,
      renderCensusExpression(registry, entry),
      renderReachedExpression(registry, entry),
      isWritable(registry, entry),
    ],
  )
}

/** Marks stand on tables with rows of tenants only; elsewhere they would mean nothing. */
async function writeMarks(
  connection: Connection,
  { table, classification }: ClassifiedTable,
  marks: TableMarks | undefined,
  answers: readonly string[],
): Promise<void> {
  const isMarked = classification.class !== 'shared' && classification.class !== 'excluded'
  await connection.query(
    `update tenantkeep.tenant_tables t
     set is_history = m.is_history, is_seeded = m.is_seeded, keep_live_columns = m.keep_live,
       masked_columns = m.masked, label_columns = m.label, answers = m.answers
     from (select $3::boolean as is_history, $4::boolean as is_seeded, $5::text[] as keep_live,
             $6::text[] as masked, $7::text[] as label, $8::text[] as answers) m
     where t.schema_name = $1 and t.table_name = $2
       and (t.is_history, t.is_seeded, t.keep_live_columns, t.masked_columns, t.label_columns, t.answers)
         is distinct from (m.is_history, m.is_seeded, m.keep_live, m.masked, m.label, m.answers)`,
    [
      table.schema,
      table.name,
      isMarked && marks?.isHistory === true,
      isMarked && marks?.isSeeded === true,
      isMarked ? (marks?.keepLive ?? []) : [],
      isMarked ? (marks?.masked ?? []) : [],
      isMarked ? (marks?.label ?? []) : [],
      [...answers].sort(),
    ],
  )
}

async function writeEdges(
  connection: Connection,
  { table, classification }: ClassifiedTable,
  keyFunctions: ReadonlyMap<OwnershipEdge, number>,
): Promise<void> {
  const edges = edgesOf(classification)
  await connection.query(
    `delete from tenantkeep.ownership where schema_name = $1 and table_name = $2 and rank > $3`,
    [table.schema, table.name, edges.length],
  )
  for (const [index, edge] of edges.entries()) {
    await connection.query(
      `insert into tenantkeep.ownership as o (
         schema_name, table_name, rank, columns, owner_schema, owner_table, owner_columns,
         constraint_name, key_function, condition, is_backward
       ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
       on conflict (schema_name, table_name, rank) do update set
         columns = excluded.columns, owner_schema = excluded.owner_schema,
         owner_table = excluded.owner_table, owner_columns = excluded.owner_columns,
         constraint_name = excluded.constraint_name, key_function = excluded.key_function,
         condition = excluded.condition, is_backward = excluded.is_backward
       where (o.columns, o.owner_schema, o.owner_table, o.owner_columns, o.constraint_name,
              o.key_function, o.condition, o.is_backward)
         is distinct from (excluded.columns, excluded.owner_schema, excluded.owner_table,
           excluded.owner_columns, excluded.constraint_name, excluded.key_function,
           excluded.condition, excluded.is_backward)`,
      [
        table.schema,
        table.name,
        index + 1,
        edge.columns,
        edge.ownerSchema,
        edge.ownerTable,
        edge.ownerColumns,
        edge.constraintName,
        keyFunctions.get(edge),
        edge.condition === null ? null : JSON.stringify(edge.condition),
        edge.isBackward,
      ],
    )
  }
}

/** Drops functions of ours that nothing uses any more; to be called once no policy does either. */
export async function dropUnusedFunctions(
  connection: Connection,
  registry: Registry,
): Promise<void> {
  if (renderCurrentTenants(registry) === null) {
    await connection.query('drop function if exists tenantkeep.current_tenants()')
  }
  const { rows } = await connection.query<{ id: number }>(
    `select f.id from tenantkeep.key_functions f
     where not exists (select from tenantkeep.ownership o where o.key_function = f.id)`,
  )
  for (const { id } of rows) {
    await inTransaction(connection, async () => {
      await connection.query(`drop function if exists tenantkeep.keys_${id}()`)
      await connection.query(`delete from tenantkeep.key_functions where id = $1`, [id])
    })
  }
}
