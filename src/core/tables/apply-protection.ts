/**
 * Puts a table under protection: row level security, two policies, grants. These statements lock the
 * table exclusively for a moment, so each table is a short transaction of its own that gives way rather
 * than make the host wait, and tries again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection, Queryable } from '../database/database.ts'
import { inTransaction } from '../database/in-transaction.ts'
import { hasSqlstate } from '../database/sqlstates.ts'
import { BackupError } from '../errors.ts'
import { tableName } from './host-table.ts'
import { quoteIdentifier, quoteTable } from './quote-identifier.ts'

/** Named to sort last among a table's policies. */
const ALLOW = 'zz_tenantkeep_allow'
const ONLY = 'zz_tenantkeep_only'
const READ_SHARED = 'zz_tenantkeep_read'
const KEEP_OPEN = 'zz_tenantkeep_keep_open'

const LOCK_TIMEOUT_MS = 2_000
const TRIES = 5

export type Protection =
  /** Rows of tenants: confined by this condition, on everything. */
  | {
      kind: 'confined'
      rowExpression: string
      enableRowSecurity: boolean
      /** Schemas of the host's own types, which the expression may name. */
      typeSchemas: readonly string[]
    }
  /** Rows of everybody: read only. */
  | { kind: 'shared' }
  /** Not ours: whatever we had there is taken away. */
  | { kind: 'none' }

/**
 * Applies the protection in one transaction. `policyRole` is the role our policies are written to.
 * Throws `table_locked` when the host holds the table for too long; running `init` again goes on there.
 */
export async function applyProtection(
  connection: Connection,
  table: { schema: string; name: string },
  protection: Protection,
  policyRole: string,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await inTransaction(connection, async () => {
        await connection.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`)
        for (const statement of protectionStatements(table, protection, policyRole)) {
          await connection.query(statement)
        }
      })
      return
    } catch (error) {
      if (!hasSqlstate(error, 'lockNotAvailable')) throw error
      if (attempt === TRIES) {
        throw new BackupError(
          'table_locked',
          `${tableName(table)} was in use the whole time and could not be changed. Nothing waits for us; run init again, it goes on where it stopped.`,
          { cause: error },
        )
      }
      await sleep(250 * attempt)
    }
  }
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
     where c.relkind in ('r', 'p') and c.relpersistence <> 't' and (
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
    case 'confined': {
      const { rowExpression } = protection
      if (protection.enableRowSecurity) {
        // Everybody else sees and writes what they did before.
        statements.push(
          `alter table ${relation} enable row level security`,
          `drop policy if exists ${KEEP_OPEN} on ${relation}`,
          `create policy ${KEEP_OPEN} on ${relation} to public using (true) with check (true)`,
        )
      }
      statements.push(
        ...[table.schema, ...protection.typeSchemas].map(
          (schema) => `grant usage on schema ${quoteIdentifier(schema)} to tenantkeep_operator`,
        ),
        `grant select, insert, update, delete on ${relation} to tenantkeep_operator`,
        `create policy ${ALLOW} on ${relation} as permissive to ${role} using (${rowExpression}) with check (${rowExpression})`,
        // A host policy «to public using (true)» would otherwise open every tenant to us.
        `create policy ${ONLY} on ${relation} as restrictive to ${role} using (${rowExpression}) with check (${rowExpression})`,
      )
      return statements
    }
  }
}
