/** Puts a table under protection: row level security, two policies, grants. */
import type { Connection, Queryable } from '../database/database.ts'
import { changeTable } from './change-table.ts'
import { quoteIdentifier, quoteLiteral, quoteTable } from './quote-identifier.ts'

/** Named to sort last among a table's policies. */
const ALLOW = 'zz_tenantkeep_allow'
const ONLY = 'zz_tenantkeep_only'
const READ_SHARED = 'zz_tenantkeep_read'
/** Keeps everybody else's view where we switched row level security on. */
export const KEEP_OPEN = 'zz_tenantkeep_keep_open'

interface Confinement {
  rowExpression: string
  enableRowSecurity: boolean
  /** Schemas of the host's own types, which the expression may name. */
  typeSchemas?: readonly string[]
}

export type Protection =
  /** Rows of tenants: confined by this condition, on everything. */
  | ({ kind: 'confined' } & Confinement)
  /** Rows of tenants that we can't tell apart safely enough to write: the same condition, reading only. */
  | ({ kind: 'confined-readonly' } & Confinement)
  /** Rows of everybody: read only. */
  | { kind: 'shared' }
  /** Not ours: whatever we had there is taken away. */
  | { kind: 'none' }

/**
 * Applies the protection in one short transaction. `policyRole` is the role our policies are written to.
 * Throws `table_locked` when the host holds the table for too long; running `init` again goes on there.
 */
export async function applyProtection(
  connection: Connection,
  table: { schema: string; name: string },
  protection: Protection,
  policyRole: string,
): Promise<void> {
  await changeTable(connection, table, 'init', () =>
    runProtection(connection, table, protection, policyRole),
  )
}

/** The same inside the caller's transaction. */
export async function runProtection(
  connection: Queryable,
  table: { schema: string; name: string },
  protection: Protection,
  policyRole: string,
): Promise<void> {
  for (const statement of protectionStatements(table, protection, policyRole)) {
    await connection.query(statement)
  }
}

/** Before Postgres 16 the scope role can't exist, and our policies name the operator (see migration «roles»). */
export async function findPolicyRole(database: Queryable): Promise<string> {
  const { rows } = await database.query<{ role: string }>(
    `select rolname as role from pg_catalog.pg_roles where rolname = 'tenantkeep_scope'`,
  )
  return rows[0]?.role ?? 'tenantkeep_operator'
}

/**
 * Every table of the database with something of ours on it, policy or grant, whether or not the registry
 * still knows it: it may have been excluded, moved, or left to a schema that is not looked at any more.
 */
export async function findTouchedTables(
  database: Queryable,
): Promise<{ schema: string; name: string }[]> {
  const { rows } = await database.query<{ schema: string; name: string }>(
    `select n.nspname as schema, c.relname as name
     from pg_catalog.pg_class c
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     -- Of our own tables, the operator keeps the memory of seeding.
     where c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname <> 'tenantkeep' and (
       exists (select from pg_catalog.pg_policy p
               where p.polrelid = c.oid and p.polname = any ($1))
       or exists (select from pg_catalog.aclexplode(c.relacl) a
                  where a.grantee = 'tenantkeep_operator'::regrole)
     )
     order by 1, 2`,
    [[ALLOW, ONLY, READ_SHARED]],
  )
  return rows
}

/** The statements that give a table its protection, in order; also what a review would read. */
function protectionStatements(
  table: { schema: string; name: string },
  protection: Protection,
  policyRole: string,
): string[] {
  const relation = quoteTable(table)
  const role = quoteIdentifier(policyRole)
  const statements = [ALLOW, ONLY, READ_SHARED].map(
    (policy) => `drop policy if exists ${policy} on ${relation}`,
  )
  statements.push(`revoke all on ${relation} from tenantkeep_operator`)
  if (protection.kind !== 'none') {
    statements.push(
      `delete from tenantkeep.unhooked_tables where schema_name = ${quoteLiteral(table.schema)} and table_name = ${quoteLiteral(table.name)}`,
    )
  }
  switch (protection.kind) {
    case 'none':
      return statements
    case 'shared':
      statements.push(
        `grant usage on schema ${quoteIdentifier(table.schema)} to tenantkeep_operator`,
        `grant select on ${relation} to tenantkeep_operator`,
        `create policy ${READ_SHARED} on ${relation} for select to ${role} using (true)`,
      )
      return statements
    case 'confined':
    case 'confined-readonly': {
      const { rowExpression } = protection
      const mayWrite = protection.kind === 'confined'
      const rights = mayWrite ? 'select, insert, update, delete' : 'select'
      const condition = mayWrite
        ? `using (${rowExpression}) with check (${rowExpression})`
        : `using (${rowExpression})`
      const commands = mayWrite ? '' : 'for select '
      if (protection.enableRowSecurity) {
        // Everybody else sees and writes what they did before; uninstall switches off what we switched on.
        statements.push(
          recordRowSecurity(table),
          `alter table ${relation} enable row level security`,
          `drop policy if exists ${KEEP_OPEN} on ${relation}`,
          `create policy ${KEEP_OPEN} on ${relation} to public using (true) with check (true)`,
        )
      }
      statements.push(
        ...[table.schema, ...(protection.typeSchemas ?? [])].map(
          (schema) => `grant usage on schema ${quoteIdentifier(schema)} to tenantkeep_operator`,
        ),
        `grant ${rights} on ${relation} to tenantkeep_operator`,
        `create policy ${ALLOW} on ${relation} as permissive ${commands}to ${role} ${condition}`,
        // A host policy «to public using (true)» would otherwise open every tenant to us.
        `create policy ${ONLY} on ${relation} as restrictive ${commands}to ${role} ${condition}`,
      )
      return statements
    }
  }
}

/** Notes, before it happens, that row level security is switched on by us, and which policies of the host slept. */
function recordRowSecurity(table: { schema: string; name: string }): string {
  return `insert into tenantkeep.host_changes (kind, schema_name, table_name, policies)
    select 'row_security', n.nspname, c.relname, array(
      select p.polname::text from pg_catalog.pg_policy p
      where p.polrelid = c.oid and p.polname not like 'zz\\_tenantkeep\\_%' order by 1
    )
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${quoteLiteral(table.schema)} and c.relname = ${quoteLiteral(table.name)}
      and not c.relrowsecurity
    on conflict (kind, schema_name, table_name) do update set policies = excluded.policies, changed_at = now()`
}
